//! Whether audio is in danger of being trimmed before a group has read it: what `/health` and the log say of it.
//!
//! Pure: looks come in with their moment, findings go out. What is told once per episode is an [`Event`]; what holds for
//! the moment is a sentence.

use std::collections::HashMap;

use tokio::time::Instant;

use super::{
    GroupState,
    lag::{Growth, Lag},
    look::{GROUPS_MAX, Group, Look},
    reader::Reader,
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

/// How near trimming is to what a group has not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Danger {
    #[default]
    None,
    Near,
    Lost,
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
            match (silence, known.danger) {
                (Some(silence), danger) => Some(words.reads_nothing(silence.as_secs(), danger)),
                (None, Danger::Lost) => Some(words.lost_audio()),
                (None, Danger::Near) => Some(words.falls_behind()),
                (None, Danger::None) => None,
            }
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

/// What is said of one group.
struct Words<'a> {
    group: &'a str,
    key: &'a str,
    trim: Trim,
    lag: &'a Lag,
}

impl Words<'_> {
    fn falls_behind(&self) -> String {
        let Self { group, key, .. } = self;
        let (behind, until) = (self.behind(), self.until());
        if self.lag.is_pending {
            return format!(
                "consumer group {group} of {key} has left audio unacknowledged that is {behind} behind; {until} it is removed: have its workers acknowledge (XACK) what they have done, and claim (XAUTOCLAIM) what a worker that died has left"
            );
        }
        let advice = self.advice();
        format!(
            "consumer group {group} of {key} is {behind} behind; {until} audio is lost to it: {advice}"
        )
    }

    fn lost_audio(&self) -> String {
        let Self { group, key, .. } = self;
        let (behind, advice) = (self.behind(), self.advice());
        format!(
            "consumer group {group} of {key} has lost audio: it was removed before the group had read it, and the group is still {behind} behind: {advice}"
        )
    }

    fn reads_nothing(&self, silent_s: u64, danger: Danger) -> String {
        let Self { group, key, .. } = self;
        let behind = self.behind();
        let consequence = match danger {
            Danger::Lost => "; it has lost audio".to_owned(),
            Danger::Near => format!("; {} audio is lost to it", self.until()),
            Danger::None => String::new(),
        };
        format!(
            "consumer group {group} of {key} reads nothing: none of its workers has read for {silent_s} s, and it is {behind} behind{consequence}; start its workers, or remove the group (XGROUP DESTROY {key} {group}, and from AUDIO_CONSUMER_GROUPS)"
        )
    }

    fn behind(&self) -> String {
        format!(
            "{} s ({} entries)",
            self.lag.age.as_secs(),
            self.lag.entries
        )
    }

    fn until(&self) -> String {
        match self.lag.margin.and_then(|margin| margin.time) {
            Some(time) if time.is_zero() => "from now on".to_owned(),
            Some(time) => format!("in {} s", time.as_secs().max(1)),
            None => "when more frames come".to_owned(),
        }
    }

    fn advice(&self) -> &'static str {
        match self.trim {
            Trim::Length(_) => "run more workers, or raise AUDIO_STREAM_MAXLEN",
            _ => "run more workers, or raise AUDIO_STREAM_RETENTION_S",
        }
    }
}
