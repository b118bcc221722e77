//! Commands that leave together, ready for the wire, each with what must be known of it until it is confirmed.

use std::{ops::Range, sync::Arc};

use super::progress::Progress;
use crate::record::Kind;

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
        session: u64,
    },
    CallEnd {
        progress: Arc<Progress>,
        session: u64,
    },
    CallEvent,
    /// Overwritten soon: worth no retry and no place on disk.
    Metadata,
    Ping,
}

impl What {
    /// The stream it is an entry of.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Frame { .. } => Some(Kind::Frame),
            Self::CallEnd { .. } => Some(Kind::CallEnd),
            Self::CallEvent => Some(Kind::CallEvent),
            Self::Metadata | Self::Ping => None,
        }
    }
}

impl What {
    /// Tells whoever waits that it is durable; `bytes` is its size.
    pub(super) fn confirm(&self, bytes: usize) {
        match self {
            Self::Frame { progress, seq, .. } => progress.confirm(*seq, bytes),
            Self::CallEnd { progress, .. } => progress.finish(),
            Self::CallEvent | Self::Metadata | Self::Ping => {}
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

    /// Marks everything since the last entry as one command.
    pub(super) fn close_entry(&mut self, fields: usize, what: What) {
        self.entries.push(Entry {
            end: self.bytes.len(),
            fields,
            what,
        });
    }

    /// Whether an entry of this stream is among the commands.
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
        let Some(entry) = from.entries.get(index) else {
            return;
        };
        self.open();
        let fields = self.bytes.len() + entry.fields.saturating_sub(from.start(index));
        self.bytes.extend_from_slice(from.command(index));
        self.close_entry(fields, entry.what.clone());
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

/// 1 ms of 1,000 calls is 50 frames, 30 kB; ten times that is kept for the next round.
const KEPT_BYTES_MAX: usize = 256 * 1024;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// Ends what [`Batch::open`] began.
pub(super) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
