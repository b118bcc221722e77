//! The owner of the lane to the embedded journal: what has gathered is appended, synced once, and then confirmed.
//!
//! Invariant: nothing is confirmed before a sync that covers it has succeeded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    Left,
    keeper::{Keeper, Kept, NOWHERE},
    lane::Lane,
};
use crate::{clock, record::Kind, telemetry};

/// The lane's owner.
#[derive(Debug)]
pub(super) struct JournalLane {
    lane: Arc<Lane>,
    gather: Duration,
    keeper: Keeper,
}

impl JournalLane {
    pub(super) fn new(lane: Arc<Lane>, keeper: Keeper, gather: Duration) -> Self {
        lane.status.set_journal(&keeper.account);
        lane.status.set_up();
        lane.set_earlier(HashMap::new());
        Self {
            lane,
            gather,
            keeper,
        }
    }

    /// Runs until the lane is closed and all is safe, or `give_up` resolves.
    pub(super) async fn run(mut self, give_up: impl Future<Output = ()>) -> Left {
        tokio::pin!(give_up);
        while !self.is_done() {
            let stuck = self.keeper.is_stuck();
            tokio::select! {
                kept = self.keeper.finished() => self.take(kept),
                () = self.lane.filled(), if !self.keeper.is_busy() && !stuck => tokio::time::sleep(self.gather).await,
                () = tokio::time::sleep(RETRY_AFTER), if !self.keeper.is_busy() && stuck => {}
                () = &mut give_up => break,
            }
            if !self.keeper.is_busy() && (self.keeper.is_stuck() || self.lane.is_filled()) {
                self.keeper.begin(self.lane.take(), None);
            }
        }
        if self.keeper.is_busy() {
            let kept = self.keeper.finished().await;
            self.take(kept);
        }
        let mut rest = self.keeper.take_back();
        rest.extend(self.lane.take());
        Left::lost(&rest)
    }

    fn take(&mut self, kept: Kept) {
        let problem = kept.problem();
        let batch = kept.batch;
        let mut confirmed = self.lane.confirmed(clock::now().instant);
        for (index, entry) in batch.entries.iter().enumerate() {
            entry.what.confirm(batch.fields(index).len());
            let is_frame = entry.what.kind() == Some(Kind::Frame);
            if is_frame && kept.positions.get(index) == Some(&NOWHERE) {
                self.lane.counts.too_large();
            } else {
                confirmed.take(&entry.what);
            }
        }
        self.lane.counts.kept(&confirmed);
        self.lane.confirm_bytes(batch.command_bytes());
        self.lane.spare(batch);
        self.lane.status.set_journal(&self.keeper.account);
        match problem {
            None => {
                self.lane.status.set_up();
            }
            Some(problem) => {
                if self.lane.status.set_down(problem.clone()) {
                    telemetry::journal_failed(&problem);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.lane.is_closing()
            && !self.keeper.is_busy()
            && !self.keeper.is_stuck()
            && !self.lane.is_filled()
    }
}

const RETRY_AFTER: Duration = Duration::from_millis(500);
