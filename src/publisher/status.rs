//! Whether a lane delivers, for `/health`: set by its owner, read by anybody.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::keeper::Account;

/// One lane's state in words.
#[derive(Debug, Default)]
pub(super) struct Status {
    up: AtomicBool,
    problem: Mutex<Option<String>>,
    /// What is not promised as long as this stays so, although all works.
    caveat: Mutex<Option<String>>,
    journal: Mutex<JournalStatus>,
}

/// How the journal of a lane is doing.
#[derive(Debug, Default, Clone)]
pub(super) struct JournalStatus {
    pub(super) bytes: u64,
    pub(super) max_bytes: u64,
    /// When the oldest record in it was written, as near as its segment tells.
    pub(super) oldest_ms: Option<u64>,
    /// Why it cannot be written.
    pub(super) problem: Option<String>,
    /// Why it cannot be read.
    pub(super) unreadable: Option<String>,
    /// How often in a row reading has failed.
    pub(super) failed_reads: u32,
    /// Frames in it that are on their way to Redis.
    pub(super) backlog: u64,
    /// As many as there were at once.
    pub(super) backlog_most: u64,
    /// It holds nothing that is to be published.
    pub(super) caught_up: bool,
    /// Bytes that come in a second.
    pub(super) load: u64,
}

impl JournalStatus {
    /// For so many seconds of the present load it has room.
    pub(super) fn room_s(&self) -> Option<u64> {
        self.max_bytes
            .saturating_sub(self.bytes)
            .checked_div(self.load)
    }
}

impl Status {
    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// What keeps the lane from delivering, with what to do about it.
    pub(super) fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    pub(super) fn caveat(&self) -> Option<String> {
        self.caveat.lock().clone()
    }

    pub(super) fn set_caveat(&self, caveat: Option<String>) {
        *self.caveat.lock() = caveat;
    }

    /// Tells whether that is news.
    pub(super) fn set_up(&self) -> bool {
        *self.problem.lock() = None;
        !self.up.swap(true, Ordering::Relaxed)
    }

    /// Tells whether that is news: a new problem, or the first after all went well.
    pub(super) fn set_down(&self, problem: String) -> bool {
        let was_up = self.up.swap(false, Ordering::Relaxed);
        let mut known = self.problem.lock();
        let new = known.as_ref() != Some(&problem);
        *known = Some(problem);
        was_up || new
    }

    pub(super) fn journal(&self) -> JournalStatus {
        self.journal.lock().clone()
    }

    pub(super) fn set_journal(&self, account: &Account) {
        let mut journal = self.journal.lock();
        (journal.bytes, journal.max_bytes) = (account.bytes, account.max_bytes);
        journal.oldest_ms = account.oldest_ms;
    }

    /// Tells whether that is news.
    pub(super) fn set_journal_problem(&self, problem: Option<String>) -> bool {
        let mut journal = self.journal.lock();
        let news = journal.problem != problem;
        journal.problem = problem;
        news
    }

    /// Reading has worked, or failed for this reason. Once may be chance. Tells what is to be said now.
    pub(super) fn set_read(&self, failure: Option<String>) -> Option<String> {
        let mut journal = self.journal.lock();
        let Some(failure) = failure else {
            (journal.failed_reads, journal.unreadable) = (0, None);
            return None;
        };
        journal.failed_reads = journal.failed_reads.saturating_add(1);
        if journal.failed_reads < FAILED_READS {
            return None;
        }
        let news = journal.unreadable.replace(failure.clone()).as_ref() != Some(&failure);
        news.then_some(failure)
    }

    pub(super) fn set_backlog(&self, frames: u64, caught_up: bool, load: u64) {
        let mut journal = self.journal.lock();
        (journal.backlog, journal.caught_up, journal.load) = (frames, caught_up, load);
        journal.backlog_most = journal.backlog_most.max(frames);
    }
}

/// Every half second one.
const FAILED_READS: u32 = 3;
