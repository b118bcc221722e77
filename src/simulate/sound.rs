//! What the simulated callers say: one piece of audio that all calls share, cut into frames as they are sent.
//!
//! Making frames into messages is in `wire`. Invariant: frames follow each other without a hole or a repeat at any rate
//! and frame length, since each begins where whole-number arithmetic says that the one before ends.

use std::{sync::Arc, time::Duration};

use clap::ValueEnum;

use crate::audio::{
    g711::{self, Law},
    voice::Voice,
    wav::Clip,
};

/// How samples travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// 16-bit little-endian samples
    Pcm16,
    /// G.711 µ-law
    Mulaw,
    /// G.711 A-law
    Alaw,
}

impl Encoding {
    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::Pcm16 => 16,
            Self::Mulaw | Self::Alaw => 8,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pcm16 => "pcm16",
            Self::Mulaw => "mulaw",
            Self::Alaw => "alaw",
        }
    }
}

/// Audio at the rate that it is sent with; it begins again where it ends.
#[derive(Debug, Clone)]
pub struct Sound {
    rate: u32,
    samples: Arc<[i16]>,
}

impl Sound {
    /// The test voice, for so long; a long one repeats itself each minute.
    pub fn voice(rate: u32, duration: Duration) -> Self {
        let seconds = duration.as_secs().saturating_add(1).min(VOICE_SECONDS_MAX);
        let length = usize::try_from(seconds * u64::from(rate)).unwrap_or(usize::MAX);
        let mut samples: Vec<i16> = Voice::new(1, rate).take(length).collect();
        fade(samples.iter_mut(), rate);
        fade(samples.iter_mut().rev(), rate);
        Self {
            rate,
            samples: samples.into(),
        }
    }

    /// A recording, brought to the wanted rate. Straight lines are drawn between its samples, which adds a little hiss
    /// where the rate comes down; for more than a test, convert the file first.
    pub fn clip(clip: Clip, rate: u32) -> Self {
        Self {
            rate,
            samples: clip.at(rate).samples.into(),
        }
    }

    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// How long it is before it begins again.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.samples.len() as u64 * 1_000_000_000 / u64::from(self.rate))
    }

    /// Replaces `out` by frame `index` of those that are `frame_ms` long.
    pub(crate) fn frame(&self, index: u64, frame_ms: u32, encoding: Encoding, out: &mut Vec<u8>) {
        out.clear();
        let position = |index: u64| index * u64::from(self.rate) * u64::from(frame_ms) / 1_000;
        let length = self.samples.len() as u64;
        if length == 0 {
            return;
        }
        let mut left = position(index + 1) - position(index);
        let mut from = position(index) % length;
        while left > 0 {
            let until = (from + left).min(length);
            let range = usize::try_from(from).unwrap_or(0)..usize::try_from(until).unwrap_or(0);
            encode(encoding, self.samples.get(range).unwrap_or_default(), out);
            left -= until - from;
            from = 0;
        }
    }
}

fn encode(encoding: Encoding, samples: &[i16], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Pcm16 => out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
        Encoding::Mulaw => g711::encode_into(Law::Mu, samples, out),
        Encoding::Alaw => g711::encode_into(Law::A, samples, out),
    }
}

/// Ten milliseconds from nothing to full, so that the voice begins, ends and repeats itself without a click.
fn fade<'a>(samples: impl Iterator<Item = &'a mut i16>, rate: u32) {
    let steps = i32::try_from(rate / 100).unwrap_or(1).max(1);
    for (step, sample) in (0..steps).zip(samples) {
        *sample = i16::try_from(i32::from(*sample) * step / steps).unwrap_or(0);
    }
}

/// At 48 kHz this is 6 MB, shared by all calls.
const VOICE_SECONDS_MAX: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(rate: u32, length: i16) -> Sound {
        Sound {
            rate,
            samples: (0..length).collect(),
        }
    }

    #[test]
    fn frames_join_without_a_seam_and_go_round() {
        // 11025 Hz × 20 ms are 220.5 samples: frames of 220 and 221 take turns.
        let sound = counting(11_025, 500);
        let mut heard = Vec::new();
        let mut lengths = Vec::new();
        let mut frame = Vec::new();
        for index in 0..8 {
            sound.frame(index, 20, Encoding::Pcm16, &mut frame);
            lengths.push(frame.len() / 2);
            let (pairs, _) = frame.as_chunks::<2>();
            heard.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        }
        assert_eq!(lengths, [220, 221, 220, 221, 220, 221, 220, 221]);
        let expected: Vec<i16> = (0..1764).map(|at| at % 500).collect();
        assert_eq!(heard, expected);
    }

    #[test]
    fn a_frame_may_be_longer_than_the_sound() {
        let mut frame = Vec::new();
        counting(1_000, 3).frame(0, 7, Encoding::Alaw, &mut frame);
        assert_eq!(frame.len(), 7);
        let codes: Vec<u8> = [0, 1, 2, 0, 1, 2, 0].map(|s| Law::A.encode(s)).to_vec();
        assert_eq!(frame, codes);
    }

    #[test]
    fn the_voice_is_as_long_as_the_call_but_a_minute_at_most() {
        assert_eq!(
            Sound::voice(8_000, Duration::from_secs(2)).duration(),
            Duration::from_secs(3)
        );
        let long = Sound::voice(8_000, Duration::from_hours(1));
        assert_eq!(long.duration(), Duration::from_mins(1));
        assert_eq!((long.samples[0], *long.samples.last().unwrap()), (0, 0));
    }

    #[test]
    fn a_clip_is_brought_to_the_rate() {
        let clip = Clip {
            rate: 16_000,
            samples: vec![5; 1_600],
        };
        let sound = Sound::clip(clip, 8_000);
        assert_eq!(
            (sound.rate(), sound.duration()),
            (8_000, Duration::from_millis(100))
        );
    }
}
