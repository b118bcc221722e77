//! The owner of a lane to Redis: takes what has gathered, sends it as one flight, and keeps it until Redis has
//! confirmed it.
//!
//! One task per lane waits for one thing at a time ([`RedisLane::wait`]) and applies it. One flight is under way at a
//! time: what comes meanwhile gathers, so it costs no throughput, and no later batch can be taken where an earlier one
//! was refused. What a connection took down with it, or Redis refused, is sent again before anything newer.
//! Invariant: a command leaves this lane only with its confirmation.

mod broken;
mod flight;
mod recover;
#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf},
    time::{Instant, Interval, MissedTickBehavior},
};

use self::{
    broken::{Broken, REPLY_TIMEOUT, describe},
    flight::{Answer, Flight},
    recover::{Doubt, Marks},
};
use super::{
    batch::{Batch, What},
    fine_timer::FineTimer,
    lane::Lane,
    link::{Dial, Io, Link, LinkError},
    redis_error::Class,
    reply::Reply,
};
use crate::{record::Kind, telemetry};

/// One lane's owner.
#[derive(Debug)]
pub(super) struct RedisLane {
    lane: Arc<Lane>,
    dial: Dial,
    gather: Duration,
    /// Sent, or being sent, and not confirmed.
    flight: Option<Flight>,
    /// To be sent again, before anything newer.
    again: Batch,
    again_at: Instant,
    /// How far each stream is confirmed.
    marks: Marks,
    doubt: Doubt,
    /// Redis has refused to write: being connected does not yet mean that all is well.
    refused: bool,
    /// This connection has delivered something.
    landed: bool,
    spare: Batch,
    /// Written, but perhaps still in the encryption's buffer.
    unflushed: bool,
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
    /// So many bytes; none if all that was written has left.
    Written(io::Result<usize>),
    Filled,
    GatherOver,
    Tick,
}

