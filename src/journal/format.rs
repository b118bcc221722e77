//! The bytes of a segment: a header, then records one behind the other. Numbers are little-endian. Files live in
//! `disk.rs`, finding records among damage in `scan.rs`.
//!
//! ```text
//! header  0 magic [8]   8 version u32   12 CRC of the 12 before        <- the same in every version
//!        16 first u64  24 at_ms u64     32 salt u32   36 CRC of 16..36
//! record  0 CRC of 4..45  4 body length u32  8 body CRC u32  12 position u64
//!        20 at_ms u64    28 call u64        36 number u64    44 kind u8   45 body (the fields)
//! ```
//!
//! A record's head has a CRC of its own: damage in a body costs that record alone, and a search for the next record
//! never follows a length that cannot be trusted. The CRCs (CRC-32C) of records start from the journal's random salt,
//! so that audio which was made to look like records is not taken for records when there is damage around it.
//!
//! Invariant: what is read from bytes is what was put, or nothing.

use super::{Position, RECORD_BYTES_MAX, Record};
use crate::record::Kind;

pub(crate) const HEADER_BYTES: usize = 40;
pub(crate) const HEAD_BYTES: usize = 45;

const MAGIC: &[u8; 8] = b"rtaa.jnl";
const VERSION: u32 = 1;

/// The front of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The position of the first record.
    pub(crate) first: Position,
    /// When the first record was appended.
    pub(crate) at_ms: u64,
    pub(crate) salt: u32,
}

/// What the front of a file turns out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    Header(Header),
    UnknownVersion(u32),
    Damaged,
    /// Not all of it is there (yet).
    Short,
}

/// What stands before a record's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) body_bytes: usize,
    pub(crate) body_crc: u32,
    pub(crate) position: Position,
    pub(crate) at_ms: u64,
    pub(crate) call: u64,
    pub(crate) number: u64,
    pub(crate) kind: u8,
}

impl Head {
    /// The length of the whole record.
    pub(crate) fn record_bytes(&self) -> u64 {
        (HEAD_BYTES + self.body_bytes) as u64
    }
}

pub(crate) fn header(header: Header) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let mut details = Vec::with_capacity(HEADER_BYTES);
    details.extend_from_slice(&header.first.0.to_le_bytes());
    details.extend_from_slice(&header.at_ms.to_le_bytes());
    details.extend_from_slice(&header.salt.to_le_bytes());
    let crc = crc32c::crc32c(&details);
    bytes.extend_from_slice(&details);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Reads the first [`HEADER_BYTES`] of a file.
pub(crate) fn read_front(bytes: &[u8]) -> Front {
    match version(bytes) {
        None | Some(VERSION) if bytes.len() < HEADER_BYTES => Front::Short,
        None => Front::Damaged,
        Some(VERSION) => details(bytes).map_or(Front::Damaged, Front::Header),
        Some(other) => Front::UnknownVersion(other),
    }
}

fn version(bytes: &[u8]) -> Option<u32> {
    let (covered, mut rest) = bytes.split_at_checked(12)?;
    if u32::from_le_bytes(take(&mut rest)?) != crc32c::crc32c(covered) {
        return None;
    }
    let mut version = covered.strip_prefix(MAGIC)?;
    Some(u32::from_le_bytes(take(&mut version)?))
}

fn details(bytes: &[u8]) -> Option<Header> {
    let (covered, mut crc) = bytes.get(16..HEADER_BYTES)?.split_at_checked(20)?;
    if u32::from_le_bytes(take(&mut crc)?) != crc32c::crc32c(covered) {
        return None;
    }
    let mut rest = covered;
    Some(Header {
        first: Position(u64::from_le_bytes(take(&mut rest)?)),
        at_ms: u64::from_le_bytes(take(&mut rest)?),
        salt: u32::from_le_bytes(take(&mut rest)?),
    })
}

/// Adds a record at the end of `bytes`. Its body is at most [`RECORD_BYTES_MAX`] long: the writer sees to that.
pub(crate) fn put_record(bytes: &mut Vec<u8>, salt: u32, position: Position, record: &Record<'_>) {
    put(bytes, salt, position, record, record.kind.code());
}

fn put(bytes: &mut Vec<u8>, salt: u32, position: Position, record: &Record<'_>, kind: u8) {
    let body_bytes = u32::try_from(record.fields.len()).unwrap_or(u32::MAX);
    let body_crc = crc32c::crc32c_append(salt, record.fields);
    bytes.reserve(HEAD_BYTES + record.fields.len());
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&body_bytes.to_le_bytes());
    bytes.extend_from_slice(&body_crc.to_le_bytes());
    bytes.extend_from_slice(&position.0.to_le_bytes());
    bytes.extend_from_slice(&record.at_ms.to_le_bytes());
    bytes.extend_from_slice(&record.call.to_le_bytes());
    bytes.extend_from_slice(&record.number.to_le_bytes());
    bytes.push(kind);
    if let Some((crc, covered)) = bytes
        .get_mut(start..)
        .and_then(|head| head.split_first_chunk_mut::<4>())
    {
        *crc = crc32c::crc32c_append(salt, covered).to_le_bytes();
    }
    bytes.extend_from_slice(record.fields);
}

