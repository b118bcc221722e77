//! The segments behind the one that is being written: how much they hold, and removing the oldest. When to remove is
//! up to `writer.rs`.
//!
//! Invariant: segments of an unknown version are neither counted nor removed.

use std::{collections::VecDeque, io, path::PathBuf};

use super::{Position, Removed, disk::Disk, segment::Name};

/// A segment as the writer knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) name: Name,
    pub(crate) first: Position,
    /// The header's, should somebody have changed the name.
    pub(crate) salt: u32,
    /// When its first record was appended; `None` if its header is damaged.
    pub(crate) at_ms: Option<u64>,
    /// How long it is, as far as it was synced.
    pub(crate) bytes: u64,
    /// Written in our version.
    pub(crate) ours: bool,
}

/// The closed segments, oldest first.
#[derive(Debug)]
pub(crate) struct Closed {
    segments: VecDeque<Segment>,
    bytes: u64,
}

impl Closed {
    pub(crate) fn new(segments: VecDeque<Segment>) -> Self {
        let ours = segments.iter().filter(|segment| segment.ours);
        let bytes = ours.map(|segment| segment.bytes).sum();
        Self { segments, bytes }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.ours)
    }

    pub(crate) fn push(&mut self, segment: Segment) {
        self.bytes += segment.bytes;
        self.segments.push_back(segment);
    }

    /// The first and the last position in the oldest segment; the last is the lesser one if there are none in it.
    /// `behind` is the first position behind all segments.
    pub(crate) fn oldest(&self, behind: Position) -> Option<(Position, Position)> {
        let (_, segment, last) = self.find_oldest(behind)?;
        Some((segment.first, last))
    }

    pub(crate) fn remove_oldest(
        &mut self,
        disk: &Disk,
        behind: Position,
    ) -> Result<Removed, (PathBuf, io::Error)> {
        let Some((at, segment, last)) = self.find_oldest(behind) else {
            return Ok(Removed::default());
        };
        let name = segment.name.to_string();
        let removed = disk.remove(&name);
        removed.map_err(|error| (disk.path(&name), error))?;
        self.segments.remove(at);
        self.bytes -= segment.bytes;
        Ok(Removed {
            records: last.following().0.saturating_sub(segment.first.0),
            bytes: segment.bytes,
        })
    }

    fn find_oldest(&self, behind: Position) -> Option<(usize, Segment, Position)> {
        let at = self.segments.iter().position(|segment| segment.ours)?;
        let next = self.segments.get(at + 1).map_or(behind, |next| next.first);
        let last = Position(next.0.saturating_sub(1));
        Some((at, *self.segments.get(at)?, last))
    }
}
