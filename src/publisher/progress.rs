//! How far a session's frames are durable: written by the lane that confirms them, read by whoever acks them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::telemetry;

/// One session's confirmed frames.
#[derive(Debug)]
pub struct Progress {
    pub interaction_id: String,
    pub tenant_id: String,
    /// Number of the newest durable frame plus one; 0 before there is one.
    durable: AtomicU64,
    frames: AtomicU64,
    /// Wake the session's connections when this many more frames are durable; 0: never.
    wake_every: u64,
    woken: Notify,
}

impl Progress {
    pub fn new(tenant_id: &str, interaction_id: &str, wake_every: u64) -> Self {
        Self {
            interaction_id: interaction_id.to_owned(),
            tenant_id: tenant_id.to_owned(),
            durable: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            wake_every,
            woken: Notify::new(),
        }
    }

    /// Every frame up to this number is durable.
    pub fn durable(&self) -> Option<u64> {
        self.durable.load(Ordering::Acquire).checked_sub(1)
    }

    /// Returns when more may be durable than before.
    ///
    /// # Cancel safety
    /// A wake that came while nobody waited is kept for the next wait.
    pub async fn changed(&self) {
        self.woken.notified().await;
    }

    /// Only the lane calls this, in the order of the session's frames.
    pub(super) fn confirm(&self, seq: u64, bytes: usize) {
        self.durable.store(seq.saturating_add(1), Ordering::Release);
        let frames = self.frames.fetch_add(1, Ordering::Relaxed) + 1;
        if frames == 1 || frames.is_multiple_of(LOGGED_EVERY) {
            telemetry::frame_published(self, seq, frames, bytes);
        }
        if self.wake_every > 0 && frames.is_multiple_of(self.wake_every) {
            self.woken.notify_one();
        }
    }

    /// Wakes whoever waits for the last of the session's frames, however few they were.
    pub(super) fn flushed(&self) {
        if self.wake_every > 0 {
            self.woken.notify_one();
        }
    }
}

const LOGGED_EVERY: u64 = 100;
