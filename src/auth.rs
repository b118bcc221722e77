//! JSON Web Tokens (stub).

use std::time::Duration;

use crate::secret::Secret;

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
