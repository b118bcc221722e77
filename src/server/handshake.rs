//! What is taken off a request to a WebSocket path, before anybody decides about it.
//!
//! Deciding is `upgrade.rs`'s. Invariant: whatever RFC 9110 and 6455 allow a client to write is read, and nothing in
//! path or headers is answered by anybody but us.

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::{
        Extension, FromRequestParts, Path, RawQuery,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection as Rejection},
    },
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
        },
        request::Parts,
    },
    response::{IntoResponse as _, Response},
};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::PeerAddress;

/// What axum took off the request.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// The last segment of the path with its escapes undone, or as it is written where they are no UTF-8.
    pub(super) segment: String,
    pub(super) query: Option<String>,
    pub(super) peer: PeerAddress,
    /// Or what is wrong with the handshake, and what to change.
    pub(super) upgrade: Result<Upgrade, &'static str>,
}

/// A handshake that is right.
pub(super) struct Upgrade {
    checked: WebSocketUpgrade,
    accept: HeaderValue,
    upgraded: OnUpgrade,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let Extension(peer) = Extension::<PeerAddress>::from_request_parts(parts, state)
            .await
            .unwrap_or(Extension(PeerAddress(
                (IpAddr::from([0, 0, 0, 0]), 0).into(),
            )));
        let RawQuery(query) = RawQuery::from_request_parts(parts, state).await?;
        let segment = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => segment,
            Err(_) => last_segment(parts.uri.path()).to_owned(),
        };
        gather(&mut parts.headers, &UPGRADE, "websocket");
        gather(&mut parts.headers, &CONNECTION, "upgrade");
        Ok(Self {
            method: parts.method.clone(),
            headers: parts.headers.clone(),
            segment,
            query,
            peer,
            upgrade: Upgrade::check(parts, state).await,
        })
    }
}

impl Upgrade {
    async fn check<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, &'static str> {
        // axum keeps what it takes to itself; here only its eye for handshakes is wanted.
        let upgraded = parts.extensions.get().cloned();
        let checked = WebSocketUpgrade::from_request_parts(parts, state)
            .await
            .map_err(|rejection| advice(&rejection))?;
        let key = parts.headers.get(SEC_WEBSOCKET_KEY);
        let accept = key.and_then(|key| derive_accept_key(key.as_bytes()).try_into().ok());
        let (Some(upgraded), Some(accept)) = (upgraded, accept) else {
            return Err(NOT_UPGRADABLE);
        };
        Ok(Self {
            checked,
            accept,
            upgraded,
        })
    }

    /// The answer that accepts it, and what will be the bare connection once the answer has left.
    pub(super) fn accept(self, subprotocol: Option<&'static str>) -> (Response, OnUpgrade) {
        let checked = self.checked.protocols(subprotocol);
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(chosen) = checked.selected_protocol() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen.clone());
        }
        (response, self.upgraded)
    }
}

pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    lists(headers, &UPGRADE, "websocket")
}

/// Leaves of a list the one word that matters, if it is there: the list may stand in several headers, and axum looks
/// at the first of them alone.
fn gather(headers: &mut HeaderMap, name: &HeaderName, word: &'static str) {
    if lists(headers, name, word) {
        headers.insert(name, HeaderValue::from_static(word));
    }
}

fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

/// What is wrong with a handshake, in words that say what to change.
fn advice(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::InvalidConnectionHeader(_) => {
            "the Connection header does not list Upgrade, which a proxy in between has removed: \
             have it pass Upgrade and Connection on"
        }
        Rejection::InvalidWebSocketVersionHeader(_) => {
            "Sec-WebSocket-Version is not 13: connect with a client that speaks RFC 6455"
        }
        Rejection::WebSocketKeyHeaderMissing(_) => {
            "Sec-WebSocket-Key is missing: connect with a WebSocket client, \
             and have proxies in between pass its headers on"
        }
        Rejection::ConnectionNotUpgradable(_) => NOT_UPGRADABLE,
        _ => {
            "this is no WebSocket handshake: connect with a client that speaks RFC 6455 over HTTP/1.1"
        }
    }
}

const NOT_UPGRADABLE: &str = "this connection cannot become a WebSocket: speak HTTP/1.1, and have proxies in between do so \
                              (nginx: proxy_http_version 1.1)";

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_static(value));
        values.map(|value| (CONNECTION, value)).collect()
    }

    #[test]
    fn a_word_is_found_wherever_the_list_holds_it() {
        for (values, found) in [
            (&["Upgrade"][..], true),
            (&["keep-alive,\tUPGRADE "], true),
            (&["keep-alive", "upgrade"], true),
            (&["keep-alive", "x, upgrade, y"], true),
            (&["upgraded"], false),
            (&["keep-alive"], false),
            (&[], false),
        ] {
            let mut headers = headers(values);
            assert_eq!(lists(&headers, &CONNECTION, "upgrade"), found, "{values:?}");
            gather(&mut headers, &CONNECTION, "upgrade");
            let left: Vec<_> = headers.get_all(CONNECTION).iter().collect();
            if found {
                assert_eq!(left, ["upgrade"], "{values:?}");
            } else {
                assert_eq!(left, values, "{values:?}");
            }
        }
    }

    #[test]
    fn the_last_segment_is_what_follows_the_last_slash() {
        assert_eq!(last_segment("/ws/voicebot/%ff"), "%ff");
        assert_eq!(last_segment(""), "");
    }
}
