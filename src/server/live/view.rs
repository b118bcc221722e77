//! What the operators' page is told: twice a second how things stand, and who came and what ended when that is news.
//!
//! The viewers share what is made for them, so that twenty cost little more than one. Invariants: without a viewer nothing
//! is made and no timer runs; what one is sent is bounded, however many calls there are; drain ends every viewer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Interval, MissedTickBehavior, interval},
};

use super::super::Gate;
use crate::{
    calls::listing::{Ended, Listing, Live},
    clock,
    frame::Now,
    health::{Readiness, Report},
    publisher::groups::GroupState,
    record::to_json,
};

/// Everybody who looks.
#[derive(Debug)]
pub(in crate::server) struct Viewers {
    seats: Arc<Semaphore>,
    made: Mutex<Made>,
}

/// What was made last, in the form of server-sent events.
#[derive(Debug, Default)]
struct Made {
    state: Part,
    ended: Part,
    handshakes: Part,
}

/// One event, which is the same as long as its version is.
#[derive(Debug, Default, Clone)]
struct Part {
    version: Option<u64>,
    at: Option<Instant>,
    event: Bytes,
}

/// One who looks, until dropped.
#[derive(Debug)]
pub(super) struct Viewer {
    gate: Arc<Gate>,
    _seat: OwnedSemaphorePermit,
    ticks: Interval,
    /// Versions of what it has been sent.
    ended: Option<u64>,
    handshakes: Option<u64>,
    has_left: bool,
}

/// How things stand.
#[derive(Debug, Serialize)]
struct State<'a> {
    now: u64,
    totals: Totals,
    /// The newest; more than `CALLS_MAX` come without their peaks.
    calls: &'a [Live],
    /// Why no new calls are taken.
    not_ready: Option<&'static str>,
    health: Report,
    /// Frames in the journal that are not in Redis yet.
    backlog: u64,
    groups: Vec<GroupState>,
}

/// Of all live calls, shown or not.
#[derive(Debug, Serialize)]
struct Totals {
    calls: usize,
    frames_per_second: f64,
    /// Since the newest audio of any.
    silence_ms: Option<u64>,
}

impl Default for Viewers {
    fn default() -> Self {
        Self {
            seats: Arc::new(Semaphore::new(VIEWERS_MAX)),
            made: Mutex::default(),
        }
    }
}

impl Viewer {
    /// `None` where all seats are taken.
    pub(super) fn sit_down(gate: Arc<Gate>) -> Option<Self> {
        let seat = Arc::clone(&gate.viewers.seats).try_acquire_owned().ok()?;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self {
            gate,
            _seat: seat,
            ticks,
            ended: None,
            handshakes: None,
            has_left: false,
        })
    }

    /// What there is to tell next; `None` once the calls are over. While calls are drained one can watch them go.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if self.has_left {
            return None;
        }
        let shutdown = &self.gate.connections.shutdown;
        tokio::select! {
            _ = self.ticks.tick() => {}
            () = shutdown.sockets.wait() => self.has_left = true,
            () = shutdown.closing.cancelled() => self.has_left = true,
        }
        let gate = Arc::clone(&self.gate);
        let mut made = gate.viewers.made.lock();
        made.renew(&gate, clock::now(), self.has_left);
        let mut events = BytesMut::new();
        for (part, seen) in [
            (&made.handshakes, &mut self.handshakes),
            (&made.ended, &mut self.ended),
        ] {
            if *seen != part.version {
                *seen = part.version;
                events.extend_from_slice(&part.event);
            }
        }
        if events.is_empty() {
            return Some(made.state.event.clone());
        }
        // Last, so that the page draws once, when it has all.
        events.extend_from_slice(&made.state.event);
        Some(events.freeze())
    }
}

impl Made {
    /// Makes anew what is not fresh enough any more; what is told last is all of now.
    fn renew(&mut self, gate: &Gate, now: Now, is_last: bool) {
        let stands = self.state.is_younger_than(SHARED_FOR, now.instant);
        if stands && !is_last {
            return;
        }
        let news_every = if is_last { Duration::ZERO } else { NEWS_EVERY };
        let calls = &gate.connections.calls;
        let mut listing = calls.snapshot(now);
        let ended = listing.ended.first().map_or(0, |call| call.about.session);
        self.ended
            .renew(ended, "ended", (now.instant, news_every), || {
                let calls: Vec<&Ended> = listing.ended.iter().map(|call| &**call).collect();
                to_json(&calls)
            });
        let handshakes = &gate.connections.handshakes;
        self.handshakes.renew(
            handshakes.revision(),
            "handshakes",
            (now.instant, news_every),
            || to_json(&handshakes.snapshot()),
        );
        let state = State::of(gate, &mut listing, now);
        self.state = Part {
            version: None,
            at: Some(now.instant),
            event: event("state", &to_json(&state)),
        };
    }
}

impl Part {
    /// What changes all the time is told anew now and then.
    fn renew(
        &mut self,
        version: u64,
        name: &str,
        (now, every): (Instant, Duration),
        write: impl FnOnce() -> Vec<u8>,
    ) {
        if self.version == Some(version) || self.is_younger_than(every, now) {
            return;
        }
        *self = Self {
            version: Some(version),
            at: Some(now),
            event: event(name, &write()),
        };
    }

    fn is_younger_than(&self, age: Duration, now: Instant) -> bool {
        let made = self.at;
        made.is_some_and(|made| now.saturating_duration_since(made) < age)
    }
}

impl<'a> State<'a> {
    fn of(gate: &Gate, listing: &'a mut Listing, now: Now) -> Self {
        let calls = &gate.connections.calls;
        let publisher = calls.publisher();
        let live = &mut listing.live;
        let totals = Totals {
            calls: live.len(),
            frames_per_second: live
                .iter()
                .fold(0.0, |sum, call| sum + call.frames_per_second),
            silence_ms: live.iter().map(|call| call.silence_ms).min(),
        };
        if live.len() > CALLS_MAX {
            live.truncate(CALLS_MAX);
            for call in live.iter_mut() {
                call.peaks_dbfs.clear();
            }
        }
        Self {
            now: now.epoch_ms,
            totals,
            calls: live,
            not_ready: match gate.health.readiness(publisher) {
                Readiness::Ready => None,
                Readiness::Not(why) => Some(why),
            },
            health: gate.health.report(calls, &gate.rules()),
            backlog: publisher.backlog().0,
            groups: publisher.groups(),
        }
    }
}

/// JSON has no line breaks, so that it is one line of data.
fn event(name: &str, json: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"]
        .concat()
        .into()
}

const EVERY: Duration = Duration::from_millis(500);
/// A little less, so that whoever made it last makes it anew.
const SHARED_FOR: Duration = Duration::from_millis(450);
/// The list of attempts may be 400 KB, and a client that is turned away may come many times a second.
const NEWS_EVERY: Duration = Duration::from_millis(1500);
/// A team, with a phone each, and a screen on the wall.
const VIEWERS_MAX: usize = 20;
/// A page has room for so many; with peaks they are 70 KB, without them 45.
const CALLS_MAX: usize = 100;
