//! Records of a journal as its writer syncs them. Nobody tells when there are more, so it is looked at again and again.
//!
//! Invariant: what was removed before it was read is told; a record that is half written at this moment is not.

use std::{io, path::PathBuf, time::Duration};

use tokio::time::sleep;

use super::{Entry, Start, Wanted};
use crate::{
    journal::{self, Notice, Position, error::ReadError, reader::Reader},
    readback::Id,
    record::Kind,
};

/// A journal that is followed.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    reader: Reader,
    events: bool,
    /// Records from before this time are passed over.
    from_ms: u64,
    /// The last that was found.
    position: Position,
    /// How many were given out since the last wait, and whether there may be more at once.
    given_out: usize,
    has_more: bool,
    kind: Kind,
    fields: Vec<u8>,
    notices: Vec<String>,
}

impl Tail {
    pub(super) fn open(dir: PathBuf, wanted: &Wanted) -> Result<Self, ReadError> {
        let reader = match wanted.start {
            Start::Now => {
                let before = journal::before_newest_segment(&dir).map_err(|source| {
                    if source.kind() == io::ErrorKind::NotFound {
                        ReadError::NoJournal { dir: dir.clone() }
                    } else {
                        let path = dir.clone();
                        ReadError::Io { path, source }
                    }
                })?;
                match before {
                    Some(before) => Reader::after(&dir, before)?,
                    None => Reader::open(&dir)?,
                }
            }
            Start::At(_) => Reader::open(&dir)?,
            Start::Behind(name) => Reader::after(&dir, Position(name.number))?,
        };
        let mut this = Self {
            reader,
            events: wanted.events,
            from_ms: match wanted.start {
                Start::At(ms) => ms,
                Start::Now | Start::Behind(_) => 0,
            },
            position: Position::START,
            given_out: 0,
            has_more: true,
            kind: Kind::Metadata,
            fields: Vec::new(),
            notices: Vec::new(),
            dir,
        };
        if wanted.start == Start::Now {
            this.skip_what_is_there()?;
        } else if journal::before_newest_segment(&this.dir).is_ok_and(|found| found.is_none()) {
            this.must_be_a_journal()?;
        }
        Ok(this)
    }

    fn skip_what_is_there(&mut self) -> Result<(), ReadError> {
        let mut any = false;
        while self.reader.next()?.is_some() {
            any = true;
        }
        any |= !self.reader.take_notices().is_empty();
        if any {
            Ok(())
        } else {
            self.must_be_a_journal()
        }
    }

    /// A directory alone is no journal; an empty journal has its writer's lock in it.
    fn must_be_a_journal(&self) -> Result<(), ReadError> {
        if self.dir.join("lock").exists() {
            return Ok(());
        }
        let dir = self.dir.clone();
        Err(ReadError::NoJournal { dir })
    }

    pub(super) async fn wait(&mut self) {
        if !self.has_more {
            sleep(LOOK_EVERY).await;
        }
        self.given_out = 0;
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        // Whoever reads a whole journal still wants to be shown how far that is.
        if self.given_out >= AT_ONCE {
            self.has_more = true;
            return Ok(None);
        }
        self.given_out += 1;
        loop {
            let Some(entry) = self.reader.next()? else {
                for notice in self.reader.take_notices() {
                    match notice {
                        Notice::TornTail { .. } => {}
                        Notice::Removed { .. } => {
                            self.notices.push(format!("fell behind: {notice}"));
                        }
                        notice => self.notices.push(notice.to_string()),
                    }
                }
                self.has_more = false;
                return Ok(None);
            };
            let record = entry.record;
            let wanted = match record.kind {
                Kind::Frame => true,
                Kind::CallEnd | Kind::CallEvent => self.events,
                Kind::Metadata => false,
            };
            if wanted && record.at_ms >= self.from_ms {
                (self.position, self.kind) = (entry.position, record.kind);
                self.fields.clear();
                self.fields.extend_from_slice(record.fields);
                break;
            }
        }
        Ok(Some(Entry {
            kind: self.kind,
            id: Id::Journal(self.position),
            fields: &self.fields,
        }))
    }

    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn name(&self) -> String {
        format!("the journal in {}", self.dir.display())
    }
}

