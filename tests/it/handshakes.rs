//! Upgrades as clients may write them and seldom do: spread headers, odd paths, several ways to bring a token (3.1, 3.2).
//! What is refused, and the limits, are in `upgrade`.

use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    keys,
    request::{Answer, Request, read_head},
    rig::Rig,
};

/// The answer to an upgrade of `/v1/ingest` with these headers for `Upgrade` and `Connection`.
async fn shake(rig: &Rig, headers: &str) -> Answer {
    let mut wire = TcpStream::connect(("127.0.0.1", rig.service.port()))
        .await
        .expect("the service accepts");
    let request = format!(
        "GET /v1/ingest HTTP/1.1\r\nHost: x\r\n{headers}Sec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    wire.write_all(request.as_bytes()).await.expect("it reads");
    read_head(&mut wire).await.0
}

// 3.1: `Upgrade` and `Connection` are lists, and a list may stand in several headers.
#[tokio::test]
async fn the_words_of_an_upgrade_may_stand_anywhere_in_their_lists() {
    let rig = Rig::open().await;
    for headers in [
        "upgrade:WEBSOCKET\r\nconnection:upgrade\r\n",
        "Upgrade:  WebSocket  \r\nConnection: keep-alive, \tUpgrade\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c, websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade, HTTP2-Settings\r\n",
    ] {
        assert_eq!(shake(&rig, headers).await.status, 101, "{headers}");
    }
    let without = shake(&rig, "Upgrade: websocket\r\nConnection: close\r\n").await;
    assert_eq!(without.status, 400);
}

// 3.1: without configured tokens the segment is ignored, whatever its bytes; as a session id it is taken as written.
#[tokio::test]
async fn a_path_that_is_no_utf8_is_no_obstacle() {
    let rig = Rig::open().await;
    rig.caller().path("/v1/ingest/%ff").connect().await;
    let mut socket = rig.caller().path("/ws/voicebot/%ffx").connect().await;
    socket.binary(vec![1, 2]).await;
    let frames = rig.redis.wait_for_frames("%ffx", 1).await;
    assert_eq!(frames.len(), 1);
    // 6.8: and an ordinary GET is answered in JSON.
    let answer = rig.service.get("/v1/ingest/%ff").await;
    assert_eq!(answer.status, 426);
    assert!(answer.json().is_object());
}

// 3.3: where tokens are configured, such a segment is a wrong one.
#[tokio::test]
async fn a_token_that_is_no_utf8_is_a_wrong_one() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("EXOTEL_URL_TOKENS", "right")]).await;
    let answer = rig.caller().path("/v1/ingest/%ff").refused().await;
    assert_eq!(answer.status, 401);
    assert!(answer.json().is_object());
    rig.caller().path("/v1/ingest/r%69ght").connect().await;
}

// 3.2: a Bearer header is enough, whatever subprotocols are offered beside it.
#[tokio::test]
async fn a_bearer_header_stands_whatever_is_offered_beside_it() {
    let rig = Rig::open().await;
    let caller = rig.caller().bearer(&keys::token());
    for (offered, chosen) in [
        ("bearer", None),
        ("audio", None),
        ("BEARER, x", None),
        ("bearer, some-other-token", Some("bearer")),
    ] {
        let caller = caller.clone().header("Sec-WebSocket-Protocol", offered);
        let socket = caller.connect().await;
        let answered = socket.answer.header("sec-websocket-protocol");
        assert_eq!(answered, chosen, "{offered}");
    }
}

// 6.8, 8.2: an upgrade at a path that is none of ours gets 404 and is seen in the log, without what may be a token.
#[tokio::test]
async fn an_upgrade_that_misses_is_logged() {
    let rig = Rig::open().await;
    let answer = rig
        .caller()
        .path("/ingest/se-cret?token=se-cret")
        .refused()
        .await;
    assert_eq!(answer.status, 404);
    assert!(answer.json().is_object());
    rig.service
        .wait_for_log("WebSocket upgrade attempt detected")
        .await;
    rig.service.wait_for_log("WebSocket upgrade refused").await;
    rig.assert_unseen("se-cret").await;
}

// 3.1: another method is told which one is right.
#[tokio::test]
async fn another_method_is_told_what_is_allowed() {
    let rig = Rig::open().await;
    for path in ["/v1/ingest", "/v1/ingest/x", "/ws/voicebot/x"] {
        let answer = Request::new("POST", path).send(rig.service.port()).await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("allow"), Some("GET"), "{path}");
    }
}
