//! Which sessions are whole: their ends and frames as they are read back, each session held against its own end.
//!
//! The comparison itself is in `manifest.rs`, what trimming may have taken in `trimmed.rs`; where entries come from is the caller's affair. Invariants: a session counts as
//! trimmed only where the stream shows that what is missing was removed from its front, and memory grows with the number of
//! sessions, not with their length.

mod trimmed;

use std::collections::{BTreeMap, HashSet};

use trimmed::Seen;

use crate::{
    manifest::{Tally, Verdict},
    published::{End, Frame},
};

/// Which sessions to prove.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// All sessions of a call, whether they have ended or not.
    Call(String),
    /// Those that ended at this time or later, in ms since the epoch.
    EndedFrom(u64),
}

/// What tells a session from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub interaction_id: String,
    pub tenant_id: String,
    pub session: u64,
}

/// The sessions under proof.
#[derive(Debug)]
pub struct Proof {
    wanted: Wanted,
    tenant: Option<String>,
    sessions: BTreeMap<Name, Session>,
    /// Of others, those that have an end.
    ended: HashSet<Name>,
    /// Of others, those that have frames and no end.
    unended: HashSet<Name>,
}

/// What was read back of one session.
#[derive(Debug, Default)]
struct Session {
    end: Option<End>,
    end_added_ms: u64,
    tally: Tally,
    /// The oldest of its frames that is there, and in which shard.
    first: Option<(usize, Seen)>,
}

/// What a session came to.
#[derive(Debug)]
pub struct Judged<'a> {
    pub name: &'a Name,
    pub state: State,
    pub tally: &'a Tally,
    /// Its end, and what the comparison with it found.
    pub end: Option<(&'a End, Verdict)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Whole,
    NotWhole,
    /// What is missing has been removed from the stream with all else that was as old: there is no telling any more.
    Trimmed,
    /// It goes on, or its end was lost.
    NoEnd,
}

impl Name {
    fn of_end(end: &End) -> Self {
        Self {
            interaction_id: end.interaction_id.clone(),
            tenant_id: end.tenant_id.clone(),
            session: end.session,
        }
    }

    fn of_frame(frame: &Frame<'_>) -> Self {
        Self {
            interaction_id: frame.interaction_id.clone().into_owned(),
            tenant_id: frame.tenant_id.clone().into_owned(),
            session: frame.session,
        }
    }
}

impl Proof {
    /// With a tenant, nothing of others is looked at.
    pub fn new(wanted: Wanted, tenant: Option<String>) -> Self {
        Self {
            wanted,
            tenant,
            sessions: BTreeMap::new(),
            ended: HashSet::new(),
            unended: HashSet::new(),
        }
    }

    /// Enters an end, which was added to its stream at `added_ms`. All ends come before the first frame.
    pub fn end(&mut self, end: End, added_ms: u64) {
        let name = Name::of_end(&end);
        let wanted = match &self.wanted {
            Wanted::Call(call) => end.interaction_id == *call,
            Wanted::EndedFrom(from_ms) => end.timestamp_ms >= *from_ms,
        };
        if !self.is_tenants(&end.tenant_id) {
            return;
        }
        if !wanted {
            self.ended.insert(name);
            return;
        }
        let session = self.sessions.entry(name).or_default();
        // What another instance knew of a lost one gives way to the record that knows all (4.3).
        if end.complete || session.end.is_none() {
            session.end = Some(end);
            session.end_added_ms = added_ms;
        }
    }

    /// Enters a frame, which was added to the stream of this shard at `added_ms`.
    pub fn frame(&mut self, frame: &Frame<'_>, added_ms: u64, shard: usize) {
        let is_wanted = match &self.wanted {
            Wanted::Call(call) => frame.interaction_id == *call,
            Wanted::EndedFrom(_) => true,
        };
        if !is_wanted || !self.is_tenants(&frame.tenant_id) {
            return;
        }
        let name = Name::of_frame(frame);
        if let Wanted::EndedFrom(_) = self.wanted
            && !self.sessions.contains_key(&name)
        {
            if !self.ended.contains(&name) {
                self.unended.insert(name);
            }
            return;
        }
        let session = self.sessions.entry(name).or_default();
        let seen = Seen::of_frame(frame, added_ms);
        session.first.get_or_insert((shard, seen));
        session.tally.frame(frame.seq, &frame.pcm);
    }

