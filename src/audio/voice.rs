//! A voice to test with: somebody babbling syllables, so that a listener hears at once whether the audio is whole, at the
//! right speed and free of clicks.
//!
//! It says nothing; it is a train of glottal pulses through four resonators that glide from vowel to vowel. Files and
//! frames are elsewhere. Invariant: the sound depends on the seed alone, and at another sample rate it is the same
//! sound, since both are picked from one much finer signal.

use std::f64::consts::PI;

use super::filter::{LowPass, Resonator};

/// An endless voice, one sample after another.
#[derive(Debug, Clone)]
pub struct Voice {
    throat: Throat,
    /// Steps of the fine signal to one sample.
    steps: u32,
    smooth: [LowPass; 2],
}

impl Voice {
    /// The voice of this seed at this many samples per second.
    pub fn new(seed: u64, sample_rate: u32) -> Self {
        let sample_rate = sample_rate.max(1);
        let steps = FINE_RATE.div_ceil(sample_rate);
        let fine = f64::from(sample_rate) * f64::from(steps);
        let cutoff = (0.42 * f64::from(sample_rate)).min(7_000.0);
        Self {
            throat: Throat::new(seed, fine),
            steps,
            // The two halves of a Butterworth filter of the fourth order.
            smooth: [
                LowPass::new(cutoff, 0.541, fine),
                LowPass::new(cutoff, 1.307, fine),
            ],
        }
    }

    /// Fills the slice with what comes next.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = self.sample();
        }
    }

    fn sample(&mut self) -> i16 {
        let mut value = 0.0;
        for _ in 0..self.steps {
            value = self.throat.step();
            for filter in &mut self.smooth {
                value = filter.step(value);
            }
        }
        to_sample(PEAK * value.tanh())
    }
}

impl Iterator for Voice {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        Some(self.sample())
    }
}

/// Source and resonators at the fine rate.
#[derive(Debug, Clone)]
struct Throat {
    random: Random,
    rate: f64,
    syllable: Syllable,
    /// Seconds into the syllable.
    elapsed: f64,
    /// Syllables left in the phrase; a pause comes after the last.
    left: u32,
    phrase: u32,
    /// Position within the glottal cycle, 0 to 1.
    phase: f64,
    pitch: f64,
    loudness: f64,
    formants: [Resonator; 4],
    /// Steps until the formants move again.
    until_move: u32,
}

/// What is being said: from one vowel to the next, or nothing.
#[derive(Debug, Clone)]
struct Syllable {
    seconds: f64,
    from: [f64; 4],
    to: [f64; 4],
    pitch_from: f64,
    pitch_to: f64,
    /// 0 in a pause.
    stress: f64,
}

impl Throat {
    fn new(seed: u64, rate: f64) -> Self {
        let rest = NEUTRAL;
        Self {
            random: Random(seed),
            rate,
            syllable: Syllable {
                seconds: 0.05,
                from: rest,
                to: rest,
                pitch_from: 150.0,
                pitch_to: 150.0,
                stress: 0.0,
            },
            elapsed: 0.0,
            left: 0,
            phrase: 1,
            phase: 0.0,
            pitch: 150.0,
            loudness: 0.0,
            formants: [Resonator::default(); 4],
            until_move: 0,
        }
    }

    fn step(&mut self) -> f64 {
        self.elapsed += 1.0 / self.rate;
        if self.elapsed >= self.syllable.seconds {
            self.elapsed = 0.0;
            self.syllable = self.next_syllable();
        }
        if self.until_move == 0 {
            self.until_move = FINE_RATE / 1_000;
            self.articulate();
        }
        self.until_move -= 1;

        self.phase = (self.phase + self.pitch / self.rate).fract();
        let target = self.syllable.stress * swell(self.elapsed / self.syllable.seconds);
        // About 2 ms to follow: no edge is sharp enough to be heard as a click.
        self.loudness += (target - self.loudness) * 500.0 / self.rate;
        let noise = self.random.between(-1.0, 1.0);
        let source = self.loudness * (pulse(self.phase) + 0.02 * noise) + 0.0004 * noise;
        let mut sum = 0.0;
        for (formant, gain) in self.formants.iter_mut().zip(GAINS) {
            sum += gain * formant.step(source);
        }
        LEVEL * sum
    }

