//! When a connection must do something although nothing happens: ping, give up, end a call that is too long.
//!
//! One moment is computed when the timer fires, not when a message comes, so that messages cost no timer work.

use std::time::{Duration, Instant};

use super::Settings;
use crate::frame::Now;

/// The clocks of one connection.
#[derive(Debug)]
pub(super) struct Timing {
    opened: Instant,
    heard: Instant,
    pinged: bool,
    idle_timeout: Duration,
    ping_after: Duration,
    max_call: Duration,
    call_ends: Instant,
    /// Set by the conversation (a token that must come) or by a close that must be answered.
    limit: Option<Instant>,
    /// Only the limit counts any more.
    ending: bool,
}

/// What the moment is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    Idle,
    CallTooLong,
    Limit,
}

impl Timing {
    pub(super) fn new(settings: &Settings, now: Now) -> Self {
        let max_call = settings.max_call;
        Self {
            opened: now.instant,
            heard: now.instant,
            pinged: false,
            idle_timeout: settings.idle_timeout,
            ping_after: PING_AFTER.min(settings.idle_timeout / 3),
            max_call,
            call_ends: now.instant + max_call,
            limit: None,
            ending: false,
        }
    }

    pub(super) fn heard(&mut self, now: Now) {
        self.heard = now.instant;
        self.pinged = false;
    }

    pub(super) fn call_began(&mut self, started: Instant) {
        self.call_ends = started + self.max_call;
    }

    pub(super) fn set_limit(&mut self, limit: Option<Instant>) {
        self.limit = limit;
    }

    /// The connection is coming to its end; at the latest then.
    pub(super) fn only_limit(&mut self, limit: Instant) {
        self.limit = Some(limit);
        self.ending = true;
    }

    pub(super) fn age(&self, now: Now) -> Duration {
        now.instant.saturating_duration_since(self.opened)
    }

    /// The next moment at which something may be due.
    pub(super) fn next(&self) -> Instant {
        if let (true, Some(limit)) = (self.ending, self.limit) {
            return limit;
        }
        let quiet = if self.pinged {
            self.idle_timeout
        } else {
            self.ping_after
        };
        let next = (self.heard + quiet).min(self.call_ends);
        self.limit.map_or(next, |limit| limit.min(next))
    }

    pub(super) fn due(&mut self, now: Now) -> Due {
        let now = now.instant;
        if self.limit.is_some_and(|limit| limit <= now) {
            self.limit = None;
            return Due::Limit;
        }
        if self.ending {
            return Due::Nothing;
        }
        if self.call_ends <= now {
            return Due::CallTooLong;
        }
        let quiet = now.saturating_duration_since(self.heard);
        if quiet >= self.idle_timeout {
            return Due::Idle;
        }
        if quiet >= self.ping_after && !self.pinged {
            self.pinged = true;
            return Due::Ping;
        }
        Due::Nothing
    }
}

const PING_AFTER: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn timing(idle_s: u64) -> (Timing, Now) {
        let settings = Settings {
            ack_interval: std::num::NonZeroU64::MIN,
            max_message_bytes: 1,
            max_rate_factor: 0.0,
            idle_timeout: Duration::from_secs(idle_s),
            max_call: Duration::from_secs(100),
        };
        let now = Now {
            instant: Instant::now(),
            epoch_ms: 0,
        };
        (Timing::new(&settings, now), now)
    }

    fn later(now: Now, seconds: u64) -> Now {
        Now {
            instant: now.instant + Duration::from_secs(seconds),
            ..now
        }
    }

    #[test]
    fn silence_is_answered_by_a_ping_and_then_by_the_end() {
        let (mut timing, start) = timing(60);
        assert_eq!(timing.next(), later(start, 20).instant);
        assert_eq!(timing.due(later(start, 19)), Due::Nothing);
        assert_eq!(timing.due(later(start, 20)), Due::Ping);
        assert_eq!(timing.next(), later(start, 60).instant);
        timing.heard(later(start, 21));
        assert_eq!(timing.due(later(start, 60)), Due::Ping);
        assert_eq!(timing.due(later(start, 81)), Due::Idle);
    }

    #[test]
    fn a_short_idle_timeout_still_leaves_room_for_a_ping() {
        let (timing, start) = timing(3);
        assert_eq!(timing.next(), later(start, 1).instant);
    }

    #[test]
    fn a_call_and_a_limit_end_in_time() {
        let (mut timing, start) = timing(60);
        timing.heard(later(start, 99));
        timing.set_limit(Some(later(start, 98).instant));
        assert_eq!(timing.due(later(start, 99)), Due::Limit);
        assert_eq!(timing.due(later(start, 99)), Due::Nothing);
        assert_eq!(timing.next(), later(start, 100).instant);
        assert_eq!(timing.due(later(start, 100)), Due::CallTooLong);
    }
}
