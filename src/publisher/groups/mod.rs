//! The consumer groups of a lane, watched over a connection of its own: whether they keep up, and that they exist.
//!
//! One task per lane looks every second, and more often while a backlog is published (5.8). The same connection answers
//! look-ups, which must not wait behind frames. The lane never waits for any of this. That Redis is away is the lane's
//! to say; here it is silent. Invariant: what is known of a group outlives the connection, so that an episode is told once.

pub(crate) mod glance;
mod guard;
mod lag;
pub(crate) mod look;
mod lookup;
mod pace;
mod reader;
#[cfg(test)]
mod tests;
pub(super) mod throttle;
mod words;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{Value, cmd};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::{
    guard::{Event, Findings, Guard},
    lag::Lag,
    look::{Look, Seen, look},
    lookup::Lookup,
    pace::Pace,
    throttle::Throttle,
};
use super::{
    Trim,
    link::{Dial, Link, LinkError, jittered},
    redis_error::Class,
    reply,
};
use crate::telemetry;

/// How one consumer group stands, for metrics.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct GroupState {
    pub name: String,
    /// From the oldest entry that it has not read, or not acknowledged, to the newest.
    pub lag_entries: u64,
    pub lag_seconds: f64,
    /// Until trimming reaches that entry; `None` where nothing is needed or nothing is trimmed.
    pub margin_seconds: Option<f64>,
}

/// The handle.
#[derive(Debug)]
pub(super) struct Watch {
    throttle: Arc<Throttle>,
    shown: Mutex<Shown>,
    lookups: mpsc::Sender<Lookup>,
    closed: CancellationToken,
}

/// What anybody may ask for.
#[derive(Debug, Default)]
struct Shown {
    groups: Vec<GroupState>,
    problems: Vec<String>,
    /// Why nothing is known.
    unwatched: Option<String>,
}

/// The task's own.
#[derive(Debug)]
pub(super) struct Watcher {
    watch: Arc<Watch>,
    dial: Dial,
    key: String,
    trim: Trim,
    configured: Vec<String>,
    guard: Guard,
    lookups: mpsc::Receiver<Lookup>,
    seen_at: Instant,
}

enum Wake {
    Due,
    Lookup(Lookup),
}

impl Watch {
    /// The handle, and the task to be run beside the lane of this key.
    pub(super) fn new(
        dial: Dial,
        key: &str,
        trim: Trim,
        configured: &[String],
    ) -> (Arc<Self>, Watcher) {
        let (sender, lookups) = mpsc::channel(LOOKUPS_MAX);
        let watch = Arc::new(Self {
            throttle: Arc::new(Throttle::new(trim)),
            shown: Mutex::default(),
            lookups: sender,
            closed: CancellationToken::new(),
        });
        let watcher = Watcher {
            watch: Arc::clone(&watch),
            dial,
            key: key.to_owned(),
            trim,
            configured: configured.to_vec(),
            guard: Guard::new(key, trim),
            lookups,
            seen_at: Instant::now(),
        };
        (watch, watcher)
    }

    pub(super) fn throttle(&self) -> &Arc<Throttle> {
        &self.throttle
    }

    pub(super) fn groups(&self) -> Vec<GroupState> {
        self.shown.lock().groups.clone()
    }

    /// What is wrong with the groups, for a lane that is up; of another one nothing is known.
    pub(super) fn problems(&self) -> Vec<String> {
        let shown = self.shown.lock();
        let unwatched = shown.unwatched.iter();
        unwatched.chain(&shown.problems).cloned().collect()
    }

    /// The value of a key, if Redis tells it in time.
    ///
    /// # Cancel safety
    /// A question that nobody waits for any more is not asked.
    pub(super) async fn value_of(&self, key: String) -> Option<Vec<u8>> {
        let (answer, answered) = oneshot::channel();
        self.lookups.try_send(Lookup { key, answer }).ok()?;
        timeout(LOOKUP_WITHIN, answered).await.ok()?.ok()?
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}

impl Watcher {
    /// Runs until the publisher is closed or given up; there is nothing to be finished.
    pub(super) async fn run(mut self, give_up: impl Future<Output = ()>) {
        let closed = self.watch.closed.clone();
        tokio::select! {
            () = self.watch_for_ever() => {}
            () = closed.cancelled() => {}
            () = give_up => {}
        }
    }

