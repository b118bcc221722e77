//! New sessions of a call whose client numbers its audio (3.8, 3.10).

use super::{Peer, Stage, ack, settle, started};

const END: &str = r#"{"event":"end"}"#;

/// A session with the client's numbers `1..=last`, ended; nothing of it is confirmed.
async fn session(stage: &mut Stage, last: u64) -> Peer {
    let peer = stage.custom().await;
    for seq in 1..=last {
        peer.number(seq).await;
    }
    peer.say(END).await;
    peer
}

#[tokio::test(start_paused = true)]
async fn a_new_session_goes_on_when_the_one_before_is_durable() {
    let mut stage = Stage::new();
    let first = session(&mut stage, 4).await;
    let second = stage.custom().await;
    stage.lane.confirm(3);
    settle().await;
    assert_eq!((first.heard().len(), second.heard().len()), (1, 0));
    stage.lane.confirm(1);
    settle().await;
    assert_eq!(second.heard(), [started(5)]);
    stage.published();
    second.number(5).await;
    assert_eq!(stage.published(), ["frame 5"]);
    second.say(END).await;
    assert_eq!(stage.published(), ["stop i", "end end 1 i"], "no gap");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_counts_anew_loses_nothing() {
    let mut stage = Stage::new();
    session(&mut stage, 4).await;
    stage.lane.confirm_all();
    let second = stage.custom().await;
    assert_eq!(second.heard(), [started(5)]);
    stage.published();
    for seq in 1..=4 {
        second.number(seq).await;
    }
    let frames: Vec<_> = (1..=4).map(|seq| format!("frame {seq}")).collect();
    assert_eq!(stage.published(), frames);
    second.say(END).await;
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(second.heard(), [ack(4), "close 1000".to_owned()]);
    let third = stage.custom().await;
    assert_eq!(third.heard(), [started(5)], "after its newest numbers");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_wait_goes_on_after_what_is_durable_of_it() {
    let mut stage = Stage::new();
    session(&mut stage, 2).await;
    let second = stage.custom().await;
    for seq in 7..=9 {
        second.number(seq).await;
    }
    stage.lane.confirm(2 + 1);
    settle().await;
    assert_eq!(second.heard(), [started(8), ack(7)], "answered first");
}

#[tokio::test(start_paused = true)]
async fn who_numbers_nothing_starts_at_one_each_time() {
    let mut stage = Stage::new();
    for _ in 0..2 {
        let peer = stage.custom().await;
        peer.send_frames(3).await;
        peer.say(END).await;
        stage.lane.confirm_all();
        settle().await;
        assert_eq!(peer.heard()[..2], [started(1), ack(3)]);
    }
    session(&mut stage, 2).await;
    stage.lane.confirm_all();
    let numbers_no_more = stage.custom().await;
    assert_eq!(numbers_no_more.heard(), [started(3)]);
    numbers_no_more.send_frames(5).await;
    numbers_no_more.say(END).await;
    stage.lane.confirm_all();
    assert_eq!(stage.custom().await.heard(), [started(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_audio_passes_on_what_it_was_told() {
    let mut stage = Stage::new();
    session(&mut stage, 4).await;
    stage.lane.confirm_all();
    for _ in 0..2 {
        let peer = stage.custom().await;
        assert_eq!(peer.heard(), [started(5)]);
        peer.say(END).await;
        stage.lane.confirm_all();
        settle().await;
    }
}

// The metadata in Redis may be all that is known of earlier sessions: it is not written over before it was read.
#[tokio::test(start_paused = true)]
async fn a_session_shows_itself_when_its_start_is_answered() {
    let mut stage = Stage::new();
    session(&mut stage, 1).await;
    stage.lane.take();
    let second = stage.custom().await;
    assert_eq!(stage.lane.take(), ["start i"]);
    stage.lane.confirm(1);
    settle().await;
    assert_eq!(second.heard(), [started(2)]);
    assert_eq!(stage.lane.take(), ["active i"]);
    drop(second);
    settle().await;
    assert_eq!(stage.lane.take(), ["active i"], "the drop is told");
    super::seconds(5.1).await;
    assert_eq!(stage.lane.take(), ["ended i", "end disconnected 0 i"]);
}
