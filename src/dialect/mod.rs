//! What peers say: text or bytes to one [`Inbound`], whoever speaks and in whatever spelling.
//!
//! Exotel's events, its relatives' in camelCase, the simple dialect of custom clients and raw audio all end up here
//! as the same few values. Whether a message is allowed, and what follows from it, is decided in `intake.rs`.
//! Invariant: no field of any type or size makes an event unreadable; only what is not JSON, or has no `event`, is.

mod ordinary;
pub mod reply;
pub mod scalar;
pub mod start;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::de::MapAccess;

use self::{
    scalar::{Loose, Scalar, Slots, fill, pass},
    start::{Start, StartSlots},
};

/// One message of a peer.
#[derive(Debug)]
pub enum Inbound<'a> {
    Connected,
    Start(Box<Start>),
    /// Audio in base64, in Exotel's `media`.
    Media(Media<'a>),
    /// The same in the simple dialect's `audio`.
    Audio(Media<'a>),
    /// Audio as it is, in the connection's encoding.
    Raw(&'a [u8]),
    Dtmf {
        digit: String,
        duration_ms: Option<u64>,
    },
    Mark {
        name: String,
    },
    Clear,
    /// Exotel's `stop` with its own word for the reason, if it gave one.
    Stop {
        word: Option<String>,
    },
    /// The simple dialect's `end`.
    End,
    /// An event that we do not know, and that is no error.
    Unknown,
}

/// The words in which audio came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `media` events, Exotel's and its relatives'.
    Exotel,
    /// `audio` events.
    Simple,
    /// Binary messages that are no events.
    Binary,
}

impl Dialect {
    pub const ALL: [Self; 3] = [Self::Exotel, Self::Simple, Self::Binary];

    pub fn name(self) -> &'static str {
        match self {
            Self::Exotel => "exotel",
            Self::Simple => "simple",
            Self::Binary => "binary",
        }
    }
}

/// One piece of audio as it came in an event.
#[derive(Debug, Default)]
pub struct Media<'a> {
    /// Base64; `Nothing` where the member was missing or null.
    pub payload: Scalar<'a>,
    /// Milliseconds since the stream began, by the sender's reckoning.
    pub offset_ms: Option<u64>,
    /// Exotel's running index of media messages.
    pub chunk: Option<u64>,
    pub track: Option<Cow<'a, str>>,
    pub stream_sid: Option<Cow<'a, str>>,
    /// A custom client's own number for this frame.
    pub seq: Scalar<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message is not JSON")]
    NotJson,
    #[error("the message has no \"event\" that is a string")]
    NoEvent,
}

impl<'a> Media<'a> {
    /// Of an event that has its audio in an object of its own.
    fn nested(media: MediaSlots<'a>, track: Scalar<'a>, stream_sid: Scalar<'a>) -> Self {
        Self {
            payload: media.payload,
            offset_ms: media.timestamp.integer(),
            chunk: media.chunk.integer(),
            track: media.track.or(track).into_text(),
            stream_sid: stream_sid.or(media.stream_sid).into_text(),
            seq: Scalar::Nothing,
        }
    }

    /// Of an event that has its audio beside its name.
    fn flat(
        payload: Scalar<'a>,
        seq: Scalar<'a>,
        track: Scalar<'a>,
        stream_sid: Scalar<'a>,
    ) -> Self {
        Self {
            payload,
            track: track.into_text(),
            stream_sid: stream_sid.into_text(),
            seq,
            ..Self::default()
        }
    }
}

/// Reads a text message.
pub fn decode_text(text: &str) -> Result<Inbound<'_>, DecodeError> {
    match ordinary::read(text) {
        Some(audio) => Ok(audio),
        None => decode_any(text),
    }
}

/// Reads a text message, whatever it looks like.
fn decode_any(text: &str) -> Result<Inbound<'_>, DecodeError> {
    let Ok(Loose(envelope)) = serde_json::from_str::<Loose<Envelope<'_>>>(text) else {
        return Err(DecodeError::NotJson);
    };
    envelope.into_inbound().ok_or(DecodeError::NoEvent)
}

/// Reads a binary message: an event if it parses whole as one (Exotel is known to send JSON so), else audio.
/// Audio that merely begins with `{` stays audio.
pub fn decode_binary(bytes: &[u8]) -> Inbound<'_> {
    if bytes.trim_ascii_start().first() == Some(&b'{')
        && let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(event) = decode_text(text)
    {
        return event;
    }
    Inbound::Raw(bytes)
}

