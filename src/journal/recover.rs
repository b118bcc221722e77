//! What a writer finds when it opens a journal: which segments there are, where the last record ends, what a crash
//! left behind. Appending is in `writer.rs`, finding records in `scan.rs`.
//!
//! Invariant: only bytes behind the last whole record of the last segment are cut off. Damage with a record after it,
//! and whatever an unknown version wrote, stays as it is.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    Notice, Position,
    closed::Segment,
    cursor::{self, Cursor},
    disk::Disk,
    format::{self, Front, HEADER_BYTES},
    scan::Scan,
    segment::{self, Name},
};

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) file: File,
    pub(crate) segment: Segment,
}

/// A journal as it was found and put in order.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) closed: VecDeque<Segment>,
    /// The last segment, if records can be added to it.
    pub(crate) current: Option<Current>,
    pub(crate) last: Position,
    pub(crate) last_name: Option<Name>,
    pub(crate) released: Position,
    pub(crate) note: Vec<u8>,
    pub(crate) notices: Vec<Notice>,
}

pub(crate) fn recover(dir: &Path, disk: &Disk) -> io::Result<Recovered> {
    let mut notices = Vec::new();
    let mut closed = VecDeque::new();
    let mut fronts = Vec::new();
    let names = segment::list(dir)?;
    for &name in &names {
        let (segment, front) = look(disk, name)?;
        if let Front::UnknownVersion(version) = front {
            notices.push(Notice::UnknownVersion {
                segment: name.to_string(),
                version,
            });
        }
        closed.push_back(segment);
        fronts.push(front);
    }
    let cursor = cursor::read(dir)?;
    if cursor == Cursor::Damaged {
        notices.push(Notice::Cursor);
    }
    let mut recovered = Recovered {
        closed,
        current: None,
        last: cursor.position(),
        last_name: names.last().copied(),
        released: cursor.position(),
        note: cursor.into_note(),
        notices,
    };
    if let Some(segment) = recovered.closed.pop_back() {
        let front = fronts.pop().unwrap_or(Front::Damaged);
        put_in_order(disk, segment, front, &mut recovered)?;
    }
    Ok(recovered)
}

fn look(disk: &Disk, name: Name) -> io::Result<(Segment, Front)> {
    let file = File::open(disk.path(&name.to_string()))?;
    let mut bytes = [0; HEADER_BYTES];
    let read = read_up_to(&file, &mut bytes)?;
    let front = format::read_front(bytes.get(..read).unwrap_or_default());
    let mut segment = Segment {
        name,
        first: name.first,
        salt: name.salt,
        at_ms: None,
        bytes: file.metadata()?.len(),
        ours: !matches!(front, Front::UnknownVersion(_)),
    };
    if let Front::Header(header) = front {
        segment.first = header.first;
        segment.at_ms = Some(header.at_ms);
        segment.salt = header.salt;
    }
    Ok((segment, front))
}

