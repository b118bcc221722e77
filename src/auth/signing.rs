//! Making tokens: private keys, new or from PEM, and signing with them. For the `token` command and for tests.
//!
//! The server never signs, see the module above. Invariant: a private key leaves only through `private_pem`, as a `Secret`.

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{keys::Algorithm, pem};
use crate::secret::Secret;

/// A private key, whose type fixes the algorithm.
pub struct SigningKey(Kind);

/// Why there is no key to sign with, or no signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    #[error("no private key in it: give PEM text that begins with -----BEGIN PRIVATE KEY-----")]
    NoKey,
    #[error("the PEM text is damaged: give it whole, from -----BEGIN to -----END")]
    Damaged,
    #[error("a public key, and a private key is wanted: make a pair with `token keygen --out DIR`")]
    PublicKey,
    #[error(
        "the key is protected by a passphrase: remove it with openssl pkey -in key.pem -out plain.pem"
    )]
    Encrypted,
    #[error(
        "not a key that tokens can be signed with: use RSA of 2048 to 8192 bits, P-256 or Ed25519"
    )]
    Unsupported,
    #[error("the cryptographic library failed: try again, and use another build if it persists")]
    Library,
}

enum Kind {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// A new key; RSA gets 2048 bits.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningError> {
        let kind = match algorithm {
            Algorithm::Rs256 => rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map(Kind::Rsa),
            Algorithm::Es256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Kind::P256)
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate().map(Kind::Ed25519),
        };
        kind.map(Self).or(Err(SigningError::Library))
    }

    /// The first private key of a PEM text: PKCS#8, PKCS#1 (RSA) or SEC1 (P-256).
    pub fn from_pem(text: &str) -> Result<Self, SigningError> {
        let blocks = pem::blocks(text).or(Err(SigningError::Damaged))?;
        let Some(block) = blocks.iter().find(|block| block.is_private_key()) else {
            let public = blocks.iter().any(|b| b.label.ends_with("PUBLIC KEY"));
            let error = if public {
                SigningError::PublicKey
            } else {
                SigningError::NoKey
            };
            return Err(error);
        };
        if block.is_encrypted() {
            return Err(SigningError::Encrypted);
        }
        let der = block.der().ok_or(SigningError::Damaged)?;
        let kind = match block.label {
            "RSA PRIVATE KEY" => rsa::KeyPair::from_der(&der).map(Kind::Rsa),
            "EC PRIVATE KEY" => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
                    .map(Kind::P256)
            }
            _ => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
                .map(Kind::P256)
                .or_else(|_| Ed25519KeyPair::from_pkcs8(&der).map(Kind::Ed25519))
                .or_else(|_| rsa::KeyPair::from_pkcs8(&der).map(Kind::Rsa)),
        };
        kind.map(Self).or(Err(SigningError::Unsupported))
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Kind::Rsa(_) => Algorithm::Rs256,
            Kind::P256(_) => Algorithm::Es256,
            Kind::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> Result<String, SigningError> {
        let header = json!({"alg": self.algorithm().name(), "typ": "JWT"});
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token with a header and claims as they are, however wrong: for tests.
    pub(crate) fn sign_text(&self, header: &str, claims: &str) -> Result<String, SigningError> {
        let message = URL_SAFE_NO_PAD.encode(header) + "." + &URL_SAFE_NO_PAD.encode(claims);
        let signature = self.signature(message.as_bytes())?;
        Ok(message + "." + &URL_SAFE_NO_PAD.encode(signature))
    }

    /// PKCS#8.
    pub fn private_pem(&self) -> Result<Secret, SigningError> {
        let encode = |der: &[u8]| Secret::new(pem::encode("PRIVATE KEY", der));
        match &self.0 {
            Kind::Rsa(key) => key.as_der().map(|der| encode(der.as_ref())),
            Kind::P256(key) => key.to_pkcs8v1().map(|der| encode(der.as_ref())),
            // Version 1, because older OpenSSL does not read version 2.
            Kind::Ed25519(key) => key.to_pkcs8v1().map(|der| encode(der.as_ref())),
        }
        .or(Err(SigningError::Library))
    }

    /// SPKI, what `JWT_PUBLIC_KEY` wants.
    pub fn public_pem(&self) -> Result<String, SigningError> {
        match &self.0 {
            Kind::Rsa(key) => key.public_key().as_der(),
            Kind::P256(key) => key.public_key().as_der(),
            Kind::Ed25519(key) => key.public_key().as_der(),
        }
        .map(|der| pem::encode("PUBLIC KEY", der.as_ref()))
        .or(Err(SigningError::Library))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        match &self.0 {
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
            Kind::P256(key) => key.sign(&random, message).map(|s| s.as_ref().to_vec()),
            Kind::Ed25519(key) => key.try_sign(message).map(|s| s.as_ref().to_vec()),
        }
        .or(Err(SigningError::Library))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.algorithm().name())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{EcPrivateKeyRfc5915Der, Pkcs8V1Der, Pkcs8V2Der},
        signature::ECDSA_P384_SHA384_FIXED_SIGNING,
    };

    use super::*;

    fn algorithm(text: &str) -> Result<Algorithm, SigningError> {
        SigningKey::from_pem(text).map(|key| key.algorithm())
    }

    #[test]
    fn every_usual_form_of_a_private_key_is_read() {
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let sec1: EcPrivateKeyRfc5915Der<'_> = p256.private_key().as_der().unwrap();
        let ed25519 = Ed25519KeyPair::generate().unwrap();
        let ed_v2: Pkcs8V2Der<'_> = ed25519.as_der().unwrap();
        // PKCS#8 puts 26 bytes before the PKCS#1 form of a key of this size.
        let pkcs1 = &rsa.as_ref()[26..];
        let parameters = pem::encode("EC PARAMETERS", &[6, 8, 42, 134, 72, 206, 61, 3, 1, 7]);
        for (label, der, expected) in [
            ("PRIVATE KEY", rsa.as_ref(), Algorithm::Rs256),
            ("RSA PRIVATE KEY", pkcs1, Algorithm::Rs256),
            (
                "PRIVATE KEY",
                p256.to_pkcs8v1().unwrap().as_ref(),
                Algorithm::Es256,
            ),
            ("EC PRIVATE KEY", sec1.as_ref(), Algorithm::Es256),
            (
                "PRIVATE KEY",
                ed25519.to_pkcs8v1().unwrap().as_ref(),
                Algorithm::EdDsa,
            ),
            ("PRIVATE KEY", ed_v2.as_ref(), Algorithm::EdDsa),
        ] {
            let text = parameters.clone() + &pem::encode(label, der);
            assert_eq!(algorithm(&text), Ok(expected), "{label} {expected:?}");
        }
    }

    #[test]
    fn what_is_no_private_key_is_named() {
        let p256 = SigningKey::generate(Algorithm::Es256).unwrap();
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        for (text, expected) in [
            (p256.public_pem().unwrap(), SigningError::PublicKey),
            (
                pem::encode("PRIVATE KEY", p384.to_pkcs8v1().unwrap().as_ref()),
                SigningError::Unsupported,
            ),
            (pem::encode("PRIVATE KEY", &[1]), SigningError::Unsupported),
            (
                pem::encode("ENCRYPTED PRIVATE KEY", &[1]),
                SigningError::Encrypted,
            ),
            (legacy.to_owned(), SigningError::Encrypted),
            (legacy.replace("ENCRYPTED", "MIC"), SigningError::Damaged),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA".to_owned(),
                SigningError::Damaged,
            ),
            (String::new(), SigningError::NoKey),
        ] {
            assert_eq!(algorithm(&text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(EdDSA)");
        assert_eq!(format!("{:?}", key.private_pem().unwrap()), "********");
    }
}
