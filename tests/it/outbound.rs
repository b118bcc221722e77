//! Audio back to the caller (section 7): what Exotel gets is shaped, paced and ordered as it wants it;
//! and the pause, which is spoken on the same channel.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    caller::Socket,
    conversation::{
        STREAM_SID, begin, begin_simple, frame, media, pcm, speak, start, start_with, stop,
    },
    rig::Rig,
    wait::until,
};

/// Publishes until the call hears it (7.1: the number of receivers tells).
async fn say(rig: &Rig, call: &str, message: &Value) {
    let channel = format!("call_out:{call}");
    let text = message.to_string();
    until("the call to listen", async || {
        (rig.redis.tell::<u64>(&["PUBLISH", &channel, &text]).await > 0).then_some(())
    })
    .await;
}

fn speech(audio: &[u8], rate: u32) -> Value {
    json!({"event": "media", "audio": STANDARD.encode(audio), "sample_rate": rate})
}

/// Pieces of audio until there are `bytes` of it; every one is held to what Exotel demands (traps 5, 15).
async fn hear(socket: &mut Socket, bytes: usize) -> Vec<u8> {
    let mut audio = Vec::new();
    while audio.len() < bytes {
        let message = socket.next_json().await;
        audio.extend(piece(&message));
    }
    audio
}

fn piece(message: &Value) -> Vec<u8> {
    assert_eq!(message["event"], "media", "{message}");
    assert_eq!(message["stream_sid"], STREAM_SID, "{message}");
    let numbers = [
        &message["sequence_number"],
        &message["media"]["chunk"],
        &message["media"]["timestamp"],
    ];
    for number in numbers {
        let digits = number.as_str().expect("a bare number ends the call");
        assert!(digits.parse::<u64>().is_ok(), "{message}");
    }
    let payload = message["media"]["payload"].as_str().expect("a payload");
    assert!(payload.len() <= 100_000, "{}", payload.len());
    let audio = STANDARD.decode(payload).expect("base64");
    assert!(
        audio.len() >= 3_200 && audio.len().is_multiple_of(320),
        "{}",
        audio.len()
    );
    audio
}

// 7.2, traps 5 and 15: strings for numbers, sizes, the rest padded with silence; nothing changed or lost.
#[tokio::test]
async fn media_goes_out_as_exotel_wants_it() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "spoken", 1).await;
    let audio = pcm(1, 7_000);
    say(&rig, "spoken", &speech(&audio, 8_000)).await;
    let heard = hear(&mut socket, 7_000).await;
    assert_eq!(heard[..7_000], audio);
    assert!(
        heard[7_000..].iter().all(|byte| *byte == 0),
        "padded with silence"
    );
    assert_eq!(heard.len() % 320, 0);
}

// 7.2, trap 15: a WAV header is removed.
#[tokio::test]
async fn a_wav_header_is_removed() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "wav", 1).await;
    let audio = pcm(2, 3_200);
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).expect("a writer");
    for sample in audio.chunks(2) {
        writer
            .write_sample(i16::from_le_bytes([sample[0], sample[1]]))
            .expect("written");
    }
    writer.finalize().expect("written");
    say(&rig, "wav", &speech(file.get_ref(), 8_000)).await;
    assert_eq!(hear(&mut socket, 3_200).await, audio);
}

// 7.2, trap 15: pieces leave at real-time pace, at most 1 s ahead.
#[tokio::test]
async fn media_leaves_at_real_time_pace() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "paced", 1).await;
    // Three seconds at 8 kHz.
    say(&rig, "paced", &speech(&pcm(3, 48_000), 8_000)).await;
    let begun = Instant::now();
    let mut heard = 0;
    while heard < 48_000 {
        heard += piece(&socket.next_json().await).len();
        let allowed_ms = begun.elapsed().as_millis() + 1_450;
        let heard_ms = heard as u128 / 16;
        assert!(
            heard_ms <= allowed_ms,
            "{heard_ms} ms heard, {allowed_ms} allowed"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

// Trap 14: speaking does not hold up listening.
#[tokio::test]
async fn speaking_does_not_hold_up_listening() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "busy", 1).await;
    say(&rig, "busy", &speech(&pcm(4, 160_000), 8_000)).await;
    for n in 2..=11 {
        let sent = Instant::now();
        socket.json(&media(n, &frame(n))).await;
        rig.redis
            .wait_for_frames("busy", usize::try_from(n).expect("small"))
            .await;
        assert!(
            sent.elapsed() < Duration::from_secs(1),
            "{:?}",
            sent.elapsed()
        );
    }
}

