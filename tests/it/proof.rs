//! `verify` against real streams and a real journal: what is whole, what is not, and what nobody can tell any more.

use std::time::Duration;

use redis::cmd;
use serde_json::Value;

use crate::{
    caller::Caller,
    conversation::{begin, speak, stop},
    redis::Redis,
    rig::Rig,
    service::{Outcome, Setup, run},
    wait::until,
};

const LIMIT: Duration = Duration::from_secs(20);

async fn verify(rig: &Rig, args: &[&str]) -> Outcome {
    let args: Vec<&str> = ["verify"].into_iter().chain(args.iter().copied()).collect();
    rig.command(&args).await
}

/// The fields of one frame as it stands in the stream, for tests that write it once more.
async fn entry(redis: &Redis, call: &str, seq: u64) -> (String, Vec<(String, Vec<u8>)>) {
    let frames = redis.frames().await;
    let at = frames
        .iter()
        .position(|frame| frame.interaction_id == call && frame.seq == seq)
        .expect("the frame is there");
    redis.entries("audio_stream").await.swap_remove(at)
}

async fn add(redis: &Redis, stream: &str, fields: &[(String, Vec<u8>)]) {
    let mut command = cmd("XADD");
    command.arg(stream).arg("*");
    for (name, value) in fields {
        command.arg(name).arg(value.as_slice());
    }
    redis.ask::<String>(&command).await.expect("added");
}

fn assert_says(outcome: &Outcome, code: i32, phrases: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    for phrase in phrases {
        assert!(outcome.stdout.contains(phrase), "{phrase:?} in {outcome:?}");
    }
}

// 1.1 verify: a whole call, in both formats (4.1, 4.2), by its name and by when it ended.
#[tokio::test]
async fn a_whole_call_is_proven_whole() {
    for format in ["json", "fields"] {
        let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("FRAME_FORMAT", format)]).await;
        rig.play("proven", 300).await;
        let line = "call proven: 300 frames, 0 gaps, 0 duplicates, crc ok\n";
        for args in [&["--call", "proven"][..], &["--since", "10m"]] {
            let outcome = verify(&rig, args).await;
            assert_says(&outcome, 0, &[line, "1 sessions: 1 whole, "]);
            assert_eq!(outcome.stderr, "", "{outcome:?}");
        }
        let url = rig.redis.url();
        let args = ["verify", "--call", "proven", "--redis", &url];
        let outcome = run(rig.service.dir(), &[], &args, LIMIT).await;
        assert_says(&outcome, 0, &[line]);
    }
}

// 1.1 verify: a frame that is missing between others is no trimming, at whichever end of the stream its call is.
#[tokio::test]
async fn a_hole_makes_a_call_not_whole() {
    let rig = Rig::open().await;
    rig.play("before", 10).await;
    rig.play("holey", 10).await;
    let (id, _) = entry(&rig.redis, "holey", 5).await;
    rig.redis.tell::<u64>(&["XDEL", "audio_stream", &id]).await;
    let outcome = verify(&rig, &["--call", "holey"]).await;
    let counts = "call holey: 9 frames, 1 gaps, 0 duplicates, crc wrong; ";
    assert_says(&outcome, 1, &[counts, "; missing seq 5\n"]);

    // Its beginning is gone, but not what stood before that.
    for seq in 1..=4 {
        let (id, _) = entry(&rig.redis, "holey", seq).await;
        rig.redis.tell::<u64>(&["XDEL", "audio_stream", &id]).await;
    }
    let outcome = verify(&rig, &["--call", "holey"]).await;
    assert_says(&outcome, 1, &["call holey: 5 frames, 0 gaps, "]);

    let outcome = verify(&rig, &["--since", "10m"]).await;
    let sums = "2 sessions: 1 whole, 1 not whole, 0 trimmed\n";
    assert_says(&outcome, 1, &["call before: 10 frames, ", sums]);
}

