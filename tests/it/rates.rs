//! Audio that arrives at another rate than the one declared (4.4 `rate_mismatch`), paced as a telephone paces it.

use std::time::Duration;

use serde_json::json;
use tokio::time::interval;

use crate::{
    caller::Socket,
    conversation::{media, pcm, start, stop},
    redis::Redis,
    rig::Rig,
    service::field,
    wait::until,
};

/// Frames of 20 ms in real time, each of so many bytes, until the call has this many of such events.
pub(crate) async fn speak_until_told(socket: &mut Socket, redis: &Redis, call: &str, bytes: usize) {
    let mut pace = interval(Duration::from_millis(20));
    for n in 1..=600 {
        pace.tick().await;
        socket.json(&media(n, &pcm(n, bytes))).await;
        if n % 25 == 0 && !redis.events_of(call, "rate_mismatch").await.is_empty() {
            return;
        }
    }
    panic!("no rate_mismatch of {call} within 12 s");
}

// 4.4: 16 kHz audio that was declared as 8 kHz is told once, as an event and in the log, with what to do.
#[tokio::test]
async fn audio_of_another_rate_is_told_once() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    socket.json(&start("double")).await;
    speak_until_told(&mut socket, &rig.redis, "double", 640).await;
    let mut pace = interval(Duration::from_millis(20));
    for n in 601..=750 {
        pace.tick().await;
        socket.json(&media(n, &pcm(n, 640))).await;
    }
    socket.json(&stop("double")).await;
    rig.redis.wait_for_end("double").await;
    let events = rig.redis.events_of("double", "rate_mismatch").await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!(event["tenant_id"], "someacct1");
    assert_eq!(
        (&event["declared"], &event["measured"]),
        (&json!(8000), &json!(16_000))
    );
    let warned = until("the warning", async || {
        let lines = rig.service.logged("Unexpected on this connection");
        lines.into_iter().next()
    })
    .await;
    let detail = field(&warned, "detail").and_then(|detail| detail.as_str());
    let detail = detail.expect("the warning says what");
    assert!(
        detail.starts_with("declared 8000 Hz, arriving like 16000 Hz: add ?sample-rate=16000 "),
        "{detail}"
    );
}

// 4.4: neither audio of the declared rate nor a call that is played faster than it was spoken is told.
#[tokio::test]
async fn audio_of_the_declared_rate_is_not_told_however_fast() {
    let rig = Rig::open().await;
    let url = rig.service.url();
    let play = async |prefix: &str, more: &[&str]| {
        let args = [
            "simulate",
            "--url",
            &url,
            "--calls",
            "3",
            "--call-prefix",
            prefix,
        ];
        rig.command(&[&args, more].concat()).await
    };
    let (one, other) = tokio::join!(
        play("real", &["--duration", "8s"]),
        play("twice", &["--duration", "16s", "--speed", "2"])
    );
    assert_eq!(
        (one.code, other.code),
        (Some(0), Some(0)),
        "{one:?} {other:?}"
    );
    until("six ends", async || {
        (rig.redis.records("call_end").await.len() == 6).then_some(())
    })
    .await;
    let events = rig.redis.records("call_events").await;
    assert!(
        events.iter().all(|event| event["type"] != "rate_mismatch"),
        "{events:?}"
    );
}
