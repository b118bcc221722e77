//! The settings of each part of the service, put together from single values, and what they say only together.
//!
//! Single values are read in `accepts.rs`, `forms.rs` and `urls.rs`. Invariant: a section reads all of its values
//! before it gives up on the first bad one, so that no error hides another.

use super::{
    forms,
    reader::{Noted, Reader},
    urls,
};
use crate::{
    admission, auth, connection, journal,
    server::{self, TlsFiles},
    telemetry::{self, LogFormat},
};

pub(super) fn server(reader: &mut Reader) -> Result<server::Settings, Noted> {
    let host = reader.required("HOST", forms::address);
    let port = reader.whole("PORT");
    let tls = files(reader, "SSL_CERT_PATH", "SSL_KEY_PATH");
    reader.documents.server_tls = tls.clone().ok().flatten();
    let max_connections = reader.whole("MAX_CONNECTIONS");
    let max_connections_per_ip = reader.whole("MAX_CONNECTIONS_PER_IP");
    let handshake_timeout = reader.time("HANDSHAKE_TIMEOUT_S");
    let drain_timeout = reader.time("DRAIN_TIMEOUT_S");
    Ok(server::Settings {
        host: host?,
        port: port?,
        tls: tls?,
        max_connections: max_connections?,
        max_connections_per_ip: max_connections_per_ip?,
        handshake_timeout: handshake_timeout?,
        drain_timeout: drain_timeout?,
    })
}

pub(super) fn connection(reader: &mut Reader) -> Result<connection::Settings, Noted> {
    let ack_interval = reader.whole("ACK_INTERVAL");
    let max_message_bytes = reader.whole("MAX_MESSAGE_BYTES");
    let max_rate_factor = reader.decimal("MAX_RATE_FACTOR");
    let idle_timeout = reader.time("IDLE_TIMEOUT_S");
    let max_call = reader.time("MAX_CALL_S");
    Ok(connection::Settings {
        ack_interval: ack_interval?,
        max_message_bytes: max_message_bytes?,
        max_rate_factor: max_rate_factor?,
        idle_timeout: idle_timeout?,
        max_call: max_call?,
    })
}

pub(super) fn admission(reader: &mut Reader) -> Result<admission::Settings, Noted> {
    let support_exotel = reader.flag("SUPPORT_EXOTEL");
    let basic_auth = reader.optional("EXOTEL_BASIC_AUTH", forms::credentials);
    let allowed_ips = reader.optional("EXOTEL_ALLOWED_IPS", forms::ranges);
    let trusted_proxies = reader.optional("TRUSTED_PROXIES", forms::ranges);
    let url_tokens = reader.optional("EXOTEL_URL_TOKENS", forms::url_tokens);
    if support_exotel == Ok(false) {
        for name in [
            "EXOTEL_BASIC_AUTH",
            "EXOTEL_ALLOWED_IPS",
            "EXOTEL_URL_TOKENS",
        ] {
            if reader.is_given(name) {
                reader.warn(format!("{name} has no effect without SUPPORT_EXOTEL=true"));
            }
        }
    }
    Ok(admission::Settings {
        support_exotel: support_exotel?,
        basic_auth: basic_auth?.unwrap_or_default(),
        allowed_ips: allowed_ips?.unwrap_or_default(),
        trusted_proxies: trusted_proxies?.unwrap_or_default(),
        url_tokens: url_tokens?.unwrap_or_default(),
    })
}

pub(super) fn auth(reader: &mut Reader) -> Result<auth::Settings, Noted> {
    let public_keys = reader.optional("JWT_PUBLIC_KEY", forms::public_keys);
    reader.documents.public_keys = public_keys.clone().ok().flatten();
    let jwks_url = reader.optional("JWT_JWKS_URL", urls::key_set);
    let issuer = reader.optional("JWT_ISSUER", forms::name);
    let audience = reader.optional("JWT_AUDIENCE", forms::name);
    let leeway = reader.time("JWT_LEEWAY_S");
    Ok(auth::Settings {
        public_keys: public_keys?,
        jwks_url: jwks_url?,
        issuer: issuer?,
        audience: audience?,
        leeway: leeway?,
    })
}

pub(super) fn journal(reader: &mut Reader) -> Result<journal::Settings, Noted> {
    let dir = reader.required("JOURNAL_DIR", forms::path);
    let max_bytes = reader.whole("JOURNAL_MAX_BYTES");
    Ok(journal::Settings {
        dir: dir?,
        max_bytes: max_bytes?,
    })
}

/// The largest message becomes a record of 8/3 its size: companded audio doubles, and base64 adds a third.
pub(super) fn check_room(
    reader: &mut Reader,
    max_message_bytes: usize,
    max_bytes: u64,
) -> Result<(), Noted> {
    let needed = max_message_bytes as u64 * 4;
    if max_bytes >= needed {
        return Ok(());
    }
    let wrong = format!("too little for one message of MAX_MESSAGE_BYTES={max_message_bytes}");
    let accepted = format!("at least {needed}, or a smaller MAX_MESSAGE_BYTES");
    Err(reader.conflict("JOURNAL_MAX_BYTES", wrong, accepted))
}