// 1.1 verify: what was trimmed is told from what was lost, and is exit 3.
#[tokio::test]
async fn a_trimmed_call_is_neither_whole_nor_broken() {
    let rig = Rig::open().await;
    for call in ["gone", "half", "whole"] {
        rig.play(call, 10).await;
    }
    rig.redis
        .tell::<u64>(&["XTRIM", "audio_stream", "MAXLEN", "15"])
        .await;
    for (call, code, said) in [
        (
            "gone",
            3,
            "0 frames, 0 gaps, 0 duplicates, trimmed: 10 of 10 frames ",
        ),
        (
            "half",
            3,
            "5 frames, 0 gaps, 0 duplicates, trimmed: 5 of 10 frames ",
        ),
        ("whole", 0, "10 frames, 0 gaps, 0 duplicates, crc ok"),
    ] {
        let outcome = verify(&rig, &["--call", call]).await;
        assert_says(&outcome, code, &[&format!("call {call}: {said}")]);
    }
    let outcome = verify(&rig, &["--since", "10m"]).await;
    assert_says(
        &outcome,
        3,
        &["3 sessions: 1 whole, 0 not whole, 2 trimmed\n"],
    );

    // Whoever may not ask what was removed takes the first entry as the front.
    let rights = [
        "ACL", "SETUSER", "reader", "on", ">pw", "~*", "+xrange", "+client", "+info",
    ];
    rig.redis.tell::<String>(&rights).await;
    let url = format!("redis://reader:pw@127.0.0.1:{}", rig.redis.port());
    let args = ["--call", "half", "--redis", &url];
    assert_says(&verify(&rig, &args).await, 3, &["trimmed: 5 of 10 "]);

    rig.redis
        .tell::<u64>(&["XTRIM", "audio_stream", "MAXLEN", "0"])
        .await;
    assert_eq!(verify(&rig, &["--call", "whole"]).await.code, Some(3));
    // No stream at all shows nothing: AUDIO_STREAM may be another one where the service runs.
    rig.redis.tell::<u64>(&["DEL", "audio_stream"]).await;
    let outcome = verify(&rig, &["--call", "whole"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("AUDIO_STREAM"), "{outcome:?}");
}

// 1.1 verify, 4.3: a frame that is there twice, audio that is not what was sent, and entries of somebody else's.
#[tokio::test]
async fn repeats_changed_audio_and_strange_entries_are_told() {
    let rig = Rig::open().await;
    rig.play("twice", 10).await;
    rig.play("changed", 10).await;
    let (_, fields) = entry(&rig.redis, "twice", 4).await;
    add(&rig.redis, "audio_stream", &fields).await;
    let outcome = verify(&rig, &["--call", "twice"]).await;
    let counts = "call twice: 10 frames, 0 gaps, 1 duplicates, crc ok\n";
    assert_says(&outcome, 1, &[counts]);

    let (id, fields) = entry(&rig.redis, "changed", 10).await;
    let text = String::from_utf8(fields[0].1.clone()).expect("JSON");
    let (front, _) = text.split_once("\"audio\":").expect("audio");
    let changed = format!("{front}\"audio\":\"{}\"}}", "AAAA".repeat(106) + "AAA=");
    rig.redis.tell::<u64>(&["XDEL", "audio_stream", &id]).await;
    add(
        &rig.redis,
        "audio_stream",
        &[("data".to_owned(), changed.into_bytes())],
    )
    .await;
    add(
        &rig.redis,
        "audio_stream",
        &[("data".to_owned(), b"[]".to_vec())],
    )
    .await;
    let outcome = verify(&rig, &["--call", "changed"]).await;
    let counts = "call changed: 10 frames, 0 gaps, 0 duplicates, crc wrong; crc32 ";
    assert_says(&outcome, 1, &[counts]);
    assert!(
        outcome.stderr.contains("1 entries could not be read"),
        "{outcome:?}"
    );
}

// 1.1 verify: a call that goes on, one that nobody knows, and a time in which none ended.
#[tokio::test]
async fn what_has_no_end_or_is_not_there_is_said() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "live", 3).await;
    rig.redis.wait_for_frames("live", 3).await;
    let outcome = verify(&rig, &["--call", "live"]).await;
    assert_says(
        &outcome,
        1,
        &["call live: 3 frames, 0 gaps, 0 duplicates, no call_end"],
    );
    let outcome = verify(&rig, &["--call", "nobody"]).await;
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(1), ""),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains("call nobody was not found"),
        "{outcome:?}"
    );
    let outcome = verify(&rig, &["--since", "10m"]).await;
    assert_says(&outcome, 0, &["0 sessions: "]);
    speak(&mut socket, 4, 5).await;
    socket.json(&stop("live")).await;
    rig.redis.wait_for_end("live").await;
    rig.play("other", 2).await;
    let outcome = verify(&rig, &["--since", "10m", "--tenant", "someacct1"]).await;
    assert_says(
        &outcome,
        0,
        &["call live: 5 frames, ", "call other: 2 frames, "],
    );
    let outcome = verify(&rig, &["--since", "10m", "--tenant", "nobody"]).await;
    assert_says(&outcome, 0, &["0 sessions: "]);
}

