//! The owner of a lane to Redis: takes what has gathered, sends it as one flight, and keeps it until Redis has
//! confirmed it. Where Redis is away, refuses or is slow, it opens the way through the journal (`bridge.rs`).
//!
//! One task per lane waits for one thing at a time (`wait.rs`) and applies it; then it does whatever has become
//! possible ([`RedisLane::advance`]). One flight is under way at a time, so that no later batch can be taken where an
//! earlier one was refused; what comes meanwhile gathers (`gathering.rs`), and a full flight keeps Redis busy for ten times
//! as long as the way there and back takes. What a connection took down with it, or
//! Redis refused, is sent again before anything newer.
//!
//! Invariant: a record leaves this lane only with its confirmation, from Redis or from the journal.

mod approach;
mod bridge;
mod broken;
mod catch_up;
mod flight;
mod gathering;
mod inherited;
mod landing;
mod line;
pub(super) mod measured;
mod patience;
mod replay;
#[cfg(test)]
mod tests;
mod wait;

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::time::{Instant, MissedTickBehavior};

use self::{
    approach::Arrived,
    bridge::Bridge,
    broken::Broken,
    flight::{Answer, Flight},
    gathering::{Gathering, behind_the_others},
    line::{BACKOFF_MIN, Line},
    patience::Load,
    wait::Wake,
};
use super::{
    Left,
    batch::Batch,
    fence::{Doubt, Footing, Marks},
    groups::throttle::Throttle,
    keeper::Keeper,
    lane::Lane,
    link::Dial,
    reply::Reply,
};
use crate::record::Kind;

/// One lane's owner.
#[derive(Debug)]
pub(super) struct RedisLane {
    lane: Arc<Lane>,
    dial: Arc<Dial>,
    throttle: Arc<Throttle>,
    gathering: Gathering,
    line: Line,
    /// Counts the connections, from 1.
    connection: u64,
    /// How long to wait before the next attempt to connect.
    backoff: Duration,
    /// What was confirmed, and what may have arrived without a word.
    footing: Footing,
    /// What the present connection has found, and what of it is ours is not sorted out yet.
    unsettled: Option<(Marks, Arrived)>,
    /// Sent, or being sent, and not confirmed.
    flight: Option<Flight>,
    flight_at: Instant,
    /// To be sent again, before anything newer.
    again: Batch,
    again_at: Instant,
    /// To be sent before all else; lost with the connection.
    chores: Batch,
    /// Redis has refused to write: being connected does not yet mean that all is well.
    refused: bool,
    /// Since when nothing goes the direct way.
    away_since: Option<Instant>,
    bridge: Bridge,
    /// The backlog has had its turn: new records are next.
    backlog_had_turn: bool,
    /// Written, but perhaps still in the encryption's buffer.
    unflushed: bool,
    replies: BytesMut,
    heard_at: Instant,
    newest_ms: u64,
    trimmed_ms: u64,
    load: Load,
}

impl RedisLane {
    pub(super) fn new(
        lane: Arc<Lane>,
        dial: Dial,
        keeper: Keeper,
        throttle: Arc<Throttle>,
        gather: Duration,
    ) -> Self {
        let now = Instant::now();
        let bridge = Bridge::new(keeper);
        if !bridge.is_open() {
            lane.set_earlier(HashMap::new());
        }
        Self {
            lane,
            dial: Arc::new(dial),
            throttle,
            gathering: Gathering::new(gather, now),
            line: Line::Down { until: now },
            connection: 0,
            backoff: BACKOFF_MIN,
            footing: bridge.footing(),
            unsettled: None,
            flight: None,
            flight_at: now,
            again: Batch::default(),
            again_at: now,
            chores: Batch::default(),
            refused: false,
            away_since: Some(now),
            bridge,
            backlog_had_turn: false,
            unflushed: false,
            replies: BytesMut::with_capacity(REPLY_BUFFER_BYTES),
            heard_at: now,
            newest_ms: 0,
            trimmed_ms: 0,
            load: Load {
                since: now,
                taken: 0,
                bytes_per_s: 0,
            },
        }
    }

    /// Runs until the lane is closed and all is delivered, or `give_up` resolves; then what is left is made safe.
    pub(super) async fn run(mut self, give_up: impl Future<Output = ()>) -> Left {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(give_up);
        loop {
            if self.is_about_to_send(Instant::now()) {
                behind_the_others().await;
            }
            let gathering = self.advance(Instant::now());
            if self.is_done() {
                break;
            }
            let wake = tokio::select! {
                wake = self.wait(&mut ticks, gathering) => wake,
                () = &mut give_up => break,
            };
            self.take(wake);
        }
        self.leave().await
    }

    /// Whether records that have gathered would leave at once, though others could still come with them.
    fn is_about_to_send(&self, now: Instant) -> bool {
        self.gathering.is_over(now) && self.lane.has_part_of_a_flight() && self.wants_records()
    }

