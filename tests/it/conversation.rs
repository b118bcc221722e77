//! The messages of both dialects, and audio that can be recognised again. Shapes that differ from
//! these are recorded under `tests/wire`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{caller::Socket, redis::Frame};

pub(crate) const STREAM_SID: &str = "3357459ca698d8c765bac10b0ec418bl";

/// PCM16 of one frame, different for each `n`.
pub(crate) fn pcm(n: u64, bytes: usize) -> Vec<u8> {
    let start = n.wrapping_mul(7919);
    (0..bytes as u64 / 2)
        .flat_map(|i| {
            let [low, high, ..] = start.wrapping_add(i * 31).to_le_bytes();
            [low, high]
        })
        .collect()
}

/// 20 ms at 8 kHz, the size of Exotel's frames.
pub(crate) fn frame(n: u64) -> Vec<u8> {
    pcm(n, 320)
}

/// Exotel's start as it is really sent, for a call of this name.
pub(crate) fn start(call: &str) -> Value {
    json!({"event": "start", "stream_sid": STREAM_SID, "sequence_number": "1", "start": {
        "stream_sid": STREAM_SID, "call_sid": call, "account_sid": "someacct1",
        "from": "09990000000", "to": "04440000000",
        "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"}}})
}

/// The same with one key of `start` set.
pub(crate) fn start_with(call: &str, key: &str, value: Value) -> Value {
    let mut start = start(call);
    start["start"][key] = value;
    start
}

/// Exotel's `n`-th audio message, counted from 1.
pub(crate) fn media(n: u64, audio: &[u8]) -> Value {
    json!({"event": "media", "stream_sid": STREAM_SID, "sequence_number": (n + 1).to_string(),
        "media": {"chunk": n.to_string(), "timestamp": (n * 20).to_string(), "payload": STANDARD.encode(audio)}})
}

/// Exotel's stop with its usual reason.
pub(crate) fn stop(call: &str) -> Value {
    json!({"event": "stop", "stream_sid": STREAM_SID, "sequence_number": "731",
        "stop": {"call_sid": call, "account_sid": "someacct1", "reason": "callended"}})
}

/// The start of a custom client.
pub(crate) fn simple_start(call: &str) -> Value {
    json!({"event": "start", "interaction_id": call, "tenant_id": "tenant-abc", "sample_rate": 24000, "encoding": "pcm16"})
}

/// Audio of a custom client that does not number it.
pub(crate) fn audio(audio: &[u8]) -> Value {
    json!({"event": "audio", "data": STANDARD.encode(audio)})
}

/// Audio of a custom client that does.
pub(crate) fn numbered(seq: u64, audio: &[u8]) -> Value {
    json!({"event": "audio", "data": STANDARD.encode(audio), "seq": seq})
}

/// `connected`, the start and frames `1..=count` of a call.
pub(crate) async fn begin(socket: &mut Socket, call: &str, count: u64) {
    socket.json(&json!({"event": "connected"})).await;
    socket.json(&start(call)).await;
    speak(socket, 1, count).await;
}

/// Frames `first..=last`.
pub(crate) async fn speak(socket: &mut Socket, first: u64, last: u64) {
    for n in first..=last {
        socket.json(&media(n, &frame(n))).await;
    }
}

/// A custom client's start; returns the `started` answer.
pub(crate) async fn begin_simple(socket: &mut Socket, call: &str) -> Value {
    socket.json(&simple_start(call)).await;
    let answer = socket.next_json().await;
    assert_eq!(answer["event"], "started", "{answer}");
    answer
}

/// These frames are `first..=last` of [`frame`], numbered from `seq` without a hole.
pub(crate) fn assert_run(frames: &[Frame], seq: u64, first: u64, last: u64) {
    assert_eq!(frames.len() as u64, last + 1 - first, "number of frames");
    for (n, published) in (first..=last).zip(frames) {
        assert_eq!(published.seq, seq + n - first, "seq of frame {n}");
        assert_eq!(published.audio, frame(n), "audio of frame {n}");
    }
}

/// What `call_end` says of itself must be true of these frames (4.3).
pub(crate) fn assert_proves(end: &Value, frames: &[Frame]) {
    let audio: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.audio.clone())
        .collect();
    let nanos = frames
        .iter()
        .map(|frame| frame.audio.len() as u64 * 500_000_000 / frame.sample_rate);
    let duration_ms = nanos.sum::<u64>() / 1_000_000;
    assert_eq!(end["frames"], frames.len(), "frames of {end}");
    assert_eq!(end["bytes"], audio.len(), "bytes of {end}");
    let crc = format!("{:08x}", crc32fast::hash(&audio));
    assert_eq!(end["crc32"], crc.as_str(), "crc32 of {end}");
    let told = end["duration_ms"]
        .as_u64()
        .expect("duration_ms is a number");
    assert!(told.abs_diff(duration_ms) <= 1, "{duration_ms} ms of {end}");
    if let (Some(first), Some(last)) = (frames.first(), frames.last()) {
        assert_eq!(end["first_seq"], first.seq, "first_seq of {end}");
        assert_eq!(end["last_seq"], last.seq, "last_seq of {end}");
        assert_eq!(end["session"], first.session, "session of {end}");
    }
}
