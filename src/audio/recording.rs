//! What was recorded of a call, and its WAV file.
//!
//! Where the frames come from and where the file lies is the caller's affair: it takes frames and a `Write + Seek`. Reading
//! WAV files is in [`super::wav`]. Invariant: every track begins at the first sample and is as long as the longest; a shorter
//! one ends in silence.

use std::{
    io::{Seek, Write},
    time::Duration,
};

use hound::{SampleFormat, WavSpec, WavWriter};

use super::wav::{Clip, RATES, TRACKS_MAX, WavError, resample};

/// Audio of one call as it comes in: tracks by name, each a channel of the file that it becomes.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    tracks: Vec<Track>,
    samples: u64,
}

impl Recording {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame of little-endian PCM16 to a track, which begins with its first frame. Half a sample at the end of a
    /// frame waits for its other half.
    pub fn push(&mut self, track: &str, rate: u32, pcm16: &[u8]) -> Result<(), WavError> {
        if !RATES.contains(&rate) {
            return Err(WavError::Rate(rate));
        }
        // Half of the file format's limit at most is kept in memory, since a second track will double it.
        self.samples += pcm16.len().div_ceil(2) as u64;
        if self.samples > BYTES_MAX / 4 {
            return Err(WavError::TooLong);
        }
        let place = match self.tracks.iter().position(|known| known.name == track) {
            Some(place) => place,
            None if self.tracks.len() == TRACKS_MAX => return Err(WavError::TooManyTracks),
            None => {
                self.tracks.push(Track::new(track));
                self.tracks.len() - 1
            }
        };
        if let Some(track) = self.tracks.get_mut(place) {
            track.push(rate, pcm16);
        }
        Ok(())
    }

    /// The names of the tracks, in the order of the channels.
    pub fn tracks(&self) -> impl Iterator<Item = &str> {
        self.tracks.iter().map(|track| track.name.as_str())
    }

    /// How long the longest track is.
    pub fn duration(&self) -> Duration {
        self.tracks
            .iter()
            .map(|track| track.pieces.iter().map(Clip::duration).sum())
            .max()
            .unwrap_or_default()
    }

    /// Writes one file with a channel per track, at the highest rate that any of them has.
    pub fn write(&self, out: impl Write + Seek) -> Result<(), WavError> {
        let pieces = self.tracks.iter().flat_map(|track| &track.pieces);
        let rate = pieces.map(|piece| piece.rate).max().unwrap_or(8000);
        let channels: Vec<Vec<i16>> = self.tracks.iter().map(|track| track.at(rate)).collect();
        let longest = channels.iter().map(Vec::len).max().unwrap_or(0);
        let width = channels.len().max(1);
        if (longest as u64).saturating_mul(width as u64 * 2) > BYTES_MAX {
            return Err(WavError::TooLong);
        }
        let spec = WavSpec {
            channels: u16::try_from(width).map_err(|_wide| WavError::TooManyTracks)?,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let mut writer = WavWriter::new(out, spec).map_err(WavError::Io)?;
        for at in 0..longest {
            for channel in &channels {
                let sample = channel.get(at).copied().unwrap_or(0);
                writer.write_sample(sample).map_err(WavError::Io)?;
            }
        }
        writer.finalize().map_err(WavError::Io)
    }
}

/// One channel in the making: runs of samples of one rate each, since a call may change its rate.
#[derive(Debug, Clone)]
struct Track {
    name: String,
    pieces: Vec<Clip>,
    /// The first half of a sample whose second half has not come yet.
    half: Option<u8>,
}

impl Track {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pieces: Vec::new(),
            half: None,
        }
    }

    fn push(&mut self, rate: u32, mut pcm16: &[u8]) {
        if self.pieces.last().is_none_or(|piece| piece.rate != rate) {
            self.half = None;
            self.pieces.push(Clip {
                rate,
                samples: Vec::new(),
            });
        }
        let Some(Clip { samples, .. }) = self.pieces.last_mut() else {
            return;
        };
        if let (Some(low), Some((high, rest))) = (self.half, pcm16.split_first()) {
            samples.push(i16::from_le_bytes([low, *high]));
            self.half = None;
            pcm16 = rest;
        }
        let (pairs, odd) = pcm16.as_chunks::<2>();
        samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        if let Some(low) = odd.first() {
            self.half = Some(*low);
        }
    }

    fn at(&self, rate: u32) -> Vec<i16> {
        let mut all = Vec::new();
        for piece in &self.pieces {
            if piece.rate == rate {
                all.extend_from_slice(&piece.samples);
            } else {
                all.extend(resample(&piece.samples, piece.rate, rate));
            }
        }
        all
    }
}

