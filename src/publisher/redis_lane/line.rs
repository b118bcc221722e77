//! The lane's connection to Redis: dialled, settled, lost, left; and the turns of the journal between.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    RedisLane,
    approach::{Approached, approach},
    bridge::News,
    broken::{Broken, class_of_attempt, class_of_loss, describe},
    flight::Flight,
};
use crate::{
    publisher::{
        Left,
        batch::{Batch, What},
        counts::frames,
        fence::Doubt,
        keeper::describe as describe_failure,
        link::{Link, LinkError, jittered},
    },
    record::Kind,
    telemetry,
};

/// The connection, or the way to it.
pub(super) enum Line {
    Down { until: Instant },
    Dialling(Pin<Box<dyn Future<Output = Result<Approached, LinkError>> + Send>>),
    Up(Link),
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down { .. } => "Down",
            Self::Dialling(_) => "Dialling",
            Self::Up(_) => "Up",
        })
    }
}

impl RedisLane {
    pub(super) fn dial(&mut self) {
        let (dial, lane) = (Arc::clone(&self.dial), Arc::clone(&self.lane));
        self.line = Line::Dialling(Box::pin(approach(dial, lane, self.footing.clone())));
    }

    pub(super) fn take_line(&mut self, result: Result<Approached, LinkError>, now: Instant) {
        match result {
            Ok(Approached {
                link,
                marks,
                arrived,
                caveat,
            }) => {
                self.line = Line::Up(link);
                self.connection += 1;
                if self.connection > 1 {
                    self.lane.counts.reconnects.add(1);
                }
                self.unsettled = Some((marks, arrived));
                self.lane.status.set_caveat(caveat.map(str::to_owned));
                (self.heard_at, self.again_at) = (now, now);
            }
            Err(error) => {
                self.lane.counts.errors.count(class_of_attempt(&error));
                self.report_down(describe(&error));
                self.hang_up(now);
            }
        }
    }

    /// The connection is of no use any more.
    pub(super) fn lose(&mut self, broken: &Broken, now: Instant) {
        if let Some(class) = class_of_loss(broken) {
            self.lane.counts.errors.count(class);
        }
        self.report_down(broken.to_string());
        self.break_off(now);
        self.hang_up(now);
    }

    pub(super) fn report_up(&self) {
        if self.lane.status.set_up() {
            telemetry::redis_up(&self.lane.key);
        }
    }

    fn report_down(&self, problem: String) {
        let told = problem.clone();
        if self.lane.status.set_down(problem) {
            telemetry::redis_down(&self.lane.key, &told);
        }
    }

    /// Takes back what is in the air, and remembers what of it may arrive all the same.
    fn break_off(&mut self, now: Instant) {
        if let Some(flight) = self.flight.take() {
            if flight.is_doubtful() {
                self.footing.doubt = match &mut self.line {
                    Line::Up(link) => link.identity.take().map_or(Doubt::Nameless, Doubt::Of),
                    Line::Down { .. } | Line::Dialling(_) => Doubt::Nameless,
                };
            }
            self.recall(flight, now);
        }
    }

    fn hang_up(&mut self, now: Instant) {
        self.line = Line::Down {
            until: now + jittered(self.backoff),
        };
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.unsettled = None;
        self.replies.clear();
        self.chores = Batch::default();
        self.unflushed = false;
        self.away_since.get_or_insert(now);
    }

