//! How loud a call is, for whoever looks at it: the level of the newest audio, and the peaks of the last seconds.
//!
//! A meter is fed only while somebody looks ([`super::Calls::snapshot`]), so otherwise a call has none. It goes by the time
//! of the audio and not by the clock, so that audio that comes in bursts looks as it sounds. Invariant: a meter holds no
//! audio, nothing of which a word could be heard. What is thrown away before it is published (7.3) never gets here; whoever
//! pauses a call drops its meter, too.

use std::time::{Duration, Instant};

/// The last seconds of one call.
#[derive(Debug)]
pub(super) struct Meter {
    buckets: [Bucket; BUCKETS],
    /// Number of the newest bucket; number `n` is at `n % BUCKETS`.
    newest: u64,
    /// How far each track has come.
    at_ns: [u64; TRACKS],
    fed: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    peak: u16,
    samples: u64,
    energy: u64,
}

/// What a meter shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    /// dBFS of the newest audio, a full-scale square wave being 0.
    pub(super) level: Option<f64>,
    /// Loudest sample of each tenth of a second, in dBFS, oldest first.
    pub(super) peaks: Vec<i8>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            buckets: [Bucket::default(); BUCKETS],
            newest: 0,
            at_ns: [0; TRACKS],
            fed: now,
        }
    }

    /// Takes PCM16 of one track.
    pub(super) fn feed(&mut self, track: usize, pcm: &[u8], sample_rate: u32, now: Instant) {
        if self.is_stale(now) {
            *self = Self::new(now);
        }
        self.fed = now;
        let sample_ns = (NS_PER_S / u64::from(sample_rate.max(1))).max(1);
        // A track that begins later, or was silent, goes on about where the others are.
        let behind_at_most = self.newest.saturating_sub(LAG_BUCKETS) * BUCKET_NS;
        let track = track.min(TRACKS - 1);
        let mut at_ns = self.at_ns.get(track).copied().unwrap_or(0);
        at_ns = at_ns.max(behind_at_most);
        let (mut rest, _) = pcm.as_chunks::<2>();
        while !rest.is_empty() {
            let number = at_ns / BUCKET_NS;
            let room_ns = (number + 1) * BUCKET_NS - at_ns;
            let room = usize::try_from(room_ns.div_ceil(sample_ns)).unwrap_or(usize::MAX);
            let (now_in, later) = rest.split_at(room.min(rest.len()));
            self.add(number, now_in);
            at_ns += now_in.len() as u64 * sample_ns;
            rest = later;
        }
        if let Some(slot) = self.at_ns.get_mut(track) {
            *slot = at_ns;
        }
    }

    /// What it shows, if it has heard something of late.
    pub(super) fn reading(&self, now: Instant) -> Reading {
        if self.is_stale(now) {
            return Reading::default();
        }
        let oldest = self.newest.saturating_sub(BUCKETS as u64 - 1);
        let at = |number: u64| self.buckets.get(place(number)).copied().unwrap_or_default();
        let newest = (self.newest.saturating_sub(LEVEL_BUCKETS - 1)..=self.newest).map(at);
        let (samples, energy) = newest.fold((0, 0), |(samples, energy), bucket| {
            (samples + bucket.samples, energy + bucket.energy)
        });
        let mean = energy.checked_div(samples);
        Reading {
            level: mean.map(|mean| (decibels(mean) * 10.0).round() / 10.0),
            peaks: (oldest..=self.newest)
                .map(|number| {
                    let peak = u64::from(at(number).peak);
                    whole(decibels(peak * peak))
                })
                .collect(),
        }
    }

    fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.fed) > STALE_AFTER
    }

    fn add(&mut self, number: u64, samples: &[[u8; 2]]) {
        let passed = number.saturating_sub(self.newest).min(BUCKETS as u64);
        for skipped in 0..passed {
            if let Some(bucket) = self.buckets.get_mut(place(number - skipped)) {
                *bucket = Bucket::default();
            }
        }
        self.newest = self.newest.max(number);
        if let Some(bucket) = self.buckets.get_mut(place(number)) {
            bucket.add(samples);
        }
    }
}

impl Bucket {
    fn add(&mut self, samples: &[[u8; 2]]) {
        self.samples += samples.len() as u64;
        for sample in samples {
            let size = i16::from_le_bytes(*sample).unsigned_abs();
            self.peak = self.peak.max(size);
            self.energy += u64::from(size) * u64::from(size);
        }
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number % BUCKETS as u64).unwrap_or(0)
}

