//! Sound itself: G.711, WAV files and a voice to test with.
//!
//! Part of the core: bytes and samples in, bytes and samples out. No sockets, no clock, no files of its own; the wire
//! formats that carry sound are elsewhere. Everywhere in here a sample is a signed 16-bit number, and its bytes are little-endian.

mod filter;
pub mod g711;
pub mod recording;
pub mod voice;
pub mod wav;
