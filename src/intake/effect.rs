//! What goes in and out of a connection's conversation: messages, audio and what is to be done.

use crate::{
    call::{About, CallName, Reason},
    dialect::{DecodeError, Dialect, reply::ErrorCode},
    payload::{Audio, BadBase64},
    record::Detail,
};

/// One message as the socket gave it.
#[derive(Debug, Clone, Copy)]
pub enum Message<'m> {
    Text(&'m str),
    Binary(&'m [u8]),
}

impl Message<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// Audio of the call that was opened last.
#[derive(Debug)]
pub struct Heard<'m> {
    pub audio: Audio<'m>,
    /// Index of its track, for [`super::Intake::track`].
    pub track: usize,
    pub media_ms: Option<u64>,
    /// The sender's own number for this frame.
    pub seq: Option<u64>,
    pub dialect: Dialect,
}

/// What is to be done; each is done before the next, and before the audio that came with it.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Begin this call or take it up; all that follows belongs to it.
    Open(Opening),
    /// Tell a custom client where to go on, once what came earlier is durable.
    Started,
    Event(Box<Detail>),
    End(Reason),
    /// All was said: ack what is durable and close with 1000.
    Finish,
    /// Turn a custom client away.
    Fail(Refusal),
    Close(u16),
    /// An Exotel message that could not be used; `total` of them so far.
    Bad {
        error: Bad,
        total: u64,
    },
    Warn(String),
    /// At which rate the audio arrives; with advice where that is not the declared one.
    Rate {
        declared: u32,
        measured: u32,
        advice: Option<String>,
    },
    /// The peer did not bring the token on whose promise it was let in.
    Denied(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    pub name: CallName,
    /// What the start said; `None` for audio without one.
    pub start: Option<Box<(About, Detail)>>,
}

#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Audio(#[from] BadBase64),
    #[error("the event carries no audio")]
    NoAudio,
    #[error("seq is not a whole number from 0 to 2^53")]
    Seq,
    #[error("more tracks than a connection may have")]
    TooManyTracks,
}

impl Bad {
    /// What such messages are counted as.
    pub const REASONS: [&str; 6] = [
        "not_json",
        "no_event",
        "bad_base64",
        "no_audio",
        "bad_seq",
        "too_many_tracks",
    ];

    pub fn reason(self) -> &'static str {
        match self {
            Self::Decode(DecodeError::NotJson) => "not_json",
            Self::Decode(DecodeError::NoEvent) => "no_event",
            Self::Audio(_) => "bad_base64",
            Self::NoAudio => "no_audio",
            Self::Seq => "bad_seq",
            Self::TooManyTracks => "too_many_tracks",
        }
    }
}