    /// Nothing of the wanted sessions was added to the streams of frames before this time, by the clock of Redis. 0 where
    /// that is not known.
    pub fn floor_ms(&self) -> u64 {
        let begun = self.sessions.values().map(|session| {
            session.end.as_ref().map_or(0, |end| {
                let ended = end.timestamp_ms.min(session.end_added_ms);
                ended.saturating_sub(end.wall_ms).min(end.session)
            })
        });
        begun.min().unwrap_or(0).saturating_sub(FLOOR_SLACK_MS)
    }

    /// Whether any session is wanted that has an end.
    pub fn has_ends(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Sessions that have frames and no end, beside the wanted ones.
    pub fn unended(&self) -> usize {
        self.unended.len()
    }

    /// What each session came to, in the order in which they ended. `front_ms` tells of the shard that has a call's frames,
    /// if that is known, or else of the one that should have them: before when entries have been removed there.
    pub fn judge(&self, front_ms: impl Fn(&str, Option<usize>) -> Option<u64>) -> Vec<Judged<'_>> {
        let judge = |(name, session): (&'_ Name, &'_ Session)| {
            let shard = session.first.map(|(shard, _)| shard);
            session.state(front_ms(&name.interaction_id, shard))
        };
        let judged = self.sessions.iter().map(|(name, session)| {
            let (state, verdict) = judge((name, session));
            Judged {
                name,
                state,
                tally: &session.tally,
                end: session.end.as_ref().zip(verdict),
            }
        });
        let mut judged: Vec<_> = judged.collect();
        judged.sort_by_key(|judged| match &judged.end {
            Some((end, _)) => end.timestamp_ms,
            None => u64::MAX,
        });
        judged
    }

    fn is_tenants(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
    }
}

impl Session {
    fn state(&self, front_ms: Option<u64>) -> (State, Option<Verdict>) {
        let Some(end) = &self.end else {
            return (State::NoEnd, None);
        };
        let verdict = self.tally.check(end);
        let next = match self.first {
            Some((_, seen)) => seen,
            None => Seen::of_end(end, self.end_added_ms),
        };
        let was_removed =
            || front_ms.is_some_and(|front_ms| trimmed::may_explain(end, next, front_ms));
        let state = if verdict.is_whole() {
            State::Whole
        } else if verdict.may_be_trimmed && end.complete && was_removed() {
            State::Trimmed
        } else {
            State::NotWhole
        };
        (state, Some(verdict))
    }
}

