//! JSON Web Tokens of custom clients (3.4): is this one good, and what does it bind the connection to?
//!
//! Who may connect without one is `admission`. Keys are found by fit: every key whose algorithm is the token's is tried, so
//! a set of keys fetched from elsewhere has its place beside those of the settings. Invariants: the algorithm comes from
//! the key and a token can only agree with it; of a token's header nothing else is used (no `kid`, `jku`, `jwk`, `x5c`);
//! time is an argument; no error holds any part of a token or a key.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use self::{
    claims::Expected,
    keys::{KeyError, PublicKey},
};
use crate::{admission::Claims, secret::Secret};

pub mod claims;
pub mod keys;
pub(crate) mod pem;
pub(crate) mod self_test;
pub mod signing;

/// The keys and claims that a custom client's token is checked against.
#[derive(Debug, Clone)]
pub struct Settings {
    /// One or several PEM public keys, one after another, `\n` escapes and quotes already undone.
    pub public_keys: Option<Secret>,
    pub jwks_url: Option<String>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub leeway: Duration,
}

/// Checks tokens; immutable, made anew when the settings change.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Vec<PublicKey>,
    expected: Expected,
}

/// Why a token does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes: leave out what is not needed")]
    TooLong,
    #[error(
        "not a signed JWT: send header.claims.signature, each in base64url without padding, the first two JSON objects"
    )]
    Malformed,
    #[error("a name appears twice in the token's header or claims: write each once")]
    NameTwice,
    #[error("the token's header has crit, and no extension is known here: sign it without")]
    Critical,
    #[error(
        "no key of JWT_PUBLIC_KEY fits the token's alg: an RSA key takes RS256, P-256 takes ES256, Ed25519 takes EdDSA"
    )]
    Algorithm,
    #[error(
        "the signature is not by any key of JWT_PUBLIC_KEY: sign with the private key that belongs to one of them"
    )]
    BadSignature,
    #[error("the token has no exp: sign one that expires")]
    NoExpiry,
    #[error("the token's {claim} is not a number of seconds since 1970: write it as a JSON number")]
    BadTime { claim: &'static str },
    #[error("the token has expired: get a new one, and compare the clocks if it is new")]
    Expired,
    #[error("the token's nbf lies ahead: wait, or compare the clocks")]
    NotYetValid,
    #[error("the token's iss is not JWT_ISSUER: make both the same")]
    WrongIssuer,
    #[error("the token's aud does not name JWT_AUDIENCE: make both the same")]
    WrongAudience,
    #[error(
        "the token's {claim} cannot be used: a text of 1 to 512 bytes without control characters, or leave it out"
    )]
    BadId { claim: &'static str },
}

impl Verifier {
    /// Reads the keys, after proving that signatures can be checked at all.
    pub fn new(settings: &Settings) -> Result<Self, KeyError> {
        self_test::run()?;
        let text = settings.public_keys.as_ref().ok_or(KeyError::NoKey)?;
        Ok(Self {
            keys: keys::parse(text.expose())?,
            expected: Expected::new(settings),
        })
    }

    /// What the token binds its bearer to, if it holds at this time.
    pub fn verify(&self, token: &str, now_epoch_s: u64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let header = claims::object(&decode(header)?)?;
        let claims = decode(claims)?;
        decode(signature)?;
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let alg = header.get("alg").and_then(|alg| alg.as_str());
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| alg == Some(key.algorithm().name()))
            .peekable();
        if fitting.peek().is_none() {
            return Err(TokenError::Algorithm);
        }
        if !fitting.any(|key| key.signed(message, signature)) {
            return Err(TokenError::BadSignature);
        }
        self.expected.check(&claims::object(&claims)?, now_epoch_s)
    }
}

impl TokenError {
    /// The label under which refusals are counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Malformed | Self::NameTwice => "malformed_token",
            Self::Critical => "token_crit",
            Self::Algorithm => "token_algorithm",
            Self::BadSignature => "bad_signature",
            Self::NoExpiry => "no_expiry",
            Self::BadTime { .. } => "bad_token_time",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::BadId { .. } => "bad_token_id",
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).or(Err(TokenError::Malformed))
}

