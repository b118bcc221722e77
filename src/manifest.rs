//! Proves that a session of a call is whole: what was read back of it, held against its `call_end` (4.3).
//!
//! Reading entries is `published.rs`'s subject, and which frame belongs to which session the caller's. Invariant: a frame
//! counts once, however often it stands in the stream, and memory grows with the holes in a call, not with its length.

use std::fmt;

use crate::published::End;

/// What has been read back of one session, in the order in which it was read.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The numbers that have come, as runs without a hole, in rising order and apart from each other.
    runs: Vec<Run>,
    frames: u64,
    bytes: u64,
    duplicates: u64,
    misplaced: u64,
    crc: crc32fast::Hasher,
}

/// What a frame was to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the one that was due, or comes behind a gap.
    Next,
    /// It was missing, but a later one came before it.
    Misplaced,
    /// It has come before; its audio is not to be used again.
    Duplicate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
}

/// What the comparison found. It prints as `300 frames, 0 gaps, 0 duplicates, crc ok`, and then what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub frames: u64,
    /// Holes in the numbers; where all frames are there, also those that `call_end` tells of and that took no number.
    pub gaps: u64,
    pub duplicates: u64,
    pub crc_ok: bool,
    /// Nothing where the call is whole.
    pub faults: Vec<Fault>,
    /// Whether frames missing at the beginning, or all of them, would explain every fault: a stream that was trimmed
    /// looks so.
    pub may_be_trimmed: bool,
}

/// One thing in which a call differs from its `call_end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Frames { expected: u64 },
    Absent,
    Seq { first: u64, last: u64 },
    Bytes { found: u64, expected: u64 },
    Gaps { expected: u64 },
    Crc { found: String, expected: String },
    Duplicates,
    Misplaced { frames: u64 },
    Incomplete,
}

