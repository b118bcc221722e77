//! The upgrade itself: what is negotiated, what is refused and how it looks, and the limits on
//! connections (3.1, and the settings that bound them).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    caller::Caller,
    conversation::begin,
    keys,
    redis::Redis,
    rig::{Rig, setup},
    wait::until,
};

// 3.1: an ordinary GET gets 426 with a JSON body that says how to connect.
#[tokio::test]
async fn a_plain_get_is_told_to_upgrade() {
    let rig = Rig::open().await;
    for path in ["/v1/ingest", "/v1/ingest/some-token", "/ws/voicebot/abc"] {
        let answer = rig.service.get(path).await;
        assert_eq!(answer.status, 426, "{path}");
        assert!(answer.json().is_object(), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
}

// 3.1, trap 12: nothing is negotiated that was not offered; what is answered was offered.
#[tokio::test]
async fn only_what_was_offered_is_negotiated() {
    let rig = Rig::open().await;
    let bare = rig.exotel().await;
    assert_eq!(bare.answer.header("sec-websocket-extensions"), None);
    assert_eq!(bare.answer.header("sec-websocket-protocol"), None);
    let offering = rig
        .caller()
        .header("Sec-WebSocket-Protocol", "chat, superchat");
    let socket = offering.connect().await;
    let chosen = socket.answer.header("sec-websocket-protocol");
    assert!(
        chosen.is_none_or(|name| ["chat", "superchat"].contains(&name)),
        "{chosen:?}"
    );
    let custom = rig.custom().await;
    assert_eq!(custom.answer.header("sec-websocket-protocol"), None);
    assert_eq!(custom.answer.header("sec-websocket-extensions"), None);
}

// 6.8: every response carries x-request-id, and no two the same.
#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_ALLOWED_IPS", "127.0.0.1"),
    ])
    .await;
    let answers = [
        rig.service.get("/health").await,
        rig.service.get("/ready").await,
        rig.service.get("/nowhere").await,
        rig.service.get("/v1/ingest").await,
        rig.caller().bearer("bad").refused().await,
        rig.caller().host("::1").refused().await,
        rig.exotel().await.answer.clone(),
    ];
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 404, 426, 401, 403, 101]);
    let mut ids: Vec<&str> = answers
        .iter()
        .filter_map(|answer| answer.header("x-request-id"))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), answers.len(), "{ids:?}");
}

// 2 MAX_CONNECTIONS: beyond it 503 with Retry-After; a place that becomes free is given away.
#[tokio::test]
async fn too_many_connections_are_told_to_come_back() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("MAX_CONNECTIONS", "2")]).await;
    let first = rig.exotel().await;
    let mut second = rig.exotel().await;
    for caller in [rig.caller(), rig.caller().bearer(&keys::token())] {
        let answer = caller.refused().await;
        assert_eq!(answer.status, 503);
        let wait = answer
            .header("retry-after")
            .and_then(|seconds| seconds.parse::<u32>().ok());
        assert!(wait.is_some(), "Retry-After in seconds");
        assert!(answer.header("x-request-id").is_some());
    }
    begin(&mut second, "still-here", 1).await;
    rig.redis.wait_for_frames("still-here", 1).await;
    drop(first);
    until("a place to become free", async || {
        rig.caller().dial().await.ok()
    })
    .await;
}

// 2 MAX_CONNECTIONS_PER_IP: beyond it 429, for that address only, behind a proxy for the client's.
#[tokio::test]
async fn too_many_connections_of_one_address_are_refused() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("MAX_CONNECTIONS_PER_IP", "1"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ])
    .await;
    let first = rig.exotel().await;
    assert_eq!(rig.caller().refused().await.status, 429);
    let _other = rig.caller().host("::1").connect().await;
    let client = rig.caller().header("X-Forwarded-For", "203.0.113.7");
    let _proxied = client.connect().await;
    assert_eq!(client.refused().await.status, 429);
    drop(first);
    until("the place to become free", async || {
        rig.caller().dial().await.ok()
    })
    .await;
}

// 2 HANDSHAKE_TIMEOUT_S: headers that never end do not hold a socket.
#[tokio::test]
async fn slow_headers_are_cut_off() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("HANDSHAKE_TIMEOUT_S", "1")]).await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(("127.0.0.1", rig.service.port()))
        .await
        .expect("accepted");
    let mut slow = TcpStream::connect(("127.0.0.1", rig.service.port()))
        .await
        .expect("accepted");
    slow.write_all(b"GET /v1/ingest HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .await
        .expect("read");
    for socket in [&mut silent, &mut slow] {
        let mut answer = Vec::new();
        timeout(Duration::from_secs(5), socket.read_to_end(&mut answer))
            .await
            .expect("closed in time")
            .ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    rig.exotel().await;
}

// 3.1, trap 11: the handshake never waits for Redis, nor does /health (6.1).
#[tokio::test]
async fn a_stalled_redis_does_not_slow_the_upgrade() {
    let rig = Rig::open().await;
    rig.redis.freeze();
    let begun = Instant::now();
    let mut exotel = rig.exotel().await;
    let mut custom = rig.custom().await;
    rig.service.health().await;
    let took = begun.elapsed();
    rig.redis.thaw();
    assert!(took < Duration::from_secs(1), "{took:?}");
    begin(&mut exotel, "after-stall", 1).await;
    crate::conversation::begin_simple(&mut custom, "after-stall-2").await;
    rig.redis.wait_for_frames("after-stall", 1).await;
}

// 3.1, trap 11: the same with a Redis that is not there at all.
#[tokio::test]
async fn an_absent_redis_does_not_slow_the_upgrade() {
    let redis = Redis::absent();
    let service = setup(&redis, &[("SUPPORT_EXOTEL", "true")]).start().await;
    let begun = Instant::now();
    Caller::to(&service).connect().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

// 8.2: the phrases that runbooks search for, in an accepted upgrade and a refused one.
#[tokio::test]
async fn upgrades_are_logged_in_the_words_of_the_runbooks() {
    let rig = Rig::open().await;
    let path = "/v1/ingest?CallSid=c1&mystery=do-not-log-me";
    let mut socket = rig.caller().path(path).connect().await;
    begin(&mut socket, "logged", 101).await;
    socket.hang_up().await;
    for phrase in [
        "WebSocket upgrade attempt detected",
        "WebSocket upgrade request received",
        "Exotel WebSocket upgrade request accepted",
        "New Exotel WebSocket connection",
        "Start event received",
        "Published audio frame",
        "Connection closed",
    ] {
        rig.service.wait_for_log(phrase).await;
    }
    until("the 100th frame to be logged", async || {
        let lines = rig.service.logged("Published audio frame");
        let seqs: Vec<u64> = lines
            .iter()
            .filter_map(|line| crate::service::field(line, "seq")?.as_u64())
            .collect();
        (seqs == [1, 100]).then_some(())
    })
    .await;
    assert!(rig.service.logged("Authentication failed").is_empty());
    // 8.1: query strings without values of unknown parameters.
    let lines = rig.service.lines();
    assert!(lines.iter().all(|line| !line.contains("do-not-log-me")));
    rig.caller().bearer("bad").refused().await;
    rig.service.wait_for_log("Authentication failed").await;
}
