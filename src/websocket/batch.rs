//! What one read of a socket has brought: messages, one after another, each borrowed from the buffer it was read into.
//!
//! The buffer comes from `mod.rs` and goes back there with what was not taken. Invariants: every rule of RFC 6455 for
//! what a client sends is held here, and at the header where the header breaks it; nothing is kept of a message that is
//! larger than allowed; after a violation only closes and pings are heard.

use std::{mem, ops::Range};

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{
    READ_BYTES, Violation,
    frame::{CONTROL_BYTES_MAX, Header, Kind, unmask},
    make_room,
};

/// A message of a client, or a word about the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'b> {
    Text(&'b str),
    Binary(&'b [u8]),
    Ping(&'b [u8]),
    Pong,
    /// Nothing is heard after it.
    Close {
        code: Option<u16>,
        reason: &'b str,
    },
}

/// Bytes as they were read, and what is known of the message they go on with.
#[derive(Debug)]
pub struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
    pub(super) end: usize,
    /// The bytes stand in the thread's buffer, which has to go back to it.
    pub(super) lent: bool,
    /// What is left is the beginning of a frame, or nothing.
    pub(super) starved: bool,
    pub(super) course: Course,
    /// The message of several fragments that was given out last.
    whole: Vec<u8>,
}

/// How far a conversation has come between two reads.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) message_bytes_max: usize,
    fragments: Option<Box<Fragments>>,
    /// So much of a frame that was refused is still to come.
    skip: u64,
    refused: bool,
    closed: bool,
}

/// A message whose end has not come.
#[derive(Debug, Default)]
struct Fragments {
    is_text: bool,
    bytes: Vec<u8>,
    /// So much of it is UTF-8, up to a character that may be split.
    checked: usize,
}

/// A message, and where it stands.
enum Found {
    Whole(Kind, Range<usize>),
    Assembled { is_text: bool },
}

impl Batch {
    pub(super) fn new(bytes: Vec<u8>, end: usize, lent: bool, course: Course) -> Self {
        Self {
            bytes,
            at: 0,
            end,
            lent,
            starved: false,
            course,
            whole: Vec::new(),
        }
    }

    /// So much came at once that there is probably more.
    pub fn is_large(&self) -> bool {
        self.end >= READ_BYTES / 2
    }

    /// The next message that is there as a whole.
    pub fn next_message(&mut self) -> Option<Result<Message<'_>, Violation>> {
        match self.find() {
            Err(violation) => Some(Err(violation)),
            Ok(None) => {
                self.starved = true;
                None
            }
            Ok(Some(found)) => Some(self.show(found)),
        }
    }

    fn find(&mut self) -> Result<Option<Found>, Violation> {
        loop {
            if self.course.closed {
                self.at = self.end;
            }
            self.skip();
            let unread = self.bytes.get(self.at..self.end).unwrap_or_default();
            let Some(header) = Header::read(unread) else {
                return Ok(None);
            };
            let total = header.payload.saturating_add(header.size as u64);
            let kind = match self.course.check(&header) {
                Ok(Some(kind)) => kind,
                Ok(None) => {
                    self.course.skip = total;
                    continue;
                }
                Err(violation) => {
                    self.course.refuse(total);
                    return Err(violation);
                }
            };
            let Some(end) = usize::try_from(total)
                .ok()
                .and_then(|total| self.at.checked_add(total))
                .filter(|&end| end <= self.end)
            else {
                return Ok(None);
            };
            let range = self.at + header.size..end;
            self.at = end;
            let payload = self.bytes.get_mut(range.clone()).unwrap_or_default();
            unmask(payload, header.mask.unwrap_or_default());
            if kind.is_control() || (header.is_final && kind != Kind::Continuation) {
                return Ok(Some(Found::Whole(kind, range)));
            }
            match self.course.gather(kind, header.is_final, payload) {
                Ok(None) => {}
                Ok(Some(fragments)) => {
                    self.whole = fragments.bytes;
                    let is_text = fragments.is_text;
                    return Ok(Some(Found::Assembled { is_text }));
                }
                Err(violation) => {
                    self.course.refuse(0);
                    return Err(violation);
                }
            }
        }
    }

    /// Passes over what is left of a refused frame.
    fn skip(&mut self) {
        let there = self.end - self.at;
        let skipped = usize::try_from(self.course.skip).map_or(there, |skip| skip.min(there));
        self.course.skip -= skipped as u64;
        self.at += skipped;
    }

    fn show(&mut self, found: Found) -> Result<Message<'_>, Violation> {
        let (kind, bytes) = match found {
            Found::Whole(kind, range) => (kind, self.bytes.get(range).unwrap_or_default()),
            Found::Assembled { is_text: true } => (Kind::Text, self.whole.as_slice()),
            Found::Assembled { is_text: false } => (Kind::Binary, self.whole.as_slice()),
        };
        let shown = match kind {
            Kind::Text => text(bytes).map(Message::Text),
            Kind::Binary | Kind::Continuation => Ok(Message::Binary(bytes)),
            Kind::Ping => Ok(Message::Ping(bytes)),
            Kind::Pong => Ok(Message::Pong),
            Kind::Close => close(bytes),
        };
        match &shown {
            Ok(Message::Close { .. }) => self.course.closed = true,
            Ok(_) => {}
            Err(_) => self.course.refuse(0),
        }
        shown
    }
}

