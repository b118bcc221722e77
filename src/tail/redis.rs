//! Entries of the streams in Redis as they come, by XREAD on a connection of its own, which is made again when it breaks.
//!
//! Invariants: a stream is read on behind the last entry that was given out, whatever happened to the connection; the first
//! connection must succeed, so that a mistake is told at once, and every later one is tried for as long as somebody looks on.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use redis::cmd;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Entry, Start, Wanted,
    place::{Lost, Place},
    reply::{Part, Reply},
};
use crate::{
    publisher::{
        self, LinkError, RedisSettings,
        command::{CALL_END, CALL_EVENTS},
        groups::look::{Seen, look_at_stream},
        link::{Dial, Link},
        reply::EntryId,
    },
    readback::Id,
    record::Kind,
};

/// The streams that are followed.
#[derive(Debug)]
pub struct Streams {
    dial: Dial,
    link: Option<Link>,
    followed: Vec<Stream>,
    /// What has come of the reply, from the entry on that was given out last.
    buffer: BytesMut,
    /// How long that entry is.
    given_out: usize,
    reply: Option<Reply>,
    /// Of which stream the entries are that are coming.
    present: usize,
    /// Entries of the present reply.
    brought: usize,
    look_at: Instant,
    /// Whether the last attempt failed, and this was told.
    is_away: bool,
    notices: Vec<String>,
}

#[derive(Debug)]
struct Stream {
    key: String,
    kind: Kind,
    place: Place,
}

impl Streams {
    pub(super) async fn open(
        settings: &RedisSettings,
        mut keys: Vec<String>,
        wanted: &Wanted,
    ) -> Result<Self, LinkError> {
        if let Some(shard) = wanted
            .call
            .as_deref()
            .and_then(|call| publisher::shard(call, keys.len()))
        {
            keys = keys.into_iter().skip(shard).take(1).collect();
        }
        let mut keys: Vec<(String, Kind)> =
            keys.into_iter().map(|key| (key, Kind::Frame)).collect();
        if wanted.events {
            keys.push((CALL_EVENTS.to_owned(), Kind::CallEvent));
            keys.push((CALL_END.to_owned(), Kind::CallEnd));
        }
        let dial = Dial::new(settings, "", &[])?;
        let mut link = dial.connect().await?;
        let mut streams = Vec::with_capacity(keys.len());
        for (key, kind) in keys {
            let place = begin(&mut link, &key, wanted.start).await?;
            streams.push(Stream { key, kind, place });
        }
        let mut this = Self {
            dial,
            link: Some(link),
            followed: streams,
            buffer: BytesMut::with_capacity(READ_BYTES),
            given_out: 0,
            reply: None,
            present: 0,
            brought: 0,
            look_at: Instant::now(),
            is_away: false,
            notices: Vec::new(),
        };
        // Whoever may not read is told so at once.
        this.probe().await?;
        Ok(this)
    }

    /// Waits for more of the reply, or asks for the next.
    pub(super) async fn wait(&mut self) {
        if let Err(error) = self.step().await {
            self.lose(&error.to_string());
        }
    }

    async fn step(&mut self) -> Result<(), LinkError> {
        if self.link.is_none() {
            sleep(RETRY_AFTER).await;
            self.link = Some(self.dial.connect().await?);
            self.look_at = Instant::now();
        }
        if self.reply.is_none() {
            if Instant::now() >= self.look_at {
                self.look().await?;
                self.look_at = Instant::now() + LOOK_EVERY;
            }
            // Asked at once, a busy stream would answer a thousand times a second with a few entries each.
            if self.brought > MANY && !self.followed.iter().any(|stream| stream.place.is_behind) {
                sleep(GATHER).await;
            }
            self.ask().await?;
        }
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if self.buffer.len() > ENTRY_BYTES_MAX {
            return Err(LinkError::Protocol("an entry without end".to_owned()));
        }
        self.buffer.reserve(READ_BYTES);
        match timeout(BLOCK + GRACE, link.read_some(&mut self.buffer)).await {
            Ok(read) => read,
            Err(_) => Err(LinkError::Timeout),
        }
    }

