//! `tail` (1.1) beside a running service: what a pipe gets, from Redis and from a journal, and how it ends.

use std::{path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    caller::Caller,
    conversation::{begin, begin_simple, numbered, pcm, speak, stop},
    redis::Redis,
    rig::{Rig, setup},
    service::Setup,
    wait::{PATIENCE, until},
};

/// A `tail` at work.
struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(dir: &Path, env: &[(&str, &str)], args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rtaa-ingest"))
            .arg("tail")
            .args(args)
            .env_clear()
            .envs(env.iter().copied())
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// Of this rig's Redis.
    fn of(rig: &Rig, args: &[&str]) -> Self {
        Self::start(rig.service.dir(), &[("REDIS_URL", &rig.redis.url())], args)
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.expect("a line in time").expect("text");
        line.expect("it goes on")
    }

    async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            lines.push(self.line().await);
        }
        lines
    }

    async fn json(&mut self, count: usize) -> Vec<Value> {
        let lines = self.lines(count).await;
        let json = lines.iter().map(|line| serde_json::from_str(line));
        json.collect::<Result<_, _>>().expect("JSON on every line")
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().map(u32::cast_signed);
        let pid = pid.and_then(Pid::from_raw).expect("it runs");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// Ends it and returns what it said on standard error.
    async fn said(mut self) -> String {
        self.child.start_kill().expect("it can be killed");
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr is piped");
        stderr.read_to_string(&mut said).await.expect("text");
        said
    }
}

/// Nobody may see where it has come to, but each has its connection to Redis under our name.
async fn until_it_reads(redis: &Redis) {
    until("tail to wait for entries", async || {
        let clients: String = redis.tell(&["CLIENT", "LIST"]).await;
        clients.contains("cmd=xread").then_some(())
    })
    .await;
}

// 1.1: one object a line, the frame's fields without `audio`, with `bytes` and the entry's `id`, in both formats.
#[tokio::test]
async fn frames_are_followed_as_json_whatever_their_format() {
    for format in ["json", "fields"] {
        let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("FRAME_FORMAT", format)]).await;
        rig.play("before", 3).await;
        let mut tail = Tail::of(&rig, &["--json"]);
        until_it_reads(&rig.redis).await;
        rig.play("followed", 20).await;
        let seen = tail.json(20).await;
        let frames = rig.redis.frames_of("followed").await;
        for (seen, frame) in seen.iter().zip(&frames) {
            let expected = serde_json::json!({
                "id": frame.id, "tenant_id": frame.tenant_id, "interaction_id": "followed",
                "seq": frame.seq, "timestamp_ms": frame.timestamp_ms, "sample_rate": 8000,
                "encoding": "pcm16", "session": frame.session, "stream_sid": frame.stream_sid,
                "media_ms": frame.media_ms, "bytes": 320});
            assert_eq!(*seen, expected, "{format}");
        }
        assert_eq!(tail.said().await, "", "{format}");
    }
}

