//! What is counted of connections: what came on them, and how they ended.

use crate::{
    dialect::Dialect,
    frame::Sender,
    intake::{Bad, Heard},
    metrics::{Counter, Labelled, spread::Spread},
};

/// Of all connections of this instance.
#[derive(Debug)]
pub struct Counts {
    received: Spread<Received>,
    duplicates: Counter,
    /// Messages that could not be used.
    pub bad_messages: Labelled<6>,
    pub closes: Labelled<18>,
    opened: Labelled<2>,
    closed: Labelled<2>,
}

/// Audio as one thread has seen it.
#[derive(Debug, Default)]
struct Received {
    /// In the order of [`Dialect::ALL`].
    frames: [Counter; 3],
    bytes: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        let protocols = || Labelled::new(PROTOCOLS);
        Self {
            received: Spread::default(),
            duplicates: Counter::default(),
            bad_messages: Labelled::new(Bad::REASONS),
            closes: Labelled::new(FAREWELLS),
            opened: protocols(),
            closed: protocols(),
        }
    }
}

impl Counts {
    pub(super) fn heard(&self, heard: &Heard<'_>) {
        let received = self.received.here();
        let [exotel, simple, binary] = &received.frames;
        match heard.dialect {
            Dialect::Exotel => exotel.add(1),
            Dialect::Simple => simple.add(1),
            Dialect::Binary => binary.add(1),
        }
        received.bytes.add(heard.audio.pcm.len() as u64);
    }

    pub(super) fn duplicate(&self) {
        self.duplicates.add(1);
    }

    pub(super) fn opened(&self, sender: Sender) {
        self.opened.count(protocol(sender));
    }

    pub(super) fn closed(&self, sender: Sender, farewell: &str) {
        self.closed.count(protocol(sender));
        self.closes.count(farewell);
    }

    pub fn frames(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Dialect::ALL.into_iter().enumerate().map(|(at, dialect)| {
            let of = |received: &Received| received.frames.get(at).map_or(0, Counter::get);
            (dialect.name(), self.received.sum(of))
        })
    }

    /// Of PCM16, as it is published.
    pub fn bytes(&self) -> u64 {
        self.received.sum(|received| received.bytes.get())
    }

    pub fn duplicates(&self) -> u64 {
        self.duplicates.get()
    }

    /// Connections that are open, by protocol.
    pub fn open(&self) -> impl Iterator<Item = (&'static str, u64)> {
        // In this order: one that opens and closes meanwhile is not subtracted from what it is not in.
        let closed: Vec<_> = self.closed.iter().collect();
        let open = self.opened.iter().zip(closed);
        open.map(|((protocol, opened), (_, closed))| (protocol, opened.saturating_sub(closed)))
    }
}

/// The label of who is on a connection.
pub fn protocol(sender: Sender) -> &'static str {
    let [exotel, jwt] = PROTOCOLS;
    match sender {
        Sender::Exotel => exotel,
        Sender::Custom => jwt,
    }
}

pub const PROTOCOLS: [&str; 2] = ["exotel", "jwt"];

/// Why connections end, for counting: what was first to end one. The peer's close frame.
pub(super) const PEER: &str = "peer";
/// No close frame: the peer or the network was gone.
pub(super) const LOST: &str = "lost";
/// The call was over, and all was said.
pub(super) const FINISHED: &str = "finished";
pub(super) const SHUTTING_DOWN: &str = "shutting_down";
pub(super) const IDLE: &str = "idle_timeout";
pub(super) const MAX_DURATION: &str = "max_duration";
/// The token that was to come in the start did not, or was wrong.
pub(super) const DENIED: &str = "denied";
/// A hundred bad messages in a row.
pub(super) const BAD_INPUT: &str = "bad_input";
pub(super) const NOT_UTF8: &str = "not_utf8";
pub(super) const PROTOCOL_ERROR: &str = "protocol_error";

/// These, and the errors that a custom client is told.
const FAREWELLS: [&str; 18] = [
    PEER,
    LOST,
    FINISHED,
    SHUTTING_DOWN,
    IDLE,
    MAX_DURATION,
    DENIED,
    BAD_INPUT,
    NOT_UTF8,
    PROTOCOL_ERROR,
    "too_large",
    "bad_start",
    "bad_message",
    "bad_audio",
    "unsupported_encoding",
    "forbidden",
    "overloaded",
    "internal",
];
