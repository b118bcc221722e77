//! How calls end (4.3): exactly one record for each session, after its last frame, with the reason.
//! Ends by a word of the caller are recorded under `tests/wire`; the end by a signal is in `drain`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    conversation::{assert_proves, assert_run, begin, begin_simple, frame, speak, stop},
    rig::Rig,
    wait::{MOMENT, never, until},
};

/// The one end of a call, true of its frames.
async fn only_end(rig: &Rig, call: &str) -> Value {
    let end = rig.redis.wait_for_end(call).await;
    assert_proves(&end, &rig.redis.frames_of(call).await);
    never(MOMENT, "a second end", async || {
        rig.redis.ends_of(call).await.into_iter().nth(1)
    })
    .await;
    assert_eq!(end["complete"], true, "{end}");
    end
}

// 4.3, trap 9: the socket dies without a stop; the end comes after 5 s in which none took the call up.
#[tokio::test]
async fn a_dropped_socket_is_disconnected_after_five_seconds() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "dropped", 4).await;
    rig.redis.wait_for_frames("dropped", 4).await;
    let begun = Instant::now();
    drop(socket);
    let end = only_end(&rig, "dropped").await;
    let took = begun.elapsed();
    assert_eq!(end["reason"], "disconnected");
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(9),
        "{took:?}"
    );
}

// 4.3: a close frame without a stop ends the call as well.
#[tokio::test]
async fn a_close_frame_without_a_stop_ends_the_call() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "closed", 2).await;
    socket.hang_up().await;
    let end = only_end(&rig, "closed").await;
    let reason = end["reason"].as_str().unwrap_or("");
    assert!(["hangup", "disconnected"].contains(&reason), "{end}");
    rig.service.wait_for_log("Connection closed").await;
}

// 4.3: a stop, and then the socket dies before the close: one end, with the stop's reason.
#[tokio::test]
async fn a_stop_and_a_dead_socket_are_one_end() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "both", 3).await;
    socket.json(&stop("both")).await;
    drop(socket);
    assert_eq!(only_end(&rig, "both").await["reason"], "callended");
}

// 3.6: after the stop the server closes with 1000; audio that comes behind it belongs to no call.
#[tokio::test]
async fn nothing_is_published_after_the_stop() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "over", 2).await;
    socket.json(&stop("over")).await;
    for n in 3..=5 {
        socket.try_send(Message::binary(frame(n))).await;
    }
    let end = only_end(&rig, "over").await;
    assert_eq!(end["frames"], 2);
    assert_run(&rig.redis.frames().await, 1, 1, 2);
}

// 2 IDLE_TIMEOUT_S: neither messages nor pongs: closed with 1001, reason `idle_timeout`.
#[tokio::test]
async fn a_silent_peer_is_idle() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("IDLE_TIMEOUT_S", "2")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "idle", 2).await;
    let begun = Instant::now();
    // Not reading, so that no ping is answered.
    let end = only_end(&rig, "idle").await;
    assert_eq!(end["reason"], "idle_timeout");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(socket.rest().await.code, Some(1001));
}

// 2 MAX_CALL_S: closed with 1000, reason `max_duration`, however busy the call is.
#[tokio::test]
async fn a_call_has_a_longest_duration() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("MAX_CALL_S", "1")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "endless", 1).await;
    let code = until("the close", async || {
        socket.try_send(Message::binary(frame(2))).await;
        socket.heard_within(Duration::from_millis(10)).await;
        rig.redis.ends_of("endless").await.into_iter().next()
    })
    .await;
    assert_eq!(code["reason"], "max_duration");
    assert_eq!(only_end(&rig, "endless").await["reason"], "max_duration");

    let mut quiet = rig.exotel().await;
    begin(&mut quiet, "quiet", 1).await;
    assert_eq!(quiet.rest().await.code, Some(1000));
}

// 3.9, 4.3: a hundred bad messages in a row close with 1007, reason `bad_input`.
#[tokio::test]
async fn a_hundred_bad_messages_end_the_call() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "garbage", 2).await;
    for _ in 0..100 {
        socket.try_send(Message::text("{not json")).await;
    }
    assert_eq!(socket.rest().await.code, Some(1007));
    let end = only_end(&rig, "garbage").await;
    assert_eq!(end["reason"], "bad_input");
    assert_eq!(end["frames"], 2);
}

// 3.9, 4.3: a message over MAX_MESSAGE_BYTES closes with 1009, reason `bad_input`.
#[tokio::test]
async fn an_oversized_message_ends_the_call() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("MAX_MESSAGE_BYTES", "2000")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "large", 2).await;
    socket.try_send(Message::binary(vec![0; 2_002])).await;
    assert_eq!(socket.rest().await.code, Some(1009));
    assert_eq!(only_end(&rig, "large").await["reason"], "bad_input");
}

// 4.3: each session of a call has its end, and a call that never said anything has none of a stranger's.
#[tokio::test]
async fn each_session_has_one_end() {
    let rig = Rig::open().await;
    for _ in 0..3 {
        let mut socket = rig.exotel().await;
        begin(&mut socket, "again", 2).await;
        socket.json(&stop("again")).await;
        assert_eq!(socket.rest().await.code, Some(1000));
    }
    let ends = until("three ends", async || {
        let ends = rig.redis.ends_of("again").await;
        (ends.len() >= 3).then_some(ends)
    })
    .await;
    let frames = rig.redis.frames_of("again").await;
    let mut sessions = Vec::new();
    for end in &ends {
        let own: Vec<_> = frames
            .iter()
            .filter(|frame| end["session"] == frame.session)
            .cloned()
            .collect();
        assert_run(&own, 1, 1, 2);
        assert_proves(end, &own);
        sessions.push(end["session"].as_u64());
    }
    assert!(
        sessions.is_sorted_by(|a, b| a < b),
        "3.10: each session is larger: {sessions:?}"
    );
}

// 3.6, 3.8: a custom client's `end` is acked, published and closed with 1000.
#[tokio::test]
async fn a_custom_clients_end_is_acked_and_closed() {
    let rig = Rig::with(&[]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "ended").await;
    socket.binary(frame(1)).await;
    socket.json(&json!({"event": "end"})).await;
    let rest = socket.rest().await;
    assert_eq!(rest.code, Some(1000));
    let last = rest.texts.last().expect("an ack");
    assert_eq!((&last["event"], &last["seq"]), (&json!("ack"), &json!(1)));
    assert_eq!(only_end(&rig, "ended").await["reason"], "end");
}

// 4.3: audio that goes on after a lost message frame is part of the same, single end.
#[tokio::test]
async fn a_long_call_has_one_end() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "many", 300).await;
    speak(&mut socket, 301, 600).await;
    socket.json(&stop("many")).await;
    let end = only_end(&rig, "many").await;
    assert_eq!(
        (&end["frames"], &end["duration_ms"]),
        (&json!(600), &json!(12_000))
    );
}
