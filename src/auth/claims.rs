//! What a token says, once its signature is known to be right: times, issuer, audience, and the call it is bound to.
//!
//! Signatures and headers are the module above. Invariant: a name that appears twice is refused, never resolved, since two
//! readers would resolve it differently; and time is an argument.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{Settings, TokenError};
use crate::admission::Claims;

/// What a token's claims must say.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    issuer: Option<String>,
    audience: Option<String>,
    leeway_s: u64,
}

impl Expected {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway_s: settings.leeway.as_secs(),
        }
    }

    pub(crate) fn check(
        &self,
        said: &Map<String, Value>,
        now_epoch_s: u64,
    ) -> Result<Claims, TokenError> {
        let expires_s = time(said, "exp")?.ok_or(TokenError::NoExpiry)?;
        if now_epoch_s >= expires_s.saturating_add(self.leeway_s) {
            return Err(TokenError::Expired);
        }
        let begins_s = time(said, "nbf")?.unwrap_or(0);
        if begins_s > now_epoch_s.saturating_add(self.leeway_s) {
            return Err(TokenError::NotYetValid);
        }
        if let Some(issuer) = &self.issuer
            && said.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::WrongIssuer);
        }
        if let Some(audience) = &self.audience
            && !names(said.get("aud"), audience)
        {
            return Err(TokenError::WrongAudience);
        }
        Ok(Claims {
            tenant_id: id(said, "tenant_id")?,
            interaction_id: id(said, "interaction_id")?,
        })
    }
}

/// Whether a text may name a tenant or a call in a token.
pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.chars().any(char::is_control)
}

/// A JSON object in which no name appears twice.
pub(crate) fn object(json: &[u8]) -> Result<Map<String, Value>, TokenError> {
    let once: Once = serde_json::from_slice(json).or(Err(TokenError::Malformed))?;
    once.0.ok_or(TokenError::NameTwice)
}

/// RFC 7519 calls `aud` a list, or one string for a list of one.
fn names(aud: Option<&Value>, audience: &str) -> bool {
    match aud {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
        _ => false,
    }
}

fn time(said: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, TokenError> {
    let Some(value) = said.get(claim).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    // A NumericDate may have a fraction; a negative, endless or quoted one is a mistake that must not become a date.
    let seconds = value.as_u64().or_else(|| {
        let duration = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
        Some(duration.as_secs())
    });
    seconds.map(Some).ok_or(TokenError::BadTime { claim })
}

fn id(said: &Map<String, Value>, claim: &'static str) -> Result<Option<String>, TokenError> {
    match said.get(claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if is_id(text) => Ok(Some(text.clone())),
        Some(_) => Err(TokenError::BadId { claim }),
    }
}

/// `None` inside: a name appeared twice.
struct Once(Option<Map<String, Value>>);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once, A::Error> {
        let mut map = Some(Map::new());
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            let twice = map.as_mut().and_then(|map| map.insert(name, value));
            if twice.is_some() {
                map = None;
            }
        }
        Ok(Once(map))
    }
}

