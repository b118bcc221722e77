//! What a lane counts: written by its owner, once per batch; read by whoever asks for metrics.
//!
//! Invariant: a frame is counted as confirmed once, by Redis or by the journal, and as published when Redis has it,
//! whatever way it took.

use super::{
    batch::What,
    moments::{Landing, Moment},
};
use crate::{
    metrics::{
        Counter, Labelled,
        histogram::{Histogram, Tally},
    },
    record::Kind,
};

/// One lane's.
#[derive(Debug)]
pub(super) struct Counts {
    published: Counter,
    journaled: Counter,
    too_large: Counter,
    pub(super) reconnects: Counter,
    pub(super) errors: Labelled<12>,
    seconds: Histogram<14>,
    together: Histogram<11>,
}

/// Frames that are confirmed together: since when each of them was waiting.
#[derive(Debug)]
pub(super) struct Confirmed {
    landing: Landing,
    waited: Tally<14>,
}

/// All lanes'.
#[derive(Debug)]
pub struct Totals {
    pub published: u64,
    pub journaled: u64,
    /// Larger than the journal takes, where it is the destination.
    pub too_large: u64,
    pub reconnects: u64,
    /// By class.
    pub errors: Vec<(&'static str, u64)>,
    /// From the read to the confirmation, in nanoseconds.
    pub waited: Tally<14>,
    /// Frames that one transaction or one sync confirmed.
    pub together: Tally<11>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            published: Counter::default(),
            journaled: Counter::default(),
            too_large: Counter::default(),
            reconnects: Counter::default(),
            errors: Labelled::new(ERRORS),
            seconds: Histogram::default(),
            together: Histogram::default(),
        }
    }
}

impl Counts {
    /// Redis has taken these, which came here by themselves, and `journaled` more that came out of the journal.
    pub(super) fn landed(&self, direct: &Confirmed, journaled: u64) {
        self.count_together(self.found(direct, journaled));
    }

    /// The same for frames of which that turned out later. How many there are.
    pub(super) fn found(&self, direct: &Confirmed, journaled: u64) -> u64 {
        let frames = direct.waited.count() + journaled;
        self.published.add(frames);
        self.seconds.add(&direct.waited);
        frames
    }

    /// These are in the journal.
    pub(super) fn kept(&self, confirmed: &Confirmed) {
        let frames = confirmed.waited.count();
        self.journaled.add(frames);
        self.seconds.add(&confirmed.waited);
        self.count_together(frames);
    }

    pub(super) fn too_large(&self) {
        self.too_large.add(1);
    }

    fn count_together(&self, frames: u64) {
        if frames > 0 {
            let mut one = Tally::new(&TOGETHER);
            one.observe(frames);
            self.together.add(&one);
        }
    }
}

impl Confirmed {
    pub(super) fn at(landing: Landing) -> Self {
        Self {
            landing,
            waited: Tally::new(&WAITED_NS),
        }
    }

    pub(super) fn take(&mut self, what: &What) {
        if let What::Frame { read, .. } = what {
            self.take_frame(*read);
        }
    }

    pub(super) fn take_frame(&mut self, read: Moment) {
        self.waited.observe(self.landing.ns_since(read));
    }
}

impl Totals {
    pub(super) fn of<'c>(lanes: impl Iterator<Item = &'c Counts>) -> Self {
        let mut all = Self {
            published: 0,
            journaled: 0,
            too_large: 0,
            reconnects: 0,
            errors: ERRORS.map(|class| (class, 0)).to_vec(),
            waited: Tally::new(&WAITED_NS),
            together: Tally::new(&TOGETHER),
        };
        for lane in lanes {
            all.published += lane.published.get();
            all.journaled += lane.journaled.get();
            all.too_large += lane.too_large.get();
            all.reconnects += lane.reconnects.get();
            for ((_, sum), (_, count)) in all.errors.iter_mut().zip(lane.errors.iter()) {
                *sum += count;
            }
            lane.seconds.read_into(&mut all.waited);
            lane.together.read_into(&mut all.together);
        }
        all
    }
}

/// How many frames are among records of the journal.
pub(super) fn frames<T>(records: &[(u64, Kind, T)]) -> u64 {
    let frames = records.iter().filter(|(_, kind, _)| *kind == Kind::Frame);
    frames.count() as u64
}

/// Why Redis does not take what it is given: no connection, or a refusal (`redis_error.rs`).
pub(super) const ERRORS: [&str; 12] = [
    CONNECT,
    BROKEN,
    TIMEOUT,
    PROTOCOL,
    "busy",
    "moved",
    "out_of_memory",
    "misconfigured",
    "denied",
    "wrong_type",
    "unknown_command",
    "other",
];
pub(super) const CONNECT: &str = "connect";
pub(super) const BROKEN: &str = "broken";
pub(super) const TIMEOUT: &str = "timeout";
pub(super) const PROTOCOL: &str = "protocol";

/// Gathering takes two of them; what takes more than a second went through an outage.
const WAITED_NS: [u64; 14] = [
    MS,
    2 * MS,
    3 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    1000 * MS,
    2000 * MS,
    5000 * MS,
    10_000 * MS,
];
const MS: u64 = 1_000_000;
/// A full flight holds some eight hundred of 20 ms.
const TOGETHER: [u64; 11] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
