//! Sessions and seq (3.10): who continues a call, who begins it anew, and that no number is given twice.

use serde_json::json;

use crate::{
    caller::{Caller, Socket},
    conversation::{
        assert_proves, assert_run, audio, begin, begin_simple, frame, media, numbered,
        simple_start, speak, start, start_with, stop,
    },
    keys,
    redis::Redis,
    rig::{Rig, setup},
    wait::{MOMENT, never, until},
};

// 3.10, trap 13: a reconnect within 5 s continues the session's seq; there is one end.
#[tokio::test]
async fn a_reconnect_continues_the_session() {
    let rig = Rig::open().await;
    let mut first = rig.exotel().await;
    begin(&mut first, "again", 5).await;
    rig.redis.wait_for_frames("again", 5).await;
    drop(first);
    let mut second = rig.exotel().await;
    second.json(&start("again")).await;
    speak(&mut second, 6, 9).await;
    second.json(&stop("again")).await;
    let end = rig.redis.wait_for_end("again").await;
    let frames = rig.redis.frames_of("again").await;
    assert_run(&frames, 1, 1, 9);
    assert!(
        frames
            .iter()
            .all(|frame| frame.session == frames[0].session)
    );
    assert_proves(&end, &frames);
    assert_eq!(end["reason"], "callended");
    never(MOMENT, "a second end", async || {
        rig.redis.ends_of("again").await.into_iter().nth(1)
    })
    .await;
}

// 3.10, trap 13: Exotel's retry may overlap with the first connection; no seq is given twice.
#[tokio::test]
async fn two_connections_of_a_call_share_its_numbers() {
    let rig = Rig::open().await;
    let mut first = rig.exotel().await;
    begin(&mut first, "twice", 3).await;
    rig.redis.wait_for_frames("twice", 3).await;
    let mut second = rig.exotel().await;
    second.json(&start("twice")).await;
    for n in 4..=8 {
        first.json(&media(n, &frame(n))).await;
        second.json(&media(n, &frame(n + 100))).await;
    }
    let frames = rig.redis.wait_for_frames("twice", 13).await;
    let seqs: Vec<u64> = frames.iter().map(|frame| frame.seq).collect();
    assert_eq!(seqs, (1..=13).collect::<Vec<_>>());
    drop(first);
    second.json(&stop("twice")).await;
    let end = rig.redis.wait_for_end("twice").await;
    assert_proves(&end, &frames);
}

// 3.8, 3.10: a custom client that comes back is told where to go on; what it had sent is durable by then.
#[tokio::test]
async fn a_client_resumes_without_a_hole_or_a_repeat() {
    let rig = Rig::with(&[]).await;
    let mut first = rig.custom().await;
    assert_eq!(begin_simple(&mut first, "resumed").await["next_seq"], 1);
    for n in 1..=7 {
        first.json(&audio(&frame(n))).await;
    }
    rig.redis.wait_for_frames("resumed", 7).await;
    drop(first);
    let mut second = rig.custom().await;
    let answer = begin_simple(&mut second, "resumed").await;
    assert_eq!(answer["next_seq"], 8);
    assert_eq!(
        rig.redis.frames_of("resumed").await.len(),
        7,
        "durable before it is told"
    );
    second.json(&audio(&frame(8))).await;
    second.json(&json!({"event": "end"})).await;
    second.rest().await;
    rig.redis.wait_for_end("resumed").await;
    assert_run(&rig.redis.frames_of("resumed").await, 1, 1, 8);
}

// 3.8, 3.10: the same where it comes back before the service has read what the broken connection brought.
#[tokio::test]
async fn what_is_still_unread_counts_when_a_client_comes_back_at_once() {
    const SENT: u64 = 60;
    let rig = Rig::with(&[]).await;
    for round in 0..10 {
        let call = format!("at-once-{round}");
        let mut first = rig.custom().await;
        begin_simple(&mut first, &call).await;
        // Its start comes right behind the audio.
        let mut second = rig.custom().await;
        for n in 1..=SENT {
            first.json(&audio(&frame(n))).await;
        }
        let answer = begin_simple(&mut second, &call).await;
        assert_eq!(answer["next_seq"], SENT + 1, "round {round}");
        second.json(&audio(&frame(SENT + 1))).await;
        second.json(&json!({"event": "end"})).await;
        second.rest().await;
        let frames = rig.redis.wait_for_frames(&call, 61).await;
        assert_run(&frames, 1, 1, SENT + 1);
        drop(first);
    }
}

