//! One stream's way out: sessions append commands to its open batch, its owner takes the batch and delivers it.
//!
//! The owner is `redis_lane.rs` or `journal_lane.rs`. When [`QUEUE_BYTES_MAX`] are not yet confirmed the lane has no
//! room: sessions then **wait** with reading their sockets, so that TCP slows the senders down; what they have read
//! already is always taken, one message per connection. When it is full as well, waiting is of no use, and sessions whose
//! senders cannot wait **shed** their audio (5.4). Invariant: commands of one session leave in the order in
//! which they were appended.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Trim,
    batch::{Batch, What},
    progress::Progress,
    status::Status,
};
use crate::{
    payload::Audio,
    record::{
        frame::{FrameNumbers, FramePattern},
        push_bulk,
    },
};

/// The handle that sessions and the owner share.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: String,
    trim: Trim,
    open: Mutex<Open>,
    /// Bytes appended and not yet confirmed.
    queued: AtomicUsize,
    filled: Notify,
    room: Notify,
    /// Redis is away, and the journal takes nothing more.
    full: AtomicBool,
    closing: AtomicBool,
    pub(super) status: Status,
}

#[derive(Debug)]
struct Open {
    batch: Batch,
    /// `XADD <key>`, without the count of arguments.
    head: Vec<u8>,
    /// The arguments that trim the stream, sent once per batch, and how many they are.
    trim: (Vec<u8>, usize),
    trimmed: bool,
}

impl Lane {
    pub(super) fn new(key: String, trim: Trim) -> Self {
        let mut head = b"$4\r\nXADD\r\n".to_vec();
        push_bulk(&mut head, key.as_bytes());
        let open = Open {
            batch: Batch::default(),
            head,
            trim: trim_arguments(trim, None),
            trimmed: false,
        };
        Self {
            key,
            trim,
            open: Mutex::new(open),
            queued: AtomicUsize::new(0),
            filled: Notify::new(),
            room: Notify::new(),
            full: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            status: Status::default(),
        }
    }

    pub(super) fn append_frame(
        &self,
        pattern: &FramePattern,
        numbers: &FrameNumbers,
        audio: &Audio<'_>,
        progress: &Arc<Progress>,
        session: u64,
    ) {
        self.append(|open| {
            let Open {
                batch,
                head,
                trim: (trim, trim_count),
                trimmed,
            } = open;
            let with_trim = !std::mem::replace(trimmed, true);
            let count = 3 + if with_trim { *trim_count } else { 0 } + 2 * pattern.pairs(numbers);
            push_count(&mut batch.bytes, count);
            batch.bytes.extend_from_slice(head);
            if with_trim {
                batch.bytes.extend_from_slice(trim);
            }
            batch.bytes.extend_from_slice(b"$1\r\n*\r\n");
            let fields = batch.bytes.len();
            pattern.write(&mut batch.bytes, numbers, audio);
            let progress = Arc::clone(progress);
            batch.close_entry(
                fields,
                What::Frame {
                    progress,
                    seq: numbers.seq,
                    session,
                },
            );
        });
    }

    /// Appends one entry with a single field `data` to a stream of its own.
    pub(super) fn append_record(&self, key: &str, entries_max: u64, json: &[u8], what: What) {
        self.append(|open| {
            let batch = &mut open.batch;
            push_count(&mut batch.bytes, 8);
            push_bulk(&mut batch.bytes, b"XADD");
            push_bulk(&mut batch.bytes, key.as_bytes());
            push_bulk(&mut batch.bytes, b"MAXLEN");
            push_bulk(&mut batch.bytes, b"~");
            push_bulk(
                &mut batch.bytes,
                itoa::Buffer::new().format(entries_max).as_bytes(),
            );
            push_bulk(&mut batch.bytes, b"*");
            let fields = batch.bytes.len();
            push_bulk(&mut batch.bytes, b"data");
            push_bulk(&mut batch.bytes, json);
            batch.close_entry(fields, what);
        });
    }

    /// Appends any other command.
    pub(super) fn append_command(&self, arguments: &[&[u8]], what: What) {
        self.append(|open| {
            push_count(&mut open.batch.bytes, arguments.len());
            for argument in arguments {
                push_bulk(&mut open.batch.bytes, argument);
            }
            let fields = open.batch.bytes.len();
            open.batch.close_entry(fields, what);
        });
    }

