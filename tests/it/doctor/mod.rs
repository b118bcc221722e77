//! `doctor` (1.1) against real sockets: services that work, services that do not, and what is no service at all.
//!
//! Certificates are in `certificates`, servers that are not ours in `strangers`. Each test looks at the one step that its fault is about, and at the exit code.

mod certificates;
mod strangers;

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    keys,
    redis::Redis,
    rig::{Rig, setup},
    service::{Outcome, run},
};

const LIMIT: Duration = Duration::from_secs(30);

/// What `doctor --json` reports.
struct Report {
    outcome: Outcome,
    json: Value,
}

impl Report {
    fn step(&self, name: &str) -> &Value {
        let steps = self.json["steps"].as_array().expect("steps");
        let found = steps.iter().find(|step| step["name"] == name);
        found.unwrap_or_else(|| panic!("no step {name}: {}", self.json))
    }

    fn check(&self, name: &str, status: &str, words: &str) {
        let step = self.step(name);
        assert_eq!(step["status"], status, "{step}");
        let said = format!("{} {}", step["detail"], step["fix"]);
        assert!(said.contains(words), "{words:?} in {step}");
        let advises = step["fix"].as_str().is_some_and(|fix| !fix.is_empty());
        assert!(status != "failed" || advises, "{step}");
    }

    /// 1.1, 1.3: the exit code is that of the worst step.
    fn assert_ok(&self, ok: bool) {
        assert_eq!(self.json["ok"], ok, "{}", self.json);
        assert_eq!(
            self.outcome.code,
            Some(i32::from(!ok)),
            "{:?}",
            self.outcome
        );
    }
}

async fn examine(args: &[&str]) -> Report {
    let dir = TempDir::new().expect("a temporary directory");
    let all: Vec<&str> = ["doctor", "--json"].iter().chain(args).copied().collect();
    let outcome = run(dir.path(), &[], &all, LIMIT).await;
    let json = serde_json::from_str(&outcome.stdout);
    let json = json.unwrap_or_else(|error| panic!("{error}: {outcome:?}"));
    Report { outcome, json }
}

// 1.1: every link of a service that works, from the URL to the end of the call in Redis; then what is left is Exotel's.
#[tokio::test]
async fn a_good_service_is_proven_good() {
    let settings = [
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_BASIC_AUTH", "key:hunter2"),
        ("EXOTEL_URL_TOKENS", "s3cret"),
        ("AUDIO_CONSUMER_GROUPS", "asr"),
    ];
    let rig = Rig::with(&settings).await;
    let port = rig.service.port();
    let url = format!("ws://key:hunter2@127.0.0.1:{port}/v1/ingest/s3cret?sample-rate=16000");
    let report = examine(&["--url", &url, "--redis", &rig.redis.url(), "--calls", "3"]).await;
    report.assert_ok(true);
    report.check("stranger", "ok", "401");
    report.check("audio", "ok", "16000 Hz");
    report.check("frames", "ok", "50 of 50");
    report.check("call_end", "ok", "crc ok");
    report.check("redis", "ok", "Redis");
    report.check("eviction", "ok", "noeviction");
    report.check("groups", "ok", "asr");
    report.check("clock", "ok", "Redis agrees");
    for cause in ["account", "flow", "api", "network", "plan"] {
        report.check(&format!("exotel-{cause}"), "skipped", "");
    }
    let ends = rig.redis.records("call_end").await;
    let call = ends[0]["interaction_id"].as_str().expect("a name");
    assert!(ends.len() == 1 && call.starts_with("doctor-"), "{ends:?}");
}

// 3.3: the token comes as Exotel brings it, in the start.
#[tokio::test]
async fn a_token_among_the_parameters_is_brought_as_exotel_does() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("EXOTEL_URL_TOKENS", "s3cret")]).await;
    let redis = rig.redis.url();
    let right = format!("{}?token=s3cret", rig.service.url());
    let report = examine(&["--url", &right, "--redis", &redis]).await;
    report.assert_ok(true);
    report.check("frames", "ok", "50 of 50");
    let wrong = format!("{}?token=s3crets", rig.service.url());
    let report = examine(&["--url", &wrong]).await;
    report.assert_ok(false);
    report.check("start", "failed", "EXOTEL_URL_TOKENS");
    report.check("audio", "skipped", "");
}