// 3.8, 3.10: the same where the client numbers its frames: repeats of what had arrived are dropped.
#[tokio::test]
async fn a_numbering_client_resumes() {
    let rig = Rig::with(&[]).await;
    let mut first = rig.custom().await;
    begin_simple(&mut first, "numbers").await;
    for seq in 1..=6 {
        first.json(&numbered(seq, &frame(seq))).await;
    }
    rig.redis.wait_for_frames("numbers", 6).await;
    drop(first);
    let mut second = rig.custom().await;
    assert_eq!(begin_simple(&mut second, "numbers").await["next_seq"], 7);
    for seq in 4..=9 {
        second.json(&numbered(seq, &frame(seq))).await;
    }
    second.json(&json!({"event": "end"})).await;
    second.rest().await;
    let end = rig.redis.wait_for_end("numbers").await;
    assert_run(&rig.redis.frames_of("numbers").await, 1, 1, 9);
    assert_eq!(end["gaps"], 0);
}

/// A session of one call with the client's numbers, from `first` to `last`, to its end.
async fn numbered_session(socket: &mut Socket, first: u64, last: u64) {
    for seq in first..=last {
        socket.json(&numbered(seq, &frame(seq))).await;
    }
    socket.json(&json!({"event": "end"})).await;
    let rest = socket.rest().await;
    assert_eq!(rest.code, Some(1000), "{rest:?}");
}

// 3.8, 3.10: a new session goes on with the client's numbers, one after the last known to be durable.
#[tokio::test]
async fn a_new_session_goes_on_with_the_clients_numbers() {
    let rig = Rig::with(&[]).await;
    for (first, last) in [(1, 4), (5, 7)] {
        let mut socket = rig.custom().await;
        let answer = begin_simple(&mut socket, "goes-on").await;
        assert_eq!(answer["next_seq"], first);
        numbered_session(&mut socket, first, last).await;
    }
    let frames = rig.redis.wait_for_frames("goes-on", 7).await;
    assert_run(&frames, 1, 1, 7);
    assert!(frames[4].session > frames[3].session);
    let ends = rig.redis.ends_of("goes-on").await;
    assert!(ends.iter().all(|end| end["gaps"] == 0), "{ends:?}");
    until("the last number in the metadata", async || {
        let metadata = rig.redis.metadata("goes-on").await?;
        let numbered = metadata["numbered"] == true && metadata["lastSeq"] == 7;
        (numbered && metadata["status"] == "ended").then_some(())
    })
    .await;
}

// 3.10: whoever counts from 1 again loses nothing by it.
#[tokio::test]
async fn a_client_may_count_anew_in_a_new_session() {
    let rig = Rig::with(&[]).await;
    for next_seq in [1, 5] {
        let mut socket = rig.custom().await;
        let answer = begin_simple(&mut socket, "counts-anew").await;
        assert_eq!(answer["next_seq"], next_seq);
        numbered_session(&mut socket, 1, 4).await;
    }
    let frames = rig.redis.wait_for_frames("counts-anew", 8).await;
    assert_run(&frames[..4], 1, 1, 4);
    assert_run(&frames[4..], 1, 1, 4);
}

// 3.8, 4.5: the same after a restart of the service: then the metadata in Redis says how far the client was.
#[tokio::test]

async fn a_new_session_goes_on_after_a_restart_of_the_service() {
    let mut rig = Rig::with(&[]).await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "restarted").await;
    numbered_session(&mut socket, 1, 4).await;
    // A session that brought no audio forgets nothing.
    for _ in 0..2 {
        rig.service.terminate();
        assert_eq!(rig.service.exit().await.code(), Some(0));
        rig.service = setup(&rig.redis, &[]).start().await;
        let mut socket = rig.custom().await;
        assert_eq!(begin_simple(&mut socket, "restarted").await["next_seq"], 5);
        socket.json(&json!({"event": "end"})).await;
        socket.rest().await;
    }
    let mut socket = rig.custom().await;
    assert_eq!(begin_simple(&mut socket, "restarted").await["next_seq"], 5);
    numbered_session(&mut socket, 5, 6).await;
    assert_run(&rig.redis.wait_for_frames("restarted", 6).await, 1, 1, 6);

    let theirs = keys::token_with(&[("tenant_id", json!("globex"))]);
    let mut socket = rig.caller().bearer(&theirs).connect().await;
    let start = json!({"event": "start", "interaction_id": "restarted"});
    socket.json(&start).await;
    assert_eq!(socket.next_json().await["next_seq"], 1, "another tenant's");
}

