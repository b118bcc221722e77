//! After a broken connection: what of its last flight did Redis take? (5.5)
//!
//! The old connection is fenced off, then the streams are read back from the last entry that was confirmed. What is
//! found there, byte for byte, is confirmed; only the rest is sent again. It costs the healthy path nothing.
//! Not to be told: entries that were trimmed away before they could be read back. They are sent again, since a repeat
//! can be recognised by its number and a hole cannot be filled.

use std::collections::HashMap;

use redis::{Value, cmd};

use super::RedisLane;
use crate::{
    publisher::{
        CALL_END, CALL_EVENTS,
        batch::Batch,
        fence::{Fenced, Identity},
        link::{Link, LinkError},
        redis_error::Class,
        reply::{self, EntryId},
    },
    record::{Kind, push_pair},
    telemetry,
};

/// What may have arrived although nobody confirmed it.
#[derive(Debug, Default, Clone)]
pub(super) enum Doubt {
    #[default]
    Nothing,
    /// The last flight of this connection.
    Of(Identity),
    /// The last flight of a connection that the server did not let us name.
    Nameless,
}

/// The newest entry of each stream that is known to be confirmed, or that was there before us.
#[derive(Debug, Default)]
pub(super) struct Marks([Option<EntryId>; 3]);

impl Marks {
    pub(super) fn advance(&mut self, kind: Kind, id: EntryId) {
        if let Some(mark) = self.0.get_mut(place(kind)) {
            *mark = (*mark).max(Some(id));
        }
    }

    fn of(&self, kind: Kind) -> Option<EntryId> {
        self.0.get(place(kind)).copied().flatten()
    }
}

impl RedisLane {
    /// Makes a new connection fit for use: finds out where the streams stand and what an older connection has left.
    pub(super) async fn prepare(&mut self, link: &mut Link) -> Result<(), LinkError> {
        for kind in KINDS {
            if self.marks.of(kind).is_none() {
                let newest = self.newest(link, kind).await?;
                self.marks.advance(kind, newest);
                if kind == Kind::Frame {
                    self.newest_ms = self.newest_ms.max(newest.ms);
                }
            }
        }
        let mut may_fence = link.identity.is_some();
        // It stays in doubt until all of this is done: if this connection breaks too, the next one does it.
        match self.doubt.clone() {
            Doubt::Nothing => {}
            Doubt::Nameless => {
                may_fence = false;
                self.confirm_what_arrived(link).await?;
            }
            Doubt::Of(broken) => {
                may_fence &= broken.fence(link).await? == Fenced::Yes;
                self.confirm_what_arrived(link).await?;
            }
        }
        self.doubt = Doubt::Nothing;
        self.lane
            .status
            .set_caveat((!may_fence).then(|| NO_FENCE.to_owned()));
        Ok(())
    }

    async fn newest(&self, link: &mut Link, kind: Kind) -> Result<EntryId, LinkError> {
        let last = cmd("XREVRANGE")
            .arg(self.key(kind))
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .to_owned();
        let reply = link.request(&last).await?;
        if let Value::ServerError(error) = &reply
            && Class::of(&reply::words(error)) == Class::Busy
        {
            // It is loading: what it holds cannot be seen yet, and it would refuse one command and take the next.
            return Err(LinkError::Refused {
                step: "a look at the stream",
                error: reply::words(error),
            });
        }
        Ok(entries(&reply).next().map(|(id, _)| id).unwrap_or_default())
    }

    fn key(&self, kind: Kind) -> &str {
        match kind {
            Kind::Frame => &self.lane.key,
            Kind::CallEnd => CALL_END,
            Kind::CallEvent => CALL_EVENTS,
        }
    }

    /// Confirms what stands in the streams already, and leaves the rest to be sent again.
    async fn confirm_what_arrived(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let mut arrived = vec![None; self.again.entries.len()];
        for kind in KINDS {
            self.find(kind, &mut arrived, link).await?;
        }
        let sent = std::mem::take(&mut self.again);
        let (mut again, mut confirmed) = (Batch::default(), 0_usize);
        for (command, id) in arrived.iter().enumerate() {
            match (id, sent.entries.get(command)) {
                (Some(id), Some(entry)) => {
                    entry.what.confirm(sent.fields(command).len());
                    if let Some(kind) = entry.what.kind() {
                        self.marks.advance(kind, *id);
                    }
                    confirmed += 1;
                }
                _ => again.copy(&sent, command),
            }
        }
        self.lane
            .confirm_bytes(sent.bytes.len().saturating_sub(again.bytes.len()));
        telemetry::redis_read_back(&self.lane.key, confirmed, again.entries.len());
        self.again = again;
        Ok(())
    }

    /// Looks for the commands of one stream behind its mark.
    async fn find(
        &self,
        kind: Kind,
        arrived: &mut [Option<EntryId>],
        link: &mut Link,
    ) -> Result<(), LinkError> {
        // The same content twice is two entries: the last one to be found stands first.
        let mut wanted: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (command, entry) in self.again.entries.iter().enumerate().rev() {
            if entry.what.kind() == Some(kind) {
                wanted
                    .entry(self.again.fields(command))
                    .or_default()
                    .push(command);
            }
        }
        let mut after = self.marks.of(kind).unwrap_or_default();
        while !wanted.is_empty() {
            let page = cmd("XRANGE")
                .arg(self.key(kind))
                .arg(format!("({after}"))
                .arg("+")
                .arg("COUNT")
                .arg(PAGE)
                .to_owned();
            let reply = link.request(&page).await?;
            let mut read = 0;
            for (id, fields) in entries(&reply) {
                read += 1;
                after = id;
                if let Some(commands) = wanted.get_mut(fields.as_slice()) {
                    if let Some(slot) = commands.pop().and_then(|command| arrived.get_mut(command))
                    {
                        *slot = Some(id);
                    }
                    if commands.is_empty() {
                        wanted.remove(fields.as_slice());
                    }
                }
            }
            if read < PAGE {
                break;
            }
        }
        Ok(())
    }
}

fn place(kind: Kind) -> usize {
    usize::from(kind.code() - 1)
}

/// The entries of an XRANGE reply, their fields as they stand behind the `*` of an XADD.
fn entries(reply: &Value) -> impl Iterator<Item = (EntryId, Vec<u8>)> {
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

const KINDS: [Kind; 3] = [Kind::Frame, Kind::CallEnd, Kind::CallEvent];
/// Entries that are read back at a time: 300 kB of frames of 20 ms.
const PAGE: usize = 500;
const NO_FENCE: &str = "Redis does not allow CLIENT INFO, INFO or CLIENT KILL: after a broken connection frames may be \
                        published twice; give the user of REDIS_URL these rights";
