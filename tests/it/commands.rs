//! The subcommands (1.1) against a running service: they are what an operator proves things with.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    caller::Caller,
    conversation::{begin, begin_simple, frame, stop},
    rig::Rig,
    service::{Outcome, Setup, run},
    wait::until,
};

const LIMIT: Duration = Duration::from_secs(20);

async fn command(rig: &Rig, args: &[&str]) -> Outcome {
    let url = rig.redis.url();
    run(rig.service.dir(), &[("REDIS_URL", &url)], args, LIMIT).await
}

/// A call of `frames` frames from start to end.
async fn whole_call(rig: &Rig, name: &str, frames: u64) {
    let mut socket = rig.exotel().await;
    begin(&mut socket, name, frames).await;
    socket.json(&stop(name)).await;
    socket.rest().await;
    rig.redis.wait_for_end(name).await;
}

// 1.1 demo: with nothing to set up: exits 0 and leaves a WAV.
#[tokio::test]
async fn demo_shows_the_whole_system() {
    let dir = TempDir::new().expect("a temporary directory");
    let outcome = run(
        dir.path(),
        &[("PORT", "0")],
        &["demo"],
        Duration::from_secs(15),
    )
    .await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut wavs = files_ending(dir.path(), ".wav");
    let named = outcome
        .stdout
        .split(|c: char| c.is_whitespace() || "\"'`()".contains(c));
    wavs.extend(
        named
            .map(|word| dir.path().join(word))
            .filter(|path| path.extension().is_some_and(|extension| extension == "wav"))
            .filter(|path| path.is_file()),
    );
    let wav = wavs.first().expect("a WAV");
    let reader = hound::WavReader::open(wav).expect("a readable WAV");
    assert!(reader.duration() > 0, "{wav:?}");
}

// 1.1 simulate: calls as Exotel's client makes them arrive whole; a refusal is a non-zero exit.
#[tokio::test]
async fn simulate_plays_whole_calls() {
    let rig = Rig::open().await;
    let url = rig.service.url();
    let outcome = command(
        &rig,
        &[
            "simulate",
            "--url",
            &url,
            "--calls",
            "3",
            "--duration",
            "1s",
            "--speed",
            "20",
        ],
    )
    .await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    until("three ends", async || {
        (rig.redis.records("call_end").await.len() == 3).then_some(())
    })
    .await;
    for end in rig.redis.records("call_end").await {
        assert_eq!(
            (&end["frames"], &end["duration_ms"]),
            (&50.into(), &1_000.into()),
            "{end}"
        );
    }
    assert_eq!(rig.redis.frames().await.len(), 150);
    let outcome = command(
        &rig,
        &[
            "simulate",
            "--url",
            &url,
            "--token",
            "bad",
            "--duration",
            "1s",
            "--speed",
            "20",
        ],
    )
    .await;
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
}

// 1.1 token: a key pair of each algorithm, and a token of it that holds and binds.
#[tokio::test]
async fn tokens_of_every_algorithm_hold() {
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let dir = TempDir::new().expect("a temporary directory");
        let keys = dir.path().join("keys");
        let out = keys.to_string_lossy().into_owned();
        let outcome = run(
            dir.path(),
            &[],
            &["token", "keygen", "--out", &out, "--alg", algorithm],
            LIMIT,
        )
        .await;
        assert_eq!(outcome.code, Some(0), "{algorithm}: {outcome:?}");
        let find = |word: &str| {
            let files = files_ending(&keys, "");
            let found = files
                .into_iter()
                .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(word)));
            found.unwrap_or_else(|| panic!("{algorithm}: a {word} in {keys:?}"))
        };
        let (private, public) = (find("PRIVATE KEY"), find("PUBLIC KEY"));
        let private = private.to_string_lossy().into_owned();
        let args = [
            "token",
            "--key",
            &private,
            "--tenant",
            "tenant-abc",
            "--call",
            "bound",
            "--ttl",
            "5m",
        ];
        let outcome = run(dir.path(), &[], &args, LIMIT).await;
        assert_eq!(outcome.code, Some(0), "{algorithm}: {outcome:?}");
        let token = outcome.stdout.trim();
        assert_eq!(token.split('.').count(), 3, "{algorithm}: {token}");
        let service = Setup::new()
            .env("JWT_PUBLIC_KEY_FILE", &public.to_string_lossy())
            .start()
            .await;
        let mut socket = Caller::to(&service).bearer(token).connect().await;
        begin_simple(&mut socket, "bound").await;
        let elsewhere = Caller::to(&service)
            .bearer(token)
            .path("/v1/ingest?tenant_id=other");
        assert_eq!(elsewhere.refused().await.status, 403, "{algorithm}");
    }
}

