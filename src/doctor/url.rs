//! The URL as it was given to Exotel: what of it Exotel, or the service, would trip over. Pure.
//!
//! Where it leads is `network.rs`'s subject. Invariant: no part of the URL that may be a secret is in a verdict.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::step::Step;
use crate::simulate::target::{Target, TargetError};

/// Who is to use the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Exotel,
    /// With a JSON Web Token.
    Custom,
}

/// The URL taken apart, where it can be, and what is to be said of it.
pub(super) fn examine(url: &str, client: Client) -> (Option<Target>, Step) {
    let url = url.trim_matches('"');
    if let Some(step) = unusable(url) {
        return (None, step);
    }
    match Target::parse(url) {
        Ok(target) => {
            let step = judge(url, &target, client);
            (Some(target), step)
        }
        Err(TargetError::Scheme) if url.starts_with("http") => {
            let step = Step::failed(
                NAME,
                "it begins with http, and calls are brought to wss:// URLs",
                "write it with wss:// in the applet; an https:// URL is for Exotel's dynamic setting only, and must answer with JSON {\"url\":\"wss://…\"}",
            );
            (None, step)
        }
        Err(error) => (
            None,
            Step::failed(NAME, "it is no WebSocket URL", error.to_string()),
        ),
    }
}

fn unusable(url: &str) -> Option<Step> {
    let (detail, fix) = if url.contains(char::is_whitespace) {
        (
            "there is a space or a line break in it",
            "remove it: it often comes with copying",
        )
    } else if !url.is_ascii() {
        (
            "there are characters in it that no URL may hold",
            "write them as percent escapes; look for quotation marks and dashes that an editor has changed",
        )
    } else if url.contains('#') {
        (
            "there is a # in it, and nothing behind it is ever sent",
            "write a # that belongs to a token as %23",
        )
    } else {
        return None;
    };
    Some(Step::failed(NAME, detail, fix))
}

fn judge(url: &str, target: &Target, client: Client) -> Step {
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    if client == Client::Exotel {
        for_exotel(url, target, &mut faults, &mut warnings);
    }
    if !is_known(&target.path) {
        warnings.push(told(
            "the path is not /v1/ingest",
            "give the path /v1/ingest, with a URL token behind it if EXOTEL_URL_TOKENS is set, unless a proxy changes it",
        ));
    }
    if target.path.contains(['{', '}']) {
        warnings.push(told(
            "there are braces in the path, which are sent as they stand",
            "replace the placeholder: Exotel names the call in its first message, and nothing is needed in the URL",
        ));
    }
    if !target.tls && is_public(&target.host) {
        warnings.push(told(
            "ws:// to a public host: whoever is on the way hears the call and reads the credentials",
            "use wss://; many platforms answer ws:// with a redirect, which Exotel takes as a failure",
        ));
    }
    let scheme = if target.tls { "wss" } else { "ws" };
    let seen = format!(
        "{scheme}://{}{}{}{}",
        if target.userinfo.is_some() {
            "********@"
        } else {
            ""
        },
        target.authority,
        shown_path(&target.path),
        if target.query.is_some() { "?…" } else { "" }
    );
    Step::judged(NAME, &seen, faults, warnings)
}

fn for_exotel(
    url: &str,
    target: &Target,
    faults: &mut Vec<(String, String)>,
    warnings: &mut Vec<(String, String)>,
) {
    if url.len() >= URL_CHARS {
        faults.push((
            format!(
                "it has {} characters, and Exotel takes fewer than {URL_CHARS}",
                url.len()
            ),
            "shorten it".to_owned(),
        ));
    }
    let parameters = target.parameters();
    let length = target.query.as_ref().map_or(0, String::len);
    if parameters.len() > PARAMETERS_MAX || length > PARAMETER_CHARS_MAX {
        faults.push((
            format!("{} parameters with {length} characters in all", parameters.len()),
            format!("Exotel takes at most {PARAMETERS_MAX}, and {PARAMETER_CHARS_MAX} characters in all: remove some"),
        ));
    }
    for (name, value) in &parameters {
        match name.as_str() {
            "sample-rate" if !["8000", "16000", "24000"].contains(&value.as_str()) => {
                faults.push(told(
                    "the sample-rate is not one that Exotel has",
                    "use sample-rate=8000, 16000 or 24000, or leave it away for 8000",
                ));
            }
            "sample_rate" | "sampleRate" | "samplerate" => warnings.push(told(
                "the rate's parameter is spelled otherwise than Exotel reads it",
                "write it sample-rate",
            )),
            _ => {}
        }
    }
    if let Some(userinfo) = &target.userinfo
        && !userinfo.expose().contains(':')
    {
        faults.push(told(
            "what stands before the @ has no colon",
            "write KEY:TOKEN@ there, and a colon or an @ within them as %3A or %40",
        ));
    }
    if !is_public(&target.host) {
        warnings.push(told(
            "Exotel cannot reach this host, which is only known here",
            "examine the URL that was given to Exotel, from a machine outside",
        ));
    }
}

fn told(seen: &str, advice: &str) -> (String, String) {
    (seen.to_owned(), advice.to_owned())
}

fn is_known(path: &str) -> bool {
    let below = |front: &str| {
        path.strip_prefix(front)
            .is_some_and(|rest| !rest.contains('/'))
    };
    path == "/v1/ingest" || below("/v1/ingest/") || below("/ws/voicebot/")
}

