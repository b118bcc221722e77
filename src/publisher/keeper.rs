//! The journal at work for one lane: takes a batch, writes it on a thread that may block, and tells what is safe.
//!
//! One piece of work at a time; what comes meanwhile gathers, so that one sync serves all calls. When to write, and
//! what follows from it, is the owner's. Invariant: a record that was handed over is either told to be safe, once, or
//! still here, in order.

use std::{
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
};

use tokio::task::JoinHandle;

use super::batch::{Batch, What};
use crate::{
    clock,
    journal::{
        self, Keep, Position, Record,
        error::{AppendError, OpenError, ReleaseError, SyncError},
        writer::Writer,
    },
    telemetry,
};

/// The writer of one lane's journal.
#[derive(Debug)]
pub(super) struct Keeper {
    hand: Hand,
    /// What could not be written yet.
    left: Batch,
    keep: Keep,
    pub(super) account: Account,
}

#[derive(Debug)]
enum Hand {
    Idle(Box<Writer>),
    /// No writer comes back from a panic; the batch always does.
    Busy(JoinHandle<(Option<Box<Writer>>, Batch, Outcome)>),
    /// The thread that had the writer is gone.
    Lost,
}

/// What is known of the journal while others use it.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) dir: PathBuf,
    pub(super) bytes: u64,
    pub(super) max_bytes: u64,
    /// When the oldest record was written, as near as its segment tells.
    pub(super) oldest_ms: Option<u64>,
    /// The newest record that is safe.
    pub(super) synced: Position,
    /// All records up to this one are in Redis.
    pub(super) released: Position,
}

/// One turn of the writer.
#[derive(Debug, Default)]
struct Work {
    batch: Batch,
    /// Noted before anything is written.
    release: Option<Release>,
}

/// How far Redis has all records, and what is to be known of those behind.
#[derive(Debug, Default)]
pub(super) struct Release {
    pub(super) through: Position,
    pub(super) note: Vec<u8>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// By entry: its record, once it was appended.
    positions: Vec<Position>,
    synced: Position,
    failure: Option<Failure>,
    unnoted: Option<ReleaseError>,
}

/// What a turn of the writer came to.
#[derive(Debug)]
pub(super) struct Kept {
    /// What needs no care any more, and by entry where it stands.
    pub(super) batch: Batch,
    pub(super) positions: Vec<Position>,
    pub(super) failure: Option<Failure>,
    /// Why the release was not noted, or not carried out.
    pub(super) unnoted: Option<ReleaseError>,
}

impl Kept {
    /// All that went wrong, with the system's own words.
    pub(super) fn problem(&self) -> Option<String> {
        let written = self.failure.as_ref().map(describe);
        let noted = self.unnoted.as_ref().map(describe);
        match (written, noted) {
            (Some(written), Some(noted)) => Some(format!("{written}; {noted}")),
            (written, noted) => written.or(noted),
        }
    }
}

/// Why not all was written. Nothing is lost by it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("the thread that writes the journal has died: restart the service")]
    Lost,
}

/// With the system's own words.
pub(super) fn describe(error: &impl std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}

impl Keeper {
    pub(super) fn open(settings: &journal::Settings, keep: Keep) -> Result<Self, OpenError> {
        let writer = Writer::open(settings, keep)?;
        for notice in writer.notices() {
            telemetry::journal_notice(&notice.to_string());
        }
        let mut account = Account {
            dir: settings.dir.clone(),
            max_bytes: settings.max_bytes,
            ..Account::default()
        };
        account.read(&writer);
        Ok(Self {
            hand: Hand::Idle(Box::new(writer)),
            left: Batch::default(),
            keep,
            account,
        })
    }

    /// What was noted with the last release, before this process or in it.
    pub(super) fn note(&self) -> &[u8] {
        match &self.hand {
            Hand::Idle(writer) => writer.note(),
            Hand::Busy(_) | Hand::Lost => &[],
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self.hand, Hand::Busy(_))
    }

    /// Whether something could not be written yet.
    pub(super) fn is_stuck(&self) -> bool {
        !self.left.is_empty()
    }

    /// Notes `release`, then writes and syncs what is left from before and `batch`.
    pub(super) fn begin(&mut self, batch: Batch, release: Option<Release>) {
        let mut all = std::mem::take(&mut self.left);
        all.extend(batch);
        let work = Work {
            batch: all,
            release,
        };
        let keep = self.keep;
        self.hand = match std::mem::replace(&mut self.hand, Hand::Lost) {
            Hand::Idle(writer) => Hand::Busy(tokio::task::spawn_blocking(move || {
                guarded_turn(writer, work, keep)
            })),
            other => {
                self.left = work.batch;
                other
            }
        };
    }

