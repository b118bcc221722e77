//! Reads a journal from its oldest record, or from behind a position, and goes on as the writer does. Needs no lock,
//! may be in another process, and holds one window of one segment in memory. Finding records in a file is `scan.rs`.
//!
//! It may see a record a moment before that is synced. Invariants: every position is given out once, in order, and
//! whatever is missing in between is told in a [`Notice`].

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    Entry, Notice, Position,
    account::Account,
    error::ReadError,
    format::{self, Front, HEADER_BYTES, Head},
    recover::read_up_to,
    scan::Scan,
    segment::{self, Name},
};
use crate::record::Kind;

/// A place in a journal.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    segment: Option<Opened>,
    account: Account,
}

#[derive(Debug)]
struct Opened {
    name: Name,
    state: State,
    /// A later segment was seen: this one is as it will remain. Records from the position on with which that one
    /// begins are leftovers of a sync that failed: there they are, or others, written afterwards.
    end: Option<Position>,
}

#[derive(Debug)]
enum State {
    /// Its header is not there yet.
    Begun(File),
    Records(Scan),
    Unknown,
}

impl Reader {
    /// Reads from the oldest record that there is.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        Self::new(dir, None)
    }

    /// Reads what comes behind `position`.
    pub fn after(dir: &Path, position: Position) -> Result<Self, ReadError> {
        Self::new(dir, Some(position.following()))
    }

    fn new(dir: &Path, next: Option<Position>) -> Result<Self, ReadError> {
        let reader = Self {
            dir: dir.to_owned(),
            segment: None,
            account: Account::new(next),
        };
        reader.names()?;
        Ok(reader)
    }

    /// The next record; `None` if there is none at present: the same call may find one later.
    #[expect(
        clippy::should_implement_trait,
        reason = "an entry borrows from the reader, and there may be more after none"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        let head = loop {
            match self.find()? {
                Some(head) => break head,
                None if self.move_on()? => {}
                None => return Ok(None),
            }
        };
        let Some(Opened {
            name,
            state: State::Records(scan),
            ..
        }) = &mut self.segment
        else {
            return Ok(None);
        };
        let path = self.dir.join(name.to_string());
        let failed = |source| ReadError::Io { path, source };
        let body = scan.body(&head).map_err(failed)?;
        Ok(format::record(&head, body).map(|record| Entry {
            position: head.position,
            record,
        }))
    }

    /// What was passed over since the last call. Of more than 1000 notices the oldest are dropped.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.account.take_notices()
    }

    /// The next record of a known kind in this segment.
    fn find(&mut self) -> Result<Option<Head>, ReadError> {
        self.read_front()?;
        loop {
            let Some(Opened {
                name,
                state: State::Records(scan),
                end,
            }) = &mut self.segment
            else {
                return Ok(None);
            };
            let (name, end) = (*name, *end);
            let found = scan.next().map_err(|source| self.failed(name, source))?;
            let Some(found) = found else {
                return Ok(None);
            };
            self.account.pass_over(name, found.passed_over);
            if end.is_some_and(|end| found.head.position >= end) {
                continue;
            }
            if self.account.reach(name, found.head.position) {
                if Kind::from_code(found.head.kind).is_some() {
                    return Ok(Some(found.head));
                }
                self.account.unknown_kind(name);
            }
        }
    }

    /// Goes to the next segment. `false` if there is none, or not before this one was looked at once more: what
    /// came to it between that and the beginning of the next must not be missed.
    fn move_on(&mut self) -> Result<bool, ReadError> {
        for _ in 0..OPEN_ATTEMPTS {
            let names = self.names()?;
            let Some(next) = self.following(&names) else {
                return Ok(false);
            };
            if let Some(segment) = &mut self.segment
                && segment.end.is_none()
            {
                segment.end = Some(next.first);
                return Ok(true);
            }
            match File::open(self.dir.join(next.to_string())) {
                Ok(file) => {
                    self.leave()?;
                    self.segment = Some(Opened {
                        name: next,
                        state: State::Begun(file),
                        end: names
                            .iter()
                            .find(|name| **name > next)
                            .map(|name| name.first),
                    });
                    return Ok(true);
                }
                // Removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.failed(next, source)),
            }
        }
        Err(ReadError::Vanishing {
            dir: self.dir.clone(),
        })
    }

    /// Accounts for what stands behind the last record of a segment that is done.
    fn leave(&mut self) -> Result<(), ReadError> {
        if let Some(Opened { name, state, .. }) = &self.segment {
            let left = match state {
                State::Records(scan) => scan
                    .file_bytes()
                    .map(|end| end.saturating_sub(scan.offset())),
                State::Begun(file) => file.metadata().map(|metadata| metadata.len()),
                State::Unknown => Ok(0),
            };
            let (name, left) = (*name, left.map_err(|source| self.failed(*name, source))?);
            self.account.pass_over(name, left);
        }
        Ok(())
    }

    /// The segment behind the present one; at first, the one that holds the next position.
    fn following(&self, names: &[Name]) -> Option<Name> {
        if let Some(segment) = &self.segment {
            return names.iter().copied().find(|name| *name > segment.name);
        }
        let wanted = self.account.next().unwrap_or(Position::START);
        let firsts = names.iter().map(|name| name.first);
        let first = firsts.filter(|first| *first <= wanted).max();
        names
            .iter()
            .copied()
            .find(|name| first.is_none_or(|first| name.first == first))
    }

    /// Reads the header of a segment that was just opened, if it is there by now.
    fn read_front(&mut self) -> Result<(), ReadError> {
        let Some(Opened {
            name,
            state: State::Begun(file),
            ..
        }) = &self.segment
        else {
            return Ok(());
        };
        let name = *name;
        let mut bytes = [0; HEADER_BYTES];
        let read = read_up_to(file, &mut bytes).map_err(|source| self.failed(name, source))?;
        let file = file
            .try_clone()
            .map_err(|source| self.failed(name, source))?;
        let start = HEADER_BYTES as u64;
        let state = match format::read_front(bytes.get(..read).unwrap_or_default()) {
            Front::Short => return Ok(()),
            Front::Header(header) => {
                self.account.enter(header.first);
                State::Records(Scan::new(file, start, header.salt))
            }
            Front::Damaged => {
                self.account.enter(name.first);
                self.account.pass_over(name, start);
                State::Records(Scan::new(file, start, name.salt))
            }
            Front::UnknownVersion(version) => {
                self.account.enter_unknown(name, version);
                State::Unknown
            }
        };
        if let Some(segment) = &mut self.segment {
            segment.state = state;
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<Name>, ReadError> {
        segment::list(&self.dir).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ReadError::NoJournal {
                dir: self.dir.clone(),
            },
            _ => ReadError::Io {
                path: self.dir.clone(),
                source,
            },
        })
    }

    fn failed(&self, name: Name, source: io::Error) -> ReadError {
        ReadError::Io {
            path: self.dir.join(name.to_string()),
            source,
        }
    }
}

