//! One frame on the wire (RFC 6455, 5.2): the header of a client's, its mask, and the bytes of ours.
//!
//! What a header may say in which place is `batch.rs`'s to judge. Invariant: nothing here is sized by what a header
//! announces.

/// A client's frame header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) is_final: bool,
    pub(super) has_reserved_bits: bool,
    /// `None`: an opcode that nobody has defined.
    pub(super) kind: Option<Kind>,
    pub(super) mask: Option<[u8; 4]>,
    /// How many bytes the header itself takes.
    pub(super) size: usize,
    pub(super) payload: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    fn of(opcode: u8) -> Option<Self> {
        Some(match opcode {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    fn opcode(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl Header {
    /// `None`: not all of it is there yet.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload, rest) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u16::from_be_bytes(*length).into(), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            length => (length.into(), rest),
        };
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(*mask), rest)
        };
        Some(Self {
            is_final: first & 0x80 != 0,
            has_reserved_bits: first & 0x70 != 0,
            kind: Kind::of(first & 0x0f),
            mask,
            size: bytes.len() - rest.len(),
            payload,
        })
    }
}

/// Takes a mask off, or puts it on: eight bytes at a time, which the compiler makes more of.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Appends a whole frame as a server sends it.
pub(super) fn write(to: &mut Vec<u8>, kind: Kind, parts: [&[u8]; 2]) {
    let payload = parts.iter().map(|part| part.len()).sum::<usize>();
    to.push(0x80 | kind.opcode());
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short @ 0..126), _) => to.push(short),
        (_, Ok(length)) => {
            to.push(126);
            to.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            to.push(127);
            to.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
    for part in parts {
        to.extend_from_slice(part);
    }
}

/// The longest header a client can send.
pub(super) const HEADER_BYTES_MAX: usize = 14;
/// What a control frame may hold.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_the_same_four_bytes_over_and_over() {
        for length in 0..40_u8 {
            let mut payload: Vec<u8> = (0..length).collect();
            unmask(&mut payload, [1, 2, 4, 8]);
            let masked = (0..length).map(|n| n ^ (1 << (n % 4)));
            assert!(payload.iter().copied().eq(masked), "{length}");
        }
    }

    #[test]
    fn what_we_write_is_read_back_with_its_length() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let mut frame = Vec::new();
            write(&mut frame, Kind::Text, [b"x", &vec![b'y'; length]]);
            let header = Header::read(&frame).unwrap();
            assert_eq!(header.payload, length as u64 + 1);
            assert_eq!(frame.len() as u64, header.size as u64 + header.payload);
            assert!(header.is_final && !header.has_reserved_bits && header.mask.is_none());
            assert_eq!(header.kind, Some(Kind::Text));
            for cut in 0..header.size {
                assert!(Header::read(&frame[..cut]).is_none());
            }
        }
    }
}
