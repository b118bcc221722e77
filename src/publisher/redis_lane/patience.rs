//! When Redis counts as away, and what is done about it by the clock.

use std::time::Duration;

use tokio::time::Instant;

use super::{RedisLane, broken::Broken};
use crate::publisher::lane::QUEUE_BYTES_MAX;

/// How much comes, for an estimate of how long the journal will last.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) since: Instant,
    /// Taken off the lane by then.
    pub(super) taken: u64,
    pub(super) bytes_per_s: u64,
}

impl RedisLane {
    /// Looks at the clock.
    pub(super) fn tick(&mut self, now: Instant) -> Result<(), Broken> {
        let hurried = self.lane.queued_bytes() >= QUEUE_BYTES_MAX / 2;
        let away = self.away_since.map(|since| now.duration_since(since));
        let enough = away.is_some_and(|away| away >= GRACE || hurried);
        // What is in the air must be in the journal before anything newer: it is first to land, or be given up.
        if enough && self.flight.is_none() && !self.bridge.is_open() {
            self.open_bridge();
        }
        self.bridge.look(now);
        self.load.look(self.lane.taken_bytes(), now);
        self.show_journal();
        if self.flight.is_some() {
            let patience = match (self.bridge.is_open(), hurried) {
                (true, _) => REPLY_TIMEOUT,
                (false, false) => STALLED,
                (false, true) => STALLED_IN_A_HURRY,
            };
            if now.duration_since(self.flight_at.max(self.heard_at)) >= patience {
                return Err(Broken::Silent(patience));
            }
        } else if self.is_settled() && now.duration_since(self.heard_at) >= PING_AFTER {
            self.chores.push_chore(PING);
            self.heard_at = now;
        }
        Ok(())
    }

    /// Tells how the journal is doing.
    pub(super) fn show_journal(&self) {
        let status = &self.lane.status;
        status.set_journal(&self.bridge.keeper.account);
        status.set_backlog(
            self.bridge.backlog.frames(),
            self.bridge.is_at_rest(),
            self.load.bytes_per_s,
        );
    }
}

impl Load {
    fn look(&mut self, taken: u64, now: Instant) {
        let ms = now.duration_since(self.since).as_millis();
        if ms >= LOAD_OVER.as_millis() {
            let bytes = u128::from(taken - self.taken) * 1000 / ms;
            self.bytes_per_s = u64::try_from(bytes).unwrap_or(u64::MAX);
            (self.since, self.taken) = (now, taken);
        }
    }
}

const LOAD_OVER: Duration = Duration::from_secs(2);
/// After so much trouble records go to the journal. A connection that was merely cut is back before.
const GRACE: Duration = Duration::from_millis(400);
/// A write that is not confirmed within this time counts as away.
const STALLED: Duration = Duration::from_secs(1);
/// The same when memory fills up.
const STALLED_IN_A_HURRY: Duration = Duration::from_millis(250);
/// The same when nobody waits, since new records go to the journal.
const REPLY_TIMEOUT: Duration = Duration::from_secs(6);
const PING_AFTER: Duration = Duration::from_secs(2);
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
