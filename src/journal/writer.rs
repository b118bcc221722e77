//! The one writer of a journal. Bytes are in `format.rs`, what is found at the start in `recover.rs`, the steps on the
//! disk in `disk.rs`.
//!
//! A record is appended to memory; [`Writer::sync`] writes what has gathered with one write and one `fdatasync`, and
//! keeps it in memory until both have succeeded. After a failed write the segment is cut back to where it was good
//! and the same bytes are written there again; after a failed sync nobody can say what the kernel still holds, so
//! they are written again to a fresh segment. Readers tell the two copies of a record apart by its position.
//!
//! Invariant: what is not synced is in `kept`, whole and in order; all else is on the disk.

use std::{fs::File, io, path::PathBuf};

use super::{
    Keep, Notice, Position, RECORD_BYTES_MAX, Record, Removed, Settings,
    closed::{Closed, Segment},
    cursor,
    disk::{self, Disk},
    error::{AppendError, OpenError, ReleaseError, SyncError},
    format::{self, HEAD_BYTES, HEADER_BYTES, Header},
    lock::{self, LockError},
    recover::{self, Current},
    segment::{Name, random_salt},
};

/// Appends to the journal in one directory, and removes from it. Dropping it does not sync.
#[derive(Debug)]
pub struct Writer {
    pub(super) disk: Disk,
    keep: Keep,
    max_bytes: u64,
    segment_bytes: u64,
    record_bytes_max: u64,
    salt: u32,
    closed: Closed,
    current: Option<Current>,
    last_name: Option<Name>,
    kept: Vec<u8>,
    /// When the first record in `kept` was appended.
    kept_at_ms: u64,
    last: Position,
    synced: Position,
    released: Position,
    /// What stands in the cursor beside the position.
    note: Vec<u8>,
    removed: Removed,
    notices: Vec<Notice>,
    /// Held until the writer is dropped.
    _lock: File,
}

impl Writer {
    /// Takes the lock of the journal in `settings.dir`, which is made if it is missing, and puts in order what a
    /// crash may have left there: [`Writer::notices`] tells what it found.
    pub fn open(settings: &Settings, keep: Keep) -> Result<Self, OpenError> {
        let segment_bytes = settings.max_bytes / SEGMENTS;
        let segment_bytes = segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        Self::open_with(settings, keep, segment_bytes)
    }

    pub(super) fn open_with(
        settings: &Settings,
        keep: Keep,
        segment_bytes: u64,
    ) -> Result<Self, OpenError> {
        let dir = &settings.dir;
        let failed = |source| OpenError::Io {
            dir: dir.clone(),
            source,
        };
        disk::make_dir(dir).map_err(failed)?;
        let lock = lock::take(dir).map_err(|error| match error {
            LockError::Held(pid) => OpenError::Held {
                dir: dir.clone(),
                pid,
            },
            LockError::Io(source) => failed(source),
        })?;
        let disk = Disk::new(dir);
        let found = recover::recover(dir, &disk).map_err(failed)?;
        let record_bytes_max = (RECORD_BYTES_MAX + HEAD_BYTES) as u64;
        let room = settings.max_bytes.saturating_sub(HEADER_BYTES as u64);
        let mut writer = Self {
            disk,
            keep,
            max_bytes: settings.max_bytes,
            segment_bytes,
            record_bytes_max: record_bytes_max.min(room),
            // Records are encoded before it is known which segment they go to: one salt for all of them.
            salt: found
                .current
                .as_ref()
                .map_or_else(random_salt, |current| current.segment.salt),
            closed: Closed::new(found.closed),
            current: found.current,
            last_name: found.last_name,
            kept: Vec::new(),
            kept_at_ms: 0,
            last: found.last,
            synced: found.last,
            released: found.released,
            note: found.note,
            removed: Removed::default(),
            notices: found.notices,
            _lock: lock,
        };
        // A crash may have come between the cursor and the removal.
        writer
            .remove_released()
            .map_err(|(_, source)| failed(source))?;
        Ok(writer)
    }

    /// What was found damaged, torn or unknown when the journal was opened.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// How much the journal holds, records that are not synced yet included.
    pub fn bytes(&self) -> u64 {
        self.written_bytes() + self.kept.len() as u64
    }

