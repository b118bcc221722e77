//! How the service is, for load balancers and for people (6.1, 6.2).
//!
//! Everything here is read from memory: an answer takes no time, whatever Redis does.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{admission::Rules, calls::Calls, clock, frame::Now, publisher::Publisher};

/// What health is made of besides calls and lanes.
#[derive(Debug, Clone)]
pub struct Health {
    started: Now,
    draining: CancellationToken,
    ready: CancellationToken,
    /// Sentences that hold as long as the process runs.
    standing: Arc<Mutex<Vec<String>>>,
}

/// Whether new calls are taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    Not(&'static str),
}

/// The body of `GET /health`.
#[derive(Debug, Serialize)]
pub struct Report {
    status: &'static str,
    service: &'static str,
    pubsub: bool,
    timestamp: String,
    version: &'static str,
    adapter: &'static str,
    exotel_auth: String,
    jwt: bool,
    active_calls: usize,
    journal_bytes: u64,
    /// For so many seconds of the present load the journal has room.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_room_s: Option<u64>,
    uptime_s: u64,
    problems: Vec<String>,
}

impl Health {
    pub fn new(draining: CancellationToken, problems: Vec<String>) -> Self {
        Self {
            started: clock::now(),
            draining,
            ready: CancellationToken::new(),
            standing: Arc::new(Mutex::new(problems)),
        }
    }

    /// The service accepts calls from now on.
    pub fn set_ready(&self) {
        self.ready.cancel();
    }

    /// When the service was started, in ms since the epoch.
    pub fn started_ms(&self) -> u64 {
        self.started.epoch_ms
    }

    pub fn readiness(&self, publisher: &Publisher) -> Readiness {
        if self.draining.is_cancelled() {
            Readiness::Not("draining: the service is shutting down and takes no new calls")
        } else if !self.ready.is_cancelled() {
            Readiness::Not("starting")
        } else if publisher.is_full() {
            Readiness::Not(
                "journal full: bring Redis back, or make room on the journal's disk or in JOURNAL_MAX_BYTES",
            )
        } else {
            Readiness::Ready
        }
    }

    pub fn report(&self, calls: &Calls, rules: &Rules) -> Report {
        let now = clock::now();
        let publisher = calls.publisher();
        let lanes = publisher.health();
        let mut problems = lanes.problems;
        problems.extend(self.standing.lock().iter().cloned());
        let uptime: Duration = now.instant.saturating_duration_since(self.started.instant);
        Report {
            status: if lanes.up { "healthy" } else { "degraded" },
            service: "ingest",
            pubsub: lanes.up,
            timestamp: clock::rfc3339(now.epoch_ms),
            version: env!("CARGO_PKG_VERSION"),
            adapter: publisher.adapter(),
            exotel_auth: rules.exotel_auth(),
            jwt: rules.jwt(),
            active_calls: calls.len(),
            journal_bytes: lanes.journal_bytes,
            journal_room_s: lanes.journal_room_s,
            uptime_s: uptime.as_secs(),
            problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::by_hand::ByHand;

    #[test]
    fn calls_are_taken_from_the_start_to_the_drain_unless_the_journal_is_full() {
        let (publisher, lane) = ByHand::publisher();
        let draining = CancellationToken::new();
        let health = Health::new(draining.clone(), Vec::new());
        let says = |word: &str| match health.readiness(&publisher) {
            Readiness::Ready => word == "ready",
            Readiness::Not(why) => why.starts_with(word),
        };
        assert!(says("starting"));
        health.set_ready();
        assert!(says("ready"));
        lane.set_full(true);
        assert!(says("journal full"));
        lane.set_full(false);
        assert!(says("ready"));
        draining.cancel();
        lane.set_full(true);
        assert!(says("draining"));
    }
}