// 3.10, 4.3: each session of a call is proven by itself, and a record of a lost instance does not prove anything.
#[tokio::test]
async fn every_session_of_a_call_is_proven() {
    let rig = Rig::open().await;
    rig.play("again", 4).await;
    rig.play("again", 6).await;
    let outcome = verify(&rig, &["--call", "again", "--json"]).await;
    assert_says(&outcome, 0, &[]);
    let lines: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    let said: Vec<_> = lines
        .iter()
        .map(|line| (line["status"].as_str(), line["frames"].as_u64()))
        .collect();
    assert_eq!(said, [(Some("whole"), Some(4)), (Some("whole"), Some(6))]);

    let mut lost = rig.redis.ends_of("again").await.remove(0);
    lost["session"] = 1.into();
    lost["complete"] = false.into();
    lost["reason"] = "instance_lost".into();
    let lost = [("data".to_owned(), lost.to_string().into_bytes())];
    add(&rig.redis, "call_end", &lost).await;
    let outcome = verify(&rig, &["--call", "again"]).await;
    assert_says(
        &outcome,
        1,
        &["call again session 1: ", "its instance was lost"],
    );
}

// 4.6: with shards, the frames of each call are found in theirs.
#[tokio::test]
async fn all_shards_are_read() {
    let redis = Redis::start().await;
    let env = [
        ("SUPPORT_EXOTEL", "true"),
        ("AUDIO_STREAM_SHARDS", "3"),
        ("AUDIO_STREAM", "audio"),
    ];
    let rig = Rig::over(redis, &env).await;
    let calls = ["a", "b", "c", "d", "e", "f"];
    for call in calls {
        rig.play(call, 5).await;
    }
    let url = rig.redis.url();
    let env = [
        ("REDIS_URL", url.as_str()),
        ("AUDIO_STREAM_SHARDS", "3"),
        ("AUDIO_STREAM", "audio"),
    ];
    let command = async |args: &[&str]| run(rig.service.dir(), &env, args, LIMIT).await;
    let outcome = command(&["verify", "--since", "10m"]).await;
    assert_says(
        &outcome,
        0,
        &["6 sessions: 6 whole, 0 not whole, 0 trimmed\n"],
    );
    let mut used = 0;
    for shard in 0..3 {
        let key = format!("audio:{{{shard}}}");
        used += usize::from(rig.redis.tell::<u64>(&["XLEN", &key]).await > 0);
        rig.redis.tell::<u64>(&["XTRIM", &key, "MAXLEN", "0"]).await;
    }
    assert!(used > 1, "the calls are spread");
    let outcome = command(&["verify", "--since", "10m"]).await;
    assert_eq!(outcome.stderr, "", "an unused shard is no fault");
    assert_says(
        &outcome,
        3,
        &["6 sessions: 0 whole, 0 not whole, 6 trimmed\n"],
    );
}