    /// Moves pitch and resonances along; a thousand times a second is smooth to the ear.
    fn articulate(&mut self) {
        let Syllable { from, to, .. } = self.syllable;
        let along = self.elapsed / self.syllable.seconds;
        // The vowel is reached after two thirds of the syllable and then held.
        let glide = ease((along * 1.5).min(1.0));
        self.pitch = mix(self.syllable.pitch_from, self.syllable.pitch_to, along);
        for (index, formant) in self.formants.iter_mut().enumerate() {
            let pick = |set: [f64; 4]| set.get(index).copied().unwrap_or(500.0);
            let hertz = mix(pick(from), pick(to), glide);
            formant.tune(hertz, pick(BANDWIDTHS), self.rate);
        }
    }

    fn next_syllable(&mut self) -> Syllable {
        let from = self.syllable.to;
        let pitch_from = self.syllable.pitch_to;
        if self.left == 0 && self.syllable.stress > 0.0 {
            return Syllable {
                seconds: self.random.between(0.25, 0.6),
                from,
                to: from,
                pitch_from,
                pitch_to: pitch_from,
                stress: 0.0,
            };
        }
        let begins = self.left == 0;
        if begins {
            self.phrase = self.random.pick(4, 9);
            self.left = self.phrase;
        }
        let vowel = usize::try_from(self.random.pick(0, 6)).unwrap_or(0);
        // A phrase begins high and comes down, as statements do, with an accent here and there.
        let fall = f64::from(self.left) / f64::from(self.phrase);
        let pitch = mix(105.0, 185.0, fall) + self.random.between(-25.0, 30.0);
        let pitch_to = pitch.clamp(90.0, 220.0);
        self.left -= 1;
        Syllable {
            seconds: self.random.between(0.13, 0.26),
            from: if begins { NEUTRAL } else { from },
            to: VOWELS.get(vowel).copied().unwrap_or(NEUTRAL),
            pitch_from: if begins { pitch_to } else { pitch_from },
            pitch_to,
            stress: self.random.between(0.7, 1.0),
        }
    }
}

/// Steele, Lea and Flood's `SplitMix64`: a sum and two multiplications, which is random enough for syllables.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // The upper half of the last round.
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX)
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        mix(low, high, f64::from(self.next()) / f64::from(u32::MAX))
    }

    /// One of `low..high`.
    fn pick(&mut self, low: u32, high: u32) -> u32 {
        low + self.next() % (high - low)
    }
}

/// The change of the air flow in one cycle: a slow opening, a sharp closing, and rest.
fn pulse(phase: f64) -> f64 {
    if phase < OPENING {
        0.4 * (PI * phase / OPENING).sin()
    } else if phase < OPENING + CLOSING {
        -(PI / 2.0 * (phase - OPENING) / CLOSING).sin()
    } else {
        0.0
    }
}

/// How loud a syllable is along its length: up, on, and down to a murmur.
fn swell(along: f64) -> f64 {
    let edge = (along / 0.25).min((1.0 - along) / 0.3).clamp(0.0, 1.0);
    mix(0.12, 1.0, ease(edge))
}

fn ease(x: f64) -> f64 {
    (1.0 - (PI * x).cos()) / 2.0
}

fn mix(from: f64, to: f64, share: f64) -> f64 {
    from + (to - from) * share
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the peak is half of the range, and the cast saturates anyway"
)]
fn to_sample(value: f64) -> i16 {
    value.round() as i16
}

