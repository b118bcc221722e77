//! The listening socket and the TLS set-up behind it: everything that can fail before the service is ready.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::{Settings, TlsFiles};

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the key cannot be read: {0}")]
    Key(String),
    #[error("certificate and key do not go together: {0}")]
    Pair(#[from] rustls::Error),
}

/// Binds the address of the settings; `::` takes IPv4 too, and gives way to `0.0.0.0` where IPv6 is off.
pub(super) fn bind(settings: &Settings) -> io::Result<TcpListener> {
    match bind_to(SocketAddr::new(settings.host, settings.port)) {
        Err(error)
            if settings.host == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && error.kind() != io::ErrorKind::AddrInUse =>
        {
            bind_to(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), settings.port))
        }
        result => result,
    }
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Reads certificate chain and key.
pub fn tls_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let shown = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::Certificate(shown(&files.cert, &error)))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::Key(shown(&files.key, &error)))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connections that wait to be accepted: a thousand calls may come back at once after an outage.
const BACKLOG: i32 = 4096;
