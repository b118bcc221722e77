//! Numbers, manifest and metadata of one session.

use proptest::prelude::*;

use super::*;

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
fn now(epoch_ms: u64) -> Now {
    Now {
        instant: Instant::now(),
        epoch_ms,
    }
}

fn call() -> Call {
    let name = CallName {
        tenant_id: "t".into(),
        interaction_id: "i".into(),
    };
    Call::new(name, 7, now(1000))
}

#[test]
fn the_manifest_says_what_was_numbered() {
    let mut call = call();
    for _ in 0..3 {
        assert!(matches!(
            call.number(None, &[1, 2, 3, 4], 8000, now(1020)),
            Numbered::Frame { gap: None, .. }
        ));
    }
    let end = call.end("stop", now(1100)).unwrap().record;
    assert_eq!(
        (end.frames, end.first_seq, end.last_seq, end.bytes, end.gaps),
        (3, 1, 3, 12, 0)
    );
    assert_eq!(
        end.crc32,
        format!(
            "{:08x}",
            crc32fast::hash(&[1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4])
        )
    );
    assert_eq!(
        call.end("stop", now(1100)).map(|last| last.record.frames),
        None
    );
    assert!(call.is_ended());
}

#[test]
fn the_sample_count_makes_the_duration() {
    let mut call = call();
    for _ in 0..50 {
        call.number(None, &[0; 320], 8000, now(0));
    }
    call.number(None, &[0; 960], 24000, now(0));
    assert_eq!(call.end("x", now(0)).unwrap().record.duration_ms, 1020);
}

#[test]
fn a_client_that_numbers_is_taken_at_its_word() {
    let mut call = call();
    let mut give = |seq| call.number(seq, &[0; 320], 8000, now(0));
    assert_eq!(give(Some(5)), Numbered::Frame { seq: 5, gap: None });
    assert_eq!(give(Some(5)), Numbered::Duplicate);
    assert_eq!(give(Some(4)), Numbered::Duplicate);
    let gap = Detail::Gap {
        from_seq: 6,
        to_seq: 8,
        ms: 60,
        reason: "client",
    };
    assert_eq!(
        give(Some(9)),
        Numbered::Frame {
            seq: 9,
            gap: Some(gap)
        }
    );
    assert_eq!(give(None), Numbered::Frame { seq: 10, gap: None });
    let end = call.end("end", now(0)).unwrap().record;
    assert_eq!(
        (end.frames, end.first_seq, end.last_seq, end.gaps),
        (3, 5, 10, 1)
    );
}

#[test]
fn metadata_is_due_at_first_and_then_every_few_seconds() {
    let mut call = call();
    assert!(call.metadata_due(now(1000)));
    assert_eq!(call.metadata(now(1000)).status, "active");
    assert!(!call.metadata_due(now(4999)));
    assert!(call.metadata_due(now(5000)));
    call.end("stop", now(5000));
    assert_eq!(call.metadata(now(5000)).status, "ended");
}

fn dropped(from_seq: u64, to_seq: u64, ms: u64) -> Detail {
    Detail::Gap {
        from_seq,
        to_seq,
        ms,
        reason: JOURNAL_FULL,
    }
}

#[test]
fn audio_that_was_dropped_takes_no_number_and_is_told_once_per_run() {
    let mut call = call();
    let number = |call: &mut Call| call.number(None, &[0; 320], 8000, now(0));
    assert!(call.drop_audio(320, 8000, now(0)), "the first of its run");
    assert!(!call.drop_audio(160, 8000, now(0)));
    let gap = Some(dropped(1, 0, 30));
    assert_eq!(number(&mut call), Numbered::Frame { seq: 1, gap });
    assert_eq!(number(&mut call), Numbered::Frame { seq: 2, gap: None });
    assert!(call.drop_audio(960, 24000, now(0)), "the first of the next");
    let gap = Some(dropped(3, 2, 20));
    assert_eq!(number(&mut call), Numbered::Frame { seq: 3, gap });
    call.drop_audio(320, 8000, now(0));
    let last = call.end("stop", now(0)).unwrap();
    assert_eq!(last.gap, Some(dropped(4, 3, 20)));
    assert_eq!(
        (last.record.frames, last.record.last_seq, last.record.gaps),
        (3, 3, 3)
    );
    assert_eq!((last.record.bytes, last.record.duration_ms), (960, 60));
}