    async fn ask(&mut self) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(PAGE_ENTRIES);
        read.arg("BLOCK").arg(BLOCK.as_millis().to_string());
        read.arg("STREAMS");
        for stream in &self.followed {
            read.arg(&stream.key);
        }
        for stream in &mut self.followed {
            read.arg(stream.place.last.to_string());
            stream.place.is_behind = false;
        }
        link.send(&read).await?;
        self.reply = Some(Reply::default());
        self.brought = 0;
        Ok(())
    }

    /// Whether XREAD is allowed, on each of the streams.
    async fn probe(&mut self) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        for stream in &self.followed {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(1).arg("STREAMS");
            read.arg(&stream.key).arg("$");
            if let redis::Value::ServerError(error) = link.request(&read).await? {
                return Err(refused(publisher::reply::words(&error)));
            }
        }
        Ok(())
    }

    /// Finds out whether trimming was faster.
    async fn look(&mut self) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        for stream in &mut self.followed {
            match look_at_stream(link, &stream.key).await? {
                Seen::Absent => stream.place.note_absent(),
                // Without the right to look, gaps in the numbers of a call still tell.
                Seen::Refused(_) => {}
                Seen::Stream(look) => {
                    let key = &stream.key;
                    let notice = match stream.place.look(&look) {
                        None => continue,
                        Some(Lost::Entries(entries)) => format!(
                            "fell behind: {entries} entries of {key} were removed before they were read"
                        ),
                        Some(Lost::Some) => format!(
                            "fell behind: entries of {key} were removed before they were read"
                        ),
                        Some(Lost::Stream) => format!("{key} was removed and begins anew"),
                    };
                    self.notices.push(notice);
                }
            }
        }
        if self.is_away {
            self.is_away = false;
            self.notices.push("Redis is connected again".to_owned());
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Option<Entry<'_>> {
        let (kind, id, fields) = loop {
            self.buffer.advance(self.given_out);
            self.given_out = 0;
            let Some(reply) = &mut self.reply else {
                return None;
            };
            let (part, used) = match reply.next(&self.buffer) {
                Ok(Some(found)) => found,
                Ok(None) => return None,
                Err(damaged) => {
                    self.lose(&LinkError::Protocol(damaged.to_string()).to_string());
                    return None;
                }
            };
            match part {
                Part::Done => {
                    self.buffer.advance(used);
                    self.reply = None;
                    return None;
                }
                Part::Refused(words) => {
                    self.lose(&refused(words).to_string());
                    return None;
                }
                Part::Stream { key, entries } => {
                    let key = self.buffer.get(key).unwrap_or_default();
                    let found = self
                        .followed
                        .iter()
                        .position(|stream| stream.key.as_bytes() == key);
                    self.present = found.unwrap_or(usize::MAX);
                    self.brought += entries;
                    if let Some(stream) = self.followed.get_mut(self.present) {
                        stream.place.is_behind = entries >= PAGE_ENTRIES;
                    }
                    self.buffer.advance(used);
                }
                Part::Entry { id, fields } => {
                    self.given_out = used;
                    if let Some(stream) = self.followed.get_mut(self.present) {
                        stream.place.took(id);
                        break (stream.kind, id, fields);
                    }
                }
            }
        };
        Some(Entry {
            kind,
            id: Id::Stream(id),
            fields: self.buffer.get(fields).unwrap_or_default(),
        })
    }

    /// Gives the connection up, and says so once.
    fn lose(&mut self, why: &str) {
        self.link = None;
        self.reply = None;
        self.buffer.clear();
        self.given_out = 0;
        self.brought = 0;
        if !std::mem::replace(&mut self.is_away, true) {
            self.notices
                .push(format!("{why}; trying again every second"));
        }
    }

    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn name(&self) -> String {
        let frames = self
            .followed
            .iter()
            .filter(|stream| stream.kind == Kind::Frame);
        let keys: Vec<&str> = frames.map(|stream| stream.key.as_str()).collect();
        keys.join(", ")
    }
}

/// Where a stream is read from.
async fn begin(link: &mut Link, key: &str, start: Start) -> Result<Place, LinkError> {
    match start {
        Start::At(ms) => Ok(Place::behind(EntryId {
            ms: ms.saturating_sub(1),
            seq: u64::MAX,
        })),
        Start::Behind(name) => Ok(Place::behind(EntryId {
            ms: name.number,
            seq: name.part.unwrap_or(0),
        })),
        Start::Now => {
            let mut place = Place::behind(EntryId::default());
            match look_at_stream(link, key).await? {
                Seen::Absent => place.note_absent(),
                Seen::Stream(look) => {
                    place = Place::behind(look.newest);
                    place.look(&look);
                }
                Seen::Refused(words) => return Err(refused(words)),
            }
            Ok(place)
        }
    }
}

fn refused(error: String) -> LinkError {
    LinkError::Refused {
        step: "to be followed",
        error,
    }
}

/// A page of 20 ms frames is 600 kB as JSON, and a fiftieth of a second at 50,000 frames a second.
const PAGE_ENTRIES: usize = 1000;
/// How long Redis waits for an entry before it answers that there is none.
const BLOCK: Duration = Duration::from_secs(1);
/// How much later the answer may be before the connection counts as broken.
const GRACE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Nobody sees a difference of so little, and two hundred questions a second are nothing to Redis.
const GATHER: Duration = Duration::from_millis(5);
const MANY: usize = 4;
const READ_BYTES: usize = 256 * 1024;
/// As large as a record may be in the journal, four times over.
const ENTRY_BYTES_MAX: usize = 64 << 20;
