//! `doctor` and servers that are not ours, or not at their best: each closes, keeps silent, redirects or repeats what it is told.

use std::future::pending;

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{LIMIT, Report, examine};
use crate::{redis::Redis, service::run};

/// A server that treats every connection alike, for as long as `work` goes on.
async fn beside(answer: impl AsyncFn(TcpStream), work: impl AsyncFnOnce(u16) -> Report) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let serve = async {
        loop {
            let (wire, _) = listener.accept().await.expect("a connection");
            answer(wire).await;
        }
    };
    tokio::select! {
        report = work(port) => report,
        () = serve => unreachable!("it serves for ever"),
    }
}

/// Reads a request and gives back its text; nothing where the peer only looked whether the port is open.
async fn request(wire: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if wire.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

async fn respond(mut wire: TcpStream, head: &str, body: &str) {
    let answer = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    wire.write_all(answer.as_bytes()).await.ok();
}

#[tokio::test]
async fn a_server_of_another_kind_is_told_apart() {
    let plain = async |mut wire: TcpStream| {
        if request(&mut wire).await.is_some() {
            respond(wire, "200 OK\r\nServer: nginx", "<html>hello</html>").await;
        }
    };
    let report = beside(plain, async |port| {
        examine(&["--url", &format!("ws://127.0.0.1:{port}/v1/ingest")]).await
    });
    let report = report.await;
    report.assert_ok(false);
    report.check("health", "failed", "something else");
    report.check("upgrade", "failed", "200 by nginx");

    let ssh = async |mut wire: TcpStream| {
        wire.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.ok();
        request(&mut wire).await;
    };
    let report = beside(ssh, async |port| {
        examine(&["--url", &format!("ws://127.0.0.1:{port}/v1/ingest")]).await
    });
    report.await.check("health", "failed", "SSH-2.0-OpenSSH");
}

#[tokio::test]
async fn a_server_that_closes_at_once_is_told() {
    let report = beside(
        async |wire| drop(wire),
        async |port| examine(&["--url", &format!("ws://127.0.0.1:{port}/v1/ingest")]).await,
    );
    let report = report.await;
    report.assert_ok(false);
    report.check(
        "health",
        "failed",
        "closed the connection without an answer",
    );
    report.check("upgrade", "failed", "firewall");
}

// Each step has its limit: the whole ends soon, whatever hangs.
#[tokio::test]
async fn an_upgrade_that_never_answers_is_given_up() {
    let holds = async |mut wire: TcpStream| match request(&mut wire).await {
        Some(text) if text.starts_with("GET /health") => respond(wire, "200 OK", HEALTHY).await,
        Some(_) => pending().await,
        None => {}
    };
    let report = beside(holds, async |port| {
        let url = format!("ws://127.0.0.1:{port}/v1/ingest");
        examine(&["--url", &url, "--timeout", "300ms"]).await
    });
    let report = report.await;
    report.assert_ok(false);
    report.check("health", "ok", "healthy");
    report.check("clock", "failed", "NTP");
    report.check("upgrade", "failed", "proxy_http_version");
}

#[tokio::test]
async fn a_redirect_is_a_refusal_as_it_is_for_exotel() {
    let redirects = async |mut wire: TcpStream| {
        if request(&mut wire).await.is_some() {
            respond(
                wire,
                "301 Moved\r\nLocation: https://voice.example.com/v1/ingest",
                "",
            )
            .await;
        }
    };
    let report = beside(redirects, async |port| {
        examine(&["--url", &format!("ws://127.0.0.1:{port}/v1/ingest")]).await
    });
    report.await.check(
        "upgrade",
        "failed",
        "redirected to https://voice.example.com",
    );
}

// No secret comes out, not even where the server repeats it.
#[tokio::test]
async fn no_secret_is_in_the_report() {
    let echoes = async |mut wire: TcpStream| {
        let Some(text) = request(&mut wire).await else {
            return;
        };
        if text.starts_with("GET /health") {
            return respond(wire, "200 OK", HEALTHY).await;
        }
        let body = format!("no hunter2 nor key:hunter2 nor urltoken7 nor parameter7 here: {text}");
        respond(wire, "401 Unauthorized", &body).await;
    };
    for json in ["--json", "--calls=1"] {
        let report = beside(echoes, async |port| {
            let url =
                format!("ws://key:hunter2@127.0.0.1:{port}/v1/ingest/urltoken7?token=parameter7");
            let dir = TempDir::new().expect("a temporary directory");
            let absent = Redis::absent().url().replace("://", "://user:redispass7@");
            let args = [
                "doctor",
                json,
                "--url",
                &url,
                "--redis",
                &absent,
                "--timeout",
                "1s",
            ];
            let outcome = run(dir.path(), &[], &args, LIMIT).await;
            Report {
                outcome,
                json: Value::Null,
            }
        });
        let outcome = report.await.outcome;
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(said.contains("answered 401"), "{said}");
        // The Basic header of key:hunter2, too.
        let secrets = [
            "hunter2",
            "urltoken7",
            "parameter7",
            "redispass7",
            "a2V5Omh1bnRlcjI",
        ];
        for secret in secrets {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
        assert!(
            !said.contains('\u{1b}'),
            "1.2: a pipe gets plain text: {said}"
        );
    }
}

const HEALTHY: &str = r#"{"status":"healthy","service":"ingest","pubsub":true,"timestamp":"2026-11-20T12:44:31.34Z","version":"0","adapter":"redis_streams","exotel_auth":"basic","jwt":false,"active_calls":0,"problems":[]}"#;
