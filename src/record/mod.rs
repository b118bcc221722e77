//! What goes into Redis beside frames: call events, the end of a call with its manifest, the metadata value.
//!
//! Frames themselves are in [`frame`]. These records are rare and go through serde. Which key they go to, and how they
//! get there, is `publisher/`'s subject. Invariant: what existing consumers read keeps its name (4.1, 4.3).

pub mod frame;

use std::borrow::Cow;

use serde::Serialize;

use crate::dialect::start::Parameters;

/// What a record is, and with it where it goes: to one of the streams, or to the call's metadata key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Frame,
    CallEnd,
    CallEvent,
    Metadata,
}

impl Kind {
    /// The number that stands for it on disk; it never changes.
    pub fn code(self) -> u8 {
        match self {
            Self::Frame => 1,
            Self::CallEnd => 2,
            Self::CallEvent => 3,
            Self::Metadata => 4,
        }
    }

    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Frame, Self::CallEnd, Self::CallEvent, Self::Metadata]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// The end of a session with its manifest (4.3).
#[derive(Debug, Clone, Serialize)]
pub struct CallEnd<'a> {
    pub interaction_id: Cow<'a, str>,
    pub tenant_id: Cow<'a, str>,
    pub call_sid: Option<Cow<'a, str>>,
    pub stream_sid: Option<Cow<'a, str>>,
    pub reason: Cow<'a, str>,
    pub timestamp_ms: u64,
    pub session: u64,
    pub complete: bool,
    pub frames: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub bytes: u64,
    pub duration_ms: u64,
    pub wall_ms: u64,
    pub gaps: u64,
    pub crc32: String,
}

impl CallEnd<'_> {
    /// The same, to be kept after its call.
    pub fn into_owned(self) -> CallEnd<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        CallEnd {
            interaction_id: owned(self.interaction_id),
            tenant_id: owned(self.tenant_id),
            call_sid: self.call_sid.map(owned),
            stream_sid: self.stream_sid.map(owned),
            reason: owned(self.reason),
            ..self
        }
    }
}

/// Something that happened in a call (4.4).
#[derive(Debug, Serialize)]
pub struct CallEvent<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub interaction_id: &'a str,
    pub tenant_id: &'a str,
    pub timestamp_ms: u64,
    #[serde(flatten)]
    pub detail: &'a Detail,
}

/// What a [`CallEvent`] carries beyond the names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Detail {
    Start {
        call_sid: Option<String>,
        stream_sid: Option<String>,
        from: Option<String>,
        to: Option<String>,
        sample_rate: u32,
        encoding: String,
        #[serde(serialize_with = "as_object")]
        custom_parameters: Parameters,
    },
    Dtmf {
        digit: String,
        duration_ms: Option<u64>,
    },
    Mark {
        name: String,
    },
    Clear {},
    Renamed {
        from: String,
        to: String,
    },
    Gap {
        from_seq: u64,
        to_seq: u64,
        ms: u64,
        reason: &'static str,
    },
    RateMismatch {
        declared: u32,
        measured: u32,
    },
    Stop {
        reason: String,
    },
}

impl Detail {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start { .. } => "start",
            Self::Dtmf { .. } => "dtmf",
            Self::Mark { .. } => "mark",
            Self::Clear {} => "clear",
            Self::Renamed { .. } => "renamed",
            Self::Gap { .. } => "gap",
            Self::RateMismatch { .. } => "rate_mismatch",
            Self::Stop { .. } => "stop",
        }
    }
}

/// The value of `call:metadata:<interaction_id>` (4.5).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    pub interaction_id: &'a str,
    pub call_sid: Option<&'a str>,
    pub from: Option<&'a str>,
    pub to: Option<&'a str>,
    pub tenant_id: &'a str,
    pub start_time: u64,
    pub status: &'static str,
    pub last_activity: u64,
    pub last_seq: u64,
    pub session: u64,
    pub paused: bool,
    /// `last_seq` is the client's own number (3.8).
    pub numbered: bool,
}

/// Appends one field and its value as RESP bulk strings.
pub fn push_pair(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    push_bulk(out, name);
    push_bulk(out, value);
}

/// Appends one RESP bulk string.
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(bytes.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// JSON of a record of ours, which always serializes: its keys are strings and nothing in it can fail.
pub fn to_json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

fn as_object<S: serde::Serializer>(
    parameters: &Parameters,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(parameters.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_their_type_first_and_their_own_fields_last() {
        let event = CallEvent {
            kind: "gap",
            interaction_id: "i",
            tenant_id: "t",
            timestamp_ms: 1,
            detail: &Detail::Gap {
                from_seq: 2,
                to_seq: 4,
                ms: 60,
                reason: "client",
            },
        };
        assert_eq!(
            String::from_utf8(to_json(&event)).unwrap(),
            r#"{"type":"gap","interaction_id":"i","tenant_id":"t","timestamp_ms":1,"from_seq":2,"to_seq":4,"ms":60,"reason":"client"}"#
        );
    }
}
