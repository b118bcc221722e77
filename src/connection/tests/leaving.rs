//! Connections that drop, and calls that are taken up or not (3.10, 4.3).

use super::{Stage, seconds, settle};

#[tokio::test(start_paused = true)]
async fn a_dropped_call_ends_after_five_seconds() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    peer.send_frames(2).await;
    drop(peer);
    seconds(4.9).await;
    assert_eq!(stage.published(), ["start i", "frame 1", "frame 2"]);
    seconds(0.2).await;
    assert_eq!(stage.published(), ["end disconnected 2 i"]);
    assert_eq!(stage.reap().live(), 0);
    assert!(stage.shared.calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_taken_up_goes_on() {
    let mut stage = Stage::new();
    let first = stage.exotel().await;
    first.send_frames(1).await;
    drop(first);
    seconds(4.9).await;
    let second = stage.exotel().await;
    second.send_frames(1).await;
    seconds(19.0).await;
    second.say(r#"{"event":"stop"}"#).await;
    assert_eq!(
        stage.published(),
        ["start i", "frame 1", "frame 2", "stop i", "end stop 2 i"]
    );
}

#[tokio::test(start_paused = true)]
async fn the_five_seconds_count_from_the_last_departure() {
    let mut stage = Stage::new();
    drop(stage.exotel().await);
    seconds(3.0).await;
    let second = stage.exotel().await;
    seconds(1.0).await;
    drop(second);
    seconds(4.9).await;
    assert_eq!(stage.published(), ["start i"], "8.9 s");
    seconds(0.2).await;
    assert_eq!(stage.published(), ["end disconnected 0 i"], "9.1 s");
}

#[tokio::test(start_paused = true)]
async fn one_of_two_connections_that_drops_ends_nothing() {
    let mut stage = Stage::new();
    let first = stage.exotel().await;
    let second = stage.exotel().await;
    drop(first);
    seconds(10.0).await;
    second.send_frames(1).await;
    assert_eq!(stage.published(), ["start i", "frame 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_call_another_one_ended_begins_a_new_session() {
    let mut stage = Stage::new();
    let first = stage.exotel().await;
    let second = stage.exotel().await;
    first.send_frames(1).await;
    second.say(r#"{"event":"stop"}"#).await;
    first.send_frames(1).await;
    assert_eq!(
        stage.published(),
        [
            "start i",
            "frame 1",
            "stop i",
            "end stop 1 i",
            "start i",
            "frame 1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_to_be_taken_up_does_not_outlive_the_drain() {
    let mut stage = Stage::new();
    drop(stage.exotel().await);
    settle().await;
    stage.published();
    stage.shared.shutdown.draining.cancel();
    settle().await;
    assert_eq!(stage.published(), ["end disconnected 0 i"]);
    assert_eq!(stage.reap().live(), 0);
}
