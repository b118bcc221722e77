//! What of the journal is not in Redis yet, by call: the memory of the bridge over an outage (5.3, 5.6).
//!
//! Records are published in the order of their positions within a call, but not between calls: live calls go before
//! those that have ended. So what is left of a call is a span from its first unpublished record on, and a record is
//! unpublished exactly if its call has a span that has begun by then. The same stands in the note beside the journal's
//! cursor, for the next start. Pure; the journal itself and the connections to Redis are elsewhere.
//!
//! Invariant: `Backlog` says of a record that it is published only after it was told so.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::fence::Footing;
use crate::{journal::Position, record::Kind};

/// What is left to publish.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    calls: HashMap<u64, Span>,
    /// The newest record that was entered.
    newest: Position,
    frames: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    first: Position,
    last: Position,
}

/// What the next start has to know of the records behind the cursor, and of the connection that was publishing them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Records behind this one are unpublished, as far as this note knows.
    horizon: u64,
    /// By call: up to the horizon, its records from this one on are unpublished, all others are published.
    calls: Vec<(u64, u64)>,
    pub(super) footing: Footing,
}

/// One reading of the backlog, for some or for all of its calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    horizon: Position,
    /// Up to the horizon: from where on the records of these calls are to be published.
    due: HashMap<u64, Position>,
    /// Calls whose turn comes later.
    later: HashSet<u64>,
}

impl Backlog {
    /// Enters a record that has become safe. Records come in the order of their positions.
    pub(super) fn enter(&mut self, call: u64, kind: Kind, position: Position) {
        self.newest = self.newest.max(position);
        self.frames += u64::from(kind == Kind::Frame);
        let span = Span {
            first: position,
            last: position,
        };
        self.calls
            .entry(call)
            .and_modify(|span| {
                span.first = span.first.min(position);
                span.last = span.last.max(position);
            })
            .or_insert(span);
    }

    /// The journal reaches to this record, whether it is left to publish or not.
    pub(super) fn reach(&mut self, position: Position) {
        self.newest = self.newest.max(position);
    }

    /// A record is in Redis, and all of its call before it.
    pub(super) fn published(&mut self, call: u64, kind: Kind, position: Position) {
        self.frames = self.frames.saturating_sub(u64::from(kind == Kind::Frame));
        if let Some(span) = self.calls.get_mut(&call) {
            span.first = span.first.max(position.following());
            if span.first > span.last {
                self.calls.remove(&call);
            }
        }
    }

    /// A pass has read up to and with `through` and all that it found is published. What it did not find is damaged
    /// or was removed: nothing waits for it any more.
    pub(super) fn passed(&mut self, pass: &Pass, through: Position) {
        self.calls
            .retain(|call, span| pass.later.contains(call) || span.last > through);
        if self.calls.is_empty() {
            self.frames = 0;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The calls that have records in it.
    pub(super) fn calls(&self) -> impl Iterator<Item = u64> {
        self.calls.keys().copied()
    }

    /// Frames that are not in Redis yet.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// All records up to and with this one are in Redis.
    pub(super) fn through(&self) -> Position {
        let first = self.calls.values().map(|span| span.first).min();
        first.map_or(self.newest, |first| Position(first.0.saturating_sub(1)))
    }

    /// The next pass: the calls that are live, if there are any among them, else all.
    pub(super) fn pass(&self, is_live: impl Fn(u64) -> bool) -> Pass {
        let (live, ended): (Vec<_>, Vec<_>) =
            self.calls.iter().partition(|(call, _)| is_live(**call));
        let (now, later) = if live.is_empty() {
            (ended, Vec::new())
        } else {
            (live, ended)
        };
        Pass {
            horizon: self.newest,
            due: now
                .into_iter()
                .map(|(call, span)| (*call, span.first))
                .collect(),
            later: later.into_iter().map(|(call, _)| *call).collect(),
        }
    }

    pub(super) fn note(&self, footing: Footing) -> Note {
        let mut calls: Vec<_> = self
            .calls
            .iter()
            .map(|(call, span)| (*call, span.first.0))
            .collect();
        calls.sort_unstable();
        Note {
            horizon: self.newest.0,
            calls,
            footing,
        }
    }

    /// Adds what an earlier process has left, before this process has published any of it.
    pub(super) fn merge(&mut self, found: Self) {
        self.newest = self.newest.max(found.newest);
        self.frames += found.frames;
        for (call, earlier) in found.calls {
            self.calls
                .entry(call)
                .and_modify(|span| span.first = span.first.min(earlier.first))
                .or_insert(earlier);
        }
    }
}

impl Note {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        crate::record::to_json(self)
    }

    /// The rule by which its writer's records are unpublished.
    pub(super) fn pass(&self) -> Pass {
        Pass {
            horizon: Position(self.horizon),
            due: self
                .calls
                .iter()
                .map(|(call, first)| (*call, Position(*first)))
                .collect(),
            later: HashSet::new(),
        }
    }
}

impl Pass {
    /// Whether this record is to be published in this pass.
    pub(super) fn takes(&self, call: u64, position: Position) -> bool {
        if position > self.horizon {
            return !self.later.contains(&call);
        }
        self.due.get(&call).is_some_and(|first| position >= *first)
    }

