//! Audio that proves where it belongs: each frame names its run, its call and its place in it, and the
//! rest of it follows from these, so that a frame that was read back is checked byte for byte.

use crate::random::Random;

/// The shortest frame that can be recognised.
const HEAD_BYTES: usize = 16;

/// Frame `index` (from 1) of a call, so many bytes long.
pub(crate) fn frame(seed: u64, call: u32, index: u32, bytes: usize) -> Vec<u8> {
    let mut audio = Vec::with_capacity(bytes + 8);
    audio.extend_from_slice(&seed.to_le_bytes());
    audio.extend_from_slice(&call.to_le_bytes());
    audio.extend_from_slice(&index.to_le_bytes());
    let mut random = Random::of(seed, (u64::from(call) << 32) | u64::from(index));
    while audio.len() < bytes {
        audio.extend_from_slice(&random.next().to_le_bytes());
    }
    audio.truncate(bytes.max(HEAD_BYTES));
    audio
}

/// Which frame of this call the audio is; `None` if it differs from it by a single bit.
pub(crate) fn recognise(seed: u64, call: u32, bytes: usize, audio: &[u8]) -> Option<u32> {
    let index = u32::from_le_bytes(audio.get(12..HEAD_BYTES)?.try_into().ok()?);
    (audio == frame(seed, call, index, bytes)).then_some(index)
}

#[test]
fn a_frame_is_recognised_only_where_it_belongs_and_whole() {
    let mut audio = frame(1, 2, 3, 320);
    assert_eq!(audio.len(), 320);
    assert_eq!(recognise(1, 2, 320, &audio), Some(3));
    assert_eq!(recognise(1, 3, 320, &audio), None);
    assert_eq!(recognise(1, 2, 320, &audio[..318]), None);
    audio[319] ^= 1;
    assert_eq!(recognise(1, 2, 320, &audio), None);
}