    /// Returns when the work at hand is done; never if there is none.
    ///
    /// # Cancel safety
    /// The work goes on, and the next call tells of it.
    pub(super) async fn finished(&mut self) -> Kept {
        let Hand::Busy(thread) = &mut self.hand else {
            return std::future::pending().await;
        };
        // It can only fail while the runtime is being shut down.
        let (writer, batch, outcome) = thread.await.unwrap_or_default();
        self.hand = match writer {
            Some(writer) => {
                self.account.read(&writer);
                Hand::Idle(writer)
            }
            None => Hand::Lost,
        };
        self.sort(batch, outcome)
    }

    /// Parts what is safe from what is left.
    fn sort(&mut self, batch: Batch, outcome: Outcome) -> Kept {
        let Outcome {
            positions,
            synced,
            failure,
            unnoted,
        } = outcome;
        if failure.is_none() {
            return Kept {
                batch,
                positions,
                failure,
                unnoted,
            };
        }
        let (mut kept, mut numbers) = (Batch::default(), Vec::new());
        for index in 0..batch.entries.len() {
            match positions.get(index) {
                Some(position) if *position <= synced => {
                    kept.copy(&batch, index);
                    numbers.push(*position);
                }
                _ => self.left.copy(&batch, index),
            }
        }
        Kept {
            batch: kept,
            positions: numbers,
            failure,
            unnoted,
        }
    }

    /// Takes back what could not be written; it will not be in the journal.
    pub(super) fn take_back(&mut self) -> Batch {
        std::mem::take(&mut self.left)
    }
}

impl Account {
    fn read(&mut self, writer: &Writer) {
        self.bytes = writer.bytes();
        self.oldest_ms = writer.oldest_ms();
        self.synced = writer.synced();
        self.released = writer.released();
    }
}

/// What the blocking thread does. Should the writer panic, its records are still here.
fn guarded_turn(
    mut writer: Box<Writer>,
    Work { batch, release }: Work,
    keep: Keep,
) -> (Option<Box<Writer>>, Batch, Outcome) {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        turn(&mut writer, &batch, release, keep)
    }));
    match outcome {
        Ok(outcome) => (Some(writer), batch, outcome),
        Err(_panic) => {
            let failure = Some(Failure::Lost);
            let outcome = Outcome {
                failure,
                ..Outcome::default()
            };
            (None, batch, outcome)
        }
    }
}

/// One turn. What could not be made safe will be handed over again, so the writer forgets it.
fn turn(writer: &mut Writer, batch: &Batch, release: Option<Release>, keep: Keep) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(Release { through, note }) = release {
        outcome.unnoted = writer.release(through, &note).err();
    }
    let written = append(writer, batch, keep, &mut outcome.positions);
    let synced = writer.sync();
    if let Ok(removed) = &synced
        && removed.records > 0
    {
        telemetry::journal_removed(removed.records, removed.bytes);
    }
    if written.is_err() || synced.is_err() {
        writer.forget_unsynced();
    }
    outcome.failure = written.and(synced.map(|_| ()).map_err(Failure::from)).err();
    outcome.synced = writer.synced();
    outcome
}

fn append(
    writer: &mut Writer,
    batch: &Batch,
    keep: Keep,
    positions: &mut Vec<Position>,
) -> Result<(), Failure> {
    let at_ms = clock::epoch_ms();
    for (index, entry) in batch.entries.iter().enumerate() {
        let (Some(kind), Some(call)) = (entry.what.kind(), entry.what.call()) else {
            positions.push(NOWHERE);
            continue;
        };
        let number = match &entry.what {
            What::Frame {
                seq,
                numbered: true,
                ..
            } => seq.saturating_add(1),
            _ => 0,
        };
        let fields = batch.fields(index);
        positions.push(
            match writer.append(Record {
                kind,
                at_ms,
                call,
                number,
                fields,
            }) {
                Ok(position) => position,
                // On its way to Redis it waits in memory, and what comes behind it with it: none of it is safe.
                Err(error @ AppendError::TooLarge { .. }) if keep == Keep::Newest => {
                    telemetry::record_too_large(&error.to_string());
                    NOWHERE
                }
                Err(error) => return Err(error.into()),
            },
        );
    }
    Ok(())
}

/// Where records are that have no place in the journal.
pub(super) const NOWHERE: Position = Position::START;