// 1.1: `--call`, `--tenant`, over all shards, from a time or an entry on, with events.
#[tokio::test]
async fn calls_are_chosen_out_of_all_shards() {
    let settings = [("SUPPORT_EXOTEL", "true"), ("AUDIO_STREAM_SHARDS", "4")];
    let rig = Rig::with(&settings).await;
    let shards = [
        ("REDIS_URL", &*rig.redis.url()),
        ("AUDIO_STREAM_SHARDS", "4"),
    ];
    let tail = |args: &[&str]| Tail::start(rig.service.dir(), &shards, args);
    for call in ["a", "b", "c", "d", "e"] {
        let mut socket = rig.exotel().await;
        begin(&mut socket, call, 2).await;
        socket.json(&stop(call)).await;
        rig.redis.wait_for_end(call).await;
    }
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "ours").await;
    socket.json(&numbered(1, &pcm(1, 960))).await;
    let mut all = tail(&["--json", "--since", "10m"]);
    let mut seen: Vec<String> = all
        .json(11)
        .await
        .iter()
        .map(|frame| format!("{} {}", frame["interaction_id"], frame["seq"]))
        .collect();
    seen.sort();
    let mut expected: Vec<String> = ["a", "b", "c", "d", "e"]
        .iter()
        .flat_map(|call| [1, 2].map(|seq| format!("\"{call}\" {seq}")))
        .collect();
    expected.push("\"ours\" 1".to_owned());
    assert_eq!(seen, expected);
    let mut one = tail(&["--call", "c", "--from", "0", "--events"]);
    let mut lines = one.lines(5).await;
    lines.sort_by_key(|line| line.contains("call_end"));
    assert!(lines[4].contains(" c someacct1 call_end "), "{lines:?}");
    let has = |words: &str| lines.iter().any(|line| line.contains(words));
    for words in [
        "c someacct1 seq=1 rate=8000 ms=20 bytes=320 level=",
        "c someacct1 seq=2 ",
        "c someacct1 start call_sid=c ",
        "c someacct1 stop reason=callended",
    ] {
        assert!(has(words), "{words} in {lines:?}");
    }
    let mut ours = tail(&["--tenant", "tenant-abc", "--since", "10m", "--json"]);
    assert_eq!(ours.json(1).await[0]["interaction_id"], "ours");
}

// 1.1: without a Redis it follows the journal that the service is writing; so it does with `--journal`.
#[tokio::test]
async fn a_journal_is_followed_beside_its_writer() {
    let service = Setup::new().env("SUPPORT_EXOTEL", "true").start().await;
    let mut tail = Tail::start(service.dir(), &[], &["--json", "--events", "--from", "0"]);
    let mut socket = Caller::to(&service).connect().await;
    begin(&mut socket, "journaled", 5).await;
    let start = &tail.json(1).await[0];
    assert_eq!(
        (&start["id"], &start["type"]),
        (&"1".into(), &"start".into())
    );
    for (seq, frame) in (1..=5).zip(tail.json(5).await) {
        assert_eq!((&frame["seq"], &frame["bytes"]), (&seq.into(), &320.into()));
    }
    let args = [
        "--journal",
        "data/journal",
        "--since",
        "1h",
        "--call",
        "journaled",
    ];
    let mut again = Tail::start(
        service.dir(),
        &[("REDIS_URL", "redis://127.0.0.1:1")],
        &args,
    );
    assert!(again.line().await.contains(" journaled someacct1 seq=1 "));
    speak(&mut socket, 6, 6).await;
    socket.json(&stop("journaled")).await;
    let kinds: Vec<Value> = tail
        .json(3)
        .await
        .iter()
        .map(|line| line["type"].clone())
        .collect();
    assert_eq!(kinds, [Value::Null, "stop".into(), "call_end".into()]);
    assert!(again.lines(5).await[4].contains(" seq=6 "));
}

// 1.1: whoever reads it, such as `head`, has seen enough.
#[tokio::test]
async fn a_closed_pipe_is_a_quiet_end() {
    let rig = Rig::open().await;
    let mut tail = Tail::of(&rig, &[]);
    until_it_reads(&rig.redis).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "endless", 1).await;
    tail.line().await;
    drop(std::mem::replace(
        &mut tail.lines,
        Tail::of(&rig, &["--call", "none"]).lines,
    ));
    let status = until("it to end", async || {
        speak(&mut socket, 1, 1).await;
        tail.child.try_wait().expect("it can be waited for")
    })
    .await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(tail.said().await, "");
}