// 1.1: a custom client with a JWT.
#[tokio::test]
async fn a_client_with_a_token_is_examined_in_its_own_words() {
    let rig = Rig::with(&[]).await;
    let (url, redis) = (rig.service.url(), rig.redis.url());
    let token = keys::token_with(&[("tenant_id", "acme".into())]);
    let report = examine(&["--url", &url, "--redis", &redis, "--token", &token]).await;
    report.assert_ok(true);
    report.check("start", "ok", "started");
    report.check("close", "ok", "all 50 frames acked");
    report.check("call_end", "ok", "crc ok");
    assert!(
        !report.json.to_string().contains("exotel-"),
        "{}",
        report.json
    );
    let report = examine(&["--url", &url, "--token", &keys::expired()]).await;
    report.assert_ok(false);
    report.check("upgrade", "failed", "401");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let rig = Rig::with(&[]).await;
    let report = examine(&["--url", &rig.service.url()]).await;
    report.assert_ok(false);
    report.check("health", "failed", "SUPPORT_EXOTEL");
    report.check("upgrade", "failed", "401");
    report.check("start", "skipped", "");
    let settings = [
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_ALLOWED_IPS", "192.0.2.0/24"),
    ];
    let rig = Rig::with(&settings).await;
    let report = examine(&["--url", &rig.service.url()]).await;
    report.assert_ok(false);
    report.check("upgrade", "failed", "403: the address 127.0.0.1");
    let nowhere = rig.service.url().replace("/v1/ingest", "/v2/ingest");
    let report = examine(&["--url", &nowhere]).await;
    report.check("url", "ok", "/v1/ingest");
    report.check("upgrade", "failed", "404");
}

#[tokio::test]
async fn nothing_that_listens_is_told() {
    let url = format!("wss://127.0.0.1:{}/v1/ingest", Redis::absent().port());
    let report = examine(&["--url", &url]).await;
    report.assert_ok(false);
    report.check("tcp", "failed", "nothing listens");
    for name in ["tls", "health", "upgrade", "audio"] {
        report.check(name, "skipped", "no connection");
    }
    let report = examine(&["--url", "https://a.example.com/v1/ingest"]).await;
    report.assert_ok(false);
    report.check("url", "failed", "wss://");
}

// 5.3: the call goes on, into the journal; that nobody gets it is the fault.
#[tokio::test]
async fn a_service_without_its_redis_is_told() {
    let redis = Redis::absent();
    let service = setup(&redis, &[("SUPPORT_EXOTEL", "true")]).start().await;
    crate::wait::until("health to know it", async || {
        (service.health().await["pubsub"] == false).then_some(())
    })
    .await;
    let report = examine(&["--url", &service.url(), "--redis", &redis.url()]).await;
    report.assert_ok(false);
    report.check("health", "failed", "frames do not reach the stream");
    report.check("close", "ok", "");
    report.check("redis", "failed", "cannot connect");
    report.check("frames", "skipped", "no Redis");
}

// Another Redis than the service's, and one that would lose audio.
#[tokio::test]
async fn a_redis_that_is_the_wrong_one_or_unfit_is_told() {
    let (rig, other) = (Rig::open().await, Redis::start().await);
    for words in [["maxmemory", "100mb"], ["maxmemory-policy", "allkeys-lru"]] {
        other
            .tell::<String>(&["CONFIG", "SET", words[0], words[1]])
            .await;
    }
    let (url, redis) = (rig.service.url(), other.url());
    let report = examine(&[
        "--url",
        &url,
        "--redis",
        &redis,
        "--calls",
        "100",
        "--timeout",
        "1s",
    ])
    .await;
    report.assert_ok(false);
    report.check("frames", "failed", "0 of 50");
    report.check("call_end", "failed", "none has come");
    report.check("eviction", "failed", "noeviction");
    report.check("memory", "failed", "more than there is");
    report.check("groups", "ok", "no stream audio_stream");
    assert!(
        !report.json.to_string().contains("exotel-"),
        "{}",
        report.json
    );
}

// 1.3: bad usage is 2; a broken environment is none, and keeps nothing else from being examined.
#[tokio::test]
async fn bad_usage_is_two_and_a_bad_environment_is_told() {
    let dir = TempDir::new().expect("a temporary directory");
    for args in [
        &["doctor", "--timeout", "0"][..],
        &["doctor", "--basic", "nocolon"],
        &["doctor", "--redis", "nonsense"],
        &["doctor", "--ca", "none.pem"],
    ] {
        let outcome = run(dir.path(), &[], args, LIMIT).await;
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
    }
    let env = [("ACK_INTERVAL", "often")];
    let outcome = run(
        dir.path(),
        &env,
        &["doctor", "--url", "ws://127.0.0.1:1/"],
        LIMIT,
    )
    .await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("rtaa-ingest check"), "{outcome:?}");
}
