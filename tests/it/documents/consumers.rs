//! The workers of `docs/consuming.md`, at what a worker meets: calls that are whole and that are not, gaps, what a dead
//! worker left, a group that is gone, and their own end.

use std::{collections::BTreeSet, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use tokio::{process::Command, time::sleep};

use super::{
    block,
    programs::{Program, python},
};
use crate::{
    conversation::{begin, begin_simple, frame, numbered, speak, stop},
    redis::Redis,
    rig::Rig,
};

const NODE_MODULES: &str = "/usr/share/nodejs";
const STREAMS: [&str; 3] = ["audio_stream", "call_end", "call_events"];

#[derive(Clone, Copy)]
enum Language {
    Python,
    Node,
}

impl Language {
    fn command(self, dir: &Path) -> Command {
        match self {
            Self::Python => python(dir, "consumer-python"),
            Self::Node => {
                let file = dir.join("program.js");
                std::fs::write(&file, block("consumer-node")).expect("written");
                let mut command = Command::new("node");
                command.arg(file).env("NODE_PATH", NODE_MODULES);
                command
            }
        }
    }

    fn start(self, dir: &Path, redis: &Redis) -> Program {
        let mut command = self.command(dir);
        command
            .env("REDIS_URL", redis.url())
            .env("CLAIM_AFTER_MS", "1000");
        Program::start(command)
    }
}

impl Program {
    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("no zero");
        kill_process(pid, signal).expect("it can be signalled");
    }

    /// It ends by itself, and leaves nothing unacknowledged.
    async fn end(mut self, redis: &Redis) {
        self.signal(Signal::TERM);
        let status = self.child.wait().await.expect("it ends");
        assert!(status.success(), "{status}");
        for stream in STREAMS {
            let pending: Vec<::redis::Value> = redis.tell(&["XPENDING", stream, "asr"]).await;
            let none = Some(&::redis::Value::Int(0));
            assert_eq!(pending.first(), none, "{stream}: all was acknowledged");
        }
    }
}

/// Another worker takes frames and dies.
async fn take_and_die(redis: &Redis, count: &str) {
    let words = ["XREADGROUP", "GROUP", "asr", "dead", "COUNT", count];
    let from = ["STREAMS", "audio_stream", ">"];
    let all: Vec<&str> = words.into_iter().chain(from).collect();
    redis.tell::<::redis::Value>(&all).await;
}

/// Two calls of Exotel's, of 20 frames each. Of the first, some frames were taken by a worker that has died, and one
/// stands there twice; of the second, one is missing. And a call of a client that left two numbers out.
async fn eventful(format: &str) -> Rig {
    let settings = [
        ("SUPPORT_EXOTEL", "true"),
        ("FRAME_FORMAT", format),
        ("AUDIO_CONSUMER_GROUPS", "asr"),
    ];
    let rig = Rig::with(&settings).await;
    for call in ["whole", "holey"] {
        rig.play(call, 20).await;
    }
    let entries = rig.redis.entries("audio_stream").await;
    let mut again = ::redis::cmd("XADD");
    again.arg("audio_stream").arg("*");
    for (name, value) in &entries[9].1 {
        again.arg(name).arg(value.as_slice());
    }
    let added = rig.redis.ask::<String>(&again).await;
    added.expect("the repeat is added");
    let missing = &entries[31].0;
    let removed: u64 = rig.redis.tell(&["XDEL", "audio_stream", missing]).await;
    assert_eq!(removed, 1);
    take_and_die(&rig.redis, "7").await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "gappy").await;
    for seq in [1, 2, 5, 6] {
        socket.json(&numbered(seq, &frame(seq))).await;
    }
    socket.json(&json!({"event": "end"})).await;
    rig.redis.wait_for_end("gappy").await;
    rig
}

