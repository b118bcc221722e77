//! The journal as the bridge over an outage of Redis (5.3, 5.5, 5.6): what is acked is safe, nothing is lost, nothing
//! comes twice, and order holds, whoever is killed.

use std::{path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    caller::{Caller, Socket},
    conversation::{
        assert_proves, assert_run, begin, begin_simple, frame, numbered, simple_start, speak, stop,
    },
    keys,
    redis::Redis,
    rig::setup,
    service::{Service, Setup, run},
    wait::{PATIENCE, until},
};

fn over(redis: &Redis, journal: &Path) -> Setup {
    setup(
        redis,
        &[("SUPPORT_EXOTEL", "true"), ("AUDIO_STREAM_MAXLEN", "0")],
    )
    .env("JOURNAL_DIR", &journal.display().to_string())
}

async fn custom(service: &Service) -> Socket {
    Caller::to(service).bearer(&keys::token()).connect().await
}

/// Reads answers until this frame is acked.
async fn acked(socket: &mut Socket, seq: u64) {
    loop {
        let answer = socket.next_json().await;
        assert_eq!(answer["event"], "ack", "{answer}");
        if answer["seq"].as_u64() >= Some(seq) {
            return;
        }
    }
}

async fn send(socket: &mut Socket, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        socket.json(&numbered(n, &frame(n))).await;
    }
}

async fn healthy(service: &Service) -> Value {
    until("the service to be healthy", async || {
        let health = service.health().await;
        (health["status"] == "healthy" && health["journal_bytes"] == 0).then_some(health)
    })
    .await
}

// 5.3, 3.8: while Redis is away frames are durable in the journal, and acked; /health says how long that can last.
#[tokio::test]
async fn calls_go_on_while_redis_is_away() {
    let mut redis = Redis::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let service = over(&redis, dir.path()).start().await;
    let mut socket = custom(&service).await;
    begin_simple(&mut socket, "bridged").await;
    send(&mut socket, 1..=20).await;
    acked(&mut socket, 20).await;
    redis.freeze();
    send(&mut socket, 21..=3000).await;
    acked(&mut socket, 3000).await;
    let health = until("health to notice", async || {
        let health = service.health().await;
        (health["journal_room_s"].is_u64()).then_some(health)
    })
    .await;
    assert_eq!(
        (&health["status"], &health["pubsub"]),
        (&json!("degraded"), &json!(false)),
        "{health}"
    );
    assert!(
        health["journal_bytes"].as_u64() > Some(1_000_000),
        "{health}"
    );
    redis.thaw();
    send(&mut socket, 3001..=3100).await;
    acked(&mut socket, 3100).await;
    socket.json(&json!({"event": "end"})).await;
    let end = redis.wait_for_end("bridged").await;
    let frames = redis.frames_of("bridged").await;
    assert_run(&frames, 1, 1, 3100);
    assert_proves(&end, &frames);
    healthy(&service).await;
    redis.kill().await;
}

// 5.6: a killed process loses nothing that was acked; the next start publishes it, once, before the call's newer frames.
#[tokio::test]
async fn what_was_acked_survives_a_kill() {
    let redis = Redis::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut service = over(&redis, dir.path()).start().await;
    let mut socket = custom(&service).await;
    begin_simple(&mut socket, "killed").await;
    send(&mut socket, 1..=20).await;
    acked(&mut socket, 20).await;
    // The frames behind these may or may not have arrived when the process is killed.
    redis.freeze();
    send(&mut socket, 21..=500).await;
    acked(&mut socket, 500).await;
    service.signal(Signal::KILL);
    service.exit().await;
    redis.thaw();

    let mut service = over(&redis, dir.path()).start().await;
    let mut socket = custom(&service).await;
    socket.json(&simple_start("killed")).await;
    assert_eq!(socket.next_json().await["next_seq"], 501, "3.8");
    send(&mut socket, 501..=510).await;
    let frames = redis.wait_for_frames("killed", 510).await;
    assert_run(&frames, 1, 1, 510);
    healthy(&service).await;
    service.signal(Signal::KILL);
    service.exit().await;
    let _third = over(&redis, dir.path()).start().await;
    assert_eq!(redis.frames_of("killed").await.len(), 510, "once");
}

