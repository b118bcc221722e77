//! One line per frame or event: words for people, JSON for programs. No audio.
//!
//! Invariant: a line is one line, whatever names are in it, and a name cannot steer a terminal.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    level::{dbfs, power},
    news::{Event, News},
};
use crate::{clock, frame::Shown, published::Frame, readback::Id};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Words,
    Json,
}

/// A frame without its audio.
#[derive(Serialize)]
struct FrameLine<'a> {
    id: &'a str,
    tenant_id: &'a str,
    interaction_id: &'a str,
    seq: u64,
    timestamp_ms: u64,
    sample_rate: u32,
    /// Whatever came, this is what is published (3.7).
    encoding: &'static str,
    session: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    track: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_ms: Option<u64>,
    bytes: usize,
}

#[derive(Serialize)]
struct EventLine<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    tenant_id: &'a str,
    interaction_id: &'a str,
    timestamp_ms: u64,
    #[serde(flatten)]
    rest: &'a Map<String, Value>,
}

/// Writes one line.
pub fn write(
    out: &mut impl Write,
    style: Style,
    id: Id,
    news: &News<'_>,
    now_ms: u64,
) -> io::Result<()> {
    match (style, news) {
        (Style::Words, News::Frame(frame)) => frame_in_words(out, frame, now_ms),
        (Style::Words, News::Event(event)) => {
            write!(out, "{} ", clock::rfc3339(event.timestamp_ms))?;
            event_in_words(out, event)?;
            out.write_all(b"\n")
        }
        (Style::Json, News::Frame(frame)) => {
            let line = FrameLine {
                id: &id.to_string(),
                tenant_id: &frame.tenant_id,
                interaction_id: &frame.interaction_id,
                seq: frame.seq,
                timestamp_ms: frame.timestamp_ms,
                sample_rate: frame.sample_rate,
                encoding: "pcm16",
                session: frame.session,
                stream_sid: frame.stream_sid.as_deref(),
                track: frame.track.as_deref(),
                media_ms: frame.media_ms,
                bytes: frame.pcm.len(),
            };
            json(out, &line)
        }
        (Style::Json, News::Event(event)) => {
            let line = EventLine {
                id: &id.to_string(),
                kind: &event.kind,
                tenant_id: &event.tenant_id,
                interaction_id: &event.interaction_id,
                timestamp_ms: event.timestamp_ms,
                rest: &event.rest,
            };
            json(out, &line)
        }
    }
}

fn json(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn frame_in_words(out: &mut impl Write, frame: &Frame<'_>, now_ms: u64) -> io::Result<()> {
    let samples = frame.pcm.len() as u64 / 2;
    write!(
        out,
        "{} {} {} seq={} rate={} ms={} bytes={} level={:.1}dBFS lag={}ms",
        clock::rfc3339(frame.timestamp_ms),
        Shown(&frame.interaction_id),
        Shown(&frame.tenant_id),
        frame.seq,
        frame.sample_rate,
        samples * 1000 / u64::from(frame.sample_rate.max(1)),
        frame.pcm.len(),
        dbfs(power(&frame.pcm)),
        now_ms.saturating_sub(frame.timestamp_ms),
    )?;
    if let Some(track) = &frame.track {
        write!(out, " track={}", Shown(track))?;
    }
    out.write_all(b"\n")
}

/// An event without its time and without an end of line.
pub(super) fn event_in_words(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let (call, tenant) = (Shown(&event.interaction_id), Shown(&event.tenant_id));
    write!(out, "{call} {tenant} {}", Shown(&event.kind))?;
    for (name, value) in &event.rest {
        match value {
            Value::Null => {}
            // A control character in a text is written as JSON does.
            Value::String(text) if !text.is_empty() && !text.contains([' ', '"']) => {
                write!(out, " {}={}", Shown(name), Shown(text))?;
            }
            value => write!(out, " {}={value}", Shown(name))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{journal::Position, record::Kind, record::push_pair, tail::Entry};

    fn line(style: Style, kind: Kind, data: &str) -> String {
        let mut fields = Vec::new();
        push_pair(&mut fields, b"data", data.as_bytes());
        let id = Id::Journal(Position(9));
        let entry = Entry {
            kind,
            id,
            fields: &fields,
        };
        let mut out = Vec::new();
        let news = News::read(&entry).unwrap();
        write(&mut out, style, id, &news, 1_762_500_000_126).unwrap();
        String::from_utf8(out).unwrap()
    }

    const FRAME: &str = r#"{"tenant_id":"t","interaction_id":"c\u001b[2J","seq":7,"timestamp_ms":1762500000123,"sample_rate":8000,"encoding":"pcm16","session":5,"track":"inbound","media_ms":140,"audio":"AEAAQABAAEAAQABAAEAAQABAAEAAQABAAEAAQABAAEA="}"#;
    const GAP: &str = r#"{"type":"gap","interaction_id":"c","tenant_id":"t","timestamp_ms":1762500000123,"from_seq":2,"to_seq":4,"ms":60,"reason":"a b\u001b","x":null}"#;
    const END: &str = r#"{"interaction_id":"c","tenant_id":"t","timestamp_ms":1762500000123,"reason":"stop","frames":3}"#;

    #[test]
    fn words_are_one_line_and_steer_nothing() {
        assert_eq!(
            line(Style::Words, Kind::Frame, FRAME),
            "2025-11-07T07:20:00.123Z c\\u{1b}[2J t seq=7 rate=8000 ms=2 bytes=32 level=-6.0dBFS lag=3ms track=inbound\n"
        );
        assert_eq!(
            line(Style::Words, Kind::CallEvent, GAP),
            "2025-11-07T07:20:00.123Z c t gap from_seq=2 ms=60 reason=\"a b\\u001b\" to_seq=4\n"
        );
        assert_eq!(
            line(Style::Words, Kind::CallEnd, END),
            "2025-11-07T07:20:00.123Z c t call_end frames=3 reason=stop\n"
        );
    }

    #[test]
    fn json_has_all_but_the_audio() {
        assert_eq!(
            line(Style::Json, Kind::Frame, FRAME),
            "{\"id\":\"9\",\"tenant_id\":\"t\",\"interaction_id\":\"c\\u001b[2J\",\"seq\":7,\"timestamp_ms\":1762500000123,\
             \"sample_rate\":8000,\"encoding\":\"pcm16\",\"session\":5,\"track\":\"inbound\",\"media_ms\":140,\"bytes\":32}\n"
        );
        assert_eq!(
            line(Style::Json, Kind::CallEnd, END),
            "{\"id\":\"9\",\"type\":\"call_end\",\"tenant_id\":\"t\",\"interaction_id\":\"c\",\"timestamp_ms\":1762500000123,\
             \"frames\":3,\"reason\":\"stop\"}\n"
        );
    }
}
