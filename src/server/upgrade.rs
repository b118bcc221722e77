//! From an HTTP request to a WebSocket: who asks, whether there is a place, and what the URL says (3.1 to 3.4).
//!
//! The decision itself is `admission/`'s. Invariant: no secret of the URL or the headers reaches the log or a record.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::future::BoxFuture;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{
    Gate,
    handshake::{Asked, Upgrade, wants_websocket},
    routes::refuse,
    slots::{Full, Slot},
    url::{Tail, Url},
};
use crate::{
    admission::{self, Claims, LateToken, Peer, Refusal, Request},
    client_address::client_ip,
    clock, connection,
    frame::Sender,
    intake::Facts,
    telemetry,
    websocket::WebSocket,
};

pub(super) async fn ingest(State(gate): State<Arc<Gate>>, asked: Asked) -> Response {
    answer(&gate, asked, &Tail::None)
}

pub(super) async fn ingest_with_token(State(gate): State<Arc<Gate>>, asked: Asked) -> Response {
    let token = asked.segment.clone();
    answer(&gate, asked, &Tail::Token(token))
}

pub(super) async fn voicebot(State(gate): State<Arc<Gate>>, asked: Asked) -> Response {
    let session = asked.segment.clone();
    answer(&gate, asked, &Tail::Session(session))
}

fn answer(gate: &Arc<Gate>, asked: Asked, tail: &Tail) -> Response {
    if asked.method != Method::GET {
        let response = refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "connect a WebSocket here, which begins with GET",
        );
        return ([(header::ALLOW, "GET")], response).into_response();
    }
    if !wants_websocket(&asked.headers) {
        return how_to_connect();
    }
    let url = Url::read(asked.query.as_deref(), tail);
    let client = client_of(gate, &asked);
    let shown = shown(client);
    telemetry::upgrade_attempt(&shown, &user_agent(&asked.headers), &url.shown);
    let upgrade = match asked.upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let message = format!(
                "{rejection}: a WebSocket handshake needs version 13 and a Sec-WebSocket-Key"
            );
            telemetry::upgrade_refused(&shown, &url.shown, 400, "bad_handshake", &message);
            gate.handshakes
                .refused(asker(&asked.headers), "bad_handshake");
            let mut response = refuse(StatusCode::BAD_REQUEST, "bad_handshake", &message);
            response.headers_mut().insert(
                header::SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static("13"),
            );
            return response;
        }
    };
    if gate.connections.shutdown.draining.is_cancelled() {
        let sender = asker(&asked.headers);
        return leaving(gate, sender, &shown, &url.shown);
    }
    match admit(gate, &asked.headers, client, &url) {
        Ok((facts, subprotocol)) => accept(
            gate,
            upgrade,
            facts,
            subprotocol,
            client,
            &shown,
            &url.shown,
        ),
        Err(refusal) => {
            telemetry::authentication_failed(
                &shown,
                &url.shown,
                refusal.status,
                refusal.reason,
                &refusal.message,
            );
            gate.handshakes
                .refused(asker(&asked.headers), refusal.reason);
            refused(&refusal)
        }
    }
}

/// Where there is nothing. An upgrade is logged, since a misspelt URL is otherwise seen by nobody; its path is not, as a
/// token may stand anywhere in it.
pub(super) async fn nowhere(State(gate): State<Arc<Gate>>, asked: Asked) -> Response {
    let there =
        "there is nothing here: connect a WebSocket to /v1/ingest, or GET /health or /ready";
    if wants_websocket(&asked.headers) {
        let shown = shown(client_of(&gate, &asked));
        telemetry::upgrade_attempt(&shown, &user_agent(&asked.headers), UNKNOWN_PATH);
        telemetry::upgrade_refused(&shown, UNKNOWN_PATH, 404, "not_found", there);
        gate.handshakes.refused(asker(&asked.headers), "not_found");
    }
    refuse(StatusCode::NOT_FOUND, "not_found", there)
}

fn client_of(gate: &Gate, asked: &Asked) -> Option<IpAddr> {
    let forwarded = asked.headers.get_all("x-forwarded-for").iter();
    client_ip(
        asked.peer.0.ip(),
        forwarded.map(HeaderValue::as_bytes),
        gate.rules().trusted_proxies(),
    )
}

fn shown(client: Option<IpAddr>) -> String {
    client.map_or_else(|| "unknown".to_owned(), |client| client.to_string())
}

fn user_agent(headers: &HeaderMap) -> Cow<'_, str> {
    let value = headers.get(header::USER_AGENT);
    value.map_or_else(Cow::default, |value| {
        String::from_utf8_lossy(value.as_bytes())
    })
}

fn values(headers: &HeaderMap, name: HeaderName) -> Vec<&[u8]> {
    let values = headers.get_all(name).into_iter();
    values.map(HeaderValue::as_bytes).collect()
}

/// Whose upgrade it is, where that was not decided.
fn asker(headers: &HeaderMap) -> Sender {
    let authorization = values(headers, header::AUTHORIZATION);
    let subprotocols = values(headers, header::SEC_WEBSOCKET_PROTOCOL);
    admission::asker(&authorization, &subprotocols)
}