    fn append(&self, write: impl FnOnce(&mut Open)) {
        let mut open = self.open.lock();
        let before = open.batch.bytes.len();
        open.batch.open();
        write(&mut open);
        let grown = open.batch.bytes.len() - before;
        drop(open);
        self.queued.fetch_add(grown, Ordering::Relaxed);
        if before == 0 {
            self.filled.notify_one();
        }
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

    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the owner that has a journal behind Redis")
    )]
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

    /// Everything appended so far; `spare` becomes the next open batch.
    pub(super) fn take(&self, spare: Batch) -> Batch {
        let mut open = self.open.lock();
        open.trimmed = false;
        std::mem::replace(&mut open.batch, spare)
    }

    /// Whether anything waits in the open batch.
    pub(super) fn is_filled(&self) -> bool {
        !self.open.lock().batch.is_empty()
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
        if matches!(self.trim, Trim::Age(_)) {
            self.open.lock().trim = trim_arguments(self.trim, Some(newest_ms));
        }
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

fn trim_arguments(trim: Trim, newest_ms: Option<u64>) -> (Vec<u8>, usize) {
    let (word, limit) = match (trim, newest_ms) {
        (Trim::Never, _) | (Trim::Age(_), None) => return (Vec::new(), 0),
        (Trim::Length(entries), _) => ("MAXLEN", entries),
        (Trim::Age(age), Some(newest_ms)) => {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            ("MINID", newest_ms.saturating_sub(age_ms))
        }
    };
    let mut bytes = Vec::with_capacity(48);
    push_bulk(&mut bytes, word.as_bytes());
    push_bulk(&mut bytes, b"~");
    push_bulk(&mut bytes, itoa::Buffer::new().format(limit).as_bytes());
    (bytes, 3)
}

fn push_count(out: &mut Vec<u8>, arguments: usize) {
    out.push(b'*');
    out.extend_from_slice(itoa::Buffer::new().format(arguments).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// 4 MiB are 7,000 frames of 20 ms: a third of a second of 500 calls. Longer stalls are the senders' to wait for.
const QUEUE_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::frame::{FrameFacts, FrameFormat};

    fn frame(lane: &Lane) {
        let facts = FrameFacts {
            tenant_id: "t",
            interaction_id: "i",
            sample_rate: 8000,
            session: 1,
            stream_sid: None,
            track: None,
        };
        let pattern = FramePattern::new(FrameFormat::Fields, &facts);
        let numbers = FrameNumbers {
            seq: 1,
            timestamp_ms: 2,
            media_ms: None,
        };
        let progress = Arc::new(Progress::new("t", "i", 0));
        lane.append_frame(
            &pattern,
            &numbers,
            &Audio {
                pcm: &[0; 8],
                text: None,
            },
            &progress,
            1,
        );
    }

    fn arguments(command: &[u8]) -> Vec<String> {
        let text = String::from_utf8(command.to_vec()).unwrap();
        let mut lines = text.split("\r\n");
        let count: usize = lines
            .next()
            .unwrap()
            .trim_start_matches('*')
            .parse()
            .unwrap();
        let words: Vec<_> = lines
            .filter(|line| !line.starts_with('$') && !line.is_empty())
            .map(str::to_owned)
            .collect();
        assert_eq!(words.len(), count, "{text}");
        words
    }

    #[test]
    fn the_stream_is_trimmed_once_per_batch_by_redis_own_clock() {
        let lane = Lane::new("audio".into(), Trim::Age(Duration::from_mins(2)));
        frame(&lane);
        assert_eq!(
            arguments(lane.take(Batch::default()).command(0))[..3],
            ["XADD", "audio", "*"]
        );
        lane.trim_to(1_000_000);
        frame(&lane);
        frame(&lane);
        let batch = lane.take(Batch::default());
        assert_eq!(
            arguments(batch.command(0))[..6],
            ["XADD", "audio", "MINID", "~", "880000", "*"]
        );
        assert_eq!(arguments(batch.command(1))[..3], ["XADD", "audio", "*"]);
        assert!(batch.fields(1).starts_with(b"$9\r\ntenant_id"));
    }

    #[tokio::test]
    async fn a_full_lane_has_no_room_until_bytes_are_confirmed() {
        let lane = Lane::new("audio".into(), Trim::Never);
        while lane.has_room() {
            lane.append_record("call_end", 10, &vec![b'x'; 100_000], What::CallEvent);
        }
        let bytes = lane.take(Batch::default()).bytes.len();
        let (waited, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(5), lane.wait_for_room()),
            async { lane.confirm_bytes(bytes) }
        );
        assert!(waited.is_ok() && lane.has_room() && lane.queued_bytes() == 0);
    }

    #[tokio::test]
    async fn who_need_not_wait_for_a_full_lane_goes_on_when_it_is_full() {
        let lane = Lane::new("audio".into(), Trim::Never);
        let grow_while = |more: fn(&Lane) -> bool| {
            while more(&lane) {
                lane.append_record("call_end", 10, &vec![b'x'; 100_000], What::CallEvent);
            }
        };
        grow_while(Lane::has_room);
        let within = Duration::from_secs(5);
        let (waited, ()) = tokio::join!(
            tokio::time::timeout(within, lane.wait_for_room_or_shed()),
            async { lane.set_full(true) }
        );
        assert!(waited.is_ok() && lane.sheds() && !lane.has_room());
        grow_while(Lane::sheds);
        assert!(
            lane.is_full() && lane.queued_bytes() < 9 << 20,
            "an end to it"
        );
        lane.confirm_bytes(lane.queued_bytes());
        assert!(lane.is_full() && !lane.sheds() && lane.has_room());
    }
}
