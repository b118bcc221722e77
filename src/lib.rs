//! Audio ingest for real-time agent assist: telephone audio comes in over WebSocket, from Exotel and from clients with
//! a JWT; every frame goes out to one Redis Stream. A journal on disk carries frames over an outage of Redis, and is
//! where they go if there is none.
//!
//! # The map
//!
//! ```text
//!  main ─▶ cli ─▶ serve ─▶ app ─▶ config       demo ─▶ app, simulate       simulate, token, check
//!                           ▼                  doctor ─▶ simulate, readback
//!                           │                  verify, export ─▶ readback ─▶ publisher, journal
//!                           │                  replay ─▶ publisher        tail ─▶ publisher, journal
//!                         server ─▶ health           the edges: sockets, disk, clocks, tasks
//!                           ▼
//!    connection ──▶ calls ──▶ publisher ──▶ journal        connection ─▶ websocket: frames under the messages
//!        │            │           │
//!  ══════│════════════│═══════════│════════════════════════════════════════════════════════════
//!        ▼            ▼           ▼                  the core: pure, no tokio, no clock, no disk
//!     intake        call       record                admission ─▶ auth
//!        ▼                        ▲                  proof, rebuilt ─▶ manifest, published: records read back
//!     dialect ─▶ payload ─▶ audio, frame
//!
//!  telemetry, metrics, shutdown, clock: any edge may use them
//! ```
//!
//! A message's way: [`connection`] reads it off the socket ([`websocket`]); [`intake`] understands it (through [`dialect`]) and gives
//! back effects and audio (through [`payload`]); [`calls`] numbers the audio in its session's [`call`] and appends it
//! to a lane of the [`publisher`], already in the bytes that Redis will get ([`record`]); the lane's owner gathers,
//! sends, and confirms. There is no wait between the socket and the lane. Threads look at their sockets in [`rounds`], one
//! for each time that frames gather.
//!
//! When Redis is away (`publisher/redis_lane/`): `patience.rs` says when that is; the lane's owner then hands what it has to
//! the keeper (`keeper.rs`), which writes and syncs the [`journal`] on a thread that may block (`bridge.rs`). When Redis is
//! back, `approach.rs` fences the old connection off (`fence.rs`) and reads back what had arrived, and the backlog
//! (`backlog.rs`: by call, what is not published) is read in passes, live calls first (`replay.rs`, `catch_up.rs`), no
//! faster than the consumer groups read (`groups/`). What Redis's errors mean is in `redis_error.rs`.
//!
//! What an operator can ask a running service: the book of [`handshakes`], which the server writes, and the listing of
//! [`calls`] (`calls/listing.rs`), and the page that shows both (`server/live/`); `server/ops_access.rs` says who may.
//!
//! # Invariants
//!
//! - A frame that was read leaves the process confirmed by Redis or synced in the journal, or is counted in the log as
//!   lost; audio that nothing could hold is counted in a `gap` record.
//! - Frames of a session are numbered and appended under one lock, and a lane sends one batch at a time, whole or not
//!   at all: so their order in the stream is the order in which they came.
//! - Every session that began ends with one `call_end`, after its last frame, whatever way it ended.
//! - An ack is never sent before what it acknowledges is durable.
//! - Nothing that a peer sends ends the process, grows memory without bound, or appears in the log if it is a secret.
//! - What is in the journal is published once, in order within its call, whoever is killed meanwhile.
//! - Reading a call's socket waits for one thing only: room in the lane that its frames go to.
//!
//! # Deliberately absent
//!
//! No wait for Redis per frame, no channel per frame, no timer reset per frame. No trait where one type is enough. No
//! reading of the environment outside [`config`], no wall clock outside [`clock`], no task without an owner.

pub mod cli;
pub mod config;

pub mod app;
pub mod demo;
pub mod doctor;
pub mod health;
pub mod prepared;
pub mod server;
pub mod simulate;
pub mod websocket;

pub mod calls;
pub mod connection;
pub mod handshakes;
pub mod journal;
pub mod publisher;
pub mod readback;
pub mod tail;

pub mod clock;
pub mod metrics;
pub mod open_files;
pub mod rounds;
pub mod shutdown;
pub mod telemetry;

pub mod admission;
pub mod auth;
pub mod client_address;

pub mod call;
pub mod dialect;
pub mod intake;
pub mod payload;
pub mod record;

pub mod manifest;
pub mod proof;
pub mod published;
pub mod rebuilt;

pub mod audio;
pub mod duration;
pub mod frame;
pub mod secret;