    /// Whether the connection is ready to be given records.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.line, Line::Up(_)) && self.unsettled.is_none()
    }

    /// Sorts out what has arrived of what an older connection was given, as soon as all of that is at hand.
    pub(super) fn settle(&mut self, now: Instant) {
        if !matches!(self.line, Line::Up(_)) {
            return;
        }
        if self.bridge.is_handing_over() {
            if !self.bridge.keeper.is_stuck() || self.bridge.keeper.is_busy() {
                return;
            }
            let batch = self.bridge.call_off();
            self.again.extend(batch);
            self.lane.set_full(false);
        }
        let Some((marks, mut arrived)) = self.unsettled.take() else {
            return;
        };
        let sent = std::mem::take(&mut self.again);
        let (mut published, mut freed) = (Vec::new(), 0);
        let mut confirmed = self.lane.confirmed(now.into_std());
        for (index, entry) in sent.entries.iter().enumerate() {
            let fields = sent.fields(index);
            let kind = entry.what.kind();
            if !kind.is_some_and(|kind| arrived.take(kind, fields)) {
                self.again.copy(&sent, index);
                continue;
            }
            entry.what.confirm(fields.len());
            if let What::Journaled {
                kind,
                call,
                position,
            } = entry.what
            {
                published.push((call, kind, position));
            } else {
                freed += sent.command(index).len();
                confirmed.take(&entry.what);
            }
        }
        let found = sent.entries.len() - self.again.entries.len();
        if found > 0 || !self.again.is_empty() {
            telemetry::redis_read_back(&self.lane.key, found, self.again.entries.len());
        }
        self.lane.counts.found(&confirmed, frames(&published));
        self.lane.confirm_bytes(freed);
        self.bridge.take_published(published, &self.again);
        self.bridge.inherit(arrived);
        self.newest_ms = self
            .newest_ms
            .max(marks.of(Kind::Frame).unwrap_or_default().ms);
        self.footing.marks = marks;
        self.footing.doubt = Doubt::Nothing;
        if self.bridge.has_business() {
            self.throttle.begin();
        }
        // Whoever starts after us must be able to cut this connection off.
        self.bridge.may_publish(self.connection);
        if !self.refused {
            self.report_up();
            if !self.bridge.is_open() && self.again.is_empty() {
                self.away_since = None;
            }
        }
        self.gathering.end(now);
    }

    /// From now on all new records go to the journal.
    pub(super) fn open_bridge(&mut self) {
        let again = std::mem::take(&mut self.again);
        let (journaled, sent) = again.split(What::is_journaled);
        self.again = journaled;
        self.bridge.open(sent);
        if self.is_settled() {
            self.throttle.begin();
        }
        telemetry::bridge_opened(&self.lane.key);
    }

    pub(super) fn wants_records(&self) -> bool {
        if self.bridge.is_open() {
            return self.bridge_wants_records();
        }
        self.is_settled() && self.flight.is_none()
    }

    /// A record must not be called safe in the journal while an older one is in memory alone.
    fn bridge_wants_records(&self) -> bool {
        let flying = self.flight.as_ref().map(Flight::batch);
        self.bridge.wants_records()
            && !is_in_memory(&self.again)
            && !flying.is_some_and(is_in_memory)
    }

    /// Gives the journal what is for it. Tells whether records are left to gather for a while.
    pub(super) fn feed_bridge(&mut self, now: Instant) -> bool {
        let mut gathering = false;
        self.bridge.end_long_hold(now);
        if self.bridge_wants_records() && self.lane.is_filled() {
            gathering = !self.gathering.is_over(now);
            if !gathering {
                self.bridge.write(self.lane.take_flights(JOURNAL_BYTES));
                self.gathering.begin(now);
            }
        }
        if self.bridge.wants_feeding(now) {
            let footing = self.footing_now();
            // As long as it is not settled, what is noted is where its predecessor stood.
            let connection = if self.is_settled() {
                self.connection
            } else {
                0
            };
            self.bridge.feed_keeper(now, connection, footing);
        }
        gathering
    }

    /// Sends the next piece of the backlog, if there is one and nothing speaks against it.
    pub(super) fn send_backlog(&mut self, now: Instant) -> bool {
        if !self.bridge.has_business() {
            return false;
        }
        let allowance = self.throttle.allowance();
        match self.bridge.go_on(&self.lane, &self.again, allowance, now) {
            Ok(None) => {}
            Ok(Some(caught)) => {
                self.lane.set_full(self.bridge.keeper.is_stuck());
                if !self.bridge.has_business() {
                    self.throttle.end();
                }
                if caught.closed {
                    self.away_since = None;
                    telemetry::bridge_closed(&self.lane.key, self.bridge.backlog.frames());
                }
                if caught.direct.is_empty() {
                    return false;
                }
                // At once: what waits on the lane is newer.
                self.begin(caught.direct, now);
                return true;
            }
            Err(error) => self.note_reading(Some(describe_failure(&error))),
        }
        if allowance == 0 || !self.bridge.may_publish(self.connection) {
            return false;
        }
        let Some(piece) = self.bridge.next_piece(now) else {
            return false;
        };
        let none = self.lane.confirmed(now.into_std());
        self.lane.counts.found(&none, frames(&piece.arrived));
        self.bridge.take_published(piece.arrived, &piece.batch);
        if piece.batch.is_empty() {
            return false;
        }
        self.backlog_had_turn = true;
        self.begin(piece.batch, now);
        true
    }

    pub(super) fn take_news(&mut self, news: News, now: Instant) {
        match news {
            News::Kept(kept) => {
                let mut confirmed = self.lane.confirmed(now.into_std());
                for (index, entry) in kept.batch.entries.iter().enumerate() {
                    entry.what.confirm(kept.batch.fields(index).len());
                    confirmed.take(&entry.what);
                }
                self.lane.counts.kept(&confirmed);
                let problem = kept.problem();
                let sent = self.bridge.take_kept(&kept, now);
                self.again.extend(sent);
                self.lane.confirm_bytes(kept.batch.command_bytes());
                self.lane.spare(kept.batch);
                self.lane.set_full(self.bridge.keeper.is_stuck());
                if self.lane.status.set_journal_problem(problem.clone())
                    && let Some(problem) = problem
                {
                    telemetry::journal_failed(&problem);
                }
            }
            News::Read(Ok(())) => self.note_reading(None),
            News::Read(Err(failure)) => {
                self.note_reading(Some(describe_failure(&failure)));
                self.bridge.stop_reading(now);
            }
            News::Surveyed(found) => {
                match self.bridge.take_survey(found, now) {
                    Ok(numbers) => {
                        self.lane.set_earlier(numbers);
                        self.note_reading(None);
                    }
                    Err(failure) => self.note_reading(Some(describe_failure(&failure))),
                }
                self.show_journal();
            }
        }
    }

    /// The journal was read, or could not be.
    fn note_reading(&self, failure: Option<String>) {
        let dir = self.bridge.keeper.account.dir.display();
        let problem = failure.map(|failure| {
            format!(
                "the journal in {dir} cannot be read, and nothing newer is published before what is in it: {failure}; \
                 mend the disk, or stop the service, move that directory away and start again"
            )
        });
        if let Some(problem) = self.lane.status.set_read(problem) {
            telemetry::journal_unpublished(&problem);
        }
    }

    /// Makes what is left safe, and the journal know of it.
    pub(super) async fn leave(mut self) -> Left {
        let now = Instant::now();
        self.break_off(now);
        self.line = Line::Down { until: now };
        if self.lane.is_filled() || is_in_memory(&self.again) {
            self.open_bridge();
            self.bridge.write(self.lane.take());
        }
        self.bridge.held = None;
        for _ in 0..WRITE_ATTEMPTS {
            self.bridge.note_at_once();
            if self.bridge.wants_feeding(now) {
                let footing = self.footing_now();
                self.bridge.feed_keeper(now, self.connection, footing);
            }
            while self.bridge.is_working() {
                let news = self.bridge.news().await;
                self.take_news(news, now);
            }
        }
        let lost = self.bridge.take_unwritten();
        Left {
            journaled: self.bridge.backlog.frames(),
            ..Left::lost(&lost)
        }
    }
}

pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

fn is_in_memory(batch: &Batch) -> bool {
    batch.entries.iter().any(|entry| entry.what.is_in_memory())
}

/// What one sync makes safe, at least if there is so much: it has to keep up where a sync takes 30 ms.
const JOURNAL_BYTES: usize = 1 << 20;
/// What is under way, what is left with a note of it, and once more what did not work.
const WRITE_ATTEMPTS: usize = 3;
