//! From an HTTP request to a WebSocket: who asks, whether there is a place, and what the URL says (3.1 to 3.4).
//!
//! The decision itself is `admission/`'s, the words of a refusal are in `refused.rs`. Invariants: no secret of the URL or
//! the headers reaches the log, the handshake book or a record; every attempt is in the book once, however it ends.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    response::Response,
};
use futures_util::future::BoxFuture;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{
    Gate,
    handshake::{Asked, Upgrade, wants_websocket},
    refused::Refused,
    slots::Slot,
    url::{Tail, Url},
};
use crate::{
    admission::{self, Claims, LateToken, Peer, Request},
    client_address::client_ip,
    clock, connection,
    frame::Sender,
    handshakes::Attempt,
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

/// Where there is nothing. An upgrade is logged, since a misspelt URL is otherwise seen by nobody; its path is not, as a
/// token may stand anywhere in it.
pub(super) async fn nowhere(State(gate): State<Arc<Gate>>, asked: Asked) -> Response {
    if !wants_websocket(&asked.headers) {
        return Refused::not_found().answer();
    }
    let visitor = Visitor::of(&gate, &asked, UNKNOWN_PATH.to_owned());
    visitor.log_upgrade();
    visitor.refuse(Refused::not_found())
}

fn answer(gate: &Arc<Gate>, asked: Asked, tail: &Tail) -> Response {
    let mut url = Url::read(asked.query.as_deref(), tail);
    let visitor = Visitor::of(gate, &asked, std::mem::take(&mut url.shown));
    match open(&visitor, asked, url) {
        Ok(response) => response,
        Err(refused) => visitor.refuse(refused),
    }
}

fn open(visitor: &Visitor<'_>, asked: Asked, url: Url) -> Result<Response, Refused> {
    if asked.method != Method::GET {
        return Err(Refused::not_get());
    }
    if !wants_websocket(&asked.headers) {
        return Err(Refused::no_upgrade(&asked.headers));
    }
    visitor.log_upgrade();
    let upgrade = asked.upgrade.map_err(Refused::bad_handshake)?;
    if visitor.gate.connections.shutdown.draining.is_cancelled() {
        return Err(Refused::draining());
    }
    let (facts, subprotocol) = visitor.admit(&asked.headers, url)?;
    visitor.accept(upgrade, facts, subprotocol)
}

/// Who asks, and as what the log and the handshake book know it.
struct Visitor<'g> {
    gate: &'g Arc<Gate>,
    client: Option<IpAddr>,
    /// It asks for a WebSocket at all.
    is_upgrade: bool,
    attempt: Attempt,
}

impl<'g> Visitor<'g> {
    fn of(gate: &'g Arc<Gate>, asked: &Asked, path: String) -> Self {
        let headers = &asked.headers;
        let client = client_of(gate, asked);
        let is_upgrade = wants_websocket(headers);
        let protocol = is_upgrade
            .then(|| {
                let authorization = values(headers, &header::AUTHORIZATION);
                let subprotocols = values(headers, &header::SEC_WEBSOCKET_PROTOCOL);
                admission::sender_of(&authorization, &subprotocols)
            })
            .flatten();
        let user_agent = headers.get(header::USER_AGENT);
        let user_agent = user_agent.map_or(&b""[..], HeaderValue::as_bytes);
        let attempt = Attempt {
            client: client.map_or_else(|| "unknown".to_owned(), |client| client.to_string()),
            user_agent: String::from_utf8_lossy(user_agent).into_owned(),
            path,
            protocol,
        };
        Self {
            gate,
            client,
            is_upgrade,
            attempt,
        }
    }

    fn log_upgrade(&self) {
        let attempt = &self.attempt;
        telemetry::upgrade_attempt(&attempt.client, &attempt.user_agent, &attempt.path);
    }

