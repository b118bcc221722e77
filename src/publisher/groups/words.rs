//! What is said of a group that does not keep up: how far it is behind, what will happen, and what to do.
//!
//! When it is said is `guard.rs`'s subject.

use std::time::Duration;

use super::lag::Lag;
use crate::publisher::Trim;

/// How near trimming is to what a group has not read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Danger {
    #[default]
    None,
    Near,
    Lost,
}

/// What is said of one group.
pub(super) struct Words<'a> {
    pub(super) group: &'a str,
    pub(super) key: &'a str,
    pub(super) trim: Trim,
    pub(super) lag: &'a Lag,
}

impl Words<'_> {
    /// What is wrong and what to do; `None` when all is well.
    pub(super) fn problem(&self, danger: Danger, silence: Option<Duration>) -> Option<String> {
        match (silence, danger) {
            (Some(silence), danger) => Some(self.reads_nothing(silence.as_secs(), danger)),
            (None, Danger::Lost) => Some(self.lost_audio()),
            (None, Danger::Near) => Some(self.falls_behind()),
            (None, Danger::None) => None,
        }
    }

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
