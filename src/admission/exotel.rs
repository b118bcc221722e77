//! Exotel's admission (3.3): every check that is configured must pass; with none, everybody gets in.
//!
//! Custom clients are the module above. Invariant: a candidate is compared with every secret of a list, in a time that
//! does not tell which one, or how much of it, was right.

use base64::Engine as _;

use super::{BASIC, BEARER, LateToken, Refusal, Request, Settings};
use crate::{client_address, payload::LENIENT, secret::Secret};

/// `basic` is what followed the scheme's name, where the request had Basic credentials.
pub(super) fn admit(
    settings: &Settings,
    request: &Request<'_>,
    basic: Option<&str>,
) -> Result<LateToken, Refusal> {
    if !settings.support_exotel {
        return Err(off(basic));
    }
    address(settings, request)?;
    credentials(settings, basic)?;
    token(settings, request)
}

/// Whether the candidate is one of the secrets. Goes through all of them, whichever fits.
pub(super) fn matches_any(secrets: &[Secret], candidate: &[u8]) -> bool {
    let found = secrets
        .iter()
        .fold(false, |found, secret| found | secret.matches(candidate));
    found && !candidate.is_empty()
}

/// The words of `exotel_auth` in 6.1.
pub(super) fn checks(settings: &Settings) -> String {
    if !settings.support_exotel {
        return "off".to_owned();
    }
    let configured: Vec<&str> = [
        ("ip", settings.allowed_ips.is_empty()),
        ("basic", settings.basic_auth.is_empty()),
        ("token", settings.url_tokens.is_empty()),
    ]
    .into_iter()
    .filter_map(|(name, unset)| (!unset).then_some(name))
    .collect();
    if configured.is_empty() {
        return "open".to_owned();
    }
    configured.join("+")
}

fn off(basic: Option<&str>) -> Refusal {
    match basic {
        Some(_) => Refusal::unauthorized(
            "exotel_off",
            "Basic credentials and SUPPORT_EXOTEL is not true: \
             set SUPPORT_EXOTEL=true to accept Exotel's connections, or send a JWT as Bearer",
        ),
        None => Refusal::unauthorized(
            "no_credentials",
            "no Authorization header and SUPPORT_EXOTEL is not true: \
             set SUPPORT_EXOTEL=true to accept Exotel's connections, or send a JWT",
        ),
    }
    .challenge(BEARER)
}

fn address(settings: &Settings, request: &Request<'_>) -> Result<(), Refusal> {
    if settings.allowed_ips.is_empty() {
        return Ok(());
    }
    let message = match request.client {
        Some(client) if client_address::contains(&settings.allowed_ips, client) => return Ok(()),
        Some(client) => {
            let client = client.to_canonical();
            format!(
                "the address {client} is not in EXOTEL_ALLOWED_IPS: add it, \
                 or if it is your own proxy's, add that to TRUSTED_PROXIES"
            )
        }
        None => "the client's address is unknown and EXOTEL_ALLOWED_IPS is set: \
                 have the proxy send X-Forwarded-For with addresses only"
            .to_owned(),
    };
    Err(Refusal::forbidden("ip_not_allowed", message))
}

fn credentials(settings: &Settings, basic: Option<&str>) -> Result<(), Refusal> {
    if settings.basic_auth.is_empty() {
        return Ok(());
    }
    let Some(basic) = basic else {
        let message = "no Authorization header and EXOTEL_BASIC_AUTH is set: \
                       give Exotel the URL with credentials, wss://KEY:TOKEN@host/path";
        return Err(Refusal::unauthorized("no_credentials", message).challenge(BASIC));
    };
    let pair = LENIENT.decode(basic).unwrap_or_default();
    if matches_any(&settings.basic_auth, &pair) {
        return Ok(());
    }
    let message = "the Basic credentials are no pair of EXOTEL_BASIC_AUTH: \
                   compare KEY:TOKEN in the URL given to Exotel with the setting";
    Err(Refusal::unauthorized("bad_basic", message).challenge(BASIC))
}