/// Lets the request in or not; what is known of it then.
fn admit(
    gate: &Gate,
    headers: &HeaderMap,
    client: Option<IpAddr>,
    url: &Url,
) -> Result<(Facts, Option<&'static str>), Refusal> {
    let authorization = values(headers, header::AUTHORIZATION);
    let subprotocols = values(headers, header::SEC_WEBSOCKET_PROTOCOL);
    let admission = gate.rules().admit(&Request {
        authorization: &authorization,
        subprotocols: &subprotocols,
        client,
        path_token: url.token.as_deref(),
        query_tenant: url.hints.tenant.as_deref(),
        query_call: url.hints.call.as_deref(),
        query_token: url.query_token.as_deref(),
        now_epoch_s: clock::epoch_ms() / 1000,
    })?;
    let (sender, bound, awaits_token) = match admission.peer {
        Peer::Exotel {
            token: LateToken::NotNeeded,
        } => (Sender::Exotel, Claims::default(), None),
        Peer::Exotel {
            token: LateToken::Awaited,
        } => (
            Sender::Exotel,
            Claims::default(),
            Some(Arc::clone(&gate.rules())),
        ),
        Peer::Custom { claims } => (Sender::Custom, claims, None),
    };
    let facts = Facts {
        sender,
        bound,
        hints: url.hints.clone(),
        default_tenant: Arc::clone(&gate.default_tenant),
        connection_id: uuid::Uuid::new_v4().to_string(),
        awaits_token,
    };
    Ok((facts, admission.subprotocol))
}

fn accept(
    gate: &Arc<Gate>,
    upgrade: Upgrade,
    facts: Facts,
    subprotocol: Option<&'static str>,
    client: Option<IpAddr>,
    shown: &str,
    path: &str,
) -> Response {
    // Before the last look whether anybody still waits for sockets: who does waits for this one.
    let sockets = &gate.connections.shutdown.sockets;
    let _coming = sockets.token();
    if gate.connections.shutdown.draining.is_cancelled() {
        return leaving(gate, facts.sender, shown, path);
    }
    telemetry::upgrade_request(shown, &facts.sender.to_string(), path);
    let slot = match gate.slots.take(client) {
        Ok(slot) => slot,
        Err(full) => return no_place(full, gate, facts.sender, shown, path),
    };
    match facts.sender {
        Sender::Exotel => {
            telemetry::exotel_accepted(shown, path);
            telemetry::exotel_connected(&facts.connection_id, shown);
        }
        Sender::Custom => telemetry::client_connected(&facts.connection_id, shown),
    }
    gate.handshakes.accepted(facts.sender);
    let (response, upgraded) = upgrade.accept(subprotocol);
    let connections = Arc::clone(&gate.connections);
    // The task holds them for as long as the socket lives, so they are kept small.
    let facts = Box::new(facts);
    sockets.spawn(async move {
        // Else the peer was gone before it was answered.
        if let Ok(upgraded) = upgraded.await
            && let Some(served) = serve(upgraded, *facts, connections)
        {
            served.await;
        }
        drop::<Slot>(slot);
    });
    response
}

/// Serves a connection as what it really is: none of the layers through which the handshake came stays below it. On
/// the heap, or the task would have room for it twice.
fn serve(
    upgraded: Upgraded,
    facts: Facts,
    connections: Arc<connection::Shared>,
) -> Option<BoxFuture<'static, ()>> {
    let max = connections.settings.max_message_bytes;
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(bare) => {
            let socket = WebSocket::new(bare.io.into_inner(), &bare.read_buf, max);
            Some(Box::pin(connection::run(socket, facts, connections)))
        }
        Err(upgraded) => {
            let bare = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
            let socket = WebSocket::new(bare.io.into_inner(), &bare.read_buf, max);
            Some(Box::pin(connection::run(socket, facts, connections)))
        }
    }
}

fn leaving(gate: &Gate, sender: Sender, shown: &str, path: &str) -> Response {
    let message = "the service is shutting down and takes no new calls: connect again in a moment";
    telemetry::upgrade_refused(shown, path, 503, "draining", message);
    gate.handshakes.refused(sender, "draining");
    with_retry_after(refuse(StatusCode::SERVICE_UNAVAILABLE, "draining", message))
}

fn how_to_connect() -> Response {
    let message = "this is a WebSocket endpoint: give Exotel's applet the URL wss://<this host>/v1/ingest, or try \
                   wscat -c wss://<this host>/v1/ingest -H 'Authorization: Bearer <jwt>'";
    let mut response = refuse(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message);
    response
        .headers_mut()
        .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = refuse(status, refusal.reason, &refusal.message);
    if let Some(scheme) = refusal.www_authenticate {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    response
}

fn no_place(full: Full, gate: &Gate, sender: Sender, client: &str, path: &str) -> Response {
    let (status, reason, message) = match full {
        Full::All => {
            let taken = gate.slots.taken();
            let message = format!(
                "{taken} connections are open, as many as MAX_CONNECTIONS allows: connect again in a moment"
            );
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_connections",
                message,
            )
        }
        Full::Address => {
            let message =
                "this address has as many connections as MAX_CONNECTIONS_PER_IP allows".to_owned();
            (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_from_address",
                message,
            )
        }
    };
    telemetry::upgrade_refused(client, path, status.as_u16(), reason, &message);
    gate.handshakes.refused(sender, reason);
    with_retry_after(refuse(status, reason, &message))
}

fn with_retry_after(response: Response) -> Response {
    ([(header::RETRY_AFTER, RETRY_AFTER_S)], response).into_response()
}

const RETRY_AFTER_S: &str = "5";
const UNKNOWN_PATH: &str = "(a path that is none of ours)";
