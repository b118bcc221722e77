//! The certificates that a server showed: whether Exotel, which knows the public authorities only, would take them. Pure.
//!
//! Getting them is `tls.rs`'s subject. Dates and trust are told by rustls' own verifier, asked about several moments;
//! names inside the certificates are only for people. Invariant: nothing here decides whom we trust with a secret but
//! `Shown::holds`.

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, Error,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_name},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use webpki::EndEntityCert;

use super::step::Step;

/// What can be told of a chain.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) certificates: usize,
    /// Who issued the server's own.
    pub(super) issuer: String,
    pub(super) is_self_signed: bool,
    /// Where browsers fetch the issuer's certificate when the server does not show it.
    pub(super) issuer_url: Option<String>,
    /// The names that it is for, where ours is not among them.
    pub(super) other_names: Option<Vec<String>>,
    pub(super) not_before_s: Option<u64>,
    pub(super) not_after_s: Option<u64>,
    /// Dates and names aside, whether the public authorities vouch for it.
    pub(super) public: Result<(), Error>,
    /// The same with those of `--ca`.
    pub(super) private: Option<Result<(), Error>>,
    /// All in all.
    pub(super) holds: bool,
}

/// Who vouches for certificates.
#[derive(Debug)]
pub(super) struct Authorities {
    pub(super) public: Arc<WebPkiServerVerifier>,
    pub(super) with_private: Option<Arc<WebPkiServerVerifier>>,
}

impl Authorities {
    /// The one that decides.
    pub(super) fn decisive(&self) -> &Arc<WebPkiServerVerifier> {
        self.with_private.as_ref().unwrap_or(&self.public)
    }

    pub(super) fn look(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Shown {
        let at = |verifier: &WebPkiServerVerifier, moment| {
            verifier
                .verify_server_cert(leaf, others, name, &[], moment)
                .map(|_verified| ())
        };
        let not_after_s = match at(&self.public, UnixTime::since_unix_epoch(FAR)) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => Some(not_after.as_secs()),
            _ => None,
        };
        let not_before_s = match at(&self.public, UnixTime::since_unix_epoch(Duration::ZERO)) {
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) => Some(not_before.as_secs()),
            _ => None,
        };
        // A moment at which its own dates are no objection, so that what else is wrong comes to light.
        let moment = now
            .as_secs()
            .max(not_before_s.unwrap_or(0))
            .min(not_after_s.unwrap_or(u64::MAX).saturating_sub(1));
        let moment = UnixTime::since_unix_epoch(Duration::from_secs(moment));
        let trusted = |verifier: &WebPkiServerVerifier| match at(verifier, moment) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) => {
                Ok(())
            }
            outcome => outcome,
        };
        let parsed = EndEntityCert::try_from(leaf).ok();
        let (subject, issuer) = parsed
            .as_ref()
            .map_or((&[][..], &[][..]), |leaf| (leaf.subject(), leaf.issuer()));
        Shown {
            certificates: others.len() + 1,
            issuer: common_name(issuer),
            is_self_signed: parsed.is_some() && subject == issuer,
            issuer_url: issuer_url(leaf),
            other_names: other_names(leaf, name),
            not_before_s,
            not_after_s,
            public: trusted(&self.public),
            private: self.with_private.as_ref().map(|verifier| trusted(verifier)),
            holds: at(self.decisive(), now).is_ok(),
        }
    }
}

fn other_names(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Option<Vec<String>> {
    let leaf = ParsedCertificate::try_from(leaf).ok()?;
    match verify_server_name(&leaf, name) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => Some(presented),
        Err(_) => Some(Vec::new()),
        Ok(()) => None,
    }
}

