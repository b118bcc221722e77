//! The judge: holds what was published against what every caller sent and was told, and says what is not as
//! the contract has it. It knows nothing of how the run went but what stands in [`Evidence`].
//!
//! Ends and gaps are judged in `records`. What is missing, repeated or out of order is judged here.

use std::collections::HashSet;

use crate::{
    fault::{Fault, Kind},
    ledger::{Ledger, Leg},
    plan::{Plan, Speaker},
    published::{Published, Seen, Session},
    records,
};

/// Everything that is known of a run.
pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) ledgers: &'a [Ledger],
    pub(crate) published: &'a Published,
    pub(crate) incarnations: &'a [Incarnation],
    /// Redis has lost its data once: what was confirmed before is not asked for.
    pub(crate) lost: bool,
}

/// One start of the service.
#[derive(Debug, Clone)]
pub(crate) struct Incarnation {
    pub(crate) began_ms: u64,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It ran until all was over.
    Lived,
    Killed,
    /// It was told to end while calls were live.
    Terminated,
}

/// What is wrong; nothing if all is well.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Vec<String> {
    let mut complaints = evidence.published.complaints.clone();
    for ledger in evidence.ledgers {
        complaints.extend(ledger.complaints.iter().cloned());
        let mut call = Judged {
            evidence,
            ledger,
            sessions: evidence.sessions_of(ledger.plan.number),
            complaints: Vec::new(),
        };
        call.judge();
        complaints.extend(call.complaints);
    }
    complaints.extend(records::judge(evidence));
    complaints
}

impl Evidence<'_> {
    pub(crate) fn sessions_of(&self, call: u32) -> Vec<&Session> {
        let all = self.published.sessions.iter();
        all.filter(|session| session.call == call).collect()
    }

    pub(crate) fn fate_of_leg(&self, leg: &Leg) -> Fate {
        self.incarnations[leg.incarnation].fate
    }

    /// What became of the service that had a session.
    pub(crate) fn fate_of_session(&self, number: u64) -> Fate {
        let had = |incarnation: &&Incarnation| incarnation.began_ms <= number;
        let found = self.incarnations.iter().rev().find(had);
        found.map_or(Fate::Lived, |incarnation| incarnation.fate)
    }

    pub(crate) fn any(&self, fate: Fate) -> bool {
        self.incarnations.iter().any(|one| one.fate == fate)
    }
}

/// One call under judgement.
struct Judged<'a> {
    evidence: &'a Evidence<'a>,
    ledger: &'a Ledger,
    sessions: Vec<&'a Session>,
    complaints: Vec<String>,
}

