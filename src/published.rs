//! Records read back: the frame, the call's end or the gap that a consumer finds under `data`, or in fields of their own;
//! and what a call's metadata tells its next session.
//!
//! The counterpart of `record.rs`, which writes them; where entries come from (Redis, a journal) is the caller's affair, who
//! brings their name and value pairs. Invariant: what is read here is whole; an entry that lacks a member is an error.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::Error as _};

/// One frame as it was published (4.1, 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Frame<'a> {
    #[serde(borrow)]
    pub tenant_id: Cow<'a, str>,
    #[serde(borrow)]
    pub interaction_id: Cow<'a, str>,
    /// 0 where the publisher knew no sessions.
    #[serde(default)]
    pub session: u64,
    pub seq: u64,
    /// When it arrived, in ms since the epoch.
    pub timestamp_ms: u64,
    pub sample_rate: u32,
    #[serde(borrow, default)]
    pub stream_sid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub track: Option<Cow<'a, str>>,
    #[serde(default)]
    pub media_ms: Option<u64>,
    /// Mono PCM16, little endian.
    #[serde(rename = "audio", deserialize_with = "from_base64")]
    pub pcm: Vec<u8>,
}

/// The end of a session and its manifest (4.3).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct End {
    pub tenant_id: String,
    pub interaction_id: String,
    #[serde(default)]
    pub session: u64,
    pub reason: String,
    pub timestamp_ms: u64,
    /// False where the instance that knew the whole call was lost.
    pub complete: bool,
    pub frames: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub bytes: u64,
    pub duration_ms: u64,
    pub wall_ms: u64,
    pub gaps: u64,
    /// Of the PCM bytes in order, as 8 lower-case hex digits.
    pub crc32: String,
}

/// The metadata of a call (4.5), as far as its next session asks for it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    tenant_id: String,
    last_seq: u64,
    #[serde(default)]
    numbered: bool,
}

/// How far a client has numbered the audio of its call, as the call's metadata says; that of another tenant's call of
/// the same name says nothing.
pub fn numbered_up_to(metadata: &[u8], tenant_id: &str) -> Option<u64> {
    let metadata: Metadata = serde_json::from_slice(metadata).ok()?;
    (metadata.numbered && metadata.tenant_id == tenant_id).then_some(metadata.last_seq)
}

/// A hole in a session's audio that the service told of (4.4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gap {
    pub tenant_id: String,
    pub interaction_id: String,
    pub timestamp_ms: u64,
    /// The numbers that are missing; where none were given, `to_seq` is one less than `from_seq`, the next.
    pub from_seq: u64,
    pub to_seq: u64,
    /// How much audio is missing, or how long a pause was.
    pub ms: u64,
    pub reason: String,
}

/// Why an entry is none of these.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableEntry {
    #[error("the entry's data is not the JSON of such a record")]
    Json(#[source] serde_json::Error),
    #[error(
        "the entry's field {0} is missing or malformed: see whether something else writes to this stream"
    )]
    Field(&'static str),
}

impl<'a> Frame<'a> {
    /// Reads an entry in either format.
    pub fn read<'p>(
        pairs: impl IntoIterator<Item = (&'p [u8], &'a [u8])>,
    ) -> Result<Self, UnreadableEntry> {
        let mut fields = Fields::default();
        for (name, value) in pairs {
            match name {
                b"data" => return serde_json::from_slice(value).map_err(UnreadableEntry::Json),
                b"tenant_id" => fields.tenant_id = text(value),
                b"interaction_id" => fields.interaction_id = text(value),
                b"session" => fields.session = number(value),
                b"seq" => fields.seq = number(value),
                b"timestamp_ms" => fields.timestamp_ms = number(value),
                b"sample_rate" => fields.sample_rate = number(value),
                b"stream_sid" => fields.stream_sid = text(value),
                b"track" => fields.track = text(value),
                b"media_ms" => fields.media_ms = number(value),
                b"audio" => fields.audio = Some(value),
                // Consumers pass over what they do not know, so that fields may be added.
                _ => {}
            }
        }
        fields.into_frame()
    }
}

