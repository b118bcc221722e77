//! A connection to Redis of one's own, a lane's or a reader's: dialled, encrypted, logged in, and ready for raw commands.
//!
//! The redis crate reads the URL and the replies; the bytes go over a socket of ours, because its asynchronous API
//! takes no prepared commands. Nothing here retries: whoever owns it does.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, Value};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{RedisSettings, fence::Identity, redis_error::Class, reply};
use crate::secret::Secret;

/// How to reach the server of one lane.
#[derive(Clone)]
pub(crate) struct Dial {
    info: ConnectionInfo,
    tls: Option<Arc<ClientConfig>>,
    /// Sent on every new connection after the login; an error with this word at its front is no error.
    setup: Vec<(Vec<u8>, &'static str)>,
}

/// A connection in use.
pub(crate) struct Link {
    pub(super) reader: ReadHalf<Box<dyn Io>>,
    pub(super) writer: WriteHalf<Box<dyn Io>>,
    /// `None` where the server does not tell.
    pub(super) identity: Option<Identity>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("REDIS_URL cannot be read: {0}")]
    Url(String),
    #[error("{path} cannot be used: {what}", path = .path.display())]
    Pem { path: PathBuf, what: String },
    #[error("TLS to Redis cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("cannot connect to Redis at {address}: {error}")]
    Connect { address: String, error: io::Error },
    #[error("Redis did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the connection to Redis broke: {0}")]
    Broken(#[from] io::Error),
    #[error("Redis refused {step}: {error}; {advice}", advice = Class::of(.error).advice())]
    Refused { step: &'static str, error: String },
    #[error("what answers at REDIS_URL is not Redis: {0}")]
    Protocol(String),
}

/// What a lane reads from and writes to.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl RedisSettings {
    /// Host and port, or the path of a socket: what may be shown of the URL.
    pub fn address(&self) -> Result<String, LinkError> {
        Ok(read_url(self)?.0.addr().to_string())
    }
}

impl Dial {
    /// Reads the URL and the certificates, and remembers which consumer groups to make on `stream`.
    pub(crate) fn new(
        settings: &RedisSettings,
        stream: &str,
        groups: &[String],
    ) -> Result<Self, LinkError> {
        let (info, encrypted) = read_url(settings)?;
        let tls = encrypted.then(|| client_config(settings)).transpose()?;
        let group = |name: &String| {
            let command = redis::cmd("XGROUP")
                .arg("CREATE")
                .arg(stream)
                .arg(name)
                .arg("0")
                .arg("MKSTREAM")
                .get_packed_command();
            (command, "BUSYGROUP")
        };
        Ok(Self {
            info,
            tls,
            setup: groups.iter().map(group).collect(),
        })
    }

    /// Connects and logs in.
    pub(crate) async fn connect(&self) -> Result<Link, LinkError> {
        match timeout(TIMEOUT, self.connect_unbounded()).await {
            Ok(result) => result,
            Err(_) => Err(LinkError::Timeout),
        }
    }

    async fn connect_unbounded(&self) -> Result<Link, LinkError> {
        let address = self.info.addr().to_string();
        let stream = self
            .open()
            .await
            .map_err(|error| LinkError::Connect { address, error })?;
        let (reader, writer) = tokio::io::split(stream);
        let mut link = Link {
            reader,
            writer,
            identity: None,
        };
        let login = self.info.redis_settings();
        if let Some(password) = login.password() {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = login.username() {
                auth.arg(user);
            }
            auth.arg(password);
            link.ask("the login", &auth.get_packed_command(), "")
                .await?;
        }
        if login.db() != 0 {
            let select = redis::cmd("SELECT").arg(login.db()).get_packed_command();
            link.ask("the database", &select, "").await?;
        }
        let name = redis::cmd("CLIENT")
            .arg("SETNAME")
            .arg("rtaa-ingest")
            .get_packed_command();
        link.ask("the connection's name", &name, "").await?;
        for (command, harmless) in &self.setup {
            link.ask("the consumer group", command, harmless).await?;
        }
        link.identity = Identity::of(&mut link).await?;
        Ok(link)
    }

