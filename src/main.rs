//! The program: hands the arguments to the command line, and says how it ended.
//!
//! Everything else is in the library. Invariant: the exit codes are those of the contract (1.3).

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use rtaa_ingest::{
    cli::{self, UsageError},
    config::error::ConfigErrors,
};

/// The system's allocator keeps what 2,000 calls have used (25 MiB) for ever; this one gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            let code = if error.is::<ConfigErrors>() {
                EX_CONFIG
            } else if error.is::<UsageError>() {
                BAD_USAGE
            } else {
                1
            };
            // Where even standard error is gone, the code still tells.
            report(&error).ok();
            ExitCode::from(code)
        }
    }
}

/// The error and what caused it, a line each.
fn report(error: &anyhow::Error) -> io::Result<()> {
    let mut out = io::stderr().lock();
    writeln!(out, "error: {error}")?;
    for cause in error.chain().skip(1) {
        writeln!(out, "  caused by: {cause}")?;
    }
    out.flush()
}

/// The code of the command line's own refusals.
const BAD_USAGE: u8 = 2;
/// `sysexits.h` knows it by this name and number.
const EX_CONFIG: u8 = 78;
