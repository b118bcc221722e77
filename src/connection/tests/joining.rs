//! What other connections of a call have not read yet when one joins it (3.8, 3.10).

use super::{Peer, Stage, ack, seconds, settle, started};
use crate::{
    frame::Sender,
    intake::Facts,
    websocket::tests::{BINARY, TEXT, from_client},
};

const START: &str = r#"{"event":"start","interaction_id":"i"}"#;

/// Puts messages into the socket that nobody reads before the test waits for something.
fn leave_unread(peer: &Peer, messages: impl IntoIterator<Item = Vec<u8>>) {
    for message in messages {
        peer.to.try_send(message).unwrap();
    }
}

fn audio(bytes: usize, count: usize) -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(from_client(BINARY, &vec![0; bytes]), count)
}

/// Connects, and starts the call in the next moment, before any other connection reads what comes after this.
async fn join(stage: &mut Stage) -> Peer {
    let peer = stage.connect(Facts::new(Sender::Custom, "t", ""));
    settle().await;
    leave_unread(&peer, [from_client(TEXT, START.as_bytes())]);
    peer
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_connection_has_not_read_counts() {
    for gone in [false, true] {
        let mut stage = Stage::new();
        let first = stage.custom().await;
        first.send_frames(3).await;
        let second = join(&mut stage).await;
        leave_unread(&first, audio(320, 500));
        let first = (!gone).then_some(first);
        settle().await;
        if let Some(first) = &first {
            seconds(0.09).await;
            // It was on its way.
            leave_unread(first, audio(320, 1));
        }
        seconds(0.02).await;
        assert!(second.heard().is_empty(), "nothing is durable");
        let sent = if gone { 503 } else { 504 };
        stage.lane.confirm(sent - 1);
        settle().await;
        assert!(second.heard().is_empty(), "one frame is not durable");
        stage.lane.confirm(1);
        settle().await;
        let next = sent as u64 + 1;
        assert_eq!(second.heard()[0], started(next), "gone: {gone}");
        second.send_frames(1).await;
        assert_eq!(stage.published(), [format!("frame {next}")]);
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_for_room_is_waited_for() {
    let mut stage = Stage::new();
    let first = stage.custom().await;
    leave_unread(&first, audio(100_000, 200));
    settle().await;
    let others = [join(&mut stage).await, join(&mut stage).await];
    for _ in 0..4 {
        seconds(1.0).await;
        assert!(others.iter().all(|other| other.heard().is_empty()));
        stage.lane.confirm_all();
    }
    for _ in 0..4 {
        stage.lane.confirm_all();
        seconds(0.2).await;
    }
    for other in others {
        assert_eq!(other.heard()[0], started(201));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_nothing_unread_delays_nobody_for_long() {
    let mut stage = Stage::new();
    let first = stage.custom().await;
    first.send_frames(4).await;
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(first.heard(), [started(1), ack(4)]);
    for _ in 0..3 {
        let next = stage.custom().await;
        seconds(0.09).await;
        assert!(next.heard().is_empty(), "something may be on its way");
        seconds(0.02).await;
        assert_eq!(next.heard()[0], started(5));
    }
    assert!(first.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_done_delays_nobody() {
    let mut stage = Stage::new();
    let first = stage.custom().await;
    first.send_frames(1).await;
    let second = join(&mut stage).await;
    let rest = audio(320, 2).chain([from_client(TEXT, b"nonsense")]);
    leave_unread(&first, rest.chain(audio(320, 100)));
    settle().await;
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(second.heard()[0], started(4));
}

// Its answer to the start that came before is due, and yet it is asked.
#[tokio::test(start_paused = true)]
async fn a_connection_whose_own_start_is_not_answered_is_asked_too() {
    let mut stage = Stage::new();
    let first = stage.custom().await;
    first.number(7).await;
    first.say(r#"{"event":"end"}"#).await;
    let second = stage.custom().await;
    let third = join(&mut stage).await;
    leave_unread(&second, audio(320, 70));
    seconds(0.2).await;
    stage.lane.confirm_all();
    settle().await;
    assert_eq!(second.heard()[0], started(8));
    assert_eq!(third.heard()[0], started(71));
}

// They have another sender, and while they are open they listen to nothing.
#[tokio::test(start_paused = true)]
async fn exotels_connections_are_not_asked() {
    let mut stage = Stage::new();
    let exotel = stage.exotel().await;
    exotel.send_frames(2).await;
    stage.lane.confirm_all();
    assert_eq!(stage.custom().await.heard()[0], started(3));
}