/// The verdict on the chain, behind what was seen of the connection.
pub(super) fn judge(seen: &str, shown: &Shown, host: &str, for_exotel: bool, now_s: u64) -> Step {
    let mut faults = Vec::new();
    let mut warnings = Vec::new();
    if let Some(names) = &shown.other_names {
        faults.push((
            format!("the certificate is for {}, not for {host}", list(names)),
            format!("have one issued for {host}, or use the name that it is for in the URL"),
        ));
    }
    dates(shown, now_s, &mut faults, &mut warnings);
    match (&shown.public, &shown.private) {
        (Ok(()), _) => {}
        (Err(_), Some(Ok(()))) => {
            if for_exotel {
                warnings.push((
                    "only the authority of --ca vouches for it".to_owned(),
                    "Exotel does not know that authority: for Exotel, use a certificate of a public one, such as Let's Encrypt".to_owned(),
                ));
            }
        }
        (Err(error), _) => faults.push(untrusted(shown, error)),
    }
    let days = shown.not_after_s.map_or_else(String::new, |end| {
        format!(", good for {} days", end.saturating_sub(now_s) / DAY_S)
    });
    let seen = format!("{seen}, issued by {}{days}", named(&shown.issuer));
    Step::judged("tls", &seen, faults, warnings)
}

fn dates(
    shown: &Shown,
    now_s: u64,
    faults: &mut Vec<(String, String)>,
    warnings: &mut Vec<(String, String)>,
) {
    let renew =
        "renew it, and see why that is not done by itself; SIGHUP has the service read it again";
    match shown.not_after_s {
        Some(end) if end < now_s => faults.push((
            format!("the certificate expired {} days ago", (now_s - end) / DAY_S),
            renew.to_owned(),
        )),
        Some(end) if (end - now_s) / DAY_S < DAYS_MIN => warnings.push((
            format!("the certificate expires in {} days", (end - now_s) / DAY_S),
            renew.to_owned(),
        )),
        _ => {}
    }
    if shown.not_before_s.is_some_and(|begin| begin > now_s) {
        faults.push((
            "the certificate is not valid yet".to_owned(),
            "put the clock of this machine right, or have the certificate issued anew".to_owned(),
        ));
    }
}

fn untrusted(shown: &Shown, error: &Error) -> (String, String) {
    if !matches!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    ) {
        return (
            format!("the certificate does not hold: {error}"),
            "have a new one issued by a public authority".to_owned(),
        );
    }
    if shown.is_self_signed {
        return (
            "the certificate is signed by itself, and nobody vouches for it".to_owned(),
            "use one of a public authority, such as Let's Encrypt; to examine a private one, give it with --ca".to_owned(),
        );
    }
    if let (1, Some(url)) = (shown.certificates, &shown.issuer_url) {
        return (
            format!(
                "the server shows its own certificate alone, without that of its issuer {}",
                named(&shown.issuer)
            ),
            format!(
                "serve the whole chain (fullchain.pem, not cert.pem): browsers fetch the missing one from {url} and hide the fault, Exotel does not"
            ),
        );
    }
    (
        format!("no public authority vouches for {}", named(&shown.issuer)),
        "use a certificate of a public authority; to examine a private one, give its CA with --ca; if this network inspects TLS, try from another".to_owned(),
    )
}

fn list(names: &[String]) -> String {
    // As `DnsName("host")`.
    let bare = |name: &'_ String| name.split('"').nth(1).unwrap_or(name).to_owned();
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(bare).collect();
    match (shown.is_empty(), names.len().saturating_sub(NAMES_SHOWN)) {
        (true, _) => "no host".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn named(name: &str) -> &str {
    if name.is_empty() {
        "somebody unnamed"
    } else {
        name
    }
}

/// The common name, else the organisation, in an encoded distinguished name.
fn common_name(name: &[u8]) -> String {
    [COMMON_NAME, ORGANISATION]
        .iter()
        .find_map(|kind| short_text(behind(name, kind)?.get(1..)?))
        .unwrap_or_default()
}

fn issuer_url(leaf: &[u8]) -> Option<String> {
    let location = behind(leaf, CA_ISSUERS)?;
    short_text(location.strip_prefix(&[URI_TAG])?)
}

/// The text whose length, below 128, is its first byte.
fn short_text(bytes: &[u8]) -> Option<String> {
    let (&length, rest) = bytes.split_first()?;
    let text = rest.get(..usize::from(length)).filter(|_| length < 128)?;
    let printable = |c: &char| !c.is_control();
    Some(
        String::from_utf8_lossy(text)
            .chars()
            .filter(printable)
            .collect(),
    )
}

fn behind<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)?;
    bytes.get(at + mark.len()..)
}

