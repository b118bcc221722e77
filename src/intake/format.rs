//! Which sample rate and encoding a connection's audio has: the first valid one of all that was said (3.6, 3.7).

use super::{Facts, Refusal};
use crate::{
    dialect::{reply::ErrorCode, start::Start},
    frame::{Encoding, Sender, parse_rate, rate_parameter},
};

/// How the audio of a connection is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Format {
    pub sample_rate: u32,
    pub encoding: Encoding,
    /// The encoding in the sender's own word.
    pub declared: String,
}

/// Finds the format for the audio that follows `start`, or that comes without one. Oddities that do not hinder are
/// told in `warnings`.
pub(super) fn resolve(
    facts: &Facts,
    start: Option<&Start>,
    warnings: &mut Vec<String>,
) -> Result<Format, Refusal> {
    let declared = declared_encoding(facts, start);
    let encoding = match declared {
        None => Encoding::Pcm16,
        Some(name) => match (Encoding::parse(name), facts.sender) {
            (Some(encoding), _) => encoding,
            (None, Sender::Custom) => {
                return Err(Refusal {
                    code: ErrorCode::UnsupportedEncoding,
                    message: format!("encoding {name:?} is not known: send pcm16, mulaw or alaw"),
                });
            }
            (None, Sender::Exotel) => {
                warnings.push(format!(
                    "encoding {name:?} is not known: the audio is taken as PCM16"
                ));
                Encoding::Pcm16
            }
        },
    };
    let sample_rate = rate(facts, start, declared, warnings)?;
    Ok(Format {
        sample_rate,
        encoding,
        declared: declared.unwrap_or("pcm16").to_owned(),
    })
}

fn declared_encoding<'a>(facts: &'a Facts, start: Option<&'a Start>) -> Option<&'a str> {
    start
        .and_then(|start| start.encoding.as_deref())
        .or_else(|| start.and_then(|start| start.custom_parameters.find(&["encoding"])))
        .or(facts.hints.encoding.as_deref())
}

fn rate(
    facts: &Facts,
    start: Option<&Start>,
    declared: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<u32, Refusal> {
    let sender = facts.sender;
    let valid = |text: &str| parse_rate(text).filter(|&hertz| sender.allows_rate(hertz));
    let mut refused = |text: &str| {
        warnings.push(format!(
            "sample rate {text:?} is not usable here: the next in line is taken"
        ));
    };
    if let Some(start) = start {
        for text in &start.rates {
            match valid(text) {
                Some(hertz) => return Ok(hertz),
                None if sender == Sender::Custom => {
                    return Err(Refusal {
                        code: ErrorCode::BadStart,
                        message: format!(
                            "sample_rate {text:?} is not usable: give a number from 8000 to 48000"
                        ),
                    });
                }
                None => refused(text),
            }
        }
    }
    let custom = start.and_then(|start| {
        start
            .custom_parameters
            .find(&["sample-rate", "sample_rate"])
    });
    for text in [custom, facts.hints.rate.as_deref()].into_iter().flatten() {
        match valid(text) {
            Some(hertz) => return Ok(hertz),
            None => refused(text),
        }
    }
    let in_content_type = declared
        .and_then(rate_parameter)
        .filter(|&hertz| sender.allows_rate(hertz));
    Ok(in_content_type.unwrap_or(sender.default_rate()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(sender: Sender, rate: Option<&str>, encoding: Option<&str>) -> Facts {
        let mut facts = Facts::new(sender, "tenant", "fallback");
        facts.hints.rate = rate.map(str::to_owned);
        facts.hints.encoding = encoding.map(str::to_owned);
        facts
    }

    fn start(rates: &[&str], encoding: Option<&str>, parameters: &[(&str, &str)]) -> Start {
        let mut start = Start {
            rates: rates.iter().map(|&rate| rate.to_owned()).collect(),
            encoding: encoding.map(str::to_owned),
            ..Start::default()
        };
        for (name, value) in parameters {
            start.custom_parameters.add(name, value);
        }
        start
    }

    #[test]
    fn exotels_rate_is_the_first_valid_one() {
        let check = |rates: &[&str], parameters: &[(&str, &str)], query, expected, warned| {
            let mut warnings = Vec::new();
            let start = start(rates, Some("base64"), parameters);
            let format = resolve(
                &facts(Sender::Exotel, query, None),
                Some(&start),
                &mut warnings,
            )
            .unwrap();
            assert_eq!(
                (format.sample_rate, warnings.len()),
                (expected, warned),
                "{rates:?} {query:?}"
            );
        };
        check(&["8000", "16000"], &[], Some("24000"), 8000, 0);
        check(
            &["1800", "16k"],
            &[("sample-rate", "24000")],
            None,
            16000,
            1,
        );
        check(
            &["44100"],
            &[("sample-rate", "24kHz")],
            Some("8000"),
            24000,
            1,
        );
        check(&[], &[], Some("16000"), 16000, 0);
        check(&["x"], &[("sample-rate", "y")], Some("z"), 8000, 3);
        check(&[], &[], None, 8000, 0);
    }

    #[test]
    fn a_custom_client_is_held_to_what_its_start_says() {
        let check = |rates: &[&str], encoding, expected: Result<u32, ErrorCode>| {
            let start = start(rates, encoding, &[]);
            let result = resolve(
                &facts(Sender::Custom, None, None),
                Some(&start),
                &mut Vec::new(),
            );
            assert_eq!(
                result
                    .map(|format| format.sample_rate)
                    .map_err(|refusal| refusal.code),
                expected
            );
        };
        check(&["44100"], None, Ok(44100));
        check(&[], Some("pcm16"), Ok(24000));
        check(&["7999"], None, Err(ErrorCode::BadStart));
        check(&["fast"], None, Err(ErrorCode::BadStart));
        check(
            &["24000"],
            Some("opus"),
            Err(ErrorCode::UnsupportedEncoding),
        );
        check(&[], Some("audio/x-mulaw;rate=8000"), Ok(8000));
    }

    #[test]
    fn an_unknown_encoding_never_costs_an_exotel_call() {
        let mut warnings = Vec::new();
        let format = resolve(
            &facts(Sender::Exotel, None, Some("mulaw")),
            Some(&start(&[], Some("audio/x-raw"), &[])),
            &mut warnings,
        )
        .unwrap();
        assert_eq!(
            (format.encoding, format.declared.as_str(), warnings.len()),
            (Encoding::Pcm16, "audio/x-raw", 1)
        );
        let format = resolve(
            &facts(Sender::Exotel, None, Some("mulaw")),
            None,
            &mut warnings,
        )
        .unwrap();
        assert_eq!(format.encoding, Encoding::Mulaw);
    }
}