impl Judged<'_> {
    fn judge(&mut self) {
        for session in self.sessions.clone() {
            self.judge_numbers(session);
        }
        if self.ledger.plan.is_exotel() {
            self.judge_exotel();
        } else {
            self.judge_client();
        }
    }

    fn complain(&mut self, what: &str) {
        self.complaints
            .push(format!("{}: {what}", self.ledger.plan.name()));
    }

    /// 3.10, 5.1: numbers rise by one; where the client gives them, they are its own.
    fn judge_numbers(&mut self, session: &Session) {
        let (speaker, number) = (self.ledger.plan.speaker, session.number);
        let Some(first) = session.frames.first() else {
            return;
        };
        if speaker != Speaker::Numbered && first.seq != 1 && !self.evidence.lost {
            self.complain(&format!("session {number} begins with seq {}", first.seq));
        }
        for pair in session.frames.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.seq != before.seq + 1 {
                self.complain(&format!(
                    "session {number}: seq {} (frame {}) follows seq {} (frame {})",
                    after.seq, after.index, before.seq, before.index
                ));
            }
            // What an Exotel call's connections leave out is judged by connection.
            let follows = after.index == before.index + 1;
            if !follows && matches!(speaker, Speaker::Plain | Speaker::Binary) {
                self.complain(&format!(
                    "session {number}: frame {} (seq {}) follows frame {}",
                    after.index, after.seq, before.index
                ));
            }
        }
        let own = |seen: &&Seen| seen.seq != u64::from(seen.index);
        if speaker == Speaker::Numbered
            && let Some(wrong) = session.frames.iter().find(own)
        {
            let Seen { seq, index } = *wrong;
            self.complain(&format!("session {number}: seq {seq} is frame {index}"));
        }
    }

    fn judge_client(&mut self) {
        self.judge_explained();
        self.judge_repeats();
        let ledger = self.ledger;
        let wanted = if let Some(frames) = ledger.finished {
            frames
        } else {
            let (sent, acked) = (ledger.highest(), ledger.acked);
            self.complain(&format!(
                "did not finish: {sent} frames sent, {acked} acked"
            ));
            acked
        };
        let mut present = vec![false; ledger.highest() as usize + 1];
        let all = self.sessions.iter().flat_map(|session| &session.frames);
        for seen in all {
            if let Some(slot) = present.get_mut(seen.index as usize) {
                *slot = true;
            }
        }
        let from = match (self.evidence.lost, ledger.safe_from) {
            (false, _) => 1,
            (true, Some(first)) => first,
            (true, None) => return,
        };
        let missing: Vec<u32> = (from..=wanted)
            .filter(|&index| !present[index as usize])
            .collect();
        if !missing.is_empty() {
            let missing = runs(&missing);
            self.complain(&format!("acked frames {missing} of {wanted} are missing"));
        }
    }

    /// Each published frame of a client was sent, in this order, and as often.
    fn judge_explained(&mut self) {
        let (mut leg, mut last) = (0, 0);
        let all: Vec<Seen> = self
            .sessions
            .iter()
            .flat_map(|session| session.frames.clone())
            .collect();
        for seen in all {
            let legs = &self.ledger.legs;
            let explains = |(number, one): &(usize, &Leg)| {
                let later = *number > leg || seen.index > last;
                later && (one.first..=one.last).contains(&seen.index)
            };
            let found = legs.iter().enumerate().skip(leg).find(explains);
            let Some((number, _)) = found else {
                return self.complain(&format!(
                    "frame {} (seq {}) stands where it was not sent, behind frame {last}",
                    seen.index, seen.seq
                ));
            };
            (leg, last) = (number, seen.index);
        }
    }

    /// 3.8: a client that numbers and goes on with `next_seq` repeats nothing in a later session, since the service finds
    /// in Redis how far the earlier one came; where Redis may have been away just then, or the service was killed, it
    /// need not know.
    fn judge_repeats(&mut self) {
        let numbered = self.ledger.plan.speaker == Speaker::Numbered;
        let harmless = |fault: &Fault| matches!(fault.kind, Kind::Terminate | Kind::SlowDisk);
        let spared = self.evidence.plan.faults.iter().all(harmless);
        if !numbered || !spared || self.evidence.any(Fate::Killed) {
            return;
        }
        for pair in self.sessions.clone().windows(2) {
            if let (Some(last), Some(first)) = (pair[0].frames.last(), pair[1].frames.first())
                && first.index <= last.index
            {
                self.complain(&format!(
                    "session {} begins with frame {} again, session {} had all to {}",
                    pair[1].number, first.index, pair[0].number, last.index
                ));
            }
        }
    }

    /// 5.3, 5.4, 5.6: of each connection of Exotel's, all that must be there is there, in order.
    fn judge_exotel(&mut self) {
        let all: Vec<Seen> = self
            .sessions
            .iter()
            .flat_map(|session| session.frames.clone())
            .collect();
        for (number, leg) in self.ledger.legs.iter().enumerate() {
            let of_leg = |seen: &&Seen| (leg.first..=leg.last).contains(&seen.index);
            let seen: Vec<u32> = all.iter().filter(of_leg).map(|seen| seen.index).collect();
            if let Some([before, after]) =
                seen.array_windows().find(|[before, after]| after <= before)
            {
                self.complain(&format!(
                    "frame {after} again or late, behind frame {before}"
                ));
            }
            let missing = self.missing(leg, &seen);
            if !missing.is_empty() && !self.evidence.plan.may_drop {
                let (fate, whole) = (self.evidence.fate_of_leg(leg), leg.whole);
                let missing = runs(&missing);
                self.complain(&format!(
                    "connection {number} ({fate:?}, whole: {whole}) sent {}..={}, missing are {missing}",
                    leg.first, leg.last
                ));
            }
        }
    }

    /// The frames of a connection that should have come through.
    fn missing(&self, leg: &Leg, seen: &[u32]) -> Vec<u32> {
        let last_seen = seen.last().copied().unwrap_or(0);
        // What was read before the end is there; how much that was, only a connection that arrived whole tells.
        let arrived = leg.whole && self.evidence.fate_of_leg(leg) == Fate::Lived;
        let to = if arrived { leg.last } else { last_seen };
        let from = if self.evidence.lost {
            let first_seen = seen.first().copied().unwrap_or(u32::MAX);
            leg.safe_from.unwrap_or(u32::MAX).min(first_seen)
        } else {
            leg.first
        };
        let seen: HashSet<u32> = seen.iter().copied().collect();
        (from..=to).filter(|index| !seen.contains(index)).collect()
    }
}

/// Numbers in short: `3, 5..=9`.
pub(crate) fn runs(numbers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let more = runs.len().saturating_sub(RUNS_MAX);
    let mut texts: Vec<String> = runs
        .iter()
        .take(RUNS_MAX)
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}..={last}")
            }
        })
        .collect();
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join(", ")
}

const RUNS_MAX: usize = 8;