    /// When the oldest record was appended, as the oldest segment tells it: of that segment, a part may have been
    /// released already.
    pub fn oldest_ms(&self) -> Option<u64> {
        let kept = (!self.kept.is_empty()).then_some(self.kept_at_ms);
        let current = self.current.iter().map(|current| &current.segment);
        self.closed
            .iter()
            .chain(current)
            .filter(|segment| segment.bytes > HEADER_BYTES as u64)
            .find_map(|segment| segment.at_ms)
            .or(kept)
    }

    /// The last record that was appended.
    pub fn position(&self) -> Position {
        self.last
    }

    /// The last record that is safe on the disk.
    pub fn synced(&self) -> Position {
        self.synced
    }

    /// The last record that is known to be in Redis.
    pub fn released(&self) -> Position {
        self.released
    }

    /// What the last [`Writer::release`] noted.
    pub fn note(&self) -> &[u8] {
        &self.note
    }

    /// Takes a record into memory, without touching the disk until much has gathered. It is safe once a
    /// [`Writer::sync`] after it has succeeded.
    pub fn append(&mut self, record: Record<'_>) -> Result<Position, AppendError> {
        let bytes = (HEAD_BYTES + record.fields.len()) as u64;
        if bytes > self.record_bytes_max {
            return Err(AppendError::TooLarge {
                bytes,
                limit: self.record_bytes_max,
            });
        }
        let header = HEADER_BYTES as u64;
        if self.keep == Keep::Unpublished && self.bytes() + bytes + header > self.max_bytes {
            return Err(AppendError::Full {
                max_bytes: self.max_bytes,
            });
        }
        if !self.kept.is_empty() && self.kept.len() as u64 + bytes > self.kept_bytes_max() {
            self.put_down()?;
        }
        if self.kept.is_empty() {
            self.kept_at_ms = record.at_ms;
        }
        let position = self.last.following();
        format::put_record(&mut self.kept, self.salt, position, &record);
        self.last = position;
        Ok(position)
    }

    /// Makes all that was appended safe, and tells what had to go for it since the last call.
    pub fn sync(&mut self) -> Result<Removed, SyncError> {
        self.put_down()?;
        Ok(std::mem::take(&mut self.removed))
    }

    /// Takes note that all records up to and with `through` are in Redis, and removes the segments that hold no
    /// others. What `note` says, of the records behind it for instance, stands with it. Syncs a file: call it now and
    /// then, not for each record.
    pub fn release(&mut self, through: Position, note: &[u8]) -> Result<(), ReleaseError> {
        let through = through.min(self.last).max(self.released);
        if through > self.released || note != self.note {
            if let Err(full) = cursor::write(&self.disk, through, note) {
                let made = self.make_way(through).unwrap_or(false);
                made.then_some(()).ok_or(ReleaseError::Cursor(full))?;
                cursor::write(&self.disk, through, note).map_err(ReleaseError::Cursor)?;
            }
            self.released = through;
            note.clone_into(&mut self.note);
        }
        self.remove_released()
            .map_err(|(path, source)| ReleaseError::Remove { path, source })
    }

    /// Forgets what was appended and is not synced: it will be in the journal neither now nor later. What of it a
    /// failed write has left on the disk is overwritten by what comes next.
    pub fn forget_unsynced(&mut self) {
        self.kept.clear();
        self.last = self.synced;
    }