/// Object identifiers with tag and length: 2.5.4.3, 2.5.4.10, 1.3.6.1.5.5.7.48.2.
const COMMON_NAME: &[u8] = &[6, 3, 0x55, 4, 3];
const ORGANISATION: &[u8] = &[6, 3, 0x55, 4, 10];
const CA_ISSUERS: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 2];
const URI_TAG: u8 = 0x86;

/// The last second of the year 9999, which certificates write that never expire.
const FAR: Duration = Duration::from_secs(253_402_300_799);
const DAY_S: u64 = 86_400;
/// Automatic renewal comes at 30 days; at this many it has failed.
const DAYS_MIN: u64 = 14;
const NAMES_SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    const NOW_S: u64 = 1_800_000_000;

    fn good() -> Shown {
        Shown {
            certificates: 2,
            issuer: "R11".into(),
            is_self_signed: false,
            issuer_url: Some("http://r11.i.example/".into()),
            other_names: None,
            not_before_s: Some(NOW_S - 1),
            not_after_s: Some(NOW_S + 60 * DAY_S),
            public: Ok(()),
            private: None,
            holds: true,
        }
    }

    fn judged(shown: &Shown) -> Step {
        judge("TLS 1.3", shown, "a.example.com", true, NOW_S)
    }

    fn unknown() -> Result<(), Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    #[test]
    fn a_good_certificate_says_how_long() {
        let step = judged(&good());
        assert_eq!(
            step,
            Step::ok("tls", "TLS 1.3, issued by R11, good for 60 days")
        );
    }

    #[test]
    fn two_weeks_before_its_end_is_a_warning() {
        let ending = |days: u64| Shown {
            not_after_s: Some(NOW_S + days * DAY_S + 1),
            ..good()
        };
        assert!(!judged(&ending(14)).is_warning());
        assert!(judged(&ending(13)).is_warning());
        let expired = Shown {
            not_after_s: Some(NOW_S - 3 * DAY_S),
            ..good()
        };
        let step = judged(&expired);
        assert!(
            step.status == Status::Failed && step.detail.contains("3 days ago"),
            "{step:?}"
        );
    }

    #[test]
    fn what_only_browsers_repair_is_told_apart() {
        let alone = Shown {
            certificates: 1,
            public: unknown(),
            holds: false,
            ..good()
        };
        let step = judged(&alone);
        assert!(
            step.fix.contains("fullchain") && step.fix.contains("r11.i.example"),
            "{step:?}"
        );
        let own = Shown {
            is_self_signed: true,
            ..alone.clone()
        };
        assert!(judged(&own).detail.contains("by itself"));
        let private = Shown {
            issuer_url: None,
            ..alone
        };
        assert!(judged(&private).fix.contains("--ca"));
    }

    #[test]
    fn a_private_authority_is_no_help_with_exotel() {
        let shown = Shown {
            public: unknown(),
            private: Some(Ok(())),
            ..good()
        };
        assert!(judged(&shown).is_warning());
        let step = judge("TLS 1.3", &shown, "a.example.com", false, NOW_S);
        assert!(step.status == Status::Ok && !step.is_warning());
    }

    #[test]
    fn another_host_is_named() {
        let names = (0..6).map(|n| format!("DnsName(\"host{n}\")")).collect();
        let shown = Shown {
            other_names: Some(names),
            ..good()
        };
        let step = judged(&shown);
        assert!(
            step.detail
                .contains("host3 and 2 more, not for a.example.com"),
            "{step:?}"
        );
    }

    #[test]
    fn names_are_found_in_real_certificates() {
        let issued = rcgen::generate_simple_self_signed(vec!["voice.example".to_owned()]).unwrap();
        let leaf = EndEntityCert::try_from(issued.cert.der()).unwrap();
        assert_eq!(common_name(leaf.issuer()), "rcgen self signed cert");
        assert_eq!(issuer_url(issued.cert.der()), None);
        let mut bytes = CA_ISSUERS.to_vec();
        bytes.extend([URI_TAG, 3, b'a', b'\n', b'c']);
        assert_eq!(issuer_url(&bytes).as_deref(), Some("ac"));
        assert_eq!(issuer_url(&bytes[..12]), None);
    }
}
