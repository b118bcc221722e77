//! The public keys that tokens are checked with: from PEM text to keys, each bound to the one algorithm of its type.
//!
//! Tokens are not read here, see the module above. Invariant: a key never checks a signature of any algorithm but its own,
//! and no error quotes the text it was made from.

use aws_lc_rs::{
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
        ParsedPublicKey, VerificationAlgorithm,
    },
};
use jsonwebtoken::DecodingKey;

use super::pem;

/// The three algorithms there are, one per type of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

/// A public key and its algorithm.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why the text of `JWT_PUBLIC_KEY` gives no keys. `nth` counts its PEM blocks from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("no public key in it: give PEM text that begins with -----BEGIN PUBLIC KEY-----")]
    NoKey,
    #[error("PEM block {nth} is damaged: give it whole, from -----BEGIN to -----END")]
    Damaged { nth: usize },
    #[error(
        "PEM block {nth} is a certificate, and a public key is wanted: openssl x509 -pubkey -noout -in cert.pem"
    )]
    Certificate { nth: usize },
    #[error(
        "PEM block {nth} is a private key, and a public key is wanted: openssl pkey -pubout -in private.pem; \
         keep the private key with those who sign tokens"
    )]
    PrivateKey { nth: usize },
    #[error("PEM block {nth} is {label}, and PUBLIC KEY is wanted")]
    OtherBlock { nth: usize, label: String },
    #[error("PEM block {nth} is an RSA key of {bits} bits: use one of 2048 to 8192")]
    RsaSize { nth: usize, bits: usize },
    #[error(
        "PEM block {nth} is an RSA key for PSS alone: use a plain one, as openssl genrsa makes it"
    )]
    RsaPss { nth: usize },
    #[error("PEM block {nth} is an elliptic curve key of another curve: use P-256 (prime256v1)")]
    Curve { nth: usize },
    #[error("PEM block {nth} holds no key of a known type: use RSA, P-256 or Ed25519")]
    Unknown { nth: usize },
    #[error("more than {KEYS_MAX} keys: remove those that are no longer used")]
    TooMany,
    #[error("checking {algorithm} signatures does not work in this build: use another build")]
    SelfTest { algorithm: &'static str },
}

/// Every key of a text, in its order.
pub(crate) fn parse(text: &str) -> Result<Vec<PublicKey>, KeyError> {
    let Ok(blocks) = pem::blocks(text) else {
        let nth = text.matches("-----BEGIN ").count();
        return Err(KeyError::Damaged { nth });
    };
    if blocks.is_empty() {
        return Err(KeyError::NoKey);
    }
    if blocks.len() > KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    blocks
        .iter()
        .zip(1..)
        .map(|(block, nth)| key_of(block, nth))
        .collect()
}

impl Algorithm {
    /// As it stands in a token's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl PublicKey {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the base64url `signature` is this key's over `message`.
    pub(crate) fn signed(&self, message: &str, signature: &str) -> bool {
        let algorithm = match self.algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
            Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        };
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm)
            .unwrap_or(false)
    }
}

fn key_of(block: &pem::Block<'_>, nth: usize) -> Result<PublicKey, KeyError> {
    match block.label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        _ if block.is_private_key() => return Err(KeyError::PrivateKey { nth }),
        label if label.ends_with("CERTIFICATE") => return Err(KeyError::Certificate { nth }),
        label => {
            let label = label.to_owned();
            return Err(KeyError::OtherBlock { nth, label });
        }
    }
    let der = block.der().ok_or(KeyError::Damaged { nth })?;
    // The library would take it for a plain RSA key, which it says it is not.
    if der.windows(RSA_PSS.len()).take(16).any(|at| at == RSA_PSS) {
        return Err(KeyError::RsaPss { nth });
    }
    if let Ok(key) = rsa::PublicKey::from_der(&der) {
        let bits = rsa_bits(&key);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaSize { nth, bits });
        }
        let key = DecodingKey::from_rsa_der(&der);
        return Ok(PublicKey {
            algorithm: Algorithm::Rs256,
            key,
        });
    }
    let is = |algorithm: &'static dyn VerificationAlgorithm| {
        ParsedPublicKey::new(algorithm, &der).is_ok()
    };
    if is(&ECDSA_P256_SHA256_FIXED) {
        let key = DecodingKey::from_ec_der(&der);
        return Ok(PublicKey {
            algorithm: Algorithm::Es256,
            key,
        });
    }
    if is(&ED25519) {
        let key = DecodingKey::from_ed_der(&der);
        return Ok(PublicKey {
            algorithm: Algorithm::EdDsa,
            key,
        });
    }
    if is(&ECDSA_P384_SHA384_FIXED) || is(&ECDSA_P521_SHA512_FIXED) {
        return Err(KeyError::Curve { nth });
    }
    Err(KeyError::Unknown { nth })
}

