//! Reading WAV files, and the words that reading and writing them share.
//!
//! Writing is in [`super::recording`]. The file is the caller's affair: this takes a `Read`. Invariant: whatever is read is mono
//! and 16 bit, at the rate that the file had.
//!
//! A change of rate is bridged by drawing straight lines between the samples. That is right for listening, and for a test
//! signal; it has no low-pass filter and must not be used on audio that is published.

use std::{
    io::{ErrorKind, Read},
    time::Duration,
};

use hound::{SampleFormat, WavReader};

/// Mono audio read from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// Samples per second.
    pub rate: u32,
    pub samples: Vec<i16>,
}

/// Why a WAV file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    #[error("the WAV file could not be read or written")]
    Io(#[source] hound::Error),
    #[error(
        "not a WAV file that can be read: save it as PCM (8, 16, 24 or 32 bit) or 32-bit float"
    )]
    Format(#[source] hound::Error),
    #[error("a sample rate of {0} makes no sense: use 1000 to 384000")]
    Rate(u32),
    #[error("the recording is longer than a WAV file can hold (4 GiB): write it in parts")]
    TooLong,
    #[error("more than {TRACKS_MAX} tracks in one recording: write them to several files")]
    TooManyTracks,
    #[error("the file has no audio in it")]
    Empty,
}

impl Clip {
    /// Reads a WAV file of any usual kind (8, 16, 24 or 32-bit whole numbers, 32-bit float); several channels are mixed
    /// down to one. An hour of audio at 48 kHz is the most that is taken.
    pub fn read(input: impl Read) -> Result<Self, WavError> {
        let mut reader = WavReader::new(input).map_err(unreadable)?;
        let spec = reader.spec();
        if !RATES.contains(&spec.sample_rate) {
            return Err(WavError::Rate(spec.sample_rate));
        }
        let width = spec.channels.max(1);
        let samples = match spec.sample_format {
            SampleFormat::Float => mix(
                reader.samples::<f32>().map(|s| s.map(f64::from)),
                width,
                f64::from(i16::MAX),
            )?,
            SampleFormat::Int => mix(
                reader.samples::<i32>().map(|s| s.map(f64::from)),
                width,
                // A power of two, as the samples themselves: 16 bit come through unchanged.
                2_f64.powi(16 - i32::from(spec.bits_per_sample)),
            )?,
        };
        if samples.is_empty() {
            return Err(WavError::Empty);
        }
        Ok(Self {
            rate: spec.sample_rate,
            samples,
        })
    }

    /// The same audio at another rate.
    #[must_use]
    pub fn at(self, rate: u32) -> Self {
        if rate == self.rate {
            return self;
        }
        Self {
            samples: resample(&self.samples, self.rate, rate),
            rate,
        }
    }

    /// How long it takes to play.
    pub fn duration(&self) -> Duration {
        let micros = self.samples.len() as u64 * 1_000_000 / u64::from(self.rate.max(1));
        Duration::from_micros(micros)
    }
}

/// Averages each `width` neighbours into one sample. A last group that is not full is left out.
fn mix(
    mut values: impl Iterator<Item = Result<f64, hound::Error>>,
    width: u16,
    scale: f64,
) -> Result<Vec<i16>, WavError> {
    let mut samples = Vec::new();
    loop {
        let mut sum = 0.0;
        for _ in 0..width {
            match values.next() {
                Some(value) => sum += value.map_err(unreadable)?,
                None => return Ok(samples),
            }
        }
        if samples.len() == CLIP_SAMPLES_MAX {
            return Err(WavError::TooLong);
        }
        samples.push(to_sample(sum * scale / f64::from(width)));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and takes what is not a number as silence"
)]
fn to_sample(value: f64) -> i16 {
    value.round() as i16
}

