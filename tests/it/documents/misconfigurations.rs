//! The ten likeliest misconfigurations of `docs/troubleshooting.md`: each is made, and each phrase that the document gives
//! in code marks for `doctor`, `/v1/handshakes` and the log must be in what these really say.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use super::{code_words, read};
use crate::{
    conversation::{start, start_with, stop},
    rates::speak_until_told,
    redis::Redis,
    request::Request,
    rig::{Rig, setup},
    service::{Service, Setup, run},
    wait::until,
};

const DOCTOR_LIMIT: Duration = Duration::from_mins(1);

/// The phrases of one of the document's lists: `doctor`, `handshakes` or `log`.
fn phrases(number: usize, place: &str) -> Vec<String> {
    let text = read("docs/troubleshooting.md");
    let (_, section) = text
        .split_once(&format!("\n### {number}. "))
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let section = section.split("\n### ").next().unwrap_or(section);
    let (_, list) = section
        .split_once(&format!("\n- {place}: "))
        .expect("the list");
    let list = list
        .split("\n- ")
        .next()
        .unwrap_or(list)
        .replace("\n  ", " ");
    let words = code_words(&list);
    words.into_iter().map(str::to_owned).collect()
}

fn assert_all_in(number: usize, place: &str, said: &str) {
    for phrase in phrases(number, place) {
        // A cause that only some of these faults have, and an option, are named and not said.
        let is_named = ["dns", "tcp", "--redis"].contains(&phrase.as_str());
        assert!(
            is_named || said.contains(&phrase),
            "{number}: {place} does not say {phrase:?}: {said}"
        );
    }
}

/// Of the handshakes and the log of these services, which all have the fault.
async fn check_services(number: usize, services: &[&Service]) {
    let mut handshakes = String::new();
    for service in services {
        handshakes += &service.get("/v1/handshakes").await.body;
    }
    assert_all_in(number, "handshakes", &handshakes);
    until(&format!("{number}: all in the log"), async || {
        let lines = services.iter().flat_map(|service| service.lines());
        let said = lines.collect::<Vec<_>>().join("\n");
        let expected = phrases(number, "log");
        expected
            .iter()
            .all(|phrase| said.contains(phrase))
            .then_some(())
    })
    .await;
}

/// What `doctor` says to all of these.
async fn check_doctor(number: usize, examinations: &[&[&str]]) {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let mut said = String::new();
    for args in examinations {
        let args: Vec<&str> = ["doctor", "--json", "--url"]
            .iter()
            .chain(*args)
            .copied()
            .collect();
        let outcome = run(dir.path(), &[], &args, DOCTOR_LIMIT).await;
        said += &outcome.stdout;
    }
    assert_all_in(number, "doctor", &said);
}

#[tokio::test]
async fn the_call_has_no_stream() {
    let rig = Rig::open().await;
    check_services(1, &[&rig.service]).await;
    assert!(rig.service.logged("upgrade").is_empty());
    let redis = rig.redis.url();
    check_doctor(1, &[&[&rig.service.url(), "--redis", &redis]]).await;
}

#[tokio::test]
async fn the_certificate_is_not_taken() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let issued = issued.expect("a certificate");
    let redis = Redis::start().await;
    let service = setup(&redis, &[("SUPPORT_EXOTEL", "true")])
        .file("cert.pem", &issued.cert.pem())
        .file("key.pem", &issued.signing_key.serialize_pem())
        .env("SSL_CERT_PATH", "cert.pem")
        .env("SSL_KEY_PATH", "key.pem")
        .start()
        .await;
    let url = format!("wss://localhost:{}/v1/ingest", service.port());
    assert_all_in(2, "log", &service.lines().join("\n"));
    assert!(service.logged("upgrade").is_empty());
    check_doctor(2, &[&[&url]]).await;
    // Whoever does not take the certificate asks for nothing; `doctor` goes on to see what is behind it.
    assert_eq!(phrases(2, "handshakes"), ["\"handshakes\":[]"]);
}

#[tokio::test]
async fn the_path_is_another_one() {
    let rig = Rig::open().await;
    rig.caller().path("/ingest").refused().await;
    check_services(3, &[&rig.service]).await;
    let url = rig.service.url().replace("/v1/ingest", "/ingest");
    check_doctor(3, &[&[&url]]).await;
}