// 5.4, 6.2: a full journal is said in the log, in /health and by /ready, and costs a custom client nothing.
#[tokio::test]
async fn a_full_journal_is_said() {
    let mut redis = Redis::absent();
    let dir = tempfile::tempdir().expect("a directory");
    let setup = over(&redis, dir.path()).env("JOURNAL_MAX_BYTES", "1048576");
    let service = setup.start().await;
    let mut socket = custom(&service).await;
    begin_simple(&mut socket, "full").await;
    send(&mut socket, 1..=3000).await;
    service.wait_for_log("The journal cannot be written").await;
    until("/ready to say no", async || {
        (service.get("/ready").await.status == 503).then_some(())
    })
    .await;
    let problems = service.health().await["problems"].to_string();
    assert!(problems.contains("JOURNAL_MAX_BYTES"), "{problems}");
    redis.revive().await;
    socket.json(&json!({"event": "end"})).await;
    let end = redis.wait_for_end("full").await;
    let frames = redis.frames_of("full").await;
    assert_run(&frames, 1, 1, 3000);
    assert_proves(&end, &frames);
    healthy(&service).await;
    assert_eq!(service.get("/ready").await.status, 200);
}

// 5.3: live calls catch up before the backlog of those that have ended.
#[tokio::test]
async fn live_calls_catch_up_first() {
    let mut redis = Redis::absent();
    let dir = tempfile::tempdir().expect("a directory");
    let service = over(&redis, dir.path()).start().await;
    let mut live = Caller::to(&service).connect().await;
    begin(&mut live, "live", 10).await;
    service
        .wait_for_log("Frames go to the journal from now on")
        .await;
    let mut ended = Caller::to(&service).connect().await;
    begin(&mut ended, "ended", 200).await;
    ended.json(&stop("ended")).await;
    ended.rest().await;
    speak(&mut live, 11, 400).await;
    redis.revive().await;
    let end = redis.wait_for_end("ended").await;
    let frames = redis.frames().await;
    let last = |call: &str| {
        frames
            .iter()
            .rposition(|frame| frame.interaction_id == call)
    };
    let first = |call: &str| frames.iter().position(|frame| frame.interaction_id == call);
    assert!(last("live") < first("ended"));
    let frames = redis.frames_of("ended").await;
    assert_run(&frames, 1, 1, 200);
    assert_proves(&end, &frames);
    speak(&mut live, 401, 420).await;
    live.json(&stop("live")).await;
    let end = redis.wait_for_end("live").await;
    let frames = redis.frames_of("live").await;
    assert_run(&frames, 1, 1, 420);
    assert_proves(&end, &frames);
}

// 5.3, 1.3: a second process in the same journal is refused, with what to do.
#[tokio::test]
async fn a_journal_belongs_to_one_process() {
    let redis = Redis::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let _first = over(&redis, dir.path()).start().await;
    let journal = dir.path().display().to_string();
    let env = [
        ("REDIS_URL", redis.url()),
        ("JOURNAL_DIR", journal),
        ("SUPPORT_EXOTEL", "true".to_owned()),
        ("PORT", "0".to_owned()),
    ];
    let env: Vec<_> = env
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let second = run(dir.path(), &env, &["serve"], PATIENCE).await;
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    let path = dir.path().display().to_string();
    assert!(
        second.stderr.contains(&path) && second.stderr.contains("JOURNAL_DIR"),
        "{}",
        second.stderr
    );
}

