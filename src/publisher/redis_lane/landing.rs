//! What becomes of a flight that is over, or was broken off: all of it is sorted, and a refusal is answered.
//!
//! How its replies are read is in `mod.rs` and `flight.rs`. Invariant: what Redis has not taken is sent again, in order.

use std::mem;

use tokio::time::Instant;

use super::{
    RedisLane,
    broken::Broken,
    flight::{Flight, Refusal},
    line::BACKOFF_MIN,
};
use crate::{
    publisher::{counts::frames, redis_error::Class},
    record::Kind,
    telemetry,
};

impl RedisLane {
    /// All replies to the flight are in.
    pub(super) fn land(&mut self, now: Instant) -> Result<(), Broken> {
        let Some(flight) = self.flight.take() else {
            return Ok(());
        };
        let (refusal, is_record) = (flight.refusal().cloned(), flight.is_record());
        let nothing_owed = flight.is_repeated() || self.again.is_empty();
        self.recall(flight, now);
        if !is_record {
            // A PING that is answered does not mean that writing works again.
            return Ok(());
        }
        let Some(Refusal { error, kind }) = refusal else {
            self.backoff = BACKOFF_MIN;
            self.away_since = None;
            self.refused &= !nothing_owed;
            if !self.refused {
                self.report_up();
            }
            return Ok(());
        };
        self.refused = true;
        let class = Class::of(&error);
        self.lane.counts.errors.count(class.name());
        if class == Class::Moved {
            return Err(Broken::Refused { error });
        }
        if self.again.holds(Kind::Frame) {
            self.away_since.get_or_insert(now);
        }
        self.again_at = now + self.retry_after();
        if class == Class::OutOfMemory {
            for trim in self.lane.commands.trims(self.lane.trim, self.newest_ms) {
                self.chores.push_chore(&trim);
            }
        }
        let advice = class.advice();
        let key = kind.and_then(|kind| self.lane.commands.stream(kind));
        let key = key.unwrap_or(&self.lane.key);
        let problem = format!("Redis refuses to write to {key} ({error}); {advice}");
        if self.lane.status.set_down(problem) {
            telemetry::redis_refused(&error, advice);
        }
        Ok(())
    }

    /// Takes back what of a flight is not confirmed.
    pub(super) fn recall(&mut self, flight: Flight, now: Instant) {
        let mut confirmed = self.lane.confirmed(now.into_std());
        let landed = flight.finish(&mut confirmed);
        self.footing.marks.merge(&landed.marks);
        self.lane.confirm_bytes(landed.freed);
        self.lane.spare(landed.spare);
        // The ends of calls that waited for it come behind it.
        let ends = mem::replace(&mut self.again, landed.again);
        self.again.extend(ends);
        let frames = frames(&landed.published);
        self.lane.counts.landed(&confirmed, frames);
        if frames > 0 {
            let newest = self.footing.marks.of(Kind::Frame).unwrap_or_default();
            self.throttle.published(frames, newest);
        }
        self.bridge.take_published(landed.published, &self.again);
    }
}
