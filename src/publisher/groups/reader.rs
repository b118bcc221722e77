//! What one group does, as its looks show: whether it reads, and what it still needs of a backlog.
//!
//! Pure: looks come in with their moment. How far behind it may be is `lag.rs`'s subject.

use std::time::Duration;

use tokio::time::Instant;

use super::look::Group;
use crate::publisher::reply::EntryId;

/// One group over time.
#[derive(Debug)]
pub(super) struct Reader {
    /// When it was first looked at.
    met_at: Instant,
    /// When it was last seen to read, to acknowledge, or to have nothing to read, and for how long it had been silent
    /// then; `None` when nothing of that is known.
    alive: Option<(Instant, Duration)>,
    is_deserted: bool,
    delivered: EntryId,
    pending: u64,
    oldest_pending: Option<EntryId>,
    /// When its oldest unacknowledged entry became the oldest.
    stuck_since: Instant,
}

impl Reader {
    /// A group that is new to us is judged by when its consumers last asked for anything.
    pub(super) fn meet(group: &Group, now: Instant) -> Self {
        let alive = match (group.next, group.idle_ms) {
            (None, _) => Some((now, Duration::ZERO)),
            (Some(_), idle_ms) => idle_ms.map(|idle_ms| (now, Duration::from_millis(idle_ms))),
        };
        Self {
            met_at: now,
            alive,
            is_deserted: group.is_deserted,
            delivered: group.delivered,
            pending: group.pending,
            oldest_pending: group.oldest_pending,
            stuck_since: now,
        }
    }

    pub(super) fn look(&mut self, group: &Group, now: Instant) {
        let has_moved = group.delivered != self.delivered
            || group.pending < self.pending
            || group.oldest_pending != self.oldest_pending;
        if has_moved || group.next.is_none() {
            self.alive = Some((now, Duration::ZERO));
        }
        if group.oldest_pending != self.oldest_pending {
            self.stuck_since = now;
        }
        self.is_deserted = group.is_deserted;
        self.delivered = group.delivered;
        self.pending = group.pending;
        self.oldest_pending = group.oldest_pending;
    }

    /// Whether it has read anything of late, or has somebody who would if there were anything to read.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        !self.is_deserted
            && self
                .alive
                .is_some_and(|alive| silence(alive, now) < SILENT_AFTER)
    }

    /// For how long it has not read although there was something to read, once that is too long.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        let silence = silence(self.alive.unwrap_or((self.met_at, Duration::ZERO)), now);
        (silence >= SILENT_AFTER).then_some(silence)
    }

    /// The oldest entry that it needs, as far as a backlog waits for it.
    ///
    /// An entry that was delivered is needed until it is acknowledged, since whoever reclaims it must find it. But only
    /// while acknowledgements come: when the oldest has stood for [`STUCK_AFTER`], its worker has died or never
    /// acknowledges, and what counts is what the group is given. Waiting longer would save nothing: by age, an entry goes
    /// at the same moment however fast a backlog is published, and by length, live audio pushes it out as well.
    pub(super) fn needs(&self, group: &Group, now: Instant) -> Option<EntryId> {
        let is_stuck = now.saturating_duration_since(self.stuck_since) >= STUCK_AFTER;
        let pending = group
            .oldest_pending
            .filter(|_| !is_stuck && group.oldest_pending == group.oldest_kept);
        pending.into_iter().chain(group.next).min()
    }
}

fn silence((seen_at, silent_then): (Instant, Duration), now: Instant) -> Duration {
    now.saturating_duration_since(seen_at)
        .saturating_add(silent_then)
}

/// A group that reads nothing for so long is not waited for (5.8).
const SILENT_AFTER: Duration = Duration::from_mins(1);
/// Several times what a worker takes for a batch.
const STUCK_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    fn group(delivered: u64, next: Option<u64>, oldest_pending: Option<u64>) -> Group {
        Group {
            delivered: id(delivered),
            next: next.map(id),
            pending: u64::from(oldest_pending.is_some()),
            oldest_pending: oldest_pending.map(id),
            oldest_kept: oldest_pending.map(id),
            ..Group::default()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_group_with_nothing_to_read_is_never_silent() {
        let start = Instant::now();
        let mut reader = Reader::meet(&group(5, None, None), start);
        let later = start + 1000 * SECOND;
        reader.look(&group(5, None, None), later);
        assert!(reader.is_active(later) && reader.silent_for(later).is_none());
        // Something to read comes: from now on it counts.
        let after = later + 59 * SECOND;
        reader.look(&group(5, Some(6), None), after);
        assert!(reader.is_active(after));
        let too_long = later + 60 * SECOND;
        reader.look(&group(5, Some(6), None), too_long);
        assert!(!reader.is_active(too_long));
        assert_eq!(reader.silent_for(too_long), Some(60 * SECOND));
        reader.look(&group(6, Some(7), None), too_long + SECOND);
        assert!(reader.is_active(too_long + SECOND));
    }

    #[test]
    fn a_group_that_is_met_behind_is_judged_by_its_consumers() {
        let now = Instant::now();
        let behind = group(5, Some(6), None);
        let with = |idle_ms| Group {
            idle_ms,
            ..behind.clone()
        };
        assert!(Reader::meet(&with(Some(3_000)), now).is_active(now));
        let idle = Reader::meet(&with(Some(70_000)), now);
        assert!(!idle.is_active(now));
        assert_eq!(idle.silent_for(now), Some(70 * SECOND));
        // Nobody has ever read: it holds nothing back, and is named once it had the time to begin.
        let unread = Reader::meet(&behind, now);
        assert!(!unread.is_active(now) && unread.silent_for(now).is_none());
        assert!(unread.silent_for(now + 60 * SECOND).is_some());
    }

    #[test]
    fn a_group_that_nobody_reads_from_holds_nothing_back() {
        let now = Instant::now();
        let deserted = Group {
            is_deserted: true,
            ..group(0, None, None)
        };
        let mut reader = Reader::meet(&deserted, now);
        assert!(!reader.is_active(now) && reader.silent_for(now).is_none());
        reader.look(&group(0, None, None), now);
        assert!(reader.is_active(now), "a worker has come");
    }

    #[test]
    fn an_entry_without_acknowledgement_is_needed_for_a_while_only() {
        let start = Instant::now();
        let mut reader = Reader::meet(&group(5, Some(6), Some(3)), start);
        let mut needs_after = |seconds: u32, delivered, pending| {
            let now = start + seconds * SECOND;
            let group = group(delivered, Some(delivered + 1), Some(pending));
            reader.look(&group, now);
            reader.needs(&group, now)
        };
        assert_eq!(needs_after(9, 50, 3), Some(id(3)));
        assert_eq!(needs_after(10, 60, 3), Some(id(61)));
        assert_eq!(needs_after(11, 70, 65), Some(id(65)), "it acknowledges");
        assert_eq!(needs_after(21, 90, 65), Some(id(91)));
    }

    #[test]
    fn an_entry_that_is_gone_is_not_needed() {
        let now = Instant::now();
        let group = Group {
            oldest_kept: Some(id(4)),
            ..group(5, None, Some(3))
        };
        assert_eq!(Reader::meet(&group, now).needs(&group, now), None);
    }
}
