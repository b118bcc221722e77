//! What callers say and what becomes of it: recorded conversations under `tests/wire`, and tables of
//! the names that rates and encodings go by. Every conversation is held to the same invariants:
//! the frames as recorded and no others, each end once, and each end true of its frames.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    caller::Socket,
    conversation::{assert_proves, frame, media, start_with, stop},
    keys,
    redis::Frame,
    rig::Rig,
    wait::until,
};

/// What becomes of the bytes of a payload.
type Decoder = fn(&[u8]) -> Vec<u8>;

// 3.5, 3.6, 3.7, 4.3, 4.4: each recorded conversation, one after another on one service.
#[tokio::test]
async fn recorded_conversations_publish_what_is_expected() {
    let rig = Rig::open().await;
    let mut names: Vec<String> = std::fs::read_dir(wire())
        .expect("tests/wire is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".jsonl").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() > 30, "conversations are missing: {names:?}");
    for name in names {
        if let Err(problem) = check(&rig, &name).await {
            panic!("tests/wire/{name}.jsonl: {problem}");
        }
    }
}

// 3.6: "8000", 8000, "8000Hz", "8k", "16kHz" are all read; what Exotel does not know falls to the next in line.
#[tokio::test]
async fn exotel_rates_are_read_in_every_spelling() {
    let rig = Rig::open().await;
    let format = |rate: Value| json!({ "media_format": { "sample_rate": rate } });
    let cases = [
        ("", format(json!("8000")), 8000),
        ("", format(json!(8000)), 8000),
        ("", format(json!("8000Hz")), 8000),
        ("", format(json!("8k")), 8000),
        ("", format(json!("16kHz")), 16000),
        ("", format(json!("16000")), 16000),
        ("", format(json!(24000)), 24000),
        ("", format(json!("24K")), 24000),
        ("", format(json!("1800")), 8000),
        ("", format(json!(44100)), 8000),
        ("", format(json!("fast")), 8000),
        ("", format(json!(null)), 8000),
        ("", format(json!({})), 8000),
        ("", json!({}), 8000),
        ("", json!({"sample_rate": "16000"}), 16000),
        (
            "",
            json!({"media_format": {"sample_rate": "1800"}, "sample_rate": "16000"}),
            16000,
        ),
        (
            "",
            json!({"media_format": {"sample_rate": "8000"}, "sample_rate": "16000"}),
            8000,
        ),
        (
            "",
            json!({"custom_parameters": {"sample-rate": "24000"}}),
            24000,
        ),
        (
            "",
            json!({"custom_parameters": {"sample-rate": "24000"}, "sample_rate": 16000}),
            16000,
        ),
        ("?sample-rate=16000", json!({}), 16000),
        ("?sample_rate=24000", json!({}), 24000),
        (
            "?sample-rate=16000",
            json!({"custom_parameters": {"sample-rate": "24000"}}),
            24000,
        ),
        ("?sample-rate=16000", format(json!("8000")), 8000),
        ("?sample-rate=16000", format(json!("1800")), 16000),
        ("?sample-rate=11025", json!({}), 8000),
    ];
    for (n, (query, fields, rate)) in cases.into_iter().enumerate() {
        let call = format!("rate-{n}");
        let mut start = json!({"event": "start", "start": {"call_sid": call}});
        for (name, value) in fields.as_object().expect("an object") {
            start["start"][name] = value.clone();
        }
        let published = one_frame(&rig, query, &start, &call).await;
        assert_eq!(published.sample_rate, rate, "{query} {start}");
        assert_eq!(published.audio, frame(1), "{query} {start}");
    }
}

// 3.7, trap 3: the names of PCM16, mu-law and A-law; an unknown one is PCM16 on an Exotel stream, with a warning.
#[tokio::test]
async fn encodings_are_known_by_all_their_names() {
    let rig = Rig::open().await;
    let pcm16 = "pcm16 raw/slin slin linear16 l16 audio/l16 audio/x-l16 audio/L16;rate=8000 base64 raw RAW/SLIN";
    let mulaw = "mulaw ulaw pcmu PCMU audio/x-mulaw audio/x-mulaw;rate=8000 audio/basic";
    let alaw = "alaw pcma PCMA audio/x-alaw audio/x-alaw;rate=8000";
    // The first code decodes to -32124 in mu-law, to -5504 in A-law (ITU-T G.711).
    let names_and_decoders: [(&str, Decoder); 4] = [
        (pcm16, <[u8]>::to_vec),
        (mulaw, |bytes| {
            (-32124_i16).to_le_bytes().repeat(bytes.len())
        }),
        (alaw, |bytes| (-5504_i16).to_le_bytes().repeat(bytes.len())),
        ("opus audio/x-raw something/else;rate=8000", <[u8]>::to_vec),
    ];
    for (names, decode) in names_and_decoders {
        for name in names.split(' ') {
            let call = format!("encoding {name}");
            let format = json!({"encoding": name, "sample_rate": "8000"});
            let mut socket = rig.exotel().await;
            let start = start_with(&call, "media_format", format);
            socket.json(&start).await;
            socket.json(&media(1, &[0; 320])).await;
            socket.json(&stop(&call)).await;
            socket.rest().await;
            let frames = rig.redis.wait_for_frames(&call, 1).await;
            assert_eq!(frames[0].audio, decode(&[0; 320]), "{name}");
            assert_eq!(frames[0].encoding, "pcm16", "{name}");
        }
    }
    let warnings = rig.service.lines();
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("WARN") && line.contains("opus")),
        "an encoding nobody knows is worth a warning"
    );
}

