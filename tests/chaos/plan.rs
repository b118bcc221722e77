//! What one run will do: its settings, its calls and its faults, all drawn from the seed before anything
//! starts. Timing differs from run to run of the same seed; the plan does not.

use crate::{
    fault::{self, Fault, Kind},
    random::Random,
};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) shards: u32,
    pub(crate) calls: Vec<CallPlan>,
    pub(crate) faults: Vec<Fault>,
    /// Redis keeps an append-only file, so that it can be restarted with its data.
    pub(crate) persistent: bool,
    /// At the end the service is started and ended once more: nothing may be published twice.
    pub(crate) once_more: bool,
    /// Audio of Exotel's may be dropped, with a gap: the journal is small, or its disk gets full.
    pub(crate) may_drop: bool,
}

/// One call, over all its connections.
#[derive(Debug, Clone)]
pub(crate) struct CallPlan {
    /// In the run, from 0.
    pub(crate) number: u32,
    pub(crate) speaker: Speaker,
    pub(crate) rate: u32,
    pub(crate) frame_bytes: usize,
    pub(crate) begins_ms: u64,
    /// How many; `None` goes on until the run is told to be quiet.
    pub(crate) frames: Option<u32>,
    pub(crate) pace: Pace,
    /// Where it loses its connection on purpose, in order.
    pub(crate) breaks: Vec<Break>,
    pub(crate) ending: Tear,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// No acks, no repeats.
    Exotel,
    /// A custom client that numbers its frames.
    Numbered,
    /// One that does not.
    Plain,
    /// One that sends bare bytes.
    Binary,
}

/// So many frames at once, then a pause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) burst: u32,
    pub(crate) pause_us: u64,
}

/// A connection that is lost after so many frames and made again after a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Break {
    pub(crate) after: u32,
    pub(crate) tear: Tear,
    pub(crate) pause_ms: u64,
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tear {
    /// It says stop or end, and waits for the close.
    Stop,
    /// It closes the WebSocket, and waits for the answer.
    Close,
    /// It closes the socket without a word; what it sent still arrives.
    Vanish,
    /// It resets the connection; what was under way may be lost.
    Reset,
}

impl CallPlan {
    /// The interaction id.
    pub(crate) fn name(&self) -> String {
        format!("call-{}", self.number)
    }

    pub(crate) fn is_exotel(&self) -> bool {
        self.speaker == Speaker::Exotel
    }

    pub(crate) fn tenant(&self) -> &'static str {
        if self.is_exotel() { "acct-1" } else { "acme" }
    }

    /// What one frame lasts.
    pub(crate) fn frame_ms(&self) -> u64 {
        self.frame_bytes as u64 * 500 / u64::from(self.rate)
    }
}

impl Plan {
    pub(crate) fn draw(seed: u64, kinds: &[Kind]) -> Self {
        let mut random = Random::of(seed, 0);
        let span_ms = random.range(1_500, 3_500);
        let mut faults = fault::draw(&mut Random::of(seed, 1), kinds, span_ms);
        let has = |kind| faults.iter().any(|fault: &Fault| fault.kind == kind);
        let disk = kinds.contains(&Kind::FullDisk);
        let small = disk && !has(Kind::Terminate) && random.once_in(8);
        let may_drop = small || has(Kind::FullDisk);
        let persistent = has(Kind::Restart);
        let shards = random.pick(&[1, 1, 1, 3]);
        let mut settings = vec![
            ("AUDIO_STREAM_MAXLEN", "0".to_owned()),
            ("AUDIO_STREAM_SHARDS", shards.to_string()),
            ("ACK_INTERVAL", random.pick(&[1, 5, 10, 25]).to_string()),
            (
                "PUBLISH_GATHER_US",
                random.pick(&[0, 1_000, 1_000, 20_000]).to_string(),
            ),
            (
                "FRAME_FORMAT",
                random.pick(&["json", "json", "fields"]).to_owned(),
            ),
            ("DRAIN_TIMEOUT_S", "1".to_owned()),
        ];
        if small {
            settings.push(("JOURNAL_MAX_BYTES", "1048576".to_owned()));
            // Long enough to fill it.
            faults.push(Fault {
                kind: Kind::Refuse,
                at_ms: random.range(100, span_ms / 4),
                for_ms: random.range(1_200, 2_500),
                after_bytes: 0,
                times: 1,
                by_ms: 0,
            });
        }
        let mut draws = Random::of(seed, 2);
        let mut calls: Vec<CallPlan> = (0..draws.small(3, 8))
            .map(|number| call(&mut draws, number, span_ms))
            .collect();
        if small {
            calls.push(flood(
                &mut draws,
                u32::try_from(calls.len()).expect("few"),
                span_ms,
            ));
        }
        if may_drop {
            calls.iter_mut().for_each(keep_what_was_sent);
        }
        Self {
            seed,
            settings,
            shards,
            calls,
            persistent,
            once_more: random.once_in(3),
            may_drop,
            faults,
        }
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.faults.iter().any(|fault| fault.kind == kind)
    }
}

