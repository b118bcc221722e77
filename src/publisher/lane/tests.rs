//! A lane by itself: what it trims, when it has room, when it sheds.

use std::time::Duration;

use super::*;
use crate::record::frame::{FrameFacts, FrameFormat};

fn frame(lane: &Lane) {
    let facts = FrameFacts {
        tenant_id: "t",
        interaction_id: "i",
        sample_rate: 8000,
        session: 1,
        stream_sid: None,
        track: None,
    };
    let pattern = FramePattern::new(FrameFormat::Fields, &facts);
    let numbers = FrameNumbers {
        seq: 1,
        timestamp_ms: 2,
        media_ms: None,
    };
    let progress = Arc::new(Progress::new("t", "i", 0));
    lane.append_frame(
        &pattern,
        &numbers,
        &Audio {
            pcm: &[0; 8],
            text: None,
        },
        &progress,
        false,
        &clock::now().instant,
    );
}

fn fill(lane: &Lane) {
    let progress = Arc::new(Progress::new("t", "i", 0));
    lane.append_record(&vec![b'x'; 100_000], What::CallEvent(progress));
}

fn arguments(command: &[u8]) -> Vec<String> {
    let text = String::from_utf8(command.to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let count: usize = lines
        .next()
        .unwrap()
        .trim_start_matches('*')
        .parse()
        .unwrap();
    let words: Vec<_> = lines
        .filter(|line| !line.starts_with('$') && !line.is_empty())
        .map(str::to_owned)
        .collect();
    assert_eq!(words.len(), count, "{text}");
    words
}

#[test]
fn the_stream_is_trimmed_once_per_batch_by_redis_own_clock() {
    let lane = Lane::new("audio".into(), Trim::Age(Duration::from_mins(2)));
    frame(&lane);
    assert_eq!(
        arguments(lane.take().command(0))[..3],
        ["XADD", "audio", "*"]
    );
    lane.trim_to(1_000_000);
    frame(&lane);
    frame(&lane);
    let batch = lane.take();
    assert_eq!(
        arguments(batch.command(0))[..6],
        ["XADD", "audio", "MINID", "~", "880000", "*"]
    );
    assert_eq!(arguments(batch.command(1))[..3], ["XADD", "audio", "*"]);
    assert!(batch.fields(1).starts_with(b"$9\r\ntenant_id"));
}

#[tokio::test]
async fn a_full_lane_has_no_room_until_bytes_are_confirmed() {
    let lane = Lane::new("audio".into(), Trim::Never);
    while lane.has_room() {
        fill(&lane);
    }
    let bytes = lane.take().command_bytes();
    let (waited, ()) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(5), lane.wait_for_room()),
        async { lane.confirm_bytes(bytes) }
    );
    assert!(waited.is_ok() && lane.has_room() && lane.queued_bytes() == 0);
}

#[tokio::test]
async fn who_need_not_wait_for_a_full_lane_goes_on_when_it_is_full() {
    let lane = Lane::new("audio".into(), Trim::Never);
    let grow_while = |more: fn(&Lane) -> bool| {
        while more(&lane) {
            fill(&lane);
        }
    };
    grow_while(Lane::has_room);
    let within = Duration::from_secs(5);
    let (waited, ()) = tokio::join!(
        tokio::time::timeout(within, lane.wait_for_room_or_shed()),
        async { lane.set_full(true) }
    );
    assert!(waited.is_ok() && lane.sheds() && !lane.has_room());
    grow_while(Lane::sheds);
    assert!(
        lane.is_full() && lane.queued_bytes() < 9 << 20,
        "an end to it"
    );
    lane.confirm_bytes(lane.queued_bytes());
    assert!(lane.is_full() && !lane.sheds() && lane.has_room());
}

#[test]
fn what_has_gathered_leaves_in_flights_of_bounded_size_and_in_order() {
    let lane = Lane::new("audio".into(), Trim::Never);
    let progress = Arc::new(Progress::new("t", "i", 0));
    let append = |number: u32| {
        let json = format!("{}{number}", " ".repeat(100_000));
        lane.append_record(json.as_bytes(), What::CallEvent(Arc::clone(&progress)));
    };
    let numbers = |batch: &Batch| -> Vec<u32> {
        let json = |index| String::from_utf8_lossy(batch.fields(index)).into_owned();
        let commands = 0..batch.entries.len();
        let number = |text: String| text.split_whitespace().last().unwrap().parse().unwrap();
        commands.map(|index| number(json(index))).collect()
    };
    (0..8).for_each(append);
    let first = lane.take_flight();
    assert_eq!(numbers(&first), [0, 1, 2, 3, 4, 5]);
    lane.spare(first);
    append(8);
    assert_eq!(numbers(&lane.take_flight()), [6, 7, 8]);
    assert!(!lane.is_filled());
    (9..20).for_each(append);
    assert_eq!(numbers(&lane.take()), (9..20).collect::<Vec<_>>());
    assert!(!lane.is_filled() && lane.take_flight().is_empty());
}

#[test]
fn only_what_has_room_for_more_is_worth_waiting_for() {
    let lane = Lane::new("audio".into(), Trim::Never);
    assert!(!lane.has_part_of_a_flight());
    frame(&lane);
    assert!(lane.has_part_of_a_flight());
    (0..6).for_each(|_| fill(&lane));
    frame(&lane);
    assert!(!lane.has_part_of_a_flight() && lane.is_filled());
}
