//! How far a session's frames are durable: written by the lane that confirms them, read by whoever acks them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::telemetry;

/// One session's confirmed frames.
#[derive(Debug)]
pub struct Progress {
    pub interaction_id: String,
    pub tenant_id: String,
    /// See `call_key`.
    pub call: u64,
    /// Number of the newest durable frame plus one; 0 before there is one.
    durable: AtomicU64,
    frames: AtomicU64,
    /// Tell the session's connections each time so many more frames are durable; 0: never.
    tell_every: u64,
    /// Tell them when the frame with this number (plus one) is durable; 0: none is waited for.
    awaited: AtomicU64,
    finished: AtomicBool,
    told: watch::Sender<()>,
}

impl Progress {
    pub fn new(tenant_id: &str, interaction_id: &str, tell_every: u64) -> Self {
        Self {
            interaction_id: interaction_id.to_owned(),
            tenant_id: tenant_id.to_owned(),
            call: call_key(tenant_id, interaction_id),
            durable: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            tell_every,
            awaited: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            told: watch::Sender::new(()),
        }
    }

    /// Every frame up to this number is durable.
    pub fn durable(&self) -> Option<u64> {
        self.durable.load(Ordering::Acquire).checked_sub(1)
    }

    /// How many frames are durable.
    pub fn confirmed(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Is told whenever it is worth looking at [`Progress::durable`] again.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.told.subscribe()
    }

    /// Tells all who have subscribed, of something else than this.
    pub fn tell(&self) {
        self.told.send_replace(());
    }

    /// Whether this frame is durable; if not, subscribers will be told once it is.
    pub fn is_durable(&self, seq: u64) -> bool {
        // One side asks and then looks, the other confirms and then looks who asked: with any weaker order than
        // this, both could look before the other's store is seen, and nobody would be told.
        self.awaited
            .fetch_max(seq.saturating_add(1), Ordering::SeqCst);
        self.durable.load(Ordering::SeqCst) > seq
    }

    /// Whether the session's `call_end`, and with it everything before, is durable.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::Release);
        self.tell();
    }

    /// Only the lane calls this, when all earlier frames of the session are confirmed too or about to be so at once.
    pub(super) fn confirm(&self, seq: u64, bytes: usize) {
        let durable = seq.saturating_add(1);
        let durable = self
            .durable
            .fetch_max(durable, Ordering::SeqCst)
            .max(durable);
        let frames = self.frames.fetch_add(1, Ordering::Relaxed) + 1;
        if frames == 1 || frames.is_multiple_of(LOGGED_EVERY) {
            telemetry::frame_published(self, seq, frames, bytes);
        }
        let awaited = self.awaited.load(Ordering::SeqCst);
        if (self.tell_every > 0 && frames.is_multiple_of(self.tell_every))
            || (awaited > 0 && durable >= awaited)
        {
            self.awaited
                .compare_exchange(awaited, 0, Ordering::AcqRel, Ordering::Relaxed)
                .ok();
            self.tell();
        }
    }
}

/// The number that stands for a call where records are sorted by calls, on disk too. Two calls with the same number are
/// only kept in one order.
pub(super) fn call_key(tenant_id: &str, interaction_id: &str) -> u64 {
    let half = |text: &str| u64::from(crc32fast::hash(text.as_bytes()));
    half(interaction_id) << 32 | half(tenant_id)
}

const LOGGED_EVERY: u64 = 100;