pub(super) fn telemetry(
    reader: &mut Reader,
    unset: LogFormat,
) -> Result<telemetry::Settings, Noted> {
    let format = reader.word("LOG_FORMAT").map(|word| match word {
        Some("text") => LogFormat::Text,
        Some(_) => LogFormat::Json,
        None => unset,
    });
    let filter = reader.required("RUST_LOG", forms::log_filter);
    let format = format?;
    reader.settle(
        "LOG_FORMAT",
        Some(match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }),
    );
    Ok(telemetry::Settings {
        format,
        filter: filter?,
        colours: false,
    })
}

/// A certificate and its key: both or neither.
pub(super) fn files(reader: &mut Reader, cert: &str, key: &str) -> Result<Option<TlsFiles>, Noted> {
    let files = (
        reader.optional(cert, forms::path),
        reader.optional(key, forms::path),
    );
    match (files.0?, files.1?) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(reader.conflict(cert, format!("{key} is not set"), "both or neither"))
        }
        (None, Some(_)) => {
            Err(reader.conflict(key, format!("{cert} is not set"), "both or neither"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{error::Problem, tests::with, vars};

    /// The problems that one setting makes, beside the settings that it cannot do without.
    fn problems(name: &str, value: &str) -> Vec<Problem> {
        let partners: &[(&str, &str)] = match name {
            "SSL_CERT_PATH" => &[("SSL_KEY_PATH", "k.pem")],
            "SSL_KEY_PATH" => &[("SSL_CERT_PATH", "c.pem")],
            "REDIS_TLS_CERT" => &[("REDIS_TLS_KEY", "k.pem")],
            "REDIS_TLS_KEY" => &[("REDIS_TLS_CERT", "c.pem")],
            "REDIS_CLUSTER" | "REDIS_SENTINEL_MASTER" | "PUBSUB_ADAPTER" => {
                &[("REDIS_URL", "redis://h")]
            }
            _ => &[],
        };
        match with(&[&[(name, value)], partners].concat()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.problems,
        }
    }

    /// Good values, then bad ones, of every setting there is.
    const VALUES: &[(&str, &[&str], &[&str])] = &[
        (
            "PORT",
            &["0", "10000", "65535"],
            &["65536", "-1", "http", "80.0"],
        ),
        (
            "HOST",
            &["::", "0.0.0.0", "127.0.0.1"],
            &["localhost", "1.2.3"],
        ),
        ("SSL_CERT_PATH", &["/etc/ssl/c.pem"], &["a\nb"]),
        ("SSL_KEY_PATH", &["k.pem"], &["a\nb"]),
        (
            "PUBLIC_URL",
            &["wss://h", "ws://h:8443/"],
            &["https://h", "wss://h/x", "h"],
        ),
        (
            "PUBSUB_ADAPTER",
            &["journal", "redis_streams", "Redis_Streams"],
            &["kafka", "redis"],
        ),
        (
            "REDIS_URL",
            &["redis://h", "rediss://:p@h:1/2", "unix:///s"],
            &["h:6379", "http://h", "redis://a,redis://b"],
        ),
        ("REDIS_TLS_CA", &["ca.pem"], &["a\nb"]),
        ("REDIS_TLS_CERT", &["c.pem"], &["a\nb"]),
        ("REDIS_TLS_KEY", &["k.pem"], &["a\nb"]),
        ("REDIS_CLUSTER", &["true", "false", "0"], &["maybe", "2"]),
        ("REDIS_SENTINEL_MASTER", &["mymaster"], &["my master"]),
        ("REDIS_SENTINEL_PASSWORD", &["p w"], &["a\nb"]),
        ("JOURNAL_DIR", &["/data", "./a b"], &["a\u{1}b"]),
        (
            "JOURNAL_MAX_BYTES",
            &["1048576", "1099511627776"],
            &["1048575", "1GB", "0"],
        ),
        (
            "AUDIO_STREAM",
            &["audio_stream", "{a}:x"],
            &["call_end", "call_events", "a b"],
        ),
        ("AUDIO_STREAM_SHARDS", &["1", "1024"], &["0", "1025"]),
        (
            "AUDIO_STREAM_RETENTION_S",
            &["120", "1h", "1500ms"],
            &["0", "-5", "1y"],
        ),
        ("AUDIO_STREAM_MAXLEN", &["0", "100000"], &["-1", "many"]),
        (
            "AUDIO_CONSUMER_GROUPS",
            &["asr", "asr,archive"],
            &["asr,asr", "a b", ","],
        ),
        (
            "AUDIO_TARGET_RATE",
            &["0", "8000", "48000"],
            &["7999", "48001", "16k"],
        ),
        (
            "AUDIO_FRAME_MS",
            &["0", "20", "10000"],
            &["4", "10001", "20ms"],
        ),
        ("PUBLISH_GATHER_US", &["0", "1000"], &["1000001", "1ms"]),
        ("FRAME_FORMAT", &["json", "fields"], &["xml"]),
        ("DEFAULT_TENANT", &["acme"], &["a b"]),
        ("SUPPORT_EXOTEL", &["TRUE", "on", "no"], &["exotel"]),
        (
            "EXOTEL_BASIC_AUTH",
            &["k:t", "k:t,k2:t2"],
            &["k", "k:t,k2", ":t"],
        ),
        (
            "EXOTEL_ALLOWED_IPS",
            &["1.2.3.4", "10.0.0.0/8,2001:db8::/32"],
            &["exotel.com", "10.0.0.0/33"],
        ),
        ("TRUSTED_PROXIES", &["10.0.0.0/8"], &["render"]),
        ("EXOTEL_URL_TOKENS", &["abc", "abc,a/b+c="], &["a?b", "a b"]),
        (
            "JWT_PUBLIC_KEY",
            &["-----BEGIN PUBLIC KEY-----\\nAA\\n-----END PUBLIC KEY-----"],
            &[
                "AA",
                "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----",
            ],
        ),
        (
            "JWT_JWKS_URL",
            &["https://id/jwks.json"],
            &["id/jwks.json", "ftp://id"],
        ),
        ("JWT_ISSUER", &["https://id/"], &["a b"]),
        ("JWT_AUDIENCE", &["ingest"], &["a\u{1}"]),
        ("JWT_LEEWAY_S", &["0", "30", "1m"], &["2h", "-1"]),
        ("ACK_INTERVAL", &["1", "10"], &["0", "ten"]),
        ("MAX_CONNECTIONS", &["1", "1000000"], &["0", "1000001"]),
        ("MAX_CONNECTIONS_PER_IP", &["0", "5"], &["-1"]),
        (
            "MAX_MESSAGE_BYTES",
            &["128", "67108864"],
            &["127", "67108865"],
        ),
        (
            "MAX_RATE_FACTOR",
            &["0", "1", "2.5"],
            &["0.5", "inf", "1001"],
        ),
        ("OUTBOUND_BUFFER_S", &["120", "500ms"], &["0", "2h"]),
        ("HANDSHAKE_TIMEOUT_S", &["10", "500ms"], &["0", "2h"]),
        ("IDLE_TIMEOUT_S", &["60", "1h"], &["0", "25h"]),
        ("MAX_CALL_S", &["14400", "4h"], &["0", "721h"]),
        ("DRAIN_TIMEOUT_S", &["0", "280"], &["25h", "later"]),
        ("LOG_FORMAT", &["text", "json"], &["xml"]),
        (
            "RUST_LOG",
            &["info", "rtaa_ingest=debug,info"],
            &["rtaa_ingest=loud"],
        ),
        ("OPS_TOKEN", &["s3cret"], &["s3 cret", "é"]),
    ];

    #[test]
    fn every_setting_takes_its_good_values_and_names_itself_for_bad_ones() {
        let tested: Vec<&str> = VALUES.iter().map(|(name, ..)| *name).collect();
        assert_eq!(tested, vars::all().map(|var| var.name).collect::<Vec<_>>());
        for (name, good, bad) in VALUES {
            for value in *good {
                assert_eq!(problems(name, value), [], "{name}={value}");
            }
            for value in *bad {
                let problems = problems(name, value);
                assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
                let problem = &problems[0];
                let var = vars::find(name).unwrap();
                let shown = if var.secret { "********" } else { value };
                assert_eq!(
                    (problem.name.as_str(), problem.value.as_deref()),
                    (*name, Some(shown))
                );
                assert!(
                    !problem.wrong.is_empty() && !problem.accepted.is_empty(),
                    "{problem}"
                );
            }
        }
    }

    #[test]
    fn files_come_in_pairs() {
        for (alone, missing) in [
            ("SSL_CERT_PATH", "SSL_KEY_PATH"),
            ("SSL_KEY_PATH", "SSL_CERT_PATH"),
        ] {
            let errors = with(&[(alone, "a.pem")]).unwrap_err().to_string();
            assert!(
                errors.contains(&format!("{alone}=\"a.pem\": {missing} is not set")),
                "{errors}"
            );
        }
    }

    #[test]
    fn exotel_settings_without_exotel_are_a_warning() {
        let tokens = ("EXOTEL_URL_TOKENS", "abc");
        let warns = |pairs: &[(&str, &str)]| {
            with(pairs)
                .unwrap()
                .warnings
                .iter()
                .any(|w| w.starts_with("EXOTEL_URL_TOKENS"))
        };
        assert!(warns(&[tokens]) && !warns(&[tokens, ("SUPPORT_EXOTEL", "true")]));
    }
}
