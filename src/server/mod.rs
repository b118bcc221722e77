//! The listener: accepts, encrypts, and hands each connection's requests to the routes.
//!
//! What the routes do is in `routes.rs` and `upgrade.rs`. Accepting goes on while the service drains, so that health
//! checks and refusals are answered to the end. Invariant: a peer that does not finish its handshake in time is gone.

mod handshake;
mod handshakes;
mod listen;
mod live;
mod metrics;
mod ops_access;
mod refused;
mod routes;
mod slots;
pub mod tls;
mod upgrade;
mod url;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::RwLock;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use self::{handshakes::Handshakes, slots::Slots};
use crate::{
    admission::Rules, connection, health::Health, prepared::Prepared, secret::Secret, telemetry,
};

/// What the listener and the upgrade need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: IpAddr,
    /// 0 lets the system choose.
    pub port: u16,
    pub tls: Option<TlsFiles>,
    pub max_connections: usize,
    /// 0: no limit.
    pub max_connections_per_ip: usize,
    pub handshake_timeout: Duration,
    pub drain_timeout: Duration,
}

/// PEM files of the certificate chain and its key.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What every request may need.
#[derive(Debug)]
pub struct Gate {
    rules: RwLock<Arc<Rules>>,
    /// Replaced as a whole; whether there is TLS at all never changes.
    tls: RwLock<Option<Arc<rustls::ServerConfig>>>,
    default_tenant: Arc<str>,
    health: Health,
    connections: Arc<connection::Shared>,
    slots: Arc<Slots>,
    ops_token: RwLock<Option<Secret>>,
    handshakes: Handshakes,
    viewers: live::Viewers,
}

impl Gate {
    pub fn new(
        settings: &Settings,
        prepared: &Prepared,
        health: Health,
        connections: Arc<connection::Shared>,
    ) -> Self {
        let slots = Slots::new(settings.max_connections, settings.max_connections_per_ip);
        Self {
            rules: RwLock::new(Arc::clone(&prepared.rules)),
            tls: RwLock::new(prepared.tls.clone()),
            default_tenant: prepared.config().default_tenant.as_str().into(),
            health,
            connections,
            slots: Arc::new(slots),
            ops_token: RwLock::new(prepared.config().ops_token.clone()),
            handshakes: Handshakes::default(),
            viewers: live::Viewers::default(),
        }
    }

    /// Who is let in, as of now.
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.read().clone().map(TlsAcceptor::from)
    }

    pub fn reload(&self, fresh: &Prepared) {
        *self.rules.write() = Arc::clone(&fresh.rules);
        (*self.ops_token.write()).clone_from(&fresh.config().ops_token);
        let mut tls = self.tls.write();
        if tls.is_some() && fresh.tls.is_some() {
            tls.clone_from(&fresh.tls);
        }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    gate: Arc<Gate>,
    handshake_timeout: Duration,
    routes: Router,
}

/// The address that a request's connection came from.
#[derive(Debug, Clone, Copy)]
struct PeerAddress(SocketAddr);

impl Server {
    pub fn bind(settings: &Settings, gate: Arc<Gate>) -> io::Result<Self> {
        Ok(Self {
            listener: listen::bind(settings)?,
            handshake_timeout: settings.handshake_timeout,
            routes: routes::routes(Arc::clone(&gate)),
            gate,
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let connection = self.serve(stream, address, stop.clone());
                    tasks.spawn(connection);
                }
                Err(error) => {
                    // Out of descriptors, most likely: those in use go on, and some will be free soon.
                    telemetry::warning(&format!("cannot accept a connection: {error}"));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    fn serve(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (tls, routes, handshake_timeout) =
            (self.gate.tls(), self.routes.clone(), self.handshake_timeout);
        async move {
            // A socket that cannot be set up is one that is gone already.
            stream.set_nodelay(true).ok();
            match tls {
                None => serve_http(stream, address, routes, handshake_timeout, stop).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) =
                        timeout(handshake_timeout, tls::accept(&acceptor, stream)).await
                    {
                        serve_http(stream, address, routes, handshake_timeout, stop).await;
                    }
                }
            }
        }
    }
}

async fn serve_http<S>(
    stream: S,
    address: SocketAddr,
    routes: Router,
    handshake_timeout: Duration,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddress(address));
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes::with_request_id(routes.oneshot(request).await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake_timeout)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    // How it ends, well or not, is for the peer to know: refusals and calls are logged where they are decided.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_WITHIN, connection).await.ok();
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Request line and headers: a token of 16 KiB and what stands around it.
const REQUEST_BYTES_MAX: usize = 32 * 1024;
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(1);
