//! What Exotel calls over HTTP: the dynamic stream URL and the Passthru applet (6.3, 6.7).

use serde_json::{Value, json};

use crate::{
    conversation::{begin, start, stop},
    request::{Answer, Request},
    rig::Rig,
    wait::until,
};

/// The same parameters in each of the ways that Exotel may send them.
async fn ask(rig: &Rig, path: &str, way: &str, parameters: &[(&str, &str)]) -> Answer {
    let form: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
        .collect();
    let form = form.join("&");
    let request = match way {
        "query" => Request::get(&format!("{path}?{form}")),
        "form" => Request::new("POST", path).body("application/x-www-form-urlencoded", &form),
        _ => {
            let object: serde_json::Map<String, Value> = parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            Request::new("POST", path).body("application/json", &Value::Object(object).to_string())
        }
    };
    request.send(rig.service.port()).await
}

fn escape(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let escaped = text.bytes().map(|byte| match byte {
        byte if keep(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    escaped.collect()
}

// 6.3, trap 23: JSON with `url`, by GET and POST; Exotel's own parameters are not passed on, three others are.
#[tokio::test]
async fn the_stream_url_is_json_by_every_method() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("PUBLIC_URL", "wss://ingest.example.com"),
    ])
    .await;
    let parameters = [
        ("CallSid", "c-1"),
        ("CallFrom", "0999"),
        ("CallTo", "0444"),
        ("Direction", "incoming"),
        ("From", "0999"),
        ("To", "0444"),
        ("sample-rate", "16000"),
        ("lang", "hi"),
        ("agent", "7"),
        ("queue", "q1"),
        ("fourth", "no"),
    ];
    for way in ["query", "form", "json"] {
        let answer = ask(&rig, "/v1/exotel/stream-url", way, &parameters).await;
        assert_eq!(answer.status, 200, "{way}");
        assert!(
            answer
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("application/json")),
            "{way}"
        );
        let url = answer.json()["url"].as_str().expect("a url").to_owned();
        assert!(
            url.starts_with("wss://ingest.example.com/v1/ingest?"),
            "{url}"
        );
        assert!(url.contains("sample-rate=16000"), "{way}: {url}");
        for part in [
            "CallSid",
            "CallFrom",
            "CallTo",
            "Direction",
            "From=",
            "To=",
            "0999",
        ] {
            assert!(!url.contains(part), "{way}: {part} in {url}");
        }
        let passed = ["lang=hi", "agent=7", "queue=q1", "fourth=no"];
        let passed = passed.iter().filter(|part| url.contains(*part)).count();
        assert_eq!(passed, 3, "{way}: {url}");
    }
}

// 6.3: at most 256 characters of parameters are passed on.
#[tokio::test]
async fn the_stream_url_stays_short() {
    let rig = Rig::open().await;
    let long = "x".repeat(300);
    let answer = ask(
        &rig,
        "/v1/exotel/stream-url",
        "query",
        &[("a", &long), ("b", "1")],
    )
    .await;
    let url = answer.json()["url"].as_str().expect("a url").to_owned();
    let query = url.split_once('?').map_or("", |(_, query)| query);
    assert!(query.len() <= 256, "{url}");
}

// 6.3: built from PUBLIC_URL, else from Host; wss if X-Forwarded-Proto says https.
#[tokio::test]
async fn the_websocket_url_follows_the_request() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_URL_TOKENS", "tok-secret-1"),
    ])
    .await;
    let answer = rig.service.get("/websocket-url").await.json();
    assert_eq!(answer["url"], "ws://ingest.test/v1/ingest");
    assert_eq!(answer["websocket_url"], answer["url"]);
    let forwarded = Request::get("/websocket-url").header("X-Forwarded-Proto", "https");
    let answer = forwarded.send(rig.service.port()).await;
    assert_eq!(answer.json()["url"], "wss://ingest.test/v1/ingest");
    assert!(!answer.body.contains("tok-secret-1"), "never a token");
}

// 6.3: with tokens, the URL carries one of its own that lets in this call and no other.
#[tokio::test]
async fn the_stream_url_carries_a_token_for_one_call() {
    let rig = Rig::with(&[
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_URL_TOKENS", "tok-first,tok-second"),
    ])
    .await;
    let path = "/v1/exotel/stream-url";
    for wrong in ["", "?token=x", "/tok-firs", "?token=tok-firstt"] {
        let answer = rig.service.get(&format!("{path}{wrong}")).await;
        assert_eq!(answer.status, 401, "{wrong}");
    }
    for right in [
        "/tok-first?CallSid=signed",
        "?token=tok-second&CallSid=signed",
    ] {
        let answer = rig.service.get(&format!("{path}{right}")).await;
        let url = answer.json()["url"].as_str().expect("a url").to_owned();
        assert!(
            !url.contains("tok-first") && !url.contains("tok-second"),
            "{url}"
        );
        let own = url
            .strip_prefix("ws://ingest.test")
            .expect("the request's host")
            .to_owned();
        let mut socket = rig.caller().path(&own).connect().await;
        begin(&mut socket, "signed", 1).await;
        socket.json(&stop("signed")).await;
        assert_eq!(socket.rest().await.code, Some(1000), "{right}");
        let mut thief = rig.caller().path(&own).connect().await;
        thief.json(&start("another")).await;
        assert_eq!(
            thief.rest().await.code,
            Some(1008),
            "a start that names another call"
        );
        let mut forged = own.clone();
        forged.push('x');
        assert_eq!(rig.caller().path(&forged).refused().await.status, 401);
    }
    assert!(rig.redis.frames_of("another").await.is_empty());
}

