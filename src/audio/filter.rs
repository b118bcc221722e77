//! The two filters that the test voice is made with, both of the second order.
//!
//! What is filtered is the voice's affair. Invariant: a filter that is tuned below half of its rate is stable, whatever it is fed.

use std::f64::consts::{PI, TAU};

/// A resonance with a gain of one at its peak and none at 0 Hz.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resonator {
    gain: f64,
    back: [f64; 2],
    inputs: [f64; 2],
    outputs: [f64; 2],
}

impl Resonator {
    /// Moves the peak; what rings in it rings on.
    pub(super) fn tune(&mut self, hertz: f64, bandwidth: f64, rate: f64) {
        let radius = (-PI * bandwidth / rate).exp();
        self.back = [2.0 * radius * (TAU * hertz / rate).cos(), -radius * radius];
        self.gain = (1.0 - radius * radius) / 2.0;
    }

    pub(super) fn step(&mut self, input: f64) -> f64 {
        let [b1, b2] = self.back;
        let [y1, y2] = self.outputs;
        let [x1, x2] = self.inputs;
        let output = self.gain * (input - x2) + b1 * y1 + b2 * y2;
        self.outputs = [output, y1];
        self.inputs = [input, x1];
        output
    }
}

/// Takes away what the sample rate cannot hold, before samples are picked.
#[derive(Debug, Clone, Copy)]
pub(super) struct LowPass {
    forward: [f64; 3],
    back: [f64; 2],
    state: [f64; 2],
}

impl LowPass {
    pub(super) fn new(hertz: f64, quality: f64, rate: f64) -> Self {
        let angle = TAU * hertz / rate;
        let alpha = angle.sin() / (2.0 * quality);
        let scale = 1.0 + alpha;
        let side = (1.0 - angle.cos()) / 2.0 / scale;
        Self {
            forward: [side, 2.0 * side, side],
            back: [-2.0 * angle.cos() / scale, (1.0 - alpha) / scale],
            state: [0.0; 2],
        }
    }

    pub(super) fn step(&mut self, input: f64) -> f64 {
        let [f0, f1, f2] = self.forward;
        let [b1, b2] = self.back;
        let [s1, s2] = self.state;
        let output = f0 * input + s1;
        self.state = [f1 * input - b1 * output + s2, f2 * input - b2 * output];
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 48_000.0;

    /// How much of a tone comes through, once the filter has settled.
    fn gain(hertz: f64, mut step: impl FnMut(f64) -> f64) -> f64 {
        let tone = (0..48_000).map(|at| (TAU * hertz * f64::from(at) / RATE).sin());
        let heard: Vec<f64> = tone.map(&mut step).collect();
        heard[24_000..]
            .iter()
            .fold(0.0, |peak, y| y.abs().max(peak))
    }

    #[test]
    fn a_resonator_favours_its_frequency() {
        let at = |hertz| {
            let mut resonator = Resonator::default();
            resonator.tune(1_000.0, 100.0, RATE);
            gain(hertz, |x| resonator.step(x))
        };
        assert!((at(1_000.0) - 1.0).abs() < 0.01, "{}", at(1_000.0));
        assert!((at(1_050.0) - 0.707).abs() < 0.02, "{}", at(1_050.0));
        assert!(at(300.0) < 0.1 && at(4_000.0) < 0.1);
    }

    #[test]
    fn a_low_pass_takes_what_is_above_it() {
        let at = |hertz| {
            let mut filter = LowPass::new(3_000.0, 0.707, RATE);
            gain(hertz, |x| filter.step(x))
        };
        assert!((at(100.0) - 1.0).abs() < 0.01);
        assert!((at(3_000.0) - 0.707).abs() < 0.01);
        assert!(at(12_000.0) < 0.06);
    }
}
