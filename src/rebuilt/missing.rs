//! What is missing from a session's audio, and how long it was.
//!
//! What stands in its place is decided in `mod.rs`, where the tests are too. Invariant: a length is what the service told, or
//! follows from frames that are alike on both sides, or is not known.

use std::fmt;

use crate::published::Gap;

/// Audio that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Before which frame; nothing where it is at the end.
    before: Option<u64>,
    /// The first and the last missing number, if numbers are missing.
    seqs: Option<(u64, u64)>,
    /// Why, where the service told.
    reasons: Vec<String>,
    pub(super) place: Place,
}

/// What stands where audio is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Silence {
        ms: u64,
    },
    /// Its length is known, but no silence was wanted.
    Left {
        ms: u64,
    },
    Unknown,
    /// At the beginning or the end, where nothing has to be kept apart.
    Edge,
}

/// How long something is: audio, to which all tracks contribute, and time, which passes in each of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Length {
    pub(super) audio_ns: u64,
    pub(super) time_ns: u64,
}

impl Length {
    pub(super) fn total_ms(self) -> u64 {
        self.audio_ns.saturating_add(self.time_ns) / NS_PER_MS
    }
}

impl Missing {
    pub(super) fn at_front(expected: u64, first: u64) -> Self {
        Self {
            before: Some(first),
            seqs: Some((expected, first.saturating_sub(1))),
            reasons: Vec::new(),
            place: Place::Edge,
        }
    }

    pub(super) fn at_end(last: u64, expected: u64) -> Self {
        Self {
            before: None,
            seqs: Some((last.saturating_add(1), expected)),
            reasons: Vec::new(),
            place: Place::Edge,
        }
    }
}

/// What is missing between two frames, given by their numbers and lengths. The service told the length, or the frames on both sides are alike, so that those
/// between them were so too.
pub(super) fn between(
    (before, before_ns): (u64, u64),
    (behind, behind_ns): (u64, u64),
    gaps: &[Gap],
) -> Option<(Missing, Option<Length>)> {
    let count = behind - before - 1;
    if count == 0 {
        return None;
    }
    let told = gaps
        .iter()
        .filter(|gap| gap.from_seq <= gap.to_seq && gap.from_seq > before && gap.to_seq < behind);
    let (mut audio_ns, mut told_count, mut reasons) = (0_u64, 0_u64, Vec::new());
    for gap in told {
        audio_ns = audio_ns.saturating_add(gap.ms.saturating_mul(NS_PER_MS));
        told_count = told_count.saturating_add(gap.to_seq - gap.from_seq + 1);
        reasons.push(gap.reason.clone());
    }
    let untold = count.saturating_sub(told_count);
    let length = if untold == 0 {
        Some(audio_ns)
    } else if before_ns == behind_ns {
        Some(audio_ns.saturating_add(untold.saturating_mul(before_ns)))
    } else {
        None
    };
    let length = length.map(|audio_ns| Length {
        audio_ns,
        time_ns: 0,
    });
    let missing = Missing {
        before: Some(behind),
        seqs: Some((before + 1, behind - 1)),
        reasons,
        place: Place::Unknown,
    };
    Some((missing, length))
}

/// What was never given a number before this frame: a pause, or audio for which there was no room.
pub(super) fn unnumbered(seq: u64, gaps: &[Gap]) -> Option<(Missing, Option<Length>)> {
    let told = |gap: &&Gap| gap.from_seq == seq && gap.to_seq < gap.from_seq;
    let mut told = gaps.iter().filter(told).peekable();
    told.peek()?;
    let (mut time_ns, mut reasons) = (0_u64, Vec::new());
    for gap in told {
        time_ns = time_ns.saturating_add(gap.ms.saturating_mul(NS_PER_MS));
        reasons.push(gap.reason.clone());
    }
    let missing = Missing {
        before: Some(seq),
        seqs: None,
        reasons,
        place: Place::Unknown,
    };
    let length = Length {
        audio_ns: 0,
        time_ns,
    };
    Some((missing, Some(length)))
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.seqs, self.before) {
            (Some((first, last)), _) if first == last => write!(f, "seq {first}")?,
            (Some((first, last)), _) => write!(f, "seq {first} to {last}")?,
            (None, Some(before)) => write!(f, "before seq {before}")?,
            (None, None) => {}
        }
        if !self.reasons.is_empty() {
            write!(f, " ({})", self.reasons.join(", "))?;
        }
        match (self.place, self.before) {
            (Place::Silence { ms }, _) => write!(f, ", {ms} ms of silence in the file"),
            (Place::Left { ms }, _) => write!(f, ", {ms} ms left out of the file"),
            (Place::Unknown, _) => write!(f, ", of unknown length, left out of the file"),
            (Place::Edge, Some(_)) => write!(f, ", before the beginning of the file"),
            (Place::Edge, None) => write!(f, ", behind the end of the file"),
        }
    }
}

const NS_PER_MS: u64 = 1_000_000;
