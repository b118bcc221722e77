//! The URL that calls go to, taken apart: `ws[s]://[KEY:TOKEN@]host[:port]/path[?parameters]`.
//!
//! Only text is handled here; connecting is in `connect`. Invariant: what was between the scheme and the `@` is a
//! [`Secret`] from here on and is in no error.

use tokio_tungstenite::tungstenite::http::Uri;

use crate::secret::Secret;

/// Where to connect to, and what the URL said beside.
#[derive(Debug, Clone)]
pub struct Target {
    pub tls: bool,
    /// A name or an address, an IPv6 one without its brackets.
    pub host: String,
    pub port: u16,
    /// Host and port as they were written, for the `Host` header.
    pub authority: String,
    pub path: String,
    /// What follows the question mark, as written.
    pub query: Option<String>,
    /// `KEY:TOKEN` from before the `@`.
    pub userinfo: Option<Secret>,
}

/// Why a text is no URL that a call could go to. The text is not repeated, for the password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("not a URL: write it as wss://host[:port]/v1/ingest")]
    Malformed,
    #[error("the URL must begin with ws:// or wss://, as the one given to Exotel")]
    Scheme,
}

impl Target {
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        // The parser's own error says no more than that it is malformed.
        let uri: Uri = url.parse().map_err(|_malformed| TargetError::Malformed)?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(TargetError::Scheme),
        };
        let whole = uri.authority().ok_or(TargetError::Malformed)?;
        let (userinfo, authority) = match whole.as_str().rsplit_once('@') {
            Some((userinfo, authority)) => (Some(userinfo), authority),
            None => (None, whole.as_str()),
        };
        let host = whole.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(TargetError::Malformed);
        }
        let path = uri.path();
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: whole.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query: uri.query().map(str::to_owned),
            userinfo: userinfo.map(|text| Secret::new(decode(text, Plus::Stays))),
        })
    }

    /// The parameters of the query, in order, with their escapes undone.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let query = self.query.as_deref().unwrap_or_default();
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name, Plus::IsSpace), decode(value, Plus::IsSpace))
            })
            .collect()
    }

    /// The rate that the URL asks Exotel for, if it is one of those that Exotel knows.
    pub fn sample_rate(&self) -> Option<u32> {
        self.parameters()
            .into_iter()
            .filter(|(name, _)| name == "sample-rate")
            .filter_map(|(_, value)| value.parse().ok())
            .find(|rate| [8_000, 16_000, 24_000].contains(rate))
    }
}

/// In a query a plus stands for a space; elsewhere for itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsSpace,
    Stays,
}

/// Undoes percent escapes; one that is not complete stays as it is.
fn decode(text: &str, plus: Plus) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, escaped(after)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) if plus == Plus::IsSpace => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escaped(after: &[u8]) -> Option<u8> {
    let digits = after.get(..2)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_a_url_apart() {
        let target =
            Target::parse("wss://KEY:to%2Fken@voice.example:9443/v1/ingest?a=b%20c&d+e=&f")
                .unwrap();
        assert!(target.tls);
        assert_eq!((target.host.as_str(), target.port), ("voice.example", 9443));
        assert_eq!(target.authority, "voice.example:9443");
        assert_eq!(target.path, "/v1/ingest");
        assert_eq!(target.userinfo.as_ref().unwrap().expose(), "KEY:to/ken");
        let pairs = target.parameters();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("a", "b c"), ("d e", ""), ("f", "")]);
        assert!(!format!("{target:?}").contains("KEY"), "{target:?}");
    }

    #[test]
    fn knows_the_default_ports_and_addresses() {
        let port = |url| Target::parse(url).map(|target| (target.host, target.port));
        assert_eq!(port("ws://a/"), Ok(("a".into(), 80)));
        assert_eq!(port("wss://a"), Ok(("a".into(), 443)));
        assert_eq!(port("ws://[::1]:8443/x"), Ok(("::1".into(), 8443)));
        assert_eq!(Target::parse("ws://a").unwrap().path, "/");
    }

    #[test]
    fn refuses_what_is_not_a_websocket_url() {
        let error = |url| Target::parse(url).unwrap_err();
        assert_eq!(error("http://a/"), TargetError::Scheme);
        assert_eq!(error("/v1/ingest"), TargetError::Scheme);
        assert_eq!(error(""), TargetError::Malformed);
        assert_eq!(error("ws:// a/"), TargetError::Malformed);
        assert_eq!(error("ws:///x"), TargetError::Malformed);
    }

    #[test]
    fn finds_the_rate_that_exotel_is_asked_for() {
        let rate = |url| Target::parse(url).unwrap().sample_rate();
        assert_eq!(rate("ws://a/?sample-rate=16000"), Some(16_000));
        assert_eq!(rate("ws://a/?sample-rate=11025"), None);
        assert_eq!(rate("ws://a/"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}", query in "[%0-9a-f+&=]{0,30}") {
            prop_assert!(Target::parse(&text).is_ok() || !text.starts_with("ws://a/?"));
            let target = Target::parse(&format!("ws://a/?{query}")).unwrap();
            prop_assert!(target.parameters().len() <= query.len());
        }
    }
}
