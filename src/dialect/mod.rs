//! What peers say: text or bytes to one [`Inbound`], whoever speaks and in whatever spelling.
//!
//! Exotel's events, its relatives' in camelCase, the simple dialect of custom clients and raw audio all end up here
//! as the same few values. Whether a message is allowed, and what follows from it, is decided in `intake.rs`.
//! Invariant: no field of any type or size makes an event unreadable; only what is not JSON, or has no `event`, is.

pub mod reply;
pub mod scalar;
pub mod start;

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
    /// Audio in base64: Exotel's `media` or the simple dialect's `audio`.
    Media(Media<'a>),
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

/// Reads a text message.
pub fn decode_text(text: &str) -> Result<Inbound<'_>, DecodeError> {
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
            "media" => Inbound::Media(Media {
                payload: self.media.payload,
                offset_ms: self.media.timestamp.integer(),
                chunk: self.media.chunk.integer(),
                track: self.media.track.or(self.track).into_text(),
                stream_sid: self.flat.stream_sid.or(self.media.stream_sid).into_text(),
                seq: Scalar::Nothing,
            }),
            "audio" => Inbound::Media(Media {
                payload: self.data,
                track: self.track.into_text(),
                stream_sid: self.flat.stream_sid.into_text(),
                seq: self.seq,
                ..Media::default()
            }),
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

impl<'de> Slots<'de> for MediaSlots<'de> {
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "payload" => fill(&mut self.payload, map),
            "timestamp" => fill(&mut self.timestamp, map),
            "chunk" => fill(&mut self.chunk, map),
            "track" => fill(&mut self.track, map),
            "stream_sid" | "streamSid" => fill(&mut self.stream_sid, map),
            _ => pass(map),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn media(text: &str) -> Media<'_> {
        match decode_text(text) {
            Ok(Inbound::Media(media)) => media,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn media_is_read_with_strings_numbers_or_next_to_nothing() {
        let strings = media(
            r#"{"event":"media","stream_sid":"s1","sequence_number":"2","media":{"chunk":"1","timestamp":"20","payload":"AAAA"}}"#,
        );
        assert_eq!((strings.offset_ms, strings.chunk), (Some(20), Some(1)));
        assert_eq!(strings.stream_sid.as_deref(), Some("s1"));
        assert!(matches!(
            strings.payload,
            Scalar::Text(Cow::Borrowed("AAAA"))
        ));

        let numbers = media(
            r#"{"event":"media","streamSid":"s1","media":{"track":"inbound","chunk":1,"timestamp":20,"payload":"A\/A="}}"#,
        );
        assert_eq!((numbers.offset_ms, numbers.chunk), (Some(20), Some(1)));
        assert_eq!(numbers.track.as_deref(), Some("inbound"));
        assert_eq!(numbers.payload.text().as_deref(), Some("A/A="));

        assert_eq!(media(r#"{"event":"media"}"#).payload, Scalar::Nothing);
        assert_eq!(
            media(r#"{"event":"media","media":null}"#).payload,
            Scalar::Nothing
        );
        assert_eq!(
            media(r#"{"event":"media","media":[1,{"payload":"x"}]}"#).payload,
            Scalar::Nothing
        );
    }

    #[test]
    fn ids_and_tracks_may_be_numbers_and_numbers_may_have_a_point() {
        let media = media(
            r#"{"event":"media","stream_sid":55,"track":"","media":{"track":2,"chunk":3.0,"timestamp":4e1,"payload":""}}"#,
        );
        assert_eq!(media.stream_sid.as_deref(), Some("55"));
        assert_eq!(media.track.as_deref(), Some("2"));
        assert_eq!((media.offset_ms, media.chunk), (Some(40), Some(3)));
        for (text, expected) in [
            ("9.0", Some(9)),
            ("9007199254740992.0", Some(9_007_199_254_740_992)),
            ("0.0", Some(0)),
            ("9.5", None),
            ("-1", None),
            ("-1.0", None),
            ("1e300", None),
        ] {
            let scalar: Scalar<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(scalar.integer(), expected, "{text}");
        }
    }

    #[test]
    fn both_spellings_of_one_member_are_no_error() {
        let media = media(
            r#"{"stream_sid":"a","streamSid":"b","event":"media","media":{"payload":"AA==","payload":"BB=="}}"#,
        );
        assert_eq!(media.stream_sid.as_deref(), Some("b"));
        assert_eq!(media.payload.text().as_deref(), Some("BB=="));
    }

    #[test]
    fn small_events_are_read_nested_or_flat() {
        for text in [
            r#"{"event":"dtmf","dtmf":{"digit":"5","duration":"100"}}"#,
            r#"{"event":"dtmf","digit":5,"duration":100}"#,
        ] {
            assert!(
                matches!(decode_text(text), Ok(Inbound::Dtmf { digit, duration_ms: Some(100) }) if digit == "5"),
                "{text}"
            );
        }
        assert!(matches!(
            decode_text(r#"{"event":"stop"}"#),
            Ok(Inbound::Stop { word: None })
        ));
        assert!(matches!(
            decode_text(r#"{"event":"stop","stop":{"reason":"callended"}}"#),
            Ok(Inbound::Stop { word: Some(word) }) if word == "callended"
        ));
        assert!(matches!(
            decode_text(r#"{"event":"silence"}"#),
            Ok(Inbound::Unknown)
        ));
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        let check =
            |text: &str, expected| assert_eq!(decode_text(text).err(), Some(expected), "{text}");
        check("", DecodeError::NotJson);
        check("{", DecodeError::NotJson);
        check("hello", DecodeError::NotJson);
        check(r#"{"event":"media"} x"#, DecodeError::NotJson);
        check(&"[".repeat(100_000), DecodeError::NotJson);
        check("{}", DecodeError::NoEvent);
        check("42", DecodeError::NoEvent);
        check(r#"{"event":7}"#, DecodeError::NoEvent);
    }

    #[test]
    fn binary_is_an_event_only_if_it_is_one_whole() {
        assert!(matches!(
            decode_binary(br#" {"event":"clear"}"#),
            Inbound::Clear
        ));
        for audio in [
            &b"{\"event\":\"cl"[..],
            b"{}",
            b"{\"event\":1}",
            b"{\xff\xfe",
            b"\x00\x01",
        ] {
            assert!(matches!(decode_binary(audio), Inbound::Raw(raw) if raw == audio));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[{}\[\]":,a-z0-9 ]{0,80}"#) {
            let event = decode_text(&text);
            prop_assert!(event.is_err() || text.contains("event"));
        }

        #[test]
        fn unknown_members_change_nothing(key in "[a-z]{12,20}", value in "[ -~&&[^\"\\\\]]{0,20}") {
            let text = format!(r#"{{"{key}":"{value}","event":"media","media":{{"{key}":[{{}}],"payload":"AAAA"}}}}"#);
            let media = media(&text);
            prop_assert_eq!(media.payload.text(), Some(Cow::Borrowed("AAAA")));
        }
    }
}
