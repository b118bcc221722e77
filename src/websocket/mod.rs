//! A WebSocket after its handshake, as a server sees it (RFC 6455): messages out of bytes, frames into bytes.
//!
//! A thousand calls each bring a small frame every 20 ms, so what a connection keeps to itself is cold by the time the
//! next one comes: here the buffer is the thread's, a message is borrowed from it, and nothing is allocated for a
//! message that came whole. The handshake is `server/`'s; what is said, and when a connection ends, `connection/`'s.
//! Invariants: what is kept for a peer is bounded by the largest message, by what it really sent, and by a few replies;
//! a wake costs one read of the socket.

mod batch;
mod frame;
mod outgoing;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    cell::Cell,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use self::batch::{Batch, Message};
use self::{batch::Course, frame::HEADER_BYTES_MAX, outgoing::Outgoing};

/// What WebSocket forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("a message is longer than the {max} bytes of MAX_MESSAGE_BYTES")]
    TooLarge { max: usize },
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("{0}")]
    Protocol(&'static str),
}

/// A server's end of a WebSocket.
#[derive(Debug)]
pub struct WebSocket<T> {
    io: T,
    /// Read, and not taken: half a frame, or what the reader had no room for.
    tail: Vec<u8>,
    /// There may be whole messages in the tail.
    unread: bool,
    course: Course,
    outgoing: Outgoing,
    unflushed: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> WebSocket<T> {
    /// `already_read`: what came together with the handshake.
    pub fn new(io: T, already_read: &[u8], message_bytes_max: usize) -> Self {
        Self {
            io,
            tail: already_read.to_vec(),
            unread: !already_read.is_empty(),
            course: Course::new(message_bytes_max),
            outgoing: Outgoing::default(),
            unflushed: false,
        }
    }

    /// What has come since, to be taken message by message and given back with [`Self::put_back`] before anything else
    /// is waited for; `None` when the peer is gone.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        if self.unread {
            let bytes = mem::take(&mut self.tail);
            let (end, course) = (bytes.len(), mem::take(&mut self.course));
            return Poll::Ready(Some(Batch::new(bytes, end, false, course)));
        }
        let begun = self.tail.len();
        let lent = begun <= READ_BYTES / 2;
        let mut bytes = if lent {
            self.borrow_buffer()
        } else {
            self.grow_tail()
        };
        let mut space = ReadBuf::new(bytes.get_mut(begun..).unwrap_or_default());
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut space);
        let read = space.filled().len();
        if read > 0 && matches!(polled, Poll::Ready(Ok(()))) {
            self.tail = Vec::new();
            let course = mem::take(&mut self.course);
            return Poll::Ready(Some(Batch::new(bytes, begun + read, lent, course)));
        }
        if lent {
            READ_BUFFER.set(bytes);
        } else {
            bytes.truncate(begun);
            self.tail = bytes;
        }
        polled.map(|_gone| None)
    }

    /// The thread's buffer, beginning with what was read before.
    fn borrow_buffer(&self) -> Vec<u8> {
        let mut buffer = READ_BUFFER.take();
        if buffer.is_empty() {
            buffer = vec![0; READ_BYTES];
        }
        if let Some(beginning) = buffer.get_mut(..self.tail.len()) {
            beginning.copy_from_slice(&self.tail);
        }
        buffer
    }

    /// A frame that is large is gathered where it is, with room for one read more.
    fn grow_tail(&mut self) -> Vec<u8> {
        let mut tail = mem::take(&mut self.tail);
        let max = self.course.message_bytes_max + HEADER_BYTES_MAX + READ_BYTES;
        make_room(&mut tail, READ_BYTES, max);
        tail.resize(tail.len() + READ_BYTES, 0);
        tail
    }

    /// Writes what waits; ready when all of it has left.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let unsent = self.outgoing.unsent();
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, unsent))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.left(count);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T> WebSocket<T> {
    /// Keeps what was not taken.
    pub fn put_back(&mut self, batch: Batch) {
        let rest = batch.bytes.get(batch.at..batch.end).unwrap_or_default();
        self.unread = !batch.starved && !rest.is_empty();
        self.course = batch.course;
        if batch.lent || batch.at > 0 {
            self.tail = rest.to_vec();
        }
        if batch.lent {
            READ_BUFFER.set(batch.bytes);
        } else if batch.at == 0 {
            self.tail = batch.bytes;
            self.tail.truncate(batch.end);
        }
    }

    /// Whether a text would be taken; a peer that reads nothing does not make us keep more and more for it.
    pub fn has_room(&self) -> bool {
        self.outgoing.has_room()
    }

    /// Queues a text; whether there was room for it.
    pub fn send_text(&mut self, text: &str) -> bool {
        self.outgoing.text(text)
    }

    pub fn send_ping(&mut self) {
        self.outgoing.ping();
    }

    /// Answers a ping: the newest, if several wait.
    pub fn send_pong(&mut self, payload: &[u8]) {
        self.outgoing.pong(payload);
    }

    /// Queues a close, behind which nothing more is queued.
    pub fn send_close(&mut self, code: Option<u16>, reason: &str) {
        self.outgoing.close(code, reason);
    }
}

/// Makes room for so much more, and some beyond it, though for no more than `max` in all.
fn make_room(bytes: &mut Vec<u8>, more: usize, max: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        let roomy = (2 * bytes.capacity()).min(max).max(needed);
        bytes.reserve_exact(roomy - bytes.len());
    }
}

thread_local! {
    /// Empty while somebody reads with it.
    static READ_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Fifty frames of 20 ms as Exotel sends them, or a good part of a large one.
const READ_BYTES: usize = 32 * 1024;