// 3.8: with Redis away the answer takes a moment, the audio does not.
#[tokio::test]
async fn a_start_is_answered_although_redis_is_away() {
    let mut redis = Redis::absent();
    let service = setup(&redis, &[]).start().await;
    let mut socket = Caller::to(&service).bearer(&keys::token()).connect().await;
    assert_eq!(begin_simple(&mut socket, "no-redis").await["next_seq"], 1);
    for n in 1..=3 {
        socket.json(&audio(&frame(n))).await;
    }
    redis.revive().await;
    assert_run(&redis.wait_for_frames("no-redis", 3).await, 1, 1, 3);
}

// 3.10: after the end the same call is a new session, larger, counted from 1.
#[tokio::test]
async fn after_the_end_a_call_begins_anew() {
    let rig = Rig::open().await;
    for _ in 0..2 {
        let mut socket = rig.exotel().await;
        begin(&mut socket, "anew", 3).await;
        socket.json(&stop("anew")).await;
        socket.rest().await;
    }
    let frames = rig.redis.wait_for_frames("anew", 6).await;
    assert_run(&frames[..3], 1, 1, 3);
    assert_run(&frames[3..], 1, 1, 3);
    assert!(frames[3].session > frames[0].session);
}

// 3.10: a connection of another tenant never joins, resumes or ends a call, whatever id it names.
#[tokio::test]
async fn tenants_do_not_share_calls() {
    let rig = Rig::with(&[]).await;
    let mut calls = Vec::new();
    for tenant in ["acme", "globex"] {
        let token = keys::token_with(&[("tenant_id", json!(tenant))]);
        let mut socket = rig.caller().bearer(&token).connect().await;
        let mut start = simple_start("shared-id");
        start["tenant_id"] = json!(tenant);
        socket.json(&start).await;
        assert_eq!(socket.next_json().await["next_seq"], 1);
        calls.push(socket);
    }
    for n in 1..=3 {
        for socket in &mut calls {
            socket.json(&audio(&frame(n))).await;
        }
    }
    rig.redis.wait_for_frames("shared-id", 6).await;
    let mut globex = calls.pop().expect("two calls");
    globex.json(&json!({"event": "end"})).await;
    globex.rest().await;
    let end = rig.redis.wait_for_end("shared-id").await;
    assert_eq!(end["tenant_id"], "globex");
    let acme = calls.first_mut().expect("one call is left");
    acme.json(&audio(&frame(4))).await;
    let frames = rig.redis.wait_for_frames("shared-id", 7).await;
    for (tenant, last) in [("acme", 4), ("globex", 3)] {
        let own: Vec<_> = frames
            .iter()
            .filter(|frame| frame.tenant_id == tenant)
            .cloned()
            .collect();
        assert_run(&own, 1, 1, last);
    }
    assert_eq!(rig.redis.ends_of("shared-id").await.len(), 1);
}

// 3.10: the same for two accounts of Exotel that name one call.
#[tokio::test]
async fn accounts_do_not_share_calls() {
    let rig = Rig::open().await;
    let mut first = rig.exotel().await;
    first
        .json(&start_with("one-sid", "account_sid", json!("acct-a")))
        .await;
    speak(&mut first, 1, 2).await;
    let mut second = rig.exotel().await;
    second
        .json(&start_with("one-sid", "account_sid", json!("acct-b")))
        .await;
    speak(&mut second, 1, 2).await;
    let frames = rig.redis.wait_for_frames("one-sid", 4).await;
    for tenant in ["acct-a", "acct-b"] {
        let own: Vec<_> = frames
            .iter()
            .filter(|frame| frame.tenant_id == tenant)
            .cloned()
            .collect();
        assert_run(&own, 1, 1, 2);
    }
}
