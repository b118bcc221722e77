//! Counters that all calls share while they run: for a progress bar, and for how well the pace was kept.
//!
//! What a run came to is in [`super::summary`]. Invariant: memory is fixed, however many frames are sent.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How far a run is. Numbers only grow.
#[derive(Debug)]
pub struct Progress {
    connected: AtomicU64,
    ended: AtomicU64,
    frames: AtomicU64,
    /// Frames by how late they were, see [`bucket`].
    late: [AtomicU64; BUCKETS],
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            connected: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            late: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl Progress {
    /// Calls whose connection was accepted.
    pub fn connected(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Calls that are over, however they ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Frames sent by all calls.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(super) fn count_connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_frame(&self, late: Duration) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        if let Some(count) = self.late.get(bucket(micros)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The lateness that 99 of 100 frames stayed below, at most an eighth too high.
    pub(super) fn late_p99(&self) -> Duration {
        let counts = || self.late.iter().map(|count| count.load(Ordering::Relaxed));
        let total: u64 = counts().sum();
        let mut below = 0;
        for (index, count) in counts().enumerate() {
            below += count;
            if below * 100 >= total * 99 {
                return Duration::from_micros(ceiling(index));
            }
        }
        Duration::ZERO
    }
}

/// Eight buckets to each doubling: below 8 µs every microsecond has its own. Beyond 2³² µs all is one.
fn bucket(micros: u64) -> usize {
    let micros = micros.min(u64::from(u32::MAX));
    let Some(octave) = micros.checked_ilog2().and_then(|log| log.checked_sub(3)) else {
        return usize::try_from(micros).unwrap_or(0);
    };
    let index = u64::from(octave) * 8 + (micros >> octave);
    usize::try_from(index).unwrap_or(BUCKETS - 1)
}

/// The largest value in a bucket.
fn ceiling(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 8 {
        return bucket;
    }
    let (octave, step) = (bucket / 8 - 1, bucket % 8 + 8);
    ((step + 1) << octave) - 1
}

/// 32 − 3 doublings of eight, and the first eight.
const BUCKETS: usize = 30 * 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p99_is_the_bulk_and_not_the_stragglers() {
        let progress = Progress::default();
        assert_eq!(progress.late_p99(), Duration::ZERO);
        for _ in 0..990 {
            progress.count_frame(Duration::from_micros(500));
        }
        for _ in 0..10 {
            progress.count_frame(Duration::from_secs(2));
        }
        let p99 = progress.late_p99().as_micros();
        assert!((500..=563).contains(&p99), "{p99}");
        assert_eq!(progress.frames(), 1_000);
        progress.count_frame(Duration::from_secs(2));
        assert!(progress.late_p99() >= Duration::from_secs(2));
    }

    proptest! {
        #[test]
        fn buckets_hold_their_values(micros in 0..=u64::from(u32::MAX)) {
            let at = bucket(micros);
            prop_assert!(at < BUCKETS);
            prop_assert!(ceiling(at) >= micros && ceiling(at) <= micros + micros / 8);
            prop_assert!(at == 0 || ceiling(at - 1) < micros);
        }
    }
}
