//! The end-to-end bench: real servers, a real Redis, real sockets; what a frame costs from the client's write to a
//! consumer of the stream, and that every one arrives, once, in order and unharmed.
//!
//! `make bench` (or `cargo bench --bench end_to_end`) measures; `cargo test` plays a second through it so that it does not
//! rot. The method and its noise are in docs/performance.md. In here: `options` is what was asked for, `machine` the CPUs, `clock` the time,
//! `process`, `servers` and `rivals` who is measured, `load` who calls, `resp`, `consumer` and `ledger` who reads and verifies, `usage` what was
//! used, `paced`, `flood`, `connections` and `ceiling` the workloads, `rounds` their order, `results` and `report` what came of it.
//!
//! Invariants: everything ends by itself, children included; the exit status tells of frames, never of time.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "measured quantities are far from the edges of their types"
)]
#![expect(
    clippy::print_stderr,
    reason = "how far it is; the tables alone go to standard output"
)]

#[cfg(test)]
mod ceiling;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod consumer;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod load;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod options;
#[cfg(test)]
mod paced;
#[cfg(test)]
mod process;
#[cfg(test)]
mod report;
#[cfg(test)]
mod resp;
#[cfg(test)]
mod results;
#[cfg(test)]
mod rivals;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod smoke;
#[cfg(test)]
mod usage;

/// Cargo sets `cfg(test)` for benches, too, and says `--bench` when it is one.
#[cfg(test)]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--bench") {
        report::finish(rounds::run(&options::Options::read()))
    } else {
        smoke::run(&arguments)
    }
}