/// The file counts its bytes in 32 bits; a kilobyte is left for its headers.
const BYTES_MAX: u64 = u32::MAX as u64 - 1024;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hound::WavReader;

    use super::*;

    fn bytes(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|s| s.to_le_bytes()).collect()
    }

    fn written(recording: &Recording) -> (WavSpec, Vec<i16>) {
        let mut file = Cursor::new(Vec::new());
        recording.write(&mut file).unwrap();
        let mut reader = WavReader::new(Cursor::new(file.into_inner())).unwrap();
        let samples = reader.samples::<i16>().map(Result::unwrap).collect();
        (reader.spec(), samples)
    }

    #[test]
    fn tracks_become_channels_and_the_shorter_is_padded() {
        let mut recording = Recording::new();
        recording
            .push("inbound", 8_000, &bytes(&[1, 2, 3]))
            .unwrap();
        recording.push("outbound", 8_000, &bytes(&[-1])).unwrap();
        recording.push("inbound", 8_000, &bytes(&[4])).unwrap();
        let (spec, samples) = written(&recording);
        assert_eq!((spec.channels, spec.sample_rate), (2, 8_000));
        assert_eq!(samples, [1, -1, 2, 0, 3, 0, 4, 0]);
        assert_eq!(
            recording.tracks().collect::<Vec<_>>(),
            ["inbound", "outbound"]
        );
        assert_eq!(recording.duration(), Duration::from_micros(500));
    }

    #[test]
    fn half_samples_meet_their_other_half() {
        let whole = bytes(&[0x0102, -3, 4]);
        let mut recording = Recording::new();
        for piece in [&whole[..1], &[], &whole[1..4], &whole[4..5], &whole[5..]] {
            recording.push("", 16_000, piece).unwrap();
        }
        assert_eq!(written(&recording).1, [0x0102, -3, 4]);
    }

    #[test]
    fn a_change_of_rate_is_bridged_at_the_highest() {
        let mut recording = Recording::new();
        recording.push("", 8_000, &bytes(&[0, 100])).unwrap();
        recording.push("", 16_000, &bytes(&[7, 8])).unwrap();
        let (spec, samples) = written(&recording);
        assert_eq!(spec.sample_rate, 16_000);
        assert_eq!(samples, [0, 50, 100, 100, 7, 8]);
    }

    #[test]
    fn nothing_recorded_is_an_empty_file() {
        assert_eq!(
            written(&Recording::new()),
            (
                WavSpec {
                    channels: 1,
                    sample_rate: 8_000,
                    bits_per_sample: 16,
                    sample_format: SampleFormat::Int
                },
                vec![]
            )
        );
    }

    #[test]
    fn limits_are_errors() {
        let mut recording = Recording::new();
        assert!(matches!(recording.push("", 0, &[]), Err(WavError::Rate(0))));
        for track in 0..TRACKS_MAX {
            recording.push(&track.to_string(), 8_000, &[]).unwrap();
        }
        assert!(matches!(
            recording.push("x", 8_000, &[]),
            Err(WavError::TooManyTracks)
        ));
    }
}
