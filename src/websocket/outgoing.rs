//! What is to be sent on a socket and has not left.
//!
//! Writing it is `mod.rs`'s. Invariants: bounded, whoever does not read; frames leave whole and in order; nothing is
//! added behind a close.

use super::frame::{CONTROL_BYTES_MAX, Kind, write};

/// Frames as bytes, most of the time none.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// The newest ping's answer, while others stand before it.
    pong: Option<Box<[u8]>>,
    closed: bool,
}

impl Outgoing {
    pub(super) fn has_room(&self) -> bool {
        !self.closed && self.unsent().len() < UNSENT_BYTES_MAX
    }

    /// Whether it was taken.
    pub(super) fn text(&mut self, text: &str) -> bool {
        let room = self.has_room();
        if room {
            write(&mut self.bytes, Kind::Text, [text.as_bytes(), &[]]);
        }
        room
    }

    pub(super) fn ping(&mut self) {
        if self.has_room() {
            write(&mut self.bytes, Kind::Ping, [&[], &[]]);
        }
    }

    /// Answers a ping, unless the next ping overtakes the answer.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if self.closed {
            return;
        }
        if self.is_empty() {
            write(&mut self.bytes, Kind::Pong, [payload, &[]]);
        } else {
            self.pong = Some(payload.into());
        }
    }

    /// The last word; a reason that is too long for a control frame is cut.
    pub(super) fn close(&mut self, code: Option<u16>, reason: &str) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.pong = None;
        match code {
            None => write(&mut self.bytes, Kind::Close, [&[], &[]]),
            Some(code) => {
                let reason = crate::frame::clip(reason, CONTROL_BYTES_MAX - 2);
                let parts = [&code.to_be_bytes()[..], reason.as_bytes()];
                write(&mut self.bytes, Kind::Close, parts);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent().is_empty()
    }

    pub(super) fn unsent(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// So much of it has left. Memory is given back when all has.
    pub(super) fn left(&mut self, count: usize) {
        self.sent += count;
        if self.is_empty() {
            (self.bytes, self.sent) = (Vec::new(), 0);
            if let Some(payload) = self.pong.take() {
                self.pong(&payload);
            }
        } else if self.sent >= UNSENT_BYTES_MAX {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// Replies to a client that does not read: a started, an error, a close and some pings.
const UNSENT_BYTES_MAX: usize = 16 * 1024;
