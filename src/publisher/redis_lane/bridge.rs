//! The way through the journal: while Redis is away, refuses or is slow, records go there, and from there to Redis when
//! it is back (5.3, 5.6).
//!
//! The owner of the lane decides when; here is what is to be remembered meanwhile. What is left of an earlier process
//! is the same as an outage that ends now.
//!
//! Invariants: a record is in the owner's memory, with the keeper, or in the backlog, never in none of them; a call that
//! has records in the journal sends its newer ones there too, until they have caught up.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    approach::Arrived,
    inherited::Inherited,
    replay::{ReadFailure, Replay, Survey, survey},
};
use crate::{
    journal::Position,
    publisher::{
        backlog::{Backlog, Note},
        batch::{Batch, What},
        fence::{Doubt, Footing},
        keeper::{Keeper, Kept, Release},
    },
};

/// The journal's side of a lane to Redis.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) keeper: Keeper,
    pub(super) backlog: Backlog,
    /// All new records go through the journal.
    pub(super) is_open: bool,
    /// What was on its way to Redis when the bridge opened is being written. It stays in the owner's memory too.
    pub(super) handing_over: bool,
    /// Since when nothing is written for a moment, so that the backlog can be caught up with.
    pub(super) held: Option<Instant>,
    /// Calls that go through the journal although it is not open for the others.
    pub(super) detour: HashSet<u64>,
    /// Records for the journal that the keeper does not have yet.
    pub(super) waiting: Batch,
    pub(super) replay: Option<Replay>,
    pub(super) inherited: Inherited,
    /// The connection that the journal knows of, and the one that is being noted.
    noted: u64,
    noting: Option<u64>,
    pub(super) note_due: bool,
    /// When a note that was not taken, as on a full disk, is tried again.
    note_again: Option<Instant>,
    noted_at: Instant,
    /// When the keeper may try again what it could not write.
    retry_at: Instant,
    /// When reading may be tried again after it failed.
    pub(super) read_at: Instant,
}

impl Bridge {
    pub(super) fn new(keeper: Keeper) -> Self {
        let account = keeper.account.clone();
        let is_open = account.synced > account.released;
        let note = Note::read(keeper.note());
        let now = Instant::now();
        let mut bridge = Self {
            keeper,
            backlog: Backlog::default(),
            is_open,
            handing_over: false,
            held: None,
            detour: HashSet::new(),
            waiting: Batch::default(),
            replay: None,
            inherited: Inherited {
                is_doubtful: is_open && note.is_some(),
                note,
                until: account.synced,
                ..Inherited::default()
            },
            noted: 0,
            noting: None,
            note_due: false,
            note_again: None,
            noted_at: now,
            retry_at: now,
            read_at: now,
        };
        bridge.backlog.reach(account.synced);
        if is_open {
            bridge.begin_survey();
        }
        bridge
    }

    /// Where the lane stood when an earlier process left it.
    pub(super) fn footing(&self) -> Footing {
        let note = self.inherited.note.as_ref();
        let mut footing = note.map(|note| note.footing.clone()).unwrap_or_default();
        if !self.is_open {
            // It has left no records here, but its last words may still be on their way.
            footing.doubt = match footing.doubt {
                Doubt::Of(identity) => Doubt::Behind(identity),
                _ => Doubt::Nothing,
            };
        }
        footing
    }

