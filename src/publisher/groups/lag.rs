//! How far a group is behind, and how far trimming is from what it still needs.
//!
//! Pure arithmetic on entry ids. Sentences about it are `guard.rs`'s subject.

use std::time::Duration;

use tokio::time::Instant;

use super::look::{Group, Look};
use crate::publisher::{Trim, reply::EntryId};

/// Where a group stands that needs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lag {
    /// Entries from the oldest that it needs to the newest there is.
    pub(super) entries: u64,
    pub(super) age: Duration,
    /// The oldest was delivered, and nobody has acknowledged it.
    pub(super) is_pending: bool,
    /// `None` where nothing is trimmed.
    pub(super) margin: Option<Margin>,
}

/// What is left before trimming reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Margin {
    /// `None` where entries are counted and none come.
    pub(super) time: Option<Duration>,
    /// Below a quarter of what trimming keeps, in time or in entries: the audio is in danger.
    pub(super) is_near: bool,
    /// At least half of it: the danger is over.
    pub(super) is_far: bool,
}

impl Lag {
    /// `None` when the group needs nothing.
    pub(super) fn of(group: &Group, look: &Look, trim: Trim, growth: &Growth) -> Option<Self> {
        let needs = group.oldest_kept.into_iter().chain(group.next).min()?;
        let is_pending = group.next != Some(needs);
        let age = Duration::from_millis(look.newest.ms.saturating_sub(needs.ms));
        let estimate = entries_from(needs, look);
        let entries = match group.lag {
            Some(lag) if is_pending => estimate.max(lag.saturating_add(group.pending)),
            Some(lag) => lag,
            None => estimate,
        }
        .clamp(1, look.length.max(1));
        let margin = match trim {
            Trim::Never => None,
            Trim::Age(kept) => {
                let left = kept.saturating_sub(age);
                Some(Margin {
                    time: Some(left),
                    is_near: left < kept / 4,
                    is_far: left >= kept / 2,
                })
            }
            Trim::Length(kept) => {
                let left = kept.saturating_sub(entries);
                Some(Margin {
                    time: growth.time_for(left, look),
                    is_near: left < kept / 4,
                    is_far: left >= kept / 2,
                })
            }
        };
        Some(Self {
            entries,
            age,
            is_pending,
            margin,
        })
    }
}

/// As if entries were spread evenly over the time that the stream covers.
fn entries_from(oldest: EntryId, look: &Look) -> u64 {
    let (Some(first), Some(last)) = (look.first, look.last) else {
        return 0;
    };
    let span = last.ms.saturating_sub(first.ms);
    let part = last.ms.saturating_sub(oldest.ms).min(span);
    if span == 0 {
        return look.length;
    }
    let entries = u128::from(look.length) * u128::from(part) / u128::from(span);
    u64::try_from(entries).unwrap_or(look.length)
}

/// How fast a stream grows.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Entries ever added, at the beginning of this window and of the one before it.
    this: Option<(Instant, u64)>,
    before: Option<(Instant, u64)>,
    /// Entries in how much time, of late.
    rate: Option<(u64, Duration)>,
}

impl Growth {
    pub(super) fn look(&mut self, look: &Look, now: Instant) {
        let Some(added) = look.added else {
            *self = Self::default();
            return;
        };
        if self.this.is_some_and(|(_, then)| added < then) {
            // Another stream under the same key.
            *self = Self::default();
        }
        let (began, _) = *self.this.get_or_insert((now, added));
        if now.saturating_duration_since(began) >= WINDOW {
            self.before = self.this.replace((now, added));
        }
        self.rate = self
            .before
            .or(self.this)
            .map(|(at, then)| {
                (
                    added.saturating_sub(then),
                    now.saturating_duration_since(at),
                )
            })
            .filter(|(_, time)| *time >= MEASURE_MIN);
    }

    /// In what time so many entries come. Where Redis does not count them, their pace is that of those that are there.
    fn time_for(&self, entries: u64, look: &Look) -> Option<Duration> {
        let (measured, time) = self.rate.or_else(|| {
            let span = look.last?.ms.saturating_sub(look.first?.ms);
            Some((look.length, Duration::from_millis(span)))
        })?;
        let time = time.as_millis() * u128::from(entries)
            / u128::from(std::num::NonZero::new(measured)?.get());
        Some(Duration::from_millis(
            u64::try_from(time).unwrap_or(u64::MAX),
        ))
    }
}

const WINDOW: Duration = Duration::from_secs(5);
const MEASURE_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    fn look(first: u64, last: u64, length: u64) -> Look {
        Look {
            first: Some(id(first)),
            last: Some(id(last)),
            newest: id(last),
            length,
            ..Look::default()
        }
    }

    fn group(next: Option<u64>, kept: Option<u64>, lag: Option<u64>) -> Group {
        Group {
            next: next.map(id),
            oldest_kept: kept.map(id),
            lag,
            ..Group::default()
        }
    }

    const MINUTES: Trim = Trim::Age(Duration::from_mins(2));

    fn lag(group: &Group, look: &Look, trim: Trim) -> Option<Lag> {
        Lag::of(group, look, trim, &Growth::default())
    }

    #[test]
    fn a_group_that_needs_nothing_has_no_lag() {
        assert_eq!(
            lag(&group(None, None, Some(0)), &look(0, 9, 9), MINUTES),
            None
        );
    }

    #[test]
    fn by_age_the_margin_is_counted_from_the_newest_id() {
        let look = look(0, 100_000, 5_000);
        let margin = |next| lag(&group(Some(next), None, None), &look, MINUTES).unwrap();
        let fine = margin(50_000);
        assert_eq!((fine.entries, fine.age), (2_500, Duration::from_secs(50)));
        let expected = Margin {
            time: Some(Duration::from_secs(70)),
            is_near: false,
            is_far: true,
        };
        assert_eq!(fine.margin, Some(expected));
        assert!(!margin(10_000).margin.unwrap().is_near);
        assert!(margin(9_999).margin.unwrap().is_near);
    }

    #[test]
    fn what_is_not_acknowledged_is_still_needed() {
        let look = look(0, 100_000, 5_000);
        let found = lag(
            &group(Some(90_000), Some(10_000), Some(500)),
            &look,
            MINUTES,
        )
        .unwrap();
        assert!(found.is_pending);
        assert_eq!((found.entries, found.age.as_secs()), (4_500, 90));
        let unread = lag(&group(Some(10_000), None, Some(4_321)), &look, MINUTES).unwrap();
        assert_eq!((unread.entries, unread.is_pending), (4_321, false));
    }

    #[test]
    fn by_length_the_margin_is_told_in_the_time_of_the_present_growth() {
        let start = Instant::now();
        let mut growth = Growth::default();
        let mut look = look(0, 10_000, 800);
        for second in 0..30 {
            look.added = Some(1_000 + 50 * second);
            growth.look(&look, start + Duration::from_secs(second));
        }
        let behind = group(Some(2_500), None, None);
        let counted = Lag::of(&behind, &look, Trim::Length(800), &growth).unwrap();
        assert_eq!(counted.entries, 600);
        let margin = counted.margin.unwrap();
        assert_eq!(margin.time, Some(Duration::from_secs(4)));
        assert!(!margin.is_near && !margin.is_far);
        // Redis 6 does not count: the average of what is there.
        let average = lag(&behind, &look, Trim::Length(800)).unwrap().margin;
        assert_eq!(average.unwrap().time, Some(Duration::from_millis(2_500)));
        assert_eq!(lag(&behind, &look, Trim::Never).unwrap().margin, None);
    }
}
