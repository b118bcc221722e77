//! `health`: asks the server on this machine how it is, since a container without a shell has no `curl`.
//!
//! Blocking on purpose: one request, then the process ends. Invariant: it ends within a few seconds, whatever
//! the other side does.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{config::Config, server};

/// Exits with 0 if the server that this environment configures answers /health with 200, else with 1.
///
/// Where it serves TLS itself, a connection is enough.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: Args) -> anyhow::Result<ExitCode> {
    let settings = Config::load()?.server;
    if settings.port == 0 {
        bail!("the server's port is not known: set PORT to other than 0");
    }
    let mut stream = connect(&settings)?;
    if settings.tls.is_none() {
        ask(&mut stream)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn connect(settings: &server::Settings) -> anyhow::Result<TcpStream> {
    let mut last = None;
    for address in addresses(settings.host) {
        let address = SocketAddr::new(address, settings.port);
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = Some((address, error)),
        }
    }
    match last {
        Some((address, error)) => {
            Err(error).with_context(|| format!("cannot connect to {address}"))
        }
        None => bail!("no address to connect to"),
    }
}

/// A server that listens everywhere listens on loopback, and IPv6 may be off.
fn addresses(host: IpAddr) -> Vec<IpAddr> {
    match host {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => vec![Ipv4Addr::LOCALHOST.into()],
        host => vec![host],
    }
}

fn ask(stream: &mut (impl Read + Write)) -> anyhow::Result<()> {
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .context("cannot send the request")?;
    let mut head = [0; STATUS_LINE.len()];
    match stream.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bail!("the answer ended too early")
        }
        outcome => outcome.context("no answer")?,
    }
    if head != *STATUS_LINE {
        bail!("the answer was not 200: {}", head.escape_ascii());
    }
    Ok(())
}

const STATUS_LINE: &[u8; 12] = b"HTTP/1.1 200";
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    struct Canned(&'static [u8], Vec<u8>);

    impl Read for Canned {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Canned {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_200_is_healthy() {
        let mut healthy = Canned(b"HTTP/1.1 200 OK\r\n\r\n{}", Vec::new());
        ask(&mut healthy).unwrap();
        assert!(
            healthy.1.starts_with(b"GET /health HTTP/1.1\r\n") && healthy.1.ends_with(b"\r\n\r\n")
        );
        for (answer, said) in [
            (
                &b"HTTP/1.1 503 Service Unavailable\r\n"[..],
                "not 200: HTTP/1.1 503",
            ),
            (b"HTTP", "ended too early"),
            (b"\x15\x03\x01\0\0\0\0\0\0\0\0\0", "not 200: \\x15"),
        ] {
            let error = ask(&mut Canned(answer, Vec::new()))
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn looks_where_the_server_listens() {
        assert_eq!(addresses(Ipv6Addr::UNSPECIFIED.into()).len(), 2);
        assert_eq!(
            addresses(Ipv4Addr::UNSPECIFIED.into()),
            [IpAddr::V4(Ipv4Addr::LOCALHOST)]
        );
        let named: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(addresses(named), [named]);
    }
}
