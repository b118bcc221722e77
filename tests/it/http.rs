//! The HTTP side that needs no Exotel (6.1, 6.2, 6.4, 6.5, 6.8), and the journal as destination.

use serde_json::json;

use crate::{
    caller::Caller,
    conversation::{begin, stop},
    rig::Rig,
    service::Setup,
    wait::until,
};

// 6.1: the fields that existing probes read, and those beyond.
#[tokio::test]
async fn health_has_its_fields() {
    let rig = Rig::open().await;
    let health = until("a healthy service", async || {
        let health = rig.service.health().await;
        (health["status"] == "healthy").then_some(health)
    })
    .await;
    let expected = json!({"service": "ingest", "pubsub": true, "adapter": "redis_streams", "exotel_auth": "open",
        "jwt": true, "active_calls": 0, "version": env!("CARGO_PKG_VERSION")});
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&health[name], value, "{name} of {health}");
    }
    for name in ["journal_bytes", "uptime_s"] {
        assert!(health[name].is_number(), "{name} of {health}");
    }
    assert!(health["problems"].is_array(), "{health}");
    let time = health["timestamp"].as_str().expect("a timestamp");
    let shape = time.len() >= 20
        && time.as_bytes()[10] == b'T'
        && (time.ends_with('Z') || time.contains('+'));
    assert!(shape, "RFC 3339: {time}");
    let answer = rig.service.get("/health").await;
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
    );
}

// 6.1: active_calls counts calls.
#[tokio::test]
async fn health_counts_active_calls() {
    let rig = Rig::open().await;
    let mut sockets = Vec::new();
    for call in ["one", "two"] {
        let mut socket = rig.exotel().await;
        begin(&mut socket, call, 1).await;
        sockets.push(socket);
    }
    let calls = async |count: u64| {
        until("the number of calls", async || {
            (rig.service.health().await["active_calls"] == count).then_some(())
        })
        .await;
    };
    calls(2).await;
    sockets[0].json(&stop("one")).await;
    calls(1).await;
}

// 6.2: ready while it serves.
#[tokio::test]
async fn a_serving_service_is_ready() {
    let rig = Rig::open().await;
    assert_eq!(rig.service.get("/ready").await.status, 200);
}

// 6.8: unknown paths: 404 JSON with an id.
#[tokio::test]
async fn unknown_paths_are_404_json() {
    let rig = Rig::open().await;
    for path in [
        "/",
        "/v2/ingest",
        "/v1/ingest/a/b/c",
        "/.env",
        "/health/../etc/passwd",
        "/%00",
    ] {
        let answer = rig.service.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json().is_object(), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
}

// 2 PUBSUB_ADAPTER, 6.1: without REDIS_URL the journal is the destination, and `problems` says so.
#[tokio::test]
async fn without_redis_the_journal_is_the_destination() {
    let service = Setup::new().env("SUPPORT_EXOTEL", "true").start().await;
    let health = service.health().await;
    assert_eq!(
        (&health["adapter"], &health["pubsub"]),
        (&json!("journal"), &json!(true))
    );
    assert!(
        health["problems"].to_string().contains("REDIS_URL"),
        "{health}"
    );
    let mut socket = Caller::to(&service).connect().await;
    begin(&mut socket, "kept", 50).await;
    socket.json(&stop("kept")).await;
    assert_eq!(socket.rest().await.code, Some(1000));
    assert!(service.dir().join("data/journal").is_dir(), "2 JOURNAL_DIR");
    until("the journal to grow", async || {
        service.health().await["journal_bytes"]
            .as_u64()
            .filter(|bytes| *bytes > 50 * 320)
    })
    .await;
    assert_eq!(
        crate::service::field(&service.wait_for_log("listening").await, "adapter"),
        Some(&json!("journal"))
    );
}

// 6.1: meant as the destination, the journal is no problem.
#[tokio::test]
async fn a_journal_that_is_meant_is_no_problem() {
    let service = Setup::new()
        .env("SUPPORT_EXOTEL", "true")
        .env("PUBSUB_ADAPTER", "journal")
        .start()
        .await;
    let health = service.health().await;
    assert!(
        !health["problems"].to_string().contains("REDIS_URL"),
        "{health}"
    );
    assert_eq!(health["pubsub"], true);
}