/// An RS256 token with a dozen claims is about 1 KiB; beyond 16 KiB servers refuse the header line anyway.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::json;

    use super::{keys::Algorithm, signing::SigningKey, *};

    const NOW: u64 = 1_800_000_000;
    const CLAIMS: &str = r#"{"exp":1800000060,"tenant_id":"t","interaction_id":"c"}"#;

    static KEYS: LazyLock<[SigningKey; 3]> = LazyLock::new(|| {
        [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
            .map(|algorithm| SigningKey::generate(algorithm).unwrap())
    });

    fn verifier(keys: &[&SigningKey]) -> Verifier {
        let text: String = keys.iter().map(|key| key.public_pem().unwrap()).collect();
        Verifier::new(&Settings {
            public_keys: Some(Secret::new(text)),
            jwks_url: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
        })
        .unwrap()
    }

    static ALL: LazyLock<Verifier> = LazyLock::new(|| verifier(&KEYS.each_ref()));

    fn with_header(key: &SigningKey, header: &str) -> Result<Claims, TokenError> {
        ALL.verify(&key.sign_text(header, CLAIMS).unwrap(), NOW)
    }

    fn unsigned(header: &str, claims: &str, signature: &[u8]) -> String {
        [header.as_bytes(), claims.as_bytes(), signature]
            .map(|part| URL_SAFE_NO_PAD.encode(part))
            .join(".")
    }

    #[test]
    fn tokens_of_every_algorithm_hold_through_pem_and_back() {
        let claims = json!({"exp": NOW + 60, "tenant_id": "t", "interaction_id": "c"});
        for key in KEYS.iter() {
            let again = SigningKey::from_pem(key.private_pem().unwrap().expose()).unwrap();
            assert_eq!(again.algorithm(), key.algorithm());
            let token = again.sign(&claims).unwrap();
            for verifier in [&*ALL, &verifier(&[key])] {
                let bound = verifier.verify(&token, NOW).unwrap();
                assert_eq!(bound.tenant_id.as_deref(), Some("t"));
                assert_eq!(bound.interaction_id.as_deref(), Some("c"));
                assert_eq!(verifier.verify(&token, NOW + 90), Err(TokenError::Expired));
            }
        }
    }

    #[test]
    fn during_a_rotation_both_keys_hold_and_a_strangers_does_not() {
        let [old, new, stranger] =
            [(); 3].map(|()| SigningKey::generate(Algorithm::Es256).unwrap());
        let both = verifier(&[&old, &KEYS[0], &new]);
        let outcome = |key: &SigningKey| {
            let token = key.sign_text(r#"{"alg":"ES256"}"#, CLAIMS).unwrap();
            both.verify(&token, NOW).map(drop)
        };
        assert_eq!(outcome(&old), Ok(()));
        assert_eq!(outcome(&new), Ok(()));
        assert_eq!(outcome(&stranger), Err(TokenError::BadSignature));
    }

    #[test]
    fn the_token_does_not_choose_the_algorithm() {
        for alg in [
            "none", "None", "NONE", "", "HS256", "RS384", "PS256", "ES384", "es256",
        ] {
            let header = json!({ "alg": alg }).to_string();
            assert_eq!(
                ALL.verify(&unsigned(&header, CLAIMS, b""), NOW),
                Err(TokenError::Algorithm)
            );
            assert_eq!(
                with_header(&KEYS[0], &header),
                Err(TokenError::Algorithm),
                "{alg}"
            );
        }
        for header in [
            "{}",
            r#"{"alg":null}"#,
            r#"{"alg":["ES256"]}"#,
            r#"{"alg":256}"#,
        ] {
            assert_eq!(
                with_header(&KEYS[1], header),
                Err(TokenError::Algorithm),
                "{header}"
            );
        }
        // The RSA key's signature under another type's name: that type's key is asked, and says no.
        for alg in ["ES256", "EdDSA"] {
            let header = json!({ "alg": alg }).to_string();
            assert_eq!(
                with_header(&KEYS[0], &header),
                Err(TokenError::BadSignature)
            );
        }
        let rsa_only = verifier(&[&KEYS[0]]);
        let token = KEYS[1].sign(&json!({"exp": NOW + 60})).unwrap();
        assert_eq!(rsa_only.verify(&token, NOW), Err(TokenError::Algorithm));
    }

    #[test]
    fn the_public_key_is_no_shared_secret() {
        for key in KEYS.iter() {
            let pem = key.public_pem().unwrap();
            let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, pem.as_bytes());
            for alg in ["HS256", key.algorithm().name()] {
                let header = json!({ "alg": alg }).to_string();
                let message = unsigned(&header, CLAIMS, b"");
                let tag = aws_lc_rs::hmac::sign(&secret, message.trim_end_matches('.').as_bytes());
                let token = message + &URL_SAFE_NO_PAD.encode(tag);
                let refused = ALL.verify(&token, NOW).unwrap_err();
                assert!(matches!(
                    refused,
                    TokenError::Algorithm | TokenError::BadSignature
                ));
            }
        }
    }

    #[test]
    fn nothing_else_of_the_header_is_used() {
        let stranger = SigningKey::generate(Algorithm::EdDsa).unwrap();
        for rest in [
            r#""kid":"../../../../dev/null""#,
            r#""kid":"' UNION SELECT 'x""#,
            r#""kid":7"#,
            r#""jku":"https://example.com/keys""#,
            r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#,
            r#""x5c":["MIIB"],"x5u":"file:///etc/passwd""#,
        ] {
            let header = format!(r#"{{"alg":"EdDSA",{rest}}}"#);
            assert!(with_header(&KEYS[2], &header).is_ok(), "{header}");
            assert_eq!(
                with_header(&stranger, &header),
                Err(TokenError::BadSignature)
            );
        }
        for crit in [r#"["exp"]"#, "[]", "null", r#"["b64"],"b64":false"#] {
            let header = format!(r#"{{"alg":"EdDSA","crit":{crit}}}"#);
            assert_eq!(
                with_header(&KEYS[2], &header),
                Err(TokenError::Critical),
                "{header}"
            );
        }
        let twice = r#"{"alg":"none","alg":"EdDSA"}"#;
        assert_eq!(with_header(&KEYS[2], twice), Err(TokenError::NameTwice));
    }

    #[test]
    fn claims_are_read_from_signed_tokens_only_and_judged() {
        let key = &KEYS[1];
        let header = r#"{"alg":"ES256"}"#;
        for (claims, expected) in [
            ("{}", TokenError::NoExpiry),
            (
                r#"{"exp":"1900000000"}"#,
                TokenError::BadTime { claim: "exp" },
            ),
            (r#"{"exp":1,"exp":1900000000}"#, TokenError::NameTwice),
            (
                r#"{"exp":1900000000,"nbf":1800000099}"#,
                TokenError::NotYetValid,
            ),
            (
                r#"{"exp":1900000000,"tenant_id":""}"#,
                TokenError::BadId { claim: "tenant_id" },
            ),
            ("[]", TokenError::Malformed),
        ] {
            let token = key.sign_text(header, claims).unwrap();
            assert_eq!(ALL.verify(&token, NOW), Err(expected), "{claims}");
            let forged = unsigned(header, claims, &[1; 64]);
            assert_eq!(ALL.verify(&forged, NOW), Err(TokenError::BadSignature));
        }
    }

    #[test]
    fn size_and_shape_are_limited() {
        let long = "x".repeat(100_000);
        let token = KEYS[1]
            .sign(&json!({"exp": NOW + 60, "pad": long}))
            .unwrap();
        assert_eq!(ALL.verify(&token, NOW), Err(TokenError::TooLong));
        let deep = "[".repeat(10_000);
        assert_eq!(
            ALL.verify(&unsigned(&deep, CLAIMS, b"x"), NOW),
            Err(TokenError::Malformed)
        );
        let good = KEYS[1].sign(&json!({"exp": NOW + 60})).unwrap();
        for token in ["", ".", "..", "...", "a.b", "\u{0}.\u{0}.\u{0}"] {
            assert!(ALL.verify(token, NOW).is_err(), "{token}");
        }
        for bad in [
            format!("{good}="),
            format!("{good}.x"),
            format!(" {good}"),
            good.replacen('.', "", 1),
        ] {
            assert_eq!(ALL.verify(&bad, NOW), Err(TokenError::Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "\\PC{0,40}|[A-Za-z0-9_-]{0,30}(\\.[A-Za-z0-9_-]{0,30}){0,4}", now: u64) {
            prop_assert!(ALL.verify(&token, now).is_err());
        }

        #[test]
        fn no_signed_text_panics(header in "\\{\"alg\":\"(ES256|none)\"[\\[\\]\\{\\}\",:a0e.-]{0,9}\\}", claims in "\\PC{0,40}|\\{\"exp\":[0-9eE.+-]{1,30}\\}", now: u64) {
            let token = KEYS[1].sign_text(&header, &claims).unwrap();
            drop(ALL.verify(&token, now));
        }

        #[test]
        fn one_changed_character_breaks_a_token(at: prop::sample::Index, to in "[A-Za-z0-9_.-]") {
            let token = KEYS[2].sign_text(r#"{"alg":"EdDSA"}"#, CLAIMS).unwrap();
            let mut changed = token.clone();
            let at = at.index(token.len());
            changed.replace_range(at..=at, &to);
            prop_assert_eq!(ALL.verify(&changed, NOW).is_ok(), changed == token);
        }
    }
}
