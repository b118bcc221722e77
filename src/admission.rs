//! Who may open a stream (stub).

use ipnet::IpNet;

use crate::secret::Secret;

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