impl End {
    /// Reads an entry of the `call_end` stream.
    pub fn read<'p>(
        pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
    ) -> Result<Self, UnreadableEntry> {
        serde_json::from_slice(data(pairs)?).map_err(UnreadableEntry::Json)
    }
}

impl Gap {
    /// Reads an entry of the `call_events` stream; nothing where it is another event.
    pub fn read<'p>(
        pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
    ) -> Result<Option<Self>, UnreadableEntry> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
        }
        let data = data(pairs)?;
        let event: Event<'_> = serde_json::from_slice(data).map_err(UnreadableEntry::Json)?;
        if event.kind != "gap" {
            return Ok(None);
        }
        let gap = serde_json::from_slice(data).map_err(UnreadableEntry::Json)?;
        Ok(Some(gap))
    }
}

fn data<'p>(
    pairs: impl IntoIterator<Item = (&'p [u8], &'p [u8])>,
) -> Result<&'p [u8], UnreadableEntry> {
    let data = pairs.into_iter().find(|(name, _)| *name == b"data");
    data.map(|(_, data)| data)
        .ok_or(UnreadableEntry::Field("data"))
}

/// A frame in fields of their own, as far as they have been seen.
#[derive(Default)]
struct Fields<'a> {
    tenant_id: Option<&'a str>,
    interaction_id: Option<&'a str>,
    session: Option<u64>,
    seq: Option<u64>,
    timestamp_ms: Option<u64>,
    sample_rate: Option<u32>,
    stream_sid: Option<&'a str>,
    track: Option<&'a str>,
    media_ms: Option<u64>,
    audio: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn into_frame(self) -> Result<Frame<'a>, UnreadableEntry> {
        let missing = UnreadableEntry::Field;
        Ok(Frame {
            tenant_id: self.tenant_id.ok_or(missing("tenant_id"))?.into(),
            interaction_id: self.interaction_id.ok_or(missing("interaction_id"))?.into(),
            session: self.session.unwrap_or(0),
            seq: self.seq.ok_or(missing("seq"))?,
            timestamp_ms: self.timestamp_ms.ok_or(missing("timestamp_ms"))?,
            sample_rate: self.sample_rate.ok_or(missing("sample_rate"))?,
            stream_sid: self.stream_sid.map(Cow::Borrowed),
            track: self.track.map(Cow::Borrowed),
            media_ms: self.media_ms,
            pcm: self.audio.ok_or(missing("audio"))?.to_vec(),
        })
    }
}

