//! What an operator sees of a running service: the handshake book and the calls (6.5), and that no secret is in them.
//! Who may see it is in `ops_access`, what a refusal says in `refusals`.

use serde_json::{Value, json};

use crate::{
    conversation::{begin, begin_simple, media, pcm, speak, start_with, stop},
    keys,
    request::Request,
    rig::Rig,
    wait::until,
};

pub(crate) async fn handshakes(rig: &Rig) -> Vec<Value> {
    let answer = rig.service.get("/v1/handshakes").await;
    assert_eq!(answer.status, 200);
    let handshakes = answer.json()["handshakes"].as_array().cloned();
    handshakes.expect("a list")
}

async fn calls(rig: &Rig) -> Value {
    rig.service.get("/v1/calls").await.json()
}

// 6.5: live calls with their figures, ended ones with the record of 4.3.
#[tokio::test]
async fn calls_are_listed_while_they_live_and_when_they_have_ended() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "listed", 2).await;
    rig.redis.wait_for_frames("listed", 2).await;
    let live = until("the frames to be durable", async || {
        let live = calls(&rig).await["live"][0].clone();
        (live["not_durable"] == 0).then_some(live)
    })
    .await;
    for (name, expected) in [
        ("interaction_id", json!("listed")),
        ("tenant_id", json!("someacct1")),
        ("protocol", json!("exotel")),
        ("dialect", json!("exotel")),
        ("sample_rate", json!(8000)),
        ("frames", json!(2)),
        ("gaps", json!(0)),
        ("connections", json!(1)),
    ] {
        assert_eq!(live[name], expected, "{name} of {live}");
    }
    for name in ["silence_ms", "frames_per_second"] {
        assert!(live[name].is_number(), "{name} of {live}");
    }
    for name in ["started", "last_activity"] {
        let time = live[name].as_str().expect("RFC 3339");
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    }
    socket.json(&stop("listed")).await;
    socket.rest().await;
    let calls = until("the call to have ended", async || {
        let calls = calls(&rig).await;
        (calls["live"] == json!([])).then_some(calls)
    })
    .await;
    let ended = &calls["ended"][0];
    assert_eq!(
        (&ended["started"], &ended["frames"], &ended["dialect"]),
        (&live["started"], &json!(2), &json!("exotel"))
    );
    assert_eq!(ended["end"], rig.redis.wait_for_end("listed").await);
}

// 6.5: the dialect is that of the audio.
#[tokio::test]
async fn the_dialect_is_how_the_audio_came() {
    let rig = Rig::open().await;
    let mut socket = rig.custom().await;
    begin_simple(&mut socket, "spoken").await;
    let dialect = async || calls(&rig).await["live"][0]["dialect"].clone();
    assert_eq!(dialect().await, "simple");
    socket.binary(vec![1; 320]).await;
    until("binary audio", async || {
        (dialect().await == "binary").then_some(())
    })
    .await;
    let live = calls(&rig).await["live"][0].clone();
    assert_eq!(
        (&live["protocol"], &live["sample_rate"]),
        (&json!("jwt"), &json!(24000))
    );
}

// 6.6: how loud a call is shows from the second look on.
#[tokio::test]
async fn whoever_looks_again_sees_how_loud_a_call_is() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "loud", 3).await;
    rig.redis.wait_for_frames("loud", 3).await;
    let first = calls(&rig).await["live"][0].clone();
    assert_eq!(
        (&first["level_dbfs"], &first["peaks_dbfs"]),
        (&Value::Null, &json!([]))
    );
    for n in 4..=20 {
        socket.json(&media(n, &pcm(n, 1600))).await;
    }
    rig.redis.wait_for_frames("loud", 20).await;
    let second = calls(&rig).await["live"][0].clone();
    let level = second["level_dbfs"].as_f64().expect("a level");
    assert!((-96.0..=0.0).contains(&level), "{second}");
    let peaks = second["peaks_dbfs"].as_array().expect("peaks");
    assert!((17..=18).contains(&peaks.len()), "{second}");
}

