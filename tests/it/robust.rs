//! Input that is broken, large, split or plenty (3.9, settings), and two thousand calls that leave
//! nothing behind.

use std::{sync::Arc, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    conversation::{assert_proves, assert_run, begin, frame, media, speak, start, stop},
    rig::Rig,
    wait::{PATIENCE, until, within},
};

/// Messages that are bad in many ways, none of which may end Exotel's call.
const BAD: [&str; 10] = [
    "",
    "null",
    "[]",
    "{",
    "{}",
    "{\"event\":7}",
    "{\"event\":\"media\"}",
    "{\"event\":\"media\",\"media\":{\"payload\":\"?\"}}",
    "{\"event\":\"media\",\"media\":{\"payload\":17}}",
    "{\"event\":\"media\",\"media\":\"AAAA\"}",
];

// 3.9: bad messages never end the call before the hundredth in a row; a good one begins the count anew.
#[tokio::test]
async fn bad_messages_are_skipped() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "skipped", 1).await;
    for round in 0..3 {
        for n in 0..99 {
            socket.text(BAD[n % BAD.len()]).await;
        }
        speak(&mut socket, round + 2, round + 2).await;
    }
    socket.json(&stop("skipped")).await;
    assert_eq!(socket.rest().await.code, Some(1000));
    let frames = rig.redis.wait_for_frames("skipped", 4).await;
    assert_run(&frames, 1, 1, 4);
    assert_eq!(
        rig.redis.wait_for_end("skipped").await["reason"],
        "callended"
    );
}

// 3.9: logged at most one line a second per connection, with the total.
#[tokio::test]
async fn bad_messages_are_logged_sparingly() {
    let rig = Rig::open().await;
    let before = rig.service.lines().len();
    let mut socket = rig.exotel().await;
    begin(&mut socket, "noisy", 1).await;
    for _ in 0..90 {
        socket.text("{broken").await;
    }
    speak(&mut socket, 2, 2).await;
    rig.redis.wait_for_frames("noisy", 2).await;
    let lines = rig.service.lines();
    let warnings = lines[before..]
        .iter()
        .filter(|line| line.contains("\"WARN\""))
        .count();
    assert!(
        (1..=3).contains(&warnings),
        "{warnings} warnings: {lines:#?}"
    );
}

// 3.9: text that is not UTF-8 is what WebSocket forbids: 1007, reason `bad_input`.
#[tokio::test]
async fn text_that_is_not_utf8_ends_the_call() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "not-utf8", 1).await;
    socket
        .frame(Frame::message(
            vec![b'{', 0xff, 0xfe],
            OpCode::Data(Data::Text),
            true,
        ))
        .await;
    assert_eq!(socket.rest().await.code, Some(1007));
    assert_eq!(
        rig.redis.wait_for_end("not-utf8").await["reason"],
        "bad_input"
    );
}

// 3.9: broken framing: 1002, reason `bad_input`.
#[tokio::test]
async fn broken_framing_ends_the_call() {
    let rig = Rig::open().await;
    for (n, bytes) in [
        &[0x83_u8, 0x80, 0, 0, 0, 0][..],
        &[0xc2, 0x80, 0, 0, 0, 0],
        &[0x82, 0x01, 0x00],
    ]
    .into_iter()
    .enumerate()
    {
        let call = format!("framing-{n}");
        let mut socket = rig.exotel().await;
        begin(&mut socket, &call, 1).await;
        rig.redis.wait_for_frames(&call, 1).await;
        socket.raw(bytes).await;
        assert_eq!(socket.rest().await.code, Some(1002), "{bytes:x?}");
        assert_eq!(rig.redis.wait_for_end(&call).await["reason"], "bad_input");
    }
}

// 2 MAX_MESSAGE_BYTES: a message of just that size passes, fragments count together.
#[tokio::test]
async fn the_largest_message_passes() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("MAX_MESSAGE_BYTES", "5000")]).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "fits", 1).await;
    socket.binary(vec![7; 5_000]).await;
    let frames = rig.redis.wait_for_frames("fits", 2).await;
    assert_eq!(frames[1].audio.len(), 5_000);
    let binary = OpCode::Data(Data::Binary);
    socket
        .frame(Frame::message(vec![7; 3_000], binary, false))
        .await;
    socket
        .try_send(Message::Frame(Frame::message(
            vec![7; 3_000],
            OpCode::Data(Data::Continue),
            true,
        )))
        .await;
    assert_eq!(socket.rest().await.code, Some(1009));
}

// 3.5: a fragmented message is one message, also with pings between its fragments; pings are answered.
#[tokio::test]
async fn fragments_are_put_together_and_pings_answered() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "fragments", 1).await;
    let text = media(2, &frame(2)).to_string().into_bytes();
    let last = text.len() - 1;
    for (at, byte) in text.iter().enumerate() {
        let opcode = if at == 0 { Data::Text } else { Data::Continue };
        socket
            .frame(Frame::message(
                vec![*byte],
                OpCode::Data(opcode),
                at == last,
            ))
            .await;
        if at == 40 {
            socket.send(Message::Ping(vec![1, 2, 3].into())).await;
        }
    }
    let half = frame(3).len() / 2;
    socket
        .frame(Frame::message(
            frame(3)[..half].to_vec(),
            OpCode::Data(Data::Binary),
            false,
        ))
        .await;
    socket
        .frame(Frame::message(
            frame(3)[half..].to_vec(),
            OpCode::Data(Data::Continue),
            true,
        ))
        .await;
    let frames = rig.redis.wait_for_frames("fragments", 3).await;
    assert_run(&frames, 1, 1, 3);
    let pong = socket.next().await;
    assert_eq!(pong, Some(Message::Pong(vec![1, 2, 3].into())));
}

