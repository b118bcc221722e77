//! One HTTP exchange over a plain socket, so that status, headers and body are seen exactly as sent.
//! WebSocket traffic is in `caller`; this file only knows requests and answers.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::wait::PATIENCE;

/// A request that is about to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    host: &'static str,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: String::new(),
            host: "ingest.test",
        }
    }

    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn body(mut self, body: String) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) async fn send(self, port: u16) -> Answer {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.method,
            self.path,
            self.host,
            self.body.len()
        );
        for (name, value) in &self.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        let exchange = async {
            let mut socket = TcpStream::connect(("127.0.0.1", port))
                .await
                .expect("the service accepts");
            socket.write_all(text.as_bytes()).await.expect("it reads");
            let (answer, tail) = read_head(&mut socket).await;
            finish(answer, tail, &mut socket).await
        };
        timeout(PATIENCE, exchange).await.expect("it answers")
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {:?}", self.body))
    }
}

/// Status and headers, and the bytes that came after them.
pub(crate) async fn read_head(socket: &mut (impl AsyncRead + Unpin)) -> (Answer, Vec<u8>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let read = timeout(Duration::from_secs(20), socket.read_buf(&mut bytes))
            .await
            .expect("an answer in time")
            .expect("an answer");
        assert!(read > 0, "closed without an answer after {bytes:?}");
    };
    let head = String::from_utf8(bytes[..end].to_vec()).expect("headers are text");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a status line");
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let answer = Answer {
        status: status.expect("a status code"),
        headers,
        body: String::new(),
    };
    (answer, bytes[end + 4..].to_vec())
}

/// Reads the body by its length, else to the end of the connection.
pub(crate) async fn finish(
    mut answer: Answer,
    mut body: Vec<u8>,
    socket: &mut (impl AsyncRead + Unpin),
) -> Answer {
    let length = answer
        .header("content-length")
        .and_then(|digits| digits.parse::<usize>().ok());
    while length.is_none_or(|length| body.len() < length) {
        match timeout(Duration::from_secs(20), socket.read_buf(&mut body)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => break,
        }
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}