    /// Where the reading begins: all records up to and with this one are none of its business.
    pub(super) fn begins_after(&self) -> Position {
        let first = self.due.values().min().copied();
        first.map_or(self.horizon, |first| Position(first.0.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A step in the life of a backlog.
    #[derive(Debug, Clone)]
    enum Step {
        Enter(u64),
        /// A pass that stops after so many records, for the reason that the process is killed or Redis goes away.
        Pass {
            live: u64,
            stops_after: usize,
        },
        /// The next start knows the last note only.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6_u64).prop_map(Step::Enter),
            2 => (0..64_u64, 0..20_usize).prop_map(|(live, stops_after)| Step::Pass { live, stops_after }),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever comes in between, every record is published once, and in order within its call.
        #[test]
        fn each_record_is_published_once_and_in_order(steps in proptest::collection::vec(step(), 0..120)) {
            let mut journal: Vec<(u64, u64)> = Vec::new();
            let mut published: Vec<(u64, u64)> = Vec::new();
            let mut backlog = Backlog::default();
            let everything = Step::Pass { live: 0, stops_after: usize::MAX };
            for step in steps.into_iter().chain([everything]) {
                match step {
                    Step::Enter(call) => {
                        let position = journal.len() as u64 + 1;
                        journal.push((call, position));
                        backlog.enter(call, Kind::Frame, Position(position));
                    }
                    Step::Pass { live, stops_after } => {
                        let pass = backlog.pass(|call| live >> call & 1 == 1);
                        let due = journal.iter().filter(|(call, position)| {
                            Position(*position) > pass.begins_after() && pass.takes(*call, Position(*position))
                        });
                        let due: Vec<_> = due.copied().collect();
                        for (call, position) in due.iter().take(stops_after) {
                            published.push((*call, *position));
                            backlog.published(*call, Kind::Frame, Position(*position));
                        }
                        if due.len() <= stops_after {
                            backlog.passed(&pass, Position(journal.len() as u64));
                        }
                    }
                    Step::Restart => {
                        let note = Note::read(&backlog.note(Footing::default()).to_bytes()).unwrap();
                        let through = backlog.through();
                        let (pass, mut found) = (note.pass(), Backlog::default());
                        for (call, position) in &journal {
                            if Position(*position) > through && pass.takes(*call, Position(*position)) {
                                found.enter(*call, Kind::Frame, Position(*position));
                            }
                        }
                        backlog = Backlog { newest: Position(journal.len() as u64), ..Backlog::default() };
                        backlog.merge(found);
                    }
                }
                prop_assert_eq!(backlog.frames(), (journal.len() - published.len()) as u64);
            }
            let once: BTreeSet<_> = published.iter().collect();
            prop_assert_eq!(once.len(), published.len());
            prop_assert_eq!(published.len(), journal.len());
            prop_assert!(backlog.is_empty());
            prop_assert_eq!(backlog.through(), Position(journal.len() as u64));
            for call in 0..6 {
                let of_call: Vec<_> = published.iter().filter(|(of, _)| *of == call).collect();
                prop_assert!(of_call.is_sorted());
            }
        }
    }

    #[test]
    fn live_calls_go_first() {
        let mut backlog = Backlog::default();
        for (position, call) in [7, 8, 7, 8].into_iter().enumerate() {
            backlog.enter(call, Kind::Frame, Position(position as u64 + 1));
        }
        let live = backlog.pass(|call| call == 8);
        assert!(live.takes(8, Position(2)) && !live.takes(7, Position(1)));
        assert_eq!(live.begins_after(), Position(1));
        assert!(live.takes(9, Position(5)), "a call that has begun since");
        assert!(
            !live.takes(7, Position(5)),
            "not before its earlier records"
        );
        let all = backlog.pass(|_| false);
        assert!(all.takes(7, Position(1)) && all.takes(8, Position(2)));
    }
}
