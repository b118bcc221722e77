//! What a setting's text may be, in words for people and in code for the reader: numbers, times, yes and no.
//!
//! Texts with a grammar of their own (addresses, URLs, keys) are read in `forms.rs` and `urls.rs`.
//! Invariant: an error names what is wrong, never the text itself, which may be a secret.

use std::{fmt, time::Duration};

use crate::duration;

/// The texts that a variable takes; `Display` says so to whoever wrote another.
#[derive(Debug, Clone, Copy)]
pub enum Accepts {
    Flag,
    Whole(u64, u64),
    /// Zero, which switches the matter off, or a number within limits.
    ZeroOr(u64, u64),
    ZeroOrDecimal(f64, f64),
    Time(Duration, Duration),
    OneOf(&'static [&'static str]),
    /// Described in words; a function in `forms.rs` or `urls.rs` checks it.
    Words(&'static str),
}

impl Accepts {
    pub(super) fn whole(self, text: &str) -> Result<u64, String> {
        let number: u64 = match text.parse() {
            Ok(number) => number,
            Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                return Err("out of range".into());
            }
            Err(_) => return Err("not a whole number".into()),
        };
        let fits = match self {
            Self::Whole(least, most) => (least..=most).contains(&number),
            Self::ZeroOr(least, most) => number == 0 || (least..=most).contains(&number),
            _ => true,
        };
        if fits {
            Ok(number)
        } else {
            Err("out of range".into())
        }
    }

    pub(super) fn decimal(self, text: &str) -> Result<f64, String> {
        // Digits and a point only: `f64` would also read `inf`, `NaN` and `1e300`.
        if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err("not a number".into());
        }
        let number: f64 = text.parse().ok().ok_or("not a number")?;
        match self {
            Self::ZeroOrDecimal(least, most)
                if number > 0.0 && !(least..=most).contains(&number) =>
            {
                Err("out of range".into())
            }
            _ => Ok(number),
        }
    }

    pub(super) fn time(self, text: &str) -> Result<Duration, String> {
        let time = duration::parse(text).map_err(|error| error.to_string())?;
        match self {
            Self::Time(least, most) if !(least..=most).contains(&time) => {
                Err("out of range".into())
            }
            _ => Ok(time),
        }
    }

    /// The word as this service writes it, whatever the case it came in.
    pub(super) fn word(self, text: &str) -> Result<&'static str, String> {
        let Self::OneOf(words) = self else {
            return Err("not a choice".into());
        };
        words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text))
            .copied()
            .ok_or_else(|| "unknown".into())
    }
}

/// A [`Accepts::Flag`].
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("neither yes nor no".into()),
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false (also 1/0, yes/no, on/off)"),
            Self::Whole(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::ZeroOr(least, most) => write!(f, "0, or a whole number from {least} to {most}"),
            Self::ZeroOrDecimal(least, most) => write!(f, "0, or a number from {least} to {most}"),
            Self::Time(least, most) => write!(
                f,
                "a time from {} to {}, such as 30, 500ms, 10s, 5m or 1h (a bare number is seconds)",
                in_words(*least),
                in_words(*most)
            ),
            Self::OneOf(words) => f.write_str(&words.join(" or ")),
            Self::Words(words) => f.write_str(words),
        }
    }
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match time.subsec_millis() {
        0 if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        0 => format!("{seconds}s"),
        millis => format!("{}ms", seconds * 1000 + u64::from(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_in_any_case() {
        for text in ["true", "1", "YES", "On"] {
            assert_eq!(flag(text), Ok(true));
        }
        for text in ["False", "0", "no", "OFF"] {
            assert_eq!(flag(text), Ok(false));
        }
        for text in ["", "2", "truee", "ja"] {
            assert!(flag(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_stay_within_their_limits() {
        let port = Accepts::Whole(0, 65535);
        assert_eq!(port.whole("0"), Ok(0));
        assert_eq!(port.whole("65535"), Ok(65535));
        for text in ["65536", "99999999999999999999"] {
            assert_eq!(port.whole(text), Err("out of range".into()));
        }
        for text in ["", "-1", "80.0", "eighty", "0x50"] {
            assert_eq!(port.whole(text), Err("not a whole number".into()), "{text}");
        }
        let rate = Accepts::ZeroOr(8000, 48000);
        assert_eq!((rate.whole("0"), rate.whole("8000")), (Ok(0), Ok(8000)));
        assert!(rate.whole("7999").is_err() && rate.whole("48001").is_err());
    }

    #[test]
    fn decimals_are_finite_and_within_their_limits() {
        let factor = Accepts::ZeroOrDecimal(1.0, 1000.0);
        assert_eq!(
            (factor.decimal("0"), factor.decimal("1.5")),
            (Ok(0.0), Ok(1.5))
        );
        for text in ["0.5", "1001", "inf", "NaN", "1e3", "-2", "", "."] {
            assert!(factor.decimal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_stay_within_their_limits_and_say_them() {
        let time = Accepts::Time(Duration::from_millis(100), Duration::from_hours(1));
        assert_eq!(time.time("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(time.time("60"), Ok(Duration::from_mins(1)));
        for text in ["99ms", "2h", "soon", "99999999999999999"] {
            assert!(time.time(text).is_err(), "{text}");
        }
        assert!(
            time.to_string()
                .starts_with("a time from 100ms to 1h, such as")
        );
    }

    #[test]
    fn words_in_any_case() {
        let choice = Accepts::OneOf(&["json", "fields"]);
        assert_eq!(choice.word("JSON"), Ok("json"));
        assert!(choice.word("xml").is_err());
        assert_eq!(choice.to_string(), "json or fields");
    }
}
