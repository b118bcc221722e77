//! Cells that each thread has of its own, for what is counted frame by frame: an atomic that two cores write in turn
//! costs as much as the rest of such a count together.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// As many of the same cells as there are threads to use them, or a few less.
#[derive(Debug, Default)]
pub struct Spread<T>([Shard<T>; SHARDS]);

/// Alone on its cache lines, which processors fetch in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard<T>(T);

impl<T> Spread<T> {
    /// This thread's.
    pub fn here(&self) -> &T {
        let [first, ..] = &self.0;
        let own = self.0.get(THREAD.get()).unwrap_or(first);
        &own.0
    }

    /// All together.
    pub fn sum(&self, read: impl Fn(&T) -> u64) -> u64 {
        self.0.iter().map(|shard| read(&shard.0)).sum()
    }
}

thread_local! {
    static THREAD: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
}

static NEXT: AtomicUsize = AtomicUsize::new(0);
/// More cores than that share them, which costs time and not correctness.
const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counter;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counters = Spread::<Counter>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counters.here().add(1)));
            }
        });
        assert_eq!(counters.sum(Counter::get), 2000 * SHARDS as u64);
    }
}
