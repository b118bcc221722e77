//! The HTTP side that needs no Exotel (6.1, 6.2, 6.4, 6.5, 6.8), and the journal as destination.

use serde_json::{Value, json};

use crate::{
    caller::Caller,
    conversation::{begin, stop},
    request::Request,
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

// 6.4: the metrics by name, in Prometheus text, no label with a call, tenant or address.
#[tokio::test]
async fn metrics_have_their_names() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "a-secret-call", 3).await;
    rig.redis.wait_for_frames("a-secret-call", 3).await;
    rig.caller().bearer("bad").refused().await;
    let metrics = until("three published frames", async || {
        let body = rig.service.get("/metrics").await.body;
        body.lines()
            .any(|line| line == "ingest_frames_published_total 3")
            .then_some(body)
    })
    .await;
    for name in [
        "ingest_connections_active{protocol=\"exotel\"} 1",
        "ingest_calls_active 1",
        "ingest_handshakes_total{",
        "ingest_frames_received_total{dialect=\"exotel\"} 3",
        "ingest_audio_bytes_received_total 960",
        "ingest_frames_journaled_total 0",
        "ingest_publish_seconds_bucket{",
        "ingest_publish_seconds_count",
        "ingest_publish_batch_frames_bucket{",
        "ingest_redis_up 1",
        "ingest_redis_reconnects_total",
        "ingest_journal_bytes",
        "ingest_journal_oldest_seconds",
        "ingest_outbound_frames_total",
        "ingest_outbound_dropped_total",
        "ingest_draining 0",
        "ingest_build_info{version=",
        "process_",
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(name)),
            "{name} in {metrics}"
        );
    }
    for secret in ["a-secret-call", "someacct1", "127.0.0.1"] {
        assert!(!metrics.contains(secret), "{secret}");
    }
}

// 6.5: live and ended calls; upgrade attempts, newest first, without credentials.
#[tokio::test]
async fn calls_and_handshakes_are_listed() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "listed", 2).await;
    rig.redis.wait_for_frames("listed", 2).await;
    let live = rig.service.get("/v1/calls").await.json()["live"][0].clone();
    assert_eq!(
        (&live["interaction_id"], &live["tenant_id"]),
        (&json!("listed"), &json!("someacct1"))
    );
    assert_eq!(
        (&live["sample_rate"], &live["frames"]),
        (&json!(8000), &json!(2))
    );
    socket.json(&stop("listed")).await;
    socket.rest().await;
    let calls: Value = until("the call to have ended", async || {
        let calls = rig.service.get("/v1/calls").await.json();
        (calls["live"] == json!([])).then_some(calls)
    })
    .await;
    assert_eq!(calls["ended"][0]["end"]["reason"], "callended", "{calls}");

    rig.caller().bearer("not-a-token-xyz").refused().await;
    let shakes = rig.service.get("/v1/handshakes").await;
    assert!(!shakes.body.contains("not-a-token-xyz"));
    let shakes = shakes.json();
    let (newest, oldest) = (&shakes["handshakes"][0], &shakes["handshakes"][1]);
    assert_eq!(
        (&newest["outcome"], &newest["status"]),
        (&json!("refused"), &json!(401))
    );
    assert_eq!(
        (&oldest["outcome"], &oldest["protocol"]),
        (&json!("accepted"), &json!("exotel"))
    );
    assert_eq!(oldest["user_agent"], "Go-http-client/1.1");
}

// 2 OPS_TOKEN: a forwarded request is never loopback; then the token opens, as bearer or as password.
#[tokio::test]
async fn ops_pages_ask_for_the_token_behind_a_proxy() {
    let rig = Rig::with(&[("OPS_TOKEN", "ops-s3cret")]).await;
    let port = rig.service.port();
    for path in ["/metrics", "/v1/calls", "/v1/handshakes", "/live"] {
        let outside = Request::get(path).header("X-Forwarded-For", "203.0.113.1");
        let answer = outside.clone().send(port).await;
        assert_eq!(answer.status, 401, "{path}");
        let challenge = answer.header("www-authenticate").unwrap_or("");
        assert!(challenge.starts_with("Basic"), "{challenge}");
        let bearer = outside.clone().header("Authorization", "Bearer ops-s3cret");
        assert_eq!(bearer.send(port).await.status, 200, "{path}");
        // any:ops-s3cret
        let basic = outside
            .clone()
            .header("Authorization", "Basic YW55Om9wcy1zM2NyZXQ=");
        assert_eq!(basic.send(port).await.status, 200, "{path}");
        let wrong = outside.header("Authorization", "Bearer ops-s3cre");
        assert_eq!(wrong.send(port).await.status, 401, "{path}");
        assert_eq!(
            rig.service.get(path).await.status,
            200,
            "{path} from loopback"
        );
    }
    rig.assert_unseen("ops-s3cret").await;
}

// 6.6: one page, complete in itself.
#[tokio::test]
async fn the_live_page_needs_nothing_from_outside() {
    let rig = Rig::open().await;
    let page = rig.service.get("/live").await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
    );
    for outside in [
        "src=\"http",
        "href=\"http",
        "src=\"//",
        "@import",
        "url(http",
    ] {
        assert!(!page.body.contains(outside), "{outside}");
    }
}
