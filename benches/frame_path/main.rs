//! What a frame costs, in instructions, piece by piece and whole; and that it costs no allocation.
//!
//! Valgrind counts, so a noisy machine counts the same: the pieces to the instruction, the whole way, with its TCP
//! connection to a scripted Redis, to a thousandth. Everything is counted over a thousand frames but `replies`,
//! so 4,685,046 are 4,685 per frame. The limits are what was counted plus three in a hundred, for another libc, and for
//! what a change elsewhere does to the optimiser. A limit that is exceeded fails `make test`.
//!
//! Whoever raises a limit says in the commit what the frames get for it, with the count before and after; whoever makes
//! something cheaper lowers it. A new toolchain or library may move all of them: in a commit of its own.
//! The limits hold for x86-64; elsewhere it only counts. Where instructions go: `callgrind_annotate` on the files in
//! `target/gungraun/`; where allocations come from: the `dhat.*.out` there.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what cannot be counted has to say so, and its author is at hand"
)]
#![expect(
    unused_qualifications,
    clippy::disallowed_methods,
    clippy::exit,
    reason = "what gungraun's macros become"
)]

mod messages;
mod pieces;
mod script;
mod tape;
mod way;

use std::hint::black_box;

use gungraun::{
    Callgrind, Dhat, DhatMetric, EventKind, library_benchmark, library_benchmark_group, main,
    prelude::LibraryBenchmarkConfig,
};
use rtaa_ingest::record::frame::FrameFormat;

use self::{
    pieces::{Answered, Audible, Client, FRAMES, Socket, Speaking, Spoken},
    way::{CALLS, Stage},
};

// From a message to the samples of its call.
#[library_benchmark(setup = Spoken::new)]
#[bench::exotel_20_ms(args = (Client::Exotel { ms: 20 }), config = at_most(4_826_000))]
#[bench::exotel_100_ms(args = (Client::Exotel { ms: 100 }), config = at_most(7_797_000))]
#[bench::custom_20_ms(args = (Client::Custom), config = at_most(2_719_000))]
#[bench::mulaw_20_ms(args = (Client::Mulaw), config = at_most(3_143_000))]
#[bench::binary_20_ms(args = (Client::Binary), config = at_most(247_000))]
fn decode(mut spoken: Spoken) -> (usize, Spoken) {
    (spoken.decode(), spoken)
}

// From the bytes of a read to messages.
#[library_benchmark(setup = Socket::new)]
#[bench::one_per_read(args = (1), config = at_most(1_266_000))]
#[bench::fifty_per_read(args = (50), config = at_most(1_451_000))]
fn websocket(mut socket: Socket) -> (usize, Socket) {
    (socket.read(FRAMES), socket)
}

// From the samples to the command in the lane's batch; base64 is passed on where it came.
#[library_benchmark(setup = Audible::new)]
#[bench::json_from_text(args = (FrameFormat::Json, true), config = at_most(994_000))]
#[bench::json_from_samples(args = (FrameFormat::Json, false), config = at_most(1_507_000))]
#[bench::fields(args = (FrameFormat::Fields, true), config = at_most(1_723_000))]
fn encode(audible: Audible) -> Audible {
    audible.encode();
    audible
}

// From a message to the command in the lane's batch: numbered, in the manifest, and every four seconds in the metadata.
#[library_benchmark(setup = Speaking::new)]
#[bench::exotel_20_ms(args = (Client::Exotel { ms: 20 }), config = at_most(6_276_000))]
fn publish(mut speaking: Speaking) -> Speaking {
    speaking.publish();
    speaking
}

// The replies to one transaction of 64 frames.
#[library_benchmark(setup = Answered::new)]
#[bench::of_64_frames(args = (64), config = at_most(57_000))]
fn replies(answered: Answered) -> usize {
    black_box(answered.hear())
}

// All of it, from the socket to Redis's confirmation: fifty calls of twenty frames each.
#[library_benchmark(setup = Stage::new)]
#[bench::exotel_20_ms(args = (FRAMES / CALLS), config = at_most(10_541_000).tool(no_more_blocks_than(30)))]
fn whole_way(stage: Stage) -> Stage {
    stage.run(FRAMES / CALLS)
}

/// Caches are not simulated: it would say little about another machine's.
fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    if cfg!(target_arch = "x86_64") {
        callgrind.hard_limits([(EventKind::Ir, instructions)]);
    }
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

/// Allocations of the whole thousand: one for each of the twenty transactions, none for a frame.
fn no_more_blocks_than(blocks: u64) -> Dhat {
    let mut dhat = Dhat::default();
    dhat.hard_limits([(DhatMetric::TotalBlocks, blocks)]);
    dhat
}

library_benchmark_group!(
    name = frame_path,
    benchmarks = [decode, websocket, encode, publish, replies, whole_way]
);

main!(library_benchmark_groups = frame_path);
