//! The running service, put together from its parts: started, waited for, and drained.
//!
//! `serve` runs it until a signal, `demo` runs it for one call. Invariant: the order of the drain (1.4) is that of
//! [`App::drain`], read from top to bottom.

use std::{io, sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    call::Reason,
    calls::Calls,
    clock,
    connection::{self, counts::Counts},
    handshakes::Handshakes,
    health::Health,
    open_files,
    prepared::Prepared,
    publisher::{Destination, Left, Publisher, StartError},
    server::{Gate, Server},
    shutdown::Shutdown,
    telemetry,
};

/// The running service.
#[derive(Debug)]
pub struct App {
    /// Where it listens, as bound.
    pub address: std::net::SocketAddr,
    /// Where a client connects.
    pub url: String,
    connections: Arc<connection::Shared>,
    gate: Arc<Gate>,
    drain_timeout: Duration,
    server: JoinSet<()>,
    stop_server: CancellationToken,
    lanes: JoinSet<Left>,
    give_up: CancellationToken,
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(
        "cannot listen on HOST and PORT ({host} port {port}): {error}; {advice}", advice = listening_advice(error)
    )]
    Listen {
        host: std::net::IpAddr,
        port: u16,
        error: io::Error,
    },
    #[error(transparent)]
    Publisher(#[from] StartError),
}

impl App {
    /// Starts everything; the service takes calls when this returns.
    pub fn start(prepared: &Prepared) -> Result<Self, AppError> {
        let config = prepared.config();
        let mut settings = config.server.clone();
        let mut problems = Vec::new();
        raise_open_files(&mut settings.max_connections, &mut problems);
        if matches!(
            config.publisher.destination,
            Destination::Journal { meant: false }
        ) {
            problems.push(NO_REDIS.to_owned());
        }
        let (mut lanes, give_up) = (JoinSet::new(), CancellationToken::new());
        let publisher = Publisher::start(&config.publisher, &config.journal, &mut lanes, &give_up)?;
        problems.extend_from_slice(publisher.left_behind());
        let shutdown = Shutdown::default();
        let health = Health::new(shutdown.draining.clone(), problems);
        let connections = Arc::new(connection::Shared {
            calls: Calls::new(publisher, config.connection.ack_interval.get()),
            handshakes: Handshakes::default(),
            settings: config.connection.clone(),
            shutdown,
            counts: Counts::default(),
        });
        let gate = Arc::new(Gate::new(
            &settings,
            prepared,
            health.clone(),
            Arc::clone(&connections),
        ));
        let (host, port) = (settings.host, settings.port);
        let listen = |error| AppError::Listen { host, port, error };
        let server = Server::bind(&settings, Arc::clone(&gate)).map_err(listen)?;
        let address = server.address().map_err(listen)?;
        let stop_server = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.run(stop_server.clone()));
        health.set_ready();
        let host = if address.ip().is_unspecified() {
            "localhost".to_owned()
        } else {
            host_of(address)
        };
        let url = format!(
            "{}://{host}:{}/v1/ingest",
            if prepared.tls.is_some() { "wss" } else { "ws" },
            address.port()
        );
        Ok(Self {
            address,
            url,
            connections,
            gate,
            drain_timeout: settings.drain_timeout,
            server: tasks,
            stop_server,
            lanes,
            give_up,
        })
    }

    /// Admits from now on by these rules and with this certificate; live calls are not touched.
    pub fn reload(&self, fresh: &Prepared) {
        self.gate.reload(fresh);
    }

    /// `redis_streams` or `journal`.
    pub fn adapter(&self) -> &'static str {
        self.connections.calls.publisher().adapter()
    }

    /// Resolves if a part that should run for ever has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub async fn failed(&mut self) {
        tokio::select! {
            Some(_) = self.server.join_next() => {}
            Some(_) = self.lanes.join_next() => {}
        }
    }

    /// Lets live calls end, closes those that do not, and makes all that was received durable.
    pub async fn drain(mut self) -> Left {
        let Shutdown {
            draining,
            closing,
            sockets,
        } = self.connections.shutdown.clone();
        let calls = &self.connections.calls;
        let began = clock::now();
        telemetry::draining(calls.len(), self.drain_timeout.as_secs());
        draining.cancel();
        sockets.close();
        if timeout(self.drain_timeout, sockets.wait()).await.is_err() {
            closing.cancel();
            // A socket that does not even take a close frame is left behind; its call is ended below.
            timeout(CLOSE_WITHIN, sockets.wait()).await.ok();
        }
        calls.end_all(&Reason::Shutdown, clock::now());
        calls.publisher().close();
        let left = self.flush().await;
        self.stop_server.cancel();
        while self.server.join_next().await.is_some() {}
        if left == Left::default() {
            telemetry::drained(
                clock::now()
                    .instant
                    .saturating_duration_since(began.instant)
                    .as_secs_f64(),
            );
        }
        left
    }

    async fn flush(&mut self) -> Left {
        let (lanes, give_up) = (&mut self.lanes, &self.give_up);
        let all = Left::of_all(lanes);
        tokio::pin!(all);
        if let Ok(left) = timeout(FLUSH_WITHIN, &mut all).await {
            return left;
        }
        give_up.cancel();
        all.await
    }
}

fn listening_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => "set HOST to an address of this machine",
        io::ErrorKind::PermissionDenied => "choose a PORT of 1024 or above, or allow this one",
        _ => "choose another PORT, or stop what uses it",
    }
}

fn host_of(address: std::net::SocketAddr) -> String {
    match address.ip() {
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    }
}

/// Lets the process open as many files as the system allows; where that is too few, fewer calls are taken.
fn raise_open_files(max_connections: &mut usize, problems: &mut Vec<String>) {
    let wanted = (*max_connections + DESCRIPTORS_BESIDES) as u64;
    let have = open_files::raise(wanted);
    if have < wanted {
        *max_connections = usize::try_from(have)
            .unwrap_or(usize::MAX)
            .saturating_sub(DESCRIPTORS_BESIDES)
            .max(1);
        problems.push(format!(
            "the open-file limit is {have}, so only {max_connections} connections are taken: raise it (ulimit -n) or lower MAX_CONNECTIONS"
        ));
    }
}

const NO_REDIS: &str = "no REDIS_URL is set: frames go to the journal on this machine and no worker receives them; \
                        set REDIS_URL, or PUBSUB_ADAPTER=journal if that is meant";
/// Listener, lanes, journal segments, health checks under way.
const DESCRIPTORS_BESIDES: usize = 256;
/// How long sockets may take to close once they are told to.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// With `CLOSE_WITHIN` and the default drain of 25 s below the 30 s after which platforms kill.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