/// A look at a journal at rest is two small reads and a list of its directory.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const AT_ONCE: usize = 10_000;

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        journal::{Keep, Record, Settings, writer::Writer},
        tail::EntryName,
    };

    fn writer(dir: &TempDir) -> Writer {
        let settings = Settings {
            dir: dir.path().to_owned(),
            max_bytes: 1 << 20,
        };
        Writer::open(&settings, Keep::Newest).unwrap()
    }

    fn append(writer: &mut Writer, kind: Kind, at_ms: u64, bytes: usize) {
        let fields = vec![0; bytes];
        let record = Record {
            kind,
            at_ms,
            call: 1,
            number: 0,
            fields: &fields,
        };
        writer.append(record).unwrap();
        writer.sync().unwrap();
    }

    fn open(dir: &TempDir, start: Start, events: bool) -> Tail {
        let wanted = Wanted {
            start,
            call: None,
            events,
        };
        Tail::open(dir.path().to_owned(), &wanted).unwrap()
    }

    fn read(tail: &mut Tail) -> Vec<String> {
        let mut read = Vec::new();
        while let Some(entry) = tail.next().unwrap() {
            read.push(entry.id.to_string());
        }
        read
    }

    #[test]
    fn it_begins_where_it_is_asked_to_and_follows_the_writer() {
        let dir = TempDir::new().unwrap();
        let mut writer = writer(&dir);
        for at_ms in 1..=3 {
            append(&mut writer, Kind::Frame, at_ms, 10);
        }
        append(&mut writer, Kind::CallEnd, 4, 10);
        let behind = |number| Start::Behind(EntryName { number, part: None });
        for (start, events, expected) in [
            (Start::Now, true, vec![]),
            (Start::At(2), true, vec!["2", "3", "4"]),
            (Start::At(2), false, vec!["2", "3"]),
            (behind(0), true, vec!["1", "2", "3", "4"]),
            (behind(3), true, vec!["4"]),
        ] {
            let mut tail = open(&dir, start, events);
            assert_eq!(read(&mut tail), expected, "{start:?}");
        }
        let mut tail = open(&dir, Start::Now, false);
        append(&mut writer, Kind::CallEvent, 5, 10);
        append(&mut writer, Kind::Frame, 6, 10);
        assert_eq!(read(&mut tail), ["6"]);
        assert!(tail.take_notices().is_empty());
    }

    #[test]
    fn what_was_removed_unread_is_told() {
        let dir = TempDir::new().unwrap();
        let mut writer = writer(&dir);
        append(&mut writer, Kind::Frame, 1, 10);
        let mut tail = open(&dir, Start::Now, false);
        for at_ms in 2..500 {
            append(&mut writer, Kind::Frame, at_ms, 10_000);
        }
        let read = read(&mut tail);
        assert_eq!(read.last().unwrap(), "499");
        let notices = tail.take_notices();
        assert!(notices[0].starts_with("fell behind: "), "{notices:?}");
    }

    #[test]
    fn what_is_no_journal_is_said_to_be_none() {
        let empty = TempDir::new().unwrap();
        for start in [Start::Now, Start::At(0)] {
            let wanted = Wanted {
                start,
                call: None,
                events: false,
            };
            for dir in [empty.path().to_owned(), empty.path().join("missing")] {
                let error = Tail::open(dir, &wanted).unwrap_err();
                assert!(matches!(error, ReadError::NoJournal { .. }), "{error}");
            }
        }
        let dir = TempDir::new().unwrap();
        let _writer = writer(&dir);
        open(&dir, Start::Now, false);
    }
}
