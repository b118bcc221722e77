//! What a refusal says (6.5, 3.3, 3.4): the same words in the answer, the log and the handshake book, and in them what
//! to change.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    caller::Caller,
    conversation::{simple_start, start_with},
    keys,
    ops::handshakes,
    request::{Answer, Request, finish, read_head},
    rig::Rig,
    wait::until,
};

/// The answer to a request that is written as it is.
async fn raw(rig: &Rig, head: &str) -> Answer {
    let mut wire = TcpStream::connect(("127.0.0.1", rig.service.port()))
        .await
        .expect("the service accepts");
    let text = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
    wire.write_all(text.as_bytes()).await.expect("it reads");
    let (answer, tail) = read_head(&mut wire).await;
    finish(answer, tail, &mut wire).await
}

/// The newest entry says this, and so do the answer and, at WARN, the log.
async fn assert_told(rig: &Rig, answer: &Answer, error: &str, advice: &str) {
    let newest = handshakes(rig).await[0].clone();
    assert_eq!(newest["outcome"], "refused", "{newest}");
    assert_eq!(
        (&newest["status"], &newest["error"]),
        (&json!(answer.status), &json!(error)),
        "{newest}"
    );
    let reason = newest["reason"].as_str().expect("words");
    assert!(reason.contains(advice), "{error}: {reason}");
    let body = answer.json();
    assert_eq!(
        (&body["error"], &body["message"]),
        (&json!(error), &json!(reason))
    );
    let level = until(&format!("{error} in the log"), async || {
        let lines = rig.service.lines();
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = lines.filter(|line| {
            let field = |name| crate::service::field(line, name);
            field("reason") == Some(&json!(error)) && field("detail") == Some(&json!(reason))
        });
        lines.next().map(|line| line["level"].clone())
    })
    .await;
    assert_eq!(level, "WARN");
}

// 6.5: every way to be refused, in words that say what to change.
#[tokio::test]
async fn a_refusal_says_what_to_change() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_BASIC_AUTH", "key:token"),
        ("EXOTEL_ALLOWED_IPS", "127.0.0.1"),
        ("EXOTEL_URL_TOKENS", "right"),
    ])
    .await;
    let caller = || rig.caller();
    let other = keys::token_with(&[("tenant_id", json!("acme"))]);
    let wrong: [(Caller, &str, &str); 10] = [
        (caller(), "no_credentials", "wss://KEY:TOKEN@host"),
        (caller().basic("key:no"), "bad_basic", "compare KEY:TOKEN"),
        (
            caller().host("::1"),
            "ip_not_allowed",
            "not in EXOTEL_ALLOWED_IPS: add it",
        ),
        (
            caller().basic("key:token").path("/v1/ingest/wrong"),
            "bad_url_token",
            "compare the URL given to Exotel",
        ),
        (
            caller().bearer("no"),
            "malformed_token",
            "send header.claims.signature",
        ),
        (
            caller().bearer(&keys::expired()),
            "expired",
            "get a new one",
        ),
        (
            caller().bearer(&other).path("/v1/ingest?tenant_id=x"),
            "tenant_mismatch",
            "leave tenant_id out of the URL",
        ),
        (
            caller().header("Authorization", "Digest x"),
            "scheme",
            "send a JWT as Bearer",
        ),
        (
            caller().bearer("a").bearer("b"),
            "several_authorizations",
            "send one",
        ),
        (
            caller().path("/v1/ingst"),
            "not_found",
            "connect a WebSocket to /v1/ingest",
        ),
    ];
    for (caller, error, advice) in wrong {
        assert_told(&rig, &caller.refused().await, error, advice).await;
    }
    let answer = rig.service.get("/v1/ingest").await;
    assert_told(
        &rig,
        &answer,
        "upgrade_required",
        "give Exotel's applet the URL",
    )
    .await;
    let answer = Request::new("POST", "/v1/ingest")
        .send(rig.service.port())
        .await;
    assert_told(&rig, &answer, "method_not_allowed", "begins with GET").await;
    let head = "GET /v1/ingest HTTP/1.1\nHost: x\nUpgrade: websocket\nConnection: Upgrade";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (head, error, advice) in [
        (
            format!("{head}\nSec-WebSocket-Version: 8\n{key}"),
            "bad_handshake",
            "RFC 6455",
        ),
        (
            format!("{head}\nSec-WebSocket-Version: 13"),
            "bad_handshake",
            "Sec-WebSocket-Key is missing",
        ),
        (
            head.replace(
                "Connection: Upgrade",
                &format!("Sec-WebSocket-Version: 13\n{key}"),
            ),
            "bad_handshake",
            "have it pass Upgrade and Connection on",
        ),
        (
            head.replace("Upgrade: websocket\n", &format!("{key}\n")),
            "upgrade_removed",
            "proxy_set_header Upgrade",
        ),
    ] {
        assert_told(&rig, &raw(&rig, &head).await, error, advice).await;
    }
}

