//! What a custom client is told, and when (3.8).

use super::{Stage, ack, seconds, settle, started};
use crate::{
    frame::Sender,
    intake::Facts,
    websocket::tests::{BINARY, from_client},
};

const END: &str = r#"{"event":"end"}"#;

#[tokio::test(start_paused = true)]
async fn an_ack_never_comes_before_its_frames_are_durable() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    assert_eq!(peer.heard(), [started(1)]);
    peer.send_frames(9).await;
    assert_eq!(stage.published().len(), 10);
    seconds(15.0).await;
    assert!(peer.heard().is_empty(), "taken is not confirmed");
    stage.lane.confirm(4);
    settle().await;
    assert_eq!(peer.heard(), [ack(4)]);
    stage.lane.confirm(4);
    settle().await;
    assert_eq!(peer.heard(), [ack(8)]);
    peer.say(END).await;
    assert!(peer.heard().is_empty(), "the ninth is not durable yet");
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(peer.heard(), [ack(9), "close 1000".to_owned()]);
}

// A client that sends no more than ACK_INTERVAL frames ahead of the acks must never wait in vain.
#[tokio::test(start_paused = true)]
async fn an_ack_that_ran_ahead_of_the_interval_does_not_delay_the_next() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    peer.send_frames(6).await;
    stage.lane.confirm(6);
    settle().await;
    assert_eq!(peer.heard(), [started(1), ack(6)]);
    peer.send_frames(4).await;
    for _ in 7..=10 {
        stage.lane.confirm(1);
        settle().await;
    }
    assert_eq!(peer.heard(), [ack(8)], "at the second multiple of four");
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_call_up_goes_on_where_it_is_durable() {
    let mut stage = Stage::new();
    let first = stage.custom().await;
    first.send_frames(3).await;
    drop(first);
    let second = stage.custom().await;
    second.send_frames(1).await;
    assert!(second.heard().is_empty(), "three frames are not durable");
    stage.lane.confirm(3);
    settle().await;
    assert_eq!(second.heard(), [started(4)]);
    stage.lane.confirm_all();
    second.say(END).await;
    assert_eq!(stage.published(), ["stop i", "end end 4 i"]);
    assert_eq!(second.heard(), [ack(4)], "the end is not durable yet");
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(second.heard(), ["close 1000"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_acks_is_heard_all_the_same() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    peer.reads(false);
    let mut frames = 0;
    for _ in 0..50 {
        peer.send_frames(10).await;
        frames += stage
            .published()
            .iter()
            .filter(|told| told.starts_with("frame"))
            .count();
        stage.lane.confirm_all();
    }
    settle().await;
    assert_eq!(frames, 500);
    peer.heard();
    peer.reads(true);
    settle().await;
    // One was on its way already; of the others the newest is left.
    assert_eq!(peer.heard(), [ack(10), ack(500)]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_names_no_call_is_told_so() {
    let mut stage = Stage::new();
    let peer = stage.connect(Facts::new(Sender::Custom, "t", ""));
    peer.send_frames(1).await;
    let heard = peer.heard();
    assert!(
        heard.len() == 2 && heard[0].contains(r#""code":"bad_start""#),
        "{heard:?}"
    );
    assert_eq!(heard[1], "close 1007");
    assert!(stage.published().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_after_a_close() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    peer.send_frames(8).await;
    peer.say("nonsense").await;
    let heard = peer.heard();
    assert!(heard[1].contains("bad_message"), "{heard:?}");
    assert_eq!(heard[2..], ["close 1007"]);
    stage.lane.confirm_all();
    seconds(1.0).await;
    assert!(peer.heard().is_empty());
    peer.close().await;
    assert_eq!(stage.reap().live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_last_frames_stay_unsafe_is_told_to_send_them_again() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    peer.send_frames(5).await;
    stage.lane.confirm(2);
    peer.say(END).await;
    assert_eq!(peer.heard(), [started(1)]);
    seconds(31.0).await;
    let heard = peer.heard();
    assert_eq!(heard[0], ack(2));
    assert!(heard[1].contains("overloaded"), "{heard:?}");
    assert_eq!(heard[2], "close 1013");
}

#[tokio::test(start_paused = true)]
async fn exotel_is_told_nothing() {
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    peer.send_frames(8).await;
    stage.lane.confirm_all();
    settle().await;
    assert!(peer.heard().is_empty());
    peer.say(r#"{"event":"stop"}"#).await;
    assert!(peer.heard().is_empty(), "the end is not durable yet");
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(peer.heard(), ["close 1000"]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_without_room_stops_the_reading_and_nothing_is_lost() {
    const FRAMES: usize = 60;
    let mut stage = Stage::new();
    let peer = stage.exotel().await;
    for _ in 0..FRAMES {
        peer.send(from_client(BINARY, &vec![0; 100_000])).await;
    }
    let first = stage.published().len();
    assert!(first < FRAMES / 2 + 5, "{first} taken");
    // Silence while we do not read is our own, not the peer's.
    seconds(200.0).await;
    assert!(stage.published().is_empty());
    stage.lane.confirm_all();
    settle().await;
    let second = stage.published().len();
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(first + second + stage.published().len(), FRAMES + 1);
    assert!(!peer.heard().iter().any(|heard| heard.starts_with("close")));
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_of_a_call_is_acked_before_the_next_begins() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    peer.send_frames(3).await;
    stage.lane.confirm(3);
    settle().await;
    assert_eq!(peer.heard(), [started(1)], "no interval is full");
    peer.say(r#"{"event":"start","interaction_id":"other"}"#)
        .await;
    let next = r#"{"event":"started","interaction_id":"other","next_seq":1}"#;
    assert_eq!(
        peer.heard(),
        [ack(3)],
        "the end of the first is not durable yet"
    );
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(peer.heard(), [next]);
}

#[tokio::test(start_paused = true)]
async fn the_next_call_is_answered_when_the_one_before_is_acked_whole() {
    let mut stage = Stage::new();
    let peer = stage.custom().await;
    peer.send_frames(3).await;
    peer.say(r#"{"event":"start","interaction_id":"second"}"#)
        .await;
    peer.send_frames(2).await;
    peer.say(r#"{"event":"start","interaction_id":"third"}"#)
        .await;
    assert_eq!(peer.heard(), [started(1)]);
    let begun =
        |call: &str| format!(r#"{{"event":"started","interaction_id":"{call}","next_seq":1}}"#);
    stage.lane.confirm(2);
    settle().await;
    assert!(peer.heard().is_empty(), "two of three are durable");
    stage.lane.confirm(1);
    settle().await;
    assert_eq!(peer.heard(), [ack(3), begun("second")]);
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(peer.heard(), [ack(2), begun("third")]);
}
