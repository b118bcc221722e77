//! What a connection sends before the token that admits it has come (3.3): kept, bounded, and given back in order.

use std::{sync::Arc, time::Duration};

use super::Message;
use crate::{admission::Rules, frame::Now};

/// A connection that has been let in on the promise of a token.
#[derive(Debug)]
pub(super) struct Held {
    rules: Arc<Rules>,
    deadline: std::time::Instant,
    audio: Duration,
    bytes: usize,
    messages: Vec<(Now, OwnedMessage)>,
}

/// A message that outlives its buffer.
#[derive(Debug)]
pub enum OwnedMessage {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

impl OwnedMessage {
    pub fn borrow(&self) -> Message<'_> {
        match self {
            Self::Text(text) => Message::Text(text),
            Self::Binary(bytes) => Message::Binary(bytes),
        }
    }
}

/// More was sent than is kept without a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Held {
    pub(super) fn new(rules: Arc<Rules>, now: Now) -> Self {
        Self {
            rules,
            deadline: now.instant + WAIT,
            audio: Duration::ZERO,
            bytes: 0,
            messages: Vec::new(),
        }
    }

    pub(super) fn deadline(&self) -> std::time::Instant {
        self.deadline
    }

    pub(super) fn admits(&self, token: &str) -> bool {
        self.rules.url_token_matches(token)
    }

    pub(super) fn keep(
        &mut self,
        message: Message<'_>,
        audio: Duration,
        now: Now,
    ) -> Result<(), TooMuch> {
        let owned = match message {
            Message::Text(text) => OwnedMessage::Text(text.into()),
            Message::Binary(bytes) => OwnedMessage::Binary(bytes.into()),
        };
        self.audio += audio;
        self.bytes += message.len() + MESSAGE_OVERHEAD_BYTES;
        if self.audio > AUDIO_MAX || self.bytes > BYTES_MAX {
            return Err(TooMuch);
        }
        self.messages.push((now, owned));
        Ok(())
    }

    pub(super) fn into_messages(self) -> Vec<(Now, OwnedMessage)> {
        self.messages
    }
}

const WAIT: Duration = Duration::from_secs(5);
const AUDIO_MAX: Duration = Duration::from_secs(5);
/// 5 s of 24 kHz PCM16 are 240 kB, 320 kB in base64; with JSON around 20 ms pieces about 400 kB.
const BYTES_MAX: usize = 1 << 20;
/// So that a flood of empty messages is bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 64;
