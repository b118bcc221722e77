//! A custom client's admission (3.4): its token must hold, and the query must not name another tenant or call.
//!
//! What makes a token hold is `auth`. Invariant: without a key to check with, no token holds.

use super::Claims;
use super::{BEARER, Refusal, Request};
use crate::auth::Verifier;

pub(super) fn admit(
    verifier: Option<&Verifier>,
    request: &Request<'_>,
    token: &str,
) -> Result<Claims, Refusal> {
    let Some(verifier) = verifier else {
        let message = "the request has a JWT and JWT_PUBLIC_KEY is not set: \
                       set it to the public key that belongs to the key tokens are signed with";
        return Err(Refusal::unauthorized("no_jwt_key", message).challenge(BEARER));
    };
    let claims = verifier
        .verify(token, request.now_epoch_s)
        .map_err(|e| Refusal::unauthorized(e.reason(), e.to_string()).challenge(BEARER_INVALID))?;
    if differ(claims.tenant_id.as_deref(), request.query_tenant) {
        let message = "the query names another tenant than the token: \
                       leave tenant_id out of the URL, or get a token for that tenant";
        return Err(Refusal::forbidden("tenant_mismatch", message));
    }
    if differ(claims.interaction_id.as_deref(), request.query_call) {
        let message = "the query names another call than the token: \
                       leave call_sid out of the URL, or get a token for that call";
        return Err(Refusal::forbidden("call_mismatch", message));
    }
    Ok(claims)
}

/// Only two names can differ; an empty one in the query is none.
fn differ(claimed: Option<&str>, asked: Option<&str>) -> bool {
    let asked = asked.filter(|name| !name.is_empty());
    claimed
        .zip(asked)
        .is_some_and(|(claimed, asked)| claimed != asked)
}

const BEARER_INVALID: &str = "Bearer realm=\"rtaa-ingest\", error=\"invalid_token\"";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{
        auth::{self, keys::Algorithm, signing::SigningKey},
        secret::Secret,
    };

    const NOW: u64 = 1_800_000_000;

    fn verifier(key: &SigningKey) -> Verifier {
        Verifier::new(&auth::Settings {
            public_keys: Some(Secret::new(key.public_pem().unwrap())),
            jwks_url: None,
            issuer: None,
            audience: None,
            leeway: Duration::ZERO,
        })
        .unwrap()
    }

    #[test]
    fn claims_bind_what_the_query_names() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let verifier = verifier(&key);
        for (claims, tenant, call, expected) in [
            (json!({}), Some("a"), Some("1"), Ok(())),
            (json!({"tenant_id": "a"}), None, None, Ok(())),
            (json!({"tenant_id": "a"}), Some(""), Some("1"), Ok(())),
            (
                json!({"tenant_id": "a", "interaction_id": "1"}),
                Some("a"),
                Some("1"),
                Ok(()),
            ),
            (
                json!({"tenant_id": "a"}),
                Some("b"),
                None,
                Err("tenant_mismatch"),
            ),
            (
                json!({"tenant_id": "a"}),
                Some("A"),
                None,
                Err("tenant_mismatch"),
            ),
            (
                json!({"tenant_id": "a", "interaction_id": "1"}),
                Some("a"),
                Some("2"),
                Err("call_mismatch"),
            ),
        ] {
            let mut said = claims.clone();
            said["exp"] = (NOW + 60).into();
            let token = key.sign(&said).unwrap();
            let request = Request {
                query_tenant: tenant,
                query_call: call,
                now_epoch_s: NOW,
                ..Request::default()
            };
            let found = admit(Some(&verifier), &request, &token)
                .map(drop)
                .map_err(|refusal| {
                    assert_eq!(refusal.status, 403);
                    refusal.reason
                });
            assert_eq!(found, expected, "{claims} {tenant:?} {call:?}");
        }
    }

    #[test]
    fn a_token_that_does_not_hold_says_why() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let request = Request {
            now_epoch_s: NOW,
            ..Request::default()
        };
        let old = key.sign(&json!({"exp": NOW})).unwrap();
        let refusal = admit(Some(&verifier(&key)), &request, &old).unwrap_err();
        assert_eq!((refusal.status, refusal.reason), (401, "expired"));
        assert_eq!(refusal.www_authenticate, Some(BEARER_INVALID));
        let refusal = admit(None, &request, &old).unwrap_err();
        assert_eq!((refusal.status, refusal.reason), (401, "no_jwt_key"));
        assert!(refusal.message.contains("JWT_PUBLIC_KEY is not set"));
    }
}
