//! As much HTTP/1.1 as an examination needs: a request, and an answer as it came, whatever answers.
//!
//! Invariant: an answer is read up to [`HEAD_BYTES_MAX`] and [`BODY_BYTES_MAX`] and within the limit, so that nothing
//! that a server sends holds the examination up or fills memory.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::step::Secrets;
use crate::{
    secret::Secret,
    simulate::{connect::Wire, summary::tidy, target::Target},
};

/// The way to the server, found open.
pub(super) struct Route {
    pub(super) target: Target,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<(TlsConnector, rustls::pki_types::ServerName<'static>)>,
    /// Whether the server is known to be the one that the URL names, so that it may be told secrets.
    pub(super) is_trusted: bool,
    /// Taken out of answers before anything is cut, so that no half of one is left.
    pub(super) secrets: Secrets,
    pub(super) limit: Duration,
}

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Why nothing usable came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("no answer in time")]
    Silent,
    #[error("the server closed the connection without an answer")]
    Closed,
    #[error("what answers does not speak HTTP: {0:?}")]
    NotHttp(String),
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// A connection with the answer to its request, and what came behind the answer's head.
pub(super) struct Exchange {
    pub(super) answer: Answer,
    pub(super) rest: Vec<u8>,
    pub(super) wire: Box<dyn Wire>,
    /// Our own end.
    pub(super) local: SocketAddr,
    pub(super) took: Duration,
}

impl Route {
    /// Opens a connection of its own, sends the request, and reads the head of the answer.
    pub(super) async fn exchange(&self, request: &Secret) -> Result<Exchange, NoAnswer> {
        let began = Instant::now();
        let until = began + self.limit;
        let exchanged = timeout_at(until, self.send(request)).await;
        let (mut wire, local) = exchanged.unwrap_or(Err(NoAnswer::Silent))?;
        let mut bytes = Vec::with_capacity(1024);
        loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = bytes.split_off(end + 4);
                let head = self.secrets.hide(&String::from_utf8_lossy(&bytes));
                let answer = read_head(&head).ok_or_else(|| self.not_http(&bytes))?;
                let took = began.elapsed();
                return Ok(Exchange {
                    answer,
                    rest,
                    wire,
                    local,
                    took,
                });
            }
            if bytes.len() > HEAD_BYTES_MAX || !could_be_http(&bytes) {
                return Err(self.not_http(&bytes));
            }
            match timeout_at(until, wire.read_buf(&mut bytes)).await {
                Err(_elapsed) => return Err(NoAnswer::Silent),
                Ok(Ok(0)) if bytes.is_empty() => return Err(NoAnswer::Closed),
                Ok(Ok(0)) => return Err(self.not_http(&bytes)),
                Ok(Ok(_)) => {}
                Ok(Err(error)) if is_closing(&error) => return Err(NoAnswer::Closed),
                Ok(Err(error)) => return Err(error.into()),
            }
        }
    }

    async fn send(&self, request: &Secret) -> Result<(Box<dyn Wire>, SocketAddr), NoAnswer> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let local = tcp.local_addr()?;
        let mut wire: Box<dyn Wire> = match &self.tls {
            None => Box::new(tcp),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), tcp).await?),
        };
        match wire.write_all(request.expose().as_bytes()).await {
            Err(error) if is_closing(&error) => return Err(NoAnswer::Closed),
            outcome => outcome?,
        }
        wire.flush().await?;
        Ok((wire, local))
    }

    fn not_http(&self, bytes: &[u8]) -> NoAnswer {
        let text = self.secrets.hide(&String::from_utf8_lossy(bytes));
        let front: String = text.chars().take(FRONT_CHARS).collect();
        NoAnswer::NotHttp(tidy(&front))
    }

    /// A plain GET of a path that holds no secret, and its whole answer.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, NoAnswer> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {OWN_AGENT}\r\nConnection: close\r\n\r\n",
            self.target.authority
        );
        Ok(self
            .exchange(&Secret::new(request))
            .await?
            .whole(self)
            .await)
    }
}