/// Reads from the start of `file` as much as there is of `bytes`.
pub(crate) fn read_up_to(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..)
        && !rest.is_empty()
    {
        match file.read_at(rest, filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Takes the last segment in, after what a crash left at its end is cut off.
fn put_in_order(
    disk: &Disk,
    mut segment: Segment,
    front: Front,
    recovered: &mut Recovered,
) -> io::Result<()> {
    let before = Position(segment.first.0.saturating_sub(1));
    if let Front::UnknownVersion(_) = front {
        // Its records cannot be counted, but each has at least one byte.
        let bound = Position(before.0.saturating_add(segment.bytes));
        recovered.last = recovered.last.max(bound);
        recovered.closed.push_back(segment);
        return Ok(());
    }
    let name = segment.name.to_string();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk.path(&name))?;
    let scan = Scan::new(file.try_clone()?, HEADER_BYTES as u64, segment.salt);
    let (last, end) = read_through(scan, before, &name, front, &mut recovered.notices)?;
    if segment.bytes > end {
        disk.truncate(&file, end)?;
        recovered.notices.push(Notice::TornTail {
            segment: name,
            bytes: segment.bytes - end,
        });
        segment.bytes = end;
    }
    // A killed predecessor may have written records that it did not come to sync: from here on they count.
    disk.sync(&file)?;
    disk.sync_dir()?;
    // Records that were released before they were synced may be gone; their positions are not given again. What
    // comes next then begins a segment, so that no reader takes the jump for damage.
    let goes_on = recovered.last <= last;
    recovered.last = recovered.last.max(last);
    if goes_on && front != Front::Damaged {
        recovered.current = Some(Current { file, segment });
    } else {
        recovered.closed.push_back(segment);
    }
    Ok(())
}

/// The last position in a segment, and where what is to be kept of it ends.
fn read_through(
    mut scan: Scan,
    before: Position,
    name: &str,
    front: Front,
    notices: &mut Vec<Notice>,
) -> io::Result<(Position, u64)> {
    let mut damage = |bytes, records| {
        notices.push(Notice::Damage {
            segment: name.to_owned(),
            bytes,
            records,
        });
    };
    let start = scan.offset();
    if front == Front::Damaged {
        damage(start, 0);
    }
    let mut last = before;
    while let Some(found) = scan.next()? {
        let position = found.head.position;
        if found.passed_over > 0 {
            let missing = position.0.saturating_sub(last.following().0);
            damage(found.passed_over, missing);
        }
        last = last.max(position);
    }
    let end = match front {
        // Begun, and nothing is in it yet.
        Front::Short => 0,
        // Without a header or a record it is not even certain that it is a segment.
        Front::Damaged if scan.offset() == start => scan.file_bytes()?,
        _ => scan.offset(),
    };
    Ok((last, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{
        Keep,
        crash::{Journal, read_all},
    };

    #[test]
    fn an_unknown_version_is_left_alone_and_its_positions_too() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Newest);
        journal.append(&mut writer, 1..=3);
        writer.sync().unwrap();
        drop(writer);
        let later = Name::new(Position(4), 1, None).to_string();
        let mut bytes = format::header_of_version(2);
        bytes.extend_from_slice(b"whatever a later version keeps here");
        std::fs::write(journal.dir().join(&later), &bytes).unwrap();

        let mut writer = journal.open(Keep::Newest);
        let notice = Notice::UnknownVersion {
            segment: later.clone(),
            version: 2,
        };
        assert_eq!(writer.notices(), std::slice::from_ref(&notice));
        let after = Position(4 - 1 + bytes.len() as u64);
        assert_eq!(writer.position(), after);
        journal.append(&mut writer, 100..=101);
        writer.sync().unwrap();
        assert_eq!(std::fs::read(journal.dir().join(&later)).unwrap(), bytes);
        assert_eq!(
            read_all(journal.dir()),
            (vec![1, 2, 3, 100, 101], vec![notice])
        );
    }

    #[test]
    fn a_damaged_header_costs_no_record() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Newest);
        journal.append(&mut writer, 1..=3);
        writer.sync().unwrap();
        drop(writer);
        let path = journal.segments().remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut writer = journal.open(Keep::Newest);
        assert_eq!(writer.position(), Position(3));
        journal.append(&mut writer, 4..=4);
        writer.sync().unwrap();
        let damage = Notice::Damage {
            segment: path.file_name().unwrap().to_str().unwrap().to_owned(),
            bytes: HEADER_BYTES as u64,
            records: 0,
        };
        assert_eq!(writer.notices(), std::slice::from_ref(&damage));
        assert_eq!(read_all(journal.dir()), (vec![1, 2, 3, 4], vec![damage]));
        assert_eq!(journal.segments().len(), 2);
    }

    #[test]
    fn what_is_not_ours_is_not_cut() {
        let journal = Journal::new();
        std::fs::create_dir_all(journal.dir()).unwrap();
        let stray = journal
            .dir()
            .join(Name::new(Position(1), 5, None).to_string());
        std::fs::write(&stray, [b'?'; 500]).unwrap();
        drop(journal.open(Keep::Newest));
        assert_eq!(std::fs::read(&stray).unwrap(), [b'?'; 500]);
    }

    #[test]
    fn positions_that_were_released_unsynced_are_not_given_again() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        journal.append(&mut writer, 1..=3);
        writer.sync().unwrap();
        journal.append(&mut writer, 4..=6);
        writer.release(Position(5), b"").unwrap();
        drop(writer);
        let mut writer = journal.open(Keep::Unpublished);
        assert_eq!(writer.position(), Position(5));
        journal.append(&mut writer, 7..=7);
        writer.sync().unwrap();
        assert_eq!(read_all(journal.dir()), (vec![7], vec![]));
    }

    #[test]
    fn a_damaged_cursor_is_reported_and_releases_nothing() {
        let journal = Journal::new();
        let mut writer = journal.open(Keep::Unpublished);
        journal.append(&mut writer, 1..=3);
        writer.sync().unwrap();
        writer.release(Position(2), b"").unwrap();
        drop(writer);
        std::fs::write(journal.dir().join("cursor"), b"rtaa.cur").unwrap();
        let writer = journal.open(Keep::Unpublished);
        assert_eq!(writer.notices(), [Notice::Cursor]);
        assert_eq!(writer.released(), Position::START);
        assert_eq!(writer.position(), Position(3));
    }
}