// 6.7, trap 20: before the stream: GET, form or JSON, keys in any case; the start event carries the context.
#[tokio::test]
async fn passthru_before_the_stream_gives_the_call_its_context() {
    let rig = Rig::open().await;
    for (way, key) in [
        ("query", "CallSid"),
        ("form", "callsid"),
        ("json", "CALLSID"),
    ] {
        let call = format!("context-{way}");
        let parameters = [
            (key, call.as_str()),
            ("CallFrom", "0999"),
            ("CustomField", "order 66"),
        ];
        let answer = ask(&rig, "/v1/exotel/passthru", way, &parameters).await;
        assert_eq!((answer.status, answer.body.trim()), (200, "OK"), "{way}");
        let kept = format!("call:context:{call}");
        let ttl = until("the context", async || {
            let ttl: i64 = rig.redis.tell(&["TTL", &kept]).await;
            (ttl > 0).then_some(ttl)
        })
        .await;
        assert!((3_500..=3_600).contains(&ttl), "{ttl}");
        let mut socket = rig.exotel().await;
        begin(&mut socket, &call, 1).await;
        let event = rig.redis.wait_for_event(&call, "start").await;
        assert!(
            event["context"].to_string().contains("order 66"),
            "{way}: {event}"
        );
    }
}

// 6.7, trap 20: after the stream: bracketed names or one JSON string, any method, becomes a `stream_report`.
#[tokio::test]
async fn passthru_after_the_stream_is_a_report() {
    let rig = Rig::open().await;
    let json_text = r#"{"StreamSID":"s","Status":"failed","Error":"3009 failed","DisconnectedBy":"NA","Duration":"12","DetailedStatus":"Streaming_call_throttled"}"#;
    let bracketed = [
        ("Stream[Status]", "failed"),
        ("Stream[Error]", "3009 failed"),
        ("Stream[DisconnectedBy]", "NA"),
        ("Stream[Duration]", "12"),
        ("Stream[DetailedStatus]", "Streaming_call_throttled"),
    ];
    for way in ["query", "form", "json"] {
        for packed in [true, false] {
            let call = format!("report-{way}-{packed}");
            let mut parameters = vec![("CallSid", call.as_str())];
            if packed {
                parameters.push(("Stream", json_text));
            } else {
                parameters.extend(bracketed);
            }
            let answer = ask(&rig, "/v1/exotel/passthru", way, &parameters).await;
            assert_eq!((answer.status, answer.body.trim()), (200, "OK"), "{call}");
            let report = rig.redis.wait_for_event(&call, "stream_report").await;
            let expected = json!({"status": "failed", "error": "3009 failed", "disconnected_by": "NA",
                "detailed_status": "Streaming_call_throttled"});
            for (name, value) in expected.as_object().expect("an object") {
                assert_eq!(&report[name], value, "{call}: {name} of {report}");
            }
            assert_eq!(
                report["duration_s"].as_f64(),
                Some(12.0),
                "{call}: {report}"
            );
        }
    }
}

// 6.7, trap 21: URLs with credentials are masked wherever they end up.
#[tokio::test]
async fn credentials_in_reported_urls_are_masked() {
    let rig = Rig::open().await;
    let url = "wss://apikey7:hunter2secret@ingest.example.com/v1/ingest";
    let error = format!("3009 failed to establish ws conn {url}: bad handshake");
    let parameters = [
        ("CallSid", "masked"),
        ("Stream[Status]", "failed"),
        ("Stream[StreamUrl]", url),
        ("Stream[Error]", &error),
    ];
    ask(&rig, "/v1/exotel/passthru", "query", &parameters).await;
    let report = rig.redis.wait_for_event("masked", "stream_report").await;
    assert!(
        report["error"]
            .as_str()
            .is_some_and(|error| error.contains("bad handshake")),
        "{report}"
    );
    rig.assert_unseen("hunter2secret").await;
    let calls = rig.service.get("/v1/calls").await.body;
    assert!(!calls.contains("hunter2secret"), "{calls}");
    assert!(
        calls.contains("bad handshake"),
        "6.7: shown by 6.5: {calls}"
    );
}

// 6.7: passthru answers at once, also while Redis is stalled.
#[tokio::test]
async fn passthru_does_not_wait_for_redis() {
    let rig = Rig::open().await;
    rig.redis.freeze();
    let begun = tokio::time::Instant::now();
    let answer = rig.service.get("/v1/exotel/passthru?CallSid=quick").await;
    let took = begun.elapsed();
    rig.redis.thaw();
    assert_eq!(answer.status, 200);
    assert!(took < std::time::Duration::from_secs(1), "{took:?}");
}
