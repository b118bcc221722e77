//! Tests of the whole journal: what is left after a crash at any byte, and after damage. How the disk fails under a
//! living writer is in `failing.rs`.
//!
//! Invariant tested: what was synced is read back once and in order, and nothing is read that was not written.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::{
    Keep, Notice, Position, Record, Settings,
    error::OpenError,
    format::{HEAD_BYTES, HEADER_BYTES},
    reader::Reader,
    writer::Writer,
};
use crate::record::Kind;

/// A journal with small segments in a directory of its own.
pub(super) struct Journal {
    _above: tempfile::TempDir,
    pub(super) settings: Settings,
}

impl Journal {
    pub(super) fn new() -> Self {
        let above = tempfile::tempdir().unwrap();
        let settings = Settings {
            dir: above.path().join("journal"),
            max_bytes: MAX_BYTES,
        };
        Self {
            _above: above,
            settings,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.settings.dir
    }

    pub(super) fn open(&self, keep: Keep) -> Writer {
        Writer::open_with(&self.settings, keep, SEGMENT_BYTES).unwrap()
    }

    /// Appends a record for each seq; what it holds follows from that.
    pub(super) fn append(&self, writer: &mut Writer, seqs: RangeInclusive<u64>) {
        assert!(self.dir().exists());
        for seq in seqs {
            writer.append(record(seq, &fields(seq))).unwrap();
        }
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self
            .dir()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .collect();
        paths.sort();
        paths
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        let len = |path: &PathBuf| path.metadata().unwrap().len();
        self.segments().iter().map(len).sum()
    }
}

pub(super) const MAX_BYTES: u64 = 16 * SEGMENT_BYTES;
/// Some 10 records.
pub(super) const SEGMENT_BYTES: u64 = 600;

pub(super) fn fields(seq: u64) -> Vec<u8> {
    format!("{seq:x}")
        .repeat(usize::try_from(seq % 7).unwrap())
        .into_bytes()
}

pub(super) fn record(seq: u64, fields: &[u8]) -> Record<'_> {
    Record {
        kind: [Kind::Frame, Kind::CallEnd, Kind::CallEvent][usize::try_from(seq % 3).unwrap()],
        at_ms: 1000 + seq,
        call: seq / 10,
        number: seq,
        fields,
    }
}

/// The seqs that can be read now, each record compared with what was written.
pub(super) fn read_on(reader: &mut Reader) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        let seq = entry.record.number;
        assert_eq!(entry.record, record(seq, &fields(seq)));
        seqs.push(seq);
    }
    seqs
}

pub(super) fn read_all(dir: &Path) -> (Vec<u64>, Vec<Notice>) {
    let mut reader = Reader::open(dir).unwrap();
    let seqs = read_on(&mut reader);
    (seqs, reader.take_notices())
}

pub(super) fn record_bytes(seq: u64) -> u64 {
    (HEAD_BYTES + fields(seq).len()) as u64
}

#[test]
fn a_log_cut_at_any_byte_keeps_every_whole_record_and_goes_on() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Unpublished);
    journal.append(&mut writer, 1..=4);
    writer.sync().unwrap();
    drop(writer);
    let path = journal.segments().remove(0);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..=whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let mut end = HEADER_BYTES as u64;
        let left: Vec<u64> = (1..=4)
            .take_while(|&seq| {
                end += record_bytes(seq);
                end <= len as u64
            })
            .collect();
        assert_eq!(
            read_all(journal.dir()),
            (left.clone(), vec![]),
            "cut at {len}"
        );
        let mut writer = journal.open(Keep::Unpublished);
        assert_eq!(
            writer.position(),
            Position(left.len() as u64),
            "cut at {len}"
        );
        let kept: u64 = left.iter().copied().map(record_bytes).sum();
        let header = if len < HEADER_BYTES {
            0
        } else {
            HEADER_BYTES as u64
        };
        let torn: Vec<_> = writer.notices().to_vec();
        match torn[..] {
            [] => assert_eq!(len as u64, header + kept),
            [Notice::TornTail { bytes, .. }] => assert_eq!(bytes + header + kept, len as u64),
            _ => panic!("{torn:?}"),
        }
        journal.append(&mut writer, 9..=9);
        writer.sync().unwrap();
        // The header says it, of a first record that was cut off too.
        let oldest = if header == 0 { 9 } else { 1 };
        assert_eq!(writer.oldest_ms(), Some(1000 + oldest));
        let all: Vec<_> = left.into_iter().chain([9]).collect();
        assert_eq!(read_all(journal.dir()), (all, vec![]), "cut at {len}");
    }
}