fn rsa_bits(key: &rsa::PublicKey) -> usize {
    let modulus = key.modulus();
    let bytes = modulus.big_endian_without_leading_zero();
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    (bytes.len() * 8).saturating_sub(usize::try_from(unused).unwrap_or(0))
}

/// Below, a key can be broken; above, checking one signature costs a noticeable part of a second.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The object identifier id-RSASSA-PSS (RFC 4055); the one of the key's type stands at its very beginning.
const RSA_PSS: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 10];

/// A rotation needs two; every key that fits is tried for every token, so their number is a cost that strangers cause.
const KEYS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::AsDer as _,
        signature::{
            ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
            EcdsaSigningAlgorithm, KeyPair as _,
        },
    };

    use super::*;
    use crate::auth::signing::SigningKey;

    fn algorithms(text: &str) -> Result<Vec<Algorithm>, KeyError> {
        let keys = parse(text)?;
        Ok(keys.iter().map(PublicKey::algorithm).collect())
    }

    fn curve(algorithm: &'static EcdsaSigningAlgorithm) -> String {
        let key = EcdsaKeyPair::generate(algorithm).unwrap();
        pem::encode("PUBLIC KEY", key.public_key().as_der().unwrap().as_ref())
    }

    #[test]
    fn several_keys_of_every_type_in_one_text() {
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let public = |algorithm| {
            let key = SigningKey::generate(algorithm).unwrap();
            key.public_pem().unwrap()
        };
        let text = pem::encode("RSA PUBLIC KEY", rsa.public_key().as_ref())
            + "# the old one\n"
            + &pem::encode("PUBLIC KEY", rsa.public_key().as_der().unwrap().as_ref())
            + &public(Algorithm::Es256)
            + &public(Algorithm::EdDsa);
        let expected = [
            Algorithm::Rs256,
            Algorithm::Rs256,
            Algorithm::Es256,
            Algorithm::EdDsa,
        ];
        assert_eq!(algorithms(&text).unwrap(), expected);
        assert_eq!(algorithms(&text.repeat(9)), Err(KeyError::TooMany));
    }

    #[test]
    fn what_is_no_public_key_is_named() {
        let good = SigningKey::generate(Algorithm::Es256).unwrap();
        let public = good.public_pem().unwrap();
        let private = good.private_pem().unwrap();
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
        let mut pss = rsa.public_key().as_der().unwrap().as_ref().to_vec();
        let plain = [&RSA_PSS[..10], &[1]].concat();
        let at = pss.windows(11).position(|found| found == plain).unwrap();
        pss[at + 10] = RSA_PSS[10];
        let nth = 2;
        for (text, expected) in [
            (certificate.cert.pem(), KeyError::Certificate { nth }),
            (private.expose().to_owned(), KeyError::PrivateKey { nth }),
            (
                private.expose().replace("PRIVATE", "EC PRIVATE"),
                KeyError::PrivateKey { nth },
            ),
            (
                curve(&ECDSA_P384_SHA384_FIXED_SIGNING),
                KeyError::Curve { nth },
            ),
            (
                curve(&ECDSA_P256K1_SHA256_FIXED_SIGNING),
                KeyError::Unknown { nth },
            ),
            (pem::encode("PUBLIC KEY", &pss), KeyError::RsaPss { nth }),
            (SMALL_RSA.to_owned(), KeyError::RsaSize { nth, bits: 1024 }),
            (
                pem::encode("PUBLIC KEY", &[1, 2, 3]),
                KeyError::Unknown { nth },
            ),
            (
                public.replace("-----END PUBLIC KEY-----", ""),
                KeyError::Damaged { nth },
            ),
            (public.replacen('M', "?", 1), KeyError::Damaged { nth }),
            (
                pem::encode("DH PARAMETERS", &[1, 2, 3]),
                KeyError::OtherBlock {
                    nth,
                    label: "DH PARAMETERS".into(),
                },
            ),
        ] {
            assert_eq!(
                algorithms(&format!("{public}{text}")),
                Err(expected),
                "{text}"
            );
        }
        for text in ["", "secret", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"] {
            assert_eq!(algorithms(text), Err(KeyError::NoKey), "{text}");
        }
    }

    #[test]
    fn a_private_key_is_never_echoed() {
        let private = SigningKey::generate(Algorithm::EdDsa)
            .unwrap()
            .private_pem()
            .unwrap();
        let said = parse(private.expose()).unwrap_err();
        let line = private.expose().lines().nth(1).unwrap();
        assert!(!format!("{said} {said:?}").contains(line));
        assert!(said.to_string().contains("a public key is wanted"));
    }

    const SMALL_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDmaICkDokaeupXs/l85P6o7+xT
8fvBeIvfnrFqXCXQfXio+YwFtAqiXrGwTWD6qswbyvi2eytV7LGq/ysVSTPQwNoV
/TohZmPNSnmjEaVgbK0KwKjOaEdYBU43endSh3PoXFWpRSZu2hJVCtQWTdfBk42t
KlYxVeHPK4NYrbUmwQIDAQAB
-----END PUBLIC KEY-----";
}
