//! The subcommands (1.1) against a running service: they are what an operator proves things with.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    caller::Caller,
    conversation::begin_simple,
    rig::Rig,
    service::{Outcome, Setup, run},
    wait::until,
};

const LIMIT: Duration = Duration::from_secs(20);

async fn command(rig: &Rig, args: &[&str]) -> Outcome {
    let url = rig.redis.url();
    run(rig.service.dir(), &[("REDIS_URL", &url)], args, LIMIT).await
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
