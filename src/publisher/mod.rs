//! The way of frames out: sessions hand records to a lane, the lane makes them durable.
//!
//! A lane is one stream key on one server, or the journal; a call's records always take the same lane. The handle is
//! cheap to clone and never waits: [`Outlet::has_room`] tells when to stop reading sockets. What a record looks like
//! is `record.rs`'s subject.

mod backlog;
mod batch;
#[cfg(test)]
pub(crate) mod by_hand;
pub(crate) mod command;
pub mod counts;
mod fence;
mod fine_timer;
pub mod groups;
mod journal_lane;
mod keeper;
mod lane;
mod layout;
pub(crate) mod link;
#[doc(hidden)]
pub mod measured;
mod moments;
mod outlet;
pub mod progress;
mod redis_error;
mod redis_lane;
pub(crate) mod reply;
mod status;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    batch::{Batch, What},
    counts::Totals,
    groups::{GroupState, Watch},
    journal_lane::JournalLane,
    keeper::Keeper,
    lane::Lane,
    link::Dial,
    outlet::metadata_key,
    redis_lane::RedisLane,
};
pub use self::{link::LinkError, outlet::Outlet};
use crate::{
    journal::{self, Keep, error::OpenError},
    record::{Kind, frame::FrameFormat},
    secret::Secret,
    telemetry,
};

/// Where frames go and how.
#[derive(Debug, Clone)]
pub struct Settings {
    pub destination: Destination,
    /// Stream key of the frames; with several shards the shard's number follows in braces.
    pub stream: String,
    pub shards: u16,
    pub trim: Trim,
    pub consumer_groups: Vec<String>,
    pub gather: Duration,
    pub format: FrameFormat,
}

#[derive(Debug, Clone)]
pub enum Destination {
    Redis(RedisSettings),
    /// The embedded journal. `meant` tells whether the operator asked for it or merely set no `REDIS_URL`.
    Journal {
        meant: bool,
    },
}

#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// One or several URLs; each may hold a password.
    pub urls: Vec<Secret>,
    pub topology: Topology,
    pub tls_ca: Option<PathBuf>,
    pub tls_client: Option<crate::server::TlsFiles>,
}

#[derive(Debug, Clone)]
pub enum Topology {
    Standalone,
    Cluster,
    Sentinel {
        master: String,
        password: Option<Secret>,
    },
}

/// What bounds the stream of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    Age(Duration),
    Length(u64),
    Never,
}

/// Why the publisher cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Journal(#[from] OpenError),
}

/// All lanes.
#[derive(Debug, Clone)]
pub struct Publisher {
    lanes: Arc<[Arc<Lane>]>,
    /// By lane; none where the lane is the journal.
    watches: Arc<[Arc<Watch>]>,
    format: FrameFormat,
    adapter: &'static str,
    /// What is in the journal that no lane publishes, in sentences.
    left_behind: Vec<String>,
}

/// What a lane leaves behind when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Records that are nowhere.
    pub lost: usize,
    /// Frames in the journal that are not in Redis yet.
    pub journaled: u64,
    /// A lane has died: what it had in memory is nowhere, and nobody knows how much that was.
    pub died: bool,
}

/// Health of all lanes together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub up: bool,
    pub problems: Vec<String>,
    pub journal_bytes: u64,
    /// For how many seconds of the present load the journal has room; none without a load.
    pub journal_room_s: Option<u64>,
}

impl Settings {
    /// The keys of the streams that frames go to (4.6).
    pub fn frame_keys(&self) -> Vec<String> {
        match self.shards {
            0 | 1 => vec![self.stream.clone()],
            shards => (0..shards)
                .map(|shard| format!("{}:{{{shard}}}", self.stream))
                .collect(),
        }
    }
}

/// Which of the keys has the frames of a call: always the same for the same id. Nothing where there are no keys.
pub fn shard(interaction_id: &str, keys: usize) -> Option<usize> {
    let keys = u32::try_from(keys).ok().filter(|&keys| keys > 0)?;
    usize::try_from(crc32fast::hash(interaction_id.as_bytes()) % keys).ok()
}

impl Publisher {
    /// Starts every lane's owner in `owners`; they end once [`Publisher::close`] was called and all is delivered, or
    /// when `give_up` is cancelled.
    pub fn start(
        settings: &Settings,
        journal: &journal::Settings,
        owners: &mut JoinSet<Left>,
        give_up: &CancellationToken,
    ) -> Result<Self, StartError> {
        let keys = settings.frame_keys();
        let (mut watches, mut left_behind) = (Vec::new(), Vec::new());
        let (lanes, adapter) = match &settings.destination {
            Destination::Redis(redis) => {
                let mut lanes = Vec::with_capacity(keys.len());
                let shards = keys.len();
                left_behind = layout::left_behind(&journal.dir, shards);
                for sentence in &left_behind {
                    telemetry::journal_unpublished(sentence);
                }
                for (shard, key) in keys.into_iter().enumerate() {
                    let dial = Dial::new(redis, &key, &settings.consumer_groups)?;
                    let (watch, task) =
                        Watch::new(dial.clone(), &key, settings.trim, &settings.consumer_groups);
                    let stop = give_up.clone().cancelled_owned();
                    owners.spawn(async move {
                        task.run(stop).await;
                        Left::default()
                    });
                    let lane = Arc::new(Lane::new(key, settings.trim));
                    let journal = layout::of_shard(journal, shard, shards);
                    let keeper = Keeper::open(&journal, Keep::Unpublished)?;
                    let owner = RedisLane::new(
                        Arc::clone(&lane),
                        dial,
                        keeper,
                        Arc::clone(watch.throttle()),
                        settings.gather,
                    );
                    owners.spawn(owner.run(give_up.clone().cancelled_owned()));
                    lanes.push(lane);
                    watches.push(watch);
                }
                (lanes, "redis_streams")
            }
            Destination::Journal { .. } => {
                let lane = Arc::new(Lane::new(settings.stream.clone(), Trim::Never));
                let keeper = Keeper::open(journal, Keep::Newest)?;
                let owner = JournalLane::new(Arc::clone(&lane), keeper, settings.gather);
                owners.spawn(owner.run(give_up.clone().cancelled_owned()));
                (vec![lane], "journal")
            }
        };
        Ok(Self {
            lanes: lanes.into(),
            watches: watches.into(),
            format: settings.format,
            adapter,
            left_behind,
        })
    }

