//! `export` against real streams and a real journal: the samples are those that were sent, and what is missing is said.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    caller::Caller,
    conversation::{begin, begin_simple, frame, media, numbered, pcm, start, stop},
    rig::Rig,
    service::{Outcome, Setup, run},
    wait::until,
};

const LIMIT: Duration = Duration::from_secs(20);

/// Exports into `out.wav` in the service's directory.
async fn export(rig: &Rig, args: &[&str]) -> Outcome {
    let args: Vec<&str> = ["export", "--out", "out.wav"]
        .into_iter()
        .chain(args.iter().copied())
        .collect();
    rig.command(&args).await
}

/// The rate of a WAV, and the PCM of each of its channels.
fn heard(path: &Path) -> (u32, Vec<Vec<u8>>) {
    let mut reader = hound::WavReader::open(path).expect("a WAV");
    let (rate, width) = (reader.spec().sample_rate, reader.spec().channels);
    let mut channels = vec![Vec::new(); width.into()];
    for (at, sample) in reader.samples::<i16>().enumerate() {
        let sample = sample.expect("a sample");
        channels[at % usize::from(width)].extend(sample.to_le_bytes());
    }
    (rate, channels)
}

fn frames(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(frame).collect()
}

fn assert_says(outcome: &Outcome, code: i32, phrases: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:?}");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for phrase in phrases {
        assert!(said.contains(phrase), "{phrase:?} in {outcome:?}");
    }
}

async fn delete(rig: &Rig, call: &str, seq: u64) {
    let frames = rig.redis.frames_of(call).await;
    let found = frames.iter().find(|frame| frame.seq == seq);
    let id = &found.expect("the frame is there").id;
    rig.redis.tell::<u64>(&["XDEL", "audio_stream", id]).await;
}

// 1.1 export: a call's audio as WAV, to the sample, in both formats; a file that was there is replaced.
#[tokio::test]
async fn export_writes_what_was_sent() {
    for format in ["json", "fields"] {
        let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("FRAME_FORMAT", format)]).await;
        rig.play("exported", 12).await;
        let out = rig.service.dir().join("out.wav");
        std::fs::write(&out, "something else").expect("written");
        let outcome = export(&rig, &["--call", "exported"]).await;
        let counts = "12 frames, 0 gaps, 0 duplicates, crc ok\n";
        let written = "replaced ";
        assert_says(
            &outcome,
            0,
            &[counts, written, ": 0.240 s, 1 channel at 8000 Hz\n"],
        );
        assert_eq!(heard(&out), (8_000, vec![frames(1..=12)]));
        assert_eq!(outcome.stderr, "", "{outcome:?}");
    }
}

// 1.1 export: silence for frames that are missing between others, or on request nothing, and both said.
#[tokio::test]
async fn missing_frames_are_said_and_filled_with_silence() {
    let rig = Rig::open().await;
    rig.play("holey", 10).await;
    for seq in [1, 4, 5] {
        delete(&rig, "holey", seq).await;
    }
    let out = rig.service.dir().join("out.wav");
    let outcome = export(&rig, &["--call", "holey"]).await;
    let said = [
        "missing: seq 1, before the beginning of the file\n",
        "missing: seq 4 to 5, 40 ms of silence in the file\n",
    ];
    assert_says(&outcome, 0, &said);
    let silence = vec![0; 640];
    let expected = [frames(2..=3), silence, frames(6..=10)].concat();
    assert_eq!(heard(&out), (8_000, vec![expected]));
    let outcome = export(&rig, &["--call", "holey", "--no-fill"]).await;
    assert_says(
        &outcome,
        0,
        &["missing: seq 4 to 5, 40 ms left out of the file\n"],
    );
    let expected = [frames(2..=3), frames(6..=10)].concat();
    assert_eq!(heard(&out), (8_000, vec![expected]));
}

// 4.4 gap: what the service told of a hole is said, and fills it.
#[tokio::test]
async fn gaps_that_the_service_told_of_are_filled() {
    let rig = Rig::open().await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "jumped").await;
    for seq in [5, 6, 9] {
        socket.json(&numbered(seq, &pcm(seq, 960))).await;
    }
    socket.json(&json!({"event": "end"})).await;
    socket.rest().await;
    rig.redis.wait_for_end("jumped").await;
    rig.redis.wait_for_event("jumped", "gap").await;
    let outcome = export(&rig, &["--call", "jumped", "--tenant", "tenant-abc"]).await;
    let said = [
        "3 frames, 1 gaps, 0 duplicates, crc ok\n",
        "missing: seq 7 to 8 (client), 40 ms of silence in the file\n",
    ];
    assert_says(&outcome, 0, &said);
    let expected = [pcm(5, 960), pcm(6, 960), vec![0; 1920], pcm(9, 960)].concat();
    let out = rig.service.dir().join("out.wav");
    assert_eq!(heard(&out), (24_000, vec![expected]));
}