impl Exchange {
    /// Reads the answer's body; what has come of it counts where the rest does not come.
    pub(super) async fn whole(mut self, route: &Route) -> Answer {
        let until = Instant::now() + route.limit;
        let length: Option<usize> = self
            .answer
            .header("content-length")
            .and_then(|text| text.parse().ok());
        let wanted = length.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
        let chunked = self.answer.header("transfer-encoding").is_some();
        while self.rest.len() < wanted && !(chunked && self.rest.ends_with(b"0\r\n\r\n")) {
            match timeout_at(until, self.wire.read_buf(&mut self.rest)).await {
                Ok(Ok(read)) if read > 0 => {}
                _ => break,
            }
        }
        self.rest.truncate(wanted);
        let body = if chunked {
            unchunked(&self.rest)
        } else {
            self.rest
        };
        let body = route.secrets.hide(&String::from_utf8_lossy(&body));
        self.answer.body = body.into_bytes();
        self.answer
    }
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The sentence in the body: `message` or `error` of an object, else the text if it is no page.
    pub(super) fn sentence(&self) -> String {
        let json = self.json();
        let field = json
            .as_ref()
            .and_then(|json| json.get("message").or_else(|| json.get("error")));
        let text = String::from_utf8_lossy(&self.body);
        let sentence = match field.and_then(serde_json::Value::as_str) {
            Some(message) => tidy(message),
            None if text.trim_start().starts_with('<') => String::new(),
            None => tidy(&text),
        };
        if sentence.is_empty() {
            return String::new();
        }
        format!(": {sentence}")
    }

    /// Who answered, where it says so.
    pub(super) fn server(&self) -> String {
        match self.header("server") {
            Some(server) => format!(" by {}", tidy(server)),
            None => String::new(),
        }
    }
}

fn read_head(head: &str) -> Option<Answer> {
    let mut lines = head.split("\r\n");
    let mut status = lines.next()?.split(' ');
    status
        .next()
        .filter(|version| version.starts_with("HTTP/"))?;
    Some(Answer {
        status: status.next()?.parse().ok()?,
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect(),
        body: Vec::new(),
    })
}

fn could_be_http(bytes: &[u8]) -> bool {
    let front = bytes.get(..HTTP.len()).unwrap_or(bytes);
    HTTP.starts_with(front)
}

fn is_closing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof
    )
}

/// Puts the pieces together; ends where they make no sense.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        let size = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
        let size = size.split(';').next().unwrap_or_default().trim();
        let Ok(size @ 1..) = usize::from_str_radix(size, 16) else {
            break;
        };
        let rest = bytes.get(end + 1..).unwrap_or_default();
        whole.extend_from_slice(rest.get(..size.min(rest.len())).unwrap_or_default());
        bytes = rest.get(size.saturating_add(2)..).unwrap_or_default();
    }
    whole
}

const HTTP: &[u8] = b"HTTP/";
const HEAD_BYTES_MAX: usize = 32 << 10;
const FRONT_CHARS: usize = 40;
const BODY_BYTES_MAX: usize = 256 << 10;
const OWN_AGENT: &str = concat!("rtaa-ingest-doctor/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(body: &str) -> Answer {
        Answer {
            status: 200,
            headers: vec![("Server".into(), "nginx".into())],
            body: body.into(),
        }
    }

    #[test]
    fn heads_are_read_as_they_came() {
        let read = read_head("HTTP/1.1 302 Found\r\nLocation: https://x/\r\nX:y\r\n\r\n").unwrap();
        assert_eq!(
            (read.status, read.header("location")),
            (302, Some("https://x/"))
        );
        assert_eq!(read.header("x"), Some("y"));
        assert_eq!(read_head("SSH-2.0-OpenSSH 1\r\n\r\n"), None);
        assert!(could_be_http(b"HT") && could_be_http(b"HTTP/1.1") && !could_be_http(b"SSH-"));
    }

    #[test]
    fn the_sentence_is_what_a_person_would_read() {
        assert_eq!(answer(r#"{"error":"a","message":"b"}"#).sentence(), ": b");
        assert_eq!(answer(r#"{"error":"a"}"#).sentence(), ": a");
        assert_eq!(answer("<html>lots</html>").sentence(), "");
        assert_eq!(answer("busy\n").sentence(), ": busy");
        assert_eq!(answer("").server(), " by nginx");
    }

    #[test]
    fn pieces_become_a_whole() {
        assert_eq!(unchunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), b"abcde");
        assert_eq!(unchunked(b"ff\r\nabc"), b"abc");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(unchunked(&bytes).len() <= bytes.len());
            read_head(&String::from_utf8_lossy(&bytes));
            }
    }
}
