//! The words all parts share: a moment, an encoding, a sample rate, an identifier.
//!
//! What they look like on a wire stands in `dialect/`, what they look like in Redis in `record.rs`.
//! Invariant: a value of these types is valid; text from a peer becomes one of them or is refused here.

use std::{
    fmt::{self, Write as _},
    time::Instant,
};

/// A moment on both clocks: one that never jumps, for waiting; one that people and records use.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub epoch_ms: u64,
}

/// How a peer encodes its samples. What is published is always [`Encoding::Pcm16`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Pcm16,
    Mulaw,
    Alaw,
}

impl Encoding {
    /// Reads the names of 3.7, in any case, with or without parameters (`audio/x-mulaw;rate=8000`).
    pub fn parse(name: &str) -> Option<Self> {
        let bare = name.split(';').next().unwrap_or(name).trim();
        NAMES
            .iter()
            .find(|(known, _)| bare.eq_ignore_ascii_case(known))
            .map(|&(_, encoding)| encoding)
    }

    /// Bytes that one sample takes on the wire.
    pub fn sample_bytes(self) -> usize {
        match self {
            Self::Pcm16 => 2,
            Self::Mulaw | Self::Alaw => 1,
        }
    }
}

/// The `rate` parameter of a content type such as `audio/x-mulaw;rate=8000`.
pub fn rate_parameter(content_type: &str) -> Option<u32> {
    content_type
        .split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("rate"))
        .and_then(|(_, value)| parse_rate(value))
}

/// Reads `8000`, `8000Hz`, `8k`, `16 kHz`, `8000.0` as hertz; whether the rate is allowed is another question.
pub fn parse_rate(text: &str) -> Option<u32> {
    let lower = text.trim().to_ascii_lowercase();
    let bare = lower.strip_suffix("hz").unwrap_or(&lower).trim_end();
    let (digits, scale) = match bare.strip_suffix('k') {
        Some(kilo) => (kilo.trim_end(), 1000.0),
        None => (bare, 1.0),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let hertz = digits.parse::<f64>().ok()? * scale;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a whole number in range just before"
    )]
    (hertz.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&hertz)).then_some(hertz as u32)
}

/// Who sends on a connection, as far as what it may declare is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Exotel,
    Custom,
}

impl Sender {
    pub fn allows_rate(self, hertz: u32) -> bool {
        match self {
            Self::Exotel => matches!(hertz, 8000 | 16000 | 24000),
            Self::Custom => (8000..=48000).contains(&hertz),
        }
    }

    pub fn default_rate(self) -> u32 {
        match self {
            Self::Exotel => 8000,
            Self::Custom => 24000,
        }
    }

    /// What the log and the operators' answers call it: `protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exotel => "exotel",
            Self::Custom => "jwt",
        }
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Cuts text from a peer to at most `bytes_max`, at a character's border.
pub fn clip(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or(text)
}

/// A name as it may be shown on a terminal: whoever made the call chose it.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.contains(char::is_control) {
            return f.write_str(self.0);
        }
        for letter in self.0.chars() {
            if letter.is_control() {
                write!(f, "{}", letter.escape_default())?;
            } else {
                f.write_char(letter)?;
            }
        }
        Ok(())
    }
}

/// Longest id (call, tenant, stream, account) that is taken; Exotel's have 32 characters.
pub const ID_BYTES_MAX: usize = 512;

const NAMES: [(&str, Encoding); 17] = [
    ("pcm16", Encoding::Pcm16),
    ("raw/slin", Encoding::Pcm16),
    ("slin", Encoding::Pcm16),
    ("linear16", Encoding::Pcm16),
    ("l16", Encoding::Pcm16),
    ("audio/l16", Encoding::Pcm16),
    ("audio/x-l16", Encoding::Pcm16),
    ("base64", Encoding::Pcm16),
    ("raw", Encoding::Pcm16),
    ("mulaw", Encoding::Mulaw),
    ("ulaw", Encoding::Mulaw),
    ("pcmu", Encoding::Mulaw),
    ("audio/x-mulaw", Encoding::Mulaw),
    ("audio/basic", Encoding::Mulaw),
    ("alaw", Encoding::Alaw),
    ("pcma", Encoding::Alaw),
    ("audio/x-alaw", Encoding::Alaw),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_every_spelling_seen() {
        let check = |text: &str, expected| assert_eq!(parse_rate(text), expected, "{text:?}");
        check("8000", Some(8000));
        check(" 8000Hz", Some(8000));
        check("8k", Some(8000));
        check("16kHz", Some(16000));
        check("24 KHZ", Some(24000));
        check("8000.0", Some(8000));
        check("11.025k", Some(11025));
        check("1800", Some(1800));
        for bad in [
            "", "fast", "-8000", "8000.5", "hz", "k", "nan", "inf", "1e99", "8000 x",
        ] {
            check(bad, None);
        }
        assert_eq!(rate_parameter("audio/x-mulaw; rate=16000"), Some(16000));
        assert_eq!(rate_parameter("audio/x-mulaw"), None);
    }

    #[test]
    fn encodings_are_read_in_any_case_and_with_parameters() {
        assert_eq!(
            Encoding::parse("Audio/X-Mulaw;rate=8000"),
            Some(Encoding::Mulaw)
        );
        assert_eq!(Encoding::parse("audio/x-alaw"), Some(Encoding::Alaw));
        assert_eq!(Encoding::parse("BASE64"), Some(Encoding::Pcm16));
        assert_eq!(Encoding::parse("opus"), None);
        assert_eq!(Encoding::parse(""), None);
    }

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clip("añb", 2), "a");
        assert_eq!(clip("ab", 9), "ab");
    }
}