    /// How far the next start has to look back: as long as anything inherited is left, as far as this one, since what
    /// was found of it in Redis is not noted before it is reached.
    pub(super) fn look_back(&self, now: Footing) -> Footing {
        let Some(Note { footing, .. }) = &self.inherited.note else {
            return now;
        };
        if self.backlog.through() >= self.inherited.until {
            return now;
        }
        let doubt = match now.doubt {
            Doubt::Nothing => footing.doubt.clone(),
            doubt => doubt,
        };
        Footing {
            marks: footing.marks.clone(),
            doubt,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether records that were on their way to Redis are still being written: what has become of them cannot be
    /// sorted out before.
    pub(super) fn is_handing_over(&self) -> bool {
        self.handing_over
    }

    /// Whether anything in the journal is on its way to Redis, or was until now.
    pub(super) fn has_business(&self) -> bool {
        self.is_open || !self.backlog.is_empty() || self.replay.is_some()
    }

    /// Whether one of its threads is at something that must not be left half done.
    pub(super) fn is_working(&self) -> bool {
        self.keeper.is_busy() || self.inherited.survey.is_some()
    }

    /// Whether one of its threads may have news.
    pub(super) fn is_at_work(&self) -> bool {
        self.is_working() || self.replay.is_some()
    }

    /// Whether nothing is left to be done by it.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.is_open
            && self.backlog.is_empty()
            && self.waiting.is_empty()
            && !self.keeper.is_busy()
            && !self.keeper.is_stuck()
    }

    /// Returns when one of its threads has done something; never if none is at work.
    ///
    /// # Cancel safety
    /// The threads go on, and the next call tells of it.
    pub(super) async fn news(&mut self) -> News {
        let Self {
            keeper,
            replay,
            inherited,
            ..
        } = self;
        let read = async {
            match replay {
                Some(replay) => replay.read().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            kept = keeper.finished() => News::Kept(kept),
            result = read => News::Read(result),
            found = inherited.surveyed() => News::Surveyed(found),
        }
    }

    fn begin_survey(&mut self) {
        let account = &self.keeper.account;
        let (dir, released, until) = (account.dir.clone(), account.released, account.synced);
        let note = self.inherited.note.clone();
        self.inherited.survey = Some(tokio::task::spawn_blocking(move || {
            survey(&dir, released, until, note.as_ref())
        }));
    }

    /// Takes in what the survey has found, and gives back how far clients have numbered its calls; after a failure it
    /// begins anew in a while.
    pub(super) fn take_survey(
        &mut self,
        found: Result<Survey, ReadFailure>,
        now: Instant,
    ) -> Result<HashMap<u64, u64>, ReadFailure> {
        let found = found.inspect_err(|_| self.inherited.survey_at = Some(now + RETRY_AFTER));
        let Survey { backlog, numbers } = found?;
        self.backlog.merge(backlog);
        Ok(numbers)
    }

    /// Begins a survey that has failed anew, when it is time.
    pub(super) fn look(&mut self, now: Instant) {
        if self.inherited.survey_at.take_if(|at| *at <= now).is_some() {
            self.begin_survey();
        }
    }

    /// Whatever was found in Redis and belongs to nothing in memory may belong to what was inherited.
    pub(super) fn inherit(&mut self, arrived: Arrived) {
        if std::mem::take(&mut self.inherited.is_doubtful) {
            *self.inherited.arrived.lock() = arrived;
        }
    }

    /// Opens for all records. `sent` may have been taken by Redis; what was not comes with what is new.
    pub(super) fn open(&mut self, sent: Batch) {
        self.is_open = true;
        self.held = None;
        self.replay = None;
        self.handing_over = true;
        self.note_due = true;
        self.waiting.extend(sent);
    }

    /// Whether it wants new records of all calls now.
    pub(super) fn wants_records(&self) -> bool {
        self.is_open && self.held.is_none() && self.waiting.is_empty() && !self.keeper.is_busy()
    }

    /// New records of all calls.
    pub(super) fn write(&mut self, batch: Batch) {
        self.waiting.extend(batch);
    }

    /// Parts a batch: what goes to Redis, and, kept here, what takes the detour.
    pub(super) fn part(&mut self, batch: Batch) -> Batch {
        if self.detour.is_empty() {
            return batch;
        }
        let detour = |call| self.detour.contains(&call);
        let (waits, direct) = batch.split(|what| what.call().is_some_and(detour));
        self.waiting.extend(waits);
        direct
    }

    /// Whether the journal knows of the present connection: it must before anything out of it is sent there.
    pub(super) fn may_publish(&mut self, connection: u64) -> bool {
        let known = self.noted == connection;
        self.note_due |= !known && self.noting.is_none();
        known
    }

    /// Whether there is anything for the keeper to do, and it is free.
    pub(super) fn wants_feeding(&self, now: Instant) -> bool {
        if self.keeper.is_busy() || (self.keeper.is_stuck() && now < self.retry_at) {
            return false;
        }
        self.keeper.is_stuck()
            || (!self.waiting.is_empty() && (self.held.is_none() || self.handing_over))
            || self.is_note_due(now)
    }

    /// Gives the keeper what there is to do.
    pub(super) fn feed_keeper(&mut self, now: Instant, connection: u64, footing: Footing) {
        let batch = if self.held.is_some() && !self.handing_over {
            Batch::default()
        } else {
            std::mem::take(&mut self.waiting)
        };
        let release = self.is_note_due(now).then(|| {
            (self.note_due, self.note_again) = (false, None);
            self.noted_at = now;
            self.noting = Some(connection);
            Release {
                through: self.backlog.through(),
                note: self.backlog.note(footing).to_bytes(),
            }
        });
        self.keeper.begin(batch, release);
        if !self.keeper.is_busy() {
            // There is no writer any more, and nothing will come of it.
            self.noted = self.noting.take().unwrap_or(self.noted);
        }
    }

    fn is_note_due(&self, now: Instant) -> bool {
        let again = now.duration_since(self.noted_at) >= NOTE_EVERY
            && self.keeper.account.released < self.backlog.through();
        // Before the survey is done, what the earlier process noted is still all that is known.
        let failed = self.note_again.is_some_and(|at| at <= now);
        (self.note_due || again || failed) && !self.inherited.is_unknown()
    }

    /// Enters what the keeper has made safe. What was on its way to Redis is given back, for the owner to keep.
    pub(super) fn take_kept(&mut self, kept: &Kept, now: Instant) -> Batch {
        let mut sent = Batch::default();
        for (index, (entry, position)) in kept.batch.entries.iter().zip(&kept.positions).enumerate()
        {
            let position = *position;
            let (Some(kind), Some(call)) = (entry.what.kind(), entry.what.call()) else {
                continue;
            };
            if position == Position::START {
                continue;
            }
            self.backlog.enter(call, kind, position);
            // What took the detour was not on its way: its turn is behind what the backlog has of its call.
            if self.handing_over && !self.detour.contains(&call) {
                let what = What::Journaled {
                    kind,
                    call,
                    position,
                };
                sent.copy_as(&kept.batch, index, what);
            }
        }
        if let Some(connection) = self.noting.take() {
            // Also where the journal could not note it: a full disk must not keep back what is on it.
            self.noted = connection;
            self.note_again = kept.unnoted.is_some().then(|| now + NOTE_EVERY);
        }
        if self.keeper.is_stuck() {
            self.retry_at = now + RETRY_AFTER;
        } else if self.waiting.is_empty() {
            self.handing_over = false;
        }
        sent
    }

    /// The disk does not take what was to be handed over, and Redis is there: it goes the direct way after all.
    pub(super) fn call_off(&mut self) -> Batch {
        self.handing_over = false;
        let unwritten = self.take_unwritten();
        self.part(unwritten)
    }

    /// What is neither in Redis nor in the journal.
    pub(super) fn take_unwritten(&mut self) -> Batch {
        let mut rest = self.keeper.take_back();
        rest.extend(std::mem::take(&mut self.waiting));
        rest
    }

    /// Has the journal note how things stand, and what it did not take tried again.
    pub(super) fn note_at_once(&mut self) {
        self.note_due |=
            self.has_business() || self.keeper.account.released < self.backlog.through();
        self.retry_at = self.noted_at;
    }
}

/// What one of the bridge's threads has done.
#[derive(Debug)]
pub(super) enum News {
    Kept(Kept),
    Read(Result<(), ReadFailure>),
    Surveyed(Result<Survey, ReadFailure>),
}

/// What is confirmed may be sent again after a crash unless it is found in the stream: this bounds the search.
const NOTE_EVERY: Duration = Duration::from_secs(1);
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(500);
