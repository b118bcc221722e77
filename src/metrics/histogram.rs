//! How often a value was in which range: collected by one owner without atomics, handed on once per batch.

use std::array;

use super::Counter;

/// Ranges that are added to by whole tallies.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    within: [Counter; N],
    beyond: Counter,
    sum: Counter,
}

/// What one owner has seen, or what a histogram holds.
#[derive(Debug, Clone)]
pub struct Tally<const N: usize> {
    /// Upper bounds of the ranges, each included, rising.
    bounds: &'static [u64; N],
    within: [u64; N],
    beyond: u64,
    sum: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            within: array::from_fn(|_| Counter::default()),
            beyond: Counter::default(),
            sum: Counter::default(),
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// The tally has the ranges of all others that are added here.
    pub fn add(&self, tally: &Tally<N>) {
        for (counter, seen) in self.within.iter().zip(tally.within) {
            if seen > 0 {
                counter.add(seen);
            }
        }
        if tally.beyond > 0 {
            self.beyond.add(tally.beyond);
        }
        self.sum.add(tally.sum);
    }

    /// Adds what it holds to a tally.
    pub fn read_into(&self, tally: &mut Tally<N>) {
        for (seen, counter) in tally.within.iter_mut().zip(&self.within) {
            *seen += counter.get();
        }
        tally.beyond += self.beyond.get();
        tally.sum += self.sum.get();
    }
}

impl<const N: usize> Tally<N> {
    pub fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            within: [0; N],
            beyond: 0,
            sum: 0,
        }
    }

    pub fn observe(&mut self, value: u64) {
        self.sum += value;
        let within = self.bounds.iter().zip(&mut self.within);
        for (bound, seen) in within {
            if value <= *bound {
                *seen += 1;
                return;
            }
        }
        self.beyond += 1;
    }

    pub fn sum(&self) -> u64 {
        self.sum
    }

    pub fn count(&self) -> u64 {
        self.within.iter().sum::<u64>() + self.beyond
    }

    /// Each bound, with how many values were not above it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut total = 0;
        self.bounds
            .iter()
            .zip(self.within)
            .map(move |(bound, seen)| {
                total += seen;
                (*bound, total)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_first_range_that_holds_them() {
        let mut tally = Tally::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1000] {
            tally.observe(value);
        }
        let histogram = Histogram::default();
        histogram.add(&tally);
        histogram.add(&tally);
        let mut read = Tally::new(&[10, 20]);
        histogram.read_into(&mut read);
        assert_eq!(read.cumulative().collect::<Vec<_>>(), [(10, 4), (20, 8)]);
        assert_eq!((read.count(), read.sum()), (12, 2 * 1062));
    }
}