// 1.1: a Redis that goes and comes back is said, and nothing is seen twice.
#[tokio::test]
async fn it_goes_on_when_redis_is_back() {
    let mut rig = Rig::open().await;
    let mut tail = Tail::of(&rig, &["--json"]);
    until_it_reads(&rig.redis).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "outlives", 5).await;
    assert_eq!(tail.json(5).await[4]["seq"], 5);
    let killed: u64 = rig
        .redis
        .tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    assert!(killed > 0);
    speak(&mut socket, 6, 10).await;
    let seqs = |seen: Vec<Value>| {
        seen.iter()
            .map(|frame| frame["seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(tail.json(5).await), [6, 7, 8, 9, 10]);
    rig.redis.kill().await;
    speak(&mut socket, 11, 15).await;
    rig.redis.revive().await;
    assert_eq!(seqs(tail.json(5).await), [11, 12, 13, 14, 15]);
    let said = tail.said().await;
    assert_eq!(
        said.matches("trying again every second").count(),
        2,
        "{said}"
    );
    assert_eq!(
        said.matches("Redis is connected again").count(),
        2,
        "{said}"
    );
}

// 1.1: what was trimmed before it could be read is said, with how much it was.
#[tokio::test]
async fn what_is_trimmed_unread_is_said() {
    let redis = Redis::start().await;
    let service = setup(
        &redis,
        &[("SUPPORT_EXOTEL", "true"), ("AUDIO_STREAM_MAXLEN", "0")],
    )
    .start()
    .await;
    let rig = Rig { service, redis };
    let mut tail = Tail::of(&rig, &["--json"]);
    until_it_reads(&rig.redis).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "trimmed", 5).await;
    tail.lines(5).await;
    // It is cut off, and does not run again before all this has happened.
    tail.signal(Signal::STOP);
    rig.redis
        .tell::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    speak(&mut socket, 6, 25).await;
    rig.redis.wait_for_frames("trimmed", 25).await;
    rig.redis
        .tell::<u64>(&["XTRIM", "audio_stream", "MAXLEN", "=", "10"])
        .await;
    tail.signal(Signal::CONT);
    assert_eq!(tail.json(1).await[0]["seq"], 16);
    let said = tail.said().await;
    assert!(
        said.contains("fell behind: 10 entries of audio_stream were removed before they were read"),
        "{said}"
    );
}

// 1.3: a Redis that is not there, or does not allow it, is said at once.
#[tokio::test]
async fn what_cannot_be_followed_is_an_error() {
    let redis = Redis::start().await;
    redis
        .tell::<String>(&[
            "ACL", "SETUSER", "blind", "on", ">pw", "+@all", "~*", "-xread",
        ])
        .await;
    let blind = redis.url().replace("redis://", "redis://blind:pw@");
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    for (args, code, words) in [
        (
            ["--redis", "redis://127.0.0.1:1"],
            1,
            "cannot connect to Redis at 127.0.0.1:1",
        ),
        (["--redis", &blind], 1, "NOPERM"),
        (["--journal", "nowhere"], 1, "nowhere"),
        (["--from", "now"], 2, "1762500000000-0"),
    ] {
        let args: Vec<&str> = ["tail"].into_iter().chain(args).collect();
        let outcome = crate::service::run(dir.path(), &[], &args, Duration::from_secs(10)).await;
        assert_eq!(outcome.code, Some(code), "{args:?}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{args:?}: {outcome:?}");
    }
}

// 1.1: a user with no more rights than the documents give it can look on.
#[tokio::test]
async fn the_rights_of_the_documents_suffice_to_look_on() {
    let rig = Rig::open().await;
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(document).expect("the document is there");
    let (_, rule) = text.split_once("`ACL SETUSER ").expect("the rule");
    let (rule, _) = rule.split_once('`').expect("its end");
    let words: Vec<&str> = ["ACL", "SETUSER"]
        .into_iter()
        .chain(rule.split(' '))
        .collect();
    rig.redis.tell::<String>(&words).await;
    let url = rig
        .redis
        .url()
        .replace("redis://", "redis://watch:password@");
    let args = ["--redis", &url, "--from", "0", "--json", "--events"];
    rig.play("watched", 5).await;
    let mut tail = Tail::start(rig.service.dir(), &[], &args);
    let seen = tail.json(8).await;
    assert!(
        seen.iter().all(|line| line["interaction_id"] == "watched"),
        "{seen:?}"
    );
    assert_eq!(tail.said().await, "");
}
