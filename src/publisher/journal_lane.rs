//! The owner of the lane to the embedded journal: what has gathered is appended, synced once, and then confirmed.
//!
//! Invariant: nothing is confirmed before a sync that covers it has succeeded.

use std::{sync::Arc, time::Duration};

use super::{
    batch::{Batch, What},
    lane::Lane,
};
use crate::{
    clock,
    journal::{
        self, Keep, Record,
        error::{AppendError, OpenError, SyncError},
        writer::Writer,
    },
    telemetry,
};

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct JournalError(#[from] OpenError);

/// The lane's owner.
#[derive(Debug)]
pub(super) struct JournalLane {
    lane: Arc<Lane>,
    gather: Duration,
    /// `None` only while it is lent to a blocking thread.
    writer: Option<Writer>,
    /// Taken, and not yet known to be safe.
    unsynced: Batch,
    /// So many commands of it the writer has.
    appended: usize,
    spare: Batch,
}

impl JournalLane {
    pub(super) fn open(
        lane: Arc<Lane>,
        settings: &journal::Settings,
        gather: Duration,
    ) -> Result<Self, JournalError> {
        let writer = Writer::open(settings, Keep::Newest)?;
        for notice in writer.notices() {
            telemetry::journal_notice(&notice.to_string());
        }
        lane.status.set_journal_bytes(writer.bytes());
        lane.status.set_up();
        Ok(Self {
            lane,
            gather,
            writer: Some(writer),
            unsynced: Batch::default(),
            appended: 0,
            spare: Batch::default(),
        })
    }

    /// Runs until the lane is closed and all is safe, or `give_up` resolves. Returns what is not.
    pub(super) async fn run(mut self, give_up: impl Future<Output = ()>) -> Vec<Batch> {
        tokio::pin!(give_up);
        while !self.is_done() {
            tokio::select! {
                () = self.lane.filled(), if self.unsynced.is_empty() => tokio::time::sleep(self.gather).await,
                () = tokio::time::sleep(RETRY_AFTER), if !self.unsynced.is_empty() => {}
                () = &mut give_up => break,
            }
            // Both arms above only wait: the write itself is never cut short.
            if !self.write().await {
                break;
            }
        }
        let rest = self.lane.take(Batch::default());
        [self.unsynced, rest]
            .into_iter()
            .filter(|batch| !batch.is_empty())
            .collect()
    }

    /// One round: append what has come, sync, confirm. False if the journal is lost for good.
    async fn write(&mut self) -> bool {
        let Some(mut writer) = self.writer.take() else {
            return false;
        };
        if self.unsynced.is_empty() {
            self.unsynced = self.lane.take(std::mem::take(&mut self.spare));
        }
        let (batch, mut appended) = (std::mem::take(&mut self.unsynced), self.appended);
        let written = tokio::task::spawn_blocking(move || {
            let synced = append(&mut writer, &batch, &mut appended).and_then(|()| writer.sync());
            (writer, batch, appended, synced)
        });
        let Ok((writer, batch, appended, synced)) = written.await else {
            return false;
        };
        (self.unsynced, self.appended) = (batch, appended);
        self.lane.status.set_journal_bytes(writer.bytes());
        self.writer = Some(writer);
        match synced {
            Ok(_) => self.confirm(),
            Err(error) => self.report(&error),
        }
        true
    }

    fn confirm(&mut self) {
        let mut batch = std::mem::take(&mut self.unsynced);
        self.appended = 0;
        for (index, entry) in batch.entries.iter().enumerate() {
            entry.what.confirm(batch.fields(index).len());
        }
        self.lane.confirm_bytes(batch.bytes.len());
        batch.recycle();
        self.spare = batch;
        self.lane.status.set_up();
    }

    fn report(&self, error: &SyncError) {
        let cause = std::error::Error::source(error)
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        let problem = format!("{error}{cause}");
        if self.lane.status.set_down(problem.clone()) {
            telemetry::journal_failed(&problem);
        }
    }

    fn is_done(&self) -> bool {
        self.lane.is_closing() && self.unsynced.is_empty() && !self.lane.is_filled()
    }
}

/// Hands the writer what it does not have yet.
fn append(writer: &mut Writer, batch: &Batch, appended: &mut usize) -> Result<(), SyncError> {
    let at_ms = clock::epoch_ms();
    for (index, entry) in batch.entries.iter().enumerate().skip(*appended) {
        *appended = index;
        let (kind, session, seq) = match (&entry.what, entry.what.kind()) {
            (What::Frame { session, seq, .. }, Some(kind)) => (kind, *session, *seq),
            (What::CallEnd { session, .. }, Some(kind)) => (kind, *session, 0),
            (_, Some(kind)) => (kind, 0, 0),
            (_, None) => continue,
        };
        let record = Record {
            kind,
            at_ms,
            session,
            seq,
            fields: batch.fields(index),
        };
        match writer.append(record) {
            Ok(_) => {}
            Err(AppendError::Sync(error)) => return Err(error),
            Err(error) => telemetry::journal_failed(&error.to_string()),
        }
    }
    *appended = batch.entries.len();
    Ok(())
}

const RETRY_AFTER: Duration = Duration::from_millis(500);
