//! Entries of the streams in Redis, a page at a time.
//!
//! The connection is the publisher's kind. Invariant: a page is asked for only when the one before it has been given out,
//! and is about [`PAGE_BYTES`] long, however large the entries are.

use std::vec;

use redis::{Value, cmd};

use super::{Entry, Id};
use crate::{
    publisher::{
        LinkError, RedisSettings,
        command::{CALL_END, CALL_EVENTS},
        link::{Dial, Link},
        reply::{self, EntryId},
    },
    record::Kind,
};

/// A server and its streams of frames.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    keys: Vec<String>,
    notices: Vec<String>,
}

/// A pass over one stream, or over all streams of frames one after the other.
#[derive(Debug)]
pub struct Pages<'s> {
    redis: &'s mut Redis,
    kind: Kind,
    from_ms: u64,
    shard: usize,
    /// The last entry of the last page; nothing before the first page of a stream.
    after: Option<EntryId>,
    page: vec::IntoIter<(EntryId, Vec<u8>)>,
    page_entries: usize,
    entry: (EntryId, Vec<u8>),
}

/// What a stream tells of its beginning.
#[derive(Debug, Clone, Copy)]
enum Front {
    NoStream,
    Whole,
    /// In ms, as entry ids have them.
    RemovedBefore(u64),
}

impl Redis {
    pub(super) async fn connect(
        settings: &RedisSettings,
        keys: Vec<String>,
    ) -> Result<Self, LinkError> {
        let dial = Dial::new(settings, "", &[])?;
        Ok(Self {
            link: dial.connect().await?,
            keys,
            notices: Vec::new(),
        })
    }

    pub(super) fn pages(&mut self, kind: Kind, from_ms: u64) -> Pages<'_> {
        Pages {
            redis: self,
            kind,
            from_ms,
            shard: 0,
            after: None,
            page: Vec::new().into_iter(),
            page_entries: PAGE_ENTRIES_FIRST,
            entry: (EntryId::default(), Vec::new()),
        }
    }

    pub(super) async fn fronts(&mut self) -> Result<Vec<Option<u64>>, LinkError> {
        let mut fronts = Vec::with_capacity(self.keys.len());
        let mut any = false;
        for key in self.keys.clone() {
            let front = self.front(&key).await?;
            any |= !matches!(front, Front::NoStream);
            fronts.push(match front {
                Front::NoStream | Front::Whole => None,
                Front::RemovedBefore(ms) => Some(ms),
            });
        }
        // A shard that no call has come to yet is none.
        if !any {
            self.notices.push(format!(
                "there is no stream {} in this Redis: see what AUDIO_STREAM and AUDIO_STREAM_SHARDS are where the service runs",
                self.name()
            ));
        }
        Ok(fronts)
    }

    async fn front(&mut self, key: &str) -> Result<Front, LinkError> {
        let stream = cmd("XINFO").arg("STREAM").arg(key).to_owned();
        match self.link.request(&stream).await? {
            Value::ServerError(error) if reply::words(&error).contains("no such key") => {
                Ok(Front::NoStream)
            }
            // Whoever may not ask has to take the first entry as the first of what is left.
            Value::ServerError(_) => Ok(match self.first_ms(key).await? {
                Some(ms) => Front::RemovedBefore(ms),
                None => Front::NoStream,
            }),
            info => Ok(removed_before(&info).map_or(Front::Whole, Front::RemovedBefore)),
        }
    }

    async fn first_ms(&mut self, key: &str) -> Result<Option<u64>, LinkError> {
        let entries = self.range(key, "-", 1).await?;
        Ok(entries.first().map(|(id, _)| id.ms))
    }

    async fn range(
        &mut self,
        key: &str,
        start: &str,
        count: usize,
    ) -> Result<Vec<(EntryId, Vec<u8>)>, LinkError> {
        let range = cmd("XRANGE")
            .arg(key)
            .arg(start)
            .arg("+")
            .arg("COUNT")
            .arg(count)
            .to_owned();
        match self.link.request(&range).await? {
            Value::ServerError(error) => Err(LinkError::Refused {
                step: "a look at the stream",
                error: reply::words(&error),
            }),
            page => Ok(reply::entries(&page).collect()),
        }
    }

    pub(super) fn name(&self) -> String {
        self.keys.join(", ")
    }

    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

