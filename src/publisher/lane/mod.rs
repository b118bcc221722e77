//! One stream's way out: sessions append commands to its open batch, its owner takes the batch and delivers it.
//!
//! The owner is `redis_lane/` or `journal_lane.rs`. When [`QUEUE_BYTES_MAX`] are not yet confirmed the lane has no
//! room: sessions then **wait** with reading their sockets, so that TCP slows the senders down; what they have read
//! already is always taken, one message per connection. When it is full as well, waiting is of no use, and sessions whose
//! senders cannot wait **shed** their audio (5.4). Invariant: commands of one session leave in the order in
//! which they were appended.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    Trim,
    batch::{Batch, What},
    command::{Commands, TrimArguments},
    counts::{Confirmed, Counts},
    moments::Moments,
    progress::Progress,
    status::Status,
};
use crate::{
    clock,
    payload::Audio,
    record::{
        Kind,
        frame::{FrameNumbers, FramePattern},
        push_pair,
    },
    rounds,
};

/// The handle that sessions and the owner share.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: String,
    pub(super) trim: Trim,
    pub(super) commands: Commands,
    open: Mutex<Open>,
    /// How many sessions are live, by call.
    live: Mutex<HashMap<u64, usize>>,
    /// How far clients have numbered the calls that an earlier process has left in the journal, once that is known.
    earlier: watch::Sender<Option<HashMap<u64, u64>>>,
    /// Bytes appended and not yet confirmed.
    queued: AtomicUsize,
    filled: Notify,
    room: Notify,
    /// Nothing more can be kept: Redis is away, and the journal takes nothing.
    full: AtomicBool,
    closing: AtomicBool,
    pub(super) status: Status,
    pub(super) counts: Counts,
}

#[derive(Debug)]
struct Open {
    /// What is complete, in order: each as much as leaves at once.
    full: VecDeque<Batch>,
    batch: Batch,
    /// Become the next batches.
    spares: Vec<Batch>,
    /// Sent once per batch.
    trim: TrimArguments,
    trimmed: bool,
    /// Bytes of all that was taken so far.
    taken: u64,
    moments: Moments,
}

impl Lane {
    pub(super) fn new(key: String, trim: Trim) -> Self {
        let open = Open {
            full: VecDeque::new(),
            batch: Batch::default(),
            spares: Vec::new(),
            trim: TrimArguments::new(trim, 0),
            trimmed: false,
            taken: 0,
            moments: Moments::new(clock::now().instant),
        };
        Self {
            commands: Commands::new(&key),
            key,
            trim,
            open: Mutex::new(open),
            live: Mutex::default(),
            earlier: watch::Sender::new(None),
            queued: AtomicUsize::new(0),
            filled: Notify::new(),
            room: Notify::new(),
            full: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            status: Status::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn append_frame(
        &self,
        pattern: &FramePattern,
        numbers: &FrameNumbers,
        audio: &Audio<'_>,
        progress: &Arc<Progress>,
        numbered: bool,
        read: &Instant,
    ) {
        self.append(|open| {
            let Open {
                batch,
                trim,
                trimmed,
                moments,
                ..
            } = open;
            let trim = if mem::replace(trimmed, true) {
                &TrimArguments::NONE
            } else {
                &*trim
            };
            let pairs = pattern.pairs(numbers);
            self.commands
                .begin(&mut batch.bytes, Kind::Frame, pairs, trim);
            let fields = batch.bytes.len();
            pattern.write(&mut batch.bytes, numbers, audio);
            let what = What::Frame {
                progress: Arc::clone(progress),
                seq: numbers.seq,
                numbered,
                read: moments.of(read),
            };
            batch.close_entry(fields, what);
        });
    }

    /// Appends a call's end or event.
    pub(super) fn append_record(&self, json: &[u8], what: What) {
        let Some(kind) = what.kind() else { return };
        self.append(|open| {
            let batch = &mut open.batch;
            self.commands
                .begin(&mut batch.bytes, kind, 1, &TrimArguments::NONE);
            let fields = batch.bytes.len();
            push_pair(&mut batch.bytes, b"data", json);
            batch.close_entry(fields, what);
        });
    }

    /// Sets a call's metadata.
    pub(super) fn append_metadata(&self, key: &str, json: &[u8], expiry_s: &[u8], what: What) {
        self.append(|open| {
            let batch = &mut open.batch;
            self.commands
                .begin(&mut batch.bytes, Kind::Metadata, 2, &TrimArguments::NONE);
            let fields = batch.bytes.len();
            push_pair(&mut batch.bytes, key.as_bytes(), json);
            push_pair(&mut batch.bytes, b"EX", expiry_s);
            batch.close_entry(fields, what);
        });
    }

    fn append(&self, write: impl FnOnce(&mut Open)) {
        let mut open = self.open.lock();
        let first = open.is_empty();
        open.batch.open();
        let before = open.batch.bytes.len();
        write(&mut open);
        let grown = open.batch.bytes.len() - before;
        if open.batch.bytes.len() >= FLIGHT_BYTES {
            let full = open.next_batch();
            open.full.push_back(full);
            rounds::skip_pause();
        }
        drop(open);
        self.queued.fetch_add(grown, Ordering::Relaxed);
        if first {
            self.filled.notify_one();
        }
    }

    /// A session of this call has begun.
    pub(super) fn enter(&self, call: u64) {
        *self.live.lock().entry(call).or_default() += 1;
    }

    /// A session of this call has ended.
    pub(super) fn leave(&self, call: u64) {
        let mut live = self.live.lock();
        if let Some(sessions) = live.get_mut(&call) {
            *sessions -= 1;
            if *sessions == 0 {
                live.remove(&call);
            }
        }
    }

    pub(super) fn is_live(&self, call: u64) -> bool {
        self.live.lock().contains_key(&call)
    }

    pub(super) fn set_earlier(&self, numbers: HashMap<u64, u64>) {
        self.earlier.send_replace(Some(numbers));
    }

    /// How far its client has numbered a call that an earlier process has left in the journal.
    pub(super) async fn earlier(&self, call: u64) -> Option<u64> {
        let mut earlier = self.earlier.subscribe();
        let known = earlier.wait_for(Option::is_some).await.ok()?;
        known.as_ref()?.get(&call).copied()
    }

    pub(super) fn has_room(&self) -> bool {
        self.queued.load(Ordering::Relaxed) < QUEUE_BYTES_MAX
    }

    /// Returns once there is room.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub(super) async fn wait_for_room(&self) {
        self.wait_until(Self::has_room).await;
    }

    /// Returns once there is room, or no use in waiting for it.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub(super) async fn wait_for_room_or_shed(&self) {
        self.wait_until(|lane| lane.has_room() || lane.sheds())
            .await;
    }

