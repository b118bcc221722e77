//! Whether audio is in danger of being trimmed before a group has read it: what `/health` and the log say of it.
//!
//! Pure: looks come in with their moment, findings go out. What is told once per episode is an [`Event`]; what holds for
//! the moment is a sentence (`words.rs`).

use std::collections::HashMap;

use tokio::time::Instant;

use super::{
    GroupState,
    lag::{Growth, Lag},
    look::{GROUPS_MAX, Group, Look},
    reader::Reader,
    words::{Danger, Words},
};
use crate::publisher::{Trim, reply::EntryId};

/// What was seen of one stream so far.
#[derive(Debug)]
pub(super) struct Guard {
    key: String,
    trim: Trim,
    growth: Growth,
    groups: HashMap<Vec<u8>, Known>,
}

#[derive(Debug)]
struct Known {
    reader: Reader,
    danger: Danger,
    /// It was told that nobody reads.
    is_silent: bool,
    /// An entry that was there at the last look and not delivered.
    unread: Option<EntryId>,
}

/// What a look has shown.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) groups: Vec<GroupState>,
    pub(super) problems: Vec<String>,
    pub(super) events: Vec<Event>,
    /// Of each group that a backlog must wait for: the oldest entry that it needs.
    pub(super) needs: Vec<Option<EntryId>>,
}

/// What is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    FallsBehind { group: String, problem: String },
    LostAudio { group: String, problem: String },
    ReadsNothing { group: String, problem: String },
    KeepsUp { group: String },
}

impl Guard {
    pub(super) fn new(key: &str, trim: Trim) -> Self {
        Self {
            key: key.to_owned(),
            trim,
            growth: Growth::default(),
            groups: HashMap::new(),
        }
    }

    /// Whether this group was there at the last look.
    pub(super) fn knows(&self, name: &[u8]) -> bool {
        self.groups.contains_key(name)
    }

    pub(super) fn look(&mut self, look: &Look, now: Instant) -> Findings {
        self.growth.look(look, now);
        let mut findings = Findings::default();
        let mut known_before = std::mem::take(&mut self.groups);
        for group in &look.groups {
            let known = match known_before.remove(&group.name) {
                Some(mut known) => {
                    known.reader.look(group, now);
                    known
                }
                None => Known::meet(group, now),
            };
            let known = self.judge(known, group, look, now, &mut findings);
            self.groups.insert(group.name.clone(), known);
        }
        if look.left_out > 0 {
            findings.problems.push(format!(
                "{} has more than {GROUPS_MAX} consumer groups, and {} of them are not watched: remove those that nobody needs (XGROUP DESTROY)",
                self.key, look.left_out
            ));
        }
        findings
    }

    fn judge(
        &self,
        mut known: Known,
        group: &Group,
        look: &Look,
        now: Instant,
        findings: &mut Findings,
    ) -> Known {
        let name = String::from_utf8_lossy(&group.name).into_owned();
        let lag = Lag::of(group, look, self.trim, &self.growth);
        let before = known.danger;
        known.danger = known.danger_now(group, look, lag.as_ref());
        known.unread = match group.next {
            // The next entry was looked up, or it is the first; otherwise the newest is one for sure.
            Some(next) if next != group.delivered.next() => Some(next),
            Some(_) => look.last,
            None => None,
        };
        let silence = known.reader.silent_for(now);
        let problem = lag.as_ref().and_then(|lag| {
            let words = Words {
                group: &name,
                key: &self.key,
                trim: self.trim,
                lag,
            };
            words.problem(known.danger, silence)
        });
        let told = problem.clone().unwrap_or_default();
        if known.danger > before {
            let (group, problem) = (name.clone(), told.clone());
            findings.events.push(if known.danger == Danger::Lost {
                Event::LostAudio { group, problem }
            } else {
                Event::FallsBehind { group, problem }
            });
        }
        if silence.is_some() && !known.is_silent {
            let (group, problem) = (name.clone(), told);
            findings.events.push(Event::ReadsNothing { group, problem });
        }
        let was_told = before > Danger::None || known.is_silent;
        known.is_silent = silence.is_some();
        if was_told && known.danger == Danger::None && !known.is_silent {
            findings.events.push(Event::KeepsUp {
                group: name.clone(),
            });
        }
        findings.problems.extend(problem);
        if known.reader.is_active(now) {
            findings.needs.push(known.reader.needs(group, now));
        }
        findings.groups.push(GroupState::new(name, lag.as_ref()));
        known
    }
}

impl Known {
    fn meet(group: &Group, now: Instant) -> Self {
        Self {
            reader: Reader::meet(group, now),
            danger: Danger::None,
            is_silent: false,
            unread: None,
        }
    }