async fn check_eventful(language: Language, format: &str) {
    let dir = TempDir::new().expect("a temporary directory");
    let rig = eventful(format).await;
    let mut program = language.start(dir.path(), &rig.redis);
    let expected = [
        "call gappy: 13 ms are missing before frame 5, reason client",
        "call gappy: 4 of 4 frames, whole, 1 gaps",
        "call gappy: frames 3 to 4 are missing",
        "call holey: 19 of 20 frames, not whole",
        "call holey: frames 12 to 12 are missing",
        "call whole: 20 of 20 frames, whole",
        "call whole: frame 10 is a repeat, or too late",
    ];
    let mut said = BTreeSet::new();
    for _ in expected {
        let line = program.line().await;
        said.insert(line);
    }
    assert_eq!(said, expected.map(str::to_owned).into());
    program.end(&rig.redis).await;
}

#[tokio::test]
async fn the_python_consumer_reads_json() {
    check_eventful(Language::Python, "json").await;
}

#[tokio::test]
async fn the_python_consumer_reads_fields() {
    check_eventful(Language::Python, "fields").await;
}

#[tokio::test]
async fn the_node_consumer_reads_json() {
    check_eventful(Language::Node, "json").await;
}

#[tokio::test]
async fn the_node_consumer_reads_fields() {
    check_eventful(Language::Node, "fields").await;
}

/// Until the calls of this name are judged; nothing else is said, but for what Redis answered.
async fn judged(program: &mut Program, call: &str) -> String {
    loop {
        let line = program.line().await;
        if line.starts_with(&format!("call {call}: ")) {
            return line;
        }
        assert!(line.starts_with("Redis: "), "{line}");
    }
}

/// A group that is removed is made again where reading stopped: nothing is missed, and nothing is done twice, also where
/// the service was first, and made it from the stream's beginning.
async fn check_a_group_that_is_gone(language: Language) {
    for groups in ["", "asr"] {
        let dir = TempDir::new().expect("a temporary directory");
        let settings = [
            ("SUPPORT_EXOTEL", "true"),
            ("AUDIO_CONSUMER_GROUPS", groups),
        ];
        let rig = Rig::with(&settings).await;
        let mut program = language.start(dir.path(), &rig.redis);
        rig.play("before", 20).await;
        let whole = judged(&mut program, "before").await;
        assert_eq!(whole, "call before: 20 of 20 frames, whole");
        let mut socket = rig.exotel().await;
        begin(&mut socket, "during", 10).await;
        rig.redis.wait_for_frames("during", 10).await;
        for stream in STREAMS {
            let words = ["XGROUP", "DESTROY", stream, "asr"];
            assert_eq!(rig.redis.tell::<u64>(&words).await, 1, "{stream}");
        }
        speak(&mut socket, 11, 20).await;
        socket.json(&stop("during")).await;
        let whole = judged(&mut program, "during").await;
        assert_eq!(whole, "call during: 20 of 20 frames, whole", "{groups:?}");
        program.end(&rig.redis).await;
    }
}

#[tokio::test]
async fn the_python_consumer_makes_its_group_again() {
    check_a_group_that_is_gone(Language::Python).await;
}

#[tokio::test]
async fn the_node_consumer_makes_its_group_again() {
    check_a_group_that_is_gone(Language::Node).await;
}

/// What another worker took while this one stood still, and never acknowledged, is claimed and done.
async fn check_what_a_dead_worker_left(language: Language) {
    let dir = TempDir::new().expect("a temporary directory");
    let rig = Rig::open().await;
    let mut program = language.start(dir.path(), &rig.redis);
    rig.play("first", 20).await;
    judged(&mut program, "first").await;
    program.signal(Signal::STOP);
    // Longer than its reading blocks, so that Redis does not hand it what comes now.
    sleep(Duration::from_millis(1500)).await;
    rig.play("left", 20).await;
    take_and_die(&rig.redis, "20").await;
    program.signal(Signal::CONT);
    let whole = judged(&mut program, "left").await;
    assert_eq!(whole, "call left: 20 of 20 frames, whole");
    program.end(&rig.redis).await;
}

#[tokio::test]
async fn the_python_consumer_claims_what_a_dead_worker_left() {
    check_what_a_dead_worker_left(Language::Python).await;
}

#[tokio::test]
async fn the_node_consumer_claims_what_a_dead_worker_left() {
    check_what_a_dead_worker_left(Language::Node).await;
}
