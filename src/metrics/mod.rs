//! What is counted, and how: the cells that other modules keep beside what they count, and the text they end up in.
//!
//! The names of all metrics stand in `server/metrics.rs`, which reads the cells when somebody asks. Nothing is
//! registered anywhere and nothing is global, so each instance in a process counts by itself. Invariants: a cell is an
//! atomic that only goes up; where frames are counted one by one it is the thread's own ([`spread`]) or is added to once
//! per batch; label values are known beforehand and are there from the start, with 0.

pub mod histogram;
pub mod process;
pub mod spread;
pub mod text;

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
};

/// A number that goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one name, told apart by a label.
#[derive(Debug)]
pub struct Labelled<const N: usize> {
    values: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> Labelled<N> {
    pub fn new(values: [&'static str; N]) -> Self {
        Self {
            values,
            counters: array::from_fn(|_| Counter::default()),
        }
    }

    /// One more of `value`; what is not among the values counts as the last of them.
    pub fn count(&self, value: &str) {
        let known = self.values.iter().position(|known| *known == value);
        if let Some(counter) = known.map_or(self.counters.last(), |at| self.counters.get(at)) {
            counter.add(1);
        }
    }

    pub fn get(&self, value: &str) -> u64 {
        let found = self.iter().find(|(known, _)| *known == value);
        found.map_or(0, |(_, count)| count)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counters.iter().map(Counter::get);
        self.values.iter().copied().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_are_there_from_the_start_and_the_last_takes_what_is_unknown() {
        let counters = Labelled::new(["a", "b", "other"]);
        let counts = || counters.iter().map(|(_, count)| count).collect::<Vec<_>>();
        assert_eq!(counts(), [0, 0, 0]);
        for value in ["b", "?", "b", ""] {
            counters.count(value);
        }
        assert_eq!(counts(), [0, 2, 2]);
        assert_eq!((counters.get("b"), counters.get("?")), (2, 0));
    }
}
