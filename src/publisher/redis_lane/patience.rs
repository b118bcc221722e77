//! When Redis counts as away, and what is done about it by the clock.

use std::time::Duration;

use tokio::time::Instant;

use super::{RedisLane, broken::Broken};
use crate::{publisher::lane::QUEUE_BYTES_MAX, record::Kind};

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
        let enough =
            away.is_some_and(|away| away >= GRACE || hurried) || self.refused_fill_memory();
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

    /// When what was refused is sent again. Where no frame is among it nothing waits for it, and it may grow to much.
    pub(super) fn retry_after(&self) -> Duration {
        if self.again.holds(Kind::Frame) {
            return RETRY_AFTER;
        }
        let mebibytes = u32::try_from(self.again.bytes.len() >> 20).unwrap_or(u32::MAX);
        RETRY_REST_AFTER.saturating_mul(mebibytes.saturating_add(1))
    }

    /// Whether records that Redis refuses, for nobody knows how long, leave little room for those it takes.
    fn refused_fill_memory(&self) -> bool {
        let bytes = |index| self.again.command(index).len();
        let refused = self.again.entries.iter().enumerate();
        let in_memory = refused.filter(|(_, entry)| entry.what.is_in_memory());
        self.refused
            && in_memory.map(|(index, _)| bytes(index)).sum::<usize>() >= QUEUE_BYTES_MAX / 2
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

const RETRY_AFTER: Duration = Duration::from_millis(100);
/// For each MiB.
const RETRY_REST_AFTER: Duration = Duration::from_secs(1);
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
