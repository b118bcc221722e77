//! The TLS handshake, made so that a bad certificate is seen whole instead of ending it.
//!
//! What a chain is worth is in `certificate.rs`. Invariant: a connection whose certificate does not hold is only used by
//! whoever asks `Shown::holds` first, and sends no secret over it otherwise.

use std::{io, path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, Error, InvalidMessage, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    certificate::{self, Authorities, Shown},
    network::timed_out,
    step::Step,
};
use crate::clock;

/// Looks at every certificate and refuses none.
#[derive(Debug)]
struct Witness {
    authorities: Authorities,
    shown: Mutex<Option<Shown>>,
}

/// How TLS connections to the server are made, and what the first of them showed.
pub(super) struct Handshake {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
    pub(super) step: Step,
    pub(super) holds: bool,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.shown.lock() = Some(self.authorities.look(leaf, others, name, now));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.authorities.decisive();
        verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verifier = self.authorities.decisive();
        verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.decisive().supported_verify_schemes()
    }
}

/// Reads the authorities in a PEM file.
pub fn read_authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no certificate in it: it must be PEM".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

/// Shakes hands over a connection that is open.
pub(super) async fn examine(
    tcp: TcpStream,
    host: &str,
    private: &[CertificateDer<'static>],
    for_exotel: bool,
    limit: Duration,
) -> Result<Handshake, Step> {
    let failed = |detail: String| Step::failed(NAME, detail, "see what the URL's host is");
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| failed(format!("no certificate could name {host}: {error}")))?;
    let witness = witness(private).map_err(|error| failed(error.to_string()))?;
    let config = settings(&witness).map_err(|error| failed(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let shaking = connector.connect(name.clone(), tcp);
    let stream = timeout(limit, shaking)
        .await
        .unwrap_or_else(|_elapsed| Err(timed_out()))
        .map_err(|error| no_handshake(&error))?;
    let (_, connection) = stream.get_ref();
    let version = connection.protocol_version();
    let version = version
        .and_then(|version| version.as_str())
        .unwrap_or("TLS");
    let seen = version
        .replace("TLSv1_", "TLS 1.")
        .replace("TLSv1.", "TLS 1.");
    let Some(shown) = witness.shown.lock().take() else {
        return Err(failed("the server showed no certificate".to_owned()));
    };
    let now_s = clock::epoch_ms() / 1_000;
    Ok(Handshake {
        step: certificate::judge(&seen, &shown, host, for_exotel, now_s),
        holds: shown.holds,
        connector,
        name,
    })
}

fn witness(private: &[CertificateDer<'static>]) -> Result<Arc<Witness>, Error> {
    let public = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let with_private = if private.is_empty() {
        None
    } else {
        let mut roots = public.clone();
        for certificate in private {
            roots.add(certificate.clone())?;
        }
        Some(verifier(roots)?)
    };
    Ok(Arc::new(Witness {
        authorities: Authorities {
            public: verifier(public)?,
            with_private,
        },
        shown: Mutex::new(None),
    }))
}

fn verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

fn settings(witness: &Arc<Witness>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Witness>::clone(witness);
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Why there is none.
fn no_handshake(error: &io::Error) -> Step {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<Error>());
    let (detail, fix) = match (error.kind(), cause) {
        (io::ErrorKind::TimedOut, _) => (
            "the server accepts the connection and then says nothing".to_owned(),
            "see what listens on this port: a proxy whose target is away, or a server that speaks something else",
        ),
        (_, Some(Error::InvalidMessage(InvalidMessage::InvalidContentType))) => (
            "what answers on this port does not speak TLS".to_owned(),
            "use ws:// for it here, and for Exotel put a proxy with TLS before it or set SSL_CERT_PATH and SSL_KEY_PATH",
        ),
        (_, Some(Error::AlertReceived(alert))) => (
            format!("the server ended the handshake with the alert {alert:?}"),
            match alert {
                AlertDescription::UnrecognisedName => {
                    "the server does not know this host name: set it up there"
                }
                AlertDescription::ProtocolVersion => "have the server speak TLS 1.2 or 1.3",
                AlertDescription::HandshakeFailure => {
                    "the server has no certificate for this name, or none of the usual ciphers"
                }
                AlertDescription::CertificateRequired => {
                    "the server asks for a client's certificate, and Exotel has none: turn that off"
                }
                _ => "see the server's own log",
            },
        ),
        (io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset, _) => (
            "the server closed the connection in the handshake".to_owned(),
            "see the server's own log: a proxy without a target for this name closes so, and so does a firewall",
        ),
        _ => (
            format!("the handshake failed: {error}"),
            "see the server's own log",
        ),
    };
    Step::failed(NAME, detail, fix)
}

const NAME: &str = "tls";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_that_fails_says_why() {
        let of = |error: Error| no_handshake(&io::Error::new(io::ErrorKind::InvalidData, error));
        let plain = of(InvalidMessage::InvalidContentType.into());
        assert!(plain.detail.contains("does not speak TLS"), "{plain:?}");
        let unknown = of(Error::AlertReceived(AlertDescription::UnrecognisedName));
        assert!(unknown.fix.contains("host name"), "{unknown:?}");
        assert!(no_handshake(&timed_out()).detail.contains("says nothing"));
        let closed = no_handshake(&io::ErrorKind::UnexpectedEof.into());
        assert!(closed.detail.contains("closed"), "{closed:?}");
    }

    #[test]
    fn authorities_are_read_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        assert!(read_authorities(&file).is_err());
        let issued = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        std::fs::write(&file, issued.cert.pem()).unwrap();
        let read = read_authorities(&file).unwrap();
        assert_eq!(read.len(), 1);
        assert!(witness(&read).unwrap().authorities.with_private.is_some());
        assert!(read_authorities(&folder.path().join("none")).is_err());
    }
}