// 6.5: upgrade attempts, newest first, with who came and what became of it.
#[tokio::test]
async fn handshakes_are_listed_newest_first() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let _socket = rig
        .caller()
        .path("/v1/ingest?CallSid=c1&mystery=x")
        .header("X-Forwarded-For", "203.0.113.7")
        .connect()
        .await;
    let _custom = rig.custom().await;
    rig.caller().bearer("x.y.z").refused().await;
    let book = handshakes(&rig).await;
    let told = |name: &str| -> Vec<Value> { book.iter().map(|one| one[name].clone()).collect() };
    assert_eq!(told("outcome"), ["refused", "accepted", "accepted"]);
    assert_eq!(told("status"), [401, 101, 101]);
    assert_eq!(told("protocol"), ["jwt", "jwt", "exotel"]);
    assert_eq!(told("client"), ["127.0.0.1", "127.0.0.1", "203.0.113.7"]);
    assert_eq!(
        told("error"),
        [json!("malformed_token"), Value::Null, Value::Null]
    );
    assert_eq!(told("path")[2], "/v1/ingest?CallSid=c1&mystery=********");
    assert!(
        told("user_agent")
            .iter()
            .all(|name| name == "Go-http-client/1.1")
    );
    for time in told("time") {
        let time = time.as_str().expect("RFC 3339").to_owned();
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    }
    // The log knows the connection by the same name.
    let connected = rig
        .service
        .wait_for_log("New Exotel WebSocket connection")
        .await;
    let connection = crate::service::field(&connected, "connection");
    assert_eq!(connection, Some(&told("connection")[2]));
}

// 6.5, 8.1: no secret that anybody brings comes out anywhere.
#[tokio::test]
async fn secrets_are_in_no_listing_and_no_log() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_BASIC_AUTH", "s3cret-1:s3cret-2"),
        ("EXOTEL_URL_TOKENS", "s3cret-3,s3cret-4"),
        ("OPS_TOKEN", "s3cret-5"),
    ])
    .await;
    let caller = || rig.caller().basic("s3cret-1:s3cret-2");
    let good = keys::token();
    let offer = format!("bearer, {good}");
    let mut by_path = caller().path("/v1/ingest/s3cret-3").connect().await;
    begin(&mut by_path, "by-path", 1).await;
    let mut by_query = caller()
        .path("/v1/ingest?token=s3cret-4&other=private-1&private-2")
        .connect()
        .await;
    begin(&mut by_query, "by-query", 1).await;
    let mut by_start = caller().connect().await;
    let parameters = json!({"token": "s3cret-3"});
    by_start
        .json(&start_with("by-start", "custom_parameters", parameters))
        .await;
    speak(&mut by_start, 1, 1).await;
    let mut wrong_start = caller().connect().await;
    let parameters = json!({"token": "s3cret-8"});
    wrong_start
        .json(&start_with("wrong-start", "custom_parameters", parameters))
        .await;
    wrong_start.rest().await;
    let _bearer = rig.caller().bearer(&good).connect().await;
    let _offered = rig
        .caller()
        .header("Sec-WebSocket-Protocol", &offer)
        .connect()
        .await;
    for wrong in [
        rig.caller().basic("s3cret-9:s3cret-10"),
        rig.caller().bearer("s3cret-11"),
        rig.caller().bearer(&keys::expired()),
        rig.caller().header("Authorization", "Digest s3cret-12"),
        rig.caller().header("Authorization", "s3cret-13"),
        rig.caller()
            .header("Sec-WebSocket-Protocol", "bearer, s3cret-14"),
        caller().path("/v1/ingest/s3cret-15?token=s3cret-16"),
        caller().path("/s3cret-17/s3cret-18?s3cret-19=s3cret-20"),
        caller().path("/v1/ingest/s3cret-21/s3cret-22"),
    ] {
        wrong.refused().await;
    }
    rig.service.get("/v1/ingest/s3cret-23?s3cret-24").await;
    for token in ["s3cret-5", "s3cret-25"] {
        let request = Request::get("/v1/calls?s3cret-26").header("X-Forwarded-For", "10.0.0.1");
        let request = request.header("Authorization", &format!("Bearer {token}"));
        request.send(rig.service.port()).await;
    }
    by_query.json(&stop("by-query")).await;
    by_query.rest().await;
    for call in ["by-path", "by-query", "by-start"] {
        rig.redis.wait_for_frames(call, 1).await;
    }
    assert_eq!(handshakes(&rig).await.len(), 16);
    let mut shown = String::new();
    for path in ["/v1/handshakes", "/v1/calls", "/health", "/ready"] {
        shown += &rig.service.get(path).await.body;
    }
    assert!(shown.contains("by-path") && shown.contains("by-query"));
    let base64 = ["czNjcmV0LTE6czNjcmV0LTI", "czNjcmV0LTk6czNjcmV0LTEw"];
    for secret in ["s3cret", &good, &keys::expired(), base64[0], base64[1]] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
        rig.assert_unseen(secret).await;
    }
    // Parameters that we do not know are published with the call, and nowhere else.
    shown += &rig.service.lines().concat();
    assert!(!shown.contains("private-"), "{shown}");
}
