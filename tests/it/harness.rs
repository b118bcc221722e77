//! The harness itself: that what the other tests lean on does what it says. No service needed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_tungstenite::{
    accept_async,
    tungstenite::{Message, protocol::CloseFrame},
};

use crate::{caller::Caller, conversation, keys, redis, redis::Redis};

#[tokio::test]
async fn entries_are_read_in_both_formats() {
    let redis = Redis::start().await;
    let data = json!({"tenant_id": "t", "interaction_id": "i", "seq": 1, "timestamp_ms": 2, "sample_rate": 8000,
        "encoding": "pcm16", "session": 3, "audio": STANDARD.encode([0, 255])});
    let text = data.to_string();
    let json_id: String = redis
        .tell(&["XADD", "audio_stream", "*", "data", &text])
        .await;
    let fields = [
        "XADD",
        "other",
        "*",
        "tenant_id",
        "t",
        "interaction_id",
        "i",
        "seq",
        "1",
        "timestamp_ms",
        "2",
        "sample_rate",
        "8000",
        "encoding",
        "pcm16",
        "session",
        "3",
        "audio",
        "ab",
    ];
    redis.tell::<String>(&fields).await;
    let frames = redis.wait_for_frames("i", 1).await;
    assert_eq!(frames[0].id, json_id);
    assert_eq!(frames[0].audio, [0, 255]);
    assert_eq!(frames[0].text, text);
    let other = redis.frames_in("other").await;
    assert_eq!((other[0].seq, other[0].audio.as_slice()), (1, &b"ab"[..]));
    assert!(redis.everything().await.contains("tenant_id"));
    let mut consumer = redis::consumer(&redis).await;
    let pong: String = ::redis::cmd("PING")
        .query_async(&mut consumer)
        .await
        .expect("pong");
    assert_eq!(pong, "PONG");
}

#[tokio::test]
async fn a_killed_redis_comes_back_empty_on_its_port() {
    let mut redis = Redis::start().await;
    redis.tell::<String>(&["SET", "k", "v"]).await;
    let url = redis.url();
    redis.kill().await;
    assert!(redis.ask::<String>(&::redis::cmd("PING")).await.is_err());
    redis.revive().await;
    assert_eq!(url, redis.url());
    assert_eq!(redis.tell::<Option<String>>(&["GET", "k"]).await, None);
}

#[tokio::test]
async fn the_checksum_is_zlibs() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
}

#[tokio::test]
async fn audio_of_two_frames_differs() {
    assert_eq!(conversation::frame(1).len(), 320);
    assert_ne!(conversation::frame(1), conversation::frame(2));
}

#[tokio::test]
async fn tokens_are_signed() {
    assert_eq!(keys::token().split('.').count(), 3);
    assert_ne!(
        keys::token_with(&[("tenant_id", json!("t"))]),
        keys::expired()
    );
    assert!(keys::Pair::ed25519().public.contains("PUBLIC KEY"));
}

#[tokio::test]
async fn a_caller_shows_what_was_said_and_how_it_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let caller = Caller::at(listener.local_addr().expect("an address").port());
    let server = async {
        let (wire, _) = listener.accept().await.expect("a connection");
        let mut socket = accept_async(wire).await.expect("a handshake");
        let heard = socket.next().await.expect("a message").expect("a message");
        socket
            .send(Message::text("{\"heard\":1}"))
            .await
            .expect("sent");
        socket
            .close(Some(CloseFrame {
                code: 1007.into(),
                reason: "".into(),
            }))
            .await
            .expect("closed");
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
        heard
    };
    let client = async {
        let mut socket = caller.connect().await;
        socket.binary(vec![1, 2, 3]).await;
        socket.rest().await
    };
    let (heard, rest) = tokio::join!(server, client);
    assert_eq!(heard, Message::binary(vec![1, 2, 3]));
    assert_eq!(
        (rest.texts.as_slice(), rest.code),
        (&[json!({"heard": 1})][..], Some(1007))
    );
}

#[tokio::test]
async fn a_refusal_is_shown_with_its_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let caller = Caller::at(listener.local_addr().expect("an address").port());
    let server = async {
        let (mut wire, _) = listener.accept().await.expect("a connection");
        wire.write_all(b"HTTP/1.1 401 No\r\nX-Request-Id: 7\r\ncontent-length: 2\r\n\r\n{}")
            .await
            .expect("sent");
        wire
    };
    let (_wire, answer) = tokio::join!(server, caller.refused());
    assert_eq!(
        (answer.status, answer.header("x-request-id")),
        (401, Some("7"))
    );
    assert_eq!(answer.json(), json!({}));
}
