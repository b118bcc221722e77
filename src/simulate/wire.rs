//! The messages of both sides as text: Exotel's dialect as seen on real calls, and the simple one (contract 3.6, 3.8).
//!
//! Sending them is in `call`, and the bench sends them, too. Invariant: in Exotel's dialect every number is a string, and the fields stand in the
//! order in which Exotel's own client writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::sound::Encoding;

/// What identifies a call of Exotel's.
#[derive(Debug, Clone)]
pub struct Names {
    /// 32 lower-case letters and digits, as Exotel's are.
    pub stream_sid: String,
    pub call_sid: String,
    pub account_sid: String,
    pub from: String,
    pub to: String,
}

/// What the server answers to a custom client; fields that do not belong to the event are missing.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    pub event: String,
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    pub next_seq: Option<u64>,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
}

impl Answer {
    /// `None` for anything that is no event; a client has no use for the reason.
    pub(crate) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// An identifier of the shape of Exotel's: mostly hexadecimal, with a tail that is not.
pub(crate) fn sid() -> String {
    let mut sid = Uuid::new_v4().simple().to_string();
    sid.truncate(28);
    sid.push_str("19sm");
    sid
}

pub const CONNECTED: &str = r#"{"event":"connected"}"#;

pub fn exotel_start(
    names: &Names,
    rate: u32,
    encoding: Encoding,
    parameters: &BTreeMap<String, String>,
) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        event: &'a str,
        stream_sid: &'a str,
        sequence_number: &'a str,
        start: Start<'a>,
    }
    #[derive(Serialize)]
    struct Start<'a> {
        stream_sid: &'a str,
        call_sid: &'a str,
        account_sid: &'a str,
        from: &'a str,
        to: &'a str,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        custom_parameters: &'a BTreeMap<String, String>,
        media_format: Format<'a>,
    }
    #[derive(Serialize)]
    struct Format<'a> {
        encoding: &'a str,
        sample_rate: String,
        bit_rate: String,
    }
    text(&Message {
        event: "start",
        stream_sid: &names.stream_sid,
        sequence_number: "1",
        start: Start {
            stream_sid: &names.stream_sid,
            call_sid: &names.call_sid,
            account_sid: &names.account_sid,
            from: &names.from,
            to: &names.to,
            custom_parameters: parameters,
            media_format: Format {
                encoding: match encoding {
                    Encoding::Pcm16 => "base64",
                    Encoding::Mulaw | Encoding::Alaw => encoding.name(),
                },
                sample_rate: rate.to_string(),
                bit_rate: format!("{}kbps", rate * encoding.bits() / 1_000),
            },
        },
    })
}

