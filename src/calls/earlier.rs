//! Sessions that have ended and whose clients numbered their audio: where the next session of the call goes on (3.8).
//!
//! Only those of this instance and of the last hour; of others, the metadata in Redis tells. Invariant: no more than
//! `SESSIONS_MAX` are kept, the newest.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{call::CallName, publisher::progress::Progress};

/// How far an ended session had come.
#[derive(Debug, Clone)]
pub struct Earlier {
    pub progress: Arc<Progress>,
    /// The client's number of its last frame.
    pub last_seq: u64,
}

/// What is known of ended sessions.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    calls: HashMap<Arc<CallName>, Entry>,
    /// Oldest first; what has been replaced is still in it.
    order: VecDeque<(Arc<CallName>, u64)>,
}

#[derive(Debug)]
struct Entry {
    session: u64,
    ended: Instant,
    earlier: Earlier,
}

impl Remembered {
    pub(super) fn get(&self, name: &CallName, now: Instant) -> Option<&Earlier> {
        let entry = self.calls.get(name)?;
        entry.is_fresh(now).then_some(&entry.earlier)
    }

    pub(super) fn insert(&mut self, name: &CallName, session: u64, earlier: Earlier, now: Instant) {
        let name = Arc::new(name.clone());
        let entry = Entry {
            session,
            ended: now,
            earlier,
        };
        self.calls.remove(&name);
        self.calls.insert(Arc::clone(&name), entry);
        self.order.push_back((name, session));
        while let Some((oldest, session)) = self.order.front() {
            let known = self.calls.get(oldest);
            let known = known.filter(|entry| entry.session == *session);
            let keep = known.is_some_and(|entry| entry.is_fresh(now));
            if keep && self.order.len() <= SESSIONS_MAX {
                return;
            }
            if known.is_some() {
                self.calls.remove(oldest);
            }
            self.order.pop_front();
        }
    }

    pub(super) fn remove(&mut self, name: &CallName) {
        self.calls.remove(name);
    }
}

impl Entry {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.ended) < KEPT
    }
}

/// Some 5 MB with ids of the usual length.
const SESSIONS_MAX: usize = 10_000;
/// As long as the metadata in Redis is kept.
const KEPT: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> CallName {
        CallName {
            tenant_id: "t".to_owned(),
            interaction_id: n.to_string(),
        }
    }

    fn earlier(last_seq: u64) -> Earlier {
        Earlier {
            progress: Arc::new(Progress::new("t", "i", 0)),
            last_seq,
        }
    }

    #[test]
    fn the_newest_session_of_a_call_is_remembered_for_an_hour() {
        let mut remembered = Remembered::default();
        let start = crate::clock::now().instant;
        let at = |minutes| start + Duration::from_mins(minutes);
        remembered.insert(&name(1), 1, earlier(10), at(0));
        remembered.insert(&name(2), 2, earlier(20), at(1));
        remembered.insert(&name(1), 3, earlier(30), at(30));
        let last = |remembered: &Remembered, n, minutes| {
            let earlier = remembered.get(&name(n), at(minutes));
            earlier.map(|earlier| earlier.last_seq)
        };
        assert_eq!(last(&remembered, 1, 89), Some(30));
        assert_eq!(last(&remembered, 2, 60), Some(20));
        assert_eq!(last(&remembered, 2, 61), None);
        remembered.insert(&name(3), 4, earlier(40), at(70));
        assert_eq!((remembered.calls.len(), remembered.order.len()), (2, 2));
        assert_eq!(last(&remembered, 1, 89), Some(30));
        remembered.remove(&name(1));
        assert_eq!(last(&remembered, 1, 89), None);
    }

    #[test]
    fn no_more_than_so_many_sessions_are_remembered() {
        let mut remembered = Remembered::default();
        let now = crate::clock::now().instant;
        for n in 0..SESSIONS_MAX + 10 {
            remembered.insert(&name(n), n as u64, earlier(1), now);
            // The same call over and over must not grow it either.
            remembered.insert(&name(0), (SESSIONS_MAX * 2 + n) as u64, earlier(2), now);
        }
        assert!(remembered.calls.len() <= SESSIONS_MAX && remembered.order.len() == SESSIONS_MAX);
        assert!(remembered.get(&name(0), now).is_some());
        assert!(remembered.get(&name(1), now).is_none());
        assert!(remembered.get(&name(SESSIONS_MAX + 9), now).is_some());
    }
}
