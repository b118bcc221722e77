//! The cursor: up to which record all is known to be in Redis, and a note of the writer's caller about what lies behind
//! it. The writer alone moves it; anyone may read it.
//!
//! Invariant: the file is replaced whole and synced before anything is removed on its word.

use std::{io, path::Path};

use super::{Position, disk::Disk, format::take};

const FILE: &str = "cursor";
const MAGIC: &[u8; 8] = b"rtaa.cur";
/// Magic, position and CRC, around the note.
const FRAME_BYTES: usize = 20;

/// What the cursor file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// All records up to and with this one are in Redis.
    At(Position, Vec<u8>),
    /// None was ever released.
    Absent,
    /// It cannot be told what is in Redis.
    Damaged,
}

impl Cursor {
    /// The last record that is known to be in Redis.
    pub fn position(&self) -> Position {
        match self {
            Self::At(position, _) => *position,
            Self::Absent | Self::Damaged => Position::START,
        }
    }

    pub(crate) fn into_note(self) -> Vec<u8> {
        match self {
            Self::At(_, note) => note,
            Self::Absent | Self::Damaged => Vec::new(),
        }
    }
}

/// Reads the cursor of the journal in `dir`; takes no lock.
pub fn read(dir: &Path) -> io::Result<Cursor> {
    match std::fs::read(dir.join(FILE)) {
        Ok(bytes) => Ok(parse(&bytes).unwrap_or(Cursor::Damaged)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Cursor::Absent),
        Err(error) => Err(error),
    }
}

pub(crate) fn write(disk: &Disk, position: Position, note: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES + note.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&position.0.to_le_bytes());
    bytes.extend_from_slice(note);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    disk.replace(FILE, &bytes)
}

fn parse(bytes: &[u8]) -> Option<Cursor> {
    let (covered, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let mut rest = covered.strip_prefix(MAGIC)?;
    if u32::from_le_bytes(take(&mut crc)?) != crc32c::crc32c(covered) {
        return None;
    }
    let position = Position(u64::from_le_bytes(take(&mut rest)?));
    Some(Cursor::At(position, rest.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new(dir.path());
        assert_eq!(read(dir.path()).unwrap(), Cursor::Absent);
        write(&disk, Position(5), b"").unwrap();
        write(&disk, Position(6), b"behind it").unwrap();
        assert_eq!(
            read(dir.path()).unwrap(),
            Cursor::At(Position(6), b"behind it".to_vec())
        );
        let bytes = std::fs::read(dir.path().join(FILE)).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(parse(&damaged), None, "byte {at}");
            assert_eq!(parse(&bytes[..at]), None, "{at} bytes");
        }
        std::fs::write(dir.path().join(FILE), b"").unwrap();
        assert_eq!(read(dir.path()).unwrap(), Cursor::Damaged);
        assert_eq!(read(dir.path()).unwrap().position(), Position::START);
    }
}
