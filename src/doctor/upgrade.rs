//! The upgrade as Exotel asks for it, and what every answer but 101 means.
//!
//! Verdicts are pure; [`ask`] makes the request. Invariant: a redirect is a refusal and nothing is offered that Exotel
//! does not offer, so that what works here works there.

use std::{net::SocketAddr, time::Duration};

use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::Role,
    },
};

use super::{
    health::Health,
    http::{Answer, NoAnswer, Route},
    step::Step,
    url::Client,
};
use crate::{
    secret::Secret,
    simulate::{
        EXOTEL_AGENT,
        connect::{Socket, limits},
        summary::tidy,
    },
};

/// What is shown at the door.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    Nothing,
    /// `KEY:TOKEN`
    Basic(Secret),
    Bearer(Secret),
}

/// What came of it.
pub(super) enum Outcome {
    Open(Box<Opened>),
    /// 101, with something in it that Exotel's client would not take.
    Odd(&'static str),
    Refused(Answer),
    NoAnswer(NoAnswer),
}

pub(super) struct Opened {
    pub(super) socket: Socket,
    /// Our own end of the connection.
    pub(super) local: SocketAddr,
    pub(super) took: Duration,
}

/// Asks for a WebSocket at `path`, which goes into the request as it is.
pub(super) async fn ask(route: &Route, path: &str, shown: &Shown) -> Outcome {
    let key = generate_key();
    let authorization = match shown {
        Shown::Nothing => String::new(),
        Shown::Basic(pair) => {
            let text = base64_simd::STANDARD.encode_to_string(pair.expose());
            format!("Authorization: Basic {text}\r\n")
        }
        Shown::Bearer(token) => format!("Authorization: Bearer {}\r\n", token.expose()),
    };
    let request = Secret::new(format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {EXOTEL_AGENT}\r\nConnection: Upgrade\r\n{authorization}\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\r\n",
        route.target.authority
    ));
    let exchange = match route.exchange(&request).await {
        Ok(exchange) => exchange,
        Err(error) => return Outcome::NoAnswer(error),
    };
    if exchange.answer.status != 101 {
        return Outcome::Refused(exchange.whole(route).await);
    }
    if exchange.answer.header("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return Outcome::Odd("its Sec-WebSocket-Accept does not belong to our key");
    }
    if exchange.answer.header("sec-websocket-extensions").is_some() {
        return Outcome::Odd("it switches an extension on that was not asked for");
    }
    let socket = WebSocketStream::from_partially_read(
        exchange.wire,
        exchange.rest,
        Role::Client,
        Some(limits()),
    );
    Outcome::Open(Box::new(Opened {
        socket: socket.await,
        local: exchange.local,
        took: exchange.took,
    }))
}

/// The verdict on an upgrade without credentials, where the caller has some.
pub(super) fn stranger(outcome: &Outcome, client: Client) -> Step {
    match outcome {
        Outcome::Open(_) => Step::warning(
            STRANGER,
            "let in without credentials as well",
            match client {
                Client::Exotel => {
                    "what the URL has before the @ is not compared: set EXOTEL_BASIC_AUTH to it where the service runs"
                }
                Client::Custom => {
                    "whoever comes without a token is taken as Exotel: if no calls of Exotel's come, set SUPPORT_EXOTEL=false"
                }
            },
        ),
        Outcome::Refused(answer) if answer.status == 401 => Step::ok(
            STRANGER,
            "refused without credentials, as it should be: 401",
        ),
        Outcome::Refused(answer) => Step::ok(
            STRANGER,
            format!("refused without credentials: {}", answer.status),
        ),
        Outcome::Odd(what) => Step::ok(STRANGER, format!("answered 101, but {what}")),
        Outcome::NoAnswer(error) => Step::ok(STRANGER, error.to_string()),
    }
}

