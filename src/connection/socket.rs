//! A WebSocket's two directions driven together: the next message in, and what waits to go out.
//!
//! Reading never waits for writing: replies stand in a short queue and leave as the peer takes them. Invariant: what
//! is queued is bounded; an ack replaces an older one that has not left.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::extract::ws::{CloseFrame, Message};
use futures_util::{Sink, Stream};
use tokio_tungstenite::tungstenite::{self, error::CapacityError};

use crate::dialect::reply::{self, close};

/// A socket with its outgoing queue.
#[derive(Debug)]
pub(super) struct Socket<S> {
    inner: S,
    outgoing: VecDeque<Message>,
    ack: Option<u64>,
    unflushed: bool,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Incoming {
    Message(Message),
    /// The peer is gone, with or without a word.
    Gone,
    /// What WebSocket itself forbids: the close code that says so.
    Forbidden(u16, String),
}

impl<S> Socket<S>
where
    S: Stream<Item = Result<Message, axum::Error>> + Sink<Message, Error = axum::Error> + Unpin,
{
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            outgoing: VecDeque::new(),
            ack: None,
            unflushed: false,
        }
    }

    /// Queues a text; a peer that takes nothing does not make us keep more and more for it.
    pub(super) fn send_text(&mut self, text: String) -> bool {
        if self.outgoing.len() >= OUTGOING_MAX {
            return false;
        }
        self.push_ack();
        self.outgoing.push_back(Message::Text(text.into()));
        true
    }

    /// Tells the client that all frames up to this one are durable, unless a later ack overtakes it.
    pub(super) fn send_ack(&mut self, seq: u64) {
        self.ack = Some(seq);
    }

    /// Lets no later ack overtake the one that waits: the next may be of another call.
    pub(super) fn settle_ack(&mut self) {
        if self.outgoing.len() < OUTGOING_MAX {
            self.push_ack();
        }
    }

    pub(super) fn send_ping(&mut self) {
        if self.outgoing.len() < OUTGOING_MAX {
            self.outgoing
                .push_back(Message::Ping(axum::body::Bytes::new()));
        }
    }

    pub(super) fn send_close(&mut self, code: u16, reason: &str) {
        self.push_ack();
        let reason = crate::frame::clip(reason, CLOSE_REASON_BYTES_MAX).to_owned();
        self.outgoing.push_back(Message::Close(Some(CloseFrame {
            code,
            reason: reason.into(),
        })));
    }

    /// Forgets what has not left: after the peer's close nothing may be said.
    pub(super) fn discard_outgoing(&mut self) {
        self.outgoing.clear();
        self.ack = None;
    }

    /// Moves both directions; ready with what came in, if `reading`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<Incoming> {
        if let Poll::Ready(Err(_)) = self.poll_write(cx) {
            return Poll::Ready(Incoming::Gone);
        }
        if !reading {
            return Poll::Pending;
        }
        Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
            Some(Ok(message)) => Incoming::Message(message),
            Some(Err(error)) => classify(error),
            None => Incoming::Gone,
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        loop {
            if self.outgoing.is_empty() {
                if self.unflushed {
                    ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
                    self.unflushed = false;
                }
                // No sooner than all before it has left: until then a newer ack may take its place.
                self.push_ack();
            }
            if self.outgoing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.inner).poll_ready(cx))?;
            if let Some(message) = self.outgoing.pop_front() {
                Pin::new(&mut self.inner).start_send(message)?;
                self.unflushed = true;
            }
        }
    }

    fn push_ack(&mut self) {
        if let Some(seq) = self.ack.take() {
            self.outgoing
                .push_back(Message::Text(reply::ack(seq).into()));
        }
    }
}

fn classify(error: axum::Error) -> Incoming {
    let text = error.to_string();
    let Ok(error) = error.into_inner().downcast::<tungstenite::Error>() else {
        return Incoming::Gone;
    };
    match *error {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            Incoming::Forbidden(close::TOO_LARGE, text)
        }
        tungstenite::Error::Utf8(_) => Incoming::Forbidden(close::BAD_PAYLOAD, text),
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => Incoming::Gone,
        tungstenite::Error::Protocol(_) => Incoming::Forbidden(close::PROTOCOL, text),
        _ => Incoming::Gone,
    }
}

/// Replies to a client that does not read: a started, an error, a close and some pings.
const OUTGOING_MAX: usize = 16;
/// What a control frame holds besides the code.
const CLOSE_REASON_BYTES_MAX: usize = 123;