impl Course {
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            ..Self::default()
        }
    }

    /// What kind of frame it is, if it is allowed here and still wanted.
    fn check(&self, header: &Header) -> Result<Option<Kind>, Violation> {
        let Some(kind) = header.kind else {
            return Err(Violation::Protocol(
                "a frame has an opcode that is reserved",
            ));
        };
        let wanted = kind.is_control() || !self.refused;
        if wanted && header.payload > self.message_bytes_max as u64 {
            return Err(self.too_large());
        }
        if header.mask.is_none() {
            return Err(Violation::Protocol("a client's frame is not masked"));
        }
        if header.has_reserved_bits {
            return Err(Violation::Protocol("a frame has reserved bits set"));
        }
        if kind.is_control() {
            if !header.is_final {
                return Err(Violation::Protocol("a control frame is fragmented"));
            }
            if header.payload > CONTROL_BYTES_MAX as u64 {
                return Err(Violation::Protocol("a control frame is over 125 bytes"));
            }
            return Ok(Some(kind));
        }
        if !wanted {
            return Ok(None);
        }
        let gathered = self
            .fragments
            .as_ref()
            .map_or(0, |fragments| fragments.bytes.len());
        match (kind, &self.fragments) {
            (Kind::Continuation, None) => {
                Err(Violation::Protocol("a continuation has no beginning"))
            }
            (Kind::Text | Kind::Binary, Some(_)) => Err(Violation::Protocol(
                "a message begins amid the fragments of another",
            )),
            _ if header.payload > (self.message_bytes_max - gathered) as u64 => {
                Err(self.too_large())
            }
            _ => Ok(Some(kind)),
        }
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let fragments = self.fragments.as_ref();
        fragments.map_or(0, |fragments| fragments.bytes.capacity())
    }

    fn too_large(&self) -> Violation {
        Violation::TooLarge {
            max: self.message_bytes_max,
        }
    }

    /// Hears no more messages; so much of what was refused is to be passed over.
    fn refuse(&mut self, skip: u64) {
        self.refused = true;
        self.skip = skip;
        self.fragments = None;
    }

    /// Adds a fragment; the message, if it was the last.
    fn gather(
        &mut self,
        kind: Kind,
        is_final: bool,
        payload: &[u8],
    ) -> Result<Option<Fragments>, Violation> {
        let mut fragments = self.fragments.take().unwrap_or_default();
        fragments.is_text |= kind == Kind::Text;
        make_room(&mut fragments.bytes, payload.len(), self.message_bytes_max);
        fragments.bytes.extend_from_slice(payload);
        if fragments.is_text {
            fragments.check(is_final)?;
        }
        if is_final {
            return Ok(Some(mem::take(&mut *fragments)));
        }
        self.fragments = Some(fragments);
        Ok(None)
    }
}

impl Fragments {
    fn check(&mut self, is_final: bool) -> Result<(), Violation> {
        let unchecked = self.bytes.get(self.checked..).unwrap_or_default();
        match std::str::from_utf8(unchecked) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !is_final => {
                self.checked += error.valid_up_to();
            }
            Err(_) => return Err(Violation::NotUtf8),
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(bytes).map_err(|_error| Violation::NotUtf8)
}

fn close(payload: &[u8]) -> Result<Message<'_>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            let (code, reason) = (None, "");
            Ok(Message::Close { code, reason })
        } else {
            Err(Violation::Protocol("a close has half a code"))
        };
    };
    let (code, reason) = (u16::from_be_bytes(*code), text(reason)?);
    Ok(if CloseCode::from(code).is_allowed() {
        Message::Close {
            code: Some(code),
            reason,
        }
    } else {
        // It wants to be gone, and is: a code that may not be sent is not sent back.
        Message::Close {
            code: Some(CloseCode::Protocol.into()),
            reason: "a close code that may not be sent",
        }
    })
}
