//! Redis away, late, refusing or gone in the middle of a call (5.3, 5.5, 5.7), and the service killed
//! (5.6): calls go on, order holds, and `/health` says what is wrong.

use std::time::Duration;

use serde_json::json;

use crate::{
    caller::Caller,
    conversation::{assert_proves, assert_run, begin, speak, start, stop},
    proxy::Proxy,
    redis::Redis,
    rig::{Rig, setup},
    service::Service,
    wait::{until, within},
};

/// Waits until `/health` says what it must of Redis.
async fn degraded(service: &Service, pubsub: bool) -> serde_json::Value {
    within(Duration::from_secs(11), "health to notice", async || {
        let health = service.health().await;
        (health["pubsub"] == pubsub).then_some(health)
    })
    .await
}

// 5.3: Redis absent at start: the service is up, says so, and publishes once Redis comes.
#[tokio::test]
async fn redis_may_come_later() {
    let mut redis = Redis::absent();
    let service = setup(&redis, &[("SUPPORT_EXOTEL", "true")]).start().await;
    let health = degraded(&service, false).await;
    assert_eq!(health["status"], "degraded");
    let problems = health["problems"].as_array().expect("a list");
    assert!(
        !problems.is_empty() && problems.iter().all(serde_json::Value::is_string),
        "{health}"
    );
    assert_eq!(service.get("/ready").await.status, 200, "5.3: calls go on");
    let mut socket = Caller::to(&service).connect().await;
    begin(&mut socket, "early", 20).await;
    redis.revive().await;
    speak(&mut socket, 21, 30).await;
    let frames = redis.wait_for_frames("early", 30).await;
    socket.json(&stop("early")).await;
    assert_run(&frames, 1, 1, 30);
    assert_proves(&redis.wait_for_end("early").await, &frames);
    assert_eq!(degraded(&service, true).await["status"], "healthy");
}

// 5.3: Redis killed in the middle of a call: frames resume, nothing that was sent after is forgotten.
#[tokio::test]
async fn redis_may_die_and_come_back() {
    let mut rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "survives", 10).await;
    rig.redis.wait_for_frames("survives", 10).await;
    rig.redis.kill().await;
    speak(&mut socket, 11, 60).await;
    assert_eq!(degraded(&rig.service, false).await["status"], "degraded");
    speak(&mut socket, 61, 80).await;
    rig.redis.revive().await;
    speak(&mut socket, 81, 100).await;
    socket.json(&stop("survives")).await;
    let end = rig.redis.wait_for_end("survives").await;
    assert_run(&rig.redis.frames_of("survives").await, 11, 11, 100);
    assert_eq!(
        (&end["frames"], &end["gaps"], &end["last_seq"]),
        (&json!(100), &json!(0), &json!(100))
    );
}

// 5.5: Redis stalls while it is written to: neither a hole nor a duplicate.
#[tokio::test]
async fn a_stall_leaves_neither_hole_nor_duplicate() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "stalled", 10).await;
    rig.redis.wait_for_frames("stalled", 10).await;
    rig.redis.freeze();
    speak(&mut socket, 11, 60).await;
    degraded(&rig.service, false).await;
    speak(&mut socket, 61, 70).await;
    rig.redis.thaw();
    speak(&mut socket, 71, 90).await;
    socket.json(&stop("stalled")).await;
    let end = rig.redis.wait_for_end("stalled").await;
    let frames = rig.redis.frames_of("stalled").await;
    assert_run(&frames, 1, 1, 90);
    assert_proves(&end, &frames);
}

// 5.5: the connection breaks at any byte of a request or a reply, also of those that look for what arrived.
#[tokio::test]
async fn connections_cut_at_any_byte_leave_neither_hole_nor_duplicate() {
    for seed in 1..=6 {
        let redis = Redis::start().await;
        let proxy = Proxy::start(redis.port(), seed).await;
        let env = [("SUPPORT_EXOTEL", "true"), ("REDIS_URL", &proxy.url())];
        let rig = Rig::over(redis, &env).await;
        let mut sockets = Vec::new();
        for call in ["one", "two", "three"] {
            let mut socket = rig.exotel().await;
            socket.json(&start(call)).await;
            sockets.push((call, socket));
        }
        let mut spoken = 0;
        while proxy.cuts() < 10 {
            for (_, socket) in &mut sockets {
                speak(socket, spoken + 1, spoken + 5).await;
            }
            spoken += 5;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.heal();
        for (call, socket) in &mut sockets {
            socket.json(&stop(call)).await;
            let end = rig.redis.wait_for_end(call).await;
            let frames = rig.redis.frames_of(call).await;
            assert_run(&frames, 1, 1, spoken);
            assert_proves(&end, &frames);
            assert_eq!(rig.redis.ends_of(call).await.len(), 1, "seed {seed}");
            let started = rig.redis.events_of(call, "start").await.len();
            assert_eq!(started, 1, "seed {seed}");
        }
    }
}

// 5.5: the connection is cut again and again while calls talk: neither a hole nor a duplicate.
#[tokio::test]
async fn cut_connections_leave_neither_hole_nor_duplicate() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    socket.json(&start("cut")).await;
    for round in 0..10 {
        speak(&mut socket, round * 30 + 1, round * 30 + 30).await;
        rig.redis
            .tell::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
    }
    socket.json(&stop("cut")).await;
    let end = rig.redis.wait_for_end("cut").await;
    let frames = rig.redis.frames_of("cut").await;
    assert_run(&frames, 1, 1, 300);
    assert_proves(&end, &frames);
}

