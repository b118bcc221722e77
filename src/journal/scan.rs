//! Finds the records of one file in order, over damage, while a writer may still append to it. Which file, and what to
//! do at its end, is up to the reader and the recovery: both see the same records because both use this.
//!
//! Invariant: damage is called damage only when a whole record follows it. Without one, the bytes at the end may be a
//! write that is under way or was torn, and the place to read from stays before them.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::format::{self, HEAD_BYTES, Head};

/// A place in a file, and the records from there on.
#[derive(Debug)]
pub(crate) struct Scan {
    window: Window,
    salt: u32,
    /// Where the next record is expected.
    offset: u64,
    /// Where the last record's body begins.
    body: u64,
    /// The last search that found nothing: from where, and how long the file was.
    fruitless: Option<(u64, u64)>,
}

/// A whole record, and how many bytes before it are none.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) head: Head,
    pub(crate) passed_over: u64,
}

enum Look {
    Whole(Head),
    /// The file ends within this record.
    Short,
    /// No record here; the next may begin at this place.
    Bad(u64),
}

impl Scan {
    pub(crate) fn new(file: File, offset: u64, salt: u32) -> Self {
        Self {
            window: Window::new(file),
            salt,
            offset,
            body: offset,
            fruitless: None,
        }
    }

    /// Where the last whole record ends.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn file_bytes(&self) -> io::Result<u64> {
        self.window.file_bytes()
    }

    /// The next whole record; `None` when there is none (yet).
    pub(crate) fn next(&mut self) -> io::Result<Option<Found>> {
        if let Look::Whole(head) = self.look(self.offset)? {
            return Ok(Some(self.arrive(self.offset, head)));
        }
        // What is in memory may be older than what is in the file by now.
        self.window.forget();
        let after = match self.look(self.offset)? {
            Look::Whole(head) => return Ok(Some(self.arrive(self.offset, head))),
            Look::Short => return Ok(None),
            Look::Bad(after) => after,
        };
        let Some(place) = self.search(after)? else {
            self.window.forget();
            return Ok(None);
        };
        // The writer may have been in the middle of the record that looked bad. It writes in order, so now that a
        // later one is there, this one is as it will remain.
        self.window.forget();
        match self.look(self.offset)? {
            Look::Whole(head) => Ok(Some(self.arrive(self.offset, head))),
            Look::Short => Ok(None),
            // Looked at once more, so that its body is in memory and is the one that was checked.
            Look::Bad(_) => match self.look(place)? {
                Look::Whole(head) => Ok(Some(self.arrive(place, head))),
                Look::Short | Look::Bad(_) => Ok(None),
            },
        }
    }

    /// The body of the record that [`Scan::next`] found last: it is still in memory.
    pub(crate) fn body(&mut self, head: &Head) -> io::Result<&[u8]> {
        self.window.range(self.body, head.body_bytes)
    }

    fn arrive(&mut self, place: u64, head: Head) -> Found {
        let passed_over = place.saturating_sub(self.offset);
        self.body = place + HEAD_BYTES as u64;
        self.offset = place + head.record_bytes();
        self.fruitless = None;
        Found { head, passed_over }
    }

    fn look(&mut self, place: u64) -> io::Result<Look> {
        let bytes = self.window.range(place, HEAD_BYTES)?;
        if bytes.len() < HEAD_BYTES {
            return Ok(Look::Short);
        }
        let Some(head) = format::read_head(bytes, self.salt) else {
            return Ok(Look::Bad(place + 1));
        };
        let body = self
            .window
            .range(place + HEAD_BYTES as u64, head.body_bytes)?;
        if body.len() < head.body_bytes {
            Ok(Look::Short)
        } else if format::body_holds(&head, body, self.salt) {
            Ok(Look::Whole(head))
        } else {
            Ok(Look::Bad(place + head.record_bytes()))
        }
    }

    /// The first whole record at `place` or behind it. Looks at each byte once: a body that does not hold is stepped
    /// over by the length in its head, which does.
    fn search(&mut self, mut place: u64) -> io::Result<Option<u64>> {
        let file_bytes = self.window.file_bytes()?;
        if self.fruitless == Some((self.offset, file_bytes)) {
            return Ok(None);
        }
        loop {
            match self.look(place)? {
                Look::Whole(_) => return Ok(Some(place)),
                Look::Bad(after) => place = after,
                Look::Short => break,
            }
        }
        self.fruitless = Some((self.offset, file_bytes));
        Ok(None)
    }
}

/// The part of a file that is in memory.
#[derive(Debug)]
struct Window {
    file: File,
    start: u64,
    bytes: Vec<u8>,
    /// How many of `bytes` were read.
    filled: usize,
}

impl Window {
    fn new(file: File) -> Self {
        Self {
            file,
            start: 0,
            bytes: Vec::new(),
            filled: 0,
        }
    }