    fn take(&mut self, wake: Wake) {
        let now = Instant::now();
        let result = match wake {
            Wake::Read(Ok(0)) => {
                Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
            }
            Wake::Read(Ok(_)) => self.read_replies(now),
            Wake::Written(Ok(bytes)) => {
                if let Some(flight) = &mut self.flight {
                    flight.advance(bytes);
                }
                self.unflushed = bytes > 0;
                Ok(())
            }
            Wake::Read(Err(error)) | Wake::Written(Err(error)) => Err(error.into()),
            Wake::Redial => {
                self.dial();
                Ok(())
            }
            Wake::Dialled(result) => {
                self.take_line(result, now);
                Ok(())
            }
            Wake::News(news) => {
                self.take_news(news, now);
                Ok(())
            }
            Wake::Tick => self.tick(now),
            Wake::Filled | Wake::GatherOver | Wake::Allowed => Ok(()),
        };
        if let Err(broken) = result {
            self.lose(&broken, now);
        }
    }

    /// Does what has become possible. Tells whether records are left to gather for a while.
    fn advance(&mut self, now: Instant) -> bool {
        self.settle(now);
        let gathering = self.feed_bridge(now);
        if !self.is_settled() || self.flight.is_some() {
            return gathering;
        }
        if !self.chores.is_empty() {
            let chores = mem::take(&mut self.chores);
            self.begin(chores, now);
            return gathering;
        }
        if !self.again.is_empty() && self.again_at <= now && self.may_send_again() {
            let batch = mem::take(&mut self.again);
            self.begin(batch, now);
            self.flight = self.flight.take().map(Flight::repeated);
            return gathering;
        }
        if self.again.holds(Kind::Frame) {
            return gathering;
        }
        if !self.backlog_had_turn && self.send_backlog(now) {
            return gathering;
        }
        let gathering = gathering || self.send_new(now);
        if self.flight.is_none() && self.send_backlog(now) {
            return false;
        }
        gathering
    }

    /// What stands in the journal leaves only by a connection that the next start would know of.
    fn may_send_again(&mut self) -> bool {
        let mut entries = self.again.entries.iter();
        !entries.any(|entry| entry.what.is_journaled()) || self.bridge.may_publish(self.connection)
    }

    /// Sends what has gathered, if that is due. Tells whether it is not.
    fn send_new(&mut self, now: Instant) -> bool {
        if self.bridge.is_open() || !self.lane.is_filled() {
            return false;
        }
        if !self.gathering.is_over(now) {
            return true;
        }
        let batch = self.bridge.part(self.lane.take_flight());
        self.backlog_had_turn = false;
        self.gathering.begin(now);
        if !batch.is_empty() {
            self.begin(batch, now);
        }
        false
    }

    /// Sends a batch. The ends of calls in it wait until the frames have landed: within a transaction Redis may still
    /// refuse one command and take the next.
    fn begin(&mut self, batch: Batch, now: Instant) {
        let batch = if batch.holds(Kind::Frame) && batch.holds(Kind::CallEnd) {
            let (ends, rest) = batch.split(|what| what.kind() == Some(Kind::CallEnd));
            self.again.extend(ends);
            rest
        } else {
            batch
        };
        self.flight = Some(Flight::new(batch));
        self.flight_at = now;
        self.heard_at = now;
    }

    fn read_replies(&mut self, now: Instant) -> Result<(), Broken> {
        self.heard_at = now;
        while let Some(flight) = &mut self.flight {
            let Some(answer) = flight
                .take(&mut self.replies)
                .map_err(|error| Broken::Protocol(error.to_string()))?
            else {
                break;
            };
            if let Answer::Outcome(command, Reply::Id(id)) = answer {
                self.newest_ms = self.newest_ms.max(id.ms);
                flight.mark(command, id);
                // Taken, but not durable as long as a frame before it is not.
                if !flight.frame_refused() {
                    flight.confirm(command);
                }
            }
            if flight.is_over() {
                self.land(now)?;
            }
        }
        if self.flight.is_none() && !self.replies.is_empty() {
            return Err(Broken::Protocol("a reply to no command".to_owned()));
        }
        if self.newest_ms >= self.trimmed_ms + TRIM_STEP_MS {
            self.trimmed_ms = self.newest_ms;
            self.lane.trim_to(self.newest_ms);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.lane.is_closing()
            && self.flight.is_none()
            && self.again.is_empty()
            && !self.lane.is_filled()
            && self.bridge.is_at_rest()
    }

    /// Where the lane stands at this moment, should the process be killed in the next.
    fn footing_now(&self) -> Footing {
        let doubt = match &self.line {
            Line::Up(link) if self.unsettled.is_none() => {
                link.identity.clone().map_or(Doubt::Nameless, Doubt::Of)
            }
            _ => self.footing.doubt.clone(),
        };
        let marks = self.footing.marks.clone();
        self.bridge.look_back(Footing { marks, doubt })
    }
}

const TICK: Duration = Duration::from_millis(50);
/// The replies to 100 frames are 2 kB.
const REPLY_BUFFER_BYTES: usize = 16 * 1024;
const TRIM_STEP_MS: u64 = 1000;