fn token(settings: &Settings, request: &Request<'_>) -> Result<LateToken, Refusal> {
    let tokens = &settings.url_tokens;
    if tokens.is_empty() {
        return Ok(LateToken::NotNeeded);
    }
    let right = |candidate: &str| matches_any(tokens, candidate.as_bytes());
    match request.path_token.filter(|token| !token.is_empty()) {
        Some(token) if right(token) => Ok(LateToken::NotNeeded),
        Some(_) => {
            let message = "the token in the URL's path is none of EXOTEL_URL_TOKENS: \
                           compare the URL given to Exotel with the setting";
            Err(Refusal::unauthorized("bad_url_token", message))
        }
        None if request.query_token.is_some_and(right) => Ok(LateToken::NotNeeded),
        None => Ok(LateToken::Awaited),
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Which checks are configured.
    #[derive(Clone, Copy, Debug)]
    struct Configured {
        ip: bool,
        basic: bool,
        token: bool,
    }

    fn settings(configured: Configured) -> Settings {
        let secrets = |names: &[&str]| names.iter().map(|name| Secret::new(*name)).collect();
        let mut settings = Settings {
            support_exotel: true,
            basic_auth: secrets(&["old:pair", "key:to:ken"]),
            allowed_ips: vec![
                "203.0.113.0/24".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ],
            trusted_proxies: Vec::new(),
            url_tokens: secrets(&["first-secret", "second-secret"]),
        };
        if !configured.ip {
            settings.allowed_ips.clear();
        }
        if !configured.basic {
            settings.basic_auth.clear();
        }
        if !configured.token {
            settings.url_tokens.clear();
        }
        settings
    }

    fn all_configurations() -> impl Iterator<Item = Configured> {
        (0..8).map(|bits| Configured {
            ip: bits & 1 != 0,
            basic: bits & 2 != 0,
            token: bits & 4 != 0,
        })
    }

    /// Every combination of right (`Some(true)`), wrong and absent, against every configuration.
    #[test]
    fn every_configured_check_must_pass() {
        let given = [Some(true), Some(false), None];
        let (right, wrong) = (STANDARD.encode("key:to:ken"), STANDARD.encode("key:other"));
        for configured in all_configurations() {
            let settings = settings(configured);
            for (ip, basic, path) in given.into_iter().flat_map(|ip| {
                given
                    .into_iter()
                    .flat_map(move |basic| given.map(|path| (ip, basic, path)))
            }) {
                let request = Request {
                    client: ip.map(|right| {
                        if right { "203.0.113.9" } else { "192.0.2.1" }
                            .parse()
                            .unwrap()
                    }),
                    path_token: path.map(|right| {
                        if right {
                            "second-secret"
                        } else {
                            "third-secret"
                        }
                    }),
                    ..Request::default()
                };
                let sent = basic.map(|is_right| if is_right { right.as_str() } else { &wrong });
                let found = admit(&settings, &request, sent)
                    .map_err(|refusal| (refusal.status, refusal.reason));
                let expected = if configured.ip && ip != Some(true) {
                    Err((403, "ip_not_allowed"))
                } else if configured.basic && basic.is_none() {
                    Err((401, "no_credentials"))
                } else if configured.basic && basic == Some(false) {
                    Err((401, "bad_basic"))
                } else if configured.token && path == Some(false) {
                    Err((401, "bad_url_token"))
                } else if configured.token && path.is_none() {
                    Ok(LateToken::Awaited)
                } else {
                    Ok(LateToken::NotNeeded)
                };
                assert_eq!(found, expected, "{configured:?} {ip:?} {basic:?} {path:?}");
            }
        }
    }

    #[test]
    fn basic_credentials_may_lack_padding_but_nothing_else() {
        let settings = settings(Configured {
            ip: false,
            basic: true,
            token: false,
        });
        let padded = STANDARD.encode("key:to:ken");
        assert!(padded.ends_with('='));
        for (sent, right) in [
            (padded.as_str(), true),
            (padded.trim_end_matches('='), true),
            (&STANDARD.encode("old:pair"), true),
            (&STANDARD.encode("key:to"), false),
            (&STANDARD.encode("key:to:ken "), false),
            (&STANDARD.encode("KEY:to:ken"), false),
            ("key:to:ken", false),
            ("!!!", false),
            ("", false),
            ("====", false),
        ] {
            let found = admit(&settings, &Request::default(), Some(sent));
            assert_eq!(found.is_ok(), right, "{sent}");
            if let Err(refusal) = found {
                assert_eq!((refusal.status, refusal.reason), (401, "bad_basic"));
                assert!(refusal.www_authenticate.unwrap().starts_with("Basic"));
                assert!(sent.is_empty() || !refusal.message.contains(sent));
            }
        }
        let refusal = admit(&settings, &Request::default(), None).unwrap_err();
        assert!(refusal.www_authenticate.unwrap().starts_with("Basic"));
    }

    #[test]
    fn a_token_in_the_query_helps_if_right_and_harms_never() {
        let settings = settings(Configured {
            ip: false,
            basic: false,
            token: true,
        });
        for (path, query, expected) in [
            (None, Some("first-secret"), Ok(LateToken::NotNeeded)),
            (None, Some("wrong"), Ok(LateToken::Awaited)),
            (None, Some(""), Ok(LateToken::Awaited)),
            (Some(""), None, Ok(LateToken::Awaited)),
            (
                Some("first-secret"),
                Some("wrong"),
                Ok(LateToken::NotNeeded),
            ),
            (Some("wrong"), Some("first-secret"), Err("bad_url_token")),
            (Some("first-secre"), None, Err("bad_url_token")),
        ] {
            let request = Request {
                path_token: path,
                query_token: query,
                ..Request::default()
            };
            let found = admit(&settings, &request, None).map_err(|refusal| refusal.reason);
            assert_eq!(found, expected, "{path:?} {query:?}");
        }
        assert!(!matches_any(&[Secret::new("")], b""));
    }

    #[test]
    fn mapped_addresses_are_the_addresses_they_stand_for() {
        let settings = settings(Configured {
            ip: true,
            basic: false,
            token: false,
        });
        for (client, right) in [
            ("::ffff:203.0.113.1", true),
            ("2001:db8::1", true),
            ("::ffff:192.0.2.1", false),
            ("::1", false),
        ] {
            let request = Request {
                client: Some(client.parse().unwrap()),
                ..Request::default()
            };
            assert_eq!(admit(&settings, &request, None).is_ok(), right, "{client}");
        }
    }

    #[test]
    fn the_checks_are_named_as_in_health() {
        let named: Vec<String> = all_configurations()
            .map(|one| checks(&settings(one)))
            .collect();
        let expected = [
            "open",
            "ip",
            "basic",
            "ip+basic",
            "token",
            "ip+token",
            "basic+token",
            "ip+basic+token",
        ];
        assert_eq!(named, expected);
        let mut off = settings(Configured {
            ip: true,
            basic: true,
            token: true,
        });
        off.support_exotel = false;
        assert_eq!(checks(&off), "off");
    }
}
