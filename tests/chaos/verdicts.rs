//! The oracle on trial: it finds nothing in a stream that is as it should be, and every kind of fault that is
//! put into one. No process is started here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    audio,
    ledger::Ledger,
    oracle::{self, Evidence, Fate, Incarnation},
    plan::{CallPlan, Pace, Plan, Speaker, Tear},
    published::Published,
};

/// A run of one call whose stream can be spoilt.
struct Case {
    plan: Plan,
    ledger: Ledger,
    incarnations: Vec<Incarnation>,
    /// Session, seq and the sender's frame, in the order of the stream.
    frames: Vec<(u64, u64, u32)>,
    ends: Vec<Value>,
    events: Vec<Value>,
}

const SESSION: u64 = 1_000;
const BYTES: usize = 320;

impl Case {
    /// Six frames on one connection, all there.
    fn new(speaker: Speaker) -> Self {
        let call = CallPlan {
            number: 0,
            speaker,
            rate: 8_000,
            frame_bytes: BYTES,
            begins_ms: 0,
            frames: Some(6),
            pace: Pace {
                burst: 1,
                pause_us: 1,
            },
            breaks: Vec::new(),
            ending: Tear::Stop,
        };
        let mut ledger = Ledger::new(&call);
        ledger.begin(0, 1);
        (1..=6).for_each(|index| ledger.sends(index, false));
        ledger.arrives(true);
        ledger.finished = Some(6);
        if speaker != Speaker::Exotel {
            ledger.acked = 6;
        }
        let mut case = Self {
            plan: Plan {
                seed: 1,
                settings: Vec::new(),
                shards: 1,
                calls: vec![call],
                faults: Vec::new(),
                persistent: false,
                once_more: false,
                may_drop: false,
            },
            ledger,
            incarnations: vec![Incarnation {
                began_ms: 0,
                fate: Fate::Lived,
            }],
            frames: (1..=6).map(|n| (SESSION, u64::from(n), n)).collect(),
            ends: Vec::new(),
            events: vec![json!({"type": "start", "interaction_id": "call-0"})],
        };
        case.end(SESSION);
        case
    }

    /// The true end of a session as it stands in the stream.
    fn end(&mut self, session: u64) {
        let frames: Vec<_> = self.frames.iter().filter(|one| one.0 == session).collect();
        let all: Vec<u8> = frames.iter().flat_map(|one| pcm(one.2)).collect();
        self.ends.push(json!({"interaction_id": "call-0", "session": session, "complete": true,
            "frames": frames.len(), "first_seq": frames.first().map(|one| one.1), "last_seq": frames.last().map(|one| one.1),
            "bytes": all.len(), "gaps": 0, "crc32": format!("{:08x}", crc32fast::hash(&all))}));
    }

    fn again(mut self) -> Self {
        self.ends.clear();
        self.end(SESSION);
        self
    }

    fn verdict(&self) -> String {
        let mut published = Published::new(&self.plan);
        for (place, (session, seq, index)) in self.frames.iter().enumerate() {
            let call = &self.plan.calls[0];
            let data = json!({"tenant_id": call.tenant(), "interaction_id": "call-0", "seq": seq, "timestamp_ms": 1,
                "sample_rate": 8_000, "encoding": "pcm16", "session": session, "audio": STANDARD.encode(pcm(*index))});
            let fields = vec![("data".to_owned(), data.to_string().into_bytes())];
            published.take_frame(&format!("{place}-0"), &fields);
        }
        for end in &self.ends {
            published.take_end("100-0", end);
        }
        for event in &self.events {
            published.take_event(event);
        }
        let evidence = Evidence {
            plan: &self.plan,
            ledgers: std::slice::from_ref(&self.ledger),
            published: &published,
            incarnations: &self.incarnations,
            lost: false,
        };
        oracle::judge(&evidence).join("\n")
    }

    /// Spoils the case; the verdict must say this.
    fn must(speaker: Speaker, words: &str, spoil: impl FnOnce(Self) -> Self) {
        let verdict = spoil(Self::new(speaker)).verdict();
        assert!(
            verdict.contains(words),
            "{speaker:?}: {words:?} is not in {verdict:?}"
        );
    }
}

fn pcm(index: u32) -> Vec<u8> {
    audio::frame(1, 0, index, BYTES)
}

const ALL: [Speaker; 4] = [
    Speaker::Exotel,
    Speaker::Numbered,
    Speaker::Plain,
    Speaker::Binary,
];

#[test]
fn what_is_whole_is_let_go() {
    for speaker in ALL {
        assert_eq!(Case::new(speaker).verdict(), "", "{speaker:?}");
    }
}

#[test]
fn a_missing_frame_is_missed() {
    let renumbered = |mut case: Case| {
        case.frames = vec![
            (SESSION, 1, 1),
            (SESSION, 2, 2),
            (SESSION, 3, 4),
            (SESSION, 4, 5),
            (SESSION, 5, 6),
        ];
        case.again()
    };
    Case::must(Speaker::Exotel, "missing are 3", renumbered);
    Case::must(
        Speaker::Plain,
        "frame 4 (seq 3) follows frame 2",
        renumbered,
    );
    for speaker in ALL {
        let inside = |mut case: Case| {
            case.frames.remove(2);
            case
        };
        Case::must(speaker, "seq 4 (frame 4) follows seq 2", inside);
        let last = |mut case: Case| {
            case.frames.pop();
            case.again()
        };
        Case::must(speaker, "missing", last);
    }
}