    fn forget(&mut self) {
        self.filled = 0;
    }

    fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The `len` bytes at `at`, fewer at the end of the file.
    fn range(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let held = self.position_of(at, len);
        let from = if let Some(from) = held {
            from
        } else {
            self.fill(at, len)?;
            0
        };
        let to = from.saturating_add(len).min(self.filled);
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    /// Where in memory `at` is, if all `len` bytes from there are.
    fn position_of(&self, at: u64, len: usize) -> Option<usize> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        (from.checked_add(len)? <= self.filled).then_some(from)
    }

    fn fill(&mut self, at: u64, len: usize) -> io::Result<()> {
        let size = len.max(WINDOW_BYTES);
        if self.bytes.len() < size {
            self.bytes.resize(size, 0);
        } else if size == WINDOW_BYTES && self.bytes.len() > 4 * WINDOW_BYTES {
            // One large record is no reason to keep its memory.
            self.bytes.truncate(WINDOW_BYTES);
            self.bytes.shrink_to_fit();
        }
        self.start = at;
        self.filled = 0;
        while let Some(rest) = self.bytes.get_mut(self.filled..size)
            && !rest.is_empty()
        {
            let place = at.saturating_add(self.filled as u64);
            match self.file.read_at(rest, place) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Some 300 frames of 20 ms: few reads, little memory.
const WINDOW_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{
        journal::{Position, Record},
        record::Kind,
    };

    const SALT: u32 = 99;

    fn put(bytes: &mut Vec<u8>, position: u64, fields: &[u8]) {
        let record = Record {
            kind: Kind::Frame,
            at_ms: 0,
            call: 0,
            number: position,
            fields,
        };
        format::put_record(bytes, SALT, Position(position), &record);
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn positions(scan: &mut Scan) -> Vec<u64> {
        std::iter::from_fn(|| scan.next().unwrap())
            .map(|found| found.head.position.0)
            .collect()
    }

    #[test]
    fn records_larger_than_the_window_are_read_whole() {
        let mut bytes = Vec::new();
        let large = vec![b'x'; 3 * WINDOW_BYTES];
        put(&mut bytes, 1, b"small");
        put(&mut bytes, 2, &large);
        put(&mut bytes, 3, b"last");
        let mut scan = Scan::new(file(&bytes), 0, SALT);
        for body in [&b"small"[..], &large, b"last"] {
            let head = scan.next().unwrap().unwrap().head;
            assert_eq!(scan.body(&head).unwrap(), body);
        }
        assert!(scan.next().unwrap().is_none());
    }

    #[test]
    fn the_tail_is_waited_for_and_damage_before_a_record_is_not() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"one");
        let end = bytes.len();
        put(&mut bytes, 2, b"two");
        let third = bytes.len();
        bytes[end] ^= 1;
        let mut log = file(&bytes);
        let mut scan = Scan::new(log.try_clone().unwrap(), 0, SALT);
        assert_eq!(positions(&mut scan), [1]);
        assert_eq!(scan.offset(), end as u64);
        assert!(
            scan.next().unwrap().is_none(),
            "still none, without a search"
        );

        let mut more = Vec::new();
        put(&mut more, 3, b"three");
        log.write_all(&more[..10]).unwrap();
        assert!(scan.next().unwrap().is_none(), "the third is under way");
        log.write_all(&more[10..]).unwrap();
        let found = scan.next().unwrap().unwrap();
        assert_eq!(found.head.position, Position(3));
        assert_eq!(found.passed_over, (third - end) as u64);
    }

    #[test]
    fn what_is_written_again_after_a_cut_is_seen() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"one");
        let end = bytes.len();
        bytes.extend_from_slice(&[7; 200]);
        let log = file(&bytes);
        let mut scan = Scan::new(log.try_clone().unwrap(), 0, SALT);
        assert_eq!(positions(&mut scan), [1]);
        let mut second = Vec::new();
        put(&mut second, 2, b"two");
        log.set_len(end as u64).unwrap();
        log.write_all_at(&second, end as u64).unwrap();
        assert_eq!(positions(&mut scan), [2]);
    }

    #[test]
    fn a_record_inside_a_body_is_found_only_with_the_salt() {
        let mut forged = Vec::new();
        let record = Record {
            kind: Kind::Frame,
            at_ms: 0,
            call: 0,
            number: 0,
            fields: b"not mine",
        };
        format::put_record(&mut forged, 0, Position(2), &record);
        let mut bytes = Vec::new();
        put(&mut bytes, 1, &forged);
        put(&mut bytes, 2, b"two");
        bytes[4] ^= 1;
        let mut scan = Scan::new(file(&bytes), 0, SALT);
        let found = scan.next().unwrap().unwrap();
        assert_eq!(scan.body(&found.head).unwrap(), b"two");
        assert!(scan.next().unwrap().is_none());
    }
}