    fn danger_now(&self, group: &Group, look: &Look, lag: Option<&Lag>) -> Danger {
        let gone = |entry| look.first.is_none_or(|first| entry < first);
        let has_lost = self
            .unread
            .is_some_and(|entry| group.delivered < entry && gone(entry));
        let margin = lag.and_then(|lag| lag.margin);
        if has_lost {
            Danger::Lost
        } else if margin.is_some_and(|margin| margin.is_near) {
            self.danger.max(Danger::Near)
        } else if margin.is_some_and(|margin| !margin.is_far) {
            // Not in danger anew, but an episode that has begun is not over yet.
            self.danger
        } else {
            Danger::None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// A stream of 50 entries a second from `first_s` to `last_s`, and a group that has read to `delivered_s`.
    fn look(first_s: u64, last_s: u64, delivered_s: u64) -> Look {
        let (first, last) = (id(first_s * 1000), id(last_s * 1000));
        let delivered = id(delivered_s * 1000);
        let next = id(delivered.ms + 20).max(first);
        Look {
            first: Some(first),
            last: Some(last),
            newest: last,
            length: (last_s - first_s) * 50,
            groups: vec![Group {
                name: b"asr".to_vec(),
                delivered,
                next: (delivered < last).then_some(next),
                idle_ms: Some(0),
                ..Group::default()
            }],
            ..Look::default()
        }
    }

    /// Plays looks, each with the second at which it is taken: what was told, and what stands in `/health` at the end.
    fn play(trim: Trim, looks: impl IntoIterator<Item = (u64, Look)>) -> (Vec<String>, String) {
        let start = Instant::now();
        let mut guard = Guard::new("audio_stream", trim);
        let (mut told, mut problems) = (Vec::new(), Vec::new());
        for (second, look) in looks {
            let findings = guard.look(&look, start + Duration::from_secs(second));
            told.extend(findings.events.iter().map(|event| match event {
                Event::FallsBehind { .. } => format!("{second} behind"),
                Event::LostAudio { .. } => format!("{second} lost"),
                Event::ReadsNothing { .. } => format!("{second} silent"),
                Event::KeepsUp { .. } => format!("{second} keeps up"),
            }));
            problems = findings.problems;
        }
        (told, problems.join("\n"))
    }

    const MINUTES: Trim = Trim::Age(Duration::from_mins(2));

    #[test]
    fn a_group_that_keeps_up_is_not_talked_about() {
        let looks = (0..1000).map(|second| (second, look(second, second + 60, second + 59)));
        assert_eq!(play(MINUTES, looks), (vec![], String::new()));
        let silent_call = (0..1000).map(|second| (second, look(0, 60, 60)));
        assert_eq!(play(MINUTES, silent_call), (vec![], String::new()));
    }

    #[test]
    fn a_group_that_is_too_slow_is_named_before_it_loses_audio_and_after() {
        // Half as fast as audio comes; what is older than 120 s goes.
        let at = |second: u64| (second, look(second.saturating_sub(120), second, second / 2));
        let (told, problem) = play(MINUTES, (0..200).map(at));
        assert_eq!(told, ["181 behind"]);
        let expected = "consumer group asr of audio_stream is 99 s (4999 entries) behind; in 20 s audio is lost to it: run more workers, or raise AUDIO_STREAM_RETENTION_S";
        assert_eq!(problem, expected);
        let (told, problem) = play(MINUTES, (0..300).map(at));
        assert_eq!(told, ["181 behind", "241 lost"]);
        assert!(problem.contains("has lost audio"), "{problem}");
        let rescued = (300..310).map(|second| (second, look(second - 120, second, second - 1)));
        let (told, problem) = play(MINUTES, (0..300).map(at).chain(rescued));
        assert_eq!(told, ["181 behind", "241 lost", "300 keeps up"]);
        assert_eq!(problem, "");
    }

    #[test]
    fn a_group_on_the_edge_is_told_of_once() {
        let at = |second: u64| (second, look(1_000, 1_091 - second % 3, 1_000));
        let moving = (0..100).map(at).map(|(second, mut look)| {
            look.groups[0].delivered.seq = second;
            (second, look)
        });
        let (told, _) = play(MINUTES, moving);
        assert_eq!(told, ["0 behind"]);
    }

    #[test]
    fn a_group_that_reads_nothing_is_named() {
        let (told, problem) = play(MINUTES, (0..80).map(|second| (second, look(0, 60, 30))));
        assert_eq!(told, ["60 silent"]);
        let expected = "consumer group asr of audio_stream reads nothing: none of its workers has read for 79 s, and it is 29 s (1499 entries) behind; start its workers";
        assert!(problem.starts_with(expected), "{problem}");
    }

    #[test]
    fn what_nobody_acknowledges_is_named_for_what_it_is() {
        let mut forgotten = look(0, 110, 110);
        forgotten.groups[0].pending = 7;
        forgotten.groups[0].oldest_pending = Some(id(5_000));
        forgotten.groups[0].oldest_kept = Some(id(5_000));
        let (told, problem) = play(MINUTES, [(0, forgotten)]);
        assert_eq!(told, ["0 behind"]);
        assert!(
            problem.contains("XACK") && problem.contains("in 15 s"),
            "{problem}"
        );
    }

    #[test]
    fn by_length_the_margin_is_counted_in_entries() {
        let (told, problem) = play(Trim::Length(1000), [(0, look(100, 120, 104))]);
        assert_eq!(told, ["0 behind"]);
        assert!(
            problem.contains("in 4 s") && problem.contains("AUDIO_STREAM_MAXLEN"),
            "{problem}"
        );
        let untrimmed = play(Trim::Never, [(0, look(100, 120, 104))]);
        assert_eq!(untrimmed, (vec![], String::new()));
    }

    #[test]
    fn only_groups_that_read_hold_a_backlog_back() {
        let now = Instant::now();
        let mut seen = look(0, 60, 30);
        let mut silent = seen.groups[0].clone();
        (silent.name, silent.idle_ms) = (b"idle".to_vec(), Some(3_600_000));
        seen.groups.push(silent);
        let mut guard = Guard::new("audio_stream", MINUTES);
        let findings = guard.look(&seen, now);
        assert_eq!(findings.needs, [Some(id(30_020))]);
        assert_eq!(findings.groups.len(), 2);
        assert_eq!(findings.groups[0].margin_seconds, Some(90.02));
        assert!(
            findings.problems[0].contains("group idle of audio_stream reads nothing"),
            "{findings:?}"
        );
    }
}