/// Straight lines from sample to sample, in whole numbers: the same on every machine.
pub(super) fn resample(samples: &[i16], from: u32, to: u32) -> Vec<i16> {
    let (from, to) = (u64::from(from), u64::from(to.max(1)));
    let length = samples.len() as u64 * to / from.max(1);
    let value = |at: u64| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let sample = samples.get(at).or(samples.last());
        i64::from(sample.copied().unwrap_or(0))
    };
    (0..length)
        .map(|at| {
            let (whole, part) = (at * from / to, at * from % to);
            let (left, right) = (value(whole), value(whole + 1));
            let between = left + (right - left) * part.cast_signed() / to.cast_signed();
            i16::try_from(between).unwrap_or(0)
        })
        .collect()
}

/// A file that ends too early is the file's fault; what the system refuses is not.
fn unreadable(error: hound::Error) -> WavError {
    match error {
        hound::Error::IoError(ref cause)
            if !matches!(cause.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other) =>
        {
            WavError::Io(error)
        }
        _ => WavError::Format(error),
    }
}

/// Any rate that sound is kept at; the resampler divides by them.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// A call has one track or two; the rest is room for names that nobody foresaw.
pub const TRACKS_MAX: usize = 16;

/// An hour at 48 kHz, 345 MB.
const CLIP_SAMPLES_MAX: usize = 3600 * 48_000;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use hound::{WavSpec, WavWriter};

    use super::*;

    fn file<S: hound::Sample + Copy>(
        bits: u16,
        format: SampleFormat,
        channels: u16,
        samples: &[S],
    ) -> Vec<u8> {
        let spec = WavSpec {
            channels,
            sample_rate: 8_000,
            bits_per_sample: bits,
            sample_format: format,
        };
        let mut out = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut out, spec).unwrap();
        for sample in samples {
            writer.write_sample(*sample).unwrap();
        }
        writer.finalize().unwrap();
        out.into_inner()
    }

    #[test]
    fn reads_every_usual_kind() {
        let of = |bytes: Vec<u8>| Clip::read(Cursor::new(bytes)).unwrap().samples;
        let int = SampleFormat::Int;
        assert_eq!(
            of(file(16, int, 1, &[1_i16, -2, i16::MIN])),
            [1, -2, i16::MIN]
        );
        assert_eq!(
            of(file(8, int, 1, &[0_i16, 127, -128])),
            [0, 32_512, -32_768]
        );
        assert_eq!(
            of(file(24, int, 1, &[256_i32, -512, 8_388_607])),
            [1, -2, 32_767]
        );
        assert_eq!(of(file(32, int, 1, &[65_536_i32, i32::MIN])), [1, i16::MIN]);
        assert_eq!(of(file(16, int, 2, &[10_i16, 20, -10, -30])), [15, -20]);
        let float = file(32, SampleFormat::Float, 1, &[0.5_f32, -1.0, 7.0, f32::NAN]);
        assert_eq!(of(float), [16_384, -32_767, 32_767, 0]);
    }

    #[test]
    fn what_is_not_a_wav_file_is_an_error() {
        let whole = file(16, SampleFormat::Int, 1, &[1_i16, 2, 3, 4]);
        for length in 0..44 {
            assert!(Clip::read(&whole[..length]).is_err(), "{length} bytes");
        }
        assert!(matches!(Clip::read(&whole[..45]), Err(WavError::Format(_))));
        let empty = file::<i16>(16, SampleFormat::Int, 1, &[]);
        assert!(matches!(Clip::read(&empty[..]), Err(WavError::Empty)));
        // Every single damaged byte of the header is survived.
        for at in 0..44 {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                if let Ok(clip) = Clip::read(&damaged[..]) {
                    assert!(clip.samples.len() <= 8, "byte {at} as {value}");
                }
            }
        }
    }

    #[test]
    fn resampling_keeps_the_duration() {
        let clip = Clip {
            rate: 44_100,
            samples: vec![1_000; 44_100],
        };
        for rate in [8_000, 24_000, 48_000] {
            let other = clip.clone().at(rate);
            assert_eq!(
                (other.rate, other.duration()),
                (rate, Duration::from_secs(1))
            );
            assert!(other.samples.iter().all(|s| *s == 1_000));
        }
    }
}
