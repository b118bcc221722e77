//! What of the journal is not in Redis yet, by call: the memory of the bridge over an outage (5.3, 5.6).
//!
//! Records are published in the order of their positions within a call, but not between calls: live calls go before
//! those that have ended. So what is left of a call is a span from its first unpublished record on, and a record is
//! unpublished exactly if its call has a span that has begun by then, or if it was set aside: Redis has refused it, and
//! taken newer ones of its call. The same stands in the note beside the journal's cursor, for the next start. Pure; the
//! journal itself and the connections to Redis are elsewhere.
//!
//! Invariant: `Backlog` says of a record that it is published only after it was told so.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::fence::Footing;
use crate::{journal::Position, record::Kind};

/// What is left to publish.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    calls: HashMap<u64, Span>,
    /// Unpublished wherever their calls stand.
    aside: BTreeSet<Position>,
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
    /// Unpublished all the same.
    #[serde(default)]
    aside: BTreeSet<u64>,
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
    /// Records to be published although those before and behind them are.
    aside: BTreeSet<Position>,
    /// Records in the owner's memory.
    held: BTreeSet<Position>,
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

    /// A record waits while newer ones of its call are published.
    pub(super) fn set_aside(&mut self, position: Position) {
        self.aside.insert(position);
    }

    /// Enters a record that an earlier process has set aside.
    pub(super) fn enter_aside(&mut self, kind: Kind, position: Position) {
        self.newest = self.newest.max(position);
        self.frames += u64::from(kind == Kind::Frame);
        self.aside.insert(position);
    }

    /// A record is in Redis, and all of its call before it that were not set aside.
    pub(super) fn published(&mut self, call: u64, kind: Kind, position: Position) {
        self.aside.remove(&position);
        self.frames = self.frames.saturating_sub(u64::from(kind == Kind::Frame));
        if let Some(span) = self.calls.get_mut(&call) {
            span.first = span.first.max(position.following());
            if span.first > span.last {
                self.calls.remove(&call);
            }
        }
    }

    /// A pass has read up to and with `through`, and all that it found is published or `held` in the owner's memory.
    /// What it did not find is damaged or was removed: nothing waits for it any more.
    pub(super) fn passed(&mut self, pass: &Pass, through: Position, held: BTreeSet<Position>) {
        self.calls
            .retain(|call, span| pass.later.contains(call) || span.last > through);
        self.aside = held;
        if self.is_empty() {
            self.frames = 0;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.aside.is_empty()
    }

    /// Whether the next pass would find anything, where so many records are in the owner's memory.
    pub(super) fn has_more_than(&self, held: usize) -> bool {
        !self.calls.is_empty() || self.aside.len() > held
    }

    /// The calls that have records in it which are not set aside.
    pub(super) fn calls(&self) -> impl Iterator<Item = u64> {
        self.calls.keys().copied()
    }

    /// Frames that are not in Redis yet.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// All records up to and with this one are in Redis.
    pub(super) fn through(&self) -> Position {
        let firsts = self.calls.values().map(|span| span.first);
        let first = firsts.chain(self.aside.first().copied()).min();
        first.map_or(self.newest, |first| Position(first.0.saturating_sub(1)))
    }

    /// The next pass: the calls that are live, if there are any among them, else all. What is `held` in the owner's
    /// memory is sent from there.
    pub(super) fn pass(&self, held: BTreeSet<Position>, is_live: impl Fn(u64) -> bool) -> Pass {
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
            aside: self.aside.difference(&held).copied().collect(),
            held,
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
            aside: self.aside.iter().map(|position| position.0).collect(),
            footing,
        }
    }

    /// Adds what an earlier process has left, before this process has published any of it.
    pub(super) fn merge(&mut self, found: Self) {
        self.newest = self.newest.max(found.newest);
        self.frames += found.frames;
        self.aside.extend(found.aside);
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

    pub(super) fn sets_aside(&self, position: Position) -> bool {
        self.aside.contains(&position.0)
    }

    /// The rule by which its writer's other records are unpublished.
    pub(super) fn pass(&self) -> Pass {
        Pass {
            horizon: Position(self.horizon),
            due: self
                .calls
                .iter()
                .map(|(call, first)| (*call, Position(*first)))
                .collect(),
            ..Pass::default()
        }
    }
}

impl Pass {
    /// Whether this record is to be published in this pass.
    pub(super) fn takes(&self, call: u64, position: Position) -> bool {
        if self.held.contains(&position) {
            return false;
        }
        if self.aside.contains(&position) {
            return true;
        }
        if position > self.horizon {
            return !self.later.contains(&call);
        }
        self.due.get(&call).is_some_and(|first| position >= *first)
    }