/// Clocks differ and are set: reading too much costs a moment, reading too little would cost the truth.
const FLOOR_SLACK_MS: u64 = 600_000;
#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: u64 = 1_762_500_000_000;

    fn pcm(seq: u64) -> Vec<u8> {
        seq.to_le_bytes().repeat(40)
    }

    fn frame(call: &'static str, seq: u64) -> Frame<'static> {
        Frame {
            tenant_id: "t".into(),
            interaction_id: call.into(),
            session: BEGUN,
            seq,
            timestamp_ms: BEGUN + seq * 20,
            sample_rate: 8_000,
            stream_sid: None,
            track: None,
            media_ms: None,
            pcm: pcm(seq),
        }
    }

    /// The end of a call of 100 frames in real time.
    fn end(call: &str) -> End {
        let all: Vec<u8> = (1..=100).flat_map(pcm).collect();
        End {
            tenant_id: "t".into(),
            interaction_id: call.into(),
            session: BEGUN,
            reason: "stop".into(),
            timestamp_ms: BEGUN + 2_010,
            complete: true,
            frames: 100,
            first_seq: 1,
            last_seq: 100,
            bytes: all.len() as u64,
            duration_ms: 2_000,
            wall_ms: 2_010,
            gaps: 0,
            crc32: format!("{:08x}", crc32fast::hash(&all)),
        }
    }

    fn state(
        end: End,
        seqs: impl IntoIterator<Item = u64>,
        front_ms: Option<u64>,
    ) -> (State, String) {
        let mut proof = Proof::new(Wanted::Call("c".into()), None);
        let added_ms = end.timestamp_ms + 1;
        proof.end(end, added_ms);
        for seq in seqs {
            let frame = frame("c", seq);
            proof.frame(&frame, frame.timestamp_ms + 1, 0);
        }
        let judged = proof.judge(|_, _| front_ms);
        let (_, verdict) = judged[0].end.as_ref().unwrap();
        (judged[0].state, verdict.to_string())
    }

    #[test]
    fn missing_frames_are_trimmed_only_if_their_place_in_the_stream_is_gone() {
        let at = |seq: u64| Some(BEGUN + seq * 20 + 1);
        for (seqs, front, expected) in [
            (1..101, None, State::Whole),
            (1..101, at(0), State::Whole),
            (61..101, at(61), State::Trimmed),
            // Nothing was ever removed; what was removed is older than what is missing.
            (61..101, None, State::NotWhole),
            (61..101, at(0), State::NotWhole),
            // The end is missing, which no trimming takes first.
            (61..100, at(61), State::NotWhole),
            (1..1, at(200), State::Trimmed),
            (1..1, at(100), State::Trimmed),
            (1..1, at(20), State::NotWhole),
            // A moment older than the session.
            (2..101, Some(BEGUN - 10), State::NotWhole),
            (1..1, Some(BEGUN - 10), State::NotWhole),
            (1..1, None, State::NotWhole),
        ] {
            let (state, said) = state(end("c"), seqs.clone(), front);
            assert_eq!(state, expected, "{seqs:?}, front {front:?}: {said}");
        }
    }

    #[test]
    fn an_end_that_is_not_complete_proves_nothing_until_the_full_one_comes() {
        let lost = || End {
            complete: false,
            reason: "instance_lost".into(),
            ..end("c")
        };
        assert_eq!(state(lost(), 1..101, None).0, State::NotWhole);
        assert_eq!(
            state(lost(), 61..101, Some(BEGUN + 5_000)).0,
            State::NotWhole
        );
        for ends in [[lost(), end("c")], [end("c"), lost()]] {
            let mut proof = Proof::new(Wanted::Call("c".into()), None);
            for end in ends {
                proof.end(end, BEGUN);
            }
            (1..=100).for_each(|seq| proof.frame(&frame("c", seq), BEGUN, 0));
            let judged = proof.judge(|_, _| None);
            assert_eq!((judged.len(), judged[0].state), (1, State::Whole));
        }
    }

    #[test]
    fn only_what_is_wanted_is_proven() {
        let mut proof = Proof::new(Wanted::EndedFrom(BEGUN + 2_010), Some("t".into()));
        let earlier = End {
            timestamp_ms: BEGUN,
            ..end("earlier")
        };
        let other = End {
            tenant_id: "other".into(),
            ..end("c")
        };
        assert!(!proof.has_ends());
        for end in [end("c"), earlier, other] {
            proof.end(end, BEGUN + 2_010);
        }
        assert_eq!(proof.floor_ms(), BEGUN - FLOOR_SLACK_MS);
        for call in ["c", "earlier", "live"] {
            (1..=100).for_each(|seq| proof.frame(&frame(call, seq), BEGUN, 0));
        }
        let judged = proof.judge(|_, _| None);
        assert_eq!((judged.len(), judged[0].state), (1, State::Whole));
        assert_eq!(judged[0].name.interaction_id, "c");
        assert_eq!(proof.unended(), 1);

        let mut proof = Proof::new(Wanted::Call("live".into()), None);
        assert_eq!(proof.floor_ms(), 0);
        proof.frame(&frame("live", 1), BEGUN, 0);
        let judged = proof.judge(|_, _| None);
        assert_eq!(judged[0].state, State::NoEnd);
        assert!(judged[0].end.is_none());
    }
}
