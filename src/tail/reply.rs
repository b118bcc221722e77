//! What XREAD answers, read piece by piece as it comes: a page of a thousand entries is never copied nor held twice.
//!
//! An entry's fields are given out as they stand, since their bytes are those that follow the `*` of an XADD. Invariant: a
//! piece is taken whole or not at all.

use std::ops::Range;

use memchr::memchr;

use crate::publisher::reply::EntryId;

/// How far one reply was read.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Streams that are still to come; nothing before the reply has begun.
    streams: Option<usize>,
    /// Entries of the present stream that are still to come.
    entries: usize,
}

/// The next piece of it. Ranges are of the bytes that were looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Stream {
        key: Range<usize>,
        entries: usize,
    },
    Entry {
        id: EntryId,
        fields: Range<usize>,
    },
    Done,
    /// Redis's own words.
    Refused(String),
}

/// It is no reply to XREAD.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer that is none to XREAD")]
pub(super) struct Damaged;

impl Reply {
    /// The piece at the front of `bytes`, and how many of them it took; nothing while it is not all there.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Option<(Part, usize)>, Damaged> {
        match self.piece(bytes) {
            Ok(found) => Ok(Some(found)),
            Err(Stop::Short) => Ok(None),
            Err(Stop::Damaged) => Err(Damaged),
        }
    }

    fn piece(&mut self, bytes: &[u8]) -> Result<(Part, usize), Stop> {
        let mut cursor = Cursor { bytes, at: 0 };
        let Some(streams) = self.streams else {
            if bytes.first() == Some(&b'-') {
                let words = cursor.line(b'-')?;
                let words = String::from_utf8_lossy(words).into_owned();
                return Ok((Part::Refused(words), cursor.at));
            }
            // A wait in vain is a null array.
            self.streams = Some(cursor.count()?);
            let (part, used) = match self.piece(bytes.get(cursor.at..).unwrap_or_default()) {
                Ok(found) => found,
                Err(stop) => {
                    self.streams = None;
                    return Err(stop);
                }
            };
            return Ok((part.shifted(cursor.at), cursor.at + used));
        };
        if self.entries > 0 {
            if cursor.count()? != 2 {
                return Err(Stop::Damaged);
            }
            let id = cursor.string()?;
            let id = bytes
                .get(id)
                .and_then(EntryId::parse)
                .ok_or(Stop::Damaged)?;
            let strings = cursor.count()?;
            let from = cursor.at;
            for _ in 0..strings {
                cursor.string()?;
            }
            self.entries -= 1;
            let fields = from..cursor.at;
            return Ok((Part::Entry { id, fields }, cursor.at));
        }
        if streams == 0 {
            return Ok((Part::Done, 0));
        }
        if cursor.count()? != 2 {
            return Err(Stop::Damaged);
        }
        let key = cursor.string()?;
        let entries = cursor.count()?;
        (self.streams, self.entries) = (Some(streams - 1), entries);
        Ok((Part::Stream { key, entries }, cursor.at))
    }
}

impl Part {
    fn shifted(self, by: usize) -> Self {
        let shift = |range: Range<usize>| range.start + by..range.end + by;
        match self {
            Self::Stream { key, entries } => Self::Stream {
                key: shift(key),
                entries,
            },
            Self::Entry { id, fields } => Self::Entry {
                id,
                fields: shift(fields),
            },
            other => other,
        }
    }
}

/// Why there is no piece.
enum Stop {
    Short,
    Damaged,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// What stands behind this mark up to the line's end.
    fn line(&mut self, mark: u8) -> Result<&'a [u8], Stop> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.first() {
            None => return Err(Stop::Short),
            Some(first) if *first != mark => return Err(Stop::Damaged),
            Some(_) => {}
        }
        let end = memchr(b'\r', rest).ok_or(Stop::Short)?;
        if end + 1 >= rest.len() {
            return Err(Stop::Short);
        }
        self.at += end + 2;
        rest.get(1..end).ok_or(Stop::Damaged)
    }

    /// How many items an array has; a null one has none.
    fn count(&mut self) -> Result<usize, Stop> {
        match self.line(b'*')? {
            b"-1" => Ok(0),
            digits => number(digits).ok_or(Stop::Damaged),
        }
    }

    fn string(&mut self) -> Result<Range<usize>, Stop> {
        let length = number(self.line(b'$')?).ok_or(Stop::Damaged)?;
        let range = self.at..self.at + length;
        if self.bytes.len() < range.end + 2 {
            return Err(Stop::Short);
        }
        self.at = range.end + 2;
        Ok(range)
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + usize::from(digit - b'0'))
    })
}

/// Redis's own limit for a string is 512 MB.
const DIGITS_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = "*2\r\n*2\r\n$1\r\na\r\n*2\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$4\r\ndata\r\n$2\r\n{}\r\n\
                        *2\r\n$3\r\n2-0\r\n*4\r\n$1\r\nx\r\n$0\r\n\r\n$1\r\ny\r\n$3\r\n\r\n1\r\n\
                        *2\r\n$1\r\nb\r\n*1\r\n*2\r\n$3\r\n1-9\r\n*0\r\n";

    /// The pieces of a reply of which ever more bytes come, `step` at a time.
    fn read(text: &str, step: usize) -> Vec<String> {
        let (mut reply, mut at, mut seen) = (Reply::default(), 0, 0);
        let mut told = Vec::new();
        loop {
            let bytes = &text.as_bytes()[at..seen];
            match reply.next(bytes).unwrap() {
                None => seen = (seen + step).min(text.len()),
                Some((part, used)) => {
                    let shown = |range: Range<usize>| {
                        String::from_utf8_lossy(&bytes[range]).replace("\r\n", " ")
                    };
                    told.push(match part {
                        Part::Done => return told,
                        Part::Refused(words) => words,
                        Part::Stream { key, entries } => format!("{entries} of {}", shown(key)),
                        Part::Entry { id, fields } => format!("{id}: {}", shown(fields)),
                    });
                    at += used;
                    if told.last().is_some_and(|last| last.starts_with("ERR")) {
                        return told;
                    }
                }
            }
        }
    }

    #[test]
    fn a_page_is_read_however_it_comes() {
        for step in 1..PAGE.len() {
            assert_eq!(
                read(PAGE, step),
                [
                    "2 of a",
                    "1-0: $4 data $2 {} ",
                    "2-0: $1 x $0  $1 y $3  1 ",
                    "1 of b",
                    "1-9: "
                ],
                "{step} bytes at a time"
            );
        }
        assert!(read("*-1\r\n", 1).is_empty());
        assert_eq!(read("-ERR no\r\n", 1), ["ERR no"]);
    }

    #[test]
    fn another_answer_is_refused() {
        for text in [
            "+OK\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n*3\r\n",
            "*x\r\n",
            "$1\r\na\r\n",
        ] {
            assert_eq!(
                Reply::default().next(text.as_bytes()),
                Err(Damaged),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reply = Reply::default();
            if let Ok(Some((_, used))) = reply.next(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