// 5.6: killed again and again in the middle of a catch-up, each frame is published once.
#[tokio::test]
async fn kills_in_the_middle_of_a_catch_up_repeat_nothing() {
    let mut redis = Redis::absent();
    let dir = tempfile::tempdir().expect("a directory");
    let mut service = over(&redis, dir.path()).start().await;
    let mut socket = custom(&service).await;
    begin_simple(&mut socket, "long").await;
    send(&mut socket, 1..=20_000).await;
    acked(&mut socket, 20_000).await;
    service.signal(Signal::KILL);
    service.exit().await;
    redis.revive().await;
    for round in 0..6 {
        let mut service = over(&redis, dir.path()).start().await;
        tokio::time::sleep(Duration::from_millis(round * 25)).await;
        service.signal(Signal::KILL);
        service.exit().await;
    }
    let service = over(&redis, dir.path()).start().await;
    healthy(&service).await;
    assert_run(&redis.wait_for_frames("long", 20_000).await, 1, 1, 20_000);
}

// 1.1: a journal whose server does not start again is published by hand, once.
#[tokio::test]
async fn a_journal_is_published_by_hand() {
    let mut redis = Redis::absent();
    let dir = tempfile::tempdir().expect("a directory");
    let mut service = over(&redis, dir.path()).start().await;
    let mut socket = custom(&service).await;
    begin_simple(&mut socket, "by-hand").await;
    send(&mut socket, 1..=300).await;
    acked(&mut socket, 300).await;
    let journal = dir.path().display().to_string();
    let url = redis.url();
    let args = ["replay", "--journal", &journal, "--redis", &url];
    let held = run(dir.path(), &[], &args, PATIENCE).await;
    assert_eq!(held.code, Some(1), "{held:?}");
    assert!(held.stderr.contains("another process"), "{held:?}");
    service.signal(Signal::KILL);
    service.exit().await;
    let absent = run(dir.path(), &[], &args, PATIENCE).await;
    assert_eq!(absent.code, Some(1), "{absent:?}");
    let left = format!("300 frames are left in {journal}");
    assert!(absent.stderr.contains(&left), "{absent:?}");
    redis.revive().await;
    for frames in [300, 0] {
        let outcome = run(dir.path(), &[], &args, PATIENCE).await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let said = format!("{frames} frames published; nothing is left in {journal}\n");
        assert_eq!(outcome.stdout, said);
    }
    assert_run(&redis.frames_of("by-hand").await, 1, 1, 300);
    let nowhere = ["replay", "--journal", "/nowhere", "--redis", &url];
    let outcome = run(dir.path(), &[], &nowhere, PATIENCE).await;
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("JOURNAL_DIR"), "{outcome:?}");
}

// 5.6: with another number of shards what was acked stands in directories of its own: it is said, and can be published.
#[tokio::test]
async fn what_another_number_of_shards_has_left_is_named() {
    let mut redis = Redis::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut service = over(&redis, dir.path()).start().await;
    let mut socket = custom(&service).await;
    begin_simple(&mut socket, "orphan").await;
    redis.kill().await;
    send(&mut socket, 1..=20).await;
    acked(&mut socket, 20).await;
    service.signal(Signal::KILL);
    service.exit().await;
    redis.revive().await;
    let two = over(&redis, dir.path()).env("AUDIO_STREAM_SHARDS", "2");
    let service = two.start().await;
    let problems = service.health().await["problems"].to_string();
    assert!(
        problems.contains("AUDIO_STREAM_SHARDS=1 rtaa-ingest replay"),
        "{problems}"
    );
    assert!(
        service
            .lines()
            .iter()
            .any(|line| line.contains("not published") && line.contains("AUDIO_STREAM_SHARDS=1"))
    );
    let path = dir.path().display().to_string();
    let url = redis.url();
    let args = ["replay", "--journal", &path, "--redis", &url];
    let one = [("AUDIO_STREAM_SHARDS", "1")];
    let outcome = run(dir.path(), &one, &args, PATIENCE).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_run(&redis.frames_of("orphan").await, 1, 1, 20);
}
