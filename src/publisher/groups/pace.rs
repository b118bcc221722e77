//! How much of a backlog may be published, so that the groups which read lose none of it to trimming.
//!
//! Pure: looks and confirmations come in with their moment, an allowance goes out. A backlog goes out in chunks. One may be
//! published while every group that reads is past the chunk before the last one, so at most two are unread. A chunk
//! grows as long as it is read within one look, and two of them never hold more than can be read in a quarter of what
//! trimming keeps by age (an eighth of what it keeps by length, where live audio pushes entries out too). So nothing
//! is lost to a group that becomes half as fast, and there is always something to read while the next look is awaited.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::publisher::{Trim, reply::EntryId};

/// The rule's state during one backlog.
#[derive(Debug)]
pub(super) struct Pace {
    trim: Trim,
    hold: Hold,
    /// Entries of a chunk, and how many of the present one are published.
    chunk: u64,
    filled: u64,
    /// Published whole and not known to be read; at most two.
    unread: VecDeque<Chunk>,
    /// When a chunk was last seen to be read, and when the groups were last looked at.
    read_at: Instant,
    seen_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The groups have not been looked at.
    Unknown,
    /// Nobody reads, or nothing is trimmed.
    Free,
    Held,
}

#[derive(Debug)]
struct Chunk {
    entries: u64,
    end: EntryId,
    published_at: Instant,
}

impl Pace {
    pub(super) fn new(trim: Trim, now: Instant) -> Self {
        Self {
            trim,
            hold: if trim == Trim::Never {
                Hold::Free
            } else {
                Hold::Unknown
            },
            chunk: CHUNK_FIRST.min(chunk_max(trim)),
            filled: 0,
            unread: VecDeque::with_capacity(3),
            read_at: now,
            seen_at: now,
        }
    }

    /// How often the groups are to be looked at.
    pub(super) fn look_every(trim: Trim) -> Duration {
        match trim {
            // Often enough for a chunk that is read within one look to double within its bound.
            Trim::Age(kept) => LOOK_EVERY.min(kept / 16),
            _ => LOOK_EVERY,
        }
    }

    /// Entries that may be published now.
    pub(super) fn allowance(&self) -> u64 {
        match self.hold {
            Hold::Free => u64::MAX,
            Hold::Held if self.unread.len() < UNREAD_CHUNKS_MAX => {
                self.chunk.saturating_sub(self.filled)
            }
            Hold::Held | Hold::Unknown => 0,
        }
    }

    pub(super) fn published(&mut self, entries: u64, newest: EntryId, now: Instant) {
        if self.hold != Hold::Held {
            return;
        }
        self.filled = self.filled.saturating_add(entries);
        if self.filled >= self.chunk {
            if self.unread.len() >= UNREAD_CHUNKS_MAX {
                // More than was allowed: it counts as part of the last chunk.
                self.unread.pop_back();
            }
            self.unread.push_back(Chunk {
                entries: std::mem::take(&mut self.filled),
                end: newest,
                published_at: now,
            });
        }
    }

    /// Takes in what each group that reads still needs, as of a look that began `now`; `newest` is the stream's newest
    /// entry.
    pub(super) fn look(&mut self, needs: &[Option<EntryId>], newest: EntryId, now: Instant) {
        self.seen_at = now;
        if needs.is_empty() || self.trim == Trim::Never {
            self.unread.clear();
            self.filled = 0;
            self.hold = Hold::Free;
            return;
        }
        if self.hold != Hold::Held {
            self.begin(newest, now);
        }
        let oldest = needs.iter().flatten().min();
        while let Some(chunk) = self.unread.front()
            // Who needs nothing has read what was there when the look began, and no more.
            && oldest.map_or(chunk.published_at <= now, |&oldest| chunk.end < oldest)
        {
            let took = now.saturating_duration_since(chunk.published_at.max(self.read_at));
            if chunk.entries > 0 {
                self.chunk = next_chunk(self.chunk, chunk.entries, took, self.trim);
            }
            self.read_at = now;
            self.unread.pop_front();
        }
    }

    /// The groups cannot be looked at: now and then a chunk goes out all the same, lest the backlog stand for ever.
    pub(super) fn blind(&mut self, now: Instant) {
        if self.hold == Hold::Free || now.saturating_duration_since(self.seen_at) < BLIND_AFTER {
            return;
        }
        if self.hold == Hold::Unknown {
            self.begin(EntryId::default(), now);
        }
        self.seen_at = now;
        self.unread.pop_front();
    }

