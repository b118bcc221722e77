//! A key pair for the tests' custom clients, and tokens signed with it. That the service's own
//! `token` command makes tokens that hold is a test in `commands`.

use std::{collections::BTreeMap, sync::OnceLock};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::{Value, json};

/// 2100-01-01, an expiry that no run of the tests reaches.
const FAR: u64 = 4_102_444_800;

/// A private key and its public half as PEM.
pub(crate) struct Pair {
    algorithm: Algorithm,
    private: String,
    pub(crate) public: String,
}

impl Pair {
    pub(crate) fn es256() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self::from(Algorithm::ES256, &key)
    }

    pub(crate) fn ed25519() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        Self::from(Algorithm::EdDSA, &key)
    }

    fn from(algorithm: Algorithm, key: &KeyPair) -> Self {
        Self {
            algorithm,
            private: key.serialize_pem(),
            public: key.public_key_pem(),
        }
    }

    /// A token with exactly these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let pem = self.private.as_bytes();
        let key = match self.algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
            _ => EncodingKey::from_ec_pem(pem),
        };
        let claims: BTreeMap<String, Value> =
            serde_json::from_value(claims.clone()).expect("claims are an object");
        encode(&Header::new(self.algorithm), &claims, &key.expect("a key")).expect("a token")
    }
}

/// The pair whose public half [`crate::rig::Rig`] gives to every service.
pub(crate) fn trusted() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(Pair::es256)
}

/// A token that names nothing.
pub(crate) fn token() -> String {
    trusted().sign(&json!({ "exp": FAR }))
}

/// A token with these claims and a far expiry.
pub(crate) fn token_with(claims: &[(&str, Value)]) -> String {
    let mut all = json!({ "exp": FAR });
    for (name, value) in claims {
        all[*name] = value.clone();
    }
    trusted().sign(&all)
}

/// A token that ran out long ago.
pub(crate) fn expired() -> String {
    trusted().sign(&json!({ "exp": 1_500_000_000 }))
}
