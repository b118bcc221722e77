//! Tests of the whole journal: a disk that is full or fails under a living writer, and the limits to its size. What
//! is left after a crash is in `crash.rs`.
//!
//! Invariant tested: after any failure the writer claims no more than is safe, and once the disk works again
//! everything that was appended is read back once.

use std::path::PathBuf;

use proptest::prelude::*;

use super::{
    Keep, Notice, Position, Removed,
    crash::{Journal, MAX_BYTES, SEGMENT_BYTES, fields, read_all, read_on, record, record_bytes},
    disk::faults::Plan,
    error::{AppendError, ReleaseError, SyncError},
    format::HEADER_BYTES,
    reader::Reader,
    writer::Writer,
};

const SYNC_FAILS: Plan = Plan {
    room: None,
    sync_fails: true,
    truncate_fails: false,
};

fn full_after(room: u64) -> Plan {
    Plan {
        room: Some(room),
        ..Plan::default()
    }
}

#[test]
fn a_full_disk_keeps_the_records_until_there_is_room() {
    let needed = HEADER_BYTES as u64 + (1..=4).map(record_bytes).sum::<u64>();
    for room in 0..needed {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        let mut reader = Reader::open(journal.dir()).unwrap();
        writer.disk.faults.set(full_after(room));
        journal.append(&mut writer, 1..=4);
        let error = writer.sync().unwrap_err();
        assert!(matches!(error, SyncError::Write { .. }), "room for {room}");
        assert_eq!(writer.synced(), Position::START);
        let early = read_on(&mut reader);
        assert!(early.is_empty(), "cut back, room for {room}: {early:?}");
        journal.append(&mut writer, 5..=5);
        writer.sync().unwrap_err();
        writer.disk.faults.set(Plan::default());
        writer.sync().unwrap();
        assert_eq!(writer.synced(), Position(5));
        assert_eq!(read_on(&mut reader), [1, 2, 3, 4, 5]);
        assert_eq!(read_all(journal.dir()), (vec![1, 2, 3, 4, 5], vec![]));
        assert_eq!(journal.segments().len(), 1);
    }
}

#[test]
fn after_a_failed_sync_the_records_go_to_a_fresh_segment() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Unpublished);
    let mut reader = Reader::open(journal.dir()).unwrap();
    journal.append(&mut writer, 1..=2);
    writer.sync().unwrap();
    journal.append(&mut writer, 3..=4);
    // Not even cutting back works: the doubtful copies stay in the old segment.
    writer.disk.faults.set(Plan {
        truncate_fails: true,
        ..SYNC_FAILS
    });
    let error = writer.sync().unwrap_err();
    assert!(matches!(error, SyncError::Sync { .. }), "{error}");
    assert_eq!(writer.synced(), Position(2));
    assert_eq!(read_on(&mut reader), [1, 2, 3, 4], "seen a moment early");
    writer.sync().unwrap_err();
    writer.disk.faults.set(Plan::default());
    journal.append(&mut writer, 5..=5);
    writer.sync().unwrap();
    assert_eq!(journal.segments().len(), 2);
    assert_eq!(read_on(&mut reader), [5]);
    let mut after = Reader::after(journal.dir(), Position(2)).unwrap();
    assert_eq!(read_on(&mut after), [3, 4, 5]);
    assert_eq!(read_all(journal.dir()), (vec![1, 2, 3, 4, 5], vec![]));
    drop(writer);
    let writer = journal.open(Keep::Unpublished);
    assert_eq!(
        (writer.position(), writer.notices()),
        (Position(5), &[][..])
    );
}

