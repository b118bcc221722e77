//! Who may open a stream (3.2 to 3.4): one pure function from what a request says to an admission or a refusal.
//!
//! Reading headers off a request, answering it, and waiting for a token that comes late are the server's and the
//! connection's. Invariants: what is not let in by a rule is refused; every configured check must pass; a refusal says what
//! to change, and holds no credential.

use std::net::IpAddr;

use ipnet::IpNet;

use self::credentials::Credentials;
use crate::{auth::Verifier, frame::Sender, secret::Secret};

mod credentials;
mod custom;
mod exotel;

/// How Exotel's connections are let in, and whose word about addresses is taken.
#[derive(Debug, Clone)]
pub struct Settings {
    pub support_exotel: bool,
    /// `KEY:TOKEN` pairs.
    pub basic_auth: Vec<Secret>,
    pub allowed_ips: Vec<IpNet>,
    pub trusted_proxies: Vec<IpNet>,
    pub url_tokens: Vec<Secret>,
}

/// Everything that admission depends on but time's passing; made anew when the settings change.
#[derive(Debug, Clone)]
pub struct Rules {
    settings: Settings,
    /// `None`: no public key is set, and no custom client gets in.
    verifier: Option<Verifier>,
}

/// What a request says about who it is.
#[derive(Clone, Copy, Default)]
pub struct Request<'a> {
    /// The values of every `Authorization` header.
    pub authorization: &'a [&'a [u8]],
    /// The values of every `Sec-WebSocket-Protocol` header, as they came.
    pub subprotocols: &'a [&'a [u8]],
    /// `None`: unknown, see [`crate::client_address`].
    pub client: Option<IpAddr>,
    pub path_token: Option<&'a str>,
    pub query_tenant: Option<&'a str>,
    pub query_call: Option<&'a str>,
    /// Counts as a late token that has come already, if it is right; if it is wrong, one may still come.
    pub query_token: Option<&'a str>,
    pub now_epoch_s: u64,
}

/// Let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub peer: Peer,
    /// The subprotocol to answer with.
    pub subprotocol: Option<&'static str>,
}

/// Who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Exotel { token: LateToken },
    Custom { claims: Claims },
}

/// What binds a connection (3.4). `None`: the token leaves it open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    pub tenant_id: Option<String>,
    pub interaction_id: Option<String>,
}

/// Whether the start event must still bring a token (3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateToken {
    NotNeeded,
    Awaited,
}

/// Not let in: what to answer, and under which label to count it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
    /// In words that say what to change.
    pub message: String,
    pub www_authenticate: Option<&'static str>,
}

/// Whom a request's credentials make it (3.2), right or wrong; `None` where they cannot be read.
pub fn sender_of(authorization: &[&[u8]], subprotocols: &[&[u8]]) -> Option<Sender> {
    Some(match credentials::read(authorization, subprotocols).ok()? {
        Credentials::Jwt { .. } => Sender::Custom,
        Credentials::Basic(_) | Credentials::None => Sender::Exotel,
    })
}

impl Rules {
    pub fn new(settings: Settings, verifier: Option<Verifier>) -> Self {
        Self { settings, verifier }
    }

    /// Decides in the order of 3.2.
    pub fn admit(&self, request: &Request<'_>) -> Result<Admission, Refusal> {
        let credentials = credentials::read(request.authorization, request.subprotocols)?;
        let (basic, subprotocol) = match credentials {
            Credentials::Jwt { token, subprotocol } => {
                let claims = custom::admit(self.verifier.as_ref(), request, token)?;
                let peer = Peer::Custom { claims };
                return Ok(Admission { peer, subprotocol });
            }
            Credentials::Basic(basic) => (Some(basic), None),
            Credentials::None => (None, None),
        };
        let token = exotel::admit(&self.settings, request, basic)?;
        let peer = Peer::Exotel { token };
        Ok(Admission { peer, subprotocol })
    }

    /// Whether a token that came in the path, the query or the start event is one of `EXOTEL_URL_TOKENS`.
    pub fn url_token_matches(&self, candidate: &str) -> bool {
        exotel::matches_any(&self.settings.url_tokens, candidate.as_bytes())
    }

    /// How Exotel's connections are let in, in the words of 6.1.
    pub fn exotel_auth(&self) -> String {
        exotel::checks(&self.settings)
    }

    /// Whether custom clients can get in at all.
    pub fn jwt(&self) -> bool {
        self.verifier.is_some()
    }

    /// Whose `X-Forwarded-For` is believed.
    pub fn trusted_proxies(&self) -> &[IpNet] {
        &self.settings.trusted_proxies
    }
}

/// Who seems to ask: Exotel brings Basic credentials or none, whatever else comes is a custom client's.
pub fn asker(authorization: &[&[u8]], subprotocols: &[&[u8]]) -> Sender {
    match credentials::read(authorization, subprotocols) {
        Ok(Credentials::Basic(_) | Credentials::None) => Sender::Exotel,
        Ok(Credentials::Jwt { .. }) | Err(_) => Sender::Custom,
    }
}

impl Refusal {
    fn unauthorized(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: 401,
            reason,
            message: message.into(),
            www_authenticate: None,
        }
    }

    fn forbidden(reason: &'static str, message: impl Into<String>) -> Self {
        let status = 403;
        Self {
            status,
            ..Self::unauthorized(reason, message)
        }
    }

    fn challenge(self, www_authenticate: &'static str) -> Self {
        Self {
            www_authenticate: Some(www_authenticate),
            ..self
        }
    }
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

const BASIC: &str = "Basic realm=\"rtaa-ingest\", charset=\"UTF-8\"";
const BEARER: &str = "Bearer realm=\"rtaa-ingest\"";