    async fn watch_for_ever(&mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let error = match self.dial.connect().await {
                Ok(mut link) => {
                    let connected_at = Instant::now();
                    let error = self.serve(&mut link).await;
                    if connected_at.elapsed() >= BACKOFF_MAX {
                        backoff = BACKOFF_MIN;
                    }
                    error
                }
                Err(error) => error,
            };
            self.blind(&error.to_string());
            self.rest(jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Looks and answers until the connection breaks.
    async fn serve(&mut self, link: &mut Link) -> LinkError {
        let mut due = Instant::now();
        loop {
            let done = match self.wait(due).await {
                Wake::Due => {
                    let done = self.look(link).await;
                    due = Instant::now() + self.pause();
                    done
                }
                Wake::Lookup(lookup) => lookup.ask(link).await,
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    /// Waits for the next thing to do.
    ///
    /// # Cancel safety
    /// Every arm either has not happened or is returned.
    async fn wait(&mut self, due: Instant) -> Wake {
        let Self { watch, lookups, .. } = self;
        tokio::select! {
            biased;
            () = sleep_until(due) => Wake::Due,
            () = watch.throttle.begun() => Wake::Due,
            Some(lookup) = lookups.recv() => Wake::Lookup(lookup),
        }
    }

    fn pause(&self) -> Duration {
        if self.watch.throttle.is_under_way() {
            Pace::look_every(self.trim)
        } else {
            LOOK_EVERY
        }
    }

    /// Between two connections: nobody is kept waiting for an answer.
    async fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Wake::Lookup(lookup) = self.wait(until).await {
            lookup.give_up();
        }
    }

    async fn look(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let mut now = Instant::now();
        let mut seen = self.see(link).await?;
        let mut refusal = None;
        if let Seen::Stream(_) | Seen::Absent = seen {
            let missing = self.missing(&seen);
            for name in &missing {
                refusal = refusal.or(self.make_group(link, name).await?);
            }
            if !missing.is_empty() && refusal.is_none() {
                now = Instant::now();
                seen = self.see(link).await?;
            }
        }
        let look = match seen {
            Seen::Stream(look) => look,
            Seen::Absent => Look::default(),
            Seen::Refused(error) => {
                self.refused(&error);
                return Ok(());
            }
        };
        let findings = self.guard.look(&look, now);
        self.seen_at = now;
        self.watch.throttle.look(&findings.needs, look.newest, now);
        self.show(findings, refusal.map(|error| self.unwatched(&error)));
        Ok(())
    }

    async fn see(&self, link: &mut Link) -> Result<Seen, LinkError> {
        let is_known = |name: &[u8]| self.guard.knows(name);
        look(link, &self.key, &self.configured, is_known).await
    }

    /// The groups that should be there: the stream is new, or somebody removed it or them.
    fn missing(&self, seen: &Seen) -> Vec<String> {
        let there = match seen {
            Seen::Stream(look) => look.groups.as_slice(),
            _ => &[],
        };
        let is_there = |name: &String| there.iter().any(|group| group.name == name.as_bytes());
        let configured = self.configured.iter();
        configured.filter(|name| !is_there(name)).cloned().collect()
    }

    /// Makes a group from the beginning of the stream, and the stream with it: who reads through it misses nothing of
    /// what the stream holds. Gives back Redis's words where it refuses.
    async fn make_group(&self, link: &mut Link, name: &str) -> Result<Option<String>, LinkError> {
        let create = cmd("XGROUP")
            .arg("CREATE")
            .arg(&self.key)
            .arg(name)
            .arg("0")
            .arg("MKSTREAM")
            .to_owned();
        Ok(match link.request(&create).await? {
            Value::ServerError(error) if error.code() == "BUSYGROUP" => None,
            Value::ServerError(error) => Some(reply::words(&error)),
            _ => {
                telemetry::group_made(&self.key, name);
                None
            }
        })
    }

    fn show(&self, findings: Findings, unwatched: Option<String>) {
        for event in &findings.events {
            match event {
                Event::FallsBehind { group, problem } => {
                    telemetry::group_falls_behind(&self.key, group, problem);
                }
                Event::LostAudio { group, problem } => {
                    telemetry::group_lost_audio(&self.key, group, problem);
                }
                Event::ReadsNothing { group, problem } => {
                    telemetry::group_reads_nothing(&self.key, group, problem);
                }
                Event::KeepsUp { group } => telemetry::group_keeps_up(&self.key, group),
            }
        }
        *self.watch.shown.lock() = Shown {
            groups: findings.groups,
            problems: findings.problems,
            unwatched,
        };
    }

    /// Redis answers, but does not let us look: then nothing can hold a backlog back.
    fn refused(&self, error: &str) {
        let now = Instant::now();
        if Class::of(error) == Class::Busy {
            self.watch.throttle.blind(now);
        } else {
            self.watch
                .throttle
                .look(&[], reply::EntryId::default(), now);
        }
        self.show(Findings::default(), Some(self.unwatched(error)));
    }

    /// There is no connection. Short breaks are not worth a word.
    fn blind(&self, error: &str) {
        let now = Instant::now();
        self.watch.throttle.blind(now);
        let long = now.saturating_duration_since(self.seen_at) >= UNWATCHED_AFTER;
        self.show(Findings::default(), long.then(|| self.unwatched(error)));
    }

    fn unwatched(&self, error: &str) -> String {
        format!(
            "the consumer groups of {} are not watched, and nothing warns before audio is lost to them ({error}); {}",
            self.key,
            Class::of(error).advice()
        )
    }
}

impl GroupState {
    fn new(name: String, lag: Option<&Lag>) -> Self {
        let margin = lag.and_then(|lag| lag.margin?.time);
        Self {
            name,
            lag_entries: lag.map_or(0, |lag| lag.entries),
            lag_seconds: lag.map_or(0.0, |lag| lag.age.as_secs_f64()),
            margin_seconds: margin.map(|margin| margin.as_secs_f64()),
        }
    }

    /// The same group on several streams: entries add up, and the worst of the times holds.
    pub(super) fn merge(&mut self, other: &Self) {
        self.lag_entries = self.lag_entries.saturating_add(other.lag_entries);
        self.lag_seconds = self.lag_seconds.max(other.lag_seconds);
        let margins = self.margin_seconds.into_iter().chain(other.margin_seconds);
        self.margin_seconds = margins.reduce(f64::min);
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Longer than any reconnect to a server that is there.
const UNWATCHED_AFTER: Duration = Duration::from_secs(10);
const LOOKUP_WITHIN: Duration = Duration::from_secs(1);
/// A server that answers in 1 ms answers 1,000 of them before the last one gives up.
const LOOKUPS_MAX: usize = 1000;