    /// The lane for a call: always the same for the same id.
    pub fn outlet(&self, interaction_id: &str) -> Option<Outlet> {
        let lane = self.lanes.get(shard(interaction_id, self.lanes.len())?)?;
        Some(Outlet(Arc::clone(lane)))
    }

    /// What stands in `call:metadata:<interaction_id>`; `None` also where Redis does not tell within a second.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub async fn metadata_of(&self, interaction_id: &str) -> Option<Vec<u8>> {
        let watch = self.watches.get(shard(interaction_id, self.lanes.len())?)?;
        watch.value_of(metadata_key(interaction_id)).await
    }

    /// How the consumer groups stand that read the frames; a group of several streams is told once.
    pub fn groups(&self) -> Vec<GroupState> {
        let mut groups: Vec<GroupState> = Vec::new();
        for state in self.watches.iter().flat_map(|watch| watch.groups()) {
            match groups.iter_mut().find(|group| group.name == state.name) {
                Some(group) => group.merge(&state),
                None => groups.push(state),
            }
        }
        groups
    }

    pub fn format(&self) -> FrameFormat {
        self.format
    }

    /// Whether frames go to Redis, and not to the journal for good.
    pub fn uses_redis(&self) -> bool {
        !self.watches.is_empty()
    }

    /// `redis_streams` or `journal`.
    pub fn adapter(&self) -> &'static str {
        self.adapter
    }

    /// What is in the journal that no lane publishes, in sentences.
    pub fn left_behind(&self) -> &[String] {
        &self.left_behind
    }

    pub fn health(&self) -> Health {
        let mut health = Health {
            up: self.lanes.iter().all(|lane| lane.status.is_up()),
            ..Health::default()
        };
        for lane in self.lanes.iter() {
            let journal = lane.status.journal();
            let backlog = (health.up && journal.backlog > 0).then(|| {
                let frames = journal.backlog;
                format!(
                    "{frames} frames wait in the journal and are being published: nothing to do, unless the number does not fall"
                )
            });
            let told = [
                lane.status.caveat(),
                lane.status.problem(),
                journal.problem.clone(),
                journal.unreadable.clone(),
                backlog,
            ];
            for problem in told.into_iter().flatten() {
                if !health.problems.contains(&problem) {
                    health.problems.push(problem);
                }
            }
            health.journal_bytes += journal.bytes;
            let rooms = health.journal_room_s.into_iter().chain(journal.room_s());
            health.journal_room_s = rooms.min();
        }
        for (lane, watch) in self.lanes.iter().zip(self.watches.iter()) {
            if lane.status.is_up() {
                health.problems.extend(watch.problems());
            }
        }
        health
    }

    /// What was counted since the start.
    pub fn totals(&self) -> Totals {
        Totals::of(self.lanes.iter().map(|lane| &lane.counts))
    }

    /// Since when the oldest record waits in the journal, as near as its segment tells.
    pub fn journal_oldest_ms(&self) -> Option<u64> {
        let lanes = self.lanes.iter();
        lanes
            .filter_map(|lane| lane.status.journal().oldest_ms)
            .min()
    }

    /// Frames in the journal that are not in Redis yet, and how many there were at most.
    pub fn backlog(&self) -> (u64, u64) {
        let lanes = self.lanes.iter().map(|lane| lane.status.journal());
        lanes.fold((0, 0), |(now, most), journal| {
            (now + journal.backlog, most + journal.backlog_most)
        })
    }

    /// Whether the journal holds nothing that is to be published.
    pub fn is_caught_up(&self) -> bool {
        let mut lanes = self.lanes.iter();
        lanes.all(|lane| lane.status.journal().caught_up)
    }

    /// Whether a lane can neither deliver nor keep what comes (5.4).
    pub fn is_full(&self) -> bool {
        self.lanes.iter().any(|lane| lane.is_full())
    }

    /// No record will come any more.
    pub fn close(&self) {
        self.watches.iter().for_each(|watch| watch.close());
        self.lanes.iter().for_each(|lane| lane.close());
    }
}

impl Left {
    fn lost(batch: &Batch) -> Self {
        let is_record = |what: &What| what.kind().is_some_and(|kind| kind != Kind::Metadata);
        let records = batch.entries.iter().filter(|entry| is_record(&entry.what));
        Self {
            lost: records.count(),
            ..Self::default()
        }
    }

    /// What the owners leave behind; returns when all have ended.
    pub async fn of_all(owners: &mut JoinSet<Self>) -> Self {
        let mut all = Self::default();
        while let Some(left) = owners.join_next().await {
            let left = left.unwrap_or_else(|error| {
                telemetry::lane_died(&error.to_string());
                let died = true;
                Self {
                    died,
                    ..Self::default()
                }
            });
            all.lost += left.lost;
            all.journaled += left.journaled;
            all.died |= left.died;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lane_that_died_is_told_of() {
        let mut owners = JoinSet::new();
        owners.spawn(async { Left::default() });
        owners.spawn(async { panic!("on purpose") });
        let left = Left::of_all(&mut owners).await;
        assert!(left.died && left != Left::default());
    }
}
