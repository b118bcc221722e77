//! URLs among the settings: Redis, the key set, our own.
//!
//! Only their shape is checked here; nothing is resolved or connected to. Invariant: no error quotes a URL,
//! since passwords stand in them.

use axum::http::Uri;
use redis::IntoConnectionInfo as _;

use crate::secret::Secret;

/// One server to talk to, and how.
#[derive(Debug, Clone)]
pub(super) struct RedisUrl {
    pub(super) scheme: Scheme,
    pub(super) url: Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Plain,
    Tls,
    Unix,
}

/// One or several Redis URLs. All must be of one kind, as TLS is a property of the whole deployment.
pub(super) fn redis(text: &str) -> Result<Vec<RedisUrl>, String> {
    let items: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .collect();
    if items.len() > REDIS_URLS_MAX {
        return Err(format!("more than {REDIS_URLS_MAX} URLs"));
    }
    let urls = items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            redis_one(item).map_err(|wrong| match items.len() {
                1 => wrong.into(),
                _ => format!("URL {}: {wrong}", index + 1),
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    match urls.first() {
        None => Err("an empty list".into()),
        Some(first) if urls.iter().any(|url| url.scheme != first.scheme) => {
            Err("URLs of different schemes".into())
        }
        Some(_) => Ok(urls),
    }
}

/// `wss://host[:port]`, without the slash that browsers put after it.
pub(super) fn public(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().ok().ok_or("not a URL")?;
    if !matches!(uri.scheme_str(), Some("wss" | "ws")) {
        return Err("neither wss:// nor ws://".into());
    }
    if uri.path().len() > 1 || text.contains(['?', '#']) {
        return Err("has a path or query".into());
    }
    bare_host(&uri)?;
    Ok(text.trim_end_matches('/').into())
}

pub(super) fn key_set(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().ok().ok_or("not a URL")?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err("neither https:// nor http://".into());
    }
    bare_host(&uri)?;
    Ok(text.into())
}

fn redis_one(text: &str) -> Result<RedisUrl, &'static str> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("no scheme, such as redis://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "redis" => Scheme::Plain,
        "rediss" => Scheme::Tls,
        "unix" => Scheme::Unix,
        _ => return Err("unknown scheme"),
    };
    if rest.contains('#') {
        // The Redis crate's `#insecure` is not on offer: REDIS_TLS_CA names a private CA.
        return Err("has a #, which in a password is %23 and elsewhere means nothing here");
    }
    // The Redis crate reads `rediss` only where it brings its own TLS, so it is shown the same URL without.
    let plain = match scheme {
        Scheme::Tls => format!("redis://{rest}"),
        Scheme::Plain | Scheme::Unix => text.to_owned(),
    };
    let url = redis::parse_redis_url(&plain).ok_or("not a URL")?;
    if scheme != Scheme::Unix && url.host_str().is_none_or(str::is_empty) {
        return Err("no host");
    }
    if url.port() == Some(0) {
        return Err("port 0");
    }
    let info = url
        .into_connection_info()
        .ok()
        .ok_or("a host that is no destination, a database that is no number, or no path")?;
    if info.redis_settings().db() < 0 {
        return Err("a negative database");
    }
    Ok(RedisUrl {
        scheme,
        url: Secret::new(text),
    })
}

fn bare_host(uri: &Uri) -> Result<(), String> {
    let authority = uri.authority().ok_or("no host")?;
    if authority.as_str().contains('@') {
        return Err("has a user or password".into());
    }
    let host = authority.host();
    if host.is_empty() {
        return Err("no host".into());
    }
    match (authority.as_str().strip_prefix(host), authority.port_u16()) {
        (Some(""), None) | (Some(_), Some(1..)) => Ok(()),
        _ => Err("a port that is none".into()),
    }
}

/// More seeds or Sentinels than anybody runs.
const REDIS_URLS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_urls() {
        for (text, scheme) in [
            ("redis://localhost", Scheme::Plain),
            ("redis://user:p%2Cw@10.0.0.1:6380/3", Scheme::Plain),
            ("redis://[::1]:6379", Scheme::Plain),
            ("rediss://:hunter2@red-abc.render.com:6379", Scheme::Tls),
            ("REDISS://h/0?protocol=resp3", Scheme::Tls),
            ("unix:///run/redis.sock?db=1&pass=hunter2", Scheme::Unix),
        ] {
            let read = redis(text).unwrap();
            assert_eq!((read.len(), read[0].scheme), (1, scheme), "{text}");
            assert_eq!(read[0].url.expose(), text);
        }
        assert_eq!(redis("redis://a, redis://b,").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_redis_url() {
        for text in [
            "localhost:6379",
            "http://hunter2@h",
            "valkey://h",
            "redis://",
            "redis://:hunter2@",
            "redis://:hunter2@/0",
            "redis://h:0",
            "redis://h:99999",
            "redis://h/zero",
            "redis://h/-1",
            "rediss://h/zero",
            "redis://0.0.0.0",
            "rediss://:hunter2@h#insecure",
            "redis://h?protocol=hunter2",
            "unix://run/redis.sock",
            "redis://a,rediss://b",
            "redis://:hun,ter2@h",
            ",",
        ] {
            let wrong = redis(text).unwrap_err();
            assert!(!wrong.contains("ter2"), "{text}: {wrong}");
        }
        assert!(redis(&"redis://h,".repeat(33)).is_err());
    }

    #[test]
    fn our_own_url_is_a_host_and_perhaps_a_port() {
        for (text, read) in [
            ("wss://ingest.example.com", "wss://ingest.example.com"),
            ("ws://127.0.0.1:8443/", "ws://127.0.0.1:8443"),
            ("wss://[2001:db8::1]:443", "wss://[2001:db8::1]:443"),
        ] {
            assert_eq!(public(text).unwrap(), read);
        }
        for text in [
            "https://h",
            "h:443",
            "wss://",
            "wss://h/v1/ingest",
            "wss://h?x",
            "wss://h:0",
            "wss://h:",
            "wss://h:99999",
            "wss://user:hunter2@h",
            "wss://a b",
        ] {
            assert!(public(text).is_err(), "{text}");
        }
    }

    #[test]
    fn key_sets_come_over_http() {
        assert!(key_set("https://id.example.com/.well-known/jwks.json?v=1").is_ok());
        for text in ["ftp://h/k", "/k", "https://u:hunter2@h/k", ""] {
            assert!(key_set(text).is_err(), "{text}");
        }
    }
}