#[test]
fn numbers_that_went_with_dropped_audio_are_one_gap_with_it() {
    let mut call = call();
    let give = |call: &mut Call, seq| call.number(Some(seq), &[0; 320], 8000, now(0));
    call.drop_audio(320, 8000, now(0));
    let gap = Some(dropped(7, 6, 20));
    assert_eq!(give(&mut call, 7), Numbered::Frame { seq: 7, gap });
    call.drop_audio(640, 8000, now(0));
    assert_eq!(give(&mut call, 7), Numbered::Duplicate);
    let gap = Some(dropped(8, 9, 40));
    assert_eq!(give(&mut call, 10), Numbered::Frame { seq: 10, gap });
    let last = call.end("stop", now(0)).unwrap();
    assert_eq!((last.gap, last.record.gaps), (None, 2));
}

#[test]
fn a_new_session_takes_the_clients_numbers_whatever_they_are() {
    for first in [1, 5, 900] {
        let mut call = call();
        call.go_on_at(5);
        let seq = first;
        assert_eq!(
            call.number(Some(seq), &[0; 320], 8000, now(0)),
            Numbered::Frame { seq, gap: None }
        );
    }
}

#[test]
fn metadata_says_how_far_the_client_has_numbered() {
    let told = |call: &mut Call| {
        let metadata = call.metadata(now(0));
        (metadata.last_seq, metadata.numbered)
    };
    let mut fresh = call();
    assert!(!fresh.is_shown());
    assert_eq!(told(&mut fresh), (0, false));
    assert!(fresh.is_shown());
    fresh.number(None, &[0; 320], 8000, now(0));
    assert_eq!(told(&mut fresh), (1, false));
    let mut heir = call();
    heir.go_on_at(8);
    assert_eq!(told(&mut heir), (7, true), "nothing is forgotten");
    heir.number(Some(3), &[0; 320], 8000, now(0));
    assert_eq!(told(&mut heir), (3, true), "it began anew");
    let mut heir = call();
    heir.go_on_at(8);
    heir.number(None, &[0; 320], 8000, now(0));
    assert_eq!(told(&mut heir), (1, false), "it numbers no more");
}

proptest! {
    #[test]
    fn frames_and_dropped_audio_are_all_and_each_run_of_drops_is_one_gap(drops in proptest::collection::vec(any::<bool>(), 0..60)) {
        let mut call = call();
        let (mut frames, mut gaps, mut missing_ms, mut run_ms) = (0, 0, 0, 0);
        let mut check = |gap: Option<Detail>, next: u64, run_ms: u64| {
            prop_assert_eq!(&gap, &(run_ms > 0).then(|| dropped(next, next - 1, run_ms)));
            gaps += u64::from(gap.is_some());
            missing_ms += run_ms;
            Ok(())
        };
        for drop in &drops {
            if *drop {
                prop_assert_eq!(call.drop_audio(320, 8000, now(0)), run_ms == 0);
                run_ms += 20;
            } else {
                frames += 1;
                let Numbered::Frame { seq, gap } = call.number(None, &[0; 320], 8000, now(0)) else {
                    return Err(TestCaseError::fail("no frame"));
                };
                prop_assert_eq!(seq, frames);
                check(gap, seq, run_ms)?;
                run_ms = 0;
            }
        }
        let last = call.end("end", now(0)).unwrap();
        check(last.gap, frames + 1, run_ms)?;
        prop_assert_eq!((last.record.frames, last.record.gaps), (frames, gaps));
        prop_assert_eq!(last.record.duration_ms + missing_ms, drops.len() as u64 * 20);
    }

    #[test]
    fn numbers_only_rise_and_frames_plus_duplicates_are_all(given in proptest::collection::vec(proptest::option::of(0..30_u64), 0..60)) {
        let mut call = call();
        let (mut frames, mut duplicates, mut last) = (0, 0, None);
        for seq in &given {
            match call.number(*seq, &[0, 0], 8000, now(0)) {
                Numbered::Frame { seq, .. } => {
                    prop_assert!(last.is_none_or(|last| seq > last));
                    last = Some(seq);
                    frames += 1;
                }
                Numbered::Duplicate => duplicates += 1,
            }
        }
        prop_assert_eq!(frames + duplicates, given.len());
        prop_assert_eq!(call.end("end", now(0)).unwrap().record.frames, frames as u64);
    }
}

// 4.4: once per change, and the page sees what holds at present.
#[test]
fn a_rate_mismatch_is_told_once_per_change() {
    let mut call = call();
    assert!(!call.take_rate(8000, 8000));
    assert_eq!(call.rate_mismatch(), None);
    assert!(call.take_rate(8000, 16_000));
    assert!(
        !call.take_rate(8000, 16_000),
        "another connection found it too"
    );
    assert_eq!(call.rate_mismatch(), Some(16_000));
    assert!(call.take_rate(8000, 24_000));
    assert!(
        !call.take_rate(24_000, 24_000),
        "the next connection declares it"
    );
    assert_eq!(call.rate_mismatch(), None);
    assert!(call.take_rate(24_000, 8000));
}
