//! One look at the consumer groups of a stream, for whoever asks once and watches nothing.
//!
//! Watching is the module above. Invariant: what is said of a group that falls behind is what the service says.

use super::{
    lag::{Growth, Lag},
    look::{Group, Look, Seen, look},
    words::{Danger, Words},
};
use crate::publisher::{
    Trim,
    link::{Link, LinkError},
};

/// What there is to see.
#[derive(Debug)]
pub(crate) enum Glance {
    Groups(Vec<Standing>),
    /// There is no such stream.
    Absent,
    /// Redis does not let us look, in its own words.
    Refused(String),
}

/// How one group stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) seen: String,
    /// What is wrong, and what to do.
    pub(crate) problem: Option<String>,
}

pub(crate) async fn glance(link: &mut Link, key: &str, trim: Trim) -> Result<Glance, LinkError> {
    Ok(match look(link, key, &[], |_| true).await? {
        Seen::Absent => Glance::Absent,
        Seen::Refused(words) => Glance::Refused(words),
        Seen::Stream(look) => {
            let groups = look.groups.iter();
            Glance::Groups(
                groups
                    .map(|group| standing(group, &look, key, trim))
                    .collect(),
            )
        }
    })
}

fn standing(group: &Group, look: &Look, key: &str, trim: Trim) -> Standing {
    let name = String::from_utf8_lossy(&group.name).into_owned();
    let Some(lag) = Lag::of(group, look, trim, &Growth::default()) else {
        let seen = "has read all".to_owned();
        return Standing {
            name,
            seen,
            problem: None,
        };
    };
    let lost =
        matches!((group.oldest_pending, look.first), (Some(oldest), Some(first)) if oldest < first);
    let danger = match &lag.margin {
        _ if lost => Danger::Lost,
        Some(margin) if margin.is_near => Danger::Near,
        _ => Danger::None,
    };
    let words = Words {
        group: &name,
        key,
        trim,
        lag: &lag,
    };
    let problem = words.problem(danger, None);
    let seen = format!(
        "is {} entries and {:.1} s behind{}",
        lag.entries,
        lag.age.as_secs_f64(),
        if group.is_deserted {
            ", and nobody reads it"
        } else {
            ""
        }
    );
    Standing {
        name,
        seen,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::publisher::reply::EntryId;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    #[test]
    fn a_group_is_well_behind_or_in_danger() {
        let look = Look {
            first: Some(id(0)),
            last: Some(id(100_000)),
            newest: id(100_000),
            length: 5_000,
            ..Look::default()
        };
        let group = |next: Option<u64>| Group {
            name: b"asr".to_vec(),
            next: next.map(id),
            ..Group::default()
        };
        let trim = Trim::Age(Duration::from_mins(2));
        let of = |next| standing(&group(next), &look, "audio_stream", trim);
        assert_eq!(
            (of(None).seen.as_str(), of(None).problem),
            ("has read all", None)
        );
        let behind = of(Some(50_000));
        assert_eq!(behind.seen, "is 2500 entries and 50.0 s behind");
        assert_eq!(behind.problem, None);
        assert!(
            of(Some(5_000))
                .problem
                .is_some_and(|problem| problem.contains("asr"))
        );
    }
}
