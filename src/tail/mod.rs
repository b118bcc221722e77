//! Frames and call events as they come, out of Redis or out of a journal that is being written: what `tail` shows.
//!
//! A [`Follower`] waits and gives out entries, [`news`] says what they are, [`lines`] and [`rows`] show them. Nothing is
//! written and nothing is locked. Invariants: each entry is given out once, in the order of its stream; whatever was removed
//! before it could be read is told in a notice; memory is bounded by one read, not by what there is to read.

mod journal;
mod level;
pub mod lines;
pub mod news;
mod place;
mod redis;
mod reply;
pub mod rows;
pub mod screen;

use std::path::PathBuf;

use crate::{
    journal::error::ReadError,
    publisher::{Destination, LinkError, Settings},
    readback::Id,
    record::Kind,
};

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Now,
    /// With what was added at this time, in ms since the epoch, or later.
    At(u64),
    /// With what stands behind this entry.
    Behind(EntryName),
}

/// An entry as its id is written: `1762500000000-0` in Redis, a number in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryName {
    number: u64,
    part: Option<u64>,
}

/// What to follow.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub start: Start,
    /// Only the stream that has this call's frames.
    pub call: Option<String>,
    /// Ends and events of calls too.
    pub events: bool,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub kind: Kind,
    pub id: Id,
    /// Its fields as they go behind the `*` of an XADD.
    pub fields: &'a [u8],
}

/// Entries as they come.
#[derive(Debug)]
pub enum Follower {
    Redis(Box<redis::Streams>),
    Journal(Box<journal::Tail>),
}

/// Why nothing can be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Redis(#[from] LinkError),
    #[error(transparent)]
    Journal(#[from] ReadError),
}

impl EntryName {
    pub fn parse(text: &str) -> Option<Self> {
        let (number, part) = match text.split_once('-') {
            Some((number, part)) => (number, Some(part.parse().ok()?)),
            None => (text, None),
        };
        let number = number.parse().ok()?;
        Some(Self { number, part })
    }
}

impl Follower {
    /// Follows what the publisher writes to.
    pub async fn open(
        settings: &Settings,
        journal: PathBuf,
        wanted: &Wanted,
    ) -> Result<Self, FollowError> {
        match &settings.destination {
            Destination::Redis(redis) => {
                let streams = redis::Streams::open(redis, settings.frame_keys(), wanted).await?;
                Ok(Self::Redis(Box::new(streams)))
            }
            Destination::Journal { .. } => Self::journal(journal, wanted),
        }
    }

    pub fn journal(dir: PathBuf, wanted: &Wanted) -> Result<Self, FollowError> {
        let tail = journal::Tail::open(dir, wanted)?;
        Ok(Self::Journal(Box::new(tail)))
    }

    /// Waits until there may be entries, or a notice.
    pub async fn wait(&mut self) {
        match self {
            Self::Redis(streams) => streams.wait().await,
            Self::Journal(tail) => tail.wait().await,
        }
    }

    /// The next entry that has come; nothing until [`Follower::wait`] was called again.
    #[expect(
        clippy::should_implement_trait,
        reason = "an entry borrows from the follower, and there may be more after none"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, FollowError> {
        match self {
            Self::Redis(streams) => Ok(streams.next()),
            Self::Journal(tail) => Ok(tail.next()?),
        }
    }

    /// What whoever looks on should know, in sentences.
    pub fn take_notices(&mut self) -> Vec<String> {
        match self {
            Self::Redis(streams) => streams.take_notices(),
            Self::Journal(tail) => tail.take_notices(),
        }
    }

    /// The keys or the directory that frames are read from.
    pub fn name(&self) -> String {
        match self {
            Self::Redis(streams) => streams.name(),
            Self::Journal(tail) => tail.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_as_they_are_shown() {
        let name = |number, part| Some(EntryName { number, part });
        for (text, expected) in [
            ("0", name(0, None)),
            ("1762500000000-7", name(1_762_500_000_000, Some(7))),
            ("42", name(42, None)),
            ("-1", None),
            ("1-", None),
            ("1-2-3", None),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(EntryName::parse(text), expected, "{text:?}");
        }
    }
}
