//! How the backlog is caught up with: read in passes, sent in pieces, until nothing of it is left.
//!
//! Live calls first; when they have caught up, the bridge closes for them, and those that have ended follow beside
//! them. A record that is refused and is no frame is sent again and again, and nothing waits for it. Invariant: a pass
//! begins and ends only when nothing of the backlog is on its way to Redis, and no frame waits to be sent again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    bridge::{Bridge, RETRY_AFTER},
    replay::{Limits, Piece, Replay},
};
use crate::{
    journal::{Position, error::ReadError},
    publisher::{
        batch::{Batch, What},
        lane::Lane,
    },
    record::Kind,
};

/// The backlog is caught up with.
#[derive(Debug)]
pub(super) struct Caught {
    /// The next to be sent.
    pub(super) direct: Batch,
    /// Whether the bridge was open until now.
    pub(super) closed: bool,
}

impl Bridge {
    /// These records are in Redis. Those of `again` are not, and may be older.
    pub(super) fn take_published(&mut self, published: Vec<(u64, Kind, Position)>, again: &Batch) {
        if published.is_empty() {
            return;
        }
        let mut newest: HashMap<u64, Position> = HashMap::new();
        for (call, _, position) in &published {
            let newest = newest.entry(*call).or_insert(*position);
            *newest = (*newest).max(*position);
        }
        for (call, position) in journaled(again) {
            if newest.get(&call).is_some_and(|newest| position < *newest) {
                self.backlog.set_aside(position);
            }
        }
        for (call, kind, position) in published {
            self.backlog.published(call, kind, position);
        }
    }

    /// Lets go what is held, should the end of the backlog not come as soon as was thought.
    pub(super) fn end_long_hold(&mut self, now: Instant) {
        self.held
            .take_if(|since| now.duration_since(*since) > HELD_MAX);
    }

    /// A piece of the backlog to be sent now.
    pub(super) fn next_piece(&mut self, now: Instant) -> Option<Piece> {
        let replay = self.replay.as_mut()?;
        if replay.ready()?.is_empty() {
            return None;
        }
        let piece = replay.take()?;
        if piece.at_end && self.held.is_none() {
            self.held = Some(now);
        }
        Some(piece)
    }

    /// Goes on with the backlog, as far as that can be done without Redis: begins a pass, has the next piece read,
    /// ends the pass. `again` was refused; no frame is among it.
    pub(super) fn go_on(
        &mut self,
        lane: &Arc<Lane>,
        again: &Batch,
        allowance: u64,
        now: Instant,
    ) -> Result<Option<Caught>, ReadError> {
        if self.inherited.is_unknown() || self.handing_over {
            return Ok(None);
        }
        let synced = self.keeper.account.synced;
        let Some(replay) = &mut self.replay else {
            if now < self.read_at {
                return Ok(None);
            }
            if !self.backlog.has_more_than(journaled(again).count()) {
                let caught = self.is_open && !self.keeper.is_busy();
                return Ok(caught.then(|| self.arrive(again)));
            }
            let pass = self
                .backlog
                .pass(positions(again), |call| lane.is_live(call));
            let arrived = &self.inherited.arrived;
            let begun = Replay::begin(&self.keeper.account.dir, pass, lane, arrived);
            self.replay = Some(begun.inspect_err(|_| self.read_at = now + RETRY_AFTER)?);
            return Ok(None);
        };
        if let Some(piece) = replay.ready() {
            if !piece.is_empty() {
                return Ok(None);
            }
            if piece.at_end && replay.until() == synced {
                self.held.get_or_insert(now);
                let caught = !self.keeper.is_busy();
                return Ok(caught.then(|| self.arrive(again)));
            }
            replay.take();
        }
        let limits = if self.is_open { OUTAGE } else { BESIDE };
        let records = limits.records.min(allowance);
        if records > 0 {
            replay.read_on(synced, Limits { records, ..limits });
        }
        Ok(None)
    }

    /// All that this pass was for is in Redis, but for what is refused.
    fn arrive(&mut self, again: &Batch) -> Caught {
        if let Some(replay) = self.replay.take() {
            let through = replay.until();
            self.backlog.passed(&replay.pass, through, positions(again));
        }
        self.detour = self.backlog.calls().collect();
        // What could not be written, or was held back, comes behind all that was.
        let rest = self.take_unwritten();
        self.held = None;
        self.note_due = true;
        Caught {
            direct: self.part(rest),
            closed: std::mem::take(&mut self.is_open),
        }
    }

    /// Forgets what was being read; a new pass will begin.
    pub(super) fn stop_reading(&mut self, now: Instant) {
        self.replay = None;
        self.read_at = now + RETRY_AFTER;
    }
}

/// The records of the journal that are among these, with their calls.
fn journaled(batch: &Batch) -> impl Iterator<Item = (u64, Position)> {
    batch.entries.iter().filter_map(|entry| match entry.what {
        What::Journaled { call, position, .. } => Some((call, position)),
        _ => None,
    })
}

fn positions(batch: &Batch) -> BTreeSet<Position> {
    journaled(batch).map(|(_, position)| position).collect()
}

/// 4 ms of Redis's time: live calls that go the direct way beside it hardly notice.
const BESIDE: Limits = Limits {
    records: 500,
    bytes: 256 * 1024,
};
/// Nobody else is waiting.
const OUTAGE: Limits = Limits {
    records: 2000,
    bytes: 2 << 20,
};
/// Records of live calls wait in memory while the last piece of the backlog is sent, but not for long.
const HELD_MAX: Duration = Duration::from_millis(500);
