//! How far one stream was read, and whether trimming has overtaken the reading.
//!
//! Redis 7 counts what was ever added, so that what was removed unread can be counted; Redis 6 does not, and it is only told
//! that there was something. Invariant: nothing is said to be lost that was read, or that was not there.

use crate::publisher::{groups::look::Look, reply::EntryId};

/// A place in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The last entry that was read, or what stands for it.
    pub(super) last: EntryId,
    /// How many entries had ever been added when that one was, where it is known.
    counted: Option<u64>,
    /// There was more to read than was asked for.
    pub(super) is_behind: bool,
}

/// What cannot be read any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Entries(u64),
    /// Some, but nobody knows how many.
    Some,
    /// All, and what is read from now on is of another stream of this name.
    Stream,
}

impl Place {
    pub(super) fn behind(last: EntryId) -> Self {
        Self {
            last,
            counted: None,
            is_behind: false,
        }
    }

    pub(super) fn took(&mut self, id: EntryId) {
        self.last = id;
        self.counted = self.counted.map(|counted| counted + 1);
    }

    /// There is no such stream: whatever will be in it is new.
    pub(super) fn note_absent(&mut self) {
        self.counted = Some(0);
    }

    /// Learns how the stream is, while nothing is being read from it.
    pub(super) fn look(&mut self, look: &Look) -> Option<Lost> {
        let removed = look.added.map(|added| added.saturating_sub(look.length));
        if look.newest < self.last {
            *self = Self::behind(EntryId::default());
            self.counted = removed;
            return Some(Lost::Stream);
        }
        if look.newest == self.last {
            self.counted = look.added;
            return None;
        }
        if let (Some(counted), Some(removed)) = (self.counted, removed)
            && look.added >= self.counted
        {
            let lost = removed.checked_sub(counted).filter(|&lost| lost > 0)?;
            self.counted = Some(removed);
            return Some(Lost::Entries(lost));
        }
        // What is read next is the first that there is.
        if look.first.is_none_or(|first| first > self.last) {
            self.counted = removed;
            return self.is_behind.then_some(Lost::Some);
        }
        self.counted = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// A stream with an entry each millisecond, trimmed up to `first`.
    fn stream(first: u64, last: u64, counts: bool) -> Look {
        Look {
            first: Some(id(first)),
            last: Some(id(last)),
            newest: id(last),
            length: last + 1 - first,
            added: counts.then_some(last),
            ..Look::default()
        }
    }

    #[test]
    fn what_was_removed_unread_is_counted() {
        let mut place = Place::behind(id(10));
        assert_eq!(place.look(&stream(1, 10, true)), None, "all is read");
        for ms in 11..=20 {
            place.took(id(ms));
        }
        assert_eq!(place.look(&stream(15, 40, true)), None);
        assert_eq!(
            place.look(&stream(21, 40, true)),
            None,
            "the next one is there"
        );
        assert_eq!(place.look(&stream(31, 60, true)), Some(Lost::Entries(10)));
        assert_eq!(place.look(&stream(31, 60, true)), None, "it is told once");
        for ms in 31..=60 {
            place.took(id(ms));
        }
        assert_eq!(place.look(&stream(55, 60, true)), None);
        assert_eq!(place.look(&stream(61, 70, true)), None);
    }

    #[test]
    fn consumers_that_remove_what_they_have_read_are_no_loss() {
        let mut place = Place::behind(id(10));
        place.look(&stream(1, 10, true));
        place.took(id(11));
        let mut look = stream(1, 12, true);
        look.length = 1;
        look.first = Some(id(12));
        assert_eq!(place.look(&look), None);
    }

    #[test]
    fn a_redis_that_does_not_count_tells_only_while_more_waits() {
        let mut place = Place::behind(id(10));
        assert_eq!(
            place.look(&stream(21, 40, false)),
            None,
            "perhaps it was the next"
        );
        place.is_behind = true;
        assert_eq!(place.look(&stream(5, 40, false)), None);
        assert_eq!(place.look(&stream(21, 40, false)), Some(Lost::Some));
    }

    #[test]
    fn another_stream_of_the_name_is_read_from_its_beginning() {
        let mut place = Place::behind(id(100));
        assert_eq!(place.look(&stream(1, 3, true)), Some(Lost::Stream));
        assert_eq!(place.last, EntryId::default());
        let mut place = Place::behind(id(100));
        place.note_absent();
        assert_eq!(
            place.look(&stream(101, 103, true)),
            Some(Lost::Entries(100)),
            "counted as a stream from 1"
        );
        let mut place = Place::behind(EntryId::default());
        place.note_absent();
        assert_eq!(place.look(&stream(1, 3, true)), None);
    }
}
