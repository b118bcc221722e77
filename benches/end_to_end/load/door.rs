//! Opens connections: TCP, TLS where the server has it, and the upgrade; many at a time, as callers come.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};

use super::caller::Caller;

#[derive(Clone)]
pub(crate) struct Door {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// `certificate` is the server's, and trusted.
    pub(crate) fn at(port: u16, certificate: Option<&CertificateDer<'static>>) -> Result<Self> {
        let tls = certificate.map(trusting).transpose()?;
        Ok(Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            tls,
        })
    }

    /// Whether `/health` says that the service works.
    pub(crate) fn is_healthy(&self) -> bool {
        let ask = || -> Result<String> {
            let (mut tcp, mut tls) = self.dial()?;
            let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let mut answer = Vec::new();
            // Without an end of its own TLS calls the end an error; what came is what counts.
            if let Some(tls) = &mut tls {
                let mut stream = rustls::Stream::new(tls.as_mut(), &mut tcp);
                stream.write_all(request)?;
                stream.read_to_end(&mut answer).ok();
            } else {
                tcp.write_all(request)?;
                tcp.read_to_end(&mut answer).ok();
            }
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        ask().is_ok_and(|answer| {
            let answer = answer.replace(' ', "");
            answer.starts_with("HTTP/1.1200") && answer.contains(r#""status":"healthy""#)
        })
    }

    /// Callers `from` to `until`, each with an open connection.
    pub(crate) fn open(&self, run: &str, from: u32, until: u32) -> Result<Vec<Caller>> {
        let mut callers = Vec::with_capacity((until - from) as usize);
        let numbers: Vec<u32> = (from..until).collect();
        for group in numbers.chunks(AT_A_TIME) {
            let mut dialed = Vec::with_capacity(AT_A_TIME);
            for number in group {
                let (mut tcp, mut tls) = self.dial()?;
                match &mut tls {
                    Some(tls) => rustls::Stream::new(tls.as_mut(), &mut tcp).write_all(REQUEST)?,
                    None => tcp.write_all(REQUEST)?,
                }
                dialed.push((*number, tcp, tls));
            }
            for (number, mut tcp, mut tls) in dialed {
                match &mut tls {
                    Some(tls) => upgraded(&mut rustls::Stream::new(tls.as_mut(), &mut tcp))?,
                    None => upgraded(&mut tcp)?,
                }
                tcp.set_nonblocking(true)?;
                callers.push(Caller::new(run, number, tcp, tls));
            }
        }
        Ok(callers)
    }

    fn dial(&self) -> Result<(TcpStream, Option<Box<ClientConnection>>)> {
        let mut tcp = TcpStream::connect(self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let Some(config) = &self.tls else {
            return Ok((tcp, None));
        };
        let name = ServerName::try_from("localhost")?;
        let mut tls = ClientConnection::new(Arc::clone(config), name)?;
        tls.set_buffer_limit(None);
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok((tcp, Some(Box::new(tls))))
    }
}

/// Reads the answer to the upgrade, and nothing behind it.
fn upgraded(wire: &mut impl std::io::Read) -> Result<()> {
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(b"\r\n\r\n") {
        let length = wire.read(&mut piece).context("no answer to the upgrade")?;
        ensure!(length > 0, "closed during the handshake");
        answer.extend_from_slice(&piece[..length]);
    }
    let told = String::from_utf8_lossy(&answer);
    ensure!(told.starts_with("HTTP/1.1 101"), "not upgraded: {told}");
    Ok(())
}

/// Callers are strangers to each other: none takes up another's session.
fn trusting(certificate: &CertificateDer<'static>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// With the credentials of [`PASSWORD`], which the rivals do not look at.
const REQUEST: &[u8] = b"GET /v1/ingest?sample-rate=8000 HTTP/1.1\r\n\
    Host: localhost\r\n\
    User-Agent: Go-http-client/1.1\r\n\
    Authorization: Basic YmVuY2g6ZW5kLXRvLWVuZA==\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: YSBmcmFtZSBvZiB2b2ljZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// What Exotel has to show.
pub(crate) const PASSWORD: &str = "bench:end-to-end";

/// Fewer than any server's backlog.
const AT_A_TIME: usize = 32;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