// 3.8, trap 16: an Exotel connection is sent nothing that nobody asked for, from start to end.
#[tokio::test]
async fn nothing_is_said_to_exotel() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "quiet", 60).await;
    socket.text("{bad").await;
    socket
        .json(&json!({"event": "mark", "mark": {"name": "m"}}))
        .await;
    socket.json(&json!({"event": "clear"})).await;
    let heard = socket.heard_within(Duration::from_millis(500)).await;
    assert!(heard.is_empty(), "{heard:?}");
    socket.json(&stop("quiet")).await;
    let rest = socket.rest().await;
    assert!(rest.texts.is_empty() && rest.binaries == 0, "{rest:?}");
}

// 1.3: nothing a peer sends ends the process: noise on the port, noise in the socket.
#[tokio::test]
async fn noise_does_not_end_the_process() {
    let mut rig = Rig::open().await;
    for noise in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\r\n\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        &[0; 4_096],
    ] {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", rig.service.port()))
            .await
            .expect("accepted");
        tokio::io::AsyncWriteExt::write_all(&mut socket, noise)
            .await
            .ok();
    }
    for n in 0..40_u64 {
        let mut socket = rig.exotel().await;
        socket.json(&start("noise")).await;
        for i in 0..20_u64 {
            let bytes: Vec<u8> = (0..n * 7 + i)
                .map(|k| (k * 131 + i * 17 + n).to_le_bytes()[0])
                .collect();
            socket
                .try_send(Message::text(String::from_utf8_lossy(&bytes).into_owned()))
                .await;
            socket.try_send(Message::binary(bytes)).await;
        }
    }
    assert!(rig.service.is_running());
    let mut socket = rig.exotel().await;
    begin(&mut socket, "after-noise", 1).await;
    rig.redis.wait_for_frames("after-noise", 1).await;
    let lines = rig.service.lines();
    assert!(
        lines.iter().all(|line| !line.contains("panicked")),
        "{lines:#?}"
    );
}

/// One call of fifty frames, from the upgrade to the close; it speaks when all are connected.
async fn whole_call(
    caller: crate::caller::Caller,
    name: String,
    gate: Arc<Semaphore>,
    all: Arc<Barrier>,
) {
    let mut socket = {
        let _permit = gate.acquire().await.expect("the gate is open");
        caller.connect().await
    };
    all.wait().await;
    begin(&mut socket, &name, 50).await;
    socket.json(&stop(&name)).await;
    assert_eq!(socket.rest().await.code, Some(1000), "{name}");
}

/// Two thousand sockets of ours, beside those of the other tests.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the maximum it may be raised");
}

/// Runs calls at once and waits until all have ended.
async fn crowd(rig: &Rig, name: &str, count: usize) {
    let gate = Arc::new(Semaphore::new(100));
    let all = Arc::new(Barrier::new(count));
    let mut calls = JoinSet::new();
    for n in 0..count {
        calls.spawn(whole_call(
            rig.caller(),
            format!("{name}-{n}"),
            Arc::clone(&gate),
            Arc::clone(&all),
        ));
    }
    while let Some(call) = within(Duration::from_secs(90), "a call to end", async || {
        Some(calls.join_next().await)
    })
    .await
    {
        call.expect("the call went well");
    }
}

// 5.1, 5.3: two thousand calls at once: every frame once and in order, and the memory is given back.
#[tokio::test]
async fn two_thousand_calls_leave_nothing_behind() {
    raise_open_files();
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("AUDIO_STREAM_MAXLEN", "0")]).await;
    crowd(&rig, "warm", 20).await;
    until("the first calls to be gone", async || {
        (rig.service.health().await["active_calls"] == 0).then_some(())
    })
    .await;
    let before = rig.service.resident_bytes();
    crowd(&rig, "crowd", 2_000).await;
    within(PATIENCE, "all ends", async || {
        (rig.redis.tell::<u64>(&["XLEN", "call_end"]).await == 2_020).then_some(())
    })
    .await;
    let mut by_call = std::collections::HashMap::<String, Vec<_>>::new();
    for frame in rig.redis.frames().await {
        by_call
            .entry(frame.interaction_id.clone())
            .or_default()
            .push(frame);
    }
    assert_eq!(by_call.len(), 2_020);
    for frames in by_call.values() {
        assert_run(frames, 1, 1, 50);
    }
    for end in rig.redis.records("call_end").await {
        assert_proves(
            &end,
            &by_call[end["interaction_id"].as_str().expect("an id")],
        );
    }
    let mut after = 0;
    within(PATIENCE, "the memory to be given back", async || {
        after = rig.service.resident_bytes();
        (after < before + 10 * 1024 * 1024).then_some(())
    })
    .await;
    assert_eq!(rig.service.health().await["active_calls"], 0);
}
