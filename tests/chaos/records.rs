//! The judge of what stands beside the frames: one `call_end` for each session, true of its frames and behind
//! them (4.3), and a `gap` event wherever audio of Exotel's is missing and nowhere else (5.4).

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::{
    ledger::Ledger,
    oracle::{Evidence, Fate},
    published::{End, Gap, Session},
};

pub(crate) fn judge(evidence: &Evidence<'_>) -> Vec<String> {
    let mut complaints = Vec::new();
    for ledger in evidence.ledgers {
        let mut say = |what: String| complaints.push(format!("{}: {what}", ledger.plan.name()));
        judge_ends(evidence, ledger, &mut say);
        judge_gaps(evidence, ledger, &mut say);
    }
    complaints
}

fn judge_ends(evidence: &Evidence<'_>, ledger: &Ledger, say: &mut impl FnMut(String)) {
    let call = ledger.plan.number;
    let sessions = evidence.sessions_of(call);
    let of_call = |end: &&End| end.call == call;
    let mut ends: HashMap<u64, Vec<&End>> = HashMap::new();
    for end in evidence.published.ends.iter().filter(of_call) {
        if end.complete {
            ends.entry(end.session).or_default().push(end);
        } else if !evidence.any(Fate::Killed) {
            say(format!("no instance died, and yet: {}", end.record));
        }
    }
    for session in &sessions {
        let of_session = ends.get(&session.number).map_or(&[][..], Vec::as_slice);
        let killed = evidence.fate_of_session(session.number) == Fate::Killed;
        match of_session {
            [] if killed => {}
            [end] => judge_end(evidence, session, end, say),
            _ => say(format!(
                "session {} has {} ends",
                session.number,
                of_session.len()
            )),
        }
    }
    for (number, of_session) in &ends {
        let seen = sessions.iter().any(|session| session.number == *number);
        for end in of_session.iter().filter(|_| !seen && !evidence.lost) {
            if end.record["frames"] != 0 || of_session.len() > 1 {
                say(format!("none of its frames is there: {}", end.record));
            }
        }
    }
    if evidence.lost || evidence.any(Fate::Killed) {
        return;
    }
    let seen = sessions.iter().map(|session| session.number);
    let all: HashSet<u64> = seen.chain(ends.keys().copied()).collect();
    let starts = evidence.published.starts.get(&call).copied().unwrap_or(0);
    if starts != all.len() as u64 {
        say(format!("{starts} start events of {} sessions", all.len()));
    }
    let told: u64 = ends
        .values()
        .flatten()
        .filter_map(|end| end.record["gaps"].as_u64())
        .sum();
    let gaps = gaps_of(evidence, call).count() as u64;
    if told != gaps {
        say(format!("{gaps} gap events, but its ends count {told}"));
    }
}

fn judge_end(evidence: &Evidence<'_>, session: &Session, end: &End, say: &mut impl FnMut(String)) {
    let record = &end.record;
    let mut must = |name: &str, is: Value| {
        if record[name] != is {
            say(format!("{name} is {is}, but {record}"));
        }
    };
    let (Some(first), Some(last)) = (session.frames.first(), session.frames.last()) else {
        return;
    };
    must("last_seq", last.seq.into());
    // The beginning of it may have gone with the data that Redis lost.
    if !evidence.lost || record["first_seq"] == first.seq {
        must("first_seq", first.seq.into());
        must("frames", session.frames.len().into());
        must("bytes", session.bytes.into());
        let crc = session.crc.clone().finalize();
        must("crc32", format!("{crc:08x}").into());
    }
    if end.at_ms < session.last_ms {
        let (before, at) = (session.last_ms - end.at_ms, session.last_ms);
        say(format!(
            "its end was published {before} ms before its last frame (at {at}): {record}"
        ));
    }
}

fn gaps_of<'a>(evidence: &Evidence<'a>, call: u32) -> impl Iterator<Item = &'a Gap> {
    let all = evidence.published.gaps.iter();
    all.filter(move |gap| gap.call == call)
}

/// Where audio of a call is missing: the numbers on both sides, as the event has them, and how much it is.
fn holes(evidence: &Evidence<'_>, ledger: &Ledger) -> Vec<(u64, u64, u64)> {
    let mut holes = Vec::new();
    let sessions = evidence.sessions_of(ledger.plan.number);
    // Nothing but the full journal takes frames in such a run, so that the call's frames follow each other.
    let mut expected = 1;
    for (place, session) in sessions.iter().enumerate() {
        let mut before = 0;
        for seen in &session.frames {
            if seen.index > expected {
                holes.push((before + 1, seen.seq - 1, u64::from(seen.index - expected)));
            }
            (expected, before) = (seen.index + 1, seen.seq);
        }
        let sent = ledger.highest() + 1;
        if place + 1 == sessions.len() && expected < sent {
            holes.push((before + 1, before, u64::from(sent - expected)));
        }
    }
    if sessions.is_empty() && ledger.highest() > 0 {
        // Not a frame of it came through.
        holes.push((1, 0, u64::from(ledger.highest())));
    }
    holes
}

fn judge_gaps(evidence: &Evidence<'_>, ledger: &Ledger, say: &mut impl FnMut(String)) {
    let mut events: Vec<&Gap> = gaps_of(evidence, ledger.plan.number).collect();
    if !evidence.plan.may_drop || !ledger.plan.is_exotel() {
        if let Some(gap) = events.first() {
            say(format!("nothing is missing, and yet: {gap:?}"));
        }
        return;
    }
    if evidence.lost || evidence.any(Fate::Killed) || evidence.any(Fate::Terminated) {
        return;
    }
    let frame_ms = ledger.plan.frame_ms();
    for (from_seq, to_seq, frames) in holes(evidence, ledger) {
        // One hole may be told in pieces.
        let (told, rest): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|gap| gap.from_seq == from_seq && gap.to_seq == to_seq);
        events = rest;
        let ms: u64 = told.iter().map(|gap| gap.ms).sum();
        if told.is_empty() {
            say(format!(
                "{frames} frames are missing before seq {from_seq}, without a gap event"
            ));
        } else if ms != frames * frame_ms {
            say(format!(
                "{frames} frames of {frame_ms} ms are missing before seq {from_seq}, the gap says {ms} ms"
            ));
        }
        if let Some(gap) = told.iter().find(|gap| gap.reason != FULL) {
            say(format!("the reason is {FULL}: {gap:?}"));
        }
    }
    if let Some(gap) = events.first() {
        say(format!("nothing is missing there: {gap:?}"));
    }
}

const FULL: &str = "journal_full";
