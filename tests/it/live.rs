//! The operators' page (6.6), in a real browser: what it shows, that it shows it as text, and that it asks nobody else.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    browser::{Browser, SPACE, TAB},
    caller::Socket,
    conversation::{begin, media, pcm, start, stop},
    request::read_head,
    rig::Rig,
    wait::until,
};

async fn page(rig: &Rig) -> Browser {
    Browser::at(&format!("http://127.0.0.1:{}/live", rig.service.port())).await
}

/// Speaks until the page's meter shows what is asked for.
async fn speak_until(
    browser: &Browser,
    socket: &mut Socket,
    n: &mut u64,
    pcm: &[u8],
    shown: impl Fn(f64) -> bool,
) {
    until("the meter to move", async || {
        for _ in 0..3 {
            *n += 1;
            socket.json(&media(*n, pcm)).await;
        }
        let level = browser
            .run("return document.querySelector('#calls [role=meter]').getAttribute('aria-valuenow')")
            .await;
        let level = level.as_str().and_then(|level| level.parse().ok());
        level.filter(|&level| shown(level))
    })
    .await;
}

/// Nothing went wrong in the page, nothing was forbidden it, and nobody else was asked.
async fn assert_quiet(rig: &Rig, browser: &Browser) {
    assert_eq!(browser.console().await, Vec::<Value>::new());
    let asked = browser
        .run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        .await;
    let ours = format!("http://127.0.0.1:{}/live", rig.service.port());
    for name in asked.as_array().expect("a list") {
        assert!(name.as_str().expect("a URL").starts_with(&ours), "{name}");
    }
}

// 6.6: a call, from nobody to its end; what comes from outside stays text.
#[tokio::test]
async fn a_call_is_seen_from_its_start_to_its_end() {
    let rig = Rig::open().await;
    let browser = page(&rig).await;
    browser
        .reads("#summary", "Nobody has tried to connect since the start")
        .await;
    browser
        .reads("#command", "rtaa-ingest doctor --url ws://")
        .await;
    let call = "<img src=x onerror=document.body.remove()><b>bold";
    let mut socket = rig.exotel().await;
    socket.json(&start(call)).await;
    browser.reads("#calls tbody tr", call).await;
    let mut n = 0;
    speak_until(&browser, &mut socket, &mut n, &pcm(7, 1600), |level| {
        level > -30.0
    })
    .await;
    browser.reads("#summary", "1 call live, ").await;
    let wave = "return document.querySelector('#calls path').getAttribute('d').length";
    assert!(browser.run(wave).await.as_u64() > Some(20));
    speak_until(&browser, &mut socket, &mut n, &[0; 1600], |level| {
        level < -59.0
    })
    .await;
    socket.json(&stop(call)).await;
    socket.rest().await;
    let ended = browser.reads("#ended tbody tr", call).await;
    assert!(
        ended.contains("no gap") && ended.contains("callended"),
        "{ended}"
    );
    browser.reads("#calls-none", "None.").await;
    browser.reads("#summary", "The last one ended").await;
    let made = "return document.querySelectorAll('main img, main b').length";
    assert_eq!(browser.run(made).await, 0);
    assert_quiet(&rig, &browser).await;
}

// 6.6: refused attempts with the reason; accepted ones are behind a button that the keyboard reaches.
#[tokio::test]
async fn attempts_are_shown_with_their_reasons() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("EXOTEL_URL_TOKENS", "right")]).await;
    let right = rig.caller().path("/v1/ingest/right").connect().await;
    drop(right);
    let wrong = rig.caller().path("/v1/ingest/wrong");
    let reason = wrong.refused().await.json()["message"].clone();
    let reason = reason.as_str().expect("words").to_owned();
    let browser = page(&rig).await;
    browser
        .reads("#summary", "The last attempt to connect was refused")
        .await;
    browser.reads("#advice", &reason).await;
    browser.reads("#attempts tbody", &reason).await;
    rig.caller()
        .path("/v1/ingest/wrong?CallSid=second")
        .refused()
        .await;
    let rows = async || {
        let count = "return document.querySelectorAll('#attempts tbody tr').length";
        browser.run(count).await.as_u64()
    };
    until("the second refusal", async || {
        (rows().await == Some(2)).then_some(())
    })
    .await;
    until("the button to have the focus", async || {
        browser.press(TAB).await;
        let focus = browser.run("return document.activeElement.id").await;
        (focus == "accepted").then_some(())
    })
    .await;
    browser.press(SPACE).await;
    let attempts = browser.reads("#attempts tbody", "Accepted").await;
    assert!(attempts.contains("Refused, 401"), "{attempts}");
    assert_eq!(rows().await, Some(3));
    assert_quiet(&rig, &browser).await;
}

// 6.6: the state of Redis; and when the service itself goes, the page says so and comes back with it.
#[tokio::test]
async fn an_outage_shows_and_clears() {
    let mut rig = Rig::open().await;
    let browser = page(&rig).await;
    browser.reads("#facts", "✓ connected").await;
    rig.redis.kill().await;
    browser.reads("#alarm", "Redis").await;
    browser.reads("#problems", "Redis").await;
    browser.reads("#facts", "✗ not connected").await;
    rig.redis.revive().await;
    browser.reads("#facts", "✓ connected").await;
    until("the problem to go", async || {
        browser.text("#alarm").await.is_empty().then_some(())
    })
    .await;
    assert_quiet(&rig, &browser).await;
    rig.service.terminate();
    browser
        .reads("#summary", "Connection to the service lost since")
        .await;
    assert!(rig.service.exit().await.success());
}

/// Begins to look, without a browser.
async fn look(rig: &Rig) -> (u16, TcpStream) {
    let mut wire = TcpStream::connect(("127.0.0.1", rig.service.port()))
        .await
        .expect("the service accepts");
    wire.write_all(b"GET /live/events HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("it reads");
    let (answer, _) = read_head(&mut wire).await;
    (answer.status, wire)
}

// 6.6: the page may do nothing but what it does, and nobody keeps a copy.
#[tokio::test]
async fn the_page_is_held_to_its_own_text() {
    let rig = Rig::open().await;
    let answer = rig.service.get("/live").await;
    assert_eq!(answer.status, 200);
    for (name, expected) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.header(name), Some(expected));
    }
    let policy = answer.header("content-security-policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
    ] {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
}

// 2 MAX_CONNECTIONS, 1.4: viewers are bounded, take no place from calls, and hold nothing up when the service ends.
#[tokio::test]
async fn viewers_are_bounded_and_end_with_the_calls() {
    let mut rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("MAX_CONNECTIONS", "1")]).await;
    let mut viewers = Vec::new();
    for _ in 0..20 {
        let (status, wire) = look(&rig).await;
        assert_eq!(status, 200);
        viewers.push(wire);
    }
    let refused = rig.service.get("/live/events").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["error"], json!("too_many_viewers"));
    viewers.pop();
    let back = until("a seat to be free", async || {
        let (status, wire) = look(&rig).await;
        (status == 200).then_some(wire)
    })
    .await;
    viewers.push(back);
    let mut socket = rig.exotel().await;
    begin(&mut socket, "watched", 3).await;
    rig.redis.wait_for_frames("watched", 3).await;
    rig.service.terminate();
    rig.service.wait_for_log("Draining").await;
    socket.json(&stop("watched")).await;
    socket.rest().await;
    let mut told = String::new();
    let mut viewer = viewers.pop().expect("a viewer");
    viewer.read_to_string(&mut told).await.expect("it ends");
    assert!(
        told.contains("watched") && told.contains("draining: "),
        "{told}"
    );
    assert!(rig.service.exit().await.success());
}