    /// Where the reading begins: all records up to and with this one are none of its business.
    pub(super) fn begins_after(&self) -> Position {
        let firsts = self.due.values().chain(self.aside.first());
        let first = firsts.min().copied();
        first.map_or(self.horizon, |first| Position(first.0.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A step in the life of a backlog.
    #[derive(Debug, Clone)]
    enum Step {
        Enter(u64),
        /// A pass that stops after so many records, for the reason that the process is killed or Redis goes away.
        /// Redis may refuse the records that are no frames.
        Pass {
            live: u64,
            stops_after: usize,
            refuses_ends: bool,
        },
        /// Redis takes what it has refused.
        Mended,
        /// The next start knows the last note only.
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6_u64).prop_map(Step::Enter),
                2 => (0..64_u64, 0..20_usize, any::<bool>()).prop_map(|(live, stops_after, refuses_ends)| Step::Pass { live, stops_after, refuses_ends }),
            1 => Just(Step::Mended),
            1 => Just(Step::Restart),
        ]
    }

    /// Every third record is the end of a session or another record that is no frame.
    fn kind(position: u64) -> Kind {
        if position.is_multiple_of(3) {
            Kind::CallEnd
        } else {
            Kind::Frame
        }
    }

    /// A backlog, its journal, and Redis.
    #[derive(Default)]
    struct World {
        backlog: Backlog,
        journal: Vec<(u64, u64)>,
        published: Vec<(u64, u64)>,
        /// What Redis has refused, in the owner's memory.
        again: Vec<(u64, u64)>,
    }

    impl World {
        fn publish(&mut self, call: u64, position: u64) {
            let again = self.again.iter();
            for (_, older) in again.filter(|(of, older)| *of == call && *older < position) {
                self.backlog.set_aside(Position(*older));
            }
            self.published.push((call, position));
            self.backlog
                .published(call, kind(position), Position(position));
        }

        fn mend(&mut self) {
            while !self.again.is_empty() {
                let (call, position) = self.again.remove(0);
                self.publish(call, position);
            }
        }

        fn held(&self) -> BTreeSet<Position> {
            self.again
                .iter()
                .map(|(_, position)| Position(*position))
                .collect()
        }

        fn pass(&mut self, live: u64, stops_after: usize, refuses_ends: bool) {
            let pass = self.backlog.pass(self.held(), |call| live >> call & 1 == 1);
            let due = self.journal.iter().filter(|(call, position)| {
                Position(*position) > pass.begins_after() && pass.takes(*call, Position(*position))
            });
            let due: Vec<_> = due.copied().collect();
            for &(call, position) in due.iter().take(stops_after) {
                if refuses_ends && kind(position) != Kind::Frame {
                    self.again.push((call, position));
                } else {
                    self.publish(call, position);
                }
            }
            if due.len() <= stops_after {
                let through = Position(self.journal.len() as u64);
                self.backlog.passed(&pass, through, self.held());
            }
        }

        fn restart(&mut self) {
            let note = Note::read(&self.backlog.note(Footing::default()).to_bytes()).unwrap();
            let through = self.backlog.through();
            let (pass, mut found) = (note.pass(), Backlog::default());
            for (call, position) in &self.journal {
                let (kind, position) = (kind(*position), Position(*position));
                if position > through && note.sets_aside(position) {
                    found.enter_aside(kind, position);
                } else if position > through && pass.takes(*call, position) {
                    found.enter(*call, kind, position);
                }
            }
            self.again.clear();
            self.backlog = Backlog {
                newest: Position(self.journal.len() as u64),
                ..Backlog::default()
            };
            self.backlog.merge(found);
        }
    }

    proptest! {
        /// Whatever comes in between, every record is published once, and the frames in order within their call.
        #[test]
        fn each_record_is_published_once_and_in_order(steps in proptest::collection::vec(step(), 0..120)) {
            let mut world = World::default();
            let everything = Step::Pass { live: 0, stops_after: usize::MAX, refuses_ends: false };
            for step in steps.into_iter().chain([Step::Mended, everything]) {
                match step {
                    Step::Enter(call) => {
                        let position = world.journal.len() as u64 + 1;
                        world.journal.push((call, position));
                        world.backlog.enter(call, kind(position), Position(position));
                    }
                    Step::Pass { live, stops_after, refuses_ends } => world.pass(live, stops_after, refuses_ends),
                    Step::Mended => world.mend(),
                    Step::Restart => world.restart(),
                }
                let frames = |records: &[(u64, u64)]| records.iter().filter(|(_, position)| kind(*position) == Kind::Frame).count() as u64;
                prop_assert_eq!(world.backlog.frames(), frames(&world.journal) - frames(&world.published));
                prop_assert!(world.backlog.has_more_than(world.again.len()) || world.published.len() + world.again.len() == world.journal.len());
            }
            let World { backlog, journal, published, .. } = world;
            let once: BTreeSet<_> = published.iter().collect();
            prop_assert_eq!(once.len(), published.len());
            prop_assert_eq!(published.len(), journal.len());
            prop_assert!(backlog.is_empty());
            prop_assert_eq!(backlog.through(), Position(journal.len() as u64));
            for call in 0..6 {
                let of_call = published.iter().filter(|(of, position)| *of == call && kind(*position) == Kind::Frame);
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
        let live = backlog.pass(BTreeSet::new(), |call| call == 8);
        assert!(live.takes(8, Position(2)) && !live.takes(7, Position(1)));
        assert_eq!(live.begins_after(), Position(1));
        assert!(live.takes(9, Position(5)), "a call that has begun since");
        assert!(
            !live.takes(7, Position(5)),
            "not before its earlier records"
        );
        let all = backlog.pass(BTreeSet::new(), |_| false);
        assert!(all.takes(7, Position(1)) && all.takes(8, Position(2)));
    }
}
