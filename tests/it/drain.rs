//! The end of the process (1.4): live calls go on, new ones are refused, and every frame is durable
//! before it exits.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    caller::Caller,
    conversation::{assert_proves, assert_run, begin, speak, stop},
    redis::Redis,
    rig::{Rig, setup},
    service::field,
    wait::until,
};

// 1.4: SIGTERM or SIGINT lets a live call go on, refuses new ones, and exits 0 when it has ended.
#[tokio::test]
async fn a_drain_waits_for_live_calls() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut rig = Rig::open().await;
        let mut socket = rig.exotel().await;
        begin(&mut socket, "live", 3).await;
        rig.redis.wait_for_frames("live", 3).await;
        rig.service.signal(signal);
        until("/ready to say no", async || {
            (rig.service.get("/ready").await.status == 503).then_some(())
        })
        .await;
        assert_eq!(rig.caller().refused().await.status, 503);
        assert_eq!(rig.service.get("/health").await.status, 200);
        speak(&mut socket, 4, 10).await;
        assert_run(&rig.redis.wait_for_frames("live", 10).await, 1, 1, 10);
        assert!(rig.service.is_running());
        socket.json(&stop("live")).await;
        assert_eq!(socket.rest().await.code, Some(1000));
        let end = rig.redis.wait_for_end("live").await;
        assert_eq!(end["reason"], "callended");
        let status = rig.service.exit_within(Duration::from_secs(5)).await;
        assert_eq!(status.code(), Some(0));
    }
}

// 1.4: after DRAIN_TIMEOUT_S live calls are closed with 1001, their end has reason `shutdown`.
#[tokio::test]
async fn a_drain_has_an_end() {
    let mut rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("DRAIN_TIMEOUT_S", "1")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "cut", 25).await;
    let begun = Instant::now();
    rig.service.terminate();
    assert_eq!(socket.rest().await.code, Some(1001));
    assert!(
        begun.elapsed() > Duration::from_millis(800),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(rig.service.exit().await.code(), Some(0));
    let end = rig.redis.wait_for_end("cut").await;
    assert_eq!(end["reason"], "shutdown");
    let frames = rig.redis.frames_of("cut").await;
    assert_run(&frames, 1, 1, 25);
    assert_proves(&end, &frames);
}

// 1.4: without a call it exits at once; calls that wait for a reconnect are ended at once.
#[tokio::test]
async fn waiting_calls_are_ended_at_once() {
    let mut rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "waiting", 2).await;
    rig.redis.wait_for_frames("waiting", 2).await;
    drop(socket);
    rig.service.wait_for_log("Connection closed").await;
    rig.service.terminate();
    assert_eq!(
        rig.service.exit_within(Duration::from_secs(3)).await.code(),
        Some(0)
    );
    assert_eq!(
        rig.redis.wait_for_end("waiting").await["reason"],
        "disconnected"
    );
}

// 1.4: a second signal exits at once with 1.
#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let mut rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "impatient", 1).await;
    rig.redis.wait_for_frames("impatient", 1).await;
    rig.service.terminate();
    until("the drain to begin", async || {
        (rig.service.get("/ready").await.status == 503).then_some(())
    })
    .await;
    rig.service.terminate();
    assert_eq!(
        rig.service.exit_within(Duration::from_secs(3)).await.code(),
        Some(1)
    );
}

// 1.4, 8.1: what Redis has not taken by the end is in the journal, and the last line says where and what to do; the
// next start publishes it.
#[tokio::test]
async fn what_is_left_at_the_end_is_in_the_journal() {
    let mut redis = Redis::absent();
    let journal = tempfile::tempdir().expect("a directory");
    let journal = journal.path().display().to_string();
    let settings = [
        ("SUPPORT_EXOTEL", "true"),
        ("DRAIN_TIMEOUT_S", "1"),
        ("JOURNAL_DIR", &journal),
    ];
    let mut service = setup(&redis, &settings).start().await;
    let mut socket = Caller::to(&service).connect().await;
    begin(&mut socket, "left", 10).await;
    service.terminate();
    assert_eq!(socket.rest().await.code, Some(1001));
    assert_eq!(service.exit().await.code(), Some(0));
    let lines = service.lines();
    let told: Value = serde_json::from_str(lines.last().expect("a line")).expect("JSON");
    assert_eq!(told["level"], "ERROR");
    assert_eq!(field(&told, "frames"), Some(&10.into()), "{told}");
    assert_eq!(
        field(&told, "dir"),
        Some(&journal.as_str().into()),
        "{told}"
    );
    let command = format!("rtaa-ingest replay --journal {journal}");
    assert_eq!(
        field(&told, "publish_with"),
        Some(&command.into()),
        "{told}"
    );
    redis.revive().await;
    let _next = setup(&redis, &settings).start().await;
    let end = redis.wait_for_end("left").await;
    assert_eq!(end["reason"], "shutdown");
    let frames = redis.frames_of("left").await;
    assert_run(&frames, 1, 1, 10);
    assert_proves(&end, &frames);
    assert_eq!(redis.events_of("left", "start").await.len(), 1);
}
