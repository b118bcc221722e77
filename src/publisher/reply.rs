//! Redis's replies, as far as a lane cares: entry ids by the thousand, and now and then something else.
//!
//! Ids are read by hand, since there is one per frame, and so are the words that stand around them in a transaction;
//! everything else goes through the redis crate's parser, which takes 8 KiB of memory for each reply.

use std::fmt;

use redis::{RedisError, Value};

use crate::record::push_pair;

/// A stream entry's id.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct EntryId {
    pub(crate) ms: u64,
    pub(crate) seq: u64,
}

impl EntryId {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|&byte| byte == b'-')?;
        let (ms, seq) = (number(text.get(..dash)?)?, number(text.get(dash + 1..)?)?);
        Some(Self {
            ms: ms as u64,
            seq: seq as u64,
        })
    }

    /// The id that follows at once.
    pub(super) fn next(self) -> Self {
        Self {
            ms: self.ms,
            seq: self.seq.saturating_add(1),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// One reply.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// Time part of the entry's id.
    Id(EntryId),
    Done,
    /// The command waits in a transaction.
    Queued,
    /// Redis's own words, the error code first.
    Error(String),
}

/// Reads the first reply in `bytes`, and how many bytes it took; `None` while it is not all there.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Reply, usize)>, RedisError> {
    if let Some(found) = read_id(bytes) {
        return Ok(Some(found));
    }
    for (plain, reply) in [(QUEUED, Reply::Queued), (OK, Reply::Done)] {
        if bytes.starts_with(plain) {
            return Ok(Some((reply, plain.len())));
        }
    }
    let Some(length) = length(bytes, DEPTH_MAX) else {
        return Ok(None);
    };
    let reply = match redis::parse_redis_value(bytes.get(..length).unwrap_or_default())? {
        Value::ServerError(error) => Reply::Error(words(&error)),
        _ => Reply::Done,
    };
    Ok(Some((reply, length)))
}

/// An error in Redis's own words, the code first.
pub(crate) fn words(error: &redis::ServerError) -> String {
    let details = error.details().unwrap_or_default();
    format!("{} {details}", error.code()).trim_end().to_owned()
}

/// The entries of an XRANGE reply, their fields as they stand behind the `*` of an XADD.
pub(crate) fn entries(reply: &Value) -> impl Iterator<Item = (EntryId, Vec<u8>)> {
    let items = match reply {
        Value::Array(items) => items.as_slice(),
        _ => &[],
    };
    items.iter().filter_map(|item| {
        let Value::Array(parts) = item else {
            return None;
        };
        let [Value::BulkString(id), Value::Array(pairs)] = parts.as_slice() else {
            return None;
        };
        let mut fields = Vec::new();
        for pair in pairs.chunks_exact(2) {
            if let [Value::BulkString(name), Value::BulkString(value)] = pair {
                push_pair(&mut fields, name, value);
            }
        }
        Some((EntryId::parse(id)?, fields))
    })
}

/// Reads the front of an array, so that its items can be read one by one: how many they are, and how many bytes
/// it took. A null array has none.
pub(super) fn read_array_head(bytes: &[u8]) -> Option<(usize, usize)> {
    let (count, head) = line(bytes.strip_prefix(b"*")?)?;
    Some((number(count).unwrap_or(0), 1 + head))
}

/// `$15\r\n1762500000000-0\r\n` and nothing else.
fn read_id(bytes: &[u8]) -> Option<(Reply, usize)> {
    let (digits, head) = line(bytes.strip_prefix(b"$")?)?;
    let length = number(digits)?;
    let body = bytes.get(1 + head..1 + head + length)?;
    if bytes.get(1 + head + length..1 + head + length + 2)? != b"\r\n" {
        return None;
    }
    let id = EntryId::parse(body)?;
    Some((Reply::Id(id), 1 + head + length + 2))
}

/// How long the reply at the front is, however deep it is nested; `None` while it is not all there.
pub(super) fn length(bytes: &[u8], depth: usize) -> Option<usize> {
    let (first, rest) = bytes.split_first()?;
    let (text, head) = line(rest)?;
    let mut end = 1 + head;
    match first {
        b'$' | b'=' if text != b"-1" => end += number(text).unwrap_or(0) + 2,
        b'*' | b'~' | b'>' | b'%' if text != b"-1" && depth > 0 => {
            let items = number(text).unwrap_or(0) * if *first == b'%' { 2 } else { 1 };
            for _ in 0..items {
                end += length(bytes.get(end..)?, depth - 1)?;
            }
        }
        _ => {}
    }
    (bytes.len() >= end).then_some(end)
}

/// The text before the first line break, and where the next line begins.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|&byte| byte == b'\r')?;
    (bytes.get(end + 1) == Some(&b'\n')).then_some((bytes.get(..end)?, end + 2))
}

fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0_usize, |value, &digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + usize::from(digit - b'0'))
    })
}

pub(super) const DEPTH_MAX: usize = 8;
const QUEUED: &[u8] = b"+QUEUED\r\n";
const OK: &[u8] = b"+OK\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_reply_is_read_whole_or_not_at_all() {
        let check = |text: &str, expected: Reply| {
            for cut in 0..text.len() {
                assert_eq!(
                    read(&text.as_bytes()[..cut]).unwrap(),
                    None,
                    "{text:?} cut at {cut}"
                );
            }
            let more = format!("{text}$1\r\nx\r\n");
            assert_eq!(
                read(more.as_bytes()).unwrap(),
                Some((expected, text.len())),
                "{text:?}"
            );
        };
        check(
            "$15\r\n1762500000000-0\r\n",
            Reply::Id(EntryId {
                ms: 1_762_500_000_000,
                seq: 0,
            }),
        );
        check("+OK\r\n", Reply::Done);
        check("+QUEUED\r\n", Reply::Queued);
        check(":3\r\n", Reply::Done);
        check("$-1\r\n", Reply::Done);
        check("$5\r\nhello\r\n", Reply::Done);
        check("*2\r\n$1\r\na\r\n*1\r\n:1\r\n", Reply::Done);
        check(
            "-OOM command not allowed\r\n",
            Reply::Error("OOM command not allowed".into()),
        );
        check(
            "-LOADING Redis is loading\r\n",
            Reply::Error("LOADING Redis is loading".into()),
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(read(&bytes).is_err() || read(&bytes).is_ok_and(|found| found.is_none_or(|(_, length)| length <= bytes.len())));
        }
    }
}
