//! Entries of a journal directory. One pass per kind: the kinds stand in it mixed, in the order in which they were written.
//!
//! Finding records is `journal/`'s subject. Invariant: what a pass had to leave out is told once, in a notice.

use std::path::PathBuf;

use super::{Entry, Id};
use crate::{
    journal::{Notice, Position, error::ReadError, reader::Reader},
    record::Kind,
};

/// A directory that has a journal.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    notices: Vec<String>,
}

/// One pass over it.
#[derive(Debug)]
pub struct Pass<'s> {
    reader: Reader,
    kind: Kind,
    position: Position,
    fields: Vec<u8>,
    notices: &'s mut Vec<String>,
}

impl Journal {
    pub(super) fn open(dir: PathBuf) -> Result<Self, ReadError> {
        let mut reader = Reader::open(&dir)?;
        let begun = reader.next()?.is_some() || !reader.take_notices().is_empty();
        // A directory alone is no journal; an empty journal has its writer's lock in it.
        if !begun && !dir.join("lock").exists() {
            return Err(ReadError::NoJournal { dir });
        }
        Ok(Self {
            dir,
            notices: Vec::new(),
        })
    }

    pub(super) fn pass(&mut self, kind: Kind) -> Result<Pass<'_>, ReadError> {
        Ok(Pass {
            reader: Reader::open(&self.dir)?,
            kind,
            position: Position::START,
            fields: Vec::new(),
            notices: &mut self.notices,
        })
    }

    /// The oldest are removed to make room: then the first record that is left tells since when there are any.
    pub(super) fn front(&mut self) -> Result<Option<u64>, ReadError> {
        let mut reader = Reader::open(&self.dir)?;
        let first = reader
            .next()?
            .map(|entry| (entry.position, entry.record.at_ms));
        let damaged = !reader.take_notices().is_empty();
        Ok(first
            .filter(|(position, _)| *position > FIRST && !damaged)
            .map(|(_, at_ms)| at_ms))
    }

    pub(super) fn name(&self) -> String {
        format!("the journal in {}", self.dir.display())
    }

    pub(super) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

impl Pass<'_> {
    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        let added_ms = loop {
            let Some(entry) = self.reader.next()? else {
                self.tell();
                return Ok(None);
            };
            if entry.record.kind == self.kind {
                self.position = entry.position;
                self.fields.clear();
                self.fields.extend_from_slice(entry.record.fields);
                break entry.record.at_ms;
            }
        };
        Ok(Some(Entry {
            id: Id::Journal(self.position),
            added_ms,
            shard: 0,
            fields: &self.fields,
        }))
    }

    /// Each pass comes by the same damage.
    fn tell(&mut self) {
        for notice in self.reader.take_notices() {
            // A live journal's last record may be half written at this moment; it will be whole in the next.
            let text = notice.to_string();
            if !matches!(notice, Notice::TornTail { .. }) && !self.notices.contains(&text) {
                self.notices.push(text);
            }
        }
    }
}

const FIRST: Position = Position(1);

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::{
        journal::{Keep, Record, Settings, writer::Writer},
        record::push_pair,
    };

    fn written(kinds: &[Kind]) -> (TempDir, Writer) {
        let dir = TempDir::new().unwrap();
        let settings = Settings {
            dir: dir.path().to_owned(),
            max_bytes: 1 << 20,
        };
        let mut writer = Writer::open(&settings, Keep::Newest).unwrap();
        for (at_ms, kind) in (1..).zip(kinds) {
            let mut fields = Vec::new();
            push_pair(&mut fields, b"data", &[kind.code()]);
            let record = Record {
                kind: *kind,
                at_ms,
                call: 1,
                number: at_ms,
                fields: &fields,
            };
            writer.append(record).unwrap();
        }
        writer.sync().unwrap();
        (dir, writer)
    }

    #[test]
    fn a_pass_gives_out_one_kind_in_order_while_the_writer_holds_the_lock() {
        let kinds = [Kind::Frame, Kind::CallEvent, Kind::Frame, Kind::CallEnd];
        let (dir, _writer) = written(&kinds);
        let mut journal = Journal::open(dir.path().to_owned()).unwrap();
        for (kind, expected) in [
            (Kind::Frame, vec![1, 3]),
            (Kind::CallEvent, vec![2]),
            (Kind::CallEnd, vec![4]),
        ] {
            let mut pass = journal.pass(kind).unwrap();
            let mut read = Vec::new();
            while let Some(entry) = pass.next().unwrap() {
                let (_, value) = entry.pairs().unwrap().next().unwrap();
                assert_eq!(value, [kind.code()]);
                assert_eq!(entry.id.to_string(), entry.added_ms.to_string());
                read.push(entry.added_ms);
            }
            assert_eq!(read, expected);
        }
        assert_eq!(journal.front().unwrap(), None, "nothing was removed");
        assert!(journal.take_notices().is_empty());
    }

    #[test]
    fn the_front_tells_what_was_removed_to_make_room() {
        let (dir, mut writer) = written(&[Kind::CallEnd]);
        let fields = [0; 10_000];
        for at_ms in 2..500 {
            let record = Record {
                kind: Kind::Frame,
                at_ms,
                call: 1,
                number: at_ms,
                fields: &fields,
            };
            writer.append(record).unwrap();
            writer.sync().unwrap();
        }
        let mut journal = Journal::open(dir.path().to_owned()).unwrap();
        let front = journal.front().unwrap().unwrap();
        let mut pass = journal.pass(Kind::Frame).unwrap();
        let first = pass.next().unwrap().unwrap();
        assert_eq!(first.added_ms, front);
        assert!((2..500).contains(&front), "{front}");
    }

    #[test]
    fn what_is_no_journal_is_said_to_be_none() {
        let empty = TempDir::new().unwrap();
        for dir in [empty.path().to_owned(), empty.path().join("missing")] {
            let error = Journal::open(dir).unwrap_err();
            assert!(matches!(error, ReadError::NoJournal { .. }), "{error}");
        }
        let (dir, _writer) = written(&[]);
        assert!(Journal::open(dir.path().to_owned()).is_ok());
    }
}
