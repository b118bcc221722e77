//! TLS on the connections that we accept: versions and ciphers, sessions that are taken up again, and their limits.
//!
//! Where rustls chooses well it is left alone: TLS 1.2 and 1.3, authenticated ciphers and forward secrecy alone, and of
//! those the one that the client wants most, since a telephone without AES knows best. Invariant: a peer that reads
//! nothing makes us keep no more than `UNSENT_BYTES_MAX` for it here.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::TlsFiles;

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

/// Reads certificate chain and key.
pub fn config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
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
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

/// The handshake, as a future.
pub(super) fn accept(acceptor: &TlsAcceptor, stream: TcpStream) -> Accept<TcpStream> {
    acceptor.accept_with(stream, |session| {
        session.set_buffer_limit(Some(UNSENT_BYTES_MAX));
    })
}

/// A client that comes back with its ticket spares us the signature, which is dear with an RSA key, and gets the next one.
/// What a ticket stands for is kept here and serves once; of the 256 that are kept, a second one per connection would only
/// push other clients' out. (In the ticket itself it would cost no memory. But whoever learned the key of the tickets could
/// then read what was recorded over TLS 1.2.)
const TICKETS: usize = 1;
/// One record of the largest size. Before it, as much waits in the WebSocket; behind it, the kernel's own.
const UNSENT_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use rustls::{
        CipherSuite, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion,
        RootCertStore, ServerConnection,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::ServerName,
    };

    use super::*;

    /// What a deployment has, and who trusts its certificate.
    fn served() -> (Arc<ServerConfig>, RootCertStore) {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles {
            cert: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
        };
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        (config(&files).unwrap(), roots)
    }

    fn client(roots: RootCertStore, provider: CryptoProvider) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(builder.with_no_client_auth())
    }

    fn shake_hands(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
    ) -> (ServerConnection, ClientConnection) {
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            let mut flight = flight.as_slice();
            while server.read_tls(&mut flight).unwrap() > 0 {
                server.process_new_packets().unwrap();
            }
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight).unwrap();
            }
            let mut flight = flight.as_slice();
            while client.read_tls(&mut flight).unwrap() > 0 {
                client.process_new_packets().unwrap();
            }
        }
        (server, client)
    }

    /// Version, cipher and group that a client with this provider gets.
    fn agreed(
        server: &Arc<ServerConfig>,
        roots: &RootCertStore,
        provider: CryptoProvider,
    ) -> (ProtocolVersion, CipherSuite, NamedGroup) {
        let client = client(roots.clone(), provider);
        let (server, _) = shake_hands(server, &client);
        (
            server.protocol_version().unwrap(),
            server.negotiated_cipher_suite().unwrap().suite(),
            server.negotiated_key_exchange_group().unwrap().name(),
        )
    }

    #[test]
    fn a_client_gets_what_it_wants_most() {
        let (server, roots) = served();
        let agreed = |provider| agreed(&server, &roots, provider);
        assert_eq!(
            agreed(aws_lc_rs::default_provider()),
            (
                ProtocolVersion::TLSv1_3,
                CipherSuite::TLS13_AES_256_GCM_SHA384,
                NamedGroup::X25519
            )
        );
        let (mut no_aes, mut wary, mut old) = (
            aws_lc_rs::default_provider(),
            aws_lc_rs::default_provider(),
            aws_lc_rs::default_provider(),
        );
        no_aes.cipher_suites.rotate_left(2);
        assert_eq!(
            agreed(no_aes).1,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        );
        wary.kx_groups
            .insert(0, aws_lc_rs::kx_group::X25519MLKEM768);
        assert_eq!(agreed(wary).2, NamedGroup::X25519MLKEM768);
        old.cipher_suites.retain(|suite| suite.tls13().is_none());
        assert_eq!(
            agreed(old),
            (
                ProtocolVersion::TLSv1_2,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                NamedGroup::X25519
            )
        );
    }

    #[test]
    fn what_is_recorded_today_cannot_be_read_with_a_key_of_tomorrow() {
        let (server, _) = served();
        for suite in &server.crypto_provider().cipher_suites {
            let name = format!("{:?}", suite.suite());
            assert!(
                name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"),
                "{name}"
            );
            assert!(
                name.contains("_GCM_") || name.contains("_POLY1305_"),
                "{name}"
            );
        }
        // Tickets that carry the session would be readable for as long as their key is known.
        assert!(!server.ticketer.enabled());
        assert_eq!(server.max_early_data_size, 0);
    }

    #[test]
    fn a_ticket_comes_with_each_connection_and_saves_the_signature() {
        let (server, roots) = served();
        let client = client(roots, aws_lc_rs::default_provider());
        for kind in [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ] {
            let (_, client) = shake_hands(&server, &client);
            assert_eq!(client.handshake_kind(), Some(kind));
            assert_eq!(client.tls13_tickets_received(), 1);
        }
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_has_little_kept_for_it() {
        let (server, roots) = served();
        let client = client(roots, aws_lc_rs::default_provider());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap());
        let (dialled, accepted) = tokio::join!(dialled, listener.accept());
        let connector = tokio_rustls::TlsConnector::from(client);
        let name = ServerName::try_from(NAME).unwrap();
        let (unread, server) = tokio::join!(
            connector.connect(name, dialled.unwrap()),
            accept(&TlsAcceptor::from(server), accepted.unwrap().0)
        );
        let (_unread, mut server) = (unread.unwrap(), server.unwrap());
        let (_, session) = server.get_mut();
        let mut kept = 0;
        for _ in 0..8 {
            kept += session.writer().write(&[0; UNSENT_BYTES_MAX]).unwrap();
        }
        assert_eq!(kept, UNSENT_BYTES_MAX);
    }

    const NAME: &str = "ingest.test";
}
