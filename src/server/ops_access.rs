//! Who may look into the running service: `/v1/calls`, `/v1/handshakes`, `/metrics`, `/live` (2.1 `OPS_TOKEN`).
//!
//! A handler asks by naming [`Operator`] among its arguments; whoever may not look never reaches it. Invariants: without a
//! token nobody but a program on this machine looks in; what came through a proxy is never from this machine.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, FORWARDED, VIA, WWW_AUTHENTICATE},
        request::Parts,
    },
    response::Response,
};
use base64::Engine as _;

use super::{Gate, PeerAddress, routes::refuse};
use crate::{payload::LENIENT, secret::Secret, telemetry};

/// Proof that this request may look. An extractor: `async fn metrics(_: Operator, …)`.
#[derive(Debug)]
pub(super) struct Operator(());

/// Why not.
#[derive(Debug, PartialEq, Eq)]
enum Denied {
    /// No token is set, and the caller is elsewhere.
    ThisMachineOnly,
    NoToken,
    WrongToken,
}

impl FromRequestParts<Arc<Gate>> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gate: &Arc<Gate>) -> Result<Self, Response> {
        let peer = parts.extensions.get().map(|PeerAddress(peer)| peer.ip());
        let token = gate.ops_token.read().clone();
        match may_look(peer, &parts.headers, token.as_ref()) {
            Ok(()) => Ok(Self(())),
            Err(denied) => {
                let path = parts.uri.path();
                Err(denied.answer(peer, path))
            }
        }
    }
}

fn may_look(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    token: Option<&Secret>,
) -> Result<(), Denied> {
    if peer.is_some_and(|peer| peer.to_canonical().is_loopback()) && !is_forwarded(headers) {
        return Ok(());
    }
    let token = token.ok_or(Denied::ThisMachineOnly)?;
    let mut given = headers.get_all(AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (None, _) => Err(Denied::NoToken),
        (Some(one), None) if brings(one, token) => Ok(()),
        _ => Err(Denied::WrongToken),
    }
}

/// Whether a proxy has handed the request on: those of 2.1, and what proxies that do not write these write instead.
fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        name == FORWARDED
            || name == VIA
            || name == X_REAL_IP
            || name.as_str().starts_with("x-forwarded-")
    })
}

/// Whether this `Authorization` has the token, as Bearer or as the password of Basic.
fn brings(authorization: &HeaderValue, token: &Secret) -> bool {
    let Ok(text) = authorization.to_str() else {
        return false;
    };
    let Some((scheme, rest)) = text.trim().split_once([' ', '\t']) else {
        return false;
    };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return token.matches(rest.as_bytes());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let pair = LENIENT.decode(rest).unwrap_or_default();
    // A user name has no colon, a password may have some.
    let mut parts = pair.splitn(2, |byte| *byte == b':');
    let password = parts.nth(1);
    password.is_some_and(|password| token.matches(password))
}

impl Denied {
    fn answer(&self, peer: Option<IpAddr>, path: &str) -> Response {
        let (status, error, message) = match self {
            Self::ThisMachineOnly => (StatusCode::FORBIDDEN, "ops_token_unset", UNSET),
            Self::NoToken => (StatusCode::UNAUTHORIZED, "no_ops_token", ASKED),
            Self::WrongToken => (StatusCode::UNAUTHORIZED, "bad_ops_token", WRONG),
        };
        // A browser asks without it first, and a probe that strays here is no attack.
        if *self == Self::WrongToken {
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            telemetry::authentication_failed(&peer, path, status.as_u16(), error, message);
        }
        let mut response = refuse(status, error, message);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(CHALLENGE);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

const UNSET: &str = "only programs on the service's own machine may look here, and not through a proxy: \
                     set OPS_TOKEN to look from elsewhere";
const ASKED: &str =
    "send OPS_TOKEN as Bearer token, or as the password of HTTP Basic with any user name";
const WRONG: &str = "the token is not OPS_TOKEN: compare it with the setting";
const CHALLENGE: &str = "Basic realm=\"rtaa-ingest\", charset=\"UTF-8\"";
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn look(peer: &str, headers: &[(&str, &str)], token: Option<&str>) -> Result<(), Denied> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let token = token.map(Secret::new);
        may_look(peer.parse().ok(), &headers, token.as_ref())
    }

    #[test]
    fn this_machine_looks_in_freely_and_nobody_else_without_a_token() {
        for (peer, free) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("2001:db8::1", false),
            ("unknown", false),
        ] {
            let expected = |denied| if free { Ok(()) } else { Err(denied) };
            assert_eq!(look(peer, &[], None), expected(Denied::ThisMachineOnly));
            assert_eq!(look(peer, &[], Some("t")), expected(Denied::NoToken));
            let wrong = [("authorization", "Bearer no")];
            assert_eq!(look(peer, &wrong, Some("t")), expected(Denied::WrongToken));
        }
    }

    #[test]
    fn what_was_forwarded_is_not_from_this_machine() {
        for name in [
            "X-Forwarded-For",
            "Forwarded",
            "X-Forwarded-Proto",
            "X-Real-IP",
            "Via",
        ] {
            let denied = look("127.0.0.1", &[(name, "")], None);
            assert_eq!(denied, Err(Denied::ThisMachineOnly), "{name}");
        }
    }

    #[test]
    fn the_token_comes_as_bearer_or_as_password() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (value, right) in [
            ("Bearer s3c:ret".to_owned(), true),
            ("bearer   s3c:ret ".to_owned(), true),
            (basic("any:s3c:ret"), true),
            (basic(":s3c:ret"), true),
            (basic("any:s3c:ret").replace("Basic", "BASIC"), true),
            (basic("any:s3c:re"), false),
            (basic("any:"), false),
            (basic("s3c:ret"), false),
            (basic(""), false),
            ("Basic !!!".to_owned(), false),
            ("Bearer".to_owned(), false),
            ("Bearer s3c:ret2".to_owned(), false),
            ("Digest s3c:ret".to_owned(), false),
            ("s3c:ret".to_owned(), false),
        ] {
            let found = look("10.0.0.1", &[("authorization", &value)], Some("s3c:ret"));
            let expected = if right {
                Ok(())
            } else {
                Err(Denied::WrongToken)
            };
            assert_eq!(found, expected, "{value}");
        }
        let twice = [("authorization", "Bearer t"), ("authorization", "Bearer t")];
        assert_eq!(look("10.0.0.1", &twice, Some("t")), Err(Denied::WrongToken));
    }
}