#[test]
fn a_full_disk_does_not_keep_what_is_published() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Unpublished);
    journal.append(&mut writer, 1..=4);
    writer.sync().unwrap();
    writer.release(Position(1), b"").unwrap();
    writer.disk.faults.set(full_after(0));
    // Part of the segment is not in Redis.
    writer.release(Position(3), b"").unwrap_err();
    assert_eq!(read_all(journal.dir()).0, [1, 2, 3, 4]);
    writer.release(Position(4), b"").unwrap_err();
    assert_eq!(read_all(journal.dir()).0, [0; 0]);
    assert_eq!(writer.bytes(), 0);
    drop(writer);
    // Killed before the cursor could say so.
    let mut writer = journal.open(Keep::Unpublished);
    let (released, last) = (writer.released(), writer.position());
    assert_eq!((released, last), (Position(1), Position(4)));
    writer.release(Position(4), b"").unwrap();
    journal.append(&mut writer, 5..=5);
    writer.sync().unwrap();
    assert_eq!(read_all(journal.dir()).0, [5]);
}

#[test]
fn a_segment_that_never_worked_leaves_no_trace() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Unpublished);
    let mut reader = Reader::open(journal.dir()).unwrap();
    writer.disk.faults.set(SYNC_FAILS);
    for seq in 1..=5 {
        journal.append(&mut writer, seq..=seq);
        let error = writer.sync().unwrap_err();
        assert!(matches!(error, SyncError::Create { .. }), "{error}");
        assert_eq!(journal.segments(), Vec::<PathBuf>::new());
    }
    writer.disk.faults.set(Plan::default());
    writer.sync().unwrap();
    assert_eq!(read_on(&mut reader), [1, 2, 3, 4, 5]);
}

#[test]
fn appending_stays_bounded_and_honest_while_nothing_can_be_written() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Newest);
    writer.disk.faults.set(full_after(0));
    let refused = (1..1000).find_map(|seq| writer.append(record(seq, &fields(seq))).err());
    assert!(matches!(
        refused,
        Some(AppendError::Sync(SyncError::Write { .. }))
    ));
    assert!(writer.bytes() <= SEGMENT_BYTES);
    let taken = writer.position().0;
    writer.disk.faults.set(Plan::default());
    journal.append(&mut writer, taken + 1..=taken + 1);
    writer.sync().unwrap();
    assert_eq!(read_all(journal.dir()), ((1..=taken + 1).collect(), vec![]));
}

#[test]
fn a_bridge_that_is_full_refuses_until_it_is_released() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Unpublished);
    let mut seq = 0;
    let refused = loop {
        match writer.append(record(seq + 1, &fields(seq + 1))) {
            Ok(_) => seq += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(
        refused,
        AppendError::Full {
            max_bytes: MAX_BYTES
        }
    ));
    writer.sync().unwrap();
    assert!(journal.disk_bytes() <= MAX_BYTES && journal.disk_bytes() > MAX_BYTES * 9 / 10);
    assert_eq!(writer.bytes(), journal.disk_bytes());
    assert_eq!(
        read_all(journal.dir()).0.len() as u64,
        seq,
        "nothing was removed"
    );
    assert_eq!(writer.oldest_ms(), Some(1001));

    writer.release(Position(seq / 2), b"").unwrap();
    let (left, _) = read_all(journal.dir());
    assert!(left[0] > 1 && left[0] <= seq / 2 + 1 && left.last() == Some(&seq));
    assert_eq!(writer.oldest_ms(), Some(1000 + left[0]));
    journal.append(&mut writer, seq + 1..=seq + 1);
    writer.release(Position(seq), b"").unwrap();
    writer.sync().unwrap();
    writer.release(Position(u64::MAX), b"").unwrap();
    assert_eq!(
        (writer.bytes(), journal.disk_bytes(), writer.oldest_ms()),
        (0, 0, None)
    );
    drop(writer);

    let mut writer = journal.open(Keep::Unpublished);
    assert_eq!(writer.released(), Position(seq + 1));
    assert_eq!(
        writer.append(record(1, &fields(1))).unwrap(),
        Position(seq + 2)
    );
}

#[test]
fn nothing_is_removed_before_the_cursor_is_safe() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Unpublished);
    journal.append(&mut writer, 1..=50);
    writer.sync().unwrap();
    writer.disk.faults.set(SYNC_FAILS);
    let error = writer.release(Position(50), b"").unwrap_err();
    assert!(matches!(error, ReleaseError::Cursor(_)));
    assert_eq!(writer.released(), Position::START);
    assert_eq!(read_all(journal.dir()).0.len(), 50);
    writer.disk.faults.set(Plan::default());
    writer.release(Position(50), b"").unwrap();
    assert_eq!(journal.disk_bytes(), 0);
}

