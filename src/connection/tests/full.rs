//! A lane that is full (5.4): who waits, who goes on without its audio, and what is told of it.

use super::{Peer, Stage, seconds, settle};
use crate::websocket::tests::{BINARY, TEXT, from_client};

/// Large enough that fifty of them fill a lane.
async fn send_large(peer: &Peer, count: usize) {
    for _ in 0..count {
        peer.send(from_client(BINARY, &vec![0; 100_000])).await;
    }
}

fn frames(published: &[String]) -> usize {
    let frames = published.iter().filter(|told| told.starts_with("frame"));
    frames.count()
}

#[tokio::test(start_paused = true)]
async fn exotels_audio_is_dropped_and_the_gap_is_told_before_the_next_frame() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    stage.lane.set_full(true);
    send_large(&peer, 60).await;
    let taken = stage.published();
    let kept = frames(&taken);
    assert_eq!(taken.len(), kept + 1, "no gap yet: {taken:?}");
    peer.say(r#"{"event":"dtmf","dtmf":{"digit":"5"}}"#).await;
    assert_eq!(stage.published(), ["dtmf i"], "it is heard all the same");
    assert_eq!(stage.shared.calls.frames_dropped(), 60 - kept as u64);
    stage.lane.confirm_all();
    send_large(&peer, 2).await;
    let (next, last) = (kept + 1, kept + 2);
    let ms = (60 - kept) * 6250;
    let gap = format!("gap {next}-{kept} {ms} journal_full i");
    assert_eq!(
        stage.published(),
        [gap, format!("frame {next}"), format!("frame {last}")]
    );
    peer.say(r#"{"event":"stop"}"#).await;
    let end = format!("end stop {last} 1 gaps i");
    assert_eq!(stage.published(), ["stop i".to_owned(), end]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_ends_meanwhile_tells_what_it_lost() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    stage.lane.set_full(true);
    send_large(&peer, 60).await;
    let kept = frames(&stage.published());
    peer.say(r#"{"event":"stop"}"#).await;
    let ms = (60 - kept) * 6250;
    assert_eq!(
        stage.published(),
        [
            "stop i".to_owned(),
            format!("gap {}-{kept} {ms} journal_full i", kept + 1),
            format!("end stop {kept} 1 gaps i"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_goes_on_when_the_journal_is_full() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    send_large(&peer, 60).await;
    let kept = frames(&stage.published());
    assert!(kept < 60 && stage.shared.calls.frames_dropped() == 0);
    seconds(30.0).await;
    assert!(stage.published().is_empty());
    stage.lane.set_full(true);
    settle().await;
    assert_eq!(stage.shared.calls.frames_dropped(), 60 - kept as u64);
    // Not full any more, and still no room: what is there is kept for later.
    stage.lane.set_full(false);
    send_large(&peer, 3).await;
    assert!(stage.published().is_empty());
    stage.lane.confirm_all();
    settle().await;
    let taken = stage.published();
    assert!(taken[0].starts_with("gap"), "{taken:?}");
    assert_eq!(frames(&taken), 3);
    assert_eq!(stage.shared.calls.frames_dropped(), 60 - kept as u64);
}

#[tokio::test(start_paused = true)]
async fn a_custom_client_is_slowed_and_loses_nothing() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    stage.lane.set_full(true);
    send_large(&peer, 60).await;
    let mut kept = frames(&stage.published());
    assert!(kept < 60);
    seconds(300.0).await;
    assert!(stage.published().is_empty());
    for _ in 0..3 {
        stage.lane.confirm_all();
        settle().await;
        kept += frames(&stage.published());
    }
    assert_eq!((kept, stage.shared.calls.frames_dropped()), (60, 0));
}

// Events are always taken, but nobody may fill the memory with them.
#[tokio::test(start_paused = true)]
async fn a_flood_of_events_is_slowed_too() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    stage.lane.set_full(true);
    send_large(&peer, 60).await;
    stage.published();
    let mark = format!(
        r#"{{"event":"mark","mark":{{"name":"{}"}}}}"#,
        "x".repeat(256)
    );
    let mut taken = 0;
    for _ in 0..40 {
        for _ in 0..900 {
            let text = from_client(TEXT, mark.as_bytes());
            if peer.to.try_send(text).is_err() {
                break;
            }
        }
        settle().await;
        taken += stage.published().len();
    }
    assert!((5_000..20_000).contains(&taken), "{taken}");
}