/// The verdict on the upgrade with all that the caller has.
pub(super) fn judge(outcome: &Outcome, client: Client) -> Step {
    match outcome {
        Outcome::Open(opened) => {
            let seen = format!("101 in {:.1} ms", opened.took.as_secs_f64() * 1_000.0);
            if opened.took > SLOW {
                return Step::warning(
                    NAME,
                    seen,
                    "that is slow: Exotel gives up after 10 s; see whether the service was asleep",
                );
            }
            Step::ok(NAME, seen)
        }
        Outcome::Odd(what) => Step::failed(
            NAME,
            format!("answered 101, but {what}"),
            "a proxy answers in the service's place, or changes its answers: have it pass the upgrade on as it is",
        ),
        Outcome::Refused(answer) => refused(answer, client),
        Outcome::NoAnswer(error) => Step::failed(
            NAME,
            error.to_string(),
            match error {
                NoAnswer::Silent => {
                    "a proxy that does not know WebSocket holds the request, or the service hangs: switch upgrades on in the proxy (nginx: proxy_http_version 1.1 and the headers Upgrade and Connection)"
                }
                NoAnswer::Closed => {
                    "a proxy or firewall cuts upgrades off, or the service ended: see their logs"
                }
                NoAnswer::NotHttp(_) | NoAnswer::Broken(_) => {
                    "see what listens there, and the service's log"
                }
            },
        ),
    }
}

fn refused(answer: &Answer, client: Client) -> Step {
    let seen = format!(
        "answered {}{}{}",
        answer.status,
        answer.server(),
        answer.sentence()
    );
    let reason = answer.json();
    let reason = reason.as_ref().and_then(|json| json.get("error")?.as_str());
    let fix = match (answer.status, client) {
        (301..=308, _) => {
            let location = answer.header("location").map(tidy).unwrap_or_default();
            let secure = if location.starts_with("https://") {
                ", which is wss:// in the URL"
            } else {
                ""
            };
            return Step::failed(
                NAME,
                format!("redirected to {location}"),
                format!(
                    "Exotel follows no redirect: give it the address that this one leads to{secure}"
                ),
            );
        }
        (200, _) => {
            "a proxy or another server answers as to a plain request: have it pass Upgrade and Connection on, and see that the path leads to the service"
        }
        (400, _) => {
            "a proxy changes the handshake: have it speak HTTP/1.1 to the service and pass the Sec-WebSocket headers on"
        }
        (401, Client::Exotel) => match reason {
            Some("bad_url_token") => {
                "write one of EXOTEL_URL_TOKENS as the last part of the path, a / in it as %2F"
            }
            Some("bad_basic") => {
                "compare KEY:TOKEN before the @ with EXOTEL_BASIC_AUTH where the service runs, character by character"
            }
            Some("no_credentials" | "exotel_off") => {
                "set SUPPORT_EXOTEL=true where the service runs; with EXOTEL_BASIC_AUTH, write KEY:TOKEN@ before the host"
            }
            _ => {
                "compare KEY:TOKEN and the URL token with the service's EXOTEL_BASIC_AUTH and EXOTEL_URL_TOKENS; or something before the service asks for a password"
            }
        },
        (401, Client::Custom) => {
            "make the token with the key whose public half is JWT_PUBLIC_KEY (`rtaa-ingest token`), and compare the clocks"
        }
        (403, _) => match reason {
            Some("ip_not_allowed") => {
                "the service sees the address that its answer names: Exotel's own belong into EXOTEL_ALLOWED_IPS (ask hello@exotel.com for them), a proxy's into TRUSTED_PROXIES; if this machine is not to get in, that is as it should be, so examine from one that is"
            }
            Some("tenant_mismatch" | "call_mismatch") => {
                "the URL names another tenant or call than the token: leave it away"
            }
            _ => {
                "something before the service, such as a firewall for web applications, turns us away: let /v1/ingest through"
            }
        },
        (404, _) => {
            "the path leads nowhere: write /v1/ingest, with at most a URL token behind it, and see the proxy's routes"
        }
        (426, _) => {
            "the Upgrade header did not reach the service: switch WebSocket on in the proxy before it"
        }
        (429, _) => {
            "too many connections from one address: behind a proxy set TRUSTED_PROXIES, else raise MAX_CONNECTIONS_PER_IP"
        }
        (502..=504, _) => match reason {
            Some("draining") => "this instance is shutting down: try again",
            Some("too_many_connections") => "raise MAX_CONNECTIONS, or run more instances",
            _ => {
                "the proxy does not reach the service: see whether that runs, on which port, and whether the plan lets it sleep"
            }
        },
        (500..=599, _) => "see the log of the service, and of the proxy",
        _ => "see who answers there, and its log",
    };
    Step::failed(NAME, seen, fix)
}