#[test]
fn the_newest_are_kept_within_the_limit() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Newest);
    let mut gone = Removed::default();
    for seq in 1..=2000 {
        journal.append(&mut writer, seq..=seq);
        if seq % 7 == 0 {
            let removed = writer.sync().unwrap();
            gone.records += removed.records;
            gone.bytes += removed.bytes;
            assert!(journal.disk_bytes() <= MAX_BYTES, "at {seq}");
            assert_eq!(writer.bytes(), journal.disk_bytes());
        }
    }
    writer.sync().unwrap();
    let (left, notices) = read_all(journal.dir());
    assert_eq!(notices, []);
    assert_eq!(left, (2001 - left.len() as u64..=2000).collect::<Vec<_>>());
    assert!(left.len() as u64 + gone.records <= 2000 && gone.bytes > MAX_BYTES);
    assert!(journal.disk_bytes() > MAX_BYTES * 8 / 10);
}

#[test]
fn a_record_that_can_never_fit_is_refused() {
    let journal = Journal::new();
    let mut writer = journal.open(Keep::Newest);
    let large = vec![0; usize::try_from(MAX_BYTES).unwrap()];
    let error = writer.append(record(1, &large)).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }));
    let mut settings = journal.settings.clone();
    drop(writer);
    settings.max_bytes = 1 << 30;
    let mut writer = Writer::open(&settings, Keep::Newest).unwrap();
    let large = vec![0; super::RECORD_BYTES_MAX];
    writer.append(record(1, &large)).unwrap();
    let error = writer
        .append(record(2, &[large, vec![0]].concat()))
        .unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { .. }));
    writer.sync().unwrap();
    let mut reader = Reader::open(journal.dir()).unwrap();
    let entry = reader.next().unwrap().unwrap();
    assert_eq!(entry.record.fields.len(), super::RECORD_BYTES_MAX);
}

fn plans() -> impl Strategy<Value = Plan> {
    (
        prop::option::weighted(0.4, 0_u64..900),
        prop::bool::weighted(0.3),
        any::<bool>(),
    )
        .prop_map(|(room, sync_fails, truncate_fails)| Plan {
            room,
            sync_fails,
            truncate_fails,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever fails, a reader that follows sees each record once, and a crash loses nothing that was claimed.
    #[test]
    fn failures_lose_and_repeat_nothing(
        rounds in prop::collection::vec((1_u64..9, plans()), 1..30),
        crash: bool,
    ) {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        let mut reader = Reader::open(journal.dir()).unwrap();
        let mut followed = Vec::new();
        for (records, plan) in rounds {
            writer.disk.faults.set(plan);
            for _ in 0..records {
                let seq = writer.position().0 + 1;
                if writer.append(record(seq, &fields(seq))).is_err() {
                    break;
                }
            }
            if writer.sync().is_ok() {
                prop_assert_eq!(writer.synced(), writer.position());
            }
            followed.extend(read_on(&mut reader));
            prop_assert!(followed.len() as u64 >= writer.synced().0);
        }
        let appended = writer.position().0;
        let claimed = writer.synced().0;
        if crash {
            drop(writer);
            let writer = journal.open(Keep::Unpublished);
            let (read, _) = read_all(journal.dir());
            prop_assert!(read.len() as u64 >= claimed);
            prop_assert!(read.iter().copied().eq(1..=writer.position().0));
        } else {
            writer.disk.faults.set(Plan::default());
            writer.sync().unwrap();
            followed.extend(read_on(&mut reader));
            prop_assert!(followed.iter().copied().eq(1..=appended));
            let (read, notices) = read_all(journal.dir());
            prop_assert!(read.iter().copied().eq(1..=appended));
            let only_torn = |notice: &Notice| matches!(notice, Notice::Damage { records: 0, .. });
            prop_assert!(notices.iter().all(only_torn), "{:?}", notices);
        }
    }
}
