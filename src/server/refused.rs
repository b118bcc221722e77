//! Why a request opens no WebSocket, in words that say what to change, and how that is answered (3.1 to 3.3).
//!
//! What `admission` refuses becomes one of these too. Logging and booking are `upgrade.rs`'s. Invariant: the words are the
//! same in the answer, in the log and in the handshake book, so they hold no secret.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{routes::refuse, slots::Full};
use crate::{admission::Refusal, handshakes::Why};

/// A refusal, before it is answered.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    error: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Of credentials, addresses or tokens: the log has a phrase of its own for these (8.2).
    pub(super) by_admission: bool,
}

impl Refused {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            message: message.into(),
            headers: Vec::new(),
            by_admission: false,
        }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    pub(super) fn not_get() -> Self {
        let message = "connect a WebSocket here, which begins with GET";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
        .with(header::ALLOW, "GET")
    }

    /// An ordinary GET, or a handshake that something in between has made one.
    pub(super) fn no_upgrade(headers: &HeaderMap) -> Self {
        let (error, message) = if headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            let message = "a WebSocket handshake came without its Upgrade header, which a proxy in between has removed: \
                           have it pass Upgrade and Connection on (nginx: proxy_http_version 1.1; \
                           proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\")";
            ("upgrade_removed", message)
        } else {
            let message = "this is a WebSocket endpoint: give Exotel's applet the URL wss://<this host>/v1/ingest, or try \
                           wscat -c wss://<this host>/v1/ingest -H 'Authorization: Bearer <jwt>'";
            ("upgrade_required", message)
        };
        Self::new(StatusCode::UPGRADE_REQUIRED, error, message)
            .with(header::UPGRADE, "websocket")
            .with(header::CONNECTION, "upgrade")
    }

    pub(super) fn bad_handshake(message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_handshake", message)
            .with(header::SEC_WEBSOCKET_VERSION, "13")
    }

    pub(super) fn not_found() -> Self {
        let message =
            "there is nothing here: connect a WebSocket to /v1/ingest, or GET /health or /ready";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn draining() -> Self {
        let message =
            "the service is shutting down and takes no new calls: connect again in a moment";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
            .with(header::RETRY_AFTER, RETRY_AFTER_S)
    }

    /// `taken`: connections that are open.
    pub(super) fn no_place(full: Full, taken: usize) -> Self {
        let refused = match full {
            Full::All => {
                let message = format!(
                    "{taken} connections are open, as many as MAX_CONNECTIONS allows: connect again in a moment, or raise it"
                );
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "too_many_connections", message)
            }
            Full::Address => {
                let message = "this address has as many connections as MAX_CONNECTIONS_PER_IP allows: raise it, \
                               or if the address is your proxy's, set TRUSTED_PROXIES";
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self::new(status, "too_many_from_address", message)
            }
        };
        refused.with(header::RETRY_AFTER, RETRY_AFTER_S)
    }

    pub(super) fn why(&self) -> Why<'_> {
        Why {
            status: self.status.as_u16(),
            error: self.error,
            reason: &self.message,
        }
    }

    pub(super) fn answer(self) -> Response {
        let mut response = refuse(self.status, self.error, &self.message);
        response.headers_mut().extend(self.headers);
        response.into_response()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::UNAUTHORIZED);
        let refused = Self {
            by_admission: true,
            ..Self::new(status, refusal.reason, refusal.message)
        };
        match refusal.www_authenticate {
            Some(scheme) => refused.with(header::WWW_AUTHENTICATE, scheme),
            None => refused,
        }
    }
}

const RETRY_AFTER_S: &str = "5";
