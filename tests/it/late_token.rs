//! The token that comes in `start.custom_parameters.token` (3.3), because Exotel removes the query
//! string of a Voicebot URL: nothing is published before it, nothing is lost when it is right.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{
    conversation::{assert_proves, assert_run, frame, media, pcm, speak, start, start_with, stop},
    rig::Rig,
    wait::{MOMENT, never},
};

const TOKENS: &[(&str, &str)] = &[
    ("SUPPORT_EXOTEL", "true"),
    ("EXOTEL_URL_TOKENS", "tok-alpha-1,tok-beta-22"),
];

// 3.3, trap 1: audio before a right token is kept, and published with it, in order.
#[tokio::test]
async fn audio_before_the_right_token_is_published_with_it() {
    let rig = Rig::with(TOKENS).await;
    let mut socket = rig.exotel().await;
    socket.json(&json!({"event": "connected"})).await;
    speak(&mut socket, 1, 5).await;
    never(MOMENT, "published before the token", async || {
        rig.redis.frames().await.into_iter().next()
    })
    .await;
    let parameters = json!({"token": "tok-beta-22", "lang": "hi"});
    socket
        .json(&start_with("late", "custom_parameters", parameters))
        .await;
    speak(&mut socket, 6, 9).await;
    socket.json(&stop("late")).await;
    assert_eq!(socket.rest().await.code, Some(1000));

    let end = rig.redis.wait_for_end("late").await;
    let all = rig.redis.frames().await;
    let audio: Vec<Vec<u8>> = all.iter().map(|frame| frame.audio.clone()).collect();
    assert_eq!(audio, (1..=9).map(frame).collect::<Vec<_>>());
    let named = rig.redis.frames_of("late").await;
    assert_run(&named[named.len() - 4..], named.len() as u64 - 3, 6, 9);
    assert_proves(&end, &named);
    let event = rig.redis.wait_for_event("late", "start").await;
    assert_eq!(event["custom_parameters"], json!({"lang": "hi"}));
    rig.assert_unseen("tok-beta-22").await;
}

// 3.3: a wrong token closes with 1008 and publishes nothing.
#[tokio::test]
async fn a_wrong_token_publishes_nothing() {
    let rig = Rig::with(TOKENS).await;
    for wrong in ["tok-alpha-2", "", "TOK-ALPHA-1"] {
        let mut socket = rig.exotel().await;
        speak(&mut socket, 1, 3).await;
        let parameters = json!({"token": wrong});
        socket
            .json(&start_with("wrong", "custom_parameters", parameters))
            .await;
        assert_eq!(socket.rest().await.code, Some(1008), "{wrong:?}");
    }
    for stream in ["audio_stream", "call_end", "call_events"] {
        assert!(rig.redis.entries(stream).await.is_empty(), "{stream}");
    }
    assert_eq!(rig.redis.metadata("wrong").await, None);
    rig.service.wait_for_log("Authentication failed").await;
    rig.assert_unseen("tok-alpha-2").await;
}

// 3.3: without a token within 5 s the connection is closed with 1008, however much it talks.
#[tokio::test]
async fn no_token_within_five_seconds_publishes_nothing() {
    let rig = Rig::with(TOKENS).await;
    let begun = Instant::now();
    let mut silent = rig.exotel().await;
    let mut talking = rig.exotel().await;
    speak(&mut talking, 1, 3).await;
    talking.json(&json!({"event": "connected"})).await;
    assert_eq!(talking.rest().await.code, Some(1008));
    assert_eq!(silent.rest().await.code, Some(1008));
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(8),
        "{took:?}"
    );
    assert!(rig.redis.entries("audio_stream").await.is_empty());
    assert!(rig.redis.entries("call_end").await.is_empty());
}

// 3.3: more than 5 s of audio before the token closes with 1008 at once.
#[tokio::test]
async fn too_much_audio_before_the_token_publishes_nothing() {
    let rig = Rig::with(TOKENS).await;
    let begun = Instant::now();
    let mut socket = rig.exotel().await;
    for n in 1..=6 {
        // A second at 8 kHz.
        socket.json(&media(n, &pcm(n, 16_000))).await;
    }
    assert_eq!(socket.rest().await.code, Some(1008));
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert!(rig.redis.entries("audio_stream").await.is_empty());
}

// 3.3: what was kept is at most 5 s, and all of it comes out.
#[tokio::test]
async fn nearly_five_seconds_are_kept_whole() {
    let rig = Rig::with(TOKENS).await;
    let mut socket = rig.exotel().await;
    speak(&mut socket, 1, 240).await;
    let parameters = json!({"token": "tok-alpha-1"});
    socket
        .json(&start_with("kept", "custom_parameters", parameters))
        .await;
    socket.json(&start("kept")).await;
    socket.json(&stop("kept")).await;
    assert_eq!(socket.rest().await.code, Some(1000));
    rig.redis.wait_for_end("kept").await;
    let audio: Vec<Vec<u8>> = rig
        .redis
        .frames()
        .await
        .into_iter()
        .map(|frame| frame.audio)
        .collect();
    assert_eq!(audio, (1..=240).map(frame).collect::<Vec<_>>());
}

// 3.3: a token that is the path segment needs no other in the start.
#[tokio::test]
async fn a_token_in_the_path_needs_none_in_the_start() {
    let rig = Rig::with(TOKENS).await;
    let mut socket = rig.caller().path("/v1/ingest/tok-alpha-1").connect().await;
    socket.json(&start("by-path")).await;
    speak(&mut socket, 1, 2).await;
    rig.redis.wait_for_frames("by-path", 2).await;
}