    async fn open(&self) -> io::Result<Box<dyn Io>> {
        let (host, port) = match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => (host, *port),
            ConnectionAddr::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            _ => return Err(io::Error::other("this kind of address is not supported")),
        };
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

#[cfg(test)]
impl Dial {
    /// How to reach a server that a test plays.
    pub(super) fn to(listener: &tokio::net::TcpListener, stream: &str) -> Self {
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let settings = RedisSettings {
            urls: vec![Secret::new(url)],
            topology: super::Topology::Standalone,
            tls_ca: None,
            tls_client: None,
        };
        Self::new(&settings, stream, &[]).unwrap()
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("address", &self.info.addr().to_string())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Sends one command and waits for its reply, which may be an error of Redis's.
    pub(crate) async fn request(&mut self, command: &redis::Cmd) -> Result<Value, LinkError> {
        match timeout(TIMEOUT, self.exchange(&command.get_packed_command())).await {
            Ok(reply) => reply,
            Err(_) => Err(LinkError::Timeout),
        }
    }

    /// Sends a command whose reply is read as it comes, with [`Link::read_some`].
    pub(crate) async fn send(&mut self, command: &redis::Cmd) -> Result<(), LinkError> {
        let bytes = command.get_packed_command();
        let sent = async {
            self.writer.write_all(&bytes).await?;
            self.writer.flush().await
        };
        match timeout(TIMEOUT, sent).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(LinkError::Timeout),
        }
    }

    /// Waits for more of a reply, however long that takes.
    ///
    /// # Cancel safety
    /// What has come is in `bytes`, or still to be read.
    pub(crate) async fn read_some(&mut self, bytes: &mut bytes::BytesMut) -> Result<(), LinkError> {
        if self.reader.read_buf(bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// The same for a step that must not fail, but with an error that begins with `harmless`.
    async fn ask(
        &mut self,
        step: &'static str,
        command: &[u8],
        harmless: &str,
    ) -> Result<(), LinkError> {
        match self.exchange(command).await? {
            Value::ServerError(error) if harmless.is_empty() || error.code() != harmless => {
                let error = reply::words(&error);
                Err(LinkError::Refused { step, error })
            }
            _ => Ok(()),
        }
    }

    async fn exchange(&mut self, command: &[u8]) -> Result<Value, LinkError> {
        self.writer.write_all(command).await?;
        self.writer.flush().await?;
        let mut bytes = bytes::BytesMut::with_capacity(1024);
        loop {
            if let Some(length) = reply::length(&bytes, reply::DEPTH_MAX) {
                let whole = bytes.get(..length).unwrap_or_default();
                return redis::parse_redis_value(whole)
                    .map_err(|error| LinkError::Protocol(error.to_string()));
            }
            if bytes.len() > REPLY_BYTES_MAX {
                return Err(LinkError::Protocol("it talks without end".to_owned()));
            }
            if self.reader.read_buf(&mut bytes).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// What the first URL says, and whether the connection is encrypted.
fn read_url(settings: &RedisSettings) -> Result<(ConnectionInfo, bool), LinkError> {
    let url = settings
        .urls
        .first()
        .map(Secret::expose)
        .unwrap_or_default();
    let (plain, encrypted) = match url.split_once("://") {
        Some(("rediss", rest)) => (format!("redis://{rest}"), true),
        _ => (url.to_owned(), false),
    };
    let info = plain
        .as_str()
        .into_connection_info()
        .map_err(|error| LinkError::Url(error.detail().unwrap_or("it is no URL").to_owned()))?;
    Ok((info, encrypted))
}

fn client_config(settings: &RedisSettings) -> Result<Arc<ClientConfig>, LinkError> {
    let pem = |path: &PathBuf, error: rustls::pki_types::pem::Error| LinkError::Pem {
        path: path.clone(),
        what: error.to_string(),
    };
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = &settings.tls_ca {
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| pem(path, error))? {
            roots.add(certificate.map_err(|error| pem(path, error))?)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some(files) = &settings.tls_client else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem(&files.cert, error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| pem(&files.key, error))?;
    Ok(Arc::new(builder.with_client_auth_cert(chain, key)?))
}

/// How long to wait before the next attempt: half to all of `backoff`, so that lanes and instances do not come back in
/// step.
pub(super) fn jittered(backoff: Duration) -> Duration {
    let spread = uuid::Uuid::new_v4().as_u128() % 512;
    backoff / 2 + backoff * u32::try_from(spread).unwrap_or(0) / 1024
}

/// A Redis that needs longer than this to take a connection is as good as away.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A page of entries that are read back: 500 of them, each up to a message's size.
const REPLY_BYTES_MAX: usize = 256 << 20;
