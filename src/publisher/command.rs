//! The Redis commands that records become, from the fields that a record is, as it stands in memory or in the journal.

use std::time::Duration;

use super::Trim;
use crate::record::{Kind, push_bulk};

/// The commands of one lane.
#[derive(Debug)]
pub(super) struct Commands {
    /// `XADD <stream of the frames>`, without the count of arguments.
    frame: Vec<u8>,
    call_end: Vec<u8>,
    call_event: Vec<u8>,
    stream: String,
}

/// The arguments of an XADD that trim its stream.
#[derive(Debug, Clone, Default)]
pub(super) struct TrimArguments {
    bytes: Vec<u8>,
    count: usize,
}

impl Commands {
    pub(super) fn new(stream: &str) -> Self {
        let record = |key: &str| {
            let mut bytes = xadd(key);
            push_limit(&mut bytes, "MAXLEN", "~", RECORDS_MAX);
            bytes
        };
        Self {
            frame: xadd(stream),
            call_end: record(CALL_END),
            call_event: record(CALL_EVENTS),
            stream: stream.to_owned(),
        }
    }

    /// The key of the stream that holds such records; metadata has a key for each call.
    pub(super) fn stream(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Frame => Some(&self.stream),
            Kind::CallEnd => Some(CALL_END),
            Kind::CallEvent => Some(CALL_EVENTS),
            Kind::Metadata => None,
        }
    }

    /// Writes a command up to its fields, of which there are `pairs`.
    pub(super) fn begin(&self, out: &mut Vec<u8>, kind: Kind, pairs: usize, trim: &TrimArguments) {
        let (head, before, trim) = match kind {
            Kind::Frame => (self.frame.as_slice(), 3, trim),
            Kind::CallEnd => (self.call_end.as_slice(), 6, &TrimArguments::NONE),
            Kind::CallEvent => (self.call_event.as_slice(), 6, &TrimArguments::NONE),
            Kind::Metadata => {
                push_count(out, 1 + 2 * pairs);
                push_bulk(out, b"SET");
                return;
            }
        };
        push_count(out, before + trim.count + 2 * pairs);
        out.extend_from_slice(head);
        out.extend_from_slice(&trim.bytes);
        out.extend_from_slice(b"$1\r\n*\r\n");
    }

    /// What trims every stream to its limit, down to the last entry: out of memory, Redis still does that.
    pub(super) fn trims(&self, trim: Trim, newest_ms: u64) -> Vec<Vec<u8>> {
        let limits = [
            (self.stream.as_str(), limit(trim, newest_ms)),
            (CALL_END, Some(("MAXLEN", RECORDS_MAX))),
            (CALL_EVENTS, Some(("MAXLEN", RECORDS_MAX))),
        ];
        let command = |(key, limit): (&str, Option<(&str, u64)>)| {
            let (word, limit) = limit?;
            let mut bytes = Vec::new();
            push_count(&mut bytes, 5);
            push_bulk(&mut bytes, b"XTRIM");
            push_bulk(&mut bytes, key.as_bytes());
            push_limit(&mut bytes, word, "=", limit);
            Some(bytes)
        };
        limits.into_iter().filter_map(command).collect()
    }
}

impl TrimArguments {
    pub(super) const NONE: Self = Self {
        bytes: Vec::new(),
        count: 0,
    };

    /// The newest entry that Redis told us of is `newest_ms` old by its own clock; 0 before there was one.
    pub(super) fn new(trim: Trim, newest_ms: u64) -> Self {
        let Some((word, limit)) = limit(trim, newest_ms) else {
            return Self::default();
        };
        let mut bytes = Vec::with_capacity(48);
        push_limit(&mut bytes, word, "~", limit);
        Self { bytes, count: 3 }
    }
}

fn limit(trim: Trim, newest_ms: u64) -> Option<(&'static str, u64)> {
    match trim {
        Trim::Never => None,
        Trim::Length(entries) => Some(("MAXLEN", entries)),
        Trim::Age(_) if newest_ms == 0 => None,
        Trim::Age(age) => Some(("MINID", newest_ms.saturating_sub(millis(age)))),
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

fn xadd(key: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_bulk(&mut bytes, b"XADD");
    push_bulk(&mut bytes, key.as_bytes());
    bytes
}

fn push_limit(out: &mut Vec<u8>, word: &str, exactness: &str, limit: u64) {
    push_bulk(out, word.as_bytes());
    push_bulk(out, exactness.as_bytes());
    push_bulk(out, itoa::Buffer::new().format(limit).as_bytes());
}

fn push_count(out: &mut Vec<u8>, arguments: usize) {
    out.push(b'*');
    out.extend_from_slice(itoa::Buffer::new().format(arguments).as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(crate) const CALL_END: &str = "call_end";
pub(crate) const CALL_EVENTS: &str = "call_events";
const RECORDS_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &[u8]) -> String {
        let text = String::from_utf8(command.to_vec()).unwrap();
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let count = lines.next().unwrap().trim_start_matches('*');
        let count: usize = count.parse().unwrap();
        let words: Vec<_> = lines.filter(|line| !line.starts_with('$')).collect();
        assert_eq!(words.len(), count, "{text}");
        words.join(" ")
    }

    #[test]
    fn every_kind_becomes_its_command() {
        let commands = Commands::new("audio");
        let write = |kind, trim| {
            let mut out = Vec::new();
            commands.begin(&mut out, kind, 1, &trim);
            crate::record::push_pair(&mut out, b"data", b"{}");
            words(&out)
        };
        let never = TrimArguments::default();
        assert_eq!(write(Kind::Frame, never.clone()), "XADD audio * data {}");
        let age = Trim::Age(Duration::from_mins(2));
        assert_eq!(
            write(Kind::Frame, TrimArguments::new(age, 1_000_000)),
            "XADD audio MINID ~ 880000 * data {}"
        );
        assert_eq!(
            write(Kind::CallEnd, TrimArguments::new(age, 1_000_000)),
            "XADD call_end MAXLEN ~ 100000 * data {}"
        );
        assert_eq!(
            write(Kind::CallEvent, never.clone()),
            "XADD call_events MAXLEN ~ 100000 * data {}"
        );
        assert_eq!(write(Kind::Metadata, never), "SET data {}");
    }

    #[test]
    fn out_of_memory_every_stream_is_cut_to_its_limit() {
        let commands = Commands::new("audio");
        let trims = |trim, newest| -> Vec<_> {
            let trims = commands.trims(trim, newest);
            trims.iter().map(|trim| words(trim)).collect()
        };
        let records = [
            "XTRIM call_end MAXLEN = 100000",
            "XTRIM call_events MAXLEN = 100000",
        ];
        assert_eq!(trims(Trim::Never, 5), records);
        assert_eq!(trims(Trim::Age(Duration::from_secs(1)), 0), records);
        assert_eq!(trims(Trim::Length(9), 0)[0], "XTRIM audio MAXLEN = 9");
        assert_eq!(
            trims(Trim::Age(Duration::from_secs(1)), 5000)[0],
            "XTRIM audio MINID = 4000"
        );
    }
}
