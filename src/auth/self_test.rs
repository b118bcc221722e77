//! Known answers: proves at start that checking signatures works in this build, before the first caller depends on it.
//!
//! The library behind it picks its cryptography when the program is built, and panics at the first token where that went
//! wrong; so the choice is fixed here, and tried. The keys' private halves were thrown away, the token expired in 1970.
//! Invariant: nothing here trusts anything for longer than the test.

use super::keys::{self, KeyError};

/// Checks one right and one wrong signature of each algorithm.
pub(crate) fn run() -> Result<(), KeyError> {
    // The process may have fixed it earlier, by an earlier call or elsewhere: what counts is whether it works.
    let _already = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    for (pem, message, signature) in ANSWERS {
        let name = |key: &keys::PublicKey| key.algorithm().name();
        let [key] = keys::parse(pem)?.try_into().or(Err(KeyError::NoKey))?;
        let other = format!("{message}A");
        if !key.signed(message, signature) || key.signed(&other, signature) {
            let algorithm = name(&key);
            return Err(KeyError::SelfTest { algorithm });
        }
    }
    Ok(())
}

/// A public key, what was signed, and the signature.
const ANSWERS: [(&str, &str, &str); 3] = [
    (
        "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAsLsLqDRVcxJTtK/V6tum
GMSFthCTM7D1OSSV394UwyJmXEdG85H70jeN5LQyhnJzGGeTYHP5wHGicNrTJCGK
uUHaik7ldSSOTsJuO8j8YDXR04J/VXtVv/X2hHRFJbPf4YmL5STWBowldndItLTo
3fTtA3NDPDDlZlR+S42ypHwsrTezk2w8Sun+8jjerGjgEZsW6I47DcKuktl2ZuL+
apVRVdKlhsHxR4Pxb60h03oe3D+yj3uLOmnGGD9cAuLBkRFqevBq0vggOkn9dFnQ
pkSZl8G+Ol6mrbvXM89s9fTjt7CCG8N7FmHLZMe+EbsKgIqd6vu9uBtro4Uvo7EF
4QIDAQAB
-----END PUBLIC KEY-----",
        "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjF9",
        "mzlAySCmmqDcc_h7ziLRTVpu9Qra7BJoEg-uxvl_pYGDH4tkuSAdguWpN50LsD4yDkXKVqJTcLKMKlK1qTClC9\
         Mqz27FmHL2tTkg2f6ulZOxfX8k_rOIj7fsvSHA-aytIDKirKIx5M8c8YDuw5sHXmp7kDYR5ZqhaJ_V2dfCwVcI\
         O60JrGhiCNSjvh7Iy2q9FPfdWtJNl2XsHR8D_it_RHiKnELENjmLZRMH7N7_yc7ysNW_bBhpfLCxOEuZO_rI_r\
         j_DGiP0JX-_SKaumxI850C8vl6LXJBPdHmJzTSkZz019SS7UbqJ285um2O3xJis2KcxIR1hcNUpef6AOIOtQ",
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEm1t/PizQrAstRWePq0tMRaml00gb
NAY1XgYZJ7TVITQ/HlSBeCsLCUQC+qRApPzTsmoJDHF3n0tOiF8K/Pl7rw==
-----END PUBLIC KEY-----",
        "eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjF9",
        "6KizOYYp9qO38E--p8DaSF00vrpEArIRTg3YI70MXDLoMdV_R5anTOQ5TJPbENdW0SryH-TV8K1NhK4X642g4w",
    ),
    (
        "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEArBYDmVGtW+gkqw4c2EXtDyFF+sslKVCbEfPcQBYcYeM=
-----END PUBLIC KEY-----",
        "eyJhbGciOiJFZERTQSJ9.eyJleHAiOjF9",
        "E5FknF2-ooXjS5RU0Ncx5P9KvrKtg7Id2DB-r6MCGy5SyRAP2styOcwKgIlloCYSrVPNvw6wymOirZWpCWsvBw",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_answers_and_may_be_asked_again() {
        assert_eq!(run(), Ok(()));
        assert_eq!(run(), Ok(()));
        let algorithms: Vec<_> = ANSWERS
            .iter()
            .map(|(pem, ..)| keys::parse(pem).unwrap()[0].algorithm().name())
            .collect();
        assert_eq!(algorithms, ["RS256", "ES256", "EdDSA"]);
    }
}
