//! The journal: records on disk that are not (yet) in Redis. It is the bridge over an outage of Redis (contract 5.3), and
//! the destination where none is configured.
//!
//! One [`writer::Writer`] under a lock, any number of [`reader::Reader`]s without it, in this process or in others.
//! The files of a journal directory:
//!
//! - `lock`: held by the writer, with its process id in it;
//! - `cursor`: up to which record everything is known to be in Redis (`cursor.rs`);
//! - `<first record>-<attempt>-<salt>.seg`: the segments (`segment.rs` names them, `format.rs` has their bytes).
//!
//! In reading order: [`fields`], `format`, `segment`, `scan`, `recover`, [`writer`], `closed`, `disk`, `lock`,
//! [`cursor`], `account`, [`reader`], [`error`].
//!
//! What is not here: what the fields of a record mean (the publisher's), when to write and when to sync (the
//! caller's), clocks and threads. All of it blocks; the caller puts it on a thread that may.
//!
//! Invariants:
//! - a record is claimed only after the `fdatasync` that covered it returned without an error;
//! - positions rise by one from record to record and stand in the records themselves, so that a reader sees every
//!   record once even where a failed write left it in two segments, and can count what damage took;
//! - nothing but whole segments is ever removed, and no segment of an unknown version.

pub mod fields;

mod format;
mod segment;

mod scan;

mod recover;

pub mod writer;

mod closed;
mod disk;
mod lock;

pub mod cursor;

mod account;
pub mod reader;

pub mod error;

#[cfg(test)]
mod crash;
#[cfg(test)]
mod failing;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::record::Kind;

/// The place before the newest segment of a journal: whoever reads on from there soon comes to its end. Nothing where there
/// is no segment.
pub fn before_newest_segment(dir: &Path) -> io::Result<Option<Position>> {
    let names = segment::list(dir)?;
    Ok(names
        .last()
        .map(|name| Position(name.first.0.saturating_sub(1))))
}

/// The fields of a record are no longer than this: the largest WebSocket message that is taken by default (256 KiB) as
/// base64, forty times over.
pub const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The least that a journal may be allowed to grow to.
pub const MAX_BYTES_MIN: u64 = 1 << 20;

/// Where the journal lives and how large it may grow.
#[derive(Debug, Clone)]
pub struct Settings {
    pub dir: PathBuf,
    pub max_bytes: u64,
}

/// What gives way when the journal has grown to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The oldest segments make room for new records: the journal is the destination.
    Newest,
    /// New records are refused until old ones are released: the journal is a bridge to Redis.
    Unpublished,
}

/// A record's number, counted from 1 since the journal began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Before every record.
    pub const START: Self = Self(0);

    pub(crate) fn following(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is kept of one stream entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub kind: Kind,
    /// When it was appended, in ms since the epoch.
    pub at_ms: u64,
    /// Which call it is of: the same number for all records of one call, see the publisher's `call_key`.
    pub call: u64,
    /// The number that the client has given a frame, plus one; 0 where it gave none.
    pub number: u64,
    /// The entry's fields as they go behind the `*` of an XADD, see [`fields`].
    pub fields: &'a [u8],
}

/// A record as it is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    pub position: Position,
    pub record: Record<'a>,
}

/// What was passed over, by a reader or by the recovery when a writer is opened. `segment` is a file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Bytes that are no record, and how many records are missing there. They are left where they are.
    Damage {
        segment: String,
        bytes: u64,
        records: u64,
    },
    /// A last write that did not get to its end. The writer cut it off.
    TornTail { segment: String, bytes: u64 },
    /// A segment that another version of this program wrote. It is left alone.
    UnknownVersion { segment: String, version: u32 },
    /// Records of a kind that another version of this program knows.
    UnknownKind { segment: String, records: u64 },
    /// Records that were removed before they could be read.
    Removed { records: u64 },
    /// The cursor file is damaged: what was published before may be published again.
    Cursor,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage {
                segment,
                bytes,
                records,
            } => write!(
                f,
                "{segment} is damaged: {bytes} bytes passed over, {records} records missing"
            ),
            Self::TornTail { segment, bytes } => write!(
                f,
                "{segment} ended in an unfinished write: {bytes} bytes cut off"
            ),
            Self::UnknownVersion { segment, version } => write!(
                f,
                "{segment} has format version {version}, which this program does not know: left alone; \
                 read it with the version that wrote it"
            ),
            Self::UnknownKind { segment, records } => write!(
                f,
                "{segment} holds {records} records of a kind this program does not know: passed over"
            ),
            Self::Removed { records } => {
                write!(f, "{records} records were removed before they were read")
            }
            Self::Cursor => f.write_str(
                "the cursor file is damaged: records already published may be published again",
            ),
        }
    }
}

/// What had to go to make room.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    pub records: u64,
    pub bytes: u64,
}