impl Pages<'_> {
    pub(super) async fn next(&mut self) -> Result<Option<Entry<'_>>, LinkError> {
        loop {
            if let Some(entry) = self.page.next() {
                self.entry = entry;
                let (id, fields) = &self.entry;
                return Ok(Some(Entry {
                    id: Id::Stream(*id),
                    added_ms: id.ms,
                    shard: self.shard,
                    fields,
                }));
            }
            let Some(key) = self.key() else {
                return Ok(None);
            };
            if !self.turn(&key).await? {
                self.shard += 1;
                self.after = None;
            }
        }
    }

    fn key(&self) -> Option<String> {
        match (self.kind, self.shard) {
            (Kind::Frame, shard) => self.redis.keys.get(shard).cloned(),
            (Kind::CallEnd, 0) => Some(CALL_END.to_owned()),
            (Kind::CallEvent, 0) => Some(CALL_EVENTS.to_owned()),
            _ => None,
        }
    }

    /// Reads the next page; `false` if there is none.
    async fn turn(&mut self, key: &str) -> Result<bool, LinkError> {
        let start = match self.after {
            Some(after) => format!("({after}"),
            None => self.from_ms.to_string(),
        };
        let page = self.redis.range(key, &start, self.page_entries).await?;
        let Some((last, _)) = page.last() else {
            return Ok(false);
        };
        self.after = Some(*last);
        let bytes: usize = page.iter().map(|(_, fields)| fields.len()).sum();
        let entry_bytes = (bytes / page.len()).max(1);
        self.page_entries = (PAGE_BYTES / entry_bytes).clamp(1, PAGE_ENTRIES_MAX);
        self.page = page.into_iter();
        Ok(true)
    }
}

/// From `XINFO STREAM`: the time of the first entry, if any have been removed before it.
fn removed_before(info: &Value) -> Option<u64> {
    let pairs: Vec<(&Value, &Value)> = match info {
        Value::Array(items) => {
            let (pairs, _) = items.as_chunks::<2>();
            pairs.iter().map(|[name, value]| (name, value)).collect()
        }
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        _ => return None,
    };
    let field = |wanted: &str| {
        let named = |name: &Value| match name {
            Value::BulkString(bytes) => bytes == wanted.as_bytes(),
            Value::SimpleString(text) => text == wanted,
            _ => false,
        };
        let found = pairs.iter().find(|(name, _)| named(name));
        found.map(|(_, value)| *value)
    };
    // Redis 7 counts what was ever added.
    if let (Some(Value::Int(length)), Some(Value::Int(added))) =
        (field("length"), field("entries-added"))
        && added <= length
    {
        return None;
    }
    let id = |value: &Value| match value {
        Value::BulkString(id) => EntryId::parse(id).map(|id| id.ms),
        _ => None,
    };
    match field("first-entry") {
        Some(Value::Array(entry)) => entry.first().and_then(id),
        // All of it has been removed, up to the last that there ever was.
        _ => field("last-generated-id").and_then(id),
    }
}

/// Enough to be quick over a network, little enough to be nothing to the server.
const PAGE_BYTES: usize = 1 << 20;
const PAGE_ENTRIES_FIRST: usize = 100;
/// Where small entries are followed by the largest that are taken by default (350 kB), a page is still below what the
/// connection reads as one answer (256 MiB).
const PAGE_ENTRIES_MAX: usize = 700;

#[cfg(test)]
mod tests {
    use super::*;

    fn info(length: i64, added: Option<i64>, first: Option<&str>, last: &str) -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let first = first.map_or(Value::Nil, |id| {
            Value::Array(vec![text(id), Value::Array(Vec::new())])
        });
        let mut items = vec![
            text("length"),
            Value::Int(length),
            text("last-generated-id"),
            text(last),
            text("first-entry"),
            first,
        ];
        if let Some(added) = added {
            items.extend([text("entries-added"), Value::Int(added)]);
        }
        Value::Array(items)
    }

    #[test]
    fn a_stream_tells_whether_its_beginning_was_removed() {
        for (info, front) in [
            (info(2, Some(2), Some("10-0"), "20-0"), None),
            (info(2, Some(3), Some("10-0"), "20-0"), Some(10)),
            (info(0, Some(3), None, "20-0"), Some(20)),
            (info(0, Some(0), None, "0-0"), None),
            // Redis 6.2 does not count: what is missing before the first entry may have been there.
            (info(2, None, Some("10-0"), "20-0"), Some(10)),
            (info(0, None, None, "20-0"), Some(20)),
            (Value::Nil, None),
        ] {
            assert_eq!(removed_before(&info), front, "{info:?}");
        }
    }
}
