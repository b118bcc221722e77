//! Audio that proves itself: who said it, which frame it is, when it left, and a checksum over all of it.
//!
//! ```text
//!  0        8      12       16         20
//!  sent_ns  call   number   checksum   noise …      numbers are big endian
//! ```
//! The first byte is 0 for the next five hundred years, so nobody who looks at it mistakes audio for JSON.

use super::{RATE, Random};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub sent_ns: u64,
    pub call: u32,
    /// Counted from 1, as `seq` is.
    pub number: u32,
}

/// Frames of one length.
pub(crate) struct Audio {
    noise: Vec<Vec<u8>>,
}

impl Audio {
    pub(crate) fn of(frame_ms: u32) -> Self {
        let length = (RATE * 2 * frame_ms / 1_000) as usize;
        let mut random = Random(7);
        let mut noise = || -> Vec<u8> { (HEAD..length).map(|_| random.next() as u8).collect() };
        Self {
            noise: (0..PATTERNS).map(|_| noise()).collect(),
        }
    }

    /// Replaces `out` by the frame.
    pub(crate) fn write(&self, stamp: Stamp, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&stamp.sent_ns.to_be_bytes());
        out.extend_from_slice(&stamp.call.to_be_bytes());
        out.extend_from_slice(&stamp.number.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let pattern = (stamp.call.wrapping_add(stamp.number)) as usize % PATTERNS;
        out.extend_from_slice(&self.noise[pattern]);
        let sum = checksum(out);
        out[SUM..HEAD].copy_from_slice(&sum.to_be_bytes());
    }

    /// `None` for what was not said here, or was changed on its way.
    pub(crate) fn read(&self, audio: &[u8]) -> Option<Stamp> {
        let expected = HEAD + self.noise[0].len();
        if audio.len() != expected || audio[SUM..HEAD] != checksum(audio).to_be_bytes() {
            return None;
        }
        Some(Stamp {
            sent_ns: u64::from_be_bytes(audio[..8].try_into().ok()?),
            call: u32::from_be_bytes(audio[8..12].try_into().ok()?),
            number: u32::from_be_bytes(audio[12..SUM].try_into().ok()?),
        })
    }
}

fn checksum(audio: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&audio[..SUM]);
    hasher.update(&audio[HEAD..]);
    hasher.finalize()
}

const SUM: usize = 16;
const HEAD: usize = 20;
const PATTERNS: usize = 16;
