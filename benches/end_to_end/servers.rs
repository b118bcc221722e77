//! Who is measured: our server as it is shipped, with all that production has on, and whoever else the rivals add.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use crate::{
    load::door::{Door, PASSWORD},
    machine,
    process::{Process, Redis, free_port, tied, wait_until},
};

/// How to start one.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub name: &'static str,
    pub kind: Kind,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(&'static str, &'static str)>,
}

/// What can be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours, with the settings of a deployment.
    Ours,
    /// The least that the way of the data can cost; no server.
    Floor,
    /// What others would write.
    Rival,
}

/// A server at work, and the Redis behind it. The server ends first, so that it can say its last words.
pub(crate) struct Stage {
    pub server: Process,
    pub redis: Redis,
    pub door: Door,
    _folder: TempDir,
}

/// Gathers for a millisecond, which is the default.
pub(crate) const OURS: &str = "rtaa-ingest";
/// Writes at once.
pub(crate) const AT_ONCE: &str = "rtaa-ingest-at-once";

pub(crate) fn ours() -> [Server; 2] {
    let program = Path::new(env!("CARGO_BIN_EXE_rtaa-ingest"));
    [(OURS, vec![]), (AT_ONCE, vec![("PUBLISH_GATHER_US", "0")])].map(|(name, environment)| {
        Server {
            name,
            kind: Kind::Ours,
            program: program.to_path_buf(),
            arguments: Vec::new(),
            environment,
        }
    })
}

impl Server {
    /// Starts it on its CPU, with a Redis of its own; `tls` where callers are to come by wss.
    pub(crate) fn start(&self, target: &Path, tls: bool) -> Result<Stage> {
        let redis = Redis::start(target)?;
        let folder = tempfile::tempdir_in(target)?;
        let port = free_port()?;
        let mut command = tied(&self.program);
        command.args(&self.arguments);
        command.env_clear();
        for kept in ["PATH", "HOME"] {
            command.envs(std::env::vars_os().find(|(name, _)| name == kept));
        }
        command.env("PORT", port.to_string());
        command.env("HOST", "127.0.0.1");
        command.env("REDIS_URL", format!("redis://127.0.0.1:{}", redis.port));
        command.env("RUST_LOG", "warn");
        command.env("SUPPORT_EXOTEL", "true");
        let mut certificate = None;
        match self.kind {
            Kind::Ours => {
                command.env("EXOTEL_BASIC_AUTH", PASSWORD);
                command.env("JOURNAL_DIR", folder.path().join("journal"));
                command.current_dir(folder.path());
                if tls {
                    certificate = Some(issue(folder.path(), &mut command)?);
                }
            }
            // They trim to a number of entries: more than any run has, since what is trimmed cannot be read back.
            Kind::Floor | Kind::Rival => {
                command.env("PUBSUB_ADAPTER", "redis_streams");
                command.env("AUDIO_STREAM_MAXLEN", "8000000");
            }
        }
        command.envs(self.environment.iter().copied());
        let log = target.join(format!("{}.log", self.name));
        let mut server = machine::on_the_servers_cpu(|| Process::start(command, &log))
            .with_context(|| format!("{} does not start", self.name))?;
        let door = Door::at(port, certificate.as_ref())?;
        wait_until("it is healthy", &mut server, || {
            door.is_healthy().then_some(())
        })
        .with_context(|| self.name.to_owned())?;
        Ok(Stage {
            server,
            redis,
            door,
            _folder: folder,
        })
    }
}

/// A certificate for this run, told to the server.
fn issue(folder: &Path, command: &mut Command) -> Result<CertificateDer<'static>> {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, issued.cert.pem())?;
    std::fs::write(&key, issued.signing_key.serialize_pem())?;
    command.env("SSL_CERT_PATH", certificate);
    command.env("SSL_KEY_PATH", key);
    Ok(issued.cert.der().clone())
}
