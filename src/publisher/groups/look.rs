//! One look at a stream and its consumer groups: the commands, and what their replies say.
//!
//! What follows from it is `guard.rs`'s and `pace.rs`'s subject. Everything is told by entry ids, since Redis may not know
//! a group's `lag`, and Redis 6 never does. Invariant: what is unknown errs towards "still needed".

use redis::{Value, cmd};

use crate::publisher::{
    link::{Link, LinkError},
    reply::{self, EntryId},
};

/// A stream at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Ids of the oldest and the newest entry that are there.
    pub(crate) first: Option<EntryId>,
    pub(crate) last: Option<EntryId>,
    /// The newest id that was ever given; trimming counts from it.
    pub(crate) newest: EntryId,
    pub(crate) length: u64,
    /// Entries ever added; Redis 6 does not tell.
    pub(crate) added: Option<u64>,
    pub(crate) groups: Vec<Group>,
    /// Groups beyond [`GROUPS_MAX`], which are not looked at.
    pub(crate) left_out: usize,
}

/// One group of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// As Redis has it: it need not be text.
    pub(super) name: Vec<u8>,
    pub(super) delivered: EntryId,
    /// Entries not delivered, where Redis knows.
    pub(super) lag: Option<u64>,
    /// Nobody has ever asked it for anything, or all who did were removed.
    pub(super) is_deserted: bool,
    /// Entries delivered and not acknowledged.
    pub(super) pending: u64,
    /// The oldest of them, and the oldest of them that is still in the stream.
    pub(super) oldest_pending: Option<EntryId>,
    pub(super) oldest_kept: Option<EntryId>,
    /// Not above the oldest entry that is not delivered; `None` when all are.
    pub(super) next: Option<EntryId>,
    /// For how long none of its consumers has asked for anything; only told of a group that is new to the asker.
    pub(super) idle_ms: Option<u64>,
}

/// What became of a look.
#[derive(Debug)]
pub(crate) enum Seen {
    Stream(Look),
    /// There is no such key.
    Absent,
    /// Redis does not let us look, in its own words.
    Refused(String),
}

/// Looks at the stream; `is_known` tells of which groups it was asked before.
pub(super) async fn look(
    link: &mut Link,
    key: &str,
    configured: &[String],
    is_known: impl Fn(&[u8]) -> bool,
) -> Result<Seen, LinkError> {
    let mut look = match look_at_stream(link, key).await? {
        Seen::Stream(look) => look,
        other => return Ok(other),
    };
    let groups = match link.request(cmd("XINFO").arg("GROUPS").arg(key)).await? {
        // It was removed in between.
        Value::ServerError(error) if error.details() == Some("no such key") => {
            return Ok(Seen::Absent);
        }
        Value::ServerError(error) => return Ok(Seen::Refused(reply::words(&error))),
        groups => groups,
    };
    look.groups = items(&groups).iter().filter_map(read_group).collect();
    let is_ours = |group: &Group| configured.iter().any(|ours| ours.as_bytes() == group.name);
    look.groups.sort_by_key(|group| !is_ours(group));
    look.left_out = look.groups.len().saturating_sub(GROUPS_MAX);
    look.groups.truncate(GROUPS_MAX);
    let mut groups = std::mem::take(&mut look.groups);
    for group in &mut groups {
        find_next(link, key, &look, group).await?;
        if group.pending > 0
            && let Some(refusal) = find_pending(link, key, look.first, group).await?
        {
            return Ok(Seen::Refused(refusal));
        }
        if group.next.is_some() && !is_known(&group.name) {
            let consumers = cmd("XINFO")
                .arg("CONSUMERS")
                .arg(key)
                .arg(&group.name)
                .to_owned();
            let consumers = link.request(&consumers).await?;
            let idle = items(&consumers)
                .iter()
                .filter_map(|consumer| number(field(consumer, "idle")?));
            group.idle_ms = idle.min();
        }
    }
    look.groups = groups;
    Ok(Seen::Stream(look))
}

/// Looks at the stream alone.
pub(crate) async fn look_at_stream(link: &mut Link, key: &str) -> Result<Seen, LinkError> {
    Ok(
        match link.request(cmd("XINFO").arg("STREAM").arg(key)).await? {
            Value::ServerError(error) if error.details() == Some("no such key") => Seen::Absent,
            Value::ServerError(error) => Seen::Refused(reply::words(&error)),
            stream => Seen::Stream(read_stream(&stream)),
        },
    )
}

/// Finds the oldest entry that the group has not been given.
async fn find_next(
    link: &mut Link,
    key: &str,
    look: &Look,
    group: &mut Group,
) -> Result<(), LinkError> {
    let (Some(first), Some(last)) = (look.first, look.last) else {
        return Ok(());
    };
    if group.delivered >= last {
        return Ok(());
    }
    let after = group.delivered.next();
    group.next = Some(after.max(first));
    // The next entry may be much younger than the one before it, where the stream was silent.
    if after > first && last.ms.saturating_sub(after.ms) > NEAR_MS {
        let range = cmd("XRANGE")
            .arg(key)
            .arg(after.to_string())
            .arg("+")
            .arg("COUNT")
            .arg(1)
            .to_owned();
        let found = link.request(&range).await?;
        group.next = items(&found).first().and_then(entry_id).or(group.next);
    }
    Ok(())
}