/// Of the mean square of samples; silence is where 16 bits end.
fn decibels(square: u64) -> f64 {
    let square = u32::try_from(square).map_or(FULL_SCALE_SQUARE, f64::from);
    (10.0 * (square / FULL_SCALE_SQUARE).log10()).max(SILENCE_DB)
}

fn whole(decibels: f64) -> i8 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "from -96 to 0, as decibels() gives them"
    )]
    let whole = decibels.round() as i8;
    whole
}

/// Five seconds, in two kilobytes.
const BUCKETS: usize = 50;
const BUCKET_NS: u64 = 100_000_000;
/// What the level is of: long enough to hold a syllable, short enough to follow it.
const LEVEL_BUCKETS: u64 = 3;
/// As many as a connection may have, see `intake/sound.rs`.
const TRACKS: usize = 8;
/// Tracks take turns, a frame of each: longer than any usual frame.
const LAG_BUCKETS: u64 = 2;
/// A call that has been still for so long shows nothing, and begins anew.
const STALE_AFTER: Duration = Duration::from_secs(2);
const FULL_SCALE_SQUARE: f64 = 32_768.0 * 32_768.0;
const SILENCE_DB: f64 = -96.0;
const NS_PER_S: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        crate::clock::now().instant
    }

    /// So many milliseconds at 8 kHz of one value, with changing sign.
    fn tone(size: i16, ms: usize) -> Vec<u8> {
        let samples = (0..ms * 8).map(|n| if n % 2 == 0 { size } else { -size });
        samples.flat_map(i16::to_le_bytes).collect()
    }

    #[test]
    fn the_level_is_that_of_the_newest_audio() {
        let (start, mut meter) = (now(), Meter::new(now()));
        assert_eq!(meter.reading(start).level, None);
        for (size, expected) in [(32_767, 0.0), (16_384, -6.0), (328, -40.0), (0, -96.0)] {
            // In frames of 20 ms, and in one piece.
            (0..20).for_each(|_| meter.feed(0, &tone(size, 20), 8000, start));
            meter.feed(0, &tone(size, 400), 8000, start);
            assert_eq!(meter.reading(start).level, Some(expected), "{size}");
        }
    }

    #[test]
    fn peaks_are_those_of_the_last_five_seconds_of_audio() {
        let (start, mut meter) = (now(), Meter::new(now()));
        meter.feed(0, &tone(16_384, 100), 8000, start);
        meter.feed(0, &tone(328, 150), 8000, start);
        assert_eq!(meter.reading(start).peaks, [-6, -40, -40]);
        meter.feed(0, &tone(0, 4850), 8000, start);
        let peaks = meter.reading(start).peaks;
        // The next tenth has begun.
        assert_eq!((peaks.len(), peaks[0], peaks[1]), (50, -40, -40));
        assert!(peaks[3..].iter().all(|peak| *peak == -96), "{peaks:?}");
    }

    #[test]
    fn tracks_stand_side_by_side_and_not_in_a_row() {
        let (start, mut meter) = (now(), Meter::new(now()));
        for _ in 0..50 {
            meter.feed(0, &tone(328, 20), 8000, start);
            meter.feed(1, &tone(16_384, 20), 8000, start);
        }
        assert_eq!(meter.reading(start).peaks[..10], [-6; 10]);
        // One that comes late does not write into what is past.
        meter.feed(2, &tone(32_767, 20), 8000, start);
        assert_eq!(meter.reading(start).peaks[..7], [-6; 7]);
    }

    #[test]
    fn a_call_that_was_still_begins_anew() {
        let (start, mut meter) = (now(), Meter::new(now()));
        meter.feed(0, &tone(16_384, 300), 8000, start);
        let later = start + Duration::from_secs(3);
        assert_eq!(meter.reading(later), Reading::default());
        meter.feed(0, &tone(328, 100), 8000, later);
        let reading = meter.reading(later);
        assert_eq!((reading.level, reading.peaks[0]), (Some(-40.0), -40));
    }

    #[test]
    fn odd_rates_and_pieces_do_no_harm() {
        let (start, mut meter) = (now(), Meter::new(now()));
        for rate in [0, 1, 11_025, 48_000, u32::MAX] {
            for bytes in [0, 1, 2, 641] {
                meter.feed(usize::MAX, &vec![1; bytes], rate, start);
            }
            assert!(meter.reading(start).peaks.len() <= BUCKETS);
        }
        meter.feed(0, &[0, 128, 0, 128], 8000, start);
    }
}