/// Every member that any event may have at the top.
#[derive(Debug, Default)]
struct Envelope<'a> {
    event: Scalar<'a>,
    track: Scalar<'a>,
    data: Scalar<'a>,
    seq: Scalar<'a>,
    detail: Detail<'a>,
    start: Option<StartSlots<'a>>,
    media: MediaSlots<'a>,
    /// The members of a start that stands flat in the message.
    flat: StartSlots<'a>,
}

impl<'de> Slots<'de> for Envelope<'de> {
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "event" => fill(&mut self.event, map),
            "track" => fill(&mut self.track, map),
            "data" => fill(&mut self.data, map),
            "seq" => fill(&mut self.seq, map),
            "media" => {
                self.media = map.next_value::<Loose<_>>()?.0;
                Ok(())
            }
            "start" => {
                self.start = Some(map.next_value::<Loose<_>>()?.0);
                Ok(())
            }
            "dtmf" | "mark" | "stop" => {
                let nested = map.next_value::<Loose<Detail<'de>>>()?.0;
                self.detail.take(nested);
                Ok(())
            }
            "digit" | "duration" | "name" | "reason" => self.detail.put(key, map),
            _ => self.flat.put(key, map),
        }
    }
}

impl<'a> Envelope<'a> {
    fn into_inbound(self) -> Option<Inbound<'a>> {
        let event = self.event.into_string()?;
        Some(match event.as_ref() {
            "media" => Inbound::Media(Media::nested(self.media, self.track, self.flat.stream_sid)),
            "audio" => Inbound::Audio(Media::flat(
                self.data,
                self.seq,
                self.track,
                self.flat.stream_sid,
            )),
            "start" => Inbound::Start(Box::new(Start::from_slots(&self.flat, self.start.as_ref()))),
            "connected" => Inbound::Connected,
            "dtmf" => Inbound::Dtmf {
                digit: self.detail.digit.owned().unwrap_or_default(),
                duration_ms: self.detail.duration.integer(),
            },
            "mark" => Inbound::Mark {
                name: self.detail.name.owned().unwrap_or_default(),
            },
            "clear" => Inbound::Clear,
            "stop" => Inbound::Stop {
                word: self.detail.reason.owned(),
            },
            "end" => Inbound::End,
            _ => Inbound::Unknown,
        })
    }
}

#[derive(Debug, Default)]
struct MediaSlots<'a> {
    payload: Scalar<'a>,
    timestamp: Scalar<'a>,
    chunk: Scalar<'a>,
    track: Scalar<'a>,
    stream_sid: Scalar<'a>,
}

impl<'a> MediaSlots<'a> {
    fn slot(&mut self, key: &[u8]) -> Option<&mut Scalar<'a>> {
        match key {
            b"payload" => Some(&mut self.payload),
            b"timestamp" => Some(&mut self.timestamp),
            b"chunk" => Some(&mut self.chunk),
            b"track" => Some(&mut self.track),
            b"stream_sid" | b"streamSid" => Some(&mut self.stream_sid),
            _ => None,
        }
    }
}

impl<'de> Slots<'de> for MediaSlots<'de> {
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match self.slot(key.as_bytes()) {
            Some(slot) => fill(slot, map),
            None => pass(map),
        }
    }
}

/// What `dtmf`, `mark` and `stop` carry, nested or flat.
#[derive(Debug, Default)]
struct Detail<'a> {
    digit: Scalar<'a>,
    duration: Scalar<'a>,
    name: Scalar<'a>,
    reason: Scalar<'a>,
}

impl<'a> Detail<'a> {
    fn take(&mut self, nested: Detail<'a>) {
        self.digit = nested.digit.or(std::mem::take(&mut self.digit));
        self.duration = nested.duration.or(std::mem::take(&mut self.duration));
        self.name = nested.name.or(std::mem::take(&mut self.name));
        self.reason = nested.reason.or(std::mem::take(&mut self.reason));
    }
}

impl<'de> Slots<'de> for Detail<'de> {
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "digit" => fill(&mut self.digit, map),
            "duration" => fill(&mut self.duration, map),
            "name" => fill(&mut self.name, map),
            "reason" => fill(&mut self.reason, map),
            _ => pass(map),
        }
    }
}
