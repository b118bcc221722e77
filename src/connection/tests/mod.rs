//! Connections over an in-memory socket, on paused time, with a lane whose confirmations the test gives.

mod answers;
mod ends;
mod full;
mod joining;
mod leaving;
mod resuming;

use std::{
    num::NonZeroU64,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::extract::ws::Message as WsMessage;
use futures_util::{Sink, Stream};
use parking_lot::Mutex;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Settings, Shared, run};
use crate::{
    calls::Calls, frame::Sender, intake::Facts, publisher::by_hand::ByHand, shutdown::Shutdown,
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
            settings,
            shutdown: Shutdown::default(),
        };
        Self {
            shared: Arc::new(shared),
            lane,
            connections: JoinSet::new(),
        }
    }

    fn connect(&mut self, facts: Facts) -> Peer {
        let (to, from_peer) = mpsc::channel(1000);
        let taken = Arc::new(Mutex::new(Taken {
            room: usize::MAX,
            ..Taken::default()
        }));
        let wire = Wire {
            from_peer,
            taken: Arc::clone(&taken),
        };
        let shared = Arc::clone(&self.shared);
        self.connections.spawn(run(wire, facts, shared));
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
    to: mpsc::Sender<Result<WsMessage, axum::Error>>,
    taken: Arc<Mutex<Taken>>,
}

impl Peer {
    async fn say(&self, text: &str) {
        self.send(WsMessage::Text(text.into())).await;
    }

    async fn send_frames(&self, count: usize) {
        for _ in 0..count {
            self.send(WsMessage::Binary(vec![0; 320].into())).await;
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

    async fn send(&self, message: WsMessage) {
        self.to.send(Ok(message)).await.unwrap();
        settle().await;
    }

    /// What came since the last time.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.taken.lock().messages)
    }

    /// Takes so many messages more, and then none.
    fn take_only(&self, room: usize) {
        let mut taken = self.taken.lock();
        taken.room = room;
        if let Some(waiting) = taken.waiting.take() {
            waiting.wake();
        }
    }
}

/// What has been sent to a peer.
#[derive(Debug, Default)]
struct Taken {
    messages: Vec<String>,
    room: usize,
    waiting: Option<Waker>,
    closed: bool,
    /// The stream was read to its end, which is when a socket has answered a close.
    read_to_end: bool,
}

/// Our end of a socket.
struct Wire {
    from_peer: mpsc::Receiver<Result<WsMessage, axum::Error>>,
    taken: Arc<Mutex<Taken>>,
}

impl Stream for Wire {
    type Item = Result<WsMessage, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.from_peer.poll_recv(cx);
        if matches!(next, Poll::Ready(None)) {
            self.taken.lock().read_to_end = true;
        }
        next
    }
}

impl Sink<WsMessage> for Wire {
    type Error = axum::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        let mut taken = self.taken.lock();
        if taken.room == 0 {
            taken.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: WsMessage) -> Result<(), axum::Error> {
        let mut taken = self.taken.lock();
        assert!(!taken.closed, "{message:?} after a close");
        taken.room -= 1;
        let words = match message {
            WsMessage::Text(text) => text.to_string(),
            WsMessage::Ping(_) => "ping".to_owned(),
            WsMessage::Close(frame) => {
                taken.closed = true;
                format!("close {}", frame.unwrap().code)
            }
            other => panic!("{other:?}"),
        };
        taken.messages.push(words);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
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
