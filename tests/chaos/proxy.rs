//! The network between the service and Redis: a TCP proxy that delays, stalls, swallows and cuts as it is
//! told, at any byte of either direction. What is asked of it when is `inject`'s business.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream, UnixStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
        unix,
    },
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<Weather>,
    _task: JoinSet<()>,
}

/// One cut that is to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    /// How many bytes in its direction still pass.
    pub(crate) after: u64,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Within a request; both sides are gone at once.
    Request,
    /// Within a reply; what was sent still arrives: it is carried out, unconfirmed.
    Reply,
    /// Within a request; what had left by then arrives so much later, when the service has made a new connection.
    Late(Duration),
}

struct Weather {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    delay: Duration,
    stalled: u32,
    refusing: u32,
    /// Connections below this number are half open: what comes is swallowed.
    swallow_below: u64,
    /// Connections below this number are cut.
    cut_below: u64,
    strikes: VecDeque<Strike>,
    struck: u64,
    connections: u64,
}

/// One connection's view of it.
#[derive(Clone)]
struct Link {
    weather: Arc<Weather>,
    number: u64,
}

/// How a direction came to its end.
enum End {
    Closed,
    PeerGone,
    Cut,
    Late {
        held: Vec<u8>,
        to: unix::OwnedWriteHalf,
        by: Duration,
    },
}

impl Proxy {
    /// In front of the server that listens on this socket.
    pub(crate) async fn start(server: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let weather = Arc::new(Weather {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let (server, sky) = (server.to_owned(), Arc::clone(&weather));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let number = {
                    let mut state = sky.state.lock();
                    state.connections += 1;
                    state.connections
                };
                if number.is_multiple_of(2) {
                    // Half of them end in a reset instead of a farewell.
                    SockRef::from(&client).set_linger(Some(Duration::ZERO)).ok();
                }
                if sky.state.lock().refusing > 0 {
                    continue;
                }
                let weather = Arc::clone(&sky);
                connections.spawn(carry(client, server.clone(), Link { weather, number }));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            weather,
            _task: task,
        }
    }

    pub(crate) fn url(&self, password: &str) -> String {
        format!("redis://:{password}@{}", self.address)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.weather.state.lock());
        self.weather.changed.send_replace(());
    }

    /// Everything takes so much longer in each direction.
    pub(crate) fn delay(&self, by: Duration) {
        self.change(|state| state.delay = by);
    }

    /// Nothing moves until [`Proxy::resume`]; then what was held arrives, whoever is gone meanwhile.
    pub(crate) fn stall(&self) {
        self.change(|state| state.stalled += 1);
    }

    pub(crate) fn resume(&self) {
        self.change(|state| state.stalled = state.stalled.saturating_sub(1));
    }

    /// Cuts what is there and takes no connection until [`Proxy::admit`].
    pub(crate) fn refuse(&self) {
        self.change(|state| {
            state.refusing += 1;
            state.cut_below = state.connections + 1;
        });
    }

    pub(crate) fn admit(&self) {
        self.change(|state| state.refusing = state.refusing.saturating_sub(1));
    }

    /// Leaves the connections that are there half open: they take everything and pass on nothing.
    pub(crate) fn swallow(&self) {
        self.change(|state| state.swallow_below = state.connections + 1);
    }

    /// Ends the connections that are half open.
    pub(crate) fn cut_swallowed(&self) {
        self.change(|state| state.cut_below = state.cut_below.max(state.swallow_below));
    }

    /// One more cut, behind those that are still to come.
    pub(crate) fn strike(&self, strike: Strike) {
        self.change(|state| state.strikes.push_back(strike));
    }

    /// How many cuts have come about.
    pub(crate) fn struck(&self) -> u64 {
        self.weather.state.lock().struck
    }

    /// Fair weather from now on.
    pub(crate) fn heal(&self) {
        self.change(|state| {
            *state = State {
                struck: state.struck,
                connections: state.connections,
                cut_below: state.cut_below.max(state.swallow_below),
                ..State::default()
            };
        });
    }
}

impl Link {
    /// Resolves when this connection is to be cut.
    async fn is_cut(&self) {
        self.until(|state| state.cut_below > self.number).await;
    }

    async fn until(&self, true_of: impl Fn(&State) -> bool) {
        let mut changed = self.weather.changed.subscribe();
        while !true_of(&self.weather.state.lock()) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits as long as nothing moves.
    async fn weather(&self) {
        let delay = self.weather.state.lock().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        self.until(|state| state.stalled == 0 || state.cut_below > self.number)
            .await;
    }

    /// How much of what came may pass, and what strikes then.
    fn pass(&self, is_reply: bool, bytes: usize) -> (usize, Option<How>) {
        let mut state = self.weather.state.lock();
        if state.swallow_below > self.number {
            return (0, None);
        }
        let Some(strike) = state.strikes.front_mut() else {
            return (bytes, None);
        };
        if (strike.how == How::Reply) != is_reply {
            return (bytes, None);
        }
        if strike.after >= bytes as u64 {
            strike.after -= bytes as u64;
            return (bytes, None);
        }
        let (passes, how) = (strike.after, strike.how);
        state.strikes.pop_front();
        state.struck += 1;
        (usize::try_from(passes).expect("below `bytes`"), Some(how))
    }
}

async fn carry(client: TcpStream, server: PathBuf, link: Link) {
    client.set_nodelay(true).ok();
    let Ok(server) = UnixStream::connect(server).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut requests = Box::pin(requests(from_client, to_server, &link));
    let mut replies = Box::pin(replies(from_server, to_client, &link));
    let both = async {
        tokio::select! {
            end = &mut requests => match end {
                End::Closed | End::PeerGone => drop(replies.await),
                End::Cut => {}
                End::Late { held, mut to, by } => {
                    drop((requests, replies));
                    sleep(by).await;
                    if to.write_all(&held).await.is_ok() {
                        // Long enough to be carried out before the server sees the end.
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            },
            end = &mut replies => match end {
                // What the client has sent is delivered although it has gone.
                End::PeerGone => drop(requests.await),
                End::Cut => {
                    drop(replies);
                    timeout(Duration::from_millis(20), requests).await.ok();
                }
                End::Closed | End::Late { .. } => {}
            },
        }
    };
    tokio::select! {
        () = link.is_cut() => {}
        () = both => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: unix::OwnedWriteHalf, link: &Link) -> End {
    match pass_on(&mut from, &mut to, link, false).await {
        Err(end) => end,
        Ok((How::Late(by), mut held)) => {
            // The rest of what is being written, so that it is whole when it arrives.
            timeout(Duration::from_millis(20), from.read_to_end(&mut held))
                .await
                .ok();
            End::Late { held, to, by }
        }
        Ok(_) => End::Cut,
    }
}

async fn replies(mut from: unix::OwnedReadHalf, mut to: OwnedWriteHalf, link: &Link) -> End {
    if let Err(end) = pass_on(&mut from, &mut to, link, true).await {
        return end;
    }
    to.shutdown().await.ok();
    End::Cut
}

/// Carries bytes on until the link is struck: how, and what of the last read did not pass.
async fn pass_on(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    link: &Link,
    replying: bool,
) -> Result<(How, Vec<u8>), End> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        if read == 0 {
            return Err(End::Closed);
        }
        link.weather().await;
        let (passes, strike) = link.pass(replying, read);
        if to.write_all(&buffer[..passes]).await.is_err() {
            return Err(End::PeerGone);
        }
        if let Some(how) = strike {
            return Ok((how, buffer[passes..read].to_vec()));
        }
    }
}

const CHUNK_BYTES: usize = 64 * 1024;