// 7.2: resampled to the stream's rate and encoded as the stream is.
#[tokio::test]
async fn media_is_converted_to_the_stream() {
    let rig = Rig::open().await;
    let mut slow = rig.exotel().await;
    begin(&mut slow, "resampled", 1).await;
    say(&rig, "resampled", &speech(&pcm(5, 12_800), 16_000)).await;
    say(&rig, "resampled", &json!({"event": "mark", "name": "end"})).await;
    let heard = hear(&mut slow, 6_400).await;
    assert!(heard.len().abs_diff(6_400) <= 3_200, "{}", heard.len());

    let mut mulaw = rig.exotel().await;
    let format = json!({"encoding": "mulaw", "sample_rate": "8000"});
    mulaw
        .json(&start_with("mulaw", "media_format", format))
        .await;
    say(&rig, "mulaw", &speech(&[0; 6_400], 8_000)).await;
    let heard = hear(&mut mulaw, 3_200).await;
    assert!(
        heard[..3_200].iter().all(|code| *code == 0xff),
        "silence in mu-law"
    );
}

// 7.2: a mark goes out after the audio before it, a clear drops what has not left.
#[tokio::test]
async fn marks_and_clears_keep_their_place() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "marked", 1).await;
    say(&rig, "marked", &speech(&pcm(6, 3_200), 8_000)).await;
    say(&rig, "marked", &json!({"event": "mark", "name": "greeted"})).await;
    assert_eq!(hear(&mut socket, 3_200).await, pcm(6, 3_200));
    let mark = socket.next_json().await;
    assert_eq!(
        (&mark["event"], &mark["mark"]["name"], &mark["stream_sid"]),
        (&json!("mark"), &json!("greeted"), &json!(STREAM_SID))
    );
    // Ten seconds, of which at most one has left when the clear comes.
    say(&rig, "marked", &speech(&pcm(7, 160_000), 8_000)).await;
    say(&rig, "marked", &json!({"event": "clear"})).await;
    let mut heard = 0;
    let clear = loop {
        let message = socket.next_json().await;
        if message["event"] == "clear" {
            break message;
        }
        heard += piece(&message).len();
    };
    assert!(heard <= 24_000, "{heard}");
    assert_eq!(clear["stream_sid"], STREAM_SID);
    let after = socket.heard_within(Duration::from_millis(500)).await;
    assert!(
        after.is_empty(),
        "dropped audio still left: {}",
        after.len()
    );
}

// 7.2, 4.3: hangup closes with 1000 after what is queued, and is the reason of the end.
#[tokio::test]
async fn hangup_closes_after_what_is_queued() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "hung", 1).await;
    say(&rig, "hung", &speech(&pcm(8, 3_200), 8_000)).await;
    say(&rig, "hung", &json!({"event": "hangup"})).await;
    let rest = socket.rest().await;
    assert_eq!((rest.texts.len(), rest.code), (1, Some(1000)), "{rest:?}");
    assert_eq!(rig.redis.wait_for_end("hung").await["reason"], "hangup");
}

// 7.4: a custom client gets the same JSON as text, audio as given.
#[tokio::test]
async fn custom_clients_get_the_json_as_given() {
    let rig = Rig::with(&[]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "custom-out").await;
    let message = speech(&pcm(9, 33), 24_000);
    say(&rig, "custom-out", &message).await;
    assert_eq!(socket.next_json().await, message);
}

