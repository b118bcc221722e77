//! A frame as a stream entry: the field/value pairs of its XADD, written by hand into a buffer that is reused.
//!
//! A [`FramePattern`] holds everything that stays the same between two frames of a call, ready to be copied.
//! Invariant: the seven fields that existing consumers read keep their names and order (4.1).

use super::push_pair;
use crate::payload::Audio;

/// How frames are laid out in their stream entry (4.1, 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFormat {
    /// One field `data` with JSON, the audio in base64.
    Json,
    /// One field per member, the audio as raw bytes.
    Fields,
}

/// Everything about a call's frames that does not change from one to the next.
#[derive(Debug)]
pub struct FramePattern {
    format: FrameFormat,
    /// What stands before the sequence number, then what stands between the time stamp and the audio.
    bytes: Box<[u8]>,
    head_bytes: usize,
    /// Field/value pairs without `media_ms`.
    pairs: usize,
}

/// The constant members of a frame.
#[derive(Debug)]
pub struct FrameFacts<'a> {
    pub tenant_id: &'a str,
    pub interaction_id: &'a str,
    pub sample_rate: u32,
    pub session: u64,
    pub stream_sid: Option<&'a str>,
    pub track: Option<&'a str>,
}

/// The members that are new in every frame.
#[derive(Debug, Clone, Copy)]
pub struct FrameNumbers {
    pub seq: u64,
    pub timestamp_ms: u64,
    pub media_ms: Option<u64>,
}

impl FramePattern {
    pub fn new(format: FrameFormat, facts: &FrameFacts<'_>) -> Self {
        match format {
            FrameFormat::Json => Self::json(facts),
            FrameFormat::Fields => Self::fields(facts),
        }
    }

