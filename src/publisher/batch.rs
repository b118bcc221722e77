//! Commands that leave together, ready for the wire, each with what must be known of it until it is confirmed.

use std::{ops::Range, sync::Arc};

use super::{lane::FLIGHT_BYTES, moments::Moment, progress::Progress};
use crate::{journal::Position, record::Kind};

/// Commands in the order in which they are to take effect.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// One command of a batch.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Where the command ends in the batch.
    pub(super) end: usize,
    /// Where the field/value pairs of a stream entry begin.
    pub(super) fields: usize,
    pub(super) what: What,
}

/// What a command is, as far as its confirmation goes.
#[derive(Debug, Clone)]
pub(super) enum What {
    Frame {
        progress: Arc<Progress>,
        seq: u64,
        /// The number is the client's own.
        numbered: bool,
        read: Moment,
    },
    CallEnd(Arc<Progress>),
    CallEvent(Arc<Progress>),
    Metadata(Arc<Progress>),
    /// It stands in the journal, and whoever waited for it has been told.
    Journaled {
        kind: Kind,
        call: u64,
        position: Position,
    },
    /// Trims a stream or keeps the connection alive: worth no retry and no place on disk.
    Chore,
}

impl What {
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Frame { .. } => Some(Kind::Frame),
            Self::CallEnd(_) => Some(Kind::CallEnd),
            Self::CallEvent(_) => Some(Kind::CallEvent),
            Self::Metadata(_) => Some(Kind::Metadata),
            Self::Journaled { kind, .. } => Some(*kind),
            Self::Chore => None,
        }
    }

    /// The call that it belongs to, see [`super::progress::call_key`].
    pub(super) fn call(&self) -> Option<u64> {
        match self {
            Self::Frame { progress, .. }
            | Self::CallEnd(progress)
            | Self::CallEvent(progress)
            | Self::Metadata(progress) => Some(progress.call),
            Self::Journaled { call, .. } => Some(*call),
            Self::Chore => None,
        }
    }

    /// Whether it is known here only.
    pub(super) fn is_in_memory(&self) -> bool {
        self.kind().is_some() && !self.is_journaled()
    }

    pub(super) fn is_journaled(&self) -> bool {
        matches!(self, Self::Journaled { .. })
    }
}

impl What {
    /// Tells whoever waits that it is durable; `bytes` is its size.
    pub(super) fn confirm(&self, bytes: usize) {
        match self {
            Self::Frame { progress, seq, .. } => progress.confirm(*seq, bytes),
            Self::CallEnd(progress) => progress.finish(),
            Self::CallEvent(_) | Self::Metadata(_) | Self::Journaled { .. } | Self::Chore => {}
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// To be called before each command: the first is preceded by the beginning of a transaction, which a batch of
    /// one leaves out.
    pub(super) fn open(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(MULTI);
        }
    }

    /// Adds a command that is nobody's record.
    pub(super) fn push_chore(&mut self, command: &[u8]) {
        self.open();
        self.bytes.extend_from_slice(command);
        self.close_entry(self.bytes.len(), What::Chore);
    }

    /// Marks everything since the last entry as one command.
    pub(super) fn close_entry(&mut self, fields: usize, what: What) {
        self.entries.push(Entry {
            end: self.bytes.len(),
            fields,
            what,
        });
    }

    /// The length of all its commands.
    pub(super) fn command_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(self.start(0))
    }

    /// Whether a record of this kind is among the commands.
    pub(super) fn holds(&self, kind: Kind) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.what.kind() == Some(kind))
    }

    /// The bytes of command `index`.
    pub(super) fn command(&self, index: usize) -> &[u8] {
        self.bytes.get(self.range(index)).unwrap_or_default()
    }

    /// The field/value pairs of command `index`.
    pub(super) fn fields(&self, index: usize) -> &[u8] {
        let Some(entry) = self.entries.get(index) else {
            return &[];
        };
        self.bytes.get(entry.fields..entry.end).unwrap_or_default()
    }

    pub(super) fn start(&self, index: usize) -> usize {
        index
            .checked_sub(1)
            .and_then(|before| self.entries.get(before))
            .map_or(MULTI.len(), |entry| entry.end)
    }

    fn range(&self, index: usize) -> Range<usize> {
        self.start(index)
            ..self
                .entries
                .get(index)
                .map_or(self.bytes.len(), |entry| entry.end)
    }

    /// Copies command `index` of another batch to the end of this one.
    pub(super) fn copy(&mut self, from: &Self, index: usize) {
        if let Some(entry) = from.entries.get(index) {
            self.copy_as(from, index, entry.what.clone());
        }
    }

    /// The same under another meaning.
    pub(super) fn copy_as(&mut self, from: &Self, index: usize, what: What) {
        let Some(entry) = from.entries.get(index) else {
            return;
        };
        self.open();
        let fields = self.bytes.len() + entry.fields.saturating_sub(from.start(index));
        self.bytes.extend_from_slice(from.command(index));
        self.close_entry(fields, what);
    }

    /// Parts it: the commands that `is_first` picks, and the others.
    pub(super) fn split(self, is_first: impl Fn(&What) -> bool) -> (Self, Self) {
        let (mut first, mut second) = (Self::default(), Self::default());
        for (index, entry) in self.entries.iter().enumerate() {
            let side = if is_first(&entry.what) {
                &mut first
            } else {
                &mut second
            };
            side.copy(&self, index);
        }
        (first, second)
    }

    /// Adds all commands of another batch.
    pub(super) fn extend(&mut self, from: Self) {
        if self.is_empty() {
            *self = from;
            return;
        }
        self.make_room(from.bytes.len(), from.entries.len());
        for index in 0..from.entries.len() {
            self.copy(&from, index);
        }
    }

    /// Makes room for so much more. Where that is most of it, it is made to measure: it is megabytes when Redis is away.
    pub(super) fn make_room(&mut self, bytes: usize, entries: usize) {
        if bytes > self.bytes.len() / 2 {
            self.bytes.reserve_exact(bytes);
            self.entries.reserve_exact(entries);
        }
    }

    /// Empties the batch for its next use; a buffer that a burst has blown up is let go.
    pub(super) fn recycle(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            *self = Self::default();
        }
    }
}

/// Room for a full flight.
const KEPT_BYTES_MAX: usize = 2 * FLIGHT_BYTES;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// Ends what [`Batch::open`] began.
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