// 6.5: the same where neither Exotel nor a client can get in, and where there is no place.
#[tokio::test]
async fn a_service_that_lets_nobody_in_says_how_to_open_it() {
    let closed = Rig::with(&[("JWT_PUBLIC_KEY", "")]).await;
    for (caller, error, advice) in [
        (closed.caller(), "no_credentials", "set SUPPORT_EXOTEL=true"),
        (
            closed.caller().basic("a:b"),
            "exotel_off",
            "set SUPPORT_EXOTEL=true",
        ),
        (
            closed.caller().bearer("x.y.z"),
            "no_jwt_key",
            "JWT_PUBLIC_KEY is not set",
        ),
    ] {
        assert_told(&closed, &caller.refused().await, error, advice).await;
    }
    let full = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("MAX_CONNECTIONS", "2"),
        ("MAX_CONNECTIONS_PER_IP", "1"),
    ])
    .await;
    let _one = full.exotel().await;
    let answer = full.caller().refused().await;
    assert_told(
        &full,
        &answer,
        "too_many_from_address",
        "set TRUSTED_PROXIES",
    )
    .await;
    let _two = full.caller().host("::1").connect().await;
    let answer = full.caller().refused().await;
    assert_told(&full, &answer, "too_many_connections", "or raise it").await;
}

// 3.3, 3.4, 6.5: who is turned away by what it says first is refused in the book too.
#[tokio::test]
async fn a_late_refusal_changes_its_entry() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("EXOTEL_URL_TOKENS", "right")]).await;
    let mut wrong = rig.exotel().await;
    assert_eq!(handshakes(&rig).await[0]["outcome"], "accepted");
    let _other = rig.caller().path("/v1/ingest/right").connect().await;
    let parameters = json!({"token": "wrong"});
    wrong
        .json(&start_with("late", "custom_parameters", parameters))
        .await;
    assert_eq!(wrong.rest().await.code, Some(1008));
    let bound = keys::token_with(&[("interaction_id", json!("mine"))]);
    let mut forbidden = rig.caller().bearer(&bound).connect().await;
    forbidden.json(&simple_start("yours")).await;
    assert_eq!(forbidden.rest().await.code, Some(1008));
    let book = handshakes(&rig).await;
    let told = |name: &str| -> Vec<Value> { book.iter().map(|one| one[name].clone()).collect() };
    assert_eq!(told("outcome"), ["refused", "accepted", "refused"]);
    assert_eq!(told("status"), [1008, 101, 1008]);
    assert_eq!(
        told("error"),
        [json!("forbidden"), Value::Null, json!("bad_url_token")]
    );
    let reason = told("reason")[2].to_string();
    assert!(
        reason.contains("give Exotel the URL with one of EXOTEL_URL_TOKENS"),
        "{reason}"
    );
}