    async fn wait_until(&self, enough: impl Fn(&Self) -> bool) {
        loop {
            let room = self.room.notified();
            if enough(self) {
                return;
            }
            room.await;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, full: bool) {
        if self.full.swap(full, Ordering::Relaxed) != full {
            self.room.notify_waiters();
        }
    }

    /// Whether audio is to be dropped that cannot wait. Where even the records of calls, which are never dropped, have
    /// filled as much again, sockets wait all the same: nobody may make us keep more and more.
    pub(super) fn sheds(&self) -> bool {
        self.is_full()
            && (QUEUE_BYTES_MAX..2 * QUEUE_BYTES_MAX).contains(&self.queued.load(Ordering::Relaxed))
    }

    /// Everything appended so far.
    pub(super) fn take(&self) -> Batch {
        self.take_flights(usize::MAX)
    }

    /// The oldest of what was appended, at least so many bytes of it.
    pub(super) fn take_flights(&self, bytes: usize) -> Batch {
        let mut taken = self.take_flight();
        while self.is_filled() && taken.bytes.len() < bytes {
            taken.extend(self.take_flight());
        }
        taken
    }

    /// The oldest of what was appended, as much as is to leave at once.
    pub(super) fn take_flight(&self) -> Batch {
        let mut open = self.open.lock();
        let full = open.full.pop_front();
        let batch = full.unwrap_or_else(|| open.next_batch());
        open.taken += batch.bytes.len() as u64;
        batch
    }

    /// Gives back a batch whose buffer may be used again.
    pub(super) fn spare(&self, mut batch: Batch) {
        batch.recycle();
        let mut open = self.open.lock();
        if open.spares.len() < SPARES_MAX {
            open.spares.push(batch);
        }
    }

    /// To be given the frames that are confirmed now.
    pub(super) fn confirmed(&self, now: Instant) -> Confirmed {
        Confirmed::at(self.open.lock().moments.landing(now))
    }

    /// How many bytes have been appended and taken since the beginning.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.open.lock().taken
    }

    /// Whether anything waits in the open batch.
    pub(super) fn is_filled(&self) -> bool {
        !self.open.lock().is_empty()
    }

    /// Whether something waits, and there is room for more beside it.
    pub(super) fn has_part_of_a_flight(&self) -> bool {
        let open = self.open.lock();
        open.full.is_empty() && !open.batch.is_empty()
    }

    /// Returns when something was appended to an empty batch, or the lane is closing.
    ///
    /// # Cancel safety
    /// A wake that came while nobody waited is kept for the next wait.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Accounts for bytes that need no care any more.
    pub(super) fn confirm_bytes(&self, bytes: usize) {
        let before = self.queued.fetch_sub(bytes, Ordering::Relaxed);
        if before >= QUEUE_BYTES_MAX && before - bytes < QUEUE_BYTES_MAX {
            self.room.notify_waiters();
        }
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Moves the trimming on to the newest id that Redis gave us.
    pub(super) fn trim_to(&self, newest_ms: u64) {
        self.open.lock().trim = TrimArguments::new(self.trim, newest_ms);
    }

    pub(super) fn trim_arguments(&self) -> TrimArguments {
        self.open.lock().trim.clone()
    }

    /// Nothing will be appended any more; the owner ends when all is delivered.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.filled.notify_one();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Open {
    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.batch.is_empty()
    }

    /// Closes the open batch, and opens another.
    fn next_batch(&mut self) -> Batch {
        self.trimmed = false;
        let is_full = self.batch.bytes.len() >= FLIGHT_BYTES;
        let mut next = self.spares.pop().unwrap_or_default();
        if is_full {
            // There is more to come: it need not grow step by step, and to twice of what it needs.
            next.bytes.reserve_exact(FLIGHT_BYTES + FLIGHT_BYTES / 8);
        }
        mem::replace(&mut self.batch, next)
    }
}

/// 2 ms of Redis's time: enough that the way there and back does not count, and little enough to stay in the cache.
pub(super) const FLIGHT_BYTES: usize = 512 << 10;
/// One is sent while one gathers.
const SPARES_MAX: usize = 2;
/// 4 MiB are 7,000 frames of 20 ms: a third of a second of 500 calls. Longer stalls are the senders' to wait for.
pub(super) const QUEUE_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
