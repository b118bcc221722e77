//! One WebSocket from upgrade to end: waits for one thing at a time, and applies it.
//!
//! What is said on it is understood by `intake/`, numbered and published by `calls.rs`; here are the socket, the
//! timers and the waiting. Invariants: a lane without room stops the reading, nothing else does, and not where audio is
//! dropped because waiting would be in vain; whatever way a connection ends, its call is ended or left to be taken up.

mod answer;
mod apply;
pub mod counts;
mod ending;
mod reading;
mod socket;
mod starting;
#[cfg(test)]
mod tests;
mod timing;

use std::{
    borrow::Cow, collections::VecDeque, future::poll_fn, num::NonZeroU64, sync::Arc, time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use self::{
    answer::{ANY_NEWS, told},
    counts::{Counts, LOST},
    reading::read,
    socket::{Incoming, Socket},
    starting::Starting,
    timing::Timing,
};
use crate::{
    call::Reason,
    calls::{Calls, live_call::LiveCall, reader::Reader},
    clock,
    dialect::Dialect,
    frame::{Now, Sender},
    handshakes::Handshakes,
    intake::{Facts, Intake, Message, Opening},
    payload::Scratch,
    publisher::Outlet,
    record::frame::FramePattern,
    rounds,
    shutdown::Shutdown,
    telemetry,
    websocket::{self, Batch, WebSocket},
};

/// The limits of one WebSocket.
#[derive(Debug, Clone)]
pub struct Settings {
    pub ack_interval: NonZeroU64,
    pub max_message_bytes: usize,
    /// 0: no limit.
    pub max_rate_factor: f64,
    pub idle_timeout: Duration,
    pub max_call: Duration,
}

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    pub calls: Calls,
    pub handshakes: Handshakes,
    pub settings: Settings,
    pub shutdown: Shutdown,
    pub counts: Counts,
}

/// One WebSocket.
#[derive(Debug)]
struct Connection<T> {
    shared: Arc<Shared>,
    socket: Socket<T>,
    intake: Intake,
    current: Option<Box<Current>>,
    /// Calls that others have followed, and whose client has not heard all of them yet.
    partings: VecDeque<Box<Current>>,
    timing: Timing,
    phase: Phase,
    messages: u64,
    /// Somebody looks at the calls, as of the newest read.
    looked_at: bool,
    closed: (u16, Cow<'static, str>),
    /// What was first to end it, as it is counted.
    farewell: &'static str,
}

/// The call that this connection feeds.
#[derive(Debug)]
struct Current {
    call: Arc<LiveCall>,
    opening: Opening,
    progress: watch::Receiver<()>,
    /// The client waits to hear from where to go on.
    starting: Option<Box<Starting>>,
    /// Of a custom client, while it feeds the call.
    reader: Option<Reader>,
    /// The newest frame that its client knows to be durable.
    acked: Option<u64>,
    patterns: Vec<Option<FramePattern>>,
    /// How its newest audio came, from this connection.
    dialect: Option<Dialect>,
    /// Of the intake, when the patterns were made.
    generation: u32,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The sender is done; its last frame is not yet durable.
    Finishing {
        shutting_down: bool,
    },
    /// A close frame is on its way; the peer's is awaited.
    Closing,
    Gone,
}

/// What a connection was waiting for.
enum Wake {
    Incoming(Incoming),
    /// Nothing more has come in, and another connection has asked.
    ReadAll,
    Progress,
    Room,
    Timer,
    Shutdown,
}

/// Serves one WebSocket to its end, and the call's, if nobody takes it up.
///
/// The state stands on the heap and not in the future: the futures around this one each hold a copy of what they are
/// given, and there are thousands of them.
pub fn run<T: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocket<T>,
    facts: Facts,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> {
    let now = clock::now();
    shared.counts.opened(facts.sender);
    let mut connection = Box::new(Connection {
        socket: Socket::new(socket),
        intake: Intake::new(facts, now),
        current: None,
        partings: VecDeque::new(),
        timing: Timing::new(&shared.settings, now),
        phase: Phase::Open,
        messages: 0,
        looked_at: false,
        closed: (
            NO_CLOSE_FRAME,
            "the peer was gone without a close frame".into(),
        ),
        farewell: LOST,
        shared,
    });
    // A peer that never says a word has no longer to bring its token than any other.
    connection.timing.set_limit(connection.intake.deadline());
    async move {
        connection.serve().await;
        connection.log_closed();
        let shared = Arc::clone(&connection.shared);
        let call = connection.current.take().map(|current| current.call);
        drop(connection);
        if let Some(call) = call {
            leave(&shared, &call).await;
        }
    }
}

/// Leaves a call to whoever takes it up; ends it if nobody does.
async fn leave(shared: &Shared, call: &Arc<LiveCall>) {
    let Some(departure) = call.detach(clock::now()) else {
        return;
    };
    tokio::select! {
        () = tokio::time::sleep(TAKE_UP_WITHIN) => {}
        () = shared.shutdown.draining.cancelled() => {}
    }
    shared
        .calls
        .end_abandoned(call, departure, &Reason::Disconnected, clock::now());
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    async fn serve(&mut self) {
        let closing = self.shared.shutdown.closing.clone().cancelled_owned();
        tokio::pin!(closing);
        let timer = tokio::time::sleep_until(self.timing.next().into());
        tokio::pin!(timer);
        let mut told_to_close = false;
        while self.phase != Phase::Gone {
            let due = self.next_due();
            if due < timer.deadline().into_std() {
                timer.as_mut().reset(due.into());
            }
            let reading = self.may_read();
            let asked = self.is_asked(reading);
            let (room, sender) = (self.full_outlet(), self.intake.sender());
            // An Exotel peer is told nothing, so until its end there is nothing to hear of its progress.
            let listening = self.is_custom() || self.phase != Phase::Open;
            let Self {
                socket,
                current,
                partings,
                ..
            } = self;
            // Every arm is safe to drop: polls of the socket, and waits that keep what they missed.
            let wake = tokio::select! {
                biased;
                wake = poll_fn(|cx| read(socket, cx, reading, asked)) => wake,
                () = told(partings.front_mut(), current.as_mut()), if listening => Wake::Progress,
                () = wait_for_room(room.as_ref(), sender), if room.is_some() => Wake::Room,
                () = &mut timer => Wake::Timer,
                () = &mut closing, if !told_to_close => Wake::Shutdown,
            };
            let now = clock::now();
            let mut plenty = false;
            let mut ack_after = self.shared.settings.ack_interval.get();
            match wake {
                Wake::Incoming(Incoming::Messages(batch)) => plenty = self.take_all(batch, now),
                Wake::Incoming(Incoming::Gone) => self.phase = Phase::Gone,
                Wake::ReadAll => self.note_read_all(now),
                // It tells at every multiple of the interval: an ack that ran ahead must not make this one wait.
                Wake::Progress => {
                    ack_after = ANY_NEWS;
                    self.hear_question();
                }
                // The time in which we did not read does not count as the peer's silence.
                Wake::Room => self.timing.heard(now),
                Wake::Timer => {
                    self.take_timer(now);
                    timer.as_mut().reset(self.next_due().into());
                }
                Wake::Shutdown => {
                    told_to_close = true;
                    self.shut_down(now);
                }
            }
            self.answer(ack_after, now);
            if plenty {
                // Whoever sends faster than audio is spoken does so between the frames of the other calls.
                tokio::task::yield_now().await;
            }
        }
    }
}

impl<T> Connection<T> {
    /// Takes the messages that one read has brought, as far as there is room; whether there are probably more.
    fn take_all(&mut self, mut batch: Batch, now: Now) -> bool {
        self.timing.heard(now);
        rounds::note_audio(now.instant);
        self.looked_at = self.shared.calls.is_looked_at(now);
        while self.phase != Phase::Gone && self.may_read() {
            match batch.next_message() {
                None => break,
                Some(Ok(message)) => self.take(&message, now),
                Some(Err(violation)) => {
                    self.take_forbidden(violation, now);
                    // The close leaves before anything else is looked at.
                    break;
                }
            }
        }
        let plenty = batch.is_large();
        self.socket.put_back(batch);
        // Where there is always more to read, nothing else is ever looked at.
        self.hear_question();
        plenty
    }

