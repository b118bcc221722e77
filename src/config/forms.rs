//! Texts with a grammar of their own: addresses, names, credentials, keys, filters.
//!
//! Numbers, times and choices are in `accepts.rs`, URLs in `urls.rs`. Invariants: every list has a length limit,
//! and an error never quotes the text, which may be a secret.

use std::{net::IpAddr, path::PathBuf, str::FromStr as _};

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use crate::secret::Secret;

/// An address to listen on; brackets as in a URL are no harm.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok().ok_or_else(|| "not an IP address".into())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.contains(char::is_control) {
        return Err("contains control characters".into());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn name(text: &str) -> Result<String, String> {
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err("contains spaces or control characters".into());
    }
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(format!("longer than {NAME_CHARS_MAX} characters"));
    }
    Ok(text.into())
}

/// The key of the frames; two keys are taken already (4.3, 4.4).
pub(super) fn stream_key(text: &str) -> Result<String, String> {
    if ["call_end", "call_events"].contains(&text) {
        return Err("the key of another stream of this service".into());
    }
    name(text)
}

pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let names = items(text, 64)?
        .into_iter()
        .map(name)
        .collect::<Result<Vec<_>, _>>()?;
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    if sorted.len() < names.len() {
        return Err("names one twice".into());
    }
    Ok(names)
}

/// Ranges, a single address being a range of one. IPv4 in IPv6's clothes is IPv4: so the listener sees it.
pub(super) fn ranges(text: &str) -> Result<Vec<IpNet>, String> {
    let range = |(index, item): (usize, &str)| {
        let address = item
            .parse::<IpAddr>()
            .map(|address| IpNet::from(address.to_canonical()));
        address
            .or_else(|_| IpNet::from_str(item))
            .map(|range| range.trunc())
            .ok()
            .ok_or_else(|| format!("entry {} is neither an address nor a range", index + 1))
    };
    items(text, 1024)?
        .into_iter()
        .enumerate()
        .map(range)
        .collect()
}

/// `KEY:TOKEN` pairs.
pub(super) fn credentials(text: &str) -> Result<Vec<Secret>, String> {
    let pair = |(index, item): (usize, &str)| match item.split_once(':') {
        None => Err(format!("entry {} has no colon", index + 1)),
        Some((key, token)) if key.is_empty() || token.is_empty() => Err(format!(
            "entry {} has nothing before or after its colon",
            index + 1
        )),
        Some(_) => Ok(Secret::new(item)),
    };
    items(text, 64)?.into_iter().enumerate().map(pair).collect()
}

/// Tokens that stand in a URL's path as they are, but for a slash, which is written `%2F` there: a platform that
/// makes secrets up may well make base64.
pub(super) fn url_tokens(text: &str) -> Result<Vec<Secret>, String> {
    let token = |(index, item): (usize, &str)| {
        let fits = item
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"?#%".contains(&b));
        if fits && item.len() <= NAME_CHARS_MAX {
            Ok(Secret::new(item))
        } else {
            Err(format!(
                "entry {} cannot stand in the path of a URL",
                index + 1
            ))
        }
    };
    items(text, 64)?
        .into_iter()
        .enumerate()
        .map(token)
        .collect()
}

/// A token that travels in an HTTP header.
pub(super) fn token(text: &str) -> Result<Secret, String> {
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("contains spaces or signs that are not ASCII".into());
    }
    password(text)
}

pub(super) fn password(text: &str) -> Result<Secret, String> {
    if text.contains(char::is_control) || text.chars().count() > 1024 {
        return Err("too long, or contains line breaks or control characters".into());
    }
    Ok(Secret::new(text))
}

/// PEM blocks, in the ways in which they come through forms and shells: quoted, line breaks as `\n`.
/// Whether they are keys, and of which kind, is found out where they are used.
pub(super) fn public_keys(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    let bare = ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text);
    let pem = bare.replace("\\r", "").replace("\\n", "\n");
    if pem.contains("PRIVATE KEY-----") {
        return Err(
            "a private key: whoever signs keeps it, this service needs the public one".into(),
        );
    }
    let blocks = pem.matches("-----BEGIN ").count();
    if blocks == 0 || blocks != pem.matches("-----END ").count() {
        return Err("no whole PEM block".into());
    }
    Ok(Secret::new(pem))
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).ok().ok_or("not a filter")?;
    Ok(text.into())
}

