//! The simulator against a small acceptor on the loopback that keeps what it hears.
//!
//! Pure parts are tested at the foot of their own files. Invariant: no test waits for a fixed time.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{
    acceptor::{listen, serve, upgrade},
    *,
};

fn settings(url: &str, dialect: Dialect) -> Settings {
    Settings {
        target: Target::parse(url).unwrap(),
        calls: 1,
        duration: Duration::from_secs(1),
        frame_ms: 20,
        dialect,
        encoding: Encoding::Pcm16,
        sound: Sound::voice(8_000, Duration::from_secs(1)),
        credentials: None,
        speed: 20.0,
        tenant: None,
        name: None,
    }
}

fn token() -> Credentials {
    Credentials::Bearer(Secret::new("a.b.c"))
}

async fn run(settings: Settings) -> Summary {
    play(settings, Arc::default()).await.unwrap()
}

fn said(json: &str) -> Message {
    Message::text(json)
}

fn close(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame {
        code,
        reason: "because".into(),
    }))
}

#[tokio::test]
async fn an_exotel_call_is_as_on_the_wire() {
    let (listener, url) = listen().await;
    let url = url.replace("ws://", "ws://KEY:TOKEN@") + "?token=s3cret&sample-rate=8000";
    let settings = Settings {
        tenant: Some("someacct1".into()),
        ..settings(&url, Dialect::Exotel)
    };
    let began = Instant::now();
    let (summary, heard) = tokio::join!(run(settings), serve(&listener, |_, _| vec![]));

    assert_eq!(heard.uri, "/v1/ingest");
    assert_eq!(heard.headers["user-agent"], "Go-http-client/1.1");
    assert_eq!(heard.headers["authorization"], "Basic S0VZOlRPS0VO");
    for absent in [
        "origin",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ] {
        assert!(!heard.headers.contains_key(absent), "{absent}");
    }

    assert_eq!(heard.messages.len(), 1 + 1 + 50 + 1);
    assert_eq!(
        heard.messages[0].1.to_text().unwrap(),
        r#"{"event":"connected"}"#
    );
    let start = heard.json(1);
    let sid = start["stream_sid"].as_str().unwrap();
    assert_eq!(sid.len(), 32);
    assert_eq!(start["start"]["stream_sid"], sid);
    assert_eq!(start["start"]["call_sid"].as_str().unwrap().len(), 32);
    assert_eq!(start["start"]["account_sid"], "someacct1");
    assert_eq!(start["start"]["from"], "09990000001");
    assert_eq!(start["start"]["custom_parameters"]["token"], "s3cret");
    assert_eq!(start["start"]["media_format"]["sample_rate"], "8000");
    for frame in 0..50 {
        let media = heard.json(2 + frame);
        assert_eq!(media["event"], "media");
        assert_eq!(media["stream_sid"], sid);
        assert_eq!(media["sequence_number"], (frame + 2).to_string());
        assert_eq!(media["media"]["chunk"], (frame + 1).to_string());
        assert_eq!(media["media"]["timestamp"], (20 * (frame + 1)).to_string());
        assert_eq!(media["media"]["payload"].as_str().unwrap().len(), 428);
    }
    let stop = heard.json(52);
    assert_eq!(
        (&stop["event"], &stop["sequence_number"]),
        (&"stop".into(), &"52".into())
    );
    assert_eq!(stop["stop"]["reason"], "callended");
    assert!(
        !heard.closed,
        "Exotel drops the connection without a close frame"
    );

    assert!(summary.is_clean(), "{summary}");
    assert_eq!(
        (summary.completed, summary.frames, summary.bytes),
        (1, 50, 16_000)
    );
    // A second of audio at 20 times the speed: no frame before its time, and the whole not much later.
    for (frame, (at, _)) in heard.messages[2..52].iter().enumerate() {
        let due = Duration::from_millis(frame as u64);
        assert!(
            *at >= heard.messages[1].0 + due - Duration::from_millis(2),
            "frame {frame}"
        );
    }
    assert!(
        (50..2_000).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_refusal_is_told_and_is_not_clean() {
    let (listener, url) = listen().await;
    let refuse = async {
        let (tcp, _) = listener.accept().await.unwrap();
        #[expect(
            clippy::result_large_err,
            reason = "the callback's type is the library's"
        )]
        let callback = |_: &Request, _: Response| -> Result<Response, ErrorResponse> {
            let body = Some(r#"{"error":"unauthorized","message":"wrong key"}"#.to_owned());
            let mut response = ErrorResponse::new(body);
            *response.status_mut() = http::StatusCode::UNAUTHORIZED;
            Err(response)
        };
        accept_hdr_async(tcp, callback).await.unwrap_err();
    };
    let (summary, ()) = tokio::join!(run(settings(&url, Dialect::Exotel)), refuse);
    assert_eq!(
        (summary.refused, summary.started, summary.frames),
        (1, 0, 0)
    );
    assert!(!summary.is_clean());
    assert!(
        summary.to_string().contains("status 401: wrong key"),
        "{summary}"
    );
}

#[tokio::test]
async fn nobody_listening_is_a_failure() {
    let (listener, url) = listen().await;
    drop(listener);
    let summary = run(settings(&url, Dialect::Exotel)).await;
    assert_eq!(summary.failed, 1);
    assert!(
        summary.to_string().contains("could not connect"),
        "{summary}"
    );
}

/// A server that acks every tenth frame, and the rest at the end if `all`.
fn acking(first: u64, all: bool) -> impl FnMut(usize, &Message) -> Vec<Message> {
    let mut seq = first - 1;
    move |at, message| {
        if at == 0 {
            return vec![said(&format!(
                r#"{{"event":"started","interaction_id":"x","next_seq":{first}}}"#
            ))];
        }
        if message
            .to_text()
            .is_ok_and(|text| text.contains(r#""end""#))
        {
            let ack = said(&format!(r#"{{"event":"ack","seq":{seq}}}"#));
            return all
                .then_some(ack)
                .into_iter()
                .chain([close(CloseCode::Normal)])
                .collect();
        }
        seq += 1;
        let due = seq.is_multiple_of(10);
        due.then(|| said(&format!(r#"{{"event":"ack","seq":{seq}}}"#)))
            .into_iter()
            .collect()
    }
}

#[tokio::test]
async fn a_simple_call_numbers_its_frames_and_waits_for_the_last_ack() {
    let (listener, url) = listen().await;
    let settings = Settings {
        credentials: Some(token()),
        name: Some("int-1".into()),
        tenant: Some("t".into()),
        duration: Duration::from_millis(250),
        ..settings(&format!("{url}?a=b"), Dialect::Simple)
    };
    // The session goes on: its next number is 8.
    let (summary, heard) = tokio::join!(run(settings), serve(&listener, acking(8, true)));
    assert_eq!(heard.uri, "/v1/ingest?a=b");
    assert_eq!(heard.headers["authorization"], "Bearer a.b.c");
    let start = heard.json(0);
    assert_eq!(
        (&start["interaction_id"], &start["tenant_id"]),
        (&"int-1".into(), &"t".into())
    );
    assert_eq!(start["sample_rate"], 8_000);
    for frame in 0..13 {
        assert_eq!(heard.json(1 + frame)["seq"], 8 + frame);
    }
    assert_eq!(heard.json(14)["event"], "end");
    assert!(summary.is_clean(), "{summary}");
    assert_eq!((summary.frames, summary.acks, summary.acked), (13, 3, 13));
}

#[tokio::test]
async fn a_missing_last_ack_is_a_failure() {
    let (listener, url) = listen().await;
    let settings = Settings {
        credentials: Some(token()),
        duration: Duration::from_millis(250),
        ..settings(&url, Dialect::Simple)
    };
    let (summary, _) = tokio::join!(run(settings), serve(&listener, acking(1, false)));
    assert_eq!((summary.failed, summary.acked), (1, 10));
    assert!(
        summary
            .to_string()
            .contains("sent 13 frames but the last ack was for 10"),
        "{summary}"
    );
}

#[tokio::test]
async fn a_binary_call_sends_raw_audio() {
    let (listener, url) = listen().await;
    let settings = Settings {
        credentials: Some(token()),
        encoding: Encoding::Mulaw,
        ..settings(&url, Dialect::Binary)
    };
    let (summary, heard) = tokio::join!(run(settings), serve(&listener, acking(1, true)));
    assert!(summary.is_clean(), "{summary}");
    assert_eq!(heard.json(0)["encoding"], "mulaw");
    assert!(
        heard.messages[1..51]
            .iter()
            .all(|(_, m)| m.is_binary() && m.len() == 160)
    );
    assert_eq!(heard.json(51)["event"], "end");
    assert_eq!((summary.acked, summary.bytes), (50, 8_000));
}

#[tokio::test]
async fn an_error_of_the_server_is_counted_by_its_code() {
    let (listener, url) = listen().await;
    let settings = Settings {
        credentials: Some(token()),
        ..settings(&url, Dialect::Simple)
    };
    let answer = |_, _: &Message| {
        let error = r#"{"event":"error","code":"forbidden","message":"not your call"}"#;
        vec![said(error), close(CloseCode::Policy)]
    };
    let (summary, _) = tokio::join!(run(settings), serve(&listener, answer));
    assert_eq!((summary.failed, summary.errors["forbidden"]), (1, 1));
    assert!(
        summary
            .to_string()
            .contains("the server reported forbidden: not your call"),
        "{summary}"
    );
}

#[tokio::test]
async fn an_early_close_is_a_failure() {
    let (listener, url) = listen().await;
    let answer = |at, _: &Message| {
        let bye = close(CloseCode::Again);
        if at == 5 { vec![bye] } else { vec![] }
    };
    let (summary, _) = tokio::join!(
        run(settings(&url, Dialect::Exotel)),
        serve(&listener, answer)
    );
    assert_eq!((summary.started, summary.failed), (1, 1));
    assert!(summary.to_string().contains("1013 because"), "{summary}");
}

#[tokio::test]
async fn many_calls_have_their_own_names_and_places_in_time() {
    let (listener, url) = listen().await;
    let settings = Settings {
        calls: 8,
        speed: 2.0,
        duration: Duration::from_millis(400),
        name: Some("many".into()),
        ..settings(&url, Dialect::Exotel)
    };
    let progress = Arc::new(Progress::default());
    let serving = async {
        let mut connections = JoinSet::new();
        for _ in 0..8 {
            let (tcp, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                let (mut socket, mut heard) = upgrade(tcp).await;
                while let Some(Ok(message)) = socket.next().await {
                    heard.messages.push((Instant::now(), message));
                }
                heard.json(1)["start"]["call_sid"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            });
        }
        let mut names = connections.join_all().await;
        names.sort();
        names
    };
    let (summary, names) = tokio::join!(play(settings, Arc::clone(&progress)), serving);
    let summary = summary.unwrap();
    assert!(summary.is_clean(), "{summary}");
    assert_eq!(
        names,
        (1..=8).map(|n| format!("many-{n}")).collect::<Vec<_>>()
    );
    assert_eq!(
        (progress.connected(), progress.ended(), progress.frames()),
        (8, 8, 160)
    );
}

#[tokio::test]
async fn parameters_that_exotel_would_not_take_are_refused() {
    for query in [
        "a=1&b=2&c=3&d=4".to_owned(),
        "a=".to_owned() + &"x".repeat(255),
    ] {
        let settings = settings(&format!("ws://127.0.0.1:1/?{query}"), Dialect::Exotel);
        let error = play(settings, Arc::default()).await.unwrap_err();
        assert!(matches!(error, PlayError::Parameters));
    }
}

#[tokio::test]
async fn calls_share_the_interval_evenly() {
    let settings = Settings {
        calls: 4,
        speed: 1.0,
        ..settings("ws://127.0.0.1:1/", Dialect::Exotel)
    };
    let began = Instant::now();
    let plan = Plan::new(settings, Arc::default(), began).await.unwrap();
    let first = |number, after| {
        (plan.first_frame(number, began + Duration::from_millis(after)) - began).as_millis()
    };
    assert_eq!([0, 1, 2, 3].map(|number| first(number, 0)), [0, 5, 10, 15]);
    assert_eq!(
        [0, 1, 2, 3].map(|number| first(number, 107)),
        [120, 125, 110, 115]
    );
    // An hour on, the frame is where arithmetic puts it.
    assert_eq!(plan.offset(180_000), Duration::from_hours(1));
}
