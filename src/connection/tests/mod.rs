//! Connections over an in-memory socket, on paused time, with a lane whose confirmations the test gives.

mod answers;
mod ends;
mod full;
mod joining;
mod leaving;
mod resuming;

use std::{
    io::{self, Cursor},
    num::NonZeroU64,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{Settings, Shared, counts::Counts, run};
use crate::{
    calls::Calls,
    frame::Sender,
    handshakes::Handshakes,
    intake::Facts,
    publisher::by_hand::ByHand,
    shutdown::Shutdown,
    websocket::{
        WebSocket,
        tests::{BINARY, CLOSE, TEXT, from_client},
    },
};

/// The service as far as connections see it.
struct Stage {
    shared: Arc<Shared>,
    lane: ByHand,
    connections: JoinSet<()>,
}

impl Stage {
    fn new() -> Self {
        let (publisher, lane) = ByHand::publisher();
        let settings = Settings {
            ack_interval: NonZeroU64::new(4).unwrap(),
            max_message_bytes: 1 << 20,
            max_rate_factor: 0.0,
            idle_timeout: Duration::from_mins(1),
            max_call: Duration::from_secs(1000),
        };
        let shared = Shared {
            calls: Calls::new(publisher, settings.ack_interval.get()),
            handshakes: Handshakes::default(),
            settings,
            shutdown: Shutdown::default(),
            counts: Counts::default(),
        };
        Self {
            shared: Arc::new(shared),
            lane,
            connections: JoinSet::new(),
        }
    }

    fn connect(&mut self, facts: Facts) -> Peer {
        let (to, from_peer) = mpsc::channel(1000);
        let taken = Arc::new(Mutex::new(Taken::default()));
        let wire = Wire {
            from_peer,
            left: Vec::new(),
            taken: Arc::clone(&taken),
        };
        let shared = Arc::clone(&self.shared);
        let socket = WebSocket::new(wire, &[], shared.settings.max_message_bytes);
        self.connections.spawn(run(socket, facts, shared));
        Peer { to, taken }
    }

    /// An Exotel connection with a call named `i` under way.
    async fn exotel(&mut self) -> Peer {
        let peer = self.connect(Facts::new(Sender::Exotel, "t", "fresh"));
        peer.say(r#"{"event":"start","start":{"call_sid":"i"}}"#)
            .await;
        peer
    }

    /// A custom client that has started the call `i`.
    async fn custom(&mut self) -> Peer {
        let peer = self.connect(Facts::new(Sender::Custom, "t", ""));
        peer.say(r#"{"event":"start","interaction_id":"i"}"#).await;
        peer
    }

    /// What the lane was given since the last time, but for metadata.
    fn published(&mut self) -> Vec<String> {
        let mut published = self.lane.take();
        published.retain(|told| !told.starts_with("active") && !told.starts_with("ended"));
        published
    }

    fn live(&self) -> usize {
        self.connections.len()
    }

    /// Lets connections that have ended go.
    fn reap(&mut self) -> &mut Self {
        while self.connections.try_join_next().is_some() {}
        self
    }
}

/// The other end of a socket.
struct Peer {
    to: mpsc::Sender<Vec<u8>>,
    taken: Arc<Mutex<Taken>>,
}

impl Peer {
    async fn say(&self, text: &str) {
        self.send(from_client(TEXT, text.as_bytes())).await;
    }

    async fn send_frames(&self, count: usize) {
        for _ in 0..count {
            self.send(from_client(BINARY, &[0; 320])).await;
        }
        settle().await;
    }

    /// Audio with the client's own number.
    async fn number(&self, seq: u64) {
        self.say(&format!(
            r#"{{"event":"audio","seq":{seq},"data":"AAAAAA=="}}"#
        ))
        .await;
    }

    async fn close(&self) {
        self.send(from_client(CLOSE, &[])).await;
    }

    async fn send(&self, frame: Vec<u8>) {
        self.to.send(frame).await.unwrap();
        settle().await;
    }

    /// What came since the last time.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.taken.lock().messages)
    }

    /// Whether it takes what is sent to it.
    fn reads(&self, reads: bool) {
        let mut taken = self.taken.lock();
        taken.blocked = !reads;
        if let Some(waiting) = taken.waiting.take() {
            waiting.wake();
        }
    }
}

/// What has been sent to a peer.
#[derive(Debug, Default)]
struct Taken {
    messages: Vec<String>,
    blocked: bool,
    waiting: Option<Waker>,
    closed: bool,
}

impl Taken {
    fn take(&mut self, bytes: &[u8]) {
        let mut bytes = Cursor::new(bytes);
        while let Some((header, length)) = FrameHeader::parse(&mut bytes).unwrap() {
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            io::Read::read_exact(&mut bytes, &mut payload).unwrap();
            assert!(!self.closed, "{header:?} after a close");
            assert!(header.is_final && header.mask.is_none());
            self.messages.push(match header.opcode {
                OpCode::Data(Data::Text) => String::from_utf8(payload).unwrap(),
                OpCode::Control(Control::Ping) => "ping".to_owned(),
                OpCode::Control(Control::Pong) => format!("pong {payload:?}"),
                OpCode::Control(Control::Close) => {
                    self.closed = true;
                    let code = payload.first_chunk().copied().map(u16::from_be_bytes);
                    code.map_or("close".to_owned(), |code| format!("close {code}"))
                }
                other => panic!("{other:?}"),
            });
        }
    }
}

/// Our end of a socket.
struct Wire {
    from_peer: mpsc::Receiver<Vec<u8>>,
    left: Vec<u8>,
    taken: Arc<Mutex<Taken>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            let Poll::Ready(frame) = self.from_peer.poll_recv(cx) else {
                return Poll::Pending;
            };
            self.left = frame.unwrap_or_default();
        }
        let count = self.left.len().min(space.remaining());
        space.put_slice(&self.left[..count]);
        self.left.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut taken = self.taken.lock();
        if taken.blocked {
            taken.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        taken.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Lets every task come to rest: paused time moves on only when all of them wait.
async fn settle() {
    tokio::time::sleep(Duration::from_micros(1)).await;
}

async fn seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn ack(seq: u64) -> String {
    format!(r#"{{"event":"ack","seq":{seq}}}"#)
}

fn started(next_seq: u64) -> String {
    format!(r#"{{"event":"started","interaction_id":"i","next_seq":{next_seq}}}"#)
}
