//! 6.4: what `/metrics` says adds up exactly with what was sent. That the documents, the alerts and the dashboard name
//! what is there is in `documents`.

#![expect(
    clippy::float_cmp,
    reason = "counts are whole, and so are their floats"
)]

mod documents;
mod scrape;

use std::{collections::BTreeMap, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use self::scrape::{Scrape, promtool};
use crate::{
    caller::{Caller, Socket},
    conversation::{audio, begin, begin_simple, frame, numbered, pcm, speak, start, stop},
    rig::Rig,
    wait::until,
};

/// Connections of all kinds, nineteen frames to publish, and one to drop. One connection stays open.
async fn play(rig: &Rig) -> Socket {
    // Exotel: ten frames, and messages that cannot be used.
    let mut exotel = rig.exotel().await;
    begin(&mut exotel, "a-secret-call", 10).await;
    for text in ["{", r#"{"x":1}"#, r#"{"y":1}"#] {
        exotel.text(text).await;
    }
    for media in [json!({"payload": "?"}), json!({})] {
        let event = json!({"event": "media", "media": media});
        exotel.json(&event).await;
    }
    exotel.json(&stop("a-secret-call")).await;
    assert_eq!(exotel.rest().await.code, Some(1000));
    // A client that numbers: one frame twice, two that never came.
    let mut simple = rig.custom().await;
    begin_simple(&mut simple, "numbered").await;
    for seq in [1, 2, 2, 5] {
        simple.json(&numbered(seq, &frame(seq))).await;
    }
    simple.json(&json!({"event": "end"})).await;
    assert_eq!(simple.rest().await.code, Some(1000));
    // Samples as they are, from a client that goes without a word.
    let mut binary = rig.custom().await;
    begin_simple(&mut binary, "binary").await;
    for n in 1..=5 {
        binary.binary(pcm(n, 960)).await;
    }
    rig.redis.wait_for_frames("binary", 5).await;
    drop(binary);
    // One that leaves with a close frame, and one that says what it may not.
    let mut leaving = rig.custom().await;
    begin_simple(&mut leaving, "leaving").await;
    leaving.hang_up().await;
    let mut wrong = rig.custom().await;
    begin_simple(&mut wrong, "wrong").await;
    wrong.json(&audio(b"")).await;
    let event = json!({"event": "audio", "data": "?"});
    wrong.json(&event).await;
    assert_eq!(wrong.rest().await.code, Some(1007));
    let mut staying = rig.exotel().await;
    begin(&mut staying, "staying", 1).await;
    // Upgrades that are refused.
    rig.caller().bearer("bad").refused().await;
    rig.caller().bearer("bad").refused().await;
    let twice = rig.caller().basic("a:b").header("Authorization", "x");
    twice.refused().await;
    rig.caller().path("/nowhere").refused().await;
    staying
}

/// What of it is counted.
const PLAYED: [(&str, f64); 21] = [
    (r#"ingest_frames_received_total{dialect="exotel"}"#, 11.0),
    (r#"ingest_frames_received_total{dialect="simple"}"#, 4.0),
    (r#"ingest_frames_received_total{dialect="binary"}"#, 5.0),
    (
        "ingest_audio_bytes_received_total",
        15.0 * 320.0 + 5.0 * 960.0,
    ),
    ("ingest_frames_published_total", 19.0),
    ("ingest_frames_duplicate_total", 1.0),
    (r#"ingest_gaps_total{reason="client"}"#, 1.0),
    (r#"ingest_bad_messages_total{reason="not_json"}"#, 1.0),
    (r#"ingest_bad_messages_total{reason="no_event"}"#, 2.0),
    (r#"ingest_bad_messages_total{reason="bad_base64"}"#, 2.0),
    (r#"ingest_bad_messages_total{reason="no_audio"}"#, 1.0),
    (r#"ingest_connections_active{protocol="exotel"}"#, 1.0),
    (r#"ingest_connection_closes_total{reason="finished"}"#, 2.0),
    (r#"ingest_connection_closes_total{reason="lost"}"#, 1.0),
    (r#"ingest_connection_closes_total{reason="peer"}"#, 1.0),
    (r#"ingest_connection_closes_total{reason="bad_audio"}"#, 1.0),
    (
        r#"ingest_handshakes_total{protocol="exotel",outcome="accepted",reason="none"}"#,
        2.0,
    ),
    (
        r#"ingest_handshakes_total{protocol="jwt",outcome="accepted",reason="none"}"#,
        4.0,
    ),
    (
        r#"ingest_handshakes_total{protocol="jwt",outcome="refused",reason="malformed_token"}"#,
        2.0,
    ),
    (
        r#"ingest_handshakes_total{protocol="jwt",outcome="refused",reason="several_authorizations"}"#,
        1.0,
    ),
    (
        r#"ingest_handshakes_total{protocol="exotel",outcome="refused",reason="not_found"}"#,
        1.0,
    ),
];

// Every frame, repeat, gap, bad message and refusal is in exactly one count.
#[tokio::test]
async fn counts_add_up_with_what_was_sent() {
    let rig = Rig::open().await;
    let _staying = play(&rig).await;
    Scrape::when(&rig.service, "ingest_frames_published_total", 19.0).await;
    let lost = "ingest_connection_closes_total{reason=\"lost\"}";
    Scrape::when(&rig.service, lost, 1.0).await;
    let scrape = Scrape::of(&rig.service).await;
    let mut counted = scrape.counted();
    // Calls that nobody has left for good wait for five seconds.
    counted.remove("ingest_calls_active");
    assert_eq!(counted, BTreeMap::from(PLAYED));

    // Each frame was confirmed once, with others or alone, and in little time.
    assert_eq!(scrape.of_name("ingest_publish_seconds_count"), 19.0);
    assert_eq!(scrape.of_name("ingest_publish_batch_frames_sum"), 19.0);
    let mean = scrape.of_name("ingest_publish_seconds_sum") / 19.0;
    assert!((0.000_01..1.0).contains(&mean), "{mean}");
    assert_eq!(scrape.of_name("ingest_redis_up"), 1.0);
    assert_eq!(scrape.of_name("ingest_draining"), 0.0);
    let version = format!(
        "ingest_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(scrape.of_name(&version), 1.0);
    assert!(scrape.of_name("process_resident_memory_bytes") > 1e6);
    for secret in ["a-secret-call", "someacct1", "tenant-abc", "127.0.0.1"] {
        assert!(!scrape.text.contains(secret), "{secret}");
    }
    promtool(&["check", "metrics"], &scrape.text).await;
}

fn handshakes(protocol: &str, outcome: &str, reason: &str) -> String {
    format!(
        "ingest_handshakes_total{{protocol=\"{protocol}\",outcome=\"{outcome}\",reason=\"{reason}\"}}"
    )
}

// An outage: what went to the journal and came back is in both counts, and was confirmed once.
#[tokio::test]
async fn an_outage_is_counted() {
    let mut rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "bridged", 5).await;
    Scrape::when(&rig.service, "ingest_frames_published_total", 5.0).await;
    rig.redis.kill().await;
    speak(&mut socket, 6, 30).await;
    let away = Scrape::when(&rig.service, "ingest_frames_journaled_total", 25.0).await;
    assert_eq!(away.of_name("ingest_redis_up"), 0.0);
    assert!(away.sum("ingest_redis_errors_total") > 0.0);
    assert_eq!(away.of_name("ingest_redis_reconnects_total"), 0.0);
    assert_eq!(away.of_name("ingest_publish_seconds_count"), 30.0);
    until("a journal that grows old", async || {
        let scrape = Scrape::of(&rig.service).await;
        let bytes = scrape.of_name("ingest_journal_bytes");
        let age = scrape.of_name("ingest_journal_oldest_seconds");
        (bytes > 25.0 * 320.0 && age > 0.1).then_some(())
    })
    .await;
    rig.redis.revive().await;
    Scrape::when(&rig.service, "ingest_frames_published_total", 30.0).await;
    let back = Scrape::when(&rig.service, "ingest_journal_bytes", 0.0).await;
    assert_eq!(back.of_name("ingest_journal_oldest_seconds"), 0.0);
    assert_eq!(back.of_name("ingest_frames_journaled_total"), 25.0);
    assert_eq!(back.of_name("ingest_publish_seconds_count"), 30.0);
    assert_eq!(back.of_name("ingest_publish_batch_frames_sum"), 55.0);
    assert_eq!(back.of_name("ingest_redis_reconnects_total"), 1.0);
    assert_eq!(back.of_name("ingest_redis_up"), 1.0);
    assert_eq!(back.sum("ingest_frames_dropped_total"), 0.0);
    assert_eq!(back.sum("ingest_gaps_total"), 0.0);
}

// Errors of Redis's own are counted by class.
#[tokio::test]
async fn refusals_are_counted_by_class() {
    let rig = Rig::open().await;
    let limit = async |bytes| {
        rig.redis
            .tell::<String>(&["CONFIG", "SET", "maxmemory", bytes])
            .await;
    };
    let mut socket = rig.exotel().await;
    begin(&mut socket, "refused", 1).await;
    Scrape::when(&rig.service, "ingest_frames_published_total", 1.0).await;
    limit("1").await;
    speak(&mut socket, 2, 2).await;
    until("a refusal", async || {
        let scrape = Scrape::of(&rig.service).await;
        let refused = scrape.of_name("ingest_redis_errors_total{class=\"out_of_memory\"}");
        (refused > 0.0 && scrape.of_name("ingest_redis_up") == 0.0).then_some(())
    })
    .await;
    limit("0").await;
    Scrape::when(&rig.service, "ingest_frames_published_total", 2.0).await;
}

// 5.8: consumer groups by name.
#[tokio::test]
async fn consumer_groups_have_their_lag() {
    let settings = [("SUPPORT_EXOTEL", "true"), ("AUDIO_CONSUMER_GROUPS", "asr")];
    let rig = Rig::with(&settings).await;
    rig.play("unread", 10).await;
    let scrape = Scrape::when(
        &rig.service,
        "ingest_consumer_lag_entries{group=\"asr\"}",
        10.0,
    )
    .await;
    let margin = scrape.of_name("ingest_trim_margin_seconds{group=\"asr\"}");
    assert!((60.0..=120.0).contains(&margin), "{margin}");
    scrape.of_name("ingest_consumer_lag_seconds{group=\"asr\"}");
    promtool(&["check", "metrics"], &scrape.text).await;
}

// 1.4: a drain shows, and what it refuses.
#[tokio::test]
async fn a_drain_is_seen() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "last", 1).await;
    rig.redis.wait_for_frames("last", 1).await;
    rig.service.terminate();
    Scrape::when(&rig.service, "ingest_draining", 1.0).await;
    rig.caller().refused().await;
    let scrape = Scrape::of(&rig.service).await;
    assert_eq!(
        scrape.of_name(&handshakes("exotel", "refused", "draining")),
        1.0
    );
}

// Without Redis, frames are journaled, and there is nothing to say of Redis.
#[tokio::test]
async fn the_journal_as_destination_is_counted() {
    let service = crate::service::Setup::new()
        .env("SUPPORT_EXOTEL", "true")
        .env("PUBSUB_ADAPTER", "journal")
        .start()
        .await;
    let mut socket = Caller::to(&service).connect().await;
    begin(&mut socket, "kept", 50).await;
    let scrape = Scrape::when(&service, "ingest_frames_journaled_total", 50.0).await;
    assert_eq!(scrape.of_name("ingest_frames_published_total"), 0.0);
    assert_eq!(scrape.of_name("ingest_publish_seconds_count"), 50.0);
    assert!(!scrape.samples.contains_key("ingest_redis_up"));
    promtool(&["check", "metrics"], &scrape.text).await;
}

// A scrape of a thousand calls takes no longer than one of none, but for the list of open files.
#[tokio::test]
async fn a_thousand_calls_are_scraped_quickly() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the maximum it may be raised");
    let rig = Rig::open().await;
    let (mut dialling, mut sockets) = (JoinSet::new(), Vec::new());
    for n in 0..1000 {
        let caller = rig.caller();
        dialling.spawn(async move {
            let mut socket = caller.connect().await;
            socket.json(&start(&format!("call-{n}"))).await;
            speak(&mut socket, 1, 1).await;
            socket
        });
        if n % 50 == 49 {
            while let Some(socket) = dialling.join_next().await {
                sockets.push(socket.expect("a connection"));
            }
        }
    }
    let scrape = Scrape::when(&rig.service, "ingest_frames_published_total", 1000.0).await;
    assert_eq!(scrape.of_name("ingest_calls_active"), 1000.0);
    assert!(scrape.of_name("process_open_fds") > 1000.0);
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        Scrape::of(&rig.service).await;
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
}
