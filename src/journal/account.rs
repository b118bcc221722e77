//! Keeps a reader's account: which position is due, and what is missing or was passed over before it. Where the
//! records come from is `reader.rs`.
//!
//! Invariant: positions given out plus positions told to be missing are all there were, each once.

use super::{Notice, Position, segment::Name};

#[derive(Debug)]
pub(crate) struct Account {
    /// The next position that was not given out; `None` where the oldest there is will do.
    next: Option<Position>,
    /// Bytes that are no record since the last one that was, and in which segment.
    passed_over: Option<(Name, u64)>,
    /// An unknown version's segment was passed over: nobody knows how many records are in it.
    gap_explained: bool,
    notices: Vec<Notice>,
}

impl Account {
    pub(crate) fn new(next: Option<Position>) -> Self {
        Self {
            next,
            passed_over: None,
            gap_explained: false,
            notices: Vec::new(),
        }
    }

    pub(crate) fn next(&self) -> Option<Position> {
        self.next
    }

    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// A record was reached. `false` if it was given out before.
    pub(crate) fn reach(&mut self, name: Name, position: Position) -> bool {
        let next = self.next.unwrap_or(position);
        if position < next {
            return false;
        }
        let missing = position.0 - next.0;
        let (segment, bytes) = self.passed_over.take().unwrap_or((name, 0));
        if bytes > 0 || missing > 0 {
            self.note_damage(segment, bytes, missing);
        }
        self.next = Some(position.following());
        true
    }

    /// A segment that begins with `first` was reached.
    pub(crate) fn enter(&mut self, first: Position) {
        let next = self.next.unwrap_or(first);
        let missing = if std::mem::take(&mut self.gap_explained) {
            0
        } else {
            first.0.saturating_sub(next.0)
        };
        match self.passed_over.take() {
            Some((segment, bytes)) => self.note_damage(segment, bytes, missing),
            None if missing > 0 => self.note(Notice::Removed { records: missing }),
            None => {}
        }
        self.next = Some(next.max(first));
    }

    /// A segment of an unknown version was reached.
    pub(crate) fn enter_unknown(&mut self, name: Name, version: u32) {
        self.enter(name.first);
        self.gap_explained = true;
        self.note(Notice::UnknownVersion {
            segment: name.to_string(),
            version,
        });
    }

    /// There are `bytes` that are no record.
    pub(crate) fn pass_over(&mut self, name: Name, bytes: u64) {
        if bytes > 0 {
            let before = self.passed_over.map_or(0, |(_, bytes)| bytes);
            self.passed_over = Some((name, before + bytes));
        }
    }

    /// The record that was reached is of an unknown kind.
    pub(crate) fn unknown_kind(&mut self, name: Name) {
        let name = name.to_string();
        if let Some(Notice::UnknownKind { segment, records }) = self.notices.last_mut()
            && *segment == name
        {
            *records += 1;
            return;
        }
        self.note(Notice::UnknownKind {
            segment: name,
            records: 1,
        });
    }

    fn note_damage(&mut self, segment: Name, bytes: u64, records: u64) {
        self.note(Notice::Damage {
            segment: segment.to_string(),
            bytes,
            records,
        });
    }

    fn note(&mut self, notice: Notice) {
        if self.notices.len() >= NOTICES_MAX {
            self.notices.remove(0);
        }
        self.notices.push(notice);
    }
}

/// Damage that nobody asks about must not fill the memory.
const NOTICES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(first: u64) -> Name {
        Name::new(Position(first), 0, None)
    }

    #[test]
    fn each_position_is_given_out_once() {
        let mut account = Account::new(Some(Position(5)));
        account.enter(Position(3));
        let given: Vec<_> = [3, 4, 5, 6, 5, 6, 7]
            .into_iter()
            .filter(|&position| account.reach(name(3), Position(position)))
            .collect();
        assert_eq!(given, [5, 6, 7]);
        assert_eq!(account.take_notices(), []);
    }

    #[test]
    fn a_gap_is_damage_where_there_was_some_and_else_a_removal() {
        let mut account = Account::new(None);
        account.enter(Position(10));
        account.reach(name(10), Position(10));
        account.pass_over(name(10), 50);
        account.pass_over(name(10), 20);
        account.enter(Position(13));
        account.enter(Position(20));
        account.enter_unknown(name(20), 2);
        account.enter(Position(90));
        let segment = name(10).to_string();
        let told = [
            Notice::Damage {
                segment,
                bytes: 70,
                records: 2,
            },
            Notice::Removed { records: 7 },
            Notice::UnknownVersion {
                segment: name(20).to_string(),
                version: 2,
            },
        ];
        assert_eq!(account.take_notices(), told);
        assert_eq!(account.next(), Some(Position(90)));
    }

    #[test]
    fn notices_that_nobody_takes_are_bounded() {
        let mut account = Account::new(None);
        for position in 1..3000 {
            account.pass_over(name(1), 1);
            account.reach(name(1), Position(position));
        }
        assert_eq!(account.take_notices().len(), NOTICES_MAX);
    }
}