// 7.1: where nobody listens, PUBLISH says 0; the long form names the tenant; two tenants, no short form.
#[tokio::test]
async fn the_number_of_receivers_tells() {
    let rig = Rig::open().await;
    let publish = async |channel: &str| {
        rig.redis
            .tell::<u64>(&["PUBLISH", channel, "{\"event\":\"clear\"}"])
            .await
    };
    assert_eq!(publish("call_out:nobody").await, 0);
    let mut first = rig.exotel().await;
    first
        .json(&start_with("same", "account_sid", json!("acct-a")))
        .await;
    until("the long form", async || {
        (publish("call_out:acct-a:same").await == 1).then_some(())
    })
    .await;
    until("the short form", async || {
        (publish("call_out:same").await == 1).then_some(())
    })
    .await;
    let mut second = rig.exotel().await;
    second
        .json(&start_with("same", "account_sid", json!("acct-b")))
        .await;
    until("the other long form", async || {
        (publish("call_out:acct-b:same").await == 1).then_some(())
    })
    .await;
    first.heard_within(Duration::from_millis(100)).await;
    second.heard_within(Duration::from_millis(100)).await;
    publish("call_out:same").await;
    for socket in [&mut first, &mut second] {
        let heard = socket.heard_within(Duration::from_millis(200)).await;
        assert!(
            heard.is_empty(),
            "the short form reaches neither: {heard:?}"
        );
    }
}

// 7.3: while paused nothing is stored; `paused`, `resumed` and one `gap` say so; seq goes on after it.
#[tokio::test]
async fn a_pause_stores_nothing() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "paused", 2).await;
    rig.redis.wait_for_frames("paused", 2).await;
    say(&rig, "paused", &json!({"event": "pause"})).await;
    rig.redis.wait_for_event("paused", "paused").await;
    for _ in 0..20 {
        socket
            .send(Message::binary(b"4111-1111-1111-1111!".repeat(16)))
            .await;
    }
    // A mark is published in its place, so that what came before it has been dealt with.
    socket
        .json(&json!({"event": "mark", "mark": {"name": "behind"}}))
        .await;
    rig.redis.wait_for_event("paused", "mark").await;
    say(&rig, "paused", &json!({"event": "resume"})).await;
    rig.redis.wait_for_event("paused", "resumed").await;
    speak(&mut socket, 3, 4).await;
    socket.json(&stop("paused")).await;
    rig.redis.wait_for_end("paused").await;
    let frames = rig.redis.frames_of("paused").await;
    let audio: Vec<Vec<u8>> = frames.iter().map(|frame| frame.audio.clone()).collect();
    assert_eq!(audio, (1..=4).map(frame).collect::<Vec<_>>());
    assert!(frames.is_sorted_by(|a, b| a.seq < b.seq));
    assert_eq!(rig.redis.events_of("paused", "gap").await.len(), 1);
}

// 7.3: the pause belongs to the call: a connection that takes it up stores nothing either.
#[tokio::test]
async fn a_pause_outlives_its_connection() {
    let rig = Rig::open().await;
    let mut first = rig.exotel().await;
    begin(&mut first, "still-paused", 1).await;
    rig.redis.wait_for_frames("still-paused", 1).await;
    say(&rig, "still-paused", &json!({"event": "pause"})).await;
    rig.redis.wait_for_event("still-paused", "paused").await;
    until("the pause in the metadata", async || {
        let metadata = rig.redis.metadata("still-paused").await?;
        (metadata["paused"] == true).then_some(())
    })
    .await;
    drop(first);
    let mut second = rig.exotel().await;
    second.json(&start("still-paused")).await;
    speak(&mut second, 2, 5).await;
    say(&rig, "still-paused", &json!({"event": "resume"})).await;
    rig.redis.wait_for_event("still-paused", "resumed").await;
    speak(&mut second, 6, 6).await;
    let frames = rig.redis.wait_for_frames("still-paused", 2).await;
    let audio: Vec<Vec<u8>> = frames.iter().map(|frame| frame.audio.clone()).collect();
    assert_eq!(audio, [frame(1), frame(6)]);
}