// 1.1 verify: a whole call is 0; one that lost a frame is 1; one that was trimmed is 3.
#[tokio::test]
async fn verify_tells_whole_from_broken_and_trimmed() {
    let rig = Rig::open().await;
    whole_call(&rig, "proven", 10).await;
    let outcome = command(&rig, &["verify", "--call", "proven"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stdout.contains("proven") && outcome.stdout.contains("10 frames"),
        "{outcome:?}"
    );
    assert!(
        outcome.stdout.contains("0 gaps") && outcome.stdout.contains("crc ok"),
        "{outcome:?}"
    );
    assert_eq!(
        command(&rig, &["verify", "--since", "10m"]).await.code,
        Some(0)
    );

    whole_call(&rig, "broken", 10).await;
    let middle = rig.redis.frames_of("broken").await[4].id.clone();
    assert_eq!(
        rig.redis
            .tell::<u64>(&["XDEL", "audio_stream", &middle])
            .await,
        1
    );
    let outcome = command(&rig, &["verify", "--call", "broken"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(
        command(&rig, &["verify", "--since", "10m"]).await.code,
        Some(1)
    );

    rig.redis
        .tell::<u64>(&["XTRIM", "audio_stream", "MAXLEN", "0"])
        .await;
    let outcome = command(&rig, &["verify", "--call", "proven"]).await;
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
}

// 1.1 export: a call's audio as WAV, to the byte.
#[tokio::test]
async fn export_rebuilds_the_audio() {
    let rig = Rig::open().await;
    whole_call(&rig, "exported", 12).await;
    let out = rig.service.dir().join("out.wav");
    let path = out.to_string_lossy().into_owned();
    let outcome = command(&rig, &["export", "--call", "exported", "--out", &path]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut reader = hound::WavReader::open(&out).expect("a WAV");
    assert_eq!(
        (reader.spec().sample_rate, reader.spec().channels),
        (8_000, 1)
    );
    let samples: Vec<u8> = reader
        .samples::<i16>()
        .flat_map(|sample| sample.expect("a sample").to_le_bytes())
        .collect();
    assert_eq!(samples, (1..=12).flat_map(frame).collect::<Vec<_>>());
}

// 1.1 doctor: every step of a URL that works, and the one that fails of one that does not.
#[tokio::test]
async fn doctor_finds_what_is_wrong() {
    let rig = Rig::open().await;
    let outcome = command(&rig, &["doctor", "--url", &rig.service.url(), "--json"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    assert_eq!(report["ok"], true, "{report}");
    assert!(
        report["steps"]
            .as_array()
            .is_some_and(|steps| steps.len() >= 6),
        "{report}"
    );

    let closed = Rig::with(&[]).await;
    let outcome = command(
        &closed,
        &["doctor", "--url", &closed.service.url(), "--json"],
    )
    .await;
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let failed = report["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .find(|step| step["status"] == "failed");
    let failed = failed.expect("a failed step");
    assert!(failed["detail"].to_string().contains("401"), "{failed}");
    assert!(
        failed["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
        "{failed}"
    );
}

fn files_ending(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                left.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found
}
