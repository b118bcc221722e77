//! Spans of time as a person writes them: `500ms`, `10s`, `5m`, `1h`; a bare number is seconds.
//!
//! Only the reading lives here; what a span means, and which are sensible, is for the setting or flag that takes it.
//! Invariant: what cannot be held exactly is an error, never a rounded or wrapped value.

use std::time::Duration;

/// A text that is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error(
        "not a duration: write a whole number with a unit, such as 500ms, 10s, 5m or 1h, or seconds as a bare number"
    )]
    Malformed,
    #[error("longer than can be counted: write a shorter duration")]
    TooLong,
}

/// Reads `500ms`, `10s`, `5m`, `1h` or a bare number of seconds; spaces around it do not matter.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let unit_millis: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(DurationError::Malformed),
    };
    if digits.is_empty() {
        return Err(DurationError::Malformed);
    }
    // Nothing but digits is left, so the only way to fail is to be too large.
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(unit_millis))
        .map(Duration::from_millis)
        .ok_or(DurationError::TooLong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_a_person_writes() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7", 7_000),
            (" 007s ", 7_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "", " ", "s", "-1s", "1.5s", "10 s", "1d", "1H", "١s", "1h30m", "+1",
        ] {
            assert_eq!(parse(text), Err(DurationError::Malformed), "{text}");
        }
        for text in [
            "18446744073709551616",
            "99999999999999999999ms",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(text), Err(DurationError::TooLong), "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_else_is_an_error(text in "[^0-9]{0,40}") {
            prop_assert_eq!(parse(&text), Err(DurationError::Malformed));
        }

        #[test]
        fn millis_come_back(millis in 0..=u64::MAX / 1_000) {
            prop_assert_eq!(parse(&format!("{millis}ms")), Ok(Duration::from_millis(millis)));
            prop_assert_eq!(parse(&millis.to_string()), Ok(Duration::from_secs(millis)));
        }
    }
}