/// Appends frame `index`, counted from 0. Sequence numbers count the start too, chunks begin at 1, and the time is that
/// of the frame's end.
pub fn append_exotel_media(
    message: &mut String,
    stream_sid: &str,
    index: u64,
    frame_ms: u32,
    audio: &[u8],
) {
    let (sequence, chunk) = (index + 2, index + 1);
    let timestamp = chunk * u64::from(frame_ms);
    message.reserve(160 + audio.len().div_ceil(3) * 4);
    // Neither a number nor a SID of our own making needs escaping.
    let mut digits = itoa::Buffer::new();
    message.push_str(r#"{"event":"media","stream_sid":""#);
    message.push_str(stream_sid);
    message.push_str(r#"","sequence_number":""#);
    message.push_str(digits.format(sequence));
    message.push_str(r#"","media":{"chunk":""#);
    message.push_str(digits.format(chunk));
    message.push_str(r#"","timestamp":""#);
    message.push_str(digits.format(timestamp));
    message.push_str(r#"","payload":""#);
    base64_simd::STANDARD.encode_append(audio, message);
    message.push_str(r#""}}"#);
}

pub fn exotel_stop(names: &Names, frames: u64) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        event: &'a str,
        stream_sid: &'a str,
        sequence_number: String,
        stop: Stop<'a>,
    }
    #[derive(Serialize)]
    struct Stop<'a> {
        call_sid: &'a str,
        account_sid: &'a str,
        reason: &'a str,
    }
    text(&Message {
        event: "stop",
        stream_sid: &names.stream_sid,
        sequence_number: (frames + 2).to_string(),
        stop: Stop {
            call_sid: &names.call_sid,
            account_sid: &names.account_sid,
            reason: "callended",
        },
    })
}

/// The flat start of the simple and the binary dialect.
pub(crate) fn flat_start(
    call: &str,
    tenant: Option<&str>,
    rate: u32,
    encoding: Encoding,
) -> String {
    #[derive(Serialize)]
    struct Message<'a> {
        event: &'a str,
        interaction_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tenant_id: Option<&'a str>,
        sample_rate: u32,
        encoding: &'a str,
    }
    text(&Message {
        event: "start",
        interaction_id: call,
        tenant_id: tenant,
        sample_rate: rate,
        encoding: encoding.name(),
    })
}

pub(crate) fn simple_audio(seq: u64, audio: &[u8]) -> String {
    let mut message = String::with_capacity(64 + audio.len().div_ceil(3) * 4);
    message.push_str(r#"{"event":"audio","seq":"#);
    message.push_str(itoa::Buffer::new().format(seq));
    message.push_str(r#","data":""#);
    base64_simd::STANDARD.encode_append(audio, &mut message);
    message.push_str(r#""}"#);
    message
}

pub(crate) const END: &str = r#"{"event":"end"}"#;

/// Structs of strings and numbers always become text.
fn text(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            stream_sid: "3357459ca698d8c765bac10b0ec418bl".into(),
            call_sid: "b0c8aea60aceb0007fc5a1bb75c218bl".into(),
            account_sid: "someacct1".into(),
            from: "09990000001".into(),
            to: "04440000001".into(),
        }
    }

    #[test]
    fn start_is_as_on_a_real_call() {
        let expected = concat!(
            r#"{"event":"start","stream_sid":"3357459ca698d8c765bac10b0ec418bl","sequence_number":"1","#,
            r#""start":{"stream_sid":"3357459ca698d8c765bac10b0ec418bl","call_sid":"b0c8aea60aceb0007fc5a1bb75c218bl","#,
            r#""account_sid":"someacct1","from":"09990000001","to":"04440000001","#,
            r#""media_format":{"encoding":"base64","sample_rate":"8000","bit_rate":"128kbps"}}}"#,
        );
        assert_eq!(
            exotel_start(&names(), 8_000, Encoding::Pcm16, &BTreeMap::new()),
            expected
        );
        let parameters = BTreeMap::from([("token".to_owned(), "a\"b".to_owned())]);
        let start = exotel_start(&names(), 8_000, Encoding::Mulaw, &parameters);
        assert!(
            start.contains(r#""custom_parameters":{"token":"a\"b"}"#),
            "{start}"
        );
        assert!(
            start.contains(r#""encoding":"mulaw","sample_rate":"8000","bit_rate":"64kbps""#),
            "{start}"
        );
    }

    #[test]
    fn media_has_the_size_seen_on_real_calls() {
        // 572 bytes at sequence number 100, 577 once the time has six digits.
        let audio = [0; 320];
        let media = |sid: &str, index, audio: &[u8]| {
            let mut message = String::new();
            append_exotel_media(&mut message, sid, index, 20, audio);
            message
        };
        let sid = &names().stream_sid;
        assert_eq!(media(sid, 98, &audio).len(), 572);
        assert_eq!(media(sid, 5_000, &audio).len(), 577);
        assert_eq!(
            media("x", 0, &[1, 2, 3]),
            r#"{"event":"media","stream_sid":"x","sequence_number":"2","media":{"chunk":"1","timestamp":"20","payload":"AQID"}}"#
        );
    }

    #[test]
    fn stop_follows_the_last_frame() {
        let stop = exotel_stop(&names(), 729);
        assert!(
            stop.contains(r#""sequence_number":"731","stop":{"call_sid""#),
            "{stop}"
        );
        assert!(stop.ends_with(r#""reason":"callended"}}"#), "{stop}");
    }

    #[test]
    fn the_simple_dialect_has_plain_numbers() {
        assert_eq!(
            flat_start("c\"1", None, 24_000, Encoding::Pcm16),
            r#"{"event":"start","interaction_id":"c\"1","sample_rate":24000,"encoding":"pcm16"}"#
        );
        assert!(flat_start("c", Some("t"), 8_000, Encoding::Alaw).contains(r#""tenant_id":"t""#));
        assert_eq!(
            simple_audio(7, &[1, 2]),
            r#"{"event":"audio","seq":7,"data":"AQI="}"#
        );
    }

    #[test]
    fn sids_have_exotels_shape_and_differ() {
        let (one, other) = (sid(), sid());
        assert_eq!(one.len(), 32);
        assert!(
            one.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        );
        assert_ne!(one, other);
    }

    #[test]
    fn answers_are_read_whatever_else_is_in_them() {
        let ack = Answer::read(r#"{"event":"ack","seq":12,"more":[]}"#).unwrap();
        assert_eq!((ack.event.as_str(), ack.seq), ("ack", 12));
        let started = Answer::read(r#"{"event":"started","interaction_id":"x","next_seq":5}"#);
        assert_eq!(started.unwrap().next_seq, Some(5));
        assert!(Answer::read("not json").is_none() && Answer::read(r#"{"event":1}"#).is_none());
    }
}
