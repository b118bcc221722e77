//! What stands in the stream and beside it (section 4): the bytes of an entry, the end of a call,
//! its events and its metadata, as an existing consumer reads them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    conversation::{
        STREAM_SID, assert_proves, assert_run, begin, begin_simple, frame, media, numbered, speak,
        start, stop,
    },
    redis::{Fields, consumer},
    rig::Rig,
    wait::until,
};

// 4.1: one field `data`; the seven fields in their order, `session` and what is known before the audio.
#[tokio::test]
async fn an_entry_is_exact_to_the_byte() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "exact", 1).await;
    let frames = rig.redis.wait_for_frames("exact", 1).await;
    let entries = rig.redis.entries("audio_stream").await;
    assert_eq!(entries[0].1.len(), 1, "one field");
    let published = &frames[0];
    let expected = format!(
        "{{\"tenant_id\":\"someacct1\",\"interaction_id\":\"exact\",\"seq\":1,\"timestamp_ms\":{},\
         \"sample_rate\":8000,\"encoding\":\"pcm16\",\"session\":{},\"stream_sid\":\"{STREAM_SID}\",\
         \"media_ms\":20,\"audio\":\"{}\"}}",
        published.timestamp_ms,
        published.session,
        STANDARD.encode(frame(1)),
    );
    assert_eq!(published.text, expected);
    assert!(
        (600..700).contains(&published.text.len()),
        "{}",
        published.text.len()
    );
    let (entry_ms, _) = published.id.split_once('-').expect("an entry id");
    let entry_ms: u64 = entry_ms.parse().expect("an entry id");
    assert!(
        published.timestamp_ms.abs_diff(entry_ms) < 5_000,
        "arrival in epoch ms"
    );
    assert!(
        published.session.abs_diff(entry_ms) < 5_000,
        "the session is an epoch ms"
    );
}

// 4.1: names that need escaping are escaped, whatever a caller puts into them.
#[tokio::test]
async fn hostile_names_stay_json() {
    let rig = Rig::open().await;
    let call = "q\"uote\\back\nline\u{1f600}\u{0}";
    let mut socket = rig.exotel().await;
    begin(&mut socket, call, 2).await;
    socket.json(&stop(call)).await;
    let frames = rig.redis.wait_for_frames(call, 2).await;
    assert_run(&frames, 1, 1, 2);
    assert_proves(&rig.redis.wait_for_end(call).await, &frames);
}

// 4.1: the way of an existing consumer: XREADGROUP, field `data`, JSON, base64, PCM16.
#[tokio::test]
async fn an_existing_consumer_reads_frames_by_group() {
    type Read = Vec<(String, Vec<(String, Fields)>)>;
    let rig = Rig::open().await;
    rig.redis
        .tell::<String>(&["XGROUP", "CREATE", "audio_stream", "asr", "$", "MKSTREAM"])
        .await;
    let mut link = consumer(&rig.redis).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "group", 10).await;
    let mut heard = Vec::new();
    while heard.len() < 10 {
        let words = [
            "GROUP",
            "asr",
            "w1",
            "BLOCK",
            "10000",
            "COUNT",
            "4",
            "STREAMS",
            "audio_stream",
            ">",
        ];
        let read: Read = ::redis::cmd("XREADGROUP")
            .arg(&words)
            .query_async(&mut link)
            .await
            .expect("entries in time");
        for (id, fields) in &read[0].1 {
            let (name, data) = &fields[0];
            assert_eq!(name, "data");
            let value: Value = serde_json::from_slice(data).expect("JSON");
            heard.push(
                STANDARD
                    .decode(value["audio"].as_str().expect("audio"))
                    .expect("base64"),
            );
            rig.redis
                .tell::<u64>(&["XACK", "audio_stream", "asr", id])
                .await;
        }
    }
    assert_eq!(heard, (1..=10).map(frame).collect::<Vec<_>>());
}

// 4.2: FRAME_FORMAT=fields: the same names, the audio as it is.
#[tokio::test]
async fn fields_carry_raw_audio() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("FRAME_FORMAT", "fields")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "fields", 3).await;
    socket.json(&stop("fields")).await;
    let frames = rig.redis.wait_for_frames("fields", 3).await;
    assert_run(&frames, 1, 1, 3);
    let entries = rig.redis.entries("audio_stream").await;
    let names: Vec<&str> = entries[0].1.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "tenant_id",
        "interaction_id",
        "seq",
        "timestamp_ms",
        "sample_rate",
        "encoding",
        "session",
        "stream_sid",
        "media_ms",
        "audio",
    ];
    for name in expected {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(names.len(), expected.len(), "{names:?}");
    assert_proves(&rig.redis.wait_for_end("fields").await, &frames);
}

// 4.3: the end carries every field, and proves the frames.
#[tokio::test]
async fn the_end_proves_the_call() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "proof", 57).await;
    socket.json(&stop("proof")).await;
    assert_eq!(socket.rest().await.code, Some(1000));
    let end = rig.redis.wait_for_end("proof").await;
    let frames = rig.redis.frames_of("proof").await;
    assert_run(&frames, 1, 1, 57);
    assert_proves(&end, &frames);
    let expected = json!({"interaction_id": "proof", "tenant_id": "someacct1", "call_sid": "proof", "stream_sid": STREAM_SID,
        "reason": "callended", "complete": true, "frames": 57, "first_seq": 1, "last_seq": 57, "bytes": 57 * 320,
        "duration_ms": 1140, "gaps": 0});
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&end[name], value, "{name} of {end}");
    }
    for name in ["timestamp_ms", "wall_ms", "session"] {
        assert!(end[name].is_u64(), "{name} of {end}");
    }
    assert!(end["wall_ms"].as_u64() < Some(20_000), "{end}");
    assert!(
        end["timestamp_ms"].as_u64() >= Some(frames[0].timestamp_ms),
        "{end}"
    );
}