/// Whether what the URL carries is what the service compares.
pub(super) fn credentials_fit(
    has_basic: bool,
    has_token: bool,
    health: &Health,
) -> Option<(String, String)> {
    if has_token && !health.checks("token") {
        return Some((
            "the last part of the path is taken by the service, and compared with nothing"
                .to_owned(),
            "set EXOTEL_URL_TOKENS to it where the service runs".to_owned(),
        ));
    }
    if has_basic && !health.checks("basic") {
        return Some((
            "the credentials before the @ are compared with nothing".to_owned(),
            "set EXOTEL_BASIC_AUTH to them where the service runs".to_owned(),
        ));
    }
    None
}

const NAME: &str = "upgrade";
const STRANGER: &str = "stranger";
/// Slower handshakes have been seen to be refused.
const SLOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    fn refusal(status: u16, body: &str) -> Outcome {
        Outcome::Refused(Answer {
            status,
            headers: vec![("Location".into(), "https://a.example/x".into())],
            body: body.into(),
        })
    }

    #[test]
    fn every_answer_has_its_advice() {
        let wrong_basic = r#"{"error":"bad_basic","message":"no pair"}"#;
        let wrong_address =
            r#"{"error":"ip_not_allowed","message":"the address 192.0.2.1 is not in"}"#;
        for (status, body, client, word) in [
            (200, "", Client::Exotel, "Upgrade"),
            (301, "", Client::Exotel, "wss://"),
            (400, "", Client::Exotel, "HTTP/1.1"),
            (401, wrong_basic, Client::Exotel, "character by character"),
            (401, "", Client::Exotel, "EXOTEL_URL_TOKENS"),
            (401, "", Client::Custom, "JWT_PUBLIC_KEY"),
            (403, wrong_address, Client::Exotel, "EXOTEL_ALLOWED_IPS"),
            (403, "<html>", Client::Exotel, "firewall"),
            (404, "", Client::Exotel, "/v1/ingest"),
            (426, "", Client::Exotel, "proxy"),
            (429, "", Client::Exotel, "MAX_CONNECTIONS_PER_IP"),
            (502, "", Client::Exotel, "proxy"),
            (503, r#"{"error":"draining"}"#, Client::Exotel, "try again"),
            (500, "", Client::Exotel, "log"),
            (418, "", Client::Exotel, "who answers"),
        ] {
            let step = judge(&refusal(status, body), client);
            assert_eq!(step.status, Status::Failed, "{status}");
            assert!(step.fix.contains(word), "{status}: {step:?}");
        }
        let step = judge(&refusal(403, wrong_address), Client::Exotel);
        assert!(
            step.detail.contains("403: the address 192.0.2.1"),
            "{step:?}"
        );
    }

    #[test]
    fn an_answer_that_does_not_come_is_explained() {
        let of = |error| judge(&Outcome::NoAnswer(error), Client::Exotel);
        assert!(of(NoAnswer::Silent).fix.contains("proxy_http_version"));
        assert!(of(NoAnswer::Closed).fix.contains("firewall"));
        let odd = judge(&Outcome::Odd("it is odd"), Client::Exotel);
        assert_eq!(odd.status, Status::Failed);
    }

    #[test]
    fn a_stranger_should_be_refused() {
        let refused = stranger(&refusal(401, ""), Client::Exotel);
        assert!(refused.status == Status::Ok && !refused.is_warning());
    }

    #[test]
    fn credentials_that_nobody_compares_are_told() {
        let health = |ways: &str| {
            let mut health = Health::default();
            health.exotel_auth = ways.to_owned();
            health
        };
        assert_eq!(credentials_fit(true, true, &health("basic+token")), None);
        assert_eq!(credentials_fit(false, false, &health("open")), None);
        let told = |basic, token| credentials_fit(basic, token, &health("ip")).unwrap().1;
        assert!(told(true, false).contains("EXOTEL_BASIC_AUTH"));
        assert!(told(false, true).contains("EXOTEL_URL_TOKENS"));
    }
}
