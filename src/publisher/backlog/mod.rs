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
mod tests;
