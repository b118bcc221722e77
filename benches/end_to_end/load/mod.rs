//! The callers: one thread that drives all connections with plain non-blocking writes.
//!
//! `rtaa-ingest simulate` is not used: it has a task per call, timers of a millisecond, and a frame type of a library, which
//! is right for rehearsing a call and costs several times what the measured server does. Its words are used: every
//! message here is written by `simulate::wire`. `stamp` makes audio that proves itself, `encoder` puts messages into
//! WebSocket frames, `door` opens connections, `caller` is one of them.
//!
//! Invariant: a frame carries the time just before its first attempt to leave, so a server that does not read cannot hide
//! its delay.

pub(crate) mod caller;
pub(crate) mod door;
pub(crate) mod encoder;
pub(crate) mod stamp;

use anyhow::Result;

use self::{caller::Caller, door::Door, encoder::Encoder};
use crate::clock::now_ns;

/// How the audio travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Base64 in `media` events.
    Json,
    /// As it is, in binary messages.
    Binary,
}

/// What all callers of a run say.
#[derive(Clone, Copy)]
pub(crate) struct Speech {
    pub form: Form,
    pub frame_ms: u32,
}

impl Speech {
    /// Adds the caller's next frame to what the encoder holds.
    pub(crate) fn frame(self, caller: &mut Caller, encoder: &mut Encoder, sent_ns: u64) {
        caller.frames += 1;
        encoder.frame(self, caller, sent_ns);
    }

    /// Sends each caller's next frame at once.
    pub(crate) fn speak_once(self, callers: &mut [Caller], encoder: &mut Encoder) {
        for caller in callers {
            encoder.clear();
            self.frame(caller, encoder, now_ns());
            caller.send(encoder.bytes());
        }
    }
}

/// The callers of one run, by a name that no other run has.
pub(crate) struct Crowd {
    pub run: String,
    pub calls: u32,
    pub speech: Speech,
}

impl Crowd {
    pub(crate) fn new(calls: u32, speech: Speech) -> Self {
        Self {
            run: format!("{:08x}", (now_ns() >> 16) as u32),
            calls,
            speech,
        }
    }

    /// All of them connected and their calls started.
    pub(crate) fn gather(&self, door: &Door, encoder: &mut Encoder) -> Result<Vec<Caller>> {
        let mut callers = door.open(&self.run, 0, self.calls)?;
        for caller in &mut callers {
            caller.start(encoder);
        }
        Ok(callers)
    }
}

/// A generator whose numbers only have to differ and to be the same in every run (Vigna's splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// 8 kHz, as telephones have it.
pub(crate) const RATE: u32 = 8_000;
