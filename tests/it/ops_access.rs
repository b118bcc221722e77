//! Who may look into a running service (2.1 `OPS_TOKEN`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::Signal;

use crate::{request::Request, rig::Rig, service::Setup, wait::until};

const PATHS: [&str; 3] = ["/v1/calls", "/v1/handshakes", "/live"];

fn forwarded(path: &str) -> Request {
    Request::get(path).header("X-Forwarded-For", "203.0.113.1")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

// 2 OPS_TOKEN: a forwarded request is never loopback; then the token opens, as bearer or as password.
#[tokio::test]
async fn operators_pages_ask_for_the_token_behind_a_proxy() {
    let rig = Rig::with(&[("OPS_TOKEN", "ops-s3cret")]).await;
    let port = rig.service.port();
    for path in PATHS {
        for header in ["X-Forwarded-For", "Forwarded"] {
            let outside = Request::get(path).header(header, "for=127.0.0.1");
            let answer = outside.clone().send(port).await;
            assert_eq!(answer.status, 401, "{path}");
            let challenge = answer.header("www-authenticate").unwrap_or("");
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
            assert!(answer.json()["message"].to_string().contains("OPS_TOKEN"));
            let basic = format!("Basic {}", STANDARD.encode("any:ops-s3cret"));
            for right in [bearer("ops-s3cret"), basic] {
                let answer = outside.clone().header("Authorization", &right);
                assert_eq!(answer.send(port).await.status, 200, "{path}");
            }
            let swapped = format!("Basic {}", STANDARD.encode("ops-s3cret:any"));
            for wrong in [bearer("ops-s3cre"), bearer("ops-s3cret2"), swapped] {
                let answer = outside.clone().header("Authorization", &wrong);
                assert_eq!(answer.send(port).await.status, 401, "{path} {wrong}");
            }
        }
        assert_eq!(rig.service.get(path).await.status, 200, "from loopback");
    }
    rig.service.wait_for_log("Authentication failed").await;
    rig.assert_unseen("ops-s3cre").await;
}

// 2 OPS_TOKEN: unset, only this machine looks in, whatever a caller brings.
#[tokio::test]
async fn without_a_token_only_this_machine_looks_in() {
    let rig = Rig::open().await;
    for path in PATHS {
        for request in [
            forwarded(path),
            forwarded(path).header("Authorization", "Bearer "),
            forwarded(path).header("Authorization", "Basic Og=="),
        ] {
            let answer = request.send(rig.service.port()).await;
            assert_eq!(answer.status, 403, "{path}");
            let body = answer.json();
            assert_eq!(body["error"], "ops_token_unset");
            assert!(
                body["message"].to_string().contains("set OPS_TOKEN"),
                "{body}"
            );
        }
        assert_eq!(rig.service.get(path).await.status, 200);
    }
}

// 2.1: the token may be in a file, and SIGHUP reads it again.
#[tokio::test]
async fn sighup_changes_the_token() {
    let setup = Setup::new()
        .file("ops-token", "first-token\n")
        .env("OPS_TOKEN_FILE", "ops-token");
    let path = setup.dir().join("ops-token");
    let service = setup.start().await;
    let status = async |token: &str| {
        let request = forwarded("/v1/calls").header("Authorization", &bearer(token));
        request.send(service.port()).await.status
    };
    assert_eq!(status("first-token").await, 200);
    std::fs::write(&path, "second-token").expect("the file can be written");
    service.signal(Signal::HUP);
    until("the new token to hold", async || {
        (status("second-token").await == 200).then_some(())
    })
    .await;
    assert_eq!(status("first-token").await, 401);
}