impl RedisLane {
    pub(super) fn new(lane: Arc<Lane>, dial: Dial, gather: Duration) -> Self {
        let now = Instant::now();
        Self {
            lane,
            dial,
            gather,
            flight: None,
            again: Batch::default(),
            again_at: now,
            marks: Marks::default(),
            doubt: Doubt::Nothing,
            refused: false,
            landed: false,
            spare: Batch::default(),
            unflushed: false,
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
        self.recall();
        let rest = [
            std::mem::take(&mut self.again),
            self.lane.take(Batch::default()),
        ];
        rest.into_iter().filter(|batch| !batch.is_empty()).collect()
    }

    async fn deliver(&mut self) {
        let mut backoff = BACKOFF_MIN;
        while !self.is_done() {
            match self.connect().await {
                Ok(mut link) => {
                    if !self.refused {
                        self.report_up();
                    }
                    match self.serve(&mut link).await {
                        Ok(()) => return,
                        Err(broken) => self.report_down(broken.to_string()),
                    }
                    if self.flight.as_ref().is_some_and(Flight::is_doubtful) {
                        self.doubt = link.identity.take().map_or(Doubt::Nameless, Doubt::Of);
                    }
                    self.recall();
                    if std::mem::take(&mut self.landed) {
                        backoff = BACKOFF_MIN;
                    }
                }
                Err(error) => self.report_down(describe(&error)),
            }
            tokio::time::sleep(jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn connect(&mut self) -> Result<Link, LinkError> {
        let mut link = self.dial.connect().await?;
        self.prepare(&mut link).await?;
        Ok(link)
    }

    /// Uses one connection until it breaks, or all is delivered and the lane is closed.
    async fn serve(&mut self, link: &mut Link) -> Result<(), Broken> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.heard_at = Instant::now();
        self.again_at = self.heard_at;
        let mut gathering = self.take_off();
        while !self.is_done() {
            match self.wait(link, &mut ticks, gathering).await {
                Wake::Read(Ok(0)) => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Wake::Read(Ok(_)) => self.read_replies()?,
                Wake::Written(Ok(bytes)) => {
                    if let Some(flight) = &mut self.flight {
                        flight.advance(bytes);
                    }
                    self.unflushed = bytes > 0;
                }
                Wake::Read(Err(error)) | Wake::Written(Err(error)) => return Err(error.into()),
                Wake::Tick => self.check_silence()?,
                Wake::Filled | Wake::GatherOver => {}
            }
            gathering = self.take_off();
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
            flight,
            replies,
            timer,
            flushed_at,
            unflushed,
            ..
        } = self;
        let unwritten = flight.as_ref().map(Flight::unwritten).unwrap_or_default();
        replies.reserve(REPLY_BUFFER_BYTES / 4);
        tokio::select! {
            biased;
            result = link.reader.read_buf(replies) => Wake::Read(result),
            result = push(&mut link.writer, unwritten), if *unflushed || !unwritten.is_empty() => Wake::Written(result),
            () = timer.sleep(gather.saturating_sub(flushed_at.elapsed())), if gathering => Wake::GatherOver,
            () = lane.filled(), if !gathering => Wake::Filled,
            _ = ticks.tick() => Wake::Tick,
        }
    }

    /// Begins the next flight if none is under way and one is due; tells whether there is more to gather for it.
    fn take_off(&mut self) -> bool {
        if self.flight.is_some() {
            return false;
        }
        let now = Instant::now();
        if !self.again.is_empty() {
            if self.again_at <= now {
                let batch = std::mem::take(&mut self.again);
                self.begin(batch, now);
                return false;
            }
            if self.again.holds(Kind::Frame) {
                return false;
            }
        }
        if !self.lane.is_filled() {
            return false;
        }
        if now.duration_since(self.flushed_at) < self.gather {
            return true;
        }
        let batch = self.lane.take(std::mem::take(&mut self.spare));
        self.begin(batch, now);
        false
    }

    fn begin(&mut self, batch: Batch, now: Instant) {
        self.flight = Some(Flight::new(batch));
        self.flushed_at = now;
        self.heard_at = now;
    }

    fn read_replies(&mut self) -> Result<(), Broken> {
        self.heard_at = Instant::now();
        while let Some(flight) = &mut self.flight {
            let Some(answer) = flight
                .take(&mut self.replies)
                .map_err(|error| Broken::Protocol(error.to_string()))?
            else {
                break;
            };
            if let Answer::Outcome(command, Reply::Id(id)) = answer {
                self.newest_ms = self.newest_ms.max(id.ms);
                if let Some(kind) = flight.what(command).and_then(What::kind) {
                    self.marks.advance(kind, id);
                }
                // Taken, but not durable as long as a frame before it is not.
                if !flight.frame_refused() {
                    flight.confirm(command);
                }
            }
            if flight.is_over() {
                self.land()?;
            }
        }
        if self.flight.is_none() && !self.replies.is_empty() {
            return Err(Broken::Protocol("a reply to no command".to_owned()));
        }
        if self.newest_ms >= self.trimmed_ms + TRIM_STEP_MS {
            self.trimmed_ms = self.newest_ms;
            self.lane.trim_to(self.newest_ms);
        }
        Ok(())
    }

    /// All replies to the flight are in.
    fn land(&mut self) -> Result<(), Broken> {
        let Some(flight) = self.flight.take() else {
            return Ok(());
        };
        let refusal = flight.refusal().map(str::to_owned);
        // A PING that is answered does not mean that writing works again.
        self.refused &= !flight.is_record();
        self.recall_from(flight);
        match refusal {
            None => {
                self.landed = true;
                if self.again.is_empty() && !self.refused {
                    self.report_up();
                }
                Ok(())
            }
            Some(error) if Class::of(&error) == Class::Moved => {
                self.refused = true;
                Err(Broken::Refused { error })
            }
            Some(error) => {
                self.refused = true;
                self.again_at = Instant::now() + RETRY_AFTER;
                let advice = Class::of(&error).advice();
                let problem = format!(
                    "Redis refuses to write to {} ({error}); {advice}",
                    self.lane.key
                );
                if self.lane.status.set_down(problem) {
                    telemetry::redis_refused(&error, advice);
                }
                Ok(())
            }
        }
    }

    /// Takes back what a broken connection has left unconfirmed.
    fn recall(&mut self) {
        self.replies.clear();
        self.unflushed = false;
        if let Some(flight) = self.flight.take() {
            self.recall_from(flight);
        }
    }

    fn recall_from(&mut self, flight: Flight) {
        let queued = flight.queued();
        let (unconfirmed, buffer) = flight.finish();
        self.lane
            .confirm_bytes(queued.saturating_sub(unconfirmed.bytes.len()));
        self.spare = buffer;
        if self.again.is_empty() {
            self.again = unconfirmed;
        } else {
            for command in 0..unconfirmed.entries.len() {
                self.again.copy(&unconfirmed, command);
            }
        }
    }

    /// Notices a server that has gone without a word.
    fn check_silence(&mut self) -> Result<(), Broken> {
        let silence = self.heard_at.elapsed();
        if self.flight.is_none() && silence >= PING_AFTER {
            self.lane.append_command(&[b"PING"], What::Ping);
            self.heard_at = Instant::now();
        }
        if self.flight.is_some() && silence >= REPLY_TIMEOUT {
            return Err(Broken::Silent);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.lane.is_closing()
            && self.flight.is_none()
            && self.again.is_empty()
            && !self.lane.is_filled()
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

/// Writes on, or pushes out what an encrypted connection still holds.
///
/// # Cancel safety
/// What it has not told of has not been written.
async fn push(writer: &mut WriteHalf<Box<dyn Io>>, unwritten: &[u8]) -> io::Result<usize> {
    if unwritten.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(unwritten).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
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
/// The replies to 100 frames are 2 kB.
const REPLY_BUFFER_BYTES: usize = 16 * 1024;
const TRIM_STEP_MS: u64 = 1000;