// 3.6: Exotel audio before any start gets a fresh id, never shared by two connections.
#[tokio::test]
async fn unnamed_calls_never_share_an_id() {
    let rig = Rig::open().await;
    for _ in 0..3 {
        let mut socket = rig.exotel().await;
        socket.binary(frame(1)).await;
        socket.json(&json!({"event": "stop"})).await;
        assert_eq!(socket.rest().await.code, Some(1000));
    }
    let frames = rig.redis.frames().await;
    let mut ids: Vec<&str> = frames
        .iter()
        .map(|frame| frame.interaction_id.as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((frames.len(), ids.len()), (3, 3), "{ids:?}");
}

// 3.1: without configured tokens the path segment is ignored.
#[tokio::test]
async fn a_path_segment_without_configured_tokens_is_ignored() {
    let rig = Rig::open().await;
    let mut socket = rig.caller().path("/v1/ingest/whatever").connect().await;
    socket
        .json(&start_with("segment", "token", json!("x")))
        .await;
    socket.json(&media(1, &frame(1))).await;
    rig.redis.wait_for_frames("segment", 1).await;
}

/// Plays one file and compares; the text of an error names the clause.
async fn check(rig: &Rig, name: &str) -> Result<(), String> {
    let read = |suffix: &str| {
        std::fs::read_to_string(wire().join(format!("{name}.{suffix}")))
            .expect("both files are there")
    };
    let expected: Value =
        serde_json::from_str(&read("expect.json")).expect("expectations are JSON");
    let frames_before = rig.redis.frames().await.len();
    let ends_before = rig.redis.records("call_end").await.len();
    let events_before = rig.redis.records("call_events").await.len();

    let mut socket = dial(rig, &expected).await;
    for line in read("jsonl").lines() {
        socket.send(message(line)).await;
    }
    let rest = socket.rest().await;

    let wanted = expected["ends"].as_array().expect("ends");
    let ends = until(&format!("the ends of {name}"), async || {
        let ends = rig.redis.records("call_end").await.split_off(ends_before);
        (ends.len() >= wanted.len()).then_some(ends)
    })
    .await;
    let frames = rig.redis.frames().await.split_off(frames_before);
    let events = rig
        .redis
        .records("call_events")
        .await
        .split_off(events_before);

    let clause = expected["clause"].as_str().expect("clause");
    let described: Vec<Value> = frames.iter().map(describe).collect();
    compare("frames", clause, &expected["frames"], &described)?;
    compare("ends", clause, &expected["ends"], &ends)?;
    find_in_order(clause, &expected["events"], &events)?;
    for (kind, count) in expected["event_counts"].as_object().into_iter().flatten() {
        let seen = events.iter().filter(|event| event["type"] == *kind).count();
        if *count != seen {
            return Err(format!("{clause}: {seen} events {kind}, not {count}"));
        }
    }
    prove(&frames, &ends);
    let code = expected["close"].as_u64().unwrap_or(1000);
    if rest.code.map(u64::from) != Some(code) {
        return Err(format!("{clause}: closed with {:?}, not {code}", rest.code));
    }
    match expected.get("answers") {
        Some(answers) => find_in_order(clause, answers, &rest.texts),
        None if expected.get("token").is_some() => Ok(()),
        None if rest.texts.is_empty() && rest.binaries == 0 => Ok(()),
        None => Err(format!(
            "3.8: nothing is sent to Exotel, but {:?} was",
            rest.texts
        )),
    }
}

async fn dial(rig: &Rig, expected: &Value) -> Socket {
    let path = expected["path"].as_str().unwrap_or("/v1/ingest");
    let caller = rig.caller().path(path);
    let Some(claims) = expected.get("token").and_then(Value::as_object) else {
        return caller.connect().await;
    };
    let claims: Vec<(&str, Value)> = claims
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    caller.bearer(&keys::token_with(&claims)).connect().await
}

/// A line as it is sent: text, unless it is `{"binary_base64": …}`.
fn message(line: &str) -> Message {
    let parsed: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    match parsed["binary_base64"].as_str() {
        Some(bytes) => Message::binary(STANDARD.decode(bytes).expect("base64")),
        None => Message::text(line),
    }
}

fn describe(frame: &Frame) -> Value {
    json!({"tenant_id": frame.tenant_id, "interaction_id": frame.interaction_id, "seq": frame.seq,
        "sample_rate": frame.sample_rate, "encoding": frame.encoding, "stream_sid": frame.stream_sid,
        "track": frame.track, "media_ms": frame.media_ms, "audio": STANDARD.encode(&frame.audio)})
}

/// As many as expected, each with what is expected of it.
fn compare(what: &str, clause: &str, expected: &Value, seen: &[Value]) -> Result<(), String> {
    let expected = expected.as_array().expect("expectations are lists");
    let all = expected.len() == seen.len();
    if all
        && expected
            .iter()
            .zip(seen)
            .all(|(want, have)| fits(want, have))
    {
        return Ok(());
    }
    Err(format!(
        "{clause}: {what}\nexpected {expected:#?}\nseen {seen:#?}"
    ))
}

/// Each expected event or answer, in order; others may stand between.
fn find_in_order(clause: &str, expected: &Value, seen: &[Value]) -> Result<(), String> {
    let mut rest = seen.iter();
    for want in expected.as_array().expect("expectations are lists") {
        if !rest.any(|have| fits(want, have)) {
            return Err(format!("{clause}: no {want} in order in {seen:#?}"));
        }
    }
    Ok(())
}

/// Every named field equal; `null` means absent or null, `"*"` any text that is not empty.
fn fits(want: &Value, have: &Value) -> bool {
    let fields = want.as_object().expect("expectations are objects");
    fields.iter().all(|(name, want)| match (want, &have[name]) {
        (Value::String(any), Value::String(text)) if any == "*" => !text.is_empty(),
        (Value::Object(_), have @ Value::Object(_)) => fits(want, have),
        (want, have) => want == have,
    })
}

fn prove(frames: &[Frame], ends: &[Value]) {
    for end in ends {
        let own = |frame: &&Frame| {
            end["interaction_id"] == frame.interaction_id.as_str()
                && end["session"] == frame.session
        };
        let own: Vec<Frame> = frames.iter().filter(own).cloned().collect();
        assert_proves(end, &own);
    }
}

async fn one_frame(rig: &Rig, query: &str, start: &Value, call: &str) -> Frame {
    let caller = rig.caller().path(&format!("/v1/ingest{query}"));
    let mut socket = caller.connect().await;
    socket.json(start).await;
    socket.json(&media(1, &frame(1))).await;
    socket.json(&stop(call)).await;
    assert_eq!(socket.rest().await.code, Some(1000), "{start}");
    let mut frames = rig.redis.wait_for_frames(call, 1).await;
    assert_eq!(frames.len(), 1, "{start}");
    frames.remove(0)
}

fn wire() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}
