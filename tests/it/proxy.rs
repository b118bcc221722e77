//! A TCP proxy in front of Redis that breaks connections as a seed says: the same seed, the same cuts.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    healed: Arc<AtomicBool>,
    cuts: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

/// How one connection ends: after so many bytes in one direction.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// Both directions at once, the request cut at this byte.
    Request(u64),
    /// The reply cut at this byte, while what was sent still arrives: the commands are carried out, unconfirmed.
    Reply(u64),
}

impl Proxy {
    pub(crate) async fn start(redis: u16, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (healed, cuts) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut task = JoinSet::new();
        let (whole, count) = (Arc::clone(&healed), Arc::clone(&cuts));
        task.spawn(async move {
            let mut connections = JoinSet::new();
            let mut random = seed;
            while let Ok((client, _)) = listener.accept().await {
                let cut = Cut::draw(&mut random);
                let (healed, cuts) = (Arc::clone(&whole), Arc::clone(&count));
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", redis)).await {
                        carry(client, server, cut, &healed).await;
                        cuts.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self {
            address,
            healed,
            cuts,
            _task: task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// No further cuts.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// Connections that have ended so far.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Cut {
    fn draw(random: &mut u64) -> Self {
        let draw = next(random);
        // A connection's look around takes about 250 bytes of requests and 8,000 of replies.
        match draw % 4 {
            0 | 1 => Self::Request(100 + next(random) % 9_000),
            2 => Self::Reply(7_000 + next(random) % 3_000),
            _ => Self::Reply(next(random) % 9_000),
        }
    }
}

async fn carry(client: TcpStream, server: TcpStream, cut: Cut, healed: &AtomicBool) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (requests, replies) = match cut {
        Cut::Request(bytes) => (bytes, u64::MAX),
        Cut::Reply(bytes) => (u64::MAX, bytes),
    };
    tokio::select! {
        _ = copy(from_client, to_server, requests, healed) => {}
        to_client = copy(from_server, to_client, replies, healed) => {
            // What is under way to the server arrives, and nobody hears of it.
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(to_client);
        }
    }
}

/// Copies until an end or the limit; gives the writer back, still open.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    limit: u64,
    healed: &AtomicBool,
) -> OwnedWriteHalf {
    let (mut buffer, mut copied) = (vec![0; 16 * 1024], 0);
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        let left = if healed.load(Ordering::Relaxed) {
            u64::MAX
        } else {
            limit.saturating_sub(copied)
        };
        let pass = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        if pass == 0 || to.write_all(&buffer[..pass]).await.is_err() || pass < read {
            return to;
        }
        copied += pass as u64;
    }
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