// 1.1 `--journal DIR`: without a Redis, beside the server that writes it.
#[tokio::test]
async fn a_journal_is_read_while_it_is_written() {
    let service = Setup::new().env("SUPPORT_EXOTEL", "true").start().await;
    let dir = service.dir().join("data/journal");
    let dir = dir.to_string_lossy();
    let mut socket = Caller::to(&service).connect().await;
    begin(&mut socket, "journaled", 20).await;
    socket.json(&stop("journaled")).await;
    socket.rest().await;
    let verified = async |args: &[&str]| run(service.dir(), &[], args, LIMIT).await;
    let outcome = until("the end in the journal", async || {
        let outcome = verified(&["verify", "--call", "journaled", "--journal", &dir]).await;
        (outcome.code == Some(0)).then_some(outcome)
    })
    .await;
    let line = "call journaled: 20 frames, 0 gaps, 0 duplicates, crc ok\n";
    assert_says(&outcome, 0, &[line]);
    // Without REDIS_URL the journal is what the environment says.
    assert_says(&verified(&["verify", "--since", "1h"]).await, 0, &[line]);
    let outcome = verified(&["verify", "--since", "1h", "--journal", "."]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("there is no journal in ."),
        "{outcome:?}"
    );
}

// 2 REDIS_TLS_CA: over TLS too, with a private authority.
#[tokio::test]
async fn a_redis_behind_tls_is_read() {
    let rig = Rig::open().await;
    rig.play("encrypted", 10).await;
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
    let file = |name: &str, text: &str| {
        let path = rig.service.dir().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    };
    let cert = file("cert.pem", &made.cert.pem());
    let key = file("key.pem", &made.signing_key.serialize_pem());
    let port = Redis::absent().port().to_string();
    let set = [
        "CONFIG",
        "SET",
        "tls-auth-clients",
        "no",
        "tls-cert-file",
        &cert,
    ]
    .into_iter()
    .chain([
        "tls-key-file",
        &key,
        "tls-ca-cert-file",
        &cert,
        "tls-port",
        &port,
    ]);
    rig.redis.tell::<String>(&set.collect::<Vec<_>>()).await;
    let url = format!("rediss://127.0.0.1:{port}");
    let args = ["verify", "--call", "encrypted", "--redis", &url];
    let outcome = run(rig.service.dir(), &[("REDIS_TLS_CA", &cert)], &args, LIMIT).await;
    let line = "call encrypted: 10 frames, 0 gaps, 0 duplicates, crc ok\n";
    assert_says(&outcome, 0, &[line]);
    let outcome = run(rig.service.dir(), &[], &args, LIMIT).await;
    assert_eq!(
        outcome.code,
        Some(1),
        "whose certificate nobody vouches for: {outcome:?}"
    );
}

// 1.3: a Redis that is not there, a URL that is none, an authority that cannot be read.
#[tokio::test]
async fn a_source_that_cannot_be_read_is_said() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let command = async |env: &[(&str, &str)], args: &[&str]| {
        let args: Vec<&str> = ["verify", "--since", "1m"]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        run(dir.path(), env, &args, LIMIT).await
    };
    let outcome = command(&[], &["--redis", "redis://:hunter2@127.0.0.1:1"]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("127.0.0.1:1") && !outcome.stderr.contains("hunter2"));
    let outcome = command(&[], &["--redis", "redis//:hunter2@h"]).await;
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(!outcome.stderr.contains("hunter2"), "{outcome:?}");
    let env = [("REDIS_TLS_CA", "none.pem")];
    let outcome = command(&env, &["--redis", "rediss://127.0.0.1:1"]).await;
    assert_eq!(outcome.code, Some(78), "{outcome:?}");
    assert!(outcome.stderr.contains("REDIS_TLS_CA"), "{outcome:?}");
}
