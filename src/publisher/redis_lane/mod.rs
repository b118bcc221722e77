//! The owner of a lane to Redis: takes what has gathered, writes it, and keeps it until Redis has confirmed it.
//!
//! One task per lane waits for one thing at a time ([`RedisLane::wait`]) and applies it. Commands that were not
//! confirmed when a connection broke, or that Redis refused, are sent again before anything newer. Invariant: a
//! command leaves the queue only with its confirmation.

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{
    batch::{Batch, What},
    fine_timer::FineTimer,
    lane::Lane,
    link::{Dial, Link, LinkError},
    progress::Progress,
    redis_error::Class,
    reply::{self, Reply},
};
use crate::telemetry;

/// One lane's owner.
#[derive(Debug)]
pub(super) struct RedisLane {
    lane: Arc<Lane>,
    dial: Dial,
    gather: Duration,
    /// Not confirmed, in order.
    queue: VecDeque<Batch>,
    /// What has been written: whole batches, then bytes of the next.
    written: (usize, usize),
    /// Commands of the front batch that have their reply.
    answered: usize,
    /// Commands that Redis refused, in order, to be sent again.
    refused: Batch,
    /// Frames that Redis took while earlier ones were refused: not to be called durable before those are in too.
    overtaking: Vec<(Arc<Progress>, u64, usize)>,
    spare: Batch,
    replies: BytesMut,
    timer: FineTimer,
    flushed_at: Instant,
    heard_at: Instant,
    newest_ms: u64,
    trimmed_ms: u64,
}

/// What the lane was waiting for.
enum Wake {
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Filled,
    GatherOver,
    Tick,
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the connection to Redis broke: {0}")]
    Io(#[from] io::Error),
    #[error("Redis has not answered for {} s", REPLY_TIMEOUT.as_secs())]
    Silent,
    #[error("Redis refuses to write ({error}); {advice}", advice = Class::of(.error).advice())]
    Refused { error: String },
    #[error("Redis sent what cannot be read: {0}")]
    Protocol(String),
}

impl RedisLane {
    pub(super) fn new(lane: Arc<Lane>, dial: Dial, gather: Duration) -> Self {
        let now = Instant::now();
        Self {
            lane,
            dial,
            gather,
            queue: VecDeque::new(),
            written: (0, 0),
            answered: 0,
            refused: Batch::default(),
            overtaking: Vec::new(),
            spare: Batch::default(),
            replies: BytesMut::with_capacity(REPLY_BUFFER_BYTES),
            timer: FineTimer::new(),
            flushed_at: now,
            heard_at: now,
            newest_ms: 0,
            trimmed_ms: 0,
        }
    }

    /// Runs until the lane is closed and all is confirmed, or `give_up` resolves. Returns what was not delivered.
    pub(super) async fn run(mut self, give_up: impl Future<Output = ()>) -> Vec<Batch> {
        {
            let deliver = self.deliver();
            tokio::pin!(deliver, give_up);
            tokio::select! {
                () = &mut deliver => {}
                () = &mut give_up => {}
            }
        }
        self.undelivered()
    }

