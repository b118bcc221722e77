//! What custom clients are answered (3.8): started, acks that are true, errors with their close codes.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    caller::{Rest, Socket},
    conversation::{assert_proves, assert_run, audio, begin_simple, frame, numbered, simple_start},
    keys,
    rig::Rig,
    wait::never,
};

/// Reads to the close: the last text is this error, the close has this code.
async fn expect_error(socket: &mut Socket, code: &str, close: u16, cause: &str) -> Rest {
    let rest = socket.rest().await;
    let last = rest.texts.last().unwrap_or(&Value::Null);
    assert_eq!(last["event"], "error", "{cause}: {rest:?}");
    assert_eq!(last["code"], code, "{cause}: {rest:?}");
    assert!(
        last["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{cause}: {last}"
    );
    assert_eq!(rest.code, Some(close), "{cause}");
    rest
}

// 3.8: an ack at least every ACK_INTERVAL frames and once at the end, never before it is true.
#[tokio::test]
async fn acks_are_frequent_and_true() {
    for (interval, frames) in [("10", 57_u64), ("1", 6), ("25", 57)] {
        let rig = Rig::with(&[("ACK_INTERVAL", interval)]).await;
        let interval: u64 = interval.parse().expect("a number");
        let mut socket = rig.custom().await;
        begin_simple(&mut socket, "acked").await;
        for n in 1..=frames {
            socket.binary(frame(n)).await;
        }
        let mut acked = 0;
        while acked + interval <= frames {
            let ack = socket.next_json().await;
            let durable = rig.redis.frames_of("acked").await.len() as u64;
            assert_eq!(ack["event"], "ack", "{ack}");
            let seq = ack["seq"].as_u64().expect("a number");
            assert!(
                seq > acked && seq <= durable,
                "{seq} acked, {durable} durable"
            );
            assert!(
                seq - acked <= interval.max(durable - acked),
                "{seq} after {acked}"
            );
            acked = seq;
        }
        socket.json(&json!({"event": "end"})).await;
        let rest = socket.rest().await;
        assert_eq!(rest.code, Some(1000));
        let last = rest
            .texts
            .last()
            .map_or(acked, |ack| ack["seq"].as_u64().unwrap_or(0));
        assert_eq!(last, frames, "once at the end");
        let published = rig.redis.frames_of("acked").await;
        assert_run(&published, 1, 1, frames);
        assert_proves(&rig.redis.wait_for_end("acked").await, &published);
    }
}

// 3.8: an ack is true when it comes, and nothing more is said than was asked for.
#[tokio::test]
async fn no_ack_is_above_what_is_durable() {
    let rig = Rig::with(&[("ACK_INTERVAL", "1")]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "true").await;
    socket.json(&audio(&frame(1))).await;
    assert_eq!(socket.next_json().await, json!({"event": "ack", "seq": 1}));
    assert_eq!(rig.redis.frames_of("true").await.len(), 1);
    never(crate::wait::MOMENT, "a word without audio", async || {
        let heard = socket
            .heard_within(std::time::Duration::from_millis(50))
            .await;
        (!heard.is_empty()).then_some(heard)
    })
    .await;
}

// 3.8: every answer is one of the known events; the acks of a numbering client carry its numbers.
#[tokio::test]
async fn acks_of_a_numbering_client_carry_its_numbers() {
    let rig = Rig::with(&[("ACK_INTERVAL", "2")]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "own-numbers").await;
    for seq in 101..=104 {
        socket.json(&numbered(seq, &frame(seq))).await;
    }
    socket.json(&json!({"event": "end"})).await;
    let rest = socket.rest().await;
    let seqs: Vec<u64> = rest
        .texts
        .iter()
        .filter_map(|ack| ack["seq"].as_u64())
        .collect();
    assert_eq!(seqs.last(), Some(&104), "{rest:?}");
    assert!(seqs.iter().all(|seq| (101..=104).contains(seq)), "{seqs:?}");
    let frames = rig.redis.frames_of("own-numbers").await;
    assert_run(&frames, 101, 101, 104);
}

// 3.6, 3.8: a custom client must name its call first; each bad start is `bad_start`, closed with 1007.
#[tokio::test]
async fn bad_starts_are_refused() {
    let rig = Rig::with(&[]).await;
    let nameless = json!({"event": "start", "tenant_id": "t", "sample_rate": 24000});
    let rate = |rate: Value| {
        let mut start = simple_start("bad-start");
        start["sample_rate"] = rate;
        start
    };
    let bad = [
        nameless,
        audio(&frame(1)),
        rate(json!(7_999)),
        rate(json!(48_001)),
        rate(json!("fast")),
        rate(json!(0)),
        rate(json!(-8_000)),
        rate(json!(1e300)),
        rate(json!([8_000])),
    ];
    for message in bad {
        let mut socket = rig.custom().await;
        socket.json(&message).await;
        expect_error(&mut socket, "bad_start", 1007, &message.to_string()).await;
    }
    let mut socket = rig.custom().await;
    socket.binary(frame(1)).await;
    expect_error(&mut socket, "bad_start", 1007, "raw audio before a name").await;
    assert!(rig.redis.frames().await.is_empty());
}

// 3.7: any rate from 8000 to 48000 may be used; 24000 is the default.
#[tokio::test]
async fn rates_from_8000_to_48000_are_taken() {
    let rig = Rig::with(&[]).await;
    let cases = [
        (json!(8_000), 8_000),
        (json!("48000"), 48_000),
        (json!(11_025), 11_025),
        (json!("44100Hz"), 44_100),
        (json!(null), 24_000),
    ];
    for (n, (rate, expected)) in cases.into_iter().enumerate() {
        let call = format!("rate-{n}");
        let mut start = simple_start(&call);
        start["sample_rate"] = rate.clone();
        if rate.is_null() {
            start
                .as_object_mut()
                .expect("an object")
                .remove("sample_rate");
        }
        let mut socket = rig.custom().await;
        socket.json(&start).await;
        socket.binary(frame(1)).await;
        let frames = rig.redis.wait_for_frames(&call, 1).await;
        assert_eq!(frames[0].sample_rate, expected, "{rate}");
    }
}

// 3.6: the call may be named by the query or by the token; then audio needs no start.
#[tokio::test]
async fn the_query_or_the_token_may_name_the_call() {
    let rig = Rig::with(&[]).await;
    let path = "/v1/ingest?call_sid=by-query&tenant_id=acme&sample-rate=16000";
    let mut socket = rig
        .caller()
        .path(path)
        .bearer(&keys::token())
        .connect()
        .await;
    socket.binary(frame(1)).await;
    let frames = rig.redis.wait_for_frames("by-query", 1).await;
    assert_eq!(
        (frames[0].tenant_id.as_str(), frames[0].sample_rate),
        ("acme", 16_000)
    );

    let claims = [
        ("tenant_id", json!("globex")),
        ("interaction_id", json!("by-token")),
    ];
    let mut socket = rig
        .caller()
        .bearer(&keys::token_with(&claims))
        .connect()
        .await;
    socket.binary(frame(1)).await;
    let frames = rig.redis.wait_for_frames("by-token", 1).await;
    assert_eq!(
        (frames[0].tenant_id.as_str(), frames[0].sample_rate),
        ("globex", 24_000)
    );
}

// 3.8: what is not JSON is `bad_message`, what is not base64 `bad_audio`, both closed with 1007.
#[tokio::test]
async fn bad_messages_and_audio_are_refused() {
    let rig = Rig::with(&[]).await;
    let cases = [
        ("{not json", "bad_message"),
        ("hello", "bad_message"),
        ("", "bad_message"),
        (r#"{"event":"audio","data":"***"}"#, "bad_audio"),
        (r#"{"event":"audio","data":"AAA"}"#, "bad_audio"),
        (
            r#"{"event":"media","media":{"payload":"A A="}}"#,
            "bad_audio",
        ),
    ];
    for (n, (text, code)) in cases.into_iter().enumerate() {
        let call = format!("bad-{n}");
        let mut socket = rig.custom().await;
        begin_simple(&mut socket, &call).await;
        socket.binary(frame(1)).await;
        socket.text(text).await;
        expect_error(&mut socket, code, 1007, text).await;
        let end = rig.redis.wait_for_end(&call).await;
        let frames = rig.redis.frames_of(&call).await;
        assert_run(&frames, 1, 1, 1);
        assert_eq!(end["frames"], 1, "{text}");
    }
}

// 3.7: an encoding that nobody knows is `unsupported_encoding`, closed with 1007.
#[tokio::test]
async fn unknown_encodings_are_refused() {
    let rig = Rig::with(&[]).await;
    for encoding in ["opus", "audio/ogg", "pcm8", "g729;rate=8000"] {
        let mut start = simple_start("unknown");
        start["encoding"] = json!(encoding);
        let mut socket = rig.custom().await;
        socket.json(&start).await;
        expect_error(&mut socket, "unsupported_encoding", 1007, encoding).await;
    }
    for encoding in ["pcm16", "linear16", "RAW/SLIN"] {
        let mut start = simple_start("known");
        start["encoding"] = json!(encoding);
        let mut socket = rig.custom().await;
        socket.json(&start).await;
        assert_eq!(socket.next_json().await["event"], "started", "{encoding}");
    }
}

// 3.8, 2 MAX_MESSAGE_BYTES: a message that is too large is `too_large`, closed with 1009.
#[tokio::test]
async fn a_message_that_is_too_large_is_refused() {
    let rig = Rig::with(&[("MAX_MESSAGE_BYTES", "4096")]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "large").await;
    socket.binary(vec![1; 4_096]).await;
    socket.try_send(Message::binary(vec![1; 4_098])).await;
    expect_error(&mut socket, "too_large", 1009, "4098 bytes").await;
    let end = rig.redis.wait_for_end("large").await;
    assert_eq!(end["bytes"], 4_096);
}

// 3.8: when the service goes away: `shutting_down`, closed with 1001, after all was made durable.
#[tokio::test]
async fn a_drained_client_is_told_so() {
    let mut rig = Rig::with(&[("DRAIN_TIMEOUT_S", "1")]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "drained").await;
    for n in 1..=13 {
        socket.binary(frame(n)).await;
    }
    rig.redis.wait_for_frames("drained", 13).await;
    rig.service.terminate();
    let rest = expect_error(&mut socket, "shutting_down", 1001, "SIGTERM").await;
    let acks: Vec<u64> = rest
        .texts
        .iter()
        .filter_map(|text| text["seq"].as_u64())
        .collect();
    assert_eq!(acks.last(), Some(&13), "{rest:?}");
    assert_eq!(rig.service.exit().await.code(), Some(0));
    assert_eq!(
        rig.redis.wait_for_end("drained").await["reason"],
        "shutdown"
    );
}

// 3.5: text and binary in any mixture; JSON in binary messages is JSON for custom clients too.
#[tokio::test]
async fn text_and_binary_mix() {
    let rig = Rig::with(&[]).await;
    let mut socket = rig.custom().await;
    socket.binary(simple_start("mixed").to_string()).await;
    assert_eq!(socket.next_json().await["event"], "started");
    socket.binary(frame(1)).await;
    socket.json(&audio(&frame(2))).await;
    socket.binary(audio(&frame(3)).to_string()).await;
    socket.binary(frame(4)).await;
    socket.binary(json!({"event": "stop"}).to_string()).await;
    assert_eq!(socket.rest().await.code, Some(1000));
    assert_run(&rig.redis.wait_for_frames("mixed", 4).await, 1, 1, 4);
}