/// The signal is made at this many steps a second or a little more, then thinned out.
const FINE_RATE: u32 = 48_000;

/// −6 dBFS: the output cannot go beyond it.
const PEAK: f64 = 16_422.0;

/// Brings the loudest vowels into the bend of the limiter, and leaves the others below it.
const LEVEL: f64 = 4.5;

/// Shares of the glottal cycle.
const OPENING: f64 = 0.42;
const CLOSING: f64 = 0.14;

/// Formants of an adult voice in hertz: a, e, i, o, u and the neutral vowel.
const VOWELS: [[f64; 4]; 6] = [
    [730.0, 1_090.0, 2_440.0, 3_300.0],
    [530.0, 1_840.0, 2_480.0, 3_300.0],
    [280.0, 2_250.0, 2_900.0, 3_350.0],
    [570.0, 840.0, 2_410.0, 3_250.0],
    [310.0, 870.0, 2_240.0, 3_250.0],
    NEUTRAL,
];
const NEUTRAL: [f64; 4] = [500.0, 1_500.0, 2_500.0, 3_300.0];
const BANDWIDTHS: [f64; 4] = [80.0, 100.0, 140.0, 200.0];
const GAINS: [f64; 4] = [1.0, 0.7, 0.4, 0.25];

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seed: u64, rate: u32, seconds: u32) -> Vec<i16> {
        Voice::new(seed, rate)
            .take((rate * seconds) as usize)
            .collect()
    }

    /// The loudness of each tenth of a second.
    fn envelope(samples: &[i16], rate: u32) -> Vec<f64> {
        samples
            .chunks((rate / 10) as usize)
            .map(|chunk| {
                let sum: f64 = chunk.iter().map(|s| f64::from(*s).powi(2)).sum();
                (sum * 10.0 / f64::from(rate)).sqrt()
            })
            .collect()
    }

    #[test]
    fn has_a_sane_level_speech_and_pauses() {
        for seed in 0..4 {
            let samples = seconds(seed, 8_000, 10);
            let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert!((11_000..=16_422).contains(&peak), "seed {seed}: {peak}");
            let loud = envelope(&samples, 8_000);
            let spoken = loud.iter().filter(|level| **level > 1_000.0).count();
            let paused = loud.iter().filter(|level| **level < 100.0).count();
            assert!(spoken > 50, "seed {seed}: {spoken} of 100");
            assert!((3..40).contains(&paused), "seed {seed}: {paused} of 100");
            let mean = samples.iter().map(|s| f64::from(*s)).sum::<f64>() / 80_000.0;
            assert!(mean.abs() < 60.0, "seed {seed}: offset {mean}");
        }
    }

    #[test]
    fn depends_on_the_seed_alone() {
        let once = seconds(7, 16_000, 1);
        let mut pieces = vec![0; 16_000];
        let mut voice = Voice::new(7, 16_000);
        for piece in pieces.chunks_mut(333) {
            voice.fill(piece);
        }
        assert_eq!(once, pieces);
        assert_ne!(once, seconds(8, 16_000, 1));
    }

    #[test]
    fn is_the_same_sound_at_another_rate() {
        let narrow = envelope(&seconds(3, 8_000, 5), 8_000);
        for rate in [16_000, 24_000, 48_000] {
            let wide = envelope(&seconds(3, rate, 5), rate);
            for (at, (a, b)) in narrow.iter().zip(&wide).enumerate() {
                assert!(
                    (a - b).abs() < 0.1 * a.max(*b) + 30.0,
                    "{rate} at {at}: {a} {b}"
                );
            }
        }
    }

    #[test]
    fn has_no_clicks() {
        // A click is a jump that its neighbourhood does not explain: at 48 kHz the voice itself moves slowly.
        let samples = seconds(5, 48_000, 10);
        let steepest = samples
            .windows(2)
            .map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs())
            .max();
        assert!(steepest < Some(8_000), "{steepest:?}");
    }
}
