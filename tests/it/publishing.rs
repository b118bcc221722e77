//! The settings that change what is published: other stream, shards, trimming, groups, another rate,
//! another frame length (section 2, 4.6, 5.2, 5.8).

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    conversation::{assert_proves, assert_run, begin, media, pcm, speak, start, stop},
    redis::{Fields, consumer},
    rig::Rig,
    wait::until,
};

// 2 AUDIO_STREAM: the stream may have another key.
#[tokio::test]
async fn the_stream_may_have_another_key() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("AUDIO_STREAM", "frames:eu")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "other-key", 3).await;
    until("frames under the other key", async || {
        (rig.redis.entries("frames:eu").await.len() == 3).then_some(())
    })
    .await;
    assert!(rig.redis.entries("audio_stream").await.is_empty());
}

// 2 AUDIO_STREAM_SHARDS, 4.6: keys with braces, a call always whole in one of them.
#[tokio::test]
async fn a_call_is_whole_in_one_shard() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("AUDIO_STREAM_SHARDS", "4")]).await;
    for call in 0..12 {
        let mut socket = rig.exotel().await;
        let name = format!("shard-{call}");
        begin(&mut socket, &name, 3).await;
        socket.json(&stop(&name)).await;
        socket.rest().await;
    }
    until("all ends", async || {
        (rig.redis.records("call_end").await.len() == 12).then_some(())
    })
    .await;
    let mut seen = BTreeSet::new();
    let mut used = 0;
    for shard in 0..4 {
        let frames = rig
            .redis
            .frames_in(&format!("audio_stream:{{{shard}}}"))
            .await;
        used += usize::from(!frames.is_empty());
        let calls: BTreeSet<String> = frames
            .iter()
            .map(|frame| frame.interaction_id.clone())
            .collect();
        for call in calls {
            let own: Vec<_> = frames
                .iter()
                .filter(|frame| frame.interaction_id == call)
                .cloned()
                .collect();
            assert_run(&own, 1, 1, 3);
            assert!(seen.insert(call), "a call in two shards");
        }
    }
    assert_eq!(seen.len(), 12);
    assert!(used > 1, "more than one shard is used");
    assert!(rig.redis.entries("audio_stream").await.is_empty());
}

// 2 AUDIO_STREAM_MAXLEN: about this many entries are kept, the newest.
#[tokio::test]
async fn the_stream_is_trimmed_by_length() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("AUDIO_STREAM_MAXLEN", "100")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "long", 999).await;
    // A batch is trimmed at its first entry: what many frames at once have grown it by goes with the next.
    until("all but the last", async || {
        let frames = rig.redis.frames_of("long").await;
        (frames.last()?.seq == 999).then_some(())
    })
    .await;
    speak(&mut socket, 1_000, 1_000).await;
    socket.json(&stop("long")).await;
    rig.redis.wait_for_end("long").await;
    let frames = rig.redis.frames_of("long").await;
    assert!((100..400).contains(&frames.len()), "{}", frames.len());
    assert_eq!(frames.last().map(|frame| frame.seq), Some(1_000));
}

// 2 AUDIO_STREAM_RETENTION_S: older entries go, counted from the newest entry id and not from our clock.
#[tokio::test]
async fn the_stream_is_trimmed_by_age() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("AUDIO_STREAM_RETENTION_S", "1"),
    ])
    .await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "aging", 1).await;
    until("old entries to be trimmed", async || {
        speak(&mut socket, 2, 40).await;
        let frames = rig.redis.frames_of("aging").await;
        (frames.first()?.seq > 1).then_some(())
    })
    .await;
}

// 2 AUDIO_CONSUMER_GROUPS, 5.8: made at start from the stream's beginning.
#[tokio::test]
async fn consumer_groups_are_made() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("AUDIO_CONSUMER_GROUPS", "asr, quality"),
    ])
    .await;
    let groups = async || {
        let command = ::redis::cmd("XINFO")
            .arg("GROUPS")
            .arg("audio_stream")
            .to_owned();
        let groups: Option<Vec<std::collections::HashMap<String, ::redis::Value>>> =
            rig.redis.ask(&command).await.ok();
        groups.filter(|groups| groups.len() == 2).map(drop)
    };
    until("both groups", groups).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "grouped", 3).await;
    rig.redis.wait_for_frames("grouped", 3).await;
    let mut link = consumer(&rig.redis).await;
    let words = [
        "GROUP",
        "asr",
        "w1",
        "COUNT",
        "10",
        "STREAMS",
        "audio_stream",
        ">",
    ];
    let read: Vec<(String, Vec<(String, Fields)>)> = ::redis::cmd("XREADGROUP")
        .arg(&words)
        .query_async(&mut link)
        .await
        .expect("entries");
    assert_eq!(read[0].1.len(), 3, "a late worker misses nothing");
}

// 5.2: a frame is visible to a consumer at once, not when a batch is full.
#[tokio::test]
async fn a_frame_is_visible_at_once() {
    let rig = Rig::open().await;
    let mut link = consumer(&rig.redis).await;
    let mut socket = rig.exotel().await;
    socket.json(&start("quick")).await;
    let mut last = "0-0".to_owned();
    let mut delays = Vec::new();
    for n in 1..=21 {
        let sent = Instant::now();
        socket.json(&media(n, &pcm(n, 320))).await;
        let words = ["BLOCK", "10000", "STREAMS", "audio_stream", &last];
        let read: Vec<(String, Vec<(String, Fields)>)> = ::redis::cmd("XREAD")
            .arg(&words)
            .query_async(&mut link)
            .await
            .expect("an entry in time");
        delays.push(sent.elapsed());
        last.clone_from(&read[0].1[0].0);
    }
    delays.sort_unstable();
    // The median, since other tests share the machine.
    assert!(delays[10] < Duration::from_millis(50), "{delays:?}");
}

// 5.2, 2 PUBLISH_GATHER_US: 0 writes at once and loses nothing.
#[tokio::test]
async fn writing_at_once_loses_nothing() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("PUBLISH_GATHER_US", "0")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "at-once", 200).await;
    socket.json(&stop("at-once")).await;
    let end: Value = rig.redis.wait_for_end("at-once").await;
    let frames = rig.redis.frames_of("at-once").await;
    assert_run(&frames, 1, 1, 200);
    assert_proves(&end, &frames);
}