/// In a path that is none of ours a token may stand anywhere.
fn shown_path(path: &str) -> &str {
    if !is_known(path) {
        return "/…";
    }
    match url_token(path) {
        Some(_) => "/v1/ingest/********",
        None => path,
    }
}

/// What of the path may be a token.
pub(super) fn secret_segments(path: &str) -> Vec<&str> {
    if is_known(path) {
        return url_token(path).into_iter().collect();
    }
    path.split('/')
        .filter(|segment| segment.len() >= TOKEN_CHARS_MIN && *segment != "ingest")
        .collect()
}

/// The segment behind `/v1/ingest/`, as it is written.
pub(super) fn url_token(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/ingest/")
        .filter(|token| !token.is_empty())
}

/// Whether somebody elsewhere could mean the same host by it.
pub(super) fn is_public(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_public_address(address);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_local = LOCAL_ENDS.iter().any(|end| host.ends_with(end));
    host.contains('.') && !is_local
}

pub(super) fn is_public_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4 == Ipv4Addr::UNSPECIFIED
                || is_shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6 == Ipv6Addr::UNSPECIFIED)
        }
    }
}

const NAME: &str = "url";
/// Of a path that is misspelt, what is shorter is part of it.
const TOKEN_CHARS_MIN: usize = 5;
const LOCAL_ENDS: [&str; 6] = [
    ".local",
    ".localhost",
    ".internal",
    ".lan",
    ".test",
    ".home.arpa",
];
/// Exotel's documents, for applets and for the API.
const URL_CHARS: usize = 600;
const PARAMETERS_MAX: usize = 3;
const PARAMETER_CHARS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    fn exotel(url: &str) -> Step {
        examine(url, Client::Exotel).1
    }

    #[test]
    fn a_good_url_is_shown_without_its_secrets() {
        let step = exotel("wss://KEY:hunter2@voice.example.com/v1/ingest/s3cret?sample-rate=16000");
        assert_eq!(
            (step.status, step.fix.as_str()),
            (Status::Ok, ""),
            "{step:?}"
        );
        assert_eq!(
            step.detail,
            "wss://********@voice.example.com/v1/ingest/********?…"
        );
    }

    #[test]
    fn a_token_in_a_misspelt_path_stays_hidden() {
        let url = "wss://a.example.com/v1/ingset/s3cret";
        assert!(!format!("{:?}", exotel(url)).contains("s3cret"));
        assert_eq!(secret_segments("/v1/ingset/s3cret"), ["ingset", "s3cret"]);
        assert_eq!(secret_segments("/v1/ingest/abc"), ["abc"]);
        assert!(secret_segments("/v1/ingest").is_empty() && secret_segments("/").is_empty());
    }

    #[test]
    fn what_exotel_refuses_is_a_failure() {
        let long = format!("wss://a.example.com/v1/ingest/{}", "x".repeat(600));
        for (url, word) in [
            ("wss://a.example.com/v1/ ingest", "space"),
            ("wss://a.example.com/v1/ingest\n", "space"),
            ("wss://a.example.com/v1/ingest/a#b", "%23"),
            ("wss://a.example.com/v1/ingest\u{201d}", "percent"),
            ("https://a.example.com/v1/ingest", "dynamic"),
            ("a.example.com/v1/ingest", "wss://"),
            ("wss://nocolon@a.example.com/v1/ingest", "KEY:TOKEN"),
            ("wss://a.example.com/v1/ingest?sample-rate=44100", "8000"),
            ("wss://a.example.com/v1/ingest?a=1&b=2&c=3&d=4", "at most 3"),
            (long.as_str(), "600"),
        ] {
            let step = exotel(url);
            assert_eq!(step.status, Status::Failed, "{url}");
            let said = format!("{} {}", step.detail, step.fix);
            assert!(
                said.contains(word) && !said.contains("nocolon"),
                "{url}: {said}"
            );
        }
    }

    #[test]
    fn what_is_odd_is_a_warning() {
        for (url, word) in [
            ("ws://a.example.com/v1/ingest", "redirect"),
            ("wss://a.example.com/", "/v1/ingest"),
            ("wss://a.example.com/ws/voicebot/{CallSid}", "placeholder"),
            (
                "wss://a.example.com/v1/ingest?sample_rate=8000",
                "sample-rate",
            ),
            ("ws://localhost:8443/v1/ingest", "outside"),
            ("wss://192.168.1.7/v1/ingest", "outside"),
        ] {
            let step = exotel(url);
            assert!(
                step.is_warning() && step.fix.contains(word),
                "{url}: {step:?}"
            );
        }
    }

    #[test]
    fn a_custom_client_may_be_next_door() {
        let (target, step) = examine(
            "ws://localhost:8443/v1/ingest?a=1&b=2&c=3&d=4",
            Client::Custom,
        );
        assert!(target.is_some() && step.fix.is_empty(), "{step:?}");
    }

    #[test]
    fn addresses_are_public_or_not() {
        for (host, public) in [
            ("8.8.8.8", true),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("::1", false),
            ("fd00::1", false),
            ("2001:4860:4860::8888", true),
            ("::ffff:10.0.0.1", false),
            ("host", false),
            ("host.internal", false),
            ("host.example.com.", true),
        ] {
            assert_eq!(is_public(host), public, "{host}");
        }
    }
}