    /// What stands in the stream already counts as a chunk.
    fn begin(&mut self, newest: EntryId, now: Instant) {
        self.hold = Hold::Held;
        self.chunk = CHUNK_FIRST.min(chunk_max(self.trim));
        self.filled = 0;
        self.read_at = now;
        self.unread.clear();
        self.unread.push_back(Chunk {
            entries: 0,
            end: newest,
            published_at: now,
        });
    }
}

/// After a chunk of so many entries was read in such a time.
fn next_chunk(chunk: u64, entries: u64, took: Duration, trim: Trim) -> u64 {
    let look = Pace::look_every(trim);
    let wanted = if took <= look + look / 2 {
        chunk.saturating_mul(2)
    } else {
        chunk
    };
    let readable = match trim {
        // Two chunks in a quarter of the time.
        Trim::Age(kept) => {
            let read =
                u128::from(entries) * (kept / 8).as_micros() / took.max(look).as_micros().max(1);
            u64::try_from(read).unwrap_or(u64::MAX)
        }
        _ => u64::MAX,
    };
    wanted.min(readable).min(chunk_max(trim)).max(1)
}

/// Two chunks are an eighth of what is kept.
fn chunk_max(trim: Trim) -> u64 {
    match trim {
        Trim::Length(kept) => (kept / 16).max(1),
        _ => u64::MAX,
    }
}