impl Tally {
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters one frame.
    pub fn frame(&mut self, seq: u64, pcm: &[u8]) -> Place {
        let place = self.place(seq);
        match place {
            Place::Next => {}
            Place::Misplaced => self.misplaced += 1,
            Place::Duplicate => {
                self.duplicates += 1;
                return place;
            }
        }
        self.frames += 1;
        self.bytes += pcm.len() as u64;
        self.crc.update(pcm);
        place
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Holes between the first and the last frame; not how many numbers are missing in them.
    pub fn gaps(&self) -> u64 {
        self.runs.len().saturating_sub(1) as u64
    }

    /// The numbers that are missing between the first and the last frame: each hole's first and last.
    pub fn holes(&self) -> impl Iterator<Item = (u64, u64)> {
        let neighbours = self.runs.iter().zip(self.runs.iter().skip(1));
        neighbours.map(|(before, after)| (before.last + 1, after.first - 1))
    }

    /// Holds what came against what the call's end says.
    pub fn check(&self, end: &End) -> Verdict {
        let first = self.runs.first().map_or(0, |run| run.first);
        let last = self.runs.last().map_or(0, |run| run.last);
        let crc = format!("{:08x}", self.crc.clone().finalize());
        let crc_ok = crc.eq_ignore_ascii_case(&end.crc32);
        let faults = [
            (self.frames != end.frames).then_some(Fault::Frames {
                expected: end.frames,
            }),
            ((first, last) != (end.first_seq, end.last_seq)).then_some(if self.runs.is_empty() {
                Fault::Absent
            } else {
                Fault::Seq { first, last }
            }),
            // Fewer are none: a gap need not have taken a number (4.4).
            (self.gaps() > end.gaps).then_some(Fault::Gaps { expected: end.gaps }),
            (self.bytes != end.bytes).then_some(Fault::Bytes {
                found: self.bytes,
                expected: end.bytes,
            }),
            (!crc_ok).then(|| Fault::Crc {
                found: crc,
                expected: end.crc32.clone(),
            }),
            (self.duplicates > 0).then_some(Fault::Duplicates),
            (self.misplaced > 0).then_some(Fault::Misplaced {
                frames: self.misplaced,
            }),
            (!end.complete).then_some(Fault::Incomplete),
        ];
        // Gaps that the sender left may have gone with the beginning; others cannot have come to be by that.
        let front_is_missing = self.runs.is_empty() || first > end.first_seq;
        let rest_fits = self.runs.is_empty() || (last == end.last_seq && self.gaps() <= end.gaps);
        let may_be_trimmed = front_is_missing
            && rest_fits
            && self.frames < end.frames
            && self.bytes <= end.bytes
            && self.duplicates == 0
            && self.misplaced == 0;
        let told = if self.frames == end.frames {
            end.gaps
        } else {
            0
        };
        Verdict {
            frames: self.frames,
            gaps: self.gaps().max(told),
            duplicates: self.duplicates,
            crc_ok,
            faults: faults.into_iter().flatten().collect(),
            may_be_trimmed,
        }
    }

    /// Finds the run that `seq` belongs to or makes one, and says what that means.
    fn place(&mut self, seq: u64) -> Place {
        let at = self.runs.partition_point(|run| run.first <= seq);
        let place = if at == self.runs.len() {
            Place::Next
        } else {
            Place::Misplaced
        };
        let before = at.checked_sub(1).and_then(|index| self.runs.get_mut(index));
        let joined = match before {
            Some(run) if seq <= run.last => return Place::Duplicate,
            Some(run) if seq == run.last.saturating_add(1) => {
                run.last = seq;
                true
            }
            _ => false,
        };
        if !joined {
            let run = Run {
                first: seq,
                last: seq,
            };
            self.runs.insert(at, run);
        }
        self.join_behind(if joined { at - 1 } else { at });
        place
    }

    /// Makes one of the run at `index` and the next, if nothing is missing between them any more.
    fn join_behind(&mut self, index: usize) {
        let next = self.runs.get(index + 1).copied();
        if let (Some(run), Some(next)) = (self.runs.get_mut(index), next)
            && run.last.saturating_add(1) == next.first
        {
            run.last = next.last;
            self.runs.remove(index + 1);
        }
    }
}

impl Verdict {
    /// Whether every frame is there, once, in order, to the byte.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} frames, {} gaps, {} duplicates, crc {}",
            self.frames,
            self.gaps,
            self.duplicates,
            if self.crc_ok { "ok" } else { "wrong" }
        )?;
        for fault in &self.faults {
            // The line has said it already.
            if !matches!(fault, Fault::Duplicates) {
                write!(f, "; {fault}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames { expected } => write!(f, "call_end counts {expected} frames"),
            Self::Absent => f.write_str("nothing of it is here"),
            Self::Seq { first, last } => write!(f, "what is here runs from seq {first} to {last}"),
            Self::Bytes { found, expected } => write!(f, "{found} bytes of {expected}"),
            Self::Gaps { expected } => write!(f, "call_end counts {expected} gaps"),
            Self::Crc { found, expected } => write!(f, "crc32 {found} instead of {expected}"),
            Self::Duplicates => f.write_str("frames are there more than once"),
            Self::Misplaced { frames } => write!(f, "{frames} frames out of order"),
            Self::Incomplete => {
                f.write_str("its instance was lost, and call_end says only what another one knew")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        call::{Call, CallName},
        frame::Now,
    };

    fn pcm(seq: u64) -> [u8; 4] {
        let [low, high, ..] = seq.to_le_bytes();
        [low, high, 7, high]
    }

    /// The end of a call with these numbers, by the one who writes such ends.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test of what is computed, not of when"
    )]
    fn end(seqs: impl IntoIterator<Item = u64>) -> End {
        let now = Now {
            instant: std::time::Instant::now(),
            epoch_ms: 1,
        };
        let name = CallName {
            tenant_id: "t".into(),
            interaction_id: "i".into(),
        };
        let mut call = Call::new(name, 1, now);
        for seq in seqs {
            call.number(Some(seq), &pcm(seq), 8_000, now);
        }
        let json = crate::record::to_json(&call.end("stop", now).unwrap().record);
        End::read([(&b"data"[..], &json[..])]).unwrap()
    }

    fn tally(seqs: impl IntoIterator<Item = u64>) -> Tally {
        let mut tally = Tally::new();
        for seq in seqs {
            tally.frame(seq, &pcm(seq));
        }
        tally
    }

    #[test]
    fn a_whole_call_is_whole() {
        let verdict = tally(1..=300).check(&end(1..=300));
        assert!(verdict.is_whole() && !verdict.may_be_trimmed);
        assert_eq!(
            verdict.to_string(),
            "300 frames, 0 gaps, 0 duplicates, crc ok"
        );
        assert!(tally([]).check(&end([])).is_whole());
        // A gap that the sender left is in the end's count.
        let gapped = || (5..10).chain(20..30);
        assert!(tally(gapped()).check(&end(gapped())).is_whole());
        assert_eq!(tally(gapped()).holes().collect::<Vec<_>>(), [(10, 19)]);
        // So is one that took no number: a pause, or audio that nothing could hold.
        let paused = End {
            gaps: 1,
            ..end(1..=3)
        };
        let verdict = tally(1..=3).check(&paused);
        assert!(verdict.is_whole());
        assert_eq!(
            verdict.to_string(),
            "3 frames, 1 gaps, 0 duplicates, crc ok"
        );
    }

    #[test]
    fn what_is_missing_is_told_from_what_was_trimmed() {
        let whole = end(1..=10);
        let verdict = tally((1..=10).filter(|seq| *seq != 5)).check(&whole);
        assert!(!verdict.is_whole() && !verdict.may_be_trimmed);
        let said = verdict.to_string();
        assert!(
            said.starts_with(
                "9 frames, 1 gaps, 0 duplicates, crc wrong; call_end counts 10 frames"
            ),
            "{said}"
        );
        for trimmed in [tally(4..=10), tally([])] {
            let verdict = trimmed.check(&whole);
            assert!(!verdict.is_whole() && verdict.may_be_trimmed, "{verdict}");
        }
        for broken in [
            tally(1..10),
            tally([3, 4, 6, 7, 8, 9, 10]),
            tally([4, 5, 6, 7, 8, 9, 10, 10]),
        ] {
            let verdict = broken.check(&whole);
            assert!(!verdict.is_whole() && !verdict.may_be_trimmed, "{verdict}");
        }
    }

    #[test]
    fn repeats_disorder_and_changed_bytes_are_faults() {
        let whole = end(1..=3);
        let repeated = tally([1, 2, 2, 3]).check(&whole);
        assert_eq!(repeated.faults, [Fault::Duplicates]);
        assert_eq!((repeated.frames, repeated.duplicates), (3, 1));
        assert!(repeated.crc_ok);
        let swapped = tally([1, 3, 2]).check(&whole);
        assert!(swapped.faults.contains(&Fault::Misplaced { frames: 1 }));
        assert_eq!(swapped.gaps, 0);
        let mut changed = tally([1, 2]);
        changed.frame(3, &[9; 4]);
        let [Fault::Crc { .. }] = changed.check(&whole).faults[..] else {
            panic!("only the CRC differs");
        };
        let lost = End {
            complete: false,
            ..whole
        };
        assert_eq!(tally(1..=3).check(&lost).faults, [Fault::Incomplete]);
    }

    proptest! {
        #[test]
        fn a_frame_counts_once_in_any_order(seqs in prop::collection::vec(0_u64..40, 0..80)) {
            let mut seen = std::collections::BTreeSet::new();
            let mut tally = Tally::new();
            for seq in &seqs {
                let newest = seen.last().is_none_or(|last| seq > last);
                let expected = match (seen.insert(*seq), newest) {
                    (false, _) => Place::Duplicate,
                    (true, true) => Place::Next,
                    (true, false) => Place::Misplaced,
                };
                prop_assert_eq!(tally.frame(*seq, &pcm(*seq)), expected);
            }
            prop_assert_eq!(tally.frames() + tally.duplicates(), seqs.len() as u64);
            prop_assert_eq!(tally.frames(), seen.len() as u64);
            let steps = seen.iter().zip(seen.iter().skip(1));
            prop_assert_eq!(tally.gaps(), steps.filter(|(a, b)| **b != **a + 1).count() as u64);
            let missing: u64 = tally.holes().map(|(first, last)| last - first + 1).sum();
            let span = seen.last().map_or(0, |last| last - seen.first().unwrap_or(last) + 1);
            prop_assert_eq!(missing, span - seen.len() as u64);
        }

        #[test]
        fn no_numbers_panic(seqs: Vec<u64>) {
            tally(seqs).check(&end([1]));
        }
    }
}
