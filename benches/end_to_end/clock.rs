//! The one clock of a run, in nanoseconds since the machine began: senders stamp with it, the consumer reads it.

use std::{num::NonZeroU64, time::Duration};

use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};

pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * SECOND_NS + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Wakes this thread to the microsecond; the system's habit is to let timers be 50 µs late.
pub(crate) fn be_punctual() {
    let told = set_current_timer_slack(NonZeroU64::new(1));
    assert!(told.is_ok(), "timers stay coarse: {told:?}");
}

pub(crate) fn sleep_until(ns: u64) {
    let until = Timespec {
        tv_sec: i64::try_from(ns / SECOND_NS).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % SECOND_NS).unwrap_or(0),
    };
    // A signal may cut it short: who asked looks at the clock again.
    clock_nanosleep_absolute(ClockId::Monotonic, &until).ok();
}

pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}

pub(crate) const SECOND_NS: u64 = 1_000_000_000;