// 4.4: every event carries its four fields, in the order things happened.
#[tokio::test]
async fn events_say_what_happened() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "events", 1).await;
    socket
        .json(&json!({"event": "dtmf", "dtmf": {"digit": "5", "duration": "100"}}))
        .await;
    socket
        .json(&json!({"event": "mark", "mark": {"name": "m1"}}))
        .await;
    socket.json(&json!({"event": "clear"})).await;
    socket.json(&stop("events")).await;
    rig.redis.wait_for_end("events").await;
    let stop = rig.redis.wait_for_event("events", "stop").await;
    assert_eq!(stop["reason"], "callended");
    let events = rig.redis.records("call_events").await;
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(kinds, ["start", "dtmf", "mark", "clear", "stop"]);
    for event in &events {
        assert_eq!(event["tenant_id"], "someacct1", "{event}");
        assert!(event["timestamp_ms"].is_u64(), "{event}");
    }
    let begun = &events[0];
    assert_eq!(begun["call_sid"], "events");
    assert_eq!(begun["from"], "09990000000");
    assert_eq!(begun["to"], "04440000000");
    assert_eq!(begun["stream_sid"], STREAM_SID);
    assert_eq!(begun["encoding"], "base64");
    assert!(begun.get("sample_rate").is_some(), "{begun}");
}

// 4.5: the metadata key, from the start to the end of a call, with an expiry of an hour.
#[tokio::test]
async fn metadata_follows_the_call() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "meta", 3).await;
    let active = until("metadata", async || rig.redis.metadata("meta").await).await;
    let expected = json!({"interactionId": "meta", "callSid": "meta", "from": "09990000000", "to": "04440000000",
        "tenantId": "someacct1", "status": "active", "paused": false});
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&active[name], value, "{name} of {active}");
    }
    for name in ["startTime", "lastActivity", "session"] {
        assert!(active[name].is_u64(), "{name} of {active}");
    }
    let ttl: i64 = rig.redis.tell(&["TTL", "call:metadata:meta"]).await;
    assert!((3_500..=3_600).contains(&ttl), "{ttl}");
    socket.json(&stop("meta")).await;
    let ended = until("the end in the metadata", async || {
        let metadata = rig.redis.metadata("meta").await?;
        (metadata["status"] == "ended").then_some(metadata)
    })
    .await;
    assert_eq!(ended["lastSeq"], 3);
    let ttl: i64 = rig.redis.tell(&["TTL", "call:metadata:meta"]).await;
    assert!((3_500..=3_600).contains(&ttl), "{ttl}");
}

// 4.5: while audio comes it is written at least every 5 s, and when a connection drops.
#[tokio::test]
async fn metadata_is_fresh_while_audio_comes() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "fresh", 1).await;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
    let mut last = 0;
    for n in 2..=28 {
        ticks.tick().await;
        speak(&mut socket, n, n).await;
        let metadata = rig.redis.metadata("fresh").await;
        last = metadata
            .and_then(|metadata| metadata["lastSeq"].as_u64())
            .unwrap_or(last);
    }
    assert!(last > 1, "written again within 5 s");
    drop(socket);
    until("the drop in the metadata", async || {
        let metadata = rig.redis.metadata("fresh").await?;
        (metadata["lastSeq"] == 28).then_some(())
    })
    .await;
}

// 3.10, 4.4: a client that numbers: a repeat is dropped, a jump is passed on and marked by one gap.
#[tokio::test]
async fn a_clients_numbers_show_repeats_and_gaps() {
    let rig = Rig::with(&[]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "numbered").await;
    for seq in [1, 2, 2, 1, 3, 7, 8, 5] {
        socket.json(&numbered(seq, &frame(seq))).await;
    }
    socket.json(&json!({"event": "end"})).await;
    socket.rest().await;
    let end = rig.redis.wait_for_end("numbered").await;
    let frames = rig.redis.frames_of("numbered").await;
    let seqs: Vec<u64> = frames.iter().map(|frame| frame.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 7, 8]);
    assert!(
        frames
            .iter()
            .all(|published| published.audio == frame(published.seq))
    );
    assert_proves(&end, &frames);
    assert_eq!((&end["gaps"], &end["last_seq"]), (&json!(1), &json!(8)));
    let gaps = rig.redis.events_of("numbered", "gap").await;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(
        (&gaps[0]["from_seq"], &gaps[0]["to_seq"]),
        (&json!(4), &json!(6))
    );
}

// 5.1: many calls at once: each in its own order, none mixed up.
#[tokio::test]
async fn calls_at_once_keep_their_order() {
    let rig = Rig::open().await;
    let mut sockets = Vec::new();
    for call in 0..8 {
        let mut socket = rig.exotel().await;
        socket.json(&start(&format!("order-{call}"))).await;
        sockets.push(socket);
    }
    for n in 1..=25 {
        for socket in &mut sockets {
            socket.json(&media(n, &frame(n))).await;
        }
    }
    for call in 0..8 {
        let frames = rig
            .redis
            .wait_for_frames(&format!("order-{call}"), 25)
            .await;
        assert_run(&frames, 1, 1, 25);
    }
}
