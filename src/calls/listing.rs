//! The calls as an operator sees them (6.5): those that are live, and the last that have ended.
//!
//! A listing is made from what calls know anyway; nothing here is done for a frame. Invariants: to look is cheap, a short
//! lock for each call; to look is also what makes calls measure how loud they are (`meter.rs`), for a while.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde::{Serialize, Serializer};

use super::{Calls, live_call::LiveCall};
use crate::{
    call::Figures,
    clock,
    dialect::Dialect,
    frame::{Now, Sender},
    record::CallEnd,
};

/// The body of `GET /v1/calls`, both lists newest first.
#[derive(Debug, Serialize)]
pub struct Listing {
    pub live: Vec<Live>,
    #[serde(serialize_with = "each")]
    pub ended: Vec<Arc<Ended>>,
}

/// What both lists say of a call.
#[derive(Debug, Clone, Serialize)]
pub struct About {
    pub interaction_id: String,
    pub tenant_id: String,
    pub session: u64,
    /// Of the connection that opened it: `exotel` or `jwt`.
    pub protocol: &'static str,
    /// As the newest audio came: `exotel`, `simple` or `binary`.
    pub dialect: &'static str,
    pub sample_rate: Option<u32>,
    #[serde(serialize_with = "clock::serialize_rfc3339")]
    pub started: u64,
    pub frames: u64,
    pub gaps: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Live {
    #[serde(flatten)]
    pub about: About,
    /// 0 while it waits to be taken up again (4.3).
    pub connections: usize,
    /// Of the audio.
    #[serde(serialize_with = "clock::serialize_rfc3339")]
    pub last_activity: u64,
    /// Time since then.
    pub silence_ms: u64,
    /// The rate at which the audio arrives, while that is another than the declared one.
    pub rate_mismatch: Option<u32>,
    /// Since the look before the last, if that was of late.
    pub frames_per_second: f64,
    /// Frames that neither Redis has confirmed nor the journal synced.
    pub not_durable: u64,
    /// dBFS of the newest audio; `None` when nobody has looked for a while, or nothing was heard.
    pub level_dbfs: Option<f64>,
    /// One for each tenth of a second, oldest first, five seconds at most.
    pub peaks_dbfs: Vec<i8>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    #[serde(flatten)]
    pub about: About,
    pub end: CallEnd<'static>,
}

/// What was counted when somebody looked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    earlier: (Instant, u64),
    last: (Instant, u64),
}

impl Calls {
    /// What there is to see now. For the next seconds calls measure how loud they are.
    pub fn snapshot(&self, now: Now) -> Listing {
        let until = now.epoch_ms.saturating_add(LOOKED_AT_FOR_MS);
        self.looked_at_until_ms.store(until, Ordering::Relaxed);
        let (calls, ended) = {
            let live = self.live.lock();
            let calls: Vec<_> = live.calls.values().cloned().collect();
            (calls, live.ended.0.iter().cloned().collect())
        };
        let mut live: Vec<_> = calls.iter().filter_map(|call| call.show(now)).collect();
        live.sort_unstable_by_key(|call| std::cmp::Reverse(call.about.session));
        Listing { live, ended }
    }

    /// Whether somebody has looked of late, so that it is worth measuring audio.
    pub fn is_looked_at(&self, now: Now) -> bool {
        self.looked_at_until_ms.load(Ordering::Relaxed) > now.epoch_ms
    }
}

impl LiveCall {
    /// `None` once it has ended.
    fn show(&self, now: Now) -> Option<Live> {
        let (figures, rate_mismatch) = {
            let call = self.call.lock();
            (!call.is_ended()).then(|| (call.figures(), call.rate_mismatch()))?
        };
        let meter = self.meter.lock();
        let reading = meter.as_ref().map(|meter| meter.reading(now.instant));
        drop(meter);
        let reading = reading.unwrap_or_default();
        Some(Live {
            about: About::of(self, &figures),
            connections: self.attached.load(Ordering::Relaxed),
            last_activity: figures.last_activity_ms,
            silence_ms: now.epoch_ms.saturating_sub(figures.last_activity_ms),
            rate_mismatch,
            frames_per_second: self.pace.lock().look(figures.frames, now.instant),
            not_durable: figures.frames.saturating_sub(self.progress.confirmed()),
            level_dbfs: reading.level,
            peaks_dbfs: reading.peaks,
        })
    }
}

impl About {
    pub(super) fn of(call: &LiveCall, figures: &Figures) -> Self {
        let usual = match call.sender {
            Sender::Exotel => Dialect::Exotel,
            Sender::Custom => Dialect::Simple,
        };
        Self {
            interaction_id: call.progress.interaction_id.clone(),
            tenant_id: call.progress.tenant_id.clone(),
            session: call.session,
            protocol: call.sender.name(),
            dialect: figures.dialect.unwrap_or(usual).name(),
            sample_rate: figures.sample_rate,
            started: figures.started_ms,
            frames: figures.frames,
            gaps: figures.gaps,
        }
    }
}

impl Pace {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            earlier: (started, 0),
            last: (started, 0),
        }
    }

    /// Frames per second since a look that was at least a second ago, if there was one.
    fn look(&mut self, frames: u64, now: Instant) -> f64 {
        if now.saturating_duration_since(self.last.0) >= PACE_OVER {
            self.earlier = std::mem::replace(&mut self.last, (now, frames));
        }
        let (then, before) = self.earlier;
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        if seconds == 0.0 {
            return 0.0;
        }
        let new = u32::try_from(frames.saturating_sub(before)).unwrap_or(u32::MAX);
        (f64::from(new) / seconds * 10.0).round() / 10.0
    }
}

/// The last calls that have ended, newest first.
#[derive(Debug, Default)]
pub(super) struct EndedCalls(VecDeque<Arc<Ended>>);

impl EndedCalls {
    pub(super) fn add(&mut self, ended: Ended) {
        self.0.truncate(ENDED_MAX - 1);
        self.0.push_front(Arc::new(ended));
    }
}

fn each<S: Serializer>(calls: &[Arc<Ended>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(|call| &**call))
}

/// What 6.5 promises; with ids of the usual length some 100 KB.
const ENDED_MAX: usize = 100;
/// Longer than a page takes between two looks.
const LOOKED_AT_FOR_MS: u64 = 5000;
const PACE_OVER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_second_or_two() {
        let start = clock::now().instant;
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(start);
        assert!(pace.look(0, start).abs() < 0.05);
        let looks = [
            (60_000, 1200, 20.0),
            (60_500, 1225, 20.2),
            (61_000, 1250, 50.0),
            (61_500, 1275, 50.0),
            (63_000, 1275, 12.5),
            (64_000, 1275, 0.0),
        ];
        for (ms, frames, expected) in looks {
            let found = pace.look(frames, at(ms));
            assert!((found - expected).abs() < 0.05, "{found} at {ms}");
        }
    }
}