#[test]
fn a_flipped_byte_costs_the_record_it_is_in() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Unpublished);
    journal.append(&mut writer, 1..=5);
    writer.sync().unwrap();
    drop(writer);
    let path = journal.segments().remove(0);
    let whole = std::fs::read(&path).unwrap();
    let mut end = HEADER_BYTES as u64;
    for lost in 1..=4 {
        let start = end;
        end += record_bytes(lost);
        for at in start..end {
            let mut bytes = whole.clone();
            bytes[usize::try_from(at).unwrap()] ^= 0x40;
            std::fs::write(&path, &bytes).unwrap();
            let left: Vec<_> = (1..=5).filter(|&seq| seq != lost).collect();
            let damage = Notice::Damage {
                segment: path.file_name().unwrap().to_str().unwrap().to_owned(),
                bytes: record_bytes(lost),
                records: 1,
            };
            assert_eq!(read_all(journal.dir()), (left, vec![damage.clone()]));
            let writer = journal.open(Keep::Unpublished);
            assert_eq!(writer.notices(), [damage]);
            assert_eq!(writer.position(), Position(5));
            drop(writer);
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is deleted");
        }
    }
}

#[test]
fn a_second_writer_is_refused_by_name() {
    let journal = Journal::new();
    let writer = journal.open(Keep::Newest);
    let error = Writer::open(&journal.settings, Keep::Newest).unwrap_err();
    assert!(matches!(error, OpenError::Held { .. }));
    let text = error.to_string();
    assert!(text.contains(journal.dir().to_str().unwrap()), "{text}");
    assert!(
        text.contains(&format!("({})", std::process::id())),
        "{text}"
    );
    assert!(text.contains("JOURNAL_DIR"), "{text}");
    drop(writer);
    Writer::open(&journal.settings, Keep::Newest).unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Sync,
    /// The process is killed and started again.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u64..12).prop_map(Step::Append),
        3 => Just(Step::Sync),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_synced_survives_any_crash(steps in steps(), cut: prop::sample::Index) {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        let (mut seq, mut in_memory, mut safe) = (0, Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Append(records) => {
                    journal.append(&mut writer, seq + 1..=seq + records);
                    in_memory.extend(seq + 1..=seq + records);
                    seq += records;
                    // Appending syncs by itself where much has gathered.
                    let unsynced = writer.position().0 - writer.synced().0;
                    let synced = in_memory.len() - usize::try_from(unsynced).unwrap();
                    safe.extend(in_memory.drain(..synced));
                }
                Step::Sync => {
                    writer.sync().unwrap();
                    safe.append(&mut in_memory);
                }
                Step::Restart => {
                    drop(writer);
                    writer = journal.open(Keep::Unpublished);
                    in_memory.clear();
                }
            }
            let disk_bytes = journal.disk_bytes();
            prop_assert!(writer.bytes() >= disk_bytes);
            let read = read_all(journal.dir());
            prop_assert_eq!(&read, &(safe.clone(), vec![]));
        }
        drop(writer);
        // The last segment loses its end, which is then written anew.
        if let Some(path) = journal.segments().pop() {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..cut.index(bytes.len() + 1)]).unwrap();
        }
        let mut writer = journal.open(Keep::Unpublished);
        let (left, _) = read_all(journal.dir());
        prop_assert!(safe.starts_with(&left));
        journal.append(&mut writer, 7777..=7777);
        writer.sync().unwrap();
        let wanted: Vec<_> = left.into_iter().chain([7777]).collect();
        prop_assert_eq!(read_all(journal.dir()), (wanted, vec![]));
    }

    #[test]
    fn damage_anywhere_invents_nothing_and_is_told(flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6)) {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        journal.append(&mut writer, 1..=40);
        writer.sync().unwrap();
        for (at, flip) in flips {
            let paths = journal.segments();
            let path = &paths[at.index(paths.len())];
            let mut bytes = std::fs::read(path).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            std::fs::write(path, bytes).unwrap();
        }
        let (read, notices) = read_all(journal.dir());
        prop_assert!(read.is_sorted_by(|one, next| one < next));
        let told: u64 = notices.iter().map(|notice| match notice {
            Notice::Damage { records, .. } => *records,
            _ => 0,
        }).sum();
        // The end of the last segment may be a write under way: that is not told until the writer comes back.
        let seen = *read.last().unwrap();
        prop_assert_eq!(read.len() as u64 + told, seen);
        drop(writer);
        let writer = journal.open(Keep::Unpublished);
        prop_assert_eq!(writer.position(), Position(seen));
    }
}
