//! Placeholder until the durations of the command line are merged.

use std::time::Duration;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: write 500ms, 10s, 5m or 1h")]
pub struct DurationError;

/// Reads `500ms`, `10s`, `5m`, `1h`; a bare number is seconds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let (digits, unit_ms) = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
        .iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, *ms)))
        .unwrap_or((text, 1000));
    let number: u64 = digits.parse().or(Err(DurationError))?;
    let ms = number.checked_mul(unit_ms).ok_or(DurationError)?;
    Ok(Duration::from_millis(ms))
}