#[cfg(test)]
mod tests {
    use std::{sync::LazyLock, time::Duration};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::auth::{self, keys::Algorithm, signing::SigningKey};

    const NOW: u64 = 1_800_000_000;

    static KEY: LazyLock<SigningKey> =
        LazyLock::new(|| SigningKey::generate(Algorithm::Es256).unwrap());

    fn rules(support_exotel: bool, jwt: bool) -> Rules {
        let verifier = jwt.then(|| {
            Verifier::new(&auth::Settings {
                public_keys: Some(Secret::new(KEY.public_pem().unwrap())),
                jwks_url: None,
                issuer: None,
                audience: None,
                leeway: Duration::ZERO,
            })
        });
        let settings = Settings {
            support_exotel,
            basic_auth: Vec::new(),
            allowed_ips: Vec::new(),
            trusted_proxies: Vec::new(),
            url_tokens: Vec::new(),
        };
        Rules::new(settings, verifier.transpose().unwrap())
    }

    fn token() -> String {
        KEY.sign(&json!({"exp": NOW + 60})).unwrap()
    }

    fn admit(
        rules: &Rules,
        authorization: &[&str],
        subprotocols: &[&str],
    ) -> Result<&'static str, (u16, &'static str)> {
        let authorization: Vec<&[u8]> = authorization.iter().map(|v| v.as_bytes()).collect();
        let subprotocols: Vec<&[u8]> = subprotocols.iter().map(|v| v.as_bytes()).collect();
        let request = Request {
            authorization: &authorization,
            subprotocols: &subprotocols,
            now_epoch_s: NOW,
            ..Request::default()
        };
        match rules.admit(&request) {
            Ok(Admission {
                peer: Peer::Exotel { token },
                subprotocol,
            }) => {
                assert_eq!((token, subprotocol), (LateToken::NotNeeded, None));
                Ok("exotel")
            }
            Ok(Admission {
                peer: Peer::Custom { .. },
                subprotocol,
            }) => Ok(if subprotocol == Some("bearer") {
                "custom by bearer"
            } else {
                "custom"
            }),
            Err(refusal) => {
                assert!(
                    refusal.www_authenticate.is_some()
                        || refusal.reason == "several_authorizations"
                );
                Err((refusal.status, refusal.reason))
            }
        }
    }

    #[test]
    fn every_row_of_the_table_with_each_side_configured_or_not() {
        let good = token();
        let bearer = format!("bEARER {good}");
        let offer = format!("bearer, {good}");
        let custom = |jwt, by| {
            if jwt {
                Ok(by)
            } else {
                Err((401, "no_jwt_key"))
            }
        };
        for (exotel, jwt) in [(false, false), (false, true), (true, false), (true, true)] {
            let rules = rules(exotel, jwt);
            let open = |reason| {
                if exotel {
                    Ok("exotel")
                } else {
                    Err((401, reason))
                }
            };
            let bad = |reason| Err((401, if jwt { reason } else { "no_jwt_key" }));
            for (authorization, subprotocols, expected) in [
                (&[bearer.as_str()][..], &[][..], custom(jwt, "custom")),
                (&[], &[offer.as_str()], custom(jwt, "custom by bearer")),
                (
                    &["Basic azp0"],
                    &[offer.as_str()],
                    custom(jwt, "custom by bearer"),
                ),
                (&["Bearer a.b.c"], &[], bad("malformed_token")),
                (&["Bearer"], &[], bad("malformed_token")),
                (&[], &["bearer, a.b.c"], bad("malformed_token")),
                (&["Basic azp0"], &[], open("exotel_off")),
                (&[], &[], open("no_credentials")),
                (&[], &["audio"], open("no_credentials")),
                (&["Digest x"], &[], Err((401, "scheme"))),
                (
                    &[bearer.as_str(), "Basic azp0"],
                    &[],
                    Err((401, "several_authorizations")),
                ),
            ] {
                let found = admit(&rules, authorization, subprotocols);
                assert_eq!(
                    found, expected,
                    "{exotel} {jwt} {authorization:?} {subprotocols:?}"
                );
            }
            assert_eq!((rules.jwt(), rules.exotel_auth() == "open"), (jwt, exotel));
        }
    }

    #[test]
    fn refusals_and_rules_hold_no_credential() {
        let bearer = format!("Bearer {}x", token());
        let request = Request {
            authorization: &[bearer.as_bytes()],
            path_token: Some("hunter2"),
            now_epoch_s: NOW,
            ..Request::default()
        };
        let mut rules = rules(true, true);
        rules.settings.url_tokens = vec![Secret::new("swordfish")];
        let refusal = rules.admit(&request).unwrap_err();
        let printed = format!("{request:?} {refusal:?} {refusal} {rules:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("swordfish"));
        assert!(!printed.contains(bearer.trim_start_matches("Bearer ")));
        assert!(rules.url_token_matches("swordfish") && !rules.url_token_matches("sword"));
    }

    proptest! {
        #[test]
        fn no_request_panics(
            authorization in prop::collection::vec("(Bearer |Basic |)\\PC{0,30}", 0..3),
            raw in prop::collection::vec(any::<u8>(), 0..30),
            path in prop::option::of("\\PC{0,9}"),
            client: Option<IpAddr>,
        ) {
            let mut headers: Vec<&[u8]> = authorization.iter().map(String::as_bytes).collect();
            if raw.len() % 2 == 0 {
                headers.push(&raw);
            }
            let mut rules = rules(true, true);
            rules.settings.basic_auth = vec![Secret::new("key:token")];
            let request = Request {
                authorization: &headers,
                subprotocols: &[&raw],
                client,
                path_token: path.as_deref(),
                ..Request::default()
            };
            prop_assert!(rules.admit(&request).is_err(), "no random request has the credentials");
        }
    }
}
