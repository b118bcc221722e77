//! Lengths of time as people write them: `500ms`, `10s`, `5m`, `1h`, a bare number being seconds (1.1).
//!
//! Settings and command-line options share this one reading. No clock here: it is text in, [`Duration`] out.
//! Invariant: what comes out is at most [`LONGEST`], so adding it to an instant cannot overflow.

use std::time::Duration;

/// Why a text is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error(
        "not a length of time: write a number with ms, s, m or h after it, such as 500ms, 10s, 5m or 1h"
    )]
    Syntax,
    #[error("too long: 366 days (8784h) are the most")]
    TooLong,
}

/// The longest time that can be asked for.
pub const LONGEST: Duration = Duration::from_hours(366 * 24);

/// Reads `<number>` (seconds) or `<number>` followed by `ms`, `s`, `m` or `h`; decimals are allowed.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit.trim_start() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(DurationError::Syntax),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
        return Err(DurationError::Syntax);
    }
    let number: f64 = number.parse().ok().ok_or(DurationError::Syntax)?;
    match Duration::try_from_secs_f64(number * seconds_per_unit) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(DurationError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_unit() {
        for (text, millis) in [
            ("0", 0),
            ("10", 10_000),
            ("0.5", 500),
            ("500ms", 500),
            ("1.5s", 1500),
            (" 10 s ", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("8784h", 366 * 24 * 3_600_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for text in [
            "",
            "s",
            "-1",
            "+1",
            ".5",
            "5.",
            "1e3",
            "inf",
            "nan",
            "1d",
            "10 seconds",
            "1.2.3",
            "5m30s",
            "१s",
        ] {
            assert_eq!(parse(text), Err(DurationError::Syntax), "{text:?}");
        }
        for text in ["8784.1h", "99999999999999999999999999"] {
            assert_eq!(parse(text), Err(DurationError::TooLong), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".*") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(duration <= LONGEST);
            }
        }

        #[test]
        fn whole_milliseconds_are_exact(millis in 0u32..1_000_000_000) {
            prop_assert_eq!(parse(&format!("{millis}ms")), Ok(Duration::from_millis(millis.into())));
        }
    }
}
