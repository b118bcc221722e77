//! The listener and its routes (stub).

use std::{net::IpAddr, path::PathBuf, time::Duration};

/// What the listener and the upgrade need to know.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: IpAddr,
    /// 0 lets the system choose.
    pub port: u16,
    pub tls: Option<TlsFiles>,
    pub max_connections: usize,
    /// 0: no limit.
    pub max_connections_per_ip: usize,
    pub handshake_timeout: Duration,
    pub drain_timeout: Duration,
}

/// PEM files of the certificate chain and its key.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}