/// Room for any carrier's identifiers, small enough for a stream field and a log line.
const ID_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn check(json: &str) -> Result<Claims, TokenError> {
        let expected = Expected {
            issuer: None,
            audience: None,
            leeway_s: 30,
        };
        expected.check(&object(json.as_bytes())?, NOW)
    }

    #[test]
    fn times_are_numbers_and_have_leeway() {
        let bad_exp = Err(TokenError::BadTime { claim: "exp" });
        for (json, expected) in [
            (r#"{"exp":1800000000}"#, Ok(())),
            (r#"{"exp":1799999971}"#, Ok(())),
            (r#"{"exp":1799999970}"#, Err(TokenError::Expired)),
            (r#"{"exp":1799999971.5}"#, Ok(())),
            (r#"{"exp":18446744073709551615}"#, Ok(())),
            (r#"{"exp":0}"#, Err(TokenError::Expired)),
            ("{}", Err(TokenError::NoExpiry)),
            (r#"{"exp":null}"#, Err(TokenError::NoExpiry)),
            (r#"{"exp":"1900000000"}"#, bad_exp.clone()),
            (r#"{"exp":-1}"#, bad_exp.clone()),
            (r#"{"exp":1e300}"#, bad_exp.clone()),
            (r#"{"exp":true}"#, bad_exp.clone()),
            (r#"{"exp":[1900000000]}"#, bad_exp),
            (r#"{"exp":1900000000,"nbf":1800000030}"#, Ok(())),
            (
                r#"{"exp":1900000000,"nbf":1800000031}"#,
                Err(TokenError::NotYetValid),
            ),
            (
                r#"{"exp":1900000000,"nbf":"0"}"#,
                Err(TokenError::BadTime { claim: "nbf" }),
            ),
        ] {
            assert_eq!(check(json).map(drop), expected, "{json}");
        }
    }

    #[test]
    fn issuer_and_audience_count_where_set() {
        let expected = Expected {
            issuer: Some("them".into()),
            audience: Some("us".into()),
            leeway_s: 0,
        };
        for (rest, outcome) in [
            (r#""iss":"them","aud":"us""#, Ok(())),
            (r#""iss":"them","aud":["you",7,"us"]"#, Ok(())),
            (r#""aud":"us""#, Err(TokenError::WrongIssuer)),
            (r#""iss":["them"],"aud":"us""#, Err(TokenError::WrongIssuer)),
            (r#""iss":"them""#, Err(TokenError::WrongAudience)),
            (
                r#""iss":"them","aud":"usa""#,
                Err(TokenError::WrongAudience),
            ),
            (r#""iss":"them","aud":[]"#, Err(TokenError::WrongAudience)),
        ] {
            let json = format!(r#"{{"exp":1900000000,{rest}}}"#);
            let said = object(json.as_bytes()).unwrap();
            assert_eq!(expected.check(&said, NOW).map(drop), outcome, "{json}");
            assert!(
                check(&json).is_ok(),
                "unset means whatever the token says: {json}"
            );
        }
    }

    #[test]
    fn ids_are_short_plain_text_or_absent() {
        let long = "x".repeat(512);
        for (value, expected) in [
            ("null".to_owned(), Some(None)),
            (r#""t-1""#.to_owned(), Some(Some("t-1"))),
            (r#""चेन्नई""#.to_owned(), Some(Some("चेन्नई"))),
            (format!(r#""{long}""#), Some(Some(long.as_str()))),
            (format!(r#""{long}y""#), None),
            (r#""""#.to_owned(), None),
            (r#""a\nb""#.to_owned(), None),
            (r#""a\u0000b""#.to_owned(), None),
            ("7".to_owned(), None),
            ("{}".to_owned(), None),
        ] {
            for claim in ["tenant_id", "interaction_id"] {
                let json = format!(r#"{{"exp":1900000000,"{claim}":{value}}}"#);
                let found = check(&json).map(|c| c.tenant_id.or(c.interaction_id));
                match expected {
                    Some(id) => assert_eq!(found.unwrap().as_deref(), id),
                    None => assert_eq!(found, Err(TokenError::BadId { claim })),
                }
            }
        }
    }

    #[test]
    fn a_name_appears_once() {
        for json in [
            r#"{"exp":1,"exp":1900000000}"#,
            r#"{"exp":1900000000,"exp":null}"#,
            r#"{"exp":1900000000,"tenant_id":"a","tenant\u005fid":"b"}"#,
            r#"{"a":1,"a":2,"a":3}"#,
        ] {
            assert_eq!(check(json), Err(TokenError::NameTwice), "{json}");
        }
        for json in ["", "[]", "1", "{", "{}{}", "\u{0}"] {
            assert_eq!(check(json), Err(TokenError::Malformed), "{json}");
        }
    }
}