// 3.10: one channel per track.
#[tokio::test]
async fn tracks_become_channels() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    socket.json(&start("stereo")).await;
    for n in 1..=6 {
        let mut message = media(n, &frame(n));
        message["media"]["track"] = if n % 2 == 1 { "inbound" } else { "outbound" }.into();
        socket.json(&message).await;
    }
    socket.json(&stop("stereo")).await;
    socket.rest().await;
    rig.redis.wait_for_end("stereo").await;
    let outcome = export(&rig, &["--call", "stereo"]).await;
    let said = ["0.060 s, 2 channels (inbound, outbound) at 8000 Hz\n"];
    assert_says(&outcome, 0, &said);
    let out = rig.service.dir().join("out.wav");
    let channels = vec![frames([1, 3, 5]), frames([2, 4, 6])];
    assert_eq!(heard(&out), (8_000, channels));
}

// 3.10: the newest session unless one is named, and the others are said.
#[tokio::test]
async fn one_session_is_exported_and_the_others_are_named() {
    let rig = Rig::open().await;
    rig.play("again", 4).await;
    rig.play("again", 6).await;
    let ends = rig.redis.ends_of("again").await;
    let first = ends[0]["session"].to_string();
    let out = rig.service.dir().join("out.wav");
    let outcome = export(&rig, &["--call", "again"]).await;
    let others = format!("the call also has session {first} (4 frames): choose with --session\n");
    assert_says(&outcome, 0, &["wrote ", &others]);
    assert_eq!(heard(&out).1, [frames(1..=6)]);
    let outcome = export(&rig, &["--call", "again", "--session", &first]).await;
    assert_says(&outcome, 0, &["replaced "]);
    assert_eq!(heard(&out).1, [frames(1..=4)]);
    let outcome = export(&rig, &["--call", "again", "--session", "7"]).await;
    assert_says(&outcome, 1, &["has no session 7, but session ", &first]);
}

// 1.3: without a call or its audio no file is written, and the exit code is 1; a name that two tenants use is a question.
#[tokio::test]
async fn what_cannot_be_exported_is_said() {
    let rig = Rig::open().await;
    rig.play("gone", 4).await;
    let outcome = export(&rig, &["--call", "nobody"]).await;
    assert_says(&outcome, 1, &["call nobody was not found"]);
    rig.redis
        .tell::<u64>(&["XTRIM", "audio_stream", "MAXLEN", "0"])
        .await;
    let outcome = export(&rig, &["--call", "gone"]).await;
    assert_says(
        &outcome,
        1,
        &["no audio of call gone is there, only the end of "],
    );
    rig.play("shared", 3).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "shared").await;
    socket.json(&numbered(1, &pcm(1, 960))).await;
    rig.redis.wait_for_frames("shared", 4).await;
    let outcome = export(&rig, &["--call", "shared"]).await;
    assert_says(&outcome, 1, &["--tenant someacct1, or tenant-abc"]);
    assert!(!rig.service.dir().join("out.wav").exists());
    // A call that goes on is written as far as it has come.
    let outcome = export(&rig, &["--call", "shared", "--tenant", "tenant-abc"]).await;
    assert_says(
        &outcome,
        0,
        &["1 frames, 0 gaps, 0 duplicates, no call_end: "],
    );
    assert_eq!(
        heard(&rig.service.dir().join("out.wav")),
        (24_000, vec![pcm(1, 960)])
    );
}

// 1.1 `--journal DIR`: the same out of a journal that a server is writing.
#[tokio::test]
async fn a_journal_is_exported_beside_its_writer() {
    let service = Setup::new().env("SUPPORT_EXOTEL", "true").start().await;
    let mut socket = Caller::to(&service).connect().await;
    begin(&mut socket, "journaled", 20).await;
    socket.json(&stop("journaled")).await;
    socket.rest().await;
    let args = ["--call", "journaled", "--journal", "data/journal"];
    let verify = ["verify", "--json"]
        .into_iter()
        .chain(args)
        .collect::<Vec<_>>();
    until("the end in the journal", async || {
        let outcome = run(service.dir(), &[], &verify, LIMIT).await;
        let line: Value = serde_json::from_str(&outcome.stdout).ok()?;
        (line["status"] == "whole").then_some(())
    })
    .await;
    let export = ["export", "--out", "out.wav"].into_iter().chain(args);
    let outcome = run(service.dir(), &[], &export.collect::<Vec<_>>(), LIMIT).await;
    assert_says(&outcome, 0, &["20 frames, 0 gaps, 0 duplicates, crc ok\n"]);
    let out = service.dir().join("out.wav");
    assert_eq!(heard(&out), (8_000, vec![frames(1..=20)]));
}