fn text(value: &[u8]) -> Option<&str> {
    str::from_utf8(value).ok()
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    text(value)?.parse().ok()
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    // JSON may escape any letter, even of base64: then the text is not a slice of the input.
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let Text(text) = Text::deserialize(deserializer)?;
    base64_simd::STANDARD
        .decode_to_vec(text.as_bytes())
        .map_err(|_malformed| D::Error::custom("the audio is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::fields,
        payload::Audio,
        record::{
            CallEnd,
            frame::{FrameFacts, FrameFormat, FrameNumbers, FramePattern},
            to_json,
        },
    };

    fn written(format: FrameFormat, track: Option<&str>, media_ms: Option<u64>) -> Vec<u8> {
        let facts = FrameFacts {
            tenant_id: "tenant-\"a\"",
            interaction_id: "int-1",
            sample_rate: 16_000,
            session: 77,
            stream_sid: Some("s1"),
            track,
        };
        let numbers = FrameNumbers {
            seq: 42,
            timestamp_ms: 1_762_500_000_123,
            media_ms,
        };
        let audio = Audio {
            pcm: &[0, 1, 0xfe, 0xff],
            text: None,
        };
        let mut out = Vec::new();
        FramePattern::new(format, &facts).write(&mut out, &numbers, &audio);
        out
    }

    #[test]
    fn both_formats_of_a_frame_read_the_same() {
        for (track, media_ms) in [(None, None), (Some("inbound"), Some(20))] {
            for format in [FrameFormat::Json, FrameFormat::Fields] {
                let bytes = written(format, track, media_ms);
                let frame = Frame::read(fields::pairs(&bytes).unwrap()).unwrap();
                let expected = Frame {
                    tenant_id: "tenant-\"a\"".into(),
                    interaction_id: "int-1".into(),
                    session: 77,
                    seq: 42,
                    timestamp_ms: 1_762_500_000_123,
                    sample_rate: 16_000,
                    stream_sid: Some("s1".into()),
                    track: track.map(Into::into),
                    media_ms,
                    pcm: vec![0, 1, 0xfe, 0xff],
                };
                assert_eq!(frame, expected, "{format:?}");
            }
        }
    }

    #[test]
    fn an_end_reads_as_it_was_written() {
        let json = to_json(&CallEnd {
            interaction_id: "i".into(),
            tenant_id: "t".into(),
            call_sid: None,
            stream_sid: None,
            reason: "stop".into(),
            timestamp_ms: 9,
            session: 7,
            complete: true,
            frames: 2,
            first_seq: 1,
            last_seq: 2,
            bytes: 640,
            duration_ms: 40,
            wall_ms: 41,
            gaps: 0,
            crc32: "0badcafe".into(),
        });
        let end = End::read([(&b"data"[..], &json[..])]).unwrap();
        assert_eq!((end.session, end.frames, end.bytes), (7, 2, 640));
        assert_eq!(
            (end.reason.as_str(), end.crc32.as_str()),
            ("stop", "0badcafe")
        );
        assert!(end.complete);
    }

    #[test]
    fn gaps_are_told_from_other_events() {
        let read = |json: &[u8]| Gap::read([(&b"data"[..], json)]);
        let gap = br#"{"type":"gap","interaction_id":"i","tenant_id":"t","timestamp_ms":1,"from_seq":2,"to_seq":4,"ms":60,"reason":"client"}"#;
        let gap = read(gap).unwrap().unwrap();
        assert_eq!((gap.from_seq, gap.to_seq, gap.ms), (2, 4, 60));
        assert_eq!(read(br#"{"type":"dtmf","digit":"1"}"#).unwrap(), None);
        for broken in [&br#"{"type":"gap"}"#[..], b"{}", b"[]", b""] {
            assert!(read(broken).is_err());
        }
    }

    #[test]
    fn seven_members_are_enough_and_six_are_not() {
        let old = br#"{"tenant_id":"t","interaction_id":"i","seq":1,"timestamp_ms":2,"sample_rate":24000,"encoding":"pcm16","audio":"AA\u0045="}"#;
        let frame = Frame::read([(&b"data"[..], &old[..])]).unwrap();
        assert_eq!((frame.session, frame.pcm), (0, vec![0, 1]));
        for broken in [
            &br#"{"tenant_id":"t","interaction_id":"i","seq":1,"timestamp_ms":2,"sample_rate":24000}"#[..],
            br#"{"tenant_id":"t","interaction_id":"i","seq":1,"timestamp_ms":2,"sample_rate":24000,"audio":"!"}"#,
            b"",
            b"\xff",
        ] {
            assert!(Frame::read([(&b"data"[..], broken)]).is_err());
            assert!(End::read([(&b"data"[..], broken)]).is_err());
        }
        assert!(matches!(
            Frame::read([
                (&b"tenant_id"[..], &b"t"[..]),
                (b"interaction_id", b"i"),
                (b"seq", b"-1")
            ]),
            Err(UnreadableEntry::Field("seq"))
        ));
        assert!(matches!(End::read([]), Err(UnreadableEntry::Field("data"))));
    }
}