#[test]
fn a_repeated_a_misplaced_and_a_changed_frame_are_seen() {
    for speaker in ALL {
        let twice = |mut case: Case| {
            case.frames.insert(3, (SESSION, 3, 3));
            case
        };
        Case::must(speaker, "seq 3 (frame 3) follows seq 3", twice);
        let swapped = |mut case: Case| {
            case.frames.swap(2, 3);
            case
        };
        Case::must(speaker, "follows", swapped);
        let foreign = |mut case: Case| {
            case.plan.calls[0].frame_bytes = 322;
            case
        };
        Case::must(speaker, "audio that was never sent", foreign);
    }
    let wrongly_numbered = |mut case: Case| {
        case.frames[5].2 = 5;
        case
    };
    Case::must(Speaker::Numbered, "seq 6 is frame 5", wrongly_numbered);
    Case::must(Speaker::Exotel, "again or late", wrongly_numbered);
}

#[test]
fn sessions_that_are_mixed_or_repeat_are_seen() {
    let mixed = |mut case: Case| {
        case.frames[3] = (SESSION + 1, 1, 4);
        case
    };
    Case::must(
        Speaker::Exotel,
        "behind a frame of the later session",
        mixed,
    );
    let repeated = |mut case: Case| {
        // Nothing was sent twice, so a second session of the same frames is none of the sender's.
        case.frames.push((SESSION + 1, 1, 6));
        case.end(SESSION + 1);
        case
    };
    Case::must(Speaker::Numbered, "begins with frame 6 again", repeated);
    Case::must(Speaker::Plain, "stands where it was not sent", repeated);
    Case::must(Speaker::Exotel, "again or late", repeated);
}

#[test]
fn an_end_that_is_missing_doubled_early_or_false_is_seen() {
    for speaker in ALL {
        let none = |mut case: Case| {
            case.ends.clear();
            case
        };
        Case::must(speaker, "has 0 ends", none);
        let two = |mut case: Case| {
            case.end(SESSION);
            case
        };
        Case::must(speaker, "has 2 ends", two);
        for name in ["frames", "first_seq", "last_seq", "bytes", "crc32"] {
            let wrong = |mut case: Case| {
                case.ends[0][name] = json!("?");
                case
            };
            Case::must(speaker, &format!("{name} is"), wrong);
        }
    }
    let two_starts = |mut case: Case| {
        case.events.push(case.events[0].clone());
        case
    };
    Case::must(Speaker::Exotel, "2 start events of 1 sessions", two_starts);
}

#[test]
fn gaps_are_where_audio_is_missing_and_nowhere_else() {
    let gap = |from: u64, ms: u64| {
        json!({"type": "gap", "interaction_id": "call-0", "from_seq": from, "to_seq": from - 1,
        "ms": ms, "reason": "journal_full"})
    };
    let dropped = |events: Vec<Value>| {
        move |mut case: Case| {
            case.plan.may_drop = true;
            case.frames.remove(2);
            for frame in &mut case.frames[2..] {
                frame.1 -= 1;
            }
            case = case.again();
            case.ends[0]["gaps"] = json!(events.len());
            case.events.extend(events);
            case
        }
    };
    let marked = dropped(vec![gap(3, 20)])(Case::new(Speaker::Exotel));
    assert_eq!(marked.verdict(), "");
    Case::must(Speaker::Exotel, "without a gap event", dropped(vec![]));
    Case::must(
        Speaker::Exotel,
        "the gap says 40 ms",
        dropped(vec![gap(3, 40)]),
    );
    Case::must(
        Speaker::Exotel,
        "nothing is missing there",
        dropped(vec![gap(3, 20), gap(5, 20)]),
    );
    for speaker in ALL {
        let needless = |mut case: Case| {
            case.events.push(gap(3, 20));
            case
        };
        Case::must(speaker, "nothing is missing, and yet", needless);
    }
}

#[test]
fn a_kill_excuses_the_end_of_a_call_but_no_hole_and_no_acked_frame() {
    let killed = |mut case: Case| {
        case.incarnations[0].fate = Fate::Killed;
        case.ends.clear();
        case
    };
    for speaker in ALL {
        assert_eq!(killed(Case::new(speaker)).verdict(), "");
    }
    let cut_off = |mut case: Case| {
        case.frames.truncate(4);
        killed(case)
    };
    assert_eq!(cut_off(Case::new(Speaker::Exotel)).verdict(), "");
    Case::must(
        Speaker::Numbered,
        "acked frames 5..=6 of 6 are missing",
        cut_off,
    );
    let hole = |mut case: Case| {
        case.frames.remove(1);
        killed(case)
    };
    Case::must(Speaker::Exotel, "missing are 2", hole);
}
