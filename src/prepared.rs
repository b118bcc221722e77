//! The configuration with the documents that it names: keys and certificates, read and checked before anything starts.
//!
//! Single settings are `config/`'s. Invariant: all that is wrong is reported at once (1.3), whether in a setting or in
//! a document.

use std::{path::Path, sync::Arc};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    admission::Rules,
    auth::{Verifier, keys},
    config::{
        Config,
        error::{ConfigErrors, Documents, Problem},
    },
    publisher::Destination,
    server::{TlsFiles, tls},
};

/// What the configuration names and what has been read and checked: keys, certificates.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) config: Config,
    pub(crate) rules: Arc<Rules>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
}

impl Prepared {
    /// From the environment of this process.
    pub fn load() -> Result<Self, ConfigErrors> {
        match Config::load() {
            Ok(config) => Self::new(config),
            Err(mut errors) => {
                let Documents {
                    public_keys,
                    server_tls,
                    ..
                } = errors.documents.as_ref();
                let mut problems = redis_documents(&errors.documents);
                if let Some(Err(error)) =
                    public_keys.as_ref().map(|keys| keys::parse(keys.expose()))
                {
                    problems.push(bad_keys(&error));
                }
                if let Some(Err(error)) = server_tls.as_ref().map(tls::config) {
                    problems.push(bad_certificate("SSL_CERT_PATH, SSL_KEY_PATH", &error));
                }
                errors.problems.extend(problems);
                Err(errors)
            }
        }
    }

    /// Reads the files that the configuration names.
    pub fn new(config: Config) -> Result<Self, ConfigErrors> {
        let mut problems = match &config.publisher.destination {
            Destination::Redis(_) => redis_documents(&config.documents),
            Destination::Journal { .. } => Vec::new(),
        };
        let verifier = config.auth.public_keys.as_ref();
        let verifier = verifier.map(|_| Verifier::new(&config.auth)).transpose();
        if let Err(error) = &verifier {
            problems.push(bad_keys(error));
        }
        let tls = config.server.tls.as_ref().map(tls::config).transpose();
        if let Err(error) = &tls {
            problems.push(bad_certificate("SSL_CERT_PATH, SSL_KEY_PATH", error));
        }
        match (verifier, tls) {
            (Ok(verifier), Ok(tls)) if problems.is_empty() => {
                let rules = Arc::new(Rules::new(config.admission.clone(), verifier));
                Ok(Self { config, rules, tls })
            }
            _ => Err(ConfigErrors {
                problems,
                documents: Box::default(),
            }),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// What is wrong with the certificates and keys for `rediss://`.
pub(crate) fn redis_documents(documents: &Documents) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(path) = &documents.redis_ca
        && let Err(wrong) = authorities(path)
    {
        problems.push(Problem {
            name: "REDIS_TLS_CA".into(),
            value: Some(path.display().to_string()),
            wrong,
            accepted: "a PEM file with the certificates of a private CA".into(),
        });
    }
    // Chain and key of a client have the same form as a server's.
    let client: Option<&TlsFiles> = documents.redis_tls.as_ref();
    if let Some(Err(error)) = client.map(tls::config) {
        problems.push(bad_certificate("REDIS_TLS_CERT, REDIS_TLS_KEY", &error));
    }
    problems
}

fn authorities(path: &Path) -> Result<(), String> {
    let count = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    if count == 0 {
        return Err("holds no certificate".into());
    }
    Ok(())
}

fn bad_keys(error: &keys::KeyError) -> Problem {
    Problem {
        name: "JWT_PUBLIC_KEY".into(),
        value: Some("********".into()),
        wrong: error.to_string(),
        accepted: "PEM public keys: RSA, P-256 or Ed25519".into(),
    }
}

fn bad_certificate(names: &str, error: &tls::TlsError) -> Problem {
    Problem {
        name: names.into(),
        value: None,
        wrong: error.to_string(),
        accepted: "PEM files of a certificate chain and its key".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    #[test]
    fn the_documents_of_redis_are_read_only_where_they_matter() {
        let names = |scheme: &str, adapter: &str| {
            let config = with(&[
                ("REDIS_URL", &format!("{scheme}://127.0.0.1:1")),
                ("REDIS_TLS_CA", "/missing/ca.pem"),
                ("REDIS_TLS_CERT", "/missing/cert.pem"),
                ("REDIS_TLS_KEY", "/missing/key.pem"),
                ("PUBSUB_ADAPTER", adapter),
            ]);
            let problems = Prepared::new(config.unwrap())
                .map_or_else(|errors| errors.problems, |_| Vec::new());
            problems
                .into_iter()
                .map(|problem| problem.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("rediss", "redis_streams"),
            ["REDIS_TLS_CA", "REDIS_TLS_CERT, REDIS_TLS_KEY"]
        );
        assert!(names("redis", "redis_streams").is_empty());
        assert!(names("rediss", "journal").is_empty());
    }

    #[test]
    fn a_file_without_certificates_is_no_authority() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert_eq!(authorities(&path), Err("holds no certificate".into()));
    }
}
