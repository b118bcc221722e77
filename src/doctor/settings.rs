//! What an examination is asked to look at, and which of it must not come out again.
//!
//! Invariant: whatever is secret in here is in `Settings::secrets`, in every way in which it is sent.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::{step::Secrets, upgrade::Shown, url};
use crate::{
    publisher::{self, Destination},
    secret::Secret,
    simulate::target::Target,
};

/// What to examine, and with what.
#[derive(Debug)]
pub struct Settings {
    /// As it was given to Exotel.
    pub url: Secret,
    /// `KEY:TOKEN`, taken before that of the URL.
    pub basic: Option<Secret>,
    /// Of a custom client.
    pub token: Option<Secret>,
    /// Who vouches for certificates beside the public authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// How frames are published, or why that is not known here.
    pub publishing: Result<publisher::Settings, String>,
    /// How many calls are expected at a time.
    pub calls: Option<u64>,
    /// For each step over the network.
    pub limit: Duration,
}

impl Settings {
    pub(super) fn secrets(&self, target: Option<&Target>) -> Secrets {
        let mut secrets = Secrets::default();
        let given = [&self.basic, &self.token];
        let in_url = target.and_then(|target| target.userinfo.as_ref());
        for secret in given.into_iter().flatten().chain(in_url) {
            secrets.add(secret.expose());
            if let Some((_, token)) = secret.expose().split_once(':') {
                secrets.add(token);
                // As it is sent, with or without what fills it up.
                let sent = base64_simd::STANDARD.encode_to_string(secret.expose());
                secrets.add(sent.trim_end_matches('='));
            }
        }
        if let Some(target) = target {
            for segment in url::secret_segments(&target.path) {
                secrets.add(segment);
            }
            for (name, value) in target.parameters() {
                if name != "sample-rate" {
                    secrets.add(&value);
                }
            }
            let written = target.query.as_deref().unwrap_or_default().split('&');
            for (name, value) in written.filter_map(|pair| pair.split_once('=')) {
                if name != "sample-rate" {
                    secrets.add(value);
                }
            }
        }
        if let Ok(publishing) = &self.publishing
            && let Destination::Redis(redis) = &publishing.destination
        {
            for url in &redis.urls {
                secrets.add(password(url.expose()));
            }
        }
        secrets
    }

    /// What is shown at the door.
    pub(super) fn shown(&self, target: &Target) -> Shown {
        match (
            &self.token,
            self.basic.as_ref().or(target.userinfo.as_ref()),
        ) {
            (Some(token), _) => Shown::Bearer(token.clone()),
            (None, Some(pair)) => Shown::Basic(pair.clone()),
            (None, None) => Shown::Nothing,
        }
    }
}

/// What stands between the colon and the `@` of a URL.
fn password(url: &str) -> &str {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let (userinfo, _) = rest.rsplit_once('@').unwrap_or_default();
    let (_, password) = userinfo.split_once(':').unwrap_or_default();
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_found_in_a_url() {
        assert_eq!(password("redis://user:a@b@host:1/0"), "a@b");
        assert_eq!(password("rediss://:hunter2@host"), "hunter2");
        assert_eq!(password("redis://host:6379"), "");
    }
}
