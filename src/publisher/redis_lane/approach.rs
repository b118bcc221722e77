//! A new connection and what it finds: did Redis take what an older one was given last? (5.5)
//!
//! The old connection is fenced off, then the streams are read back from the last entry that was confirmed. What is
//! found there, byte for byte, has arrived; only the rest is sent again. It costs the healthy path nothing.
//! Not to be told: entries that were trimmed away before they could be read back. They are sent again, since a repeat
//! can be recognised by its number and a hole cannot be filled.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use redis::{Value, cmd};

use crate::{
    journal::Position,
    publisher::{
        fence::{Doubt, Fenced, Footing, Marks},
        lane::Lane,
        link::{Dial, Link, LinkError},
        redis_error::Class,
        reply::{self, EntryId},
    },
    record::Kind,
};

/// A connection that is fit for use.
#[derive(Debug)]
pub(super) struct Approached {
    pub(super) link: Link,
    /// Where the streams stand. Nothing of ours is on its way to them.
    pub(super) marks: Marks,
    pub(super) arrived: Arrived,
    /// Why what this connection does cannot be told for certain when it breaks.
    pub(super) caveat: Option<&'static str>,
}

/// Entries that were found behind the marks, each to be matched once.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    entries: HashMap<u64, u32>,
    /// Records of the journal that were matched. What was read of it may have to be read again.
    known: HashSet<Position>,
    hasher: RandomState,
}

impl Arrived {
    fn enter(&mut self, kind: Kind, fields: &[u8]) {
        let key = self.hasher.hash_one((kind, fields));
        *self.entries.entry(key).or_default() += 1;
    }

    /// Whether this record is among them; the next one that is the same needs an entry of its own.
    pub(super) fn take(&mut self, kind: Kind, fields: &[u8]) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let key = self.hasher.hash_one((kind, fields));
        let Some(count) = self.entries.get_mut(&key) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.entries.remove(&key);
        }
        true
    }

    /// The same for a record of the journal, however often it is asked for.
    pub(super) fn holds(&mut self, position: Position, kind: Kind, fields: &[u8]) -> bool {
        let holds = self.known.contains(&position) || self.take(kind, fields);
        if holds {
            self.known.insert(position);
        }
        holds
    }
}

/// Connects, fences off what the footing is in doubt about, and reads back what of it has arrived.
pub(super) async fn approach(
    dial: Arc<Dial>,
    lane: Arc<Lane>,
    footing: Footing,
) -> Result<Approached, LinkError> {
    let mut link = dial.connect().await?;
    let mut caveat = link.identity.is_none().then_some(NO_FENCE);
    match &footing.doubt {
        Doubt::Nothing => {}
        Doubt::Nameless => caveat = Some(NO_FENCE),
        Doubt::Of(broken) | Doubt::Behind(broken) => {
            if broken.fence(&mut link).await? == Fenced::Unknown {
                caveat = Some(NO_FENCE);
            }
        }
    }
    let (mut marks, mut arrived) = (Marks::default(), Arrived::default());
    for kind in STREAMS {
        let Some(key) = lane.commands.stream(kind) else {
            continue;
        };
        let must_see = !matches!(footing.doubt, Doubt::Nothing | Doubt::Behind(_));
        let newest = newest(&mut link, kind, key, must_see).await?;
        marks.advance(kind, newest);
        if must_see {
            let after = footing.marks.of(kind).unwrap_or_default();
            let readable = read_back(&mut link, key, after, newest, |fields| {
                arrived.enter(kind, fields);
            });
            if !readable.await? {
                caveat = Some(NO_FENCE);
            }
        }
    }
    Ok(Approached {
        link,
        marks,
        arrived,
        caveat,
    })
}

/// The newest entry of a stream. Where it `must` be seen, only the rights to see it may be missing.
async fn newest(link: &mut Link, kind: Kind, key: &str, must: bool) -> Result<EntryId, LinkError> {
    let last = cmd("XREVRANGE")
        .arg(key)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .to_owned();
    let reply = link.request(&last).await?;
    if let Value::ServerError(error) = &reply {
        let error = reply::words(error);
        match Class::of(&error) {
            Class::Denied | Class::UnknownCommand => {}
            // None of ours is in it, and audio does not wait for its being mended.
            Class::WrongType if kind != Kind::Frame => {}
            // It is loading: what it holds cannot be seen yet, and it would refuse one command and take the next.
            Class::Busy => return Err(LinkError::Refused { step: LOOK, error }),
            _ if must => return Err(LinkError::Refused { step: LOOK, error }),
            _ => {}
        }
    }
    Ok(reply::entries(&reply)
        .next()
        .map(|(id, _)| id)
        .unwrap_or_default())
}

/// Reads the entries behind `after` up to `newest`; false if the server does not let us.
async fn read_back(
    link: &mut Link,
    key: &str,
    mut after: EntryId,
    newest: EntryId,
    mut take: impl FnMut(&[u8]),
) -> Result<bool, LinkError> {
    while after < newest {
        let page = cmd("XRANGE")
            .arg(key)
            .arg(format!("({after}"))
            .arg(newest.to_string())
            .arg("COUNT")
            .arg(PAGE)
            .to_owned();
        let reply = link.request(&page).await?;
        if let Value::ServerError(error) = &reply {
            let error = reply::words(error);
            return match Class::of(&error) {
                Class::Denied | Class::UnknownCommand => Ok(false),
                // Whatever it is, it says nothing of what has arrived.
                _ => Err(LinkError::Refused { step: LOOK, error }),
            };
        }
        let mut read = 0;
        for (id, fields) in reply::entries(&reply) {
            read += 1;
            after = id;
            take(&fields);
        }
        if read == 0 {
            break;
        }
    }
    Ok(true)
}

const LOOK: &str = "a look at the stream";
const STREAMS: [Kind; 3] = [Kind::Frame, Kind::CallEnd, Kind::CallEvent];
/// Entries that are read back at a time: 300 kB of frames of 20 ms.
const PAGE: usize = 500;
const NO_FENCE: &str = "Redis does not allow CLIENT INFO, INFO, CLIENT KILL or XRANGE: after a broken connection \
                        frames may be published twice; give the user of REDIS_URL these rights";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_matched_by_one_record_however_often_that_is_read() {
        let mut arrived = Arrived::default();
        arrived.enter(Kind::Frame, b"f");
        for (position, held) in [(1, true), (1, true), (2, false), (1, true)] {
            assert_eq!(arrived.holds(Position(position), Kind::Frame, b"f"), held);
        }
    }
}
