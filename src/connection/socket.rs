//! A WebSocket's two directions driven together: what came in, and what waits to go out.
//!
//! Frames are `websocket/`'s. Reading never waits for writing: replies stand in a short queue and leave as the peer
//! takes them. Invariant: what is queued is bounded; an ack replaces an older one that has not left.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::counts::{NOT_UTF8, PROTOCOL_ERROR};
use crate::{
    dialect::reply::{self, ErrorCode, close},
    websocket::{Batch, Violation, WebSocket},
};

/// A socket with the ack that may still be overtaken.
#[derive(Debug)]
pub(super) struct Socket<T> {
    inner: WebSocket<T>,
    ack: Option<u64>,
    /// The peer has closed: the socket goes as soon as the answer has left.
    answered: bool,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Incoming {
    Messages(Batch),
    /// The peer is gone, with or without a word, or has had the answer to its close.
    Gone,
}

impl<T> Socket<T> {
    pub(super) fn new(inner: WebSocket<T>) -> Self {
        Self {
            inner,
            ack: None,
            answered: false,
        }
    }

    /// Queues a text; a peer that takes nothing does not make us keep more and more for it.
    pub(super) fn send_text(&mut self, text: &str) -> bool {
        self.settle_ack();
        self.inner.send_text(text)
    }

    /// Tells the client that all frames up to this one are durable, unless a later ack overtakes it.
    pub(super) fn send_ack(&mut self, seq: u64) {
        self.ack = Some(seq);
    }

    /// Lets no later ack overtake the one that waits: the next may be of another call.
    pub(super) fn settle_ack(&mut self) {
        if let Some(seq) = self.ack.take_if(|_| self.inner.has_room()) {
            self.inner.send_text(&reply::ack(seq));
        }
    }

    pub(super) fn send_ping(&mut self) {
        self.inner.send_ping();
    }

    pub(super) fn send_pong(&mut self, payload: &[u8]) {
        self.inner.send_pong(payload);
    }

    pub(super) fn send_close(&mut self, code: u16, reason: &str) {
        self.settle_ack();
        self.inner.send_close(Some(code), reason);
    }

    /// Answers the peer's close, after which nothing is said.
    pub(super) fn answer_close(&mut self, code: Option<u16>, reason: &str) {
        self.ack = None;
        self.inner.send_close(code, reason);
        self.answered = true;
    }

    pub(super) fn put_back(&mut self, batch: Batch) {
        self.inner.put_back(batch);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// Moves both directions; ready with what came in, if `reading`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<Incoming> {
        match self.poll_write(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(Incoming::Gone),
            Poll::Ready(Ok(())) if self.answered => return Poll::Ready(Incoming::Gone),
            _ => {}
        }
        if !reading {
            return Poll::Pending;
        }
        let batch = ready!(self.inner.poll_read(cx));
        Poll::Ready(batch.map_or(Incoming::Gone, Incoming::Messages))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.inner.poll_write(cx))?;
            // No sooner than all before it has left: until then a newer ack may take its place.
            let Some(seq) = self.ack.take() else {
                return Poll::Ready(Ok(()));
            };
            self.inner.send_text(&reply::ack(seq));
        }
    }
}

/// The close code that says what is forbidden.
pub(super) fn close_code(violation: Violation) -> u16 {
    match violation {
        Violation::TooLarge { .. } => close::TOO_LARGE,
        Violation::NotUtf8 => close::BAD_PAYLOAD,
        Violation::Protocol(_) => close::PROTOCOL,
    }
}

/// What such an end is counted as.
pub(super) fn farewell(violation: Violation) -> &'static str {
    match violation {
        Violation::TooLarge { .. } => ErrorCode::TooLarge.name(),
        Violation::NotUtf8 => NOT_UTF8,
        Violation::Protocol(_) => PROTOCOL_ERROR,
    }
}