/// Reads the head of a record, if one that holds is at the front of `bytes`.
pub(crate) fn read_head(bytes: &[u8], salt: u32) -> Option<Head> {
    let mut rest = bytes.get(..HEAD_BYTES)?;
    let crc = u32::from_le_bytes(take(&mut rest)?);
    let covered = rest;
    let body_bytes = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).ok()?;
    // The length first: it rules out nearly every place that a search looks at, for less than a CRC costs.
    if body_bytes > RECORD_BYTES_MAX || crc != crc32c::crc32c_append(salt, covered) {
        return None;
    }
    Some(Head {
        body_bytes,
        body_crc: u32::from_le_bytes(take(&mut rest)?),
        position: Position(u64::from_le_bytes(take(&mut rest)?)),
        at_ms: u64::from_le_bytes(take(&mut rest)?),
        call: u64::from_le_bytes(take(&mut rest)?),
        number: u64::from_le_bytes(take(&mut rest)?),
        kind: u8::from_le_bytes(take(&mut rest)?),
    })
}

pub(crate) fn body_holds(head: &Head, body: &[u8], salt: u32) -> bool {
    body.len() == head.body_bytes && crc32c::crc32c_append(salt, body) == head.body_crc
}

/// The record that `head` and `body` make, if its kind is known.
pub(crate) fn record<'a>(head: &Head, body: &'a [u8]) -> Option<Record<'a>> {
    Some(Record {
        kind: Kind::from_code(head.kind)?,
        at_ms: head.at_ms,
        call: head.call,
        number: head.number,
        fields: body,
    })
}

/// The next `N` bytes, taken off the front.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
pub(crate) fn put_unknown_kind(bytes: &mut Vec<u8>, salt: u32, position: Position, kind: u8) {
    let record = Record {
        kind: Kind::Frame,
        at_ms: 0,
        call: 0,
        number: 0,
        fields: b"of another version",
    };
    put(bytes, salt, position, &record, kind);
}

/// The header as a later version of the program would write it.
#[cfg(test)]
pub(crate) fn header_of_version(version: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        first: Position(77),
        at_ms: 1_762_500_000_000,
        salt: 0xDEAD_BEEF,
    };
    const RECORD: Record<'static> = Record {
        kind: Kind::CallEnd,
        at_ms: 1_762_500_000_123,
        call: 1_762_500_000_001,
        number: 42,
        fields: b"$4\r\ndata\r\n$2\r\n{}\r\n",
    };

    #[test]
    fn a_header_is_read_back_and_any_flipped_bit_is_noticed() {
        let bytes = header(HEADER);
        assert_eq!(bytes.len(), HEADER_BYTES);
        assert_eq!(read_front(&bytes), Front::Header(HEADER));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_front(&flipped), Front::Damaged, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(read_front(&bytes[..len]), Front::Short, "{len} bytes");
        }
    }

    #[test]
    fn a_later_version_is_known_by_its_first_bytes_alone() {
        let bytes = header_of_version(9);
        assert_eq!(read_front(&bytes), Front::UnknownVersion(9));
    }

    #[test]
    fn a_record_is_read_back_and_any_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 7, Position(3), &RECORD);
        let head = read_head(&bytes, 7).unwrap();
        assert_eq!(head.position, Position(3));
        assert_eq!(head.record_bytes(), bytes.len() as u64);
        let body = &bytes[HEAD_BYTES..];
        assert!(body_holds(&head, body, 7));
        assert_eq!(record(&head, body), Some(RECORD));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let holds = read_head(&flipped, 7)
                .is_some_and(|head| body_holds(&head, &flipped[HEAD_BYTES..], 7));
            assert!(!holds, "bit {bit}");
        }
    }

    #[test]
    fn a_record_made_without_the_salt_is_none() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 7, Position(3), &RECORD);
        assert_eq!(read_head(&bytes, 8), None);
        assert_eq!(read_head(&[0; HEAD_BYTES], 7), None);
    }

    #[test]
    fn an_unknown_kind_has_a_head_but_is_no_record() {
        let mut bytes = Vec::new();
        put_unknown_kind(&mut bytes, 7, Position(3), 200);
        let head = read_head(&bytes, 7).unwrap();
        assert!(body_holds(&head, &bytes[HEAD_BYTES..], 7));
        assert_eq!(record(&head, &bytes[HEAD_BYTES..]), None);
    }
}