/// A writer that removes segments does so one at a time; two in the moment between listing and opening are rare.
const OPEN_ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{
        Keep,
        crash::{Journal, read_all, read_on},
        format::put_unknown_kind,
    };

    #[test]
    fn a_directory_that_is_missing_is_said_to_be() {
        let journal = Journal::new();
        let error = Reader::open(&journal.dir().join("nowhere")).unwrap_err();
        assert!(matches!(error, ReadError::NoJournal { .. }));
    }

    #[test]
    fn it_follows_a_live_writer_across_rolls() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        let mut reader = Reader::open(journal.dir()).unwrap();
        assert_eq!(read_on(&mut reader), Vec::<u64>::new());
        for seq in 1..=100 {
            journal.append(&mut writer, seq..=seq);
            assert_eq!(read_on(&mut reader), Vec::<u64>::new(), "only in memory");
            writer.sync().unwrap();
            assert_eq!(read_on(&mut reader), [seq]);
        }
        assert!(journal.segments().len() > 3);
        assert_eq!(reader.take_notices(), []);
    }

    #[test]
    fn it_keeps_up_with_a_writer_on_another_thread() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        let dir = journal.dir().to_owned();
        let follower = std::thread::spawn(move || {
            let mut reader = Reader::open(&dir).unwrap();
            let mut read = Vec::new();
            while read.last() != Some(&5000) {
                read.extend(read_on(&mut reader));
            }
            (read, reader.take_notices())
        });
        let mut seq = 0_u64;
        while seq < 5000 {
            let until = 5000.min(seq + 1 + seq % 13);
            // The journal is too small for all of them: the oldest are released, unread ones perhaps.
            writer
                .release(Position(seq.saturating_sub(100)), b"")
                .unwrap();
            journal.append(&mut writer, seq + 1..=until);
            writer.sync().unwrap();
            seq = until;
        }
        let (read, notices) = follower.join().unwrap();
        let removed: u64 = notices
            .iter()
            .map(|notice| match notice {
                Notice::Removed { records } => *records,
                other => panic!("{other}"),
            })
            .sum();
        assert!(read.is_sorted_by(|one, next| one < next));
        assert_eq!(read.len() as u64 + removed, 5001 - read[0]);
    }

    #[test]
    fn it_tells_what_was_removed_under_it() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Newest);
        let mut reader = Reader::open(journal.dir()).unwrap();
        journal.append(&mut writer, 1..=1);
        writer.sync().unwrap();
        assert_eq!(read_on(&mut reader), [1]);
        for seq in 2..=1000 {
            journal.append(&mut writer, seq..=seq);
            writer.sync().unwrap();
        }
        let read = read_on(&mut reader);
        let notices = reader.take_notices();
        let [Notice::Removed { records }] = notices[..] else {
            panic!("{notices:?}");
        };
        // The segment it had open was still readable: the gap is behind that.
        assert_eq!(read.len() as u64 + 1 + records, 1000);
        assert_eq!(read.last(), Some(&1000));
        assert!(read.is_sorted());
        assert_eq!(read_all(journal.dir()).1, [], "none from the start");
    }

    #[test]
    fn it_begins_behind_any_position() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        journal.append(&mut writer, 1..=60);
        writer.sync().unwrap();
        for position in 0..=61 {
            let mut reader = Reader::after(journal.dir(), Position(position)).unwrap();
            let wanted: Vec<_> = (position + 1..=60).collect();
            assert_eq!(read_on(&mut reader), wanted, "behind {position}");
            assert_eq!(reader.take_notices(), []);
        }
        writer.release(Position(40), b"").unwrap();
        let mut reader = Reader::after(journal.dir(), Position(2)).unwrap();
        let read = read_on(&mut reader);
        let removed = Notice::Removed {
            records: read[0] - 3,
        };
        assert_eq!(reader.take_notices(), [removed]);
    }

    #[test]
    fn kinds_of_a_later_version_are_counted_and_passed_over() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Newest);
        journal.append(&mut writer, 1..=2);
        writer.sync().unwrap();
        drop(writer);
        let path = journal.segments().remove(0);
        let name = segment::list(journal.dir()).unwrap()[0];
        let mut bytes = std::fs::read(&path).unwrap();
        put_unknown_kind(&mut bytes, name.salt, Position(3), 77);
        put_unknown_kind(&mut bytes, name.salt, Position(4), 78);
        std::fs::write(&path, &bytes).unwrap();
        let mut writer = journal.open(Keep::Newest);
        assert_eq!(writer.position(), Position(4));
        journal.append(&mut writer, 5..=5);
        writer.sync().unwrap();
        let counted = Notice::UnknownKind {
            segment: name.to_string(),
            records: 2,
        };
        assert_eq!(read_all(journal.dir()), (vec![1, 2, 5], vec![counted]));
    }
}
