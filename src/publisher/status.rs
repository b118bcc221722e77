//! Whether a lane delivers, for `/health`: set by its owner, read by anybody.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

/// One lane's state in words.
#[derive(Debug, Default)]
pub(super) struct Status {
    up: AtomicBool,
    problem: Mutex<Option<String>>,
    /// What is not promised as long as this stays so, although all works.
    caveat: Mutex<Option<String>>,
    journal_bytes: AtomicU64,
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

    pub(super) fn journal_bytes(&self) -> u64 {
        self.journal_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_journal_bytes(&self, bytes: u64) {
        self.journal_bytes.store(bytes, Ordering::Relaxed);
    }
}
