//! What was published, read back entry by entry: out of Redis, or out of a journal directory.
//!
//! Entries come as bytes; what a frame or a call's end says is `published.rs`'s subject, what they prove `proof.rs`'s. Nothing
//! is written and nothing is locked: services may go on writing. Invariants: each entry is given out once, in the order of its
//! stream, and memory is bounded by a page of Redis, or a record of the journal, not by what there is to read.

mod journal;
mod redis;

use std::{fmt, path::PathBuf};

use crate::{
    journal::{
        Position,
        error::ReadError,
        fields::{self, FieldsError, Pairs},
    },
    publisher::{self, Destination, LinkError, RedisSettings, reply::EntryId},
    record::Kind,
};

/// Where the entries are.
#[derive(Debug)]
pub enum Source {
    Redis(redis::Redis),
    Journal(journal::Journal),
}

/// A pass over all entries of one kind, oldest first.
#[derive(Debug)]
pub enum Entries<'s> {
    Redis(redis::Pages<'s>),
    Journal(journal::Pass<'s>),
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub id: Id,
    /// When it was added, by the clock of Redis; in the journal, by that of the service.
    pub added_ms: u64,
    /// Which of the streams of frames it stands in; 0 for other kinds.
    pub shard: usize,
    fields: &'a [u8],
}

/// What tells an entry from the others of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    Stream(EntryId),
    Journal(Position),
}

/// Why entries cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadbackError {
    #[error(transparent)]
    Redis(#[from] LinkError),
    #[error(transparent)]
    Journal(#[from] ReadError),
}

impl Source {
    /// What the publisher writes to: connects, or looks whether there is a journal.
    pub async fn open(
        settings: &publisher::Settings,
        journal: PathBuf,
    ) -> Result<Self, ReadbackError> {
        match &settings.destination {
            Destination::Redis(redis) => Self::redis(redis, settings.frame_keys()).await,
            Destination::Journal { .. } => Self::journal(journal),
        }
    }

    pub fn journal(dir: PathBuf) -> Result<Self, ReadbackError> {
        Ok(Self::Journal(journal::Journal::open(dir)?))
    }

    async fn redis(settings: &RedisSettings, keys: Vec<String>) -> Result<Self, ReadbackError> {
        let redis = redis::Redis::connect(settings, keys).await?;
        Ok(Self::Redis(redis))
    }

    /// All entries of a kind. Those of Redis that were added before `from_ms` are left out.
    pub fn entries(&mut self, kind: Kind, from_ms: u64) -> Result<Entries<'_>, ReadbackError> {
        Ok(match self {
            Self::Redis(redis) => Entries::Redis(redis.pages(kind, from_ms)),
            Self::Journal(journal) => Entries::Journal(journal.pass(kind)?),
        })
    }

    /// Of each stream of frames: before when entries have been removed from it, in the clock of [`Entry::added_ms`]. Nothing
    /// where none have.
    pub async fn fronts(&mut self) -> Result<Vec<Option<u64>>, ReadbackError> {
        match self {
            Self::Redis(redis) => Ok(redis.fronts().await?),
            Self::Journal(journal) => Ok(vec![journal.front()?]),
        }
    }

    /// The keys or the directory that frames are read from.
    pub fn name(&self) -> String {
        match self {
            Self::Redis(redis) => redis.name(),
            Self::Journal(journal) => journal.name(),
        }
    }

    /// What a reader should know of how complete the source is, in sentences.
    pub fn take_notices(&mut self) -> Vec<String> {
        match self {
            Self::Redis(redis) => redis.take_notices(),
            Self::Journal(journal) => journal.take_notices(),
        }
    }
}

impl Entries<'_> {
    /// The next entry; nothing once all have been read that there are at present.
    pub async fn next(&mut self) -> Result<Option<Entry<'_>>, ReadbackError> {
        match self {
            Self::Redis(pages) => Ok(pages.next().await?),
            Self::Journal(pass) => Ok(pass.next()?),
        }
    }
}

impl<'a> Entry<'a> {
    /// Its names and values.
    pub fn pairs(&self) -> Result<Pairs<'a>, FieldsError> {
        fields::pairs(self.fields)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(id) => id.fmt(f),
            Self::Journal(position) => position.fmt(f),
        }
    }
}