fn call(random: &mut Random, number: u32, span_ms: u64) -> CallPlan {
    let speaker = random.pick(&[
        Speaker::Exotel,
        Speaker::Exotel,
        Speaker::Exotel,
        Speaker::Numbered,
        Speaker::Numbered,
        Speaker::Plain,
        Speaker::Binary,
    ]);
    let exotel = speaker == Speaker::Exotel;
    let rate = if exotel {
        random.pick(&[8_000, 8_000, 16_000])
    } else {
        random.pick(&[8_000, 16_000, 24_000])
    };
    let frame_ms = random.pick(&[20, 20, 20, 100]);
    let begins_ms = random.range(0, span_ms * 7 / 10);
    let lasts_ms = random
        .range(span_ms / 5, span_ms)
        .min(span_ms * 11 / 10 - begins_ms);
    let pace = match random.range(0, 5) {
        // Bursts, as after a stalled network.
        0 => Pace {
            burst: random.small(20, 80),
            pause_us: random.range(100_000, 400_000),
        },
        // A slow speaker, whose frames go one by one.
        1 => Pace {
            burst: 1,
            pause_us: random.range(40_000, 150_000),
        },
        2 | 3 => Pace {
            burst: 1,
            pause_us: 20_000,
        },
        _ => Pace {
            burst: random.small(1, 4),
            pause_us: random.range(2_000, 10_000),
        },
    };
    let frames = lasts_ms * 1_000 / pace.pause_us * u64::from(pace.burst);
    let frames = u32::try_from(frames.clamp(2, 700)).expect("few");
    let breaks = breaks(random, frames, exotel);
    let ending = match random.range(0, 9) {
        _ if !exotel => Tear::Stop,
        0 | 1 => Tear::Vanish,
        2 => Tear::Close,
        3 => Tear::Reset,
        _ => Tear::Stop,
    };
    CallPlan {
        number,
        speaker,
        rate,
        frame_bytes: usize::try_from(rate * frame_ms / 500).expect("small"),
        begins_ms,
        frames: Some(frames),
        pace,
        breaks,
        ending,
    }
}

fn breaks(random: &mut Random, frames: u32, exotel: bool) -> Vec<Break> {
    let often = if exotel { 5 } else { 2 };
    let count = if random.once_in(often) {
        random.range(1, 3)
    } else {
        0
    };
    let mut after: Vec<u32> = (0..count).map(|_| random.small(1, frames)).collect();
    after.sort_unstable();
    after.dedup();
    let one = |after| Break {
        after,
        tear: random.pick(&[Tear::Vanish, Tear::Reset, Tear::Reset, Tear::Close]),
        pause_ms: random.pick(&[0, 0, 10, 100, 500, 1_200]),
    };
    after.into_iter().map(one).collect()
}

/// A call that alone is more than a small journal holds.
fn flood(random: &mut Random, number: u32, span_ms: u64) -> CallPlan {
    CallPlan {
        number,
        speaker: Speaker::Exotel,
        rate: 16_000,
        frame_bytes: 3_200,
        begins_ms: random.range(0, span_ms / 4),
        frames: Some(random.small(1_000, 2_000)),
        pace: Pace {
            burst: 10,
            pause_us: 10_000,
        },
        breaks: Vec::new(),
        ending: Tear::Stop,
    }
}

/// Where audio may be dropped, each missing frame must have its gap: so none is lost in other ways, and none overtakes
/// another on a second connection.
fn keep_what_was_sent(call: &mut CallPlan) {
    if call.is_exotel() {
        call.breaks.clear();
        if call.ending == Tear::Reset {
            call.ending = Tear::Vanish;
        }
    }
}

#[test]
fn the_same_seed_makes_the_same_plan() {
    let kinds: Vec<Kind> = fault::ALL.iter().map(|(kind, _)| *kind).collect();
    for seed in 1..200 {
        let plan = Plan::draw(seed, &kinds);
        assert_eq!(
            format!("{plan:?}"),
            format!("{:?}", Plan::draw(seed, &kinds))
        );
        assert!((3..=9).contains(&plan.calls.len()));
        for call in &plan.calls {
            assert!(call.frame_bytes.is_multiple_of(2) && call.frame_bytes >= 160);
        }
    }
}