    /// Says why not: in the answer, in the log and in the book.
    fn refuse(&self, refused: Refused) -> Response {
        let why = refused.why();
        let log = if refused.by_admission {
            telemetry::authentication_failed
        } else {
            telemetry::upgrade_refused
        };
        let (client, path) = (&self.attempt.client, &self.attempt.path);
        log(client, path, why.status, why.error, why.reason);
        let book = &self.gate.connections.handshakes;
        book.note_refused(&self.attempt, &why, clock::now());
        if self.is_upgrade {
            // Credentials that cannot be read are no Exotel's, whose Basic pair is plain.
            let sender = self.attempt.protocol.unwrap_or(Sender::Custom);
            self.gate.handshakes.refused(sender, why.error);
        }
        refused.answer()
    }

    /// Lets the request in or not; what is known of it then.
    fn admit(
        &self,
        headers: &HeaderMap,
        url: Url,
    ) -> Result<(Facts, Option<&'static str>), Refused> {
        let rules = self.gate.rules();
        let admission = rules.admit(&Request {
            authorization: &values(headers, &header::AUTHORIZATION),
            subprotocols: &values(headers, &header::SEC_WEBSOCKET_PROTOCOL),
            client: self.client,
            path_token: url.token.as_deref(),
            query_tenant: url.hints.tenant.as_deref(),
            query_call: url.hints.call.as_deref(),
            query_token: url.query_token.as_deref(),
            now_epoch_s: clock::epoch_ms() / 1000,
        })?;
        let (sender, bound, awaits_token) = match admission.peer {
            Peer::Exotel { token } => {
                let awaits_token = (token == LateToken::Awaited).then_some(rules);
                (Sender::Exotel, Claims::default(), awaits_token)
            }
            Peer::Custom { claims } => (Sender::Custom, claims, None),
        };
        let facts = Facts {
            sender,
            bound,
            hints: url.hints,
            default_tenant: Arc::clone(&self.gate.default_tenant),
            connection_id: uuid::Uuid::new_v4().to_string(),
            awaits_token,
        };
        Ok((facts, admission.subprotocol))
    }

    fn accept(
        &self,
        upgrade: Upgrade,
        facts: Facts,
        subprotocol: Option<&'static str>,
    ) -> Result<Response, Refused> {
        let (gate, client, path) = (self.gate, &self.attempt.client, &self.attempt.path);
        // Before the last look whether anybody still waits for sockets: who does waits for this one.
        let sockets = &gate.connections.shutdown.sockets;
        let _coming = sockets.token();
        if gate.connections.shutdown.draining.is_cancelled() {
            return Err(Refused::draining());
        }
        telemetry::upgrade_request(client, facts.sender.name(), path);
        let slot = gate.slots.take(self.client);
        let slot = slot.map_err(|full| Refused::no_place(full, gate.slots.taken()))?;
        match facts.sender {
            Sender::Exotel => {
                telemetry::exotel_accepted(client, path);
                telemetry::exotel_connected(&facts.connection_id, client);
            }
            Sender::Custom => telemetry::client_connected(&facts.connection_id, client),
        }
        let connections = Arc::clone(&gate.connections);
        // Before the connection can say what has it turned away.
        let book = &connections.handshakes;
        book.note_accepted(&self.attempt, &facts.connection_id, clock::now());
        gate.handshakes.accepted(facts.sender);
        let (response, upgraded) = upgrade.accept(subprotocol);
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
        Ok(response)
    }
}

/// The client's address, as far as proxies that are trusted tell it.
fn client_of(gate: &Gate, asked: &Asked) -> Option<IpAddr> {
    client_ip(
        asked.peer.0.ip(),
        values(&asked.headers, &X_FORWARDED_FOR).into_iter(),
        gate.rules().trusted_proxies(),
    )
}

fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h [u8]> {
    let values = headers.get_all(name).into_iter();
    values.map(HeaderValue::as_bytes).collect()
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

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const UNKNOWN_PATH: &str = "(a path that is none of ours)";