#[tokio::test]
async fn exotel_is_not_supported() {
    let rig = Rig::with(&[]).await;
    rig.caller().refused().await;
    check_services(4, &[&rig.service]).await;
    check_doctor(4, &[&[&rig.service.url()]]).await;
}

#[tokio::test]
async fn the_token_is_wrong_or_missing() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("EXOTEL_URL_TOKENS", "right")]).await;
    rig.caller().path("/v1/ingest/wrong").refused().await;
    let mut wrong = rig.exotel().await;
    let parameters = json!({"token": "wrong"});
    wrong
        .json(&start_with("wrong", "custom_parameters", parameters))
        .await;
    let mut none = rig.exotel().await;
    none.json(&start("none")).await;
    none.json(&stop("none")).await;
    let mut silent = rig.exotel().await;
    for socket in [&mut wrong, &mut none, &mut silent] {
        assert_eq!(socket.rest().await.code, Some(1008));
    }
    check_services(5, &[&rig.service]).await;
    let bare = format!("{}?token=wrong", rig.service.url());
    let wrong = format!("{}/wrong", rig.service.url());
    check_doctor(5, &[&[&wrong], &[&bare]]).await;
}

#[tokio::test]
async fn basic_credentials_are_wrong_or_missing() {
    let settings = [
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_BASIC_AUTH", "key:token"),
    ];
    let rig = Rig::with(&settings).await;
    rig.caller().basic("key:no").refused().await;
    rig.caller().refused().await;
    check_services(6, &[&rig.service]).await;
    let url = rig.service.url().replace("ws://", "ws://key:no@");
    check_doctor(6, &[&[&url]]).await;
}

#[tokio::test]
async fn the_address_is_not_let_in() {
    let settings = [
        ("SUPPORT_EXOTEL", "true"),
        ("EXOTEL_ALLOWED_IPS", "192.0.2.0/24"),
    ];
    let rig = Rig::with(&settings).await;
    rig.caller().refused().await;
    check_services(7, &[&rig.service]).await;
    check_doctor(7, &[&[&rig.service.url()]]).await;
}

/// A proxy that knows no WebSocket: it passes on each connection's first request without its Upgrade header.
async fn forgetful_proxy(listener: TcpListener, port: u16) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match client.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let kept: String = head
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with("Upgrade:"))
            .collect();
        let server = TcpStream::connect(("127.0.0.1", port)).await;
        let mut server = server.expect("the service accepts");
        server.write_all(kept.as_bytes()).await.expect("it reads");
        // Either side may hang up as it likes.
        copy_bidirectional(&mut client, &mut server).await.ok();
    }
}

#[tokio::test]
async fn a_proxy_removes_the_upgrade() {
    let rig = Rig::open().await;
    let request =
        Request::get("/v1/ingest").header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
    assert_eq!(request.send(rig.service.port()).await.status, 426);
    check_services(8, &[&rig.service]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let url = format!("ws://{address}/v1/ingest");
    let examinations: [&[&str]; 1] = [&[&url]];
    tokio::select! {
        () = check_doctor(8, &examinations) => {}
        () = forgetful_proxy(listener, rig.service.port()) => panic!("the listener is gone"),
    }
}

#[tokio::test]
async fn the_frames_go_elsewhere() {
    let service = Setup::new().env("SUPPORT_EXOTEL", "true").start().await;
    let rig = Rig::open().await;
    let workers = Redis::start().await;
    rig.exotel().await.hang_up().await;
    check_services(9, &[&service, &rig.service]).await;
    let (none, other) = (service.url(), rig.service.url());
    check_doctor(9, &[&[&none], &[&other, "--redis", &workers.url()]]).await;
}

#[tokio::test]
async fn the_sample_rate_is_not_what_was_said() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    socket.json(&start("double")).await;
    speak_until_told(&mut socket, &rig.redis, "double", 640).await;
    check_services(10, &[&rig.service]).await;
    let misspelt = format!("{}?sample_rate=16000", rig.service.url());
    let unknown = format!("{}?sample-rate=44100", rig.service.url());
    check_doctor(10, &[&[&misspelt], &[&unknown]]).await;
}
