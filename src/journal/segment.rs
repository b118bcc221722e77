//! The names of segments, and which there are. Their bytes are in `format.rs`.
//!
//! A name says the position of the segment's first record, which attempt it is to write that record (a segment whose
//! first sync failed has a successor with the same position), and the salt of its CRCs, so that a segment whose
//! header is damaged can still be read.
//!
//! Invariant: names sort in the order in which their segments were begun, and none is used twice.

use std::{fmt, io, path::Path};

use super::{Position, format::take};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) first: Position,
    pub(crate) attempt: u32,
    pub(crate) salt: u32,
}

impl Name {
    /// The name of a segment that begins with `first`, where `last` is the greatest name there was before.
    pub(crate) fn new(first: Position, salt: u32, last: Option<Self>) -> Self {
        let attempt = match last {
            Some(last) if last.first == first => last.attempt.saturating_add(1),
            _ => 0,
        };
        Self {
            first,
            attempt,
            salt,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".seg")?.split('-');
        let name_read = Self {
            first: Position(parts.next()?.parse().ok()?),
            attempt: parts.next()?.parse().ok()?,
            salt: u32::from_str_radix(parts.next()?, 16).ok()?,
        };
        // Written again it must be the same: a stray file with a name like ours is not ours.
        (name_read.to_string() == name).then_some(name_read)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:020}-{:04}-{:08x}.seg",
            self.first.0, self.attempt, self.salt
        )
    }
}

/// The segments in `dir`, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in dir.read_dir()? {
        names.extend(entry?.file_name().to_str().and_then(Name::parse));
    }
    names.sort_unstable();
    Ok(names)
}

/// A number that nobody outside can guess.
pub(crate) fn random_salt() -> u32 {
    let random = uuid::Uuid::new_v4().into_bytes();
    take(&mut random.as_slice()).map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_sort_by_age() {
        let name = Name::new(Position(10), 0xAB, None);
        assert_eq!(name.to_string(), "00000000000000000010-0000-000000ab.seg");
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        let again = Name::new(Position(10), 0x01, Some(name));
        let later = Name::new(Position(11), 0x00, Some(again));
        assert_eq!((again.attempt, later.attempt), (1, 0));
        assert!(name < again && again < later);
        assert!(name.to_string() < again.to_string() && again.to_string() < later.to_string());
    }

    #[test]
    fn only_segments_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "00000000000000000010-0000-000000ab.seg",
            "00000000000000000002-0001-000000ab.seg",
            "lock",
            "cursor",
            "2-1-ab.seg",
            "00000000000000000002-0001-000000ab.seg.bak",
            "+0000000000000000002-0001-000000ab.seg",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let firsts: Vec<_> = list(dir.path())
            .unwrap()
            .iter()
            .map(|name| name.first.0)
            .collect();
        assert_eq!(firsts, [2, 10]);
    }
}