/// The entries of a comma-separated list; a comma too many is no harm.
fn items(text: &str, most: usize) -> Result<Vec<&str>, String> {
    let items: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect();
    match items.len() {
        0 => Err("an empty list".into()),
        length if length > most => Err(format!("more than {most} entries")),
        _ => Ok(items),
    }
}

const NAME_CHARS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["::", "127.0.0.1", "[::1]"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["localhost", "1.2.3", "1.2.3.4:80", "[::", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_take_single_addresses_and_drop_host_bits() {
        let read = ranges("203.0.113.7, 10.1.2.3/8,2001:db8::1, ::ffff:192.0.2.1,").unwrap();
        let read: Vec<String> = read.iter().map(ToString::to_string).collect();
        assert_eq!(
            read,
            [
                "203.0.113.7/32",
                "10.0.0.0/8",
                "2001:db8::1/128",
                "192.0.2.1/32"
            ]
        );
        assert_eq!(
            ranges("1.2.3.4,1.2.3.4/33").unwrap_err(),
            "entry 2 is neither an address nor a range"
        );
        for bad in ["exotel.com", "1.2.3.4-1.2.3.9", ",", "1.2.3.4 5.6.7.8"] {
            assert!(ranges(bad).is_err(), "{bad}");
        }
        assert!(ranges(&"1.1.1.1,".repeat(1025)).is_err());
    }

    #[test]
    fn names_are_visible_and_different() {
        assert_eq!(names("asr, archive").unwrap(), ["asr", "archive"]);
        for bad in ["a,a", "a b", "a\u{7}", ""] {
            assert!(names(bad).is_err(), "{bad}");
        }
        assert!(name(&"x".repeat(256)).is_ok() && name(&"x".repeat(257)).is_err());
        assert!(stream_key("audio_stream").is_ok());
        assert!(stream_key("call_end").is_err() && stream_key("a b").is_err());
        assert!(path("./a b").is_ok() && path("a\0b").is_err());
    }

    #[test]
    fn credentials_need_a_colon_with_something_around_it() {
        let pairs = credentials("key:tok:en,other:pair").unwrap();
        assert_eq!(
            pairs.iter().map(Secret::expose).collect::<Vec<_>>(),
            ["key:tok:en", "other:pair"]
        );
        assert_eq!(
            credentials("key:token,hunter2").unwrap_err(),
            "entry 2 has no colon"
        );
        assert!(credentials(":token").is_err() && credentials("key:").is_err());
    }

    #[test]
    fn tokens_fit_where_they_travel() {
        assert_eq!(url_tokens("abc-1.2_~,d+/e=").unwrap().len(), 2);
        for bad in ["a?b", "a#b", "a%20b", "a b", "é", ""] {
            assert!(url_tokens(bad).is_err(), "{bad}");
        }
        assert!(token("abc").is_ok() && token("a b").is_err() && token("é").is_err());
        assert!(password("a é").is_ok() && password("a\nb").is_err());
    }

    #[test]
    fn public_keys_in_every_wrapping() {
        let pem = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
        let flat = pem.replace('\n', "\\n");
        for text in [
            pem.to_owned(),
            flat.clone(),
            format!("\"{flat}\""),
            format!(" '{pem}' "),
            flat.replace("\\n", "\\r\\n"),
        ] {
            assert_eq!(public_keys(&text).unwrap().expose(), pem, "{text}");
        }
        assert!(public_keys(&format!("{pem}\n{pem}\n")).is_ok());
        for bad in ["AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA"] {
            assert_eq!(public_keys(bad).unwrap_err(), "no whole PEM block");
        }
        assert!(
            public_keys(&pem.replace("PUBLIC", "EC PRIVATE"))
                .unwrap_err()
                .starts_with("a private key")
        );
    }

    #[test]
    fn log_filters() {
        assert!(log_filter("info").is_ok() && log_filter("rtaa_ingest=debug,info").is_ok());
        assert!(log_filter("rtaa_ingest=loud").is_err());
    }
}