    fn put_down(&mut self) -> Result<(), SyncError> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let len = self.kept.len() as u64;
        if self.current.as_ref().is_some_and(|current| {
            current.segment.bytes > HEADER_BYTES as u64
                && current.segment.bytes + len > self.segment_bytes
        }) {
            self.close();
        }
        self.make_room(len + HEADER_BYTES as u64)?;
        self.write_kept()?;
        self.kept.clear();
        self.kept.shrink_to(KEPT_BYTES_MAX);
        self.synced = self.last;
        Ok(())
    }

    /// Writes `kept` behind what is good of the current segment, or into a new one.
    fn write_kept(&mut self) -> Result<(), SyncError> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        let path = self.disk.path(&current.segment.name.to_string());
        let good = current.segment.bytes;
        let written = self.write_behind(&current);
        let end = match written {
            Ok(end) => end,
            Err(source) => {
                if self.disk.truncate(&current.file, good).is_ok() {
                    self.current = Some(current);
                } else {
                    self.give_up(&current);
                }
                return Err(SyncError::Write { path, source });
            }
        };
        if let Err(source) = self.disk.sync(&current.file) {
            self.give_up(&current);
            return Err(SyncError::Sync { path, source });
        }
        if good == 0 {
            // It may have been begun by a predecessor that wrote nothing in it.
            current.segment.at_ms = Some(self.kept_at_ms);
        }
        current.segment.bytes = end;
        self.current = Some(current);
        Ok(())
    }

    fn write_behind(&self, current: &Current) -> io::Result<u64> {
        let mut end = current.segment.bytes;
        if end == 0 {
            let header = format::header(Header {
                first: current.segment.first,
                at_ms: self.kept_at_ms,
                salt: self.salt,
            });
            self.disk.write(&current.file, &header, 0)?;
            end = header.len() as u64;
        }
        self.disk.write(&current.file, &self.kept, end)?;
        Ok(end + self.kept.len() as u64)
    }

    /// Begins a segment for what is kept.
    fn begin(&mut self) -> Result<Current, SyncError> {
        let first = self.synced.following();
        let name = Name::new(first, self.salt, self.last_name);
        self.last_name = Some(name);
        let file = self.disk.create(&name.to_string());
        let file = file.map_err(|source| SyncError::Create {
            path: self.disk.path(&name.to_string()),
            source,
        })?;
        let segment = Segment {
            name,
            first,
            salt: self.salt,
            at_ms: None,
            bytes: 0,
            ours: true,
        };
        Ok(Current { file, segment })
    }

    /// Leaves a segment whose end is not to be trusted. Cutting it back spares readers the doubtful records, but does
    /// not have to succeed.
    fn give_up(&mut self, current: &Current) {
        let mut segment = current.segment;
        if segment.bytes == 0 {
            drop(self.disk.remove(&segment.name.to_string()));
            return;
        }
        drop(self.disk.truncate(&current.file, segment.bytes));
        if let Ok(metadata) = current.file.metadata() {
            segment.bytes = metadata.len();
        }
        self.closed.push(segment);
    }

    fn close(&mut self) {
        if let Some(Current { segment, .. }) = self.current.take() {
            self.closed.push(segment);
        }
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), SyncError> {
        let behind = self.behind_closed();
        while self.keep == Keep::Newest
            && self.written_bytes() + bytes > self.max_bytes
            && self.closed.oldest(behind).is_some()
        {
            let removed = self.closed.remove_oldest(&self.disk, behind);
            let removed = removed.map_err(|(path, source)| SyncError::Remove { path, source })?;
            self.removed.records += removed.records;
            self.removed.bytes += removed.bytes;
        }
        Ok(())
    }

    /// On a full disk, what is in Redis makes room for the cursor that is to say so: else neither could ever go on. One
    /// segment stays, if only an empty one, lest its positions be given again.
    fn make_way(&mut self, through: Position) -> Result<bool, SyncError> {
        let bytes = self.written_bytes();
        if self.kept.is_empty() && self.synced <= through && bytes > 0 {
            let next = self.begin()?;
            self.close();
            self.current = Some(next);
        }
        if self.current.is_some() {
            let removed = self.remove_through(through);
            removed.map_err(|(path, source)| SyncError::Remove { path, source })?;
        }
        Ok(self.written_bytes() < bytes)
    }

    /// Removes the segments that are wholly in Redis, the current one too if it is.
    fn remove_released(&mut self) -> Result<(), (PathBuf, io::Error)> {
        let begins_released = |c: &Current| c.segment.first <= self.released;
        if self.kept.is_empty()
            && self.synced <= self.released
            && self.current.as_ref().is_some_and(begins_released)
        {
            self.close();
        }
        self.remove_through(self.released)
    }

    fn remove_through(&mut self, through: Position) -> Result<(), (PathBuf, io::Error)> {
        let behind = self.behind_closed();
        while let Some((first, last)) = self.closed.oldest(behind)
            && first.max(last) <= through
        {
            self.closed.remove_oldest(&self.disk, behind)?;
        }
        Ok(())
    }

    /// The first position that is behind all closed segments.
    fn behind_closed(&self) -> Position {
        match &self.current {
            Some(current) => current.segment.first,
            None => self.synced.following(),
        }
    }

    fn written_bytes(&self) -> u64 {
        self.closed.bytes() + self.current.as_ref().map_or(0, |c| c.segment.bytes)
    }

    fn kept_bytes_max(&self) -> u64 {
        self.segment_bytes.min(KEPT_BYTES_MAX as u64)
    }
}

/// So many segments make up a full journal: what has to go at a time to make room is a sixteenth of it.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Unsynced records, before appending syncs by itself: 4 MiB are the audio of 1000 calls (50 frames a second, 900
/// bytes each) for a tenth of a second.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