const CHUNK_FIRST: u64 = 100;
const UNREAD_CHUNKS_MAX: usize = 2;
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Longer than a reconnect takes; a lane that is away itself publishes nothing meanwhile.
const BLIND_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTES: Trim = Trim::Age(Duration::from_mins(2));
    const LOOK: Duration = Duration::from_millis(150);

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    fn begun(trim: Trim) -> (Pace, Instant) {
        let now = Instant::now();
        let mut pace = Pace::new(trim, now);
        pace.look(&[None], id(0), now);
        (pace, now)
    }

    #[test]
    fn nothing_is_allowed_before_the_first_look() {
        let now = Instant::now();
        let mut pace = Pace::new(MINUTES, now);
        assert_eq!(pace.allowance(), 0);
        pace.look(&[None], id(0), now);
        assert_eq!(pace.allowance(), CHUNK_FIRST);
        assert_eq!(Pace::new(Trim::Never, now).allowance(), u64::MAX);
    }

    #[test]
    fn without_a_group_that_reads_nothing_holds_it_back() {
        let (mut pace, now) = begun(MINUTES);
        pace.look(&[], id(0), now);
        assert_eq!(pace.allowance(), u64::MAX);
        // A worker comes: what has been published meanwhile is before it.
        pace.look(&[Some(id(1))], id(9), now);
        pace.published(CHUNK_FIRST, id(10), now);
        assert_eq!(pace.allowance(), 0);
        pace.look(&[Some(id(10))], id(10), now);
        assert_eq!(pace.allowance(), CHUNK_FIRST);
    }

    #[test]
    fn at_most_two_chunks_are_unread() {
        let (mut pace, now) = begun(MINUTES);
        pace.published(60, id(1), now);
        assert_eq!(pace.allowance(), CHUNK_FIRST - 60);
        pace.published(40, id(2), now);
        pace.published(100, id(3), now);
        assert_eq!(pace.allowance(), 0);
        pace.look(&[None, Some(id(2))], id(3), now + LOOK);
        assert_eq!(pace.allowance(), 0, "the slowest counts");
        pace.look(&[None, Some(id(3))], id(3), now + 2 * LOOK);
        assert!(pace.allowance() > 0);
    }

    #[test]
    fn a_look_that_began_before_a_chunk_says_nothing_of_it() {
        let (mut pace, began) = begun(MINUTES);
        pace.published(100, id(1), began + LOOK);
        pace.published(100, id(2), began + LOOK);
        pace.look(&[None], id(0), began);
        assert_eq!(pace.allowance(), 0);
        pace.look(&[None], id(2), began + 2 * LOOK);
        assert!(pace.allowance() > 0);
    }

    #[test]
    fn chunks_grow_and_shrink_with_the_readers() {
        let (mut pace, mut now) = begun(MINUTES);
        let mut newest = 1;
        let mut round = |pace: &mut Pace, takes: Duration| {
            let entries = pace.allowance();
            pace.published(entries, id(newest), now);
            newest += 1;
            now += takes;
            pace.look(&[None], id(newest), now);
            entries
        };
        let quick: Vec<_> = (0..5).map(|_| round(&mut pace, LOOK)).collect();
        assert_eq!(quick, [100, 200, 400, 800, 1600]);
        // 3200 in 60 s: two chunks in 30 s are 1600 together.
        round(&mut pace, Duration::from_mins(1));
        assert_eq!(pace.allowance(), 800);
        let (mut pace, now) = begun(Trim::Length(800));
        pace.published(50, id(1), now);
        pace.look(&[None], id(1), now + LOOK);
        assert_eq!(pace.allowance(), 50);
    }

    #[test]
    fn a_backlog_that_cannot_be_watched_goes_out_slowly() {
        let now = Instant::now();
        let mut pace = Pace::new(MINUTES, now);
        pace.blind(now + BLIND_AFTER / 2);
        assert_eq!(pace.allowance(), 0);
        let mut published = 0;
        for second in 0..100 {
            let at = now + Duration::from_secs(second);
            pace.blind(at);
            let allowance = pace.allowance();
            published += allowance;
            pace.published(allowance, id(second), at);
        }
        assert!((800..=1_200).contains(&published), "{published}");
    }

    /// A group that reads at least so many entries a second and at most twice as many, of a stream that a backlog and
    /// live calls fill; its pace, in halves, changes every 5 s. Gives back what was trimmed unread, and what the backlog has come to.
    fn simulate(trim: Trim, rate: u64, live: u64, paces: &[u64]) -> (u64, u64) {
        let start = Instant::now();
        let mut pace = Pace::new(trim, start);
        let step = Duration::from_millis(10);
        let look_steps = (Pace::look_every(trim).as_millis() / 10).max(1);
        // When each entry came; the id of an entry is its number.
        let mut stream: Vec<u128> = Vec::new();
        let (mut read, mut backlog, mut lost) = (0_usize, 0, 0);
        let (mut readable, mut live_due) = (0_u64, 0_u64);
        for turn in 0..6_000_u128 {
            let now = start + step * u32::try_from(turn).unwrap();
            live_due += live;
            let came = live_due / 100;
            live_due %= 100;
            stream.extend((0..came).map(|_| turn));
            // The lane's batches have their limits too.
            let allowance = pace.allowance().min(2_000);
            if allowance > 0 {
                stream.extend((0..allowance).map(|_| turn));
                backlog += allowance;
                pace.published(allowance, id(stream.len() as u64), now);
            }
            readable += rate * paces[usize::try_from(turn / 500).unwrap() % paces.len()];
            let can = usize::try_from(readable / 200).unwrap();
            readable %= 200;
            read = (read + can).min(stream.len());
            let kept_from = match trim {
                Trim::Age(kept) => stream.partition_point(|at| (turn - at) * 10 > kept.as_millis()),
                Trim::Length(kept) => stream.len().saturating_sub(usize::try_from(kept).unwrap()),
                Trim::Never => 0,
            };
            lost += kept_from.saturating_sub(read);
            read = read.max(kept_from);
            if turn % look_steps == 0 {
                let needs = (read < stream.len()).then(|| id(read as u64 + 1));
                pace.look(&[needs], id(stream.len() as u64), now);
            }
        }
        (lost as u64, backlog)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        // The first chunk, of which nobody knows yet how fast it will be read, is read in a quarter of the time.
        #[test]
        fn no_group_loses_what_it_can_read_and_the_backlog_goes_on(
            kept_s in 1_u64..300,
            spare in 1_u64..100,
            live in 0_u64..1_000,
            paces in proptest::collection::vec(2_u64..=4, 1..6),
        ) {
            let rate = live + (CHUNK_FIRST * 4 / kept_s + 10) * spare;
            let trim = Trim::Age(Duration::from_secs(kept_s));
            let (lost, backlog) = simulate(trim, rate, live, &paces);
            prop_assert_eq!(lost, 0);
            // At least half of what it could read beside the live calls at its slowest, in the minute that is played.
            let could = (rate - live) * 60;
            prop_assert!(backlog >= could / 2, "{} of {}", backlog, could);
        }

        #[test]
        fn by_length_too(
            kept in 500_u64..100_000,
            spare in 1_u64..100,
            live in 0_u64..200,
            paces in proptest::collection::vec(2_u64..=4, 1..6),
        ) {
            // Live calls alone push a group's entries out that is slower than they are.
            let rate = 2 * live + 50 * spare;
            let (lost, backlog) = simulate(Trim::Length(kept), rate, live, &paces);
            prop_assert_eq!(lost, 0);
            prop_assert!(backlog >= 2 * (kept / 16).min(CHUNK_FIRST), "{}", backlog);
        }
    }
}