/// Finds the oldest entries that wait to be acknowledged; gives back Redis's words where it refuses.
async fn find_pending(
    link: &mut Link,
    key: &str,
    first: Option<EntryId>,
    group: &mut Group,
) -> Result<Option<String>, LinkError> {
    let from = |start: &str| {
        cmd("XPENDING")
            .arg(key)
            .arg(&group.name)
            .arg(start)
            .arg("+")
            .arg(1)
            .to_owned()
    };
    let oldest = match link.request(&from("-")).await? {
        Value::ServerError(error) if error.code() == "NOGROUP" => return Ok(None),
        Value::ServerError(error) => return Ok(Some(reply::words(&error))),
        pending => items(&pending).first().and_then(entry_id),
    };
    let kept = match (oldest, first) {
        (Some(oldest), Some(first)) if oldest < first => {
            let kept = link.request(&from(&first.to_string())).await?;
            items(&kept).first().and_then(entry_id)
        }
        (_, None) => None,
        (oldest, Some(_)) => oldest,
    };
    (group.oldest_pending, group.oldest_kept) = (oldest, kept);
    Ok(None)
}

fn read_stream(reply: &Value) -> Look {
    let id_of = |name| field(reply, name).and_then(entry_id);
    Look {
        first: id_of("first-entry"),
        last: id_of("last-entry"),
        newest: field(reply, "last-generated-id")
            .and_then(id)
            .unwrap_or_default(),
        length: field(reply, "length").and_then(number).unwrap_or(0),
        added: field(reply, "entries-added").and_then(number),
        ..Look::default()
    }
}

fn read_group(reply: &Value) -> Option<Group> {
    Some(Group {
        name: bytes(field(reply, "name")?)?.to_vec(),
        delivered: id(field(reply, "last-delivered-id")?)?,
        lag: field(reply, "lag").and_then(number),
        pending: field(reply, "pending").and_then(number).unwrap_or(0),
        is_deserted: field(reply, "consumers").and_then(number) == Some(0),
        ..Group::default()
    })
}

/// The value after a name, in a list of names and values.
fn field<'a>(reply: &'a Value, name: &str) -> Option<&'a Value> {
    let mut pairs = items(reply).chunks_exact(2);
    pairs.find_map(|pair| match pair {
        [key, value] if bytes(key) == Some(name.as_bytes()) => Some(value),
        _ => None,
    })
}

/// The id of `[id, …]`.
fn entry_id(entry: &Value) -> Option<EntryId> {
    items(entry).first().and_then(id)
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

fn id(value: &Value) -> Option<EntryId> {
    EntryId::parse(bytes(value)?)
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// More groups than anybody runs; each costs up to four small commands a second.
pub(super) const GROUPS_MAX: usize = 64;
/// Within this time the next entry is taken to be as old as the one before it.
const NEAR_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(id: &str) -> Value {
        Value::Array(vec![text(id), Value::Array(vec![text("data"), text("{}")])])
    }

    fn at(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    #[test]
    fn a_stream_is_read_whether_redis_is_old_or_new() {
        let mut words = vec![
            text("length"),
            Value::Int(2),
            text("last-generated-id"),
            text("9-0"),
            text("groups"),
            Value::Int(1),
            text("first-entry"),
            entry("5-0"),
            text("last-entry"),
            entry("8-0"),
        ];
        let mut look = Look {
            first: Some(at(5)),
            last: Some(at(8)),
            newest: at(9),
            length: 2,
            ..Look::default()
        };
        assert_eq!(read_stream(&Value::Array(words.clone())), look);
        words.extend([text("entries-added"), Value::Int(7)]);
        look.added = Some(7);
        assert_eq!(read_stream(&Value::Array(words)), look);
        assert_eq!(read_stream(&Value::Nil), Look::default());
    }

    #[test]
    fn a_group_is_read_also_where_its_lag_is_unknown() {
        let words = |lag| {
            Value::Array(vec![
                text("name"),
                text("asr"),
                text("pending"),
                Value::Int(3),
                text("last-delivered-id"),
                text("7-0"),
                text("lag"),
                lag,
            ])
        };
        let group = Group {
            name: b"asr".to_vec(),
            delivered: at(7),
            pending: 3,
            ..Group::default()
        };
        assert_eq!(read_group(&words(Value::Nil)), Some(group.clone()));
        let known = Group {
            lag: Some(4),
            ..group
        };
        assert_eq!(read_group(&words(Value::Int(4))), Some(known));
        assert_eq!(read_group(&Value::Array(vec![text("name")])), None);
    }
}
