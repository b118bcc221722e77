//! Which directory the journal of each shard is in, and what journals of another number of shards have left there.
//!
//! Invariant: nothing is opened for writing here.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use crate::journal::{self, cursor, error::ReadError, reader::Reader};

/// Each shard has a journal of its own.
pub(super) fn of_shard(
    journal: &journal::Settings,
    shard: usize,
    shards: usize,
) -> journal::Settings {
    if shards == 1 {
        return journal.clone();
    }
    journal::Settings {
        dir: journal.dir.join(name(shard, shards)),
        max_bytes: (journal.max_bytes / shards as u64).max(journal::MAX_BYTES_MIN),
    }
}

/// What is to be done about journals of another number of shards that hold what is not in Redis, in sentences: nobody
/// else publishes it.
pub(super) fn left_behind(dir: &Path, shards: usize) -> Vec<String> {
    let earlier: BTreeSet<usize> = journals(dir)
        .filter(|(of, path)| *of != shards && may_hold_unpublished(path))
        .map(|(of, _)| of)
        .collect();
    let dir = dir.display();
    let sentence = |of: usize| {
        format!(
            "the journal in {dir} holds records of AUDIO_STREAM_SHARDS={of} that are not in Redis: run \
             `AUDIO_STREAM_SHARDS={of} rtaa-ingest replay --journal {dir}`, or start once with that number; told until \
             the next start"
        )
    };
    earlier.into_iter().map(sentence).collect()
}

/// The journals that are there, by the number of shards. There need not be anything in them.
fn journals(dir: &Path) -> impl Iterator<Item = (usize, PathBuf)> {
    let entries = dir.read_dir().into_iter().flatten().flatten();
    let of_several =
        entries.filter_map(|entry| Some((parse(entry.file_name().to_str()?)?, entry.path())));
    std::iter::once((1, dir.to_owned())).chain(of_several)
}

fn name(shard: usize, shards: usize) -> String {
    format!("shard-{shard}-of-{shards}")
}

fn parse(text: &str) -> Option<usize> {
    let (shard, shards) = text.strip_prefix("shard-")?.split_once("-of-")?;
    let (shard, shards) = (shard.parse().ok()?, shards.parse().ok()?);
    (name(shard, shards) == text).then_some(shards)
}

/// Also where it cannot be read: someone has to look.
fn may_hold_unpublished(dir: &Path) -> bool {
    let look = || -> Result<bool, ReadError> {
        let cursor = cursor::read(dir).map_err(|source| ReadError::Io {
            path: dir.to_owned(),
            source,
        })?;
        let mut reader = Reader::after(dir, cursor.position())?;
        Ok(reader.next()?.is_some())
    };
    match look() {
        Ok(holds) => holds,
        Err(ReadError::NoJournal { .. }) => false,
        Err(ReadError::Io { source, .. }) => source.kind() != io::ErrorKind::NotADirectory,
        Err(ReadError::Vanishing { .. }) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        journal::{Keep, Position, Record, writer::Writer},
        record::Kind,
    };

    #[test]
    fn journals_of_other_layouts_are_found_while_they_hold_what_is_unpublished() {
        let dir = tempfile::tempdir().unwrap();
        let whole = journal::Settings {
            dir: dir.path().to_owned(),
            max_bytes: 1 << 30,
        };
        let record = Record {
            kind: Kind::Frame,
            at_ms: 1,
            call: 1,
            number: 0,
            fields: b"$1\r\na\r\n$1\r\nb\r\n",
        };
        let write = |shard, shards, published| {
            let settings = of_shard(&whole, shard, shards);
            let mut writer = Writer::open(&settings, Keep::Unpublished).unwrap();
            writer.append(record).unwrap();
            writer.append(record).unwrap();
            writer.sync().unwrap();
            writer.release(Position(published), b"").unwrap();
        };
        write(0, 1, 1);
        for (shard, published) in [(0, 2), (1, 0)] {
            write(shard, 2, published);
        }
        write(2, 3, 2);
        std::fs::write(dir.path().join("shard-0-of-5"), "no directory").unwrap();
        let found = |shards| {
            let told = left_behind(dir.path(), shards);
            let numbers = [1, 2, 3, 5].into_iter();
            numbers
                .filter(|of| {
                    told.iter()
                        .any(|told| told.contains(&format!("SHARDS={of} ")))
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(found(3), [1, 2]);
        assert_eq!(found(2), [1]);
        assert_eq!(found(1), [2]);
    }
}