    fn json(facts: &FrameFacts<'_>) -> Self {
        let (tenant, call) = (quote(facts.tenant_id), quote(facts.interaction_id));
        let mut text = [
            r#"{"tenant_id":"#,
            &tenant,
            r#","interaction_id":"#,
            &call,
            r#","seq":"#,
        ]
        .concat();
        let head_bytes = text.len();
        let (rate, session) = (facts.sample_rate.to_string(), facts.session.to_string());
        text += &[
            r#","sample_rate":"#,
            &rate,
            r#","encoding":"pcm16","session":"#,
            &session,
        ]
        .concat();
        for (name, value) in [("stream_sid", facts.stream_sid), ("track", facts.track)] {
            if let Some(value) = value {
                text += &[r#",""#, name, r#"":"#, &quote(value)].concat();
            }
        }
        Self {
            format: FrameFormat::Json,
            bytes: text.into_bytes().into(),
            head_bytes,
            pairs: 1,
        }
    }

    fn fields(facts: &FrameFacts<'_>) -> Self {
        let mut bytes = Vec::with_capacity(256);
        push_pair(&mut bytes, b"tenant_id", facts.tenant_id.as_bytes());
        push_pair(
            &mut bytes,
            b"interaction_id",
            facts.interaction_id.as_bytes(),
        );
        let head_bytes = bytes.len();
        push_pair(
            &mut bytes,
            b"sample_rate",
            facts.sample_rate.to_string().as_bytes(),
        );
        push_pair(&mut bytes, b"encoding", b"pcm16");
        push_pair(&mut bytes, b"session", facts.session.to_string().as_bytes());
        let optional = [
            (b"stream_sid".as_slice(), facts.stream_sid),
            (b"track", facts.track),
        ];
        let mut pairs = 8;
        for (name, value) in optional {
            if let Some(value) = value {
                push_pair(&mut bytes, name, value.as_bytes());
                pairs += 1;
            }
        }
        Self {
            format: FrameFormat::Fields,
            bytes: bytes.into(),
            head_bytes,
            pairs,
        }
    }

    /// How many field/value pairs [`FramePattern::write`] will write.
    pub fn pairs(&self, numbers: &FrameNumbers) -> usize {
        match self.format {
            FrameFormat::Json => 1,
            FrameFormat::Fields => self.pairs + usize::from(numbers.media_ms.is_some()),
        }
    }

    /// Appends one frame's pairs to `out`.
    pub fn write(&self, out: &mut Vec<u8>, numbers: &FrameNumbers, audio: &Audio<'_>) {
        let (head, tail) = self.bytes.split_at(self.head_bytes.min(self.bytes.len()));
        let (mut seq, mut stamp, mut offset) = (
            itoa::Buffer::new(),
            itoa::Buffer::new(),
            itoa::Buffer::new(),
        );
        let seq = seq.format(numbers.seq);
        let stamp = stamp.format(numbers.timestamp_ms);
        let offset = numbers.media_ms.map(|ms| offset.format(ms));
        match self.format {
            FrameFormat::Json => {
                let members = [
                    head,
                    seq.as_bytes(),
                    b",\"timestamp_ms\":",
                    stamp.as_bytes(),
                    tail,
                    offset.map_or(b"".as_slice(), |_| b",\"media_ms\":"),
                    offset.unwrap_or_default().as_bytes(),
                    b",\"audio\":\"",
                ];
                let audio_bytes = audio.base64_bytes();
                let length = members.iter().map(|part| part.len()).sum::<usize>()
                    + audio_bytes
                    + b"\"}".len();
                out.reserve(length + 32);
                out.extend_from_slice(b"$4\r\ndata\r\n$");
                out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                out.extend_from_slice(b"\r\n");
                for part in members {
                    out.extend_from_slice(part);
                }
                audio.push_base64(out);
                out.extend_from_slice(b"\"}\r\n");
            }
            FrameFormat::Fields => {
                out.extend_from_slice(head);
                push_pair(out, b"seq", seq.as_bytes());
                push_pair(out, b"timestamp_ms", stamp.as_bytes());
                out.extend_from_slice(tail);
                if let Some(offset) = offset {
                    push_pair(out, b"media_ms", offset.as_bytes());
                }
                push_pair(out, b"audio", audio.pcm);
            }
        }
    }
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: FrameFacts<'static> = FrameFacts {
        tenant_id: "tenant-abc",
        interaction_id: "int-\"1\n",
        sample_rate: 8000,
        session: 1_762_500_000_000,
        stream_sid: Some("s1"),
        track: None,
    };
    const NUMBERS: FrameNumbers = FrameNumbers {
        seq: 42,
        timestamp_ms: 1_762_500_000_123,
        media_ms: Some(20),
    };

    #[test]
    fn a_json_frame_has_its_fields_in_the_promised_order() {
        let pattern = FramePattern::new(FrameFormat::Json, &FACTS);
        for audio in [
            Audio {
                pcm: &[0, 1, 2, 3],
                text: None,
            },
            Audio {
                pcm: &[0, 1, 2, 3],
                text: Some("AAECAw=="),
            },
        ] {
            let mut out = Vec::new();
            pattern.write(&mut out, &NUMBERS, &audio);
            let json = r#"{"tenant_id":"tenant-abc","interaction_id":"int-\"1\n","seq":42,"timestamp_ms":1762500000123,"sample_rate":8000,"encoding":"pcm16","session":1762500000000,"stream_sid":"s1","media_ms":20,"audio":"AAECAw=="}"#;
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("$4\r\ndata\r\n${}\r\n{json}\r\n", json.len())
            );
        }
    }

    #[test]
    fn a_frame_in_fields_counts_its_pairs_right() {
        let pattern = FramePattern::new(FrameFormat::Fields, &FACTS);
        for media_ms in [None, Some(7)] {
            let numbers = FrameNumbers {
                media_ms,
                ..NUMBERS
            };
            let mut out = Vec::new();
            pattern.write(
                &mut out,
                &numbers,
                &Audio {
                    pcm: b"$\r\n!",
                    text: None,
                },
            );
            let bulks = String::from_utf8(out).unwrap().matches("\r\n").count() - 1; // one pair of them in the audio
            assert_eq!(bulks, pattern.pairs(&numbers) * 4);
        }
    }
}
