//! When a frame was read off its socket, as its lane remembers it until it is confirmed: in steps of a quarter of a
//! millisecond, which take no more room in a batch and nearly no time.
//!
//! Invariant: a moment says the middle of its step, so what is told of waiting is right to an eighth of a millisecond, but
//! for frames that two threads append in another order than they have read them.

use std::time::{Duration, Instant};

/// The step in which a frame was read; after thirteen days they begin anew.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment(u32);

/// The step that it is now, as far as frames have told.
#[derive(Debug)]
pub(super) struct Moments {
    born: Instant,
    ends: Instant,
    current: Moment,
}

/// When frames were confirmed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Landing {
    step: u32,
    /// Of this step.
    passed_ns: u64,
}

impl Moments {
    pub(super) fn new(born: Instant) -> Self {
        Self {
            born,
            ends: born + STEP,
            current: Moment(0),
        }
    }

    /// A frame that was read a little earlier than one before it, by another thread, has the same moment.
    pub(super) fn of(&mut self, read: &Instant) -> Moment {
        if *read >= self.ends {
            self.advance(*read);
        }
        self.current
    }

    #[cold]
    fn advance(&mut self, read: Instant) {
        let landing = self.landing(read);
        self.current = Moment(landing.step);
        self.ends = read + Duration::from_nanos(STEP_NS.saturating_sub(landing.passed_ns));
    }

    pub(super) fn landing(&self, now: Instant) -> Landing {
        let ns = now.saturating_duration_since(self.born).as_nanos();
        let step = (ns / STEP.as_nanos()) & u128::from(u32::MAX);
        let passed = ns % STEP.as_nanos();
        Landing {
            step: u32::try_from(step).unwrap_or_default(),
            passed_ns: u64::try_from(passed).unwrap_or_default(),
        }
    }
}

impl Landing {
    /// How long ago a frame was read.
    pub(super) fn ns_since(&self, moment: Moment) -> u64 {
        let steps = self.step.wrapping_sub(moment.0);
        if steps > u32::MAX / 2 {
            // Read after the landing was timed.
            return 0;
        }
        (u64::from(steps) * STEP_NS + self.passed_ns).saturating_sub(STEP_NS / 2)
    }
}

const STEP_NS: u64 = 250_000;
const STEP: Duration = Duration::from_nanos(STEP_NS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_told_to_an_eighth_of_a_millisecond() {
        let born = crate::clock::now().instant;
        let at = |us| born + Duration::from_micros(us);
        let mut moments = Moments::new(born);
        for (read_us, landed_us) in [
            (0, 0),
            (10, 1_000),
            (249, 250),
            (250, 900),
            (7_777, 7_900),
            (7_778, 3_600_000_000),
        ] {
            let moment = moments.of(&at(read_us));
            let told = moments.landing(at(landed_us)).ns_since(moment) / 1000;
            let waited = landed_us - read_us;
            assert!(told.abs_diff(waited) <= 125, "{told} us, not {waited}");
        }
        // Another thread's, which was read before and comes behind it: that much is not told.
        let earlier = moments.of(&at(7_700));
        let told = moments.landing(at(9_000)).ns_since(earlier);
        assert_eq!(told, 1_125_000);
        let later = moments.of(&at(20_000));
        assert_eq!(moments.landing(at(1_000)).ns_since(later), 0);
    }

    #[test]
    fn after_thirteen_days_it_goes_on() {
        let born = crate::clock::now().instant;
        let mut moments = Moments::new(born);
        let last = born + STEP * u32::MAX;
        let moment = moments.of(&last);
        let landing = moments.landing(last + Duration::from_millis(10));
        assert_eq!(landing.ns_since(moment), 10_000_000 - STEP_NS / 2);
    }
}