// 5.3: Redis out of memory refuses writes: calls go on, and all comes through when it takes them again.
#[tokio::test]
async fn a_full_redis_is_waited_out() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "full", 5).await;
    rig.redis.wait_for_frames("full", 5).await;
    rig.redis
        .tell::<String>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    speak(&mut socket, 6, 20).await;
    let health = degraded(&rig.service, false).await;
    let problems = health["problems"].to_string().to_lowercase();
    assert!(
        problems.contains("memory") || problems.contains("oom"),
        "{problems}"
    );
    rig.redis
        .tell::<String>(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    speak(&mut socket, 21, 30).await;
    assert_run(&rig.redis.wait_for_frames("full", 30).await, 1, 1, 30);
}

// 5.7: a wrong key type is said by name, with what to do; put right, all comes through.
#[tokio::test]
async fn a_wrong_key_type_is_named() {
    let redis = Redis::start().await;
    redis
        .tell::<String>(&["SET", "audio_stream", "not a stream"])
        .await;
    let rig = Rig::over(redis, &[("SUPPORT_EXOTEL", "true")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "mistyped", 5).await;
    let problems = until("the problem to be named", async || {
        let problems = rig.service.health().await["problems"].to_string();
        problems.contains("audio_stream").then_some(problems)
    })
    .await;
    let logged = rig
        .service
        .lines()
        .iter()
        .any(|line| line.contains("WRONGTYPE") || line.contains("audio_stream"));
    assert!(logged, "{problems}");
    rig.redis.tell::<u64>(&["DEL", "audio_stream"]).await;
    assert_run(&rig.redis.wait_for_frames("mistyped", 5).await, 1, 1, 5);
}

// 5.7, 8.1: a wrong password is said, without the password.
#[tokio::test]
async fn a_wrong_password_is_named_but_not_shown() {
    let redis = Redis::start().await;
    redis
        .tell::<String>(&["CONFIG", "SET", "requirepass", "right-one"])
        .await;
    let url = redis.url().replace("redis://", "redis://:wrong-hunter2@");
    let service = setup(&redis, &[("SUPPORT_EXOTEL", "true"), ("REDIS_URL", &url)])
        .start()
        .await;
    let problems = until("the problem to be named", async || {
        let problems = service.health().await["problems"]
            .to_string()
            .to_lowercase();
        ["password", "auth"]
            .iter()
            .any(|word| problems.contains(word))
            .then_some(problems)
    })
    .await;
    assert!(!problems.contains("wrong-hunter2"), "{problems}");
    assert!(
        service
            .lines()
            .iter()
            .all(|line| !line.contains("wrong-hunter2"))
    );
}

// 5.3, 5.7: the ends of calls are refused, and there is an outage besides: audio goes on, the key is named, and no end is
// forgotten or repeated.
#[tokio::test]
async fn refused_ends_do_not_hold_up_audio() {
    let redis = Redis::start().await;
    redis
        .tell::<String>(&["SET", "call_end", "not a stream"])
        .await;
    let rig = Rig::over(redis, &[("SUPPORT_EXOTEL", "true")]).await;
    let mut talks = rig.exotel().await;
    begin(&mut talks, "talks", 10).await;
    let calls: Vec<_> = (0..40).map(|n| format!("short-{n}")).collect();
    for call in &calls {
        let mut socket = rig.exotel().await;
        begin(&mut socket, call, 2).await;
        socket.json(&stop(call)).await;
    }
    until("the key to be named", async || {
        let problems = rig.service.health().await["problems"].to_string();
        problems.contains("call_end").then_some(())
    })
    .await;
    rig.redis.freeze();
    speak(&mut talks, 11, 60).await;
    until("the outage to be noticed", async || {
        let problems = rig.service.health().await["problems"].to_string();
        (!problems.contains("call_end")).then_some(())
    })
    .await;
    speak(&mut talks, 61, 90).await;
    rig.redis.thaw();
    rig.redis.wait_for_frames("talks", 90).await;
    speak(&mut talks, 91, 120).await;
    assert_run(&rig.redis.wait_for_frames("talks", 120).await, 1, 1, 120);
    rig.redis.tell::<u64>(&["DEL", "call_end"]).await;
    talks.json(&stop("talks")).await;
    for call in &calls {
        rig.redis.wait_for_end(call).await;
        assert_eq!(rig.redis.frames_of(call).await.len(), 2, "{call}");
    }
    assert_proves(
        &rig.redis.wait_for_end("talks").await,
        &rig.redis.frames_of("talks").await,
    );
    for call in &calls {
        assert_eq!(rig.redis.ends_of(call).await.len(), 1, "{call}");
    }
}
