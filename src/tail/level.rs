//! How loud audio is, in dBFS: the effective value against that of the largest square wave.

/// The quietest that is told apart from silence: one step of 16 bits is −90.3 dBFS.
pub(super) const FLOOR: f64 = -90.0;

/// The mean square of PCM16, little endian; a full scale is 1.
#[expect(
    clippy::cast_precision_loss,
    reason = "a sum of squares of 16 bits is exact up to eight million samples, and near beyond"
)]
pub(super) fn power(pcm: &[u8]) -> f64 {
    let (samples, _) = pcm.as_chunks::<2>();
    if samples.is_empty() {
        return 0.0;
    }
    let sum: u64 = samples
        .iter()
        .map(|&sample| {
            let magnitude = u64::from(i16::from_le_bytes(sample).unsigned_abs());
            magnitude * magnitude
        })
        .sum();
    sum as f64 / samples.len() as f64 / (32_768.0 * 32_768.0)
}

pub(super) fn dbfs(power: f64) -> f64 {
    (10.0 * power.log10()).max(FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_what_meters_show() {
        let level = |sample: i16| dbfs(power(&[sample.to_le_bytes(); 160].concat()));
        assert!((level(i16::MIN) - 0.0).abs() < 0.01);
        assert!((level(16_384) + 6.02).abs() < 0.01);
        assert!((level(-3277) + 20.0).abs() < 0.01);
        for silent in [level(0), level(1), dbfs(power(&[])), dbfs(power(&[1]))] {
            assert!((silent - FLOOR).abs() < 0.01, "{silent}");
        }
    }
}