    async fn deliver(&mut self) {
        let mut backoff = BACKOFF_MIN;
        while !self.is_done() {
            match self.dial.connect().await {
                Ok(mut link) => {
                    let connected_at = Instant::now();
                    self.report_up();
                    self.rewind();
                    match self.serve(&mut link).await {
                        Ok(()) => return,
                        Err(broken) => self.report_down(broken.to_string()),
                    }
                    if connected_at.elapsed() > BACKOFF_MAX {
                        backoff = BACKOFF_MIN;
                    }
                }
                Err(error) => self.report_down(describe(&error)),
            }
            tokio::time::sleep(jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Uses one connection until it breaks, or all is delivered and the lane is closed.
    async fn serve(&mut self, link: &mut Link) -> Result<(), Broken> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.heard_at = Instant::now();
        let mut gathering = false;
        let (mut retry_at, mut retrying) = (None, false);
        while !self.is_done() {
            match self.wait(link, &mut ticks, gathering).await {
                Wake::Read(Ok(0)) => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Wake::Read(Ok(_)) => self.read_replies()?,
                Wake::Written(Ok(bytes)) => self.advance(bytes),
                Wake::Read(Err(error)) | Wake::Written(Err(error)) => return Err(error.into()),
                Wake::Tick => self.check_silence()?,
                Wake::Filled | Wake::GatherOver => {}
            }
            retrying &= !self.queue.is_empty();
            if !self.refused.is_empty() {
                let at = *retry_at.get_or_insert_with(|| Instant::now() + RETRY_AFTER);
                if self.queue.is_empty() && Instant::now() >= at {
                    retry_at = None;
                    retrying = true;
                    self.queue.push_back(std::mem::take(&mut self.refused));
                }
            }
            // Nothing newer leaves before what was refused has been taken.
            if retrying || !self.refused.is_empty() {
                gathering = false;
                continue;
            }
            gathering = self.flush_when_due();
        }
        Ok(())
    }

    /// Waits for the next thing to do.
    ///
    /// # Cancel safety
    /// Every arm either has not happened or is returned.
    async fn wait(&mut self, link: &mut Link, ticks: &mut Interval, gathering: bool) -> Wake {
        let Self {
            lane,
            gather,
            queue,
            written,
            replies,
            timer,
            flushed_at,
            ..
        } = self;
        let unwritten = queue
            .get(written.0)
            .and_then(|batch| batch.bytes.get(written.1..))
            .unwrap_or_default();
        replies.reserve(REPLY_BUFFER_BYTES / 4);
        tokio::select! {
            biased;
            result = link.reader.read_buf(replies) => Wake::Read(result),
            result = link.writer.write(unwritten), if !unwritten.is_empty() => Wake::Written(result),
            () = timer.sleep(gather.saturating_sub(flushed_at.elapsed())), if gathering => Wake::GatherOver,
            () = lane.filled(), if !gathering => Wake::Filled,
            _ = ticks.tick() => Wake::Tick,
        }
    }

    /// Takes the open batch if the last write is long enough ago; tells whether there is more to gather.
    fn flush_when_due(&mut self) -> bool {
        if self.written.0 < self.queue.len() || !self.lane.is_filled() {
            return false;
        }
        if self.flushed_at.elapsed() < self.gather {
            return true;
        }
        self.queue
            .push_back(self.lane.take(std::mem::take(&mut self.spare)));
        self.flushed_at = Instant::now();
        false
    }

    fn advance(&mut self, bytes: usize) {
        self.written.1 += bytes;
        if self
            .queue
            .get(self.written.0)
            .is_some_and(|batch| self.written.1 >= batch.bytes.len())
        {
            self.written = (self.written.0 + 1, 0);
        }
    }

    fn read_replies(&mut self) -> Result<(), Broken> {
        self.heard_at = Instant::now();
        while let Some((reply, length)) =
            reply::read(&self.replies).map_err(|error| Broken::Protocol(error.to_string()))?
        {
            self.replies.advance(length);
            self.take_reply(&reply)?;
        }
        if self.newest_ms >= self.trimmed_ms + TRIM_STEP_MS {
            self.trimmed_ms = self.newest_ms;
            self.lane.trim_to(self.newest_ms);
        }
        Ok(())
    }

    fn take_reply(&mut self, reply: &Reply) -> Result<(), Broken> {
        let Some(batch) = self.queue.front_mut() else {
            return Err(Broken::Protocol("a reply to no command".to_owned()));
        };
        let index = self.answered;
        let Some(entry) = batch.entries.get(index) else {
            return Err(Broken::Protocol("a reply to no command".to_owned()));
        };
        match (reply, &entry.what) {
            (Reply::Error(error), What::Metadata | What::Ping) => {
                telemetry::redis_refused(error, Class::of(error).advice());
            }
            (Reply::Error(error), _) => {
                let class = Class::of(error);
                if class == Class::Moved {
                    return Err(Broken::Refused {
                        error: error.clone(),
                    });
                }
                let problem = format!(
                    "Redis refuses to write to {} ({error}); {}",
                    self.lane.key,
                    class.advice()
                );
                if self.lane.status.set_down(problem) {
                    telemetry::redis_refused(error, class.advice());
                }
                self.refused.copy(batch, index);
            }
            (Reply::Id { ms }, What::Frame { progress, seq, .. }) => {
                self.newest_ms = self.newest_ms.max(*ms);
                let bytes = batch.fields(index).len();
                if self.refused.is_empty() {
                    progress.confirm(*seq, bytes);
                } else {
                    self.overtaking.push((Arc::clone(progress), *seq, bytes));
                }
            }
            (_, What::CallEnd { progress, .. }) => progress.finish(),
            _ => {}
        }
        let confirmed = if matches!(reply, Reply::Error(_)) && entry.what.kind().is_some() {
            0
        } else {
            entry.end - batch.start(index)
        };
        self.lane.confirm_bytes(confirmed);
        self.answered += 1;
        if self.answered == batch.entries.len() {
            self.retire_front();
        }
        Ok(())
    }

    fn retire_front(&mut self) {
        self.answered = 0;
        self.written.0 = self.written.0.saturating_sub(1);
        if let Some(mut batch) = self.queue.pop_front() {
            batch.recycle();
            self.spare = batch;
        }
        if !self.refused.is_empty() {
            return;
        }
        for (progress, seq, bytes) in self.overtaking.drain(..) {
            progress.confirm(seq, bytes);
        }
        if self.queue.is_empty() {
            self.report_up();
        }
    }

    /// Makes everything that was not confirmed unwritten again, what was refused first.
    fn rewind(&mut self) {
        self.replies.clear();
        let mut first = std::mem::take(&mut self.refused);
        if let Some(front) = self.queue.pop_front() {
            for index in self.answered..front.entries.len() {
                first.copy(&front, index);
            }
        }
        if !first.is_empty() {
            self.queue.push_front(first);
        }
        self.answered = 0;
        self.written = (0, 0);
    }

    /// Notices a server that has gone without a word.
    fn check_silence(&mut self) -> Result<(), Broken> {
        let silence = self.heard_at.elapsed();
        if self.queue.is_empty() {
            if silence >= PING_AFTER {
                self.lane.append_command(&[b"PING"], What::Ping);
                self.heard_at = Instant::now();
            }
            return Ok(());
        }
        if silence >= REPLY_TIMEOUT {
            Err(Broken::Silent)
        } else {
            Ok(())
        }
    }

    fn is_done(&self) -> bool {
        self.lane.is_closing()
            && self.queue.is_empty()
            && self.refused.is_empty()
            && !self.lane.is_filled()
    }

    fn undelivered(mut self) -> Vec<Batch> {
        self.rewind();
        self.queue.push_back(self.lane.take(Batch::default()));
        self.queue
            .into_iter()
            .filter(|batch| !batch.is_empty())
            .collect()
    }

    fn report_up(&self) {
        if self.lane.status.set_up() {
            telemetry::redis_up(&self.lane.key);
        }
    }

    fn report_down(&self, problem: String) {
        let told = problem.clone();
        if self.lane.status.set_down(problem) {
            telemetry::redis_down(&self.lane.key, &told, self.lane.queued_bytes());
        }
    }
}

fn describe(error: &LinkError) -> String {
    match error {
        LinkError::Connect { .. } | LinkError::Timeout => {
            format!("{error}; check REDIS_URL and that the server runs")
        }
        other => other.to_string(),
    }
}

/// Half to all of it, so that lanes and instances do not come back in step.
fn jittered(backoff: Duration) -> Duration {
    let spread = uuid::Uuid::new_v4().as_u128() % 512;
    backoff / 2 + backoff * u32::try_from(spread).unwrap_or(0) / 1024
}

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_millis(250);
const PING_AFTER: Duration = Duration::from_secs(2);
/// With `PING_AFTER` well within the 10 s in which `/health` must know.
const REPLY_TIMEOUT: Duration = Duration::from_secs(6);
/// The replies to 100 frames are 2 kB.
const REPLY_BUFFER_BYTES: usize = 16 * 1024;
const TRIM_STEP_MS: u64 = 1000;