    fn take(&mut self, message: &websocket::Message<'_>, now: Now) {
        match *message {
            websocket::Message::Text(text) => self.take_message(Message::Text(text), now),
            websocket::Message::Binary(bytes) => self.take_message(Message::Binary(bytes), now),
            websocket::Message::Ping(payload) => self.socket.send_pong(payload),
            websocket::Message::Pong => {}
            websocket::Message::Close { code, reason } => self.take_close(code, reason, now),
        }
    }

    fn take_message(&mut self, message: Message<'_>, now: Now) {
        if self.phase != Phase::Open {
            return;
        }
        self.messages += 1;
        SCRATCH.with_borrow_mut(|scratch| self.hear(message, scratch, now));
        for (then, message) in self.intake.take_released() {
            SCRATCH.with_borrow_mut(|scratch| self.hear(message.borrow(), scratch, then));
        }
    }

    fn log_closed(&self) {
        let interaction_id = self
            .current
            .as_ref()
            .map(|current| current.opening.name.interaction_id.as_str());
        telemetry::connection_closed(&telemetry::Closed {
            connection: self.intake.connection_id(),
            interaction_id,
            code: self.closed.0,
            reason: &self.closed.1,
            seconds: self.timing.age(clock::now()).as_secs_f64(),
            messages: self.messages,
            bad_messages: self.intake.bad_messages(),
            sender_gaps: self.intake.sender_gaps(),
        });
    }
}

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        self.shared
            .counts
            .closed(self.intake.sender(), self.farewell);
    }
}

async fn wait_for_room(outlet: Option<&Outlet>, sender: Sender) {
    match (outlet, sender) {
        (Some(outlet), Sender::Custom) => outlet.wait_for_room().await,
        (Some(outlet), Sender::Exotel) => outlet.wait_for_room_or_shed().await,
        (None, _) => {}
    }
}

thread_local! {
    /// One set of buffers per thread instead of one per connection: a message is handled without a wait in between.
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// How long a call is kept for a connection that takes it up (3.10, 4.3).
const TAKE_UP_WITHIN: Duration = Duration::from_secs(5);
/// RFC 6455's code for what never stands in a close frame.
const NO_CLOSE_FRAME: u16 = 1006;
/// Calls that end one after another on one connection while Redis is away; beyond it the client is read no further.
const PARTINGS_MAX: usize = 16;
