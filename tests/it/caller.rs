//! A WebSocket client that shows the handshake as it was answered and the messages as they came.
//! What a conversation consists of is in `conversation`.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, frame::Frame},
    },
};

use crate::{
    request::{Answer, finish, read_head},
    service::Service,
    wait::PATIENCE,
};

/// A byte stream, plain or encrypted.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An upgrade that is about to be asked for.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    host: &'static str,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

/// An open WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Wire>>,
    /// The answer to the upgrade.
    pub(crate) answer: Answer,
}

/// What the server said until it closed.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) texts: Vec<Value>,
    pub(crate) binaries: usize,
    pub(crate) code: Option<u16>,
}

impl Caller {
    /// To `/v1/ingest` on 127.0.0.1, as Exotel's client does it: nothing offered, no credentials.
    pub(crate) fn to(service: &Service) -> Self {
        Self::at(service.port())
    }

    /// The same to whoever listens on a port.
    pub(crate) fn at(port: u16) -> Self {
        Self {
            host: "127.0.0.1",
            port,
            path: "/v1/ingest".to_owned(),
            headers: vec![("User-Agent".to_owned(), "Go-http-client/1.1".to_owned())],
        }
    }

    pub(crate) fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn basic(self, pair: &str) -> Self {
        self.header("Authorization", &format!("Basic {}", STANDARD.encode(pair)))
    }

    pub(crate) async fn dial(&self) -> Result<Socket, Answer> {
        let wire = TcpStream::connect((self.host, self.port))
            .await
            .expect("the service accepts");
        wire.set_nodelay(true).expect("a socket option");
        self.dial_over(Box::new(wire)).await
    }

    /// The handshake over a stream that is already there.
    pub(crate) async fn dial_over(&self, mut wire: Box<dyn Wire>) -> Result<Socket, Answer> {
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: ingest.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            self.path
        );
        for (name, value) in &self.headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.push_str("\r\n");
        wire.write_all(request.as_bytes()).await.expect("it reads");
        let (answer, tail) = read_head(&mut wire).await;
        if answer.status != 101 {
            return Err(finish(answer, tail, &mut wire).await);
        }
        assert_eq!(
            answer.header("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        let stream = WebSocketStream::from_partially_read(wire, tail, Role::Client, None).await;
        Ok(Socket { stream, answer })
    }

    /// A connection that must come about.
    pub(crate) async fn connect(&self) -> Socket {
        match self.dial().await {
            Ok(socket) => socket,
            Err(answer) => panic!("{} refused: {answer:?}", self.path),
        }
    }

    /// A connection that must be refused.
    pub(crate) async fn refused(&self) -> Answer {
        match self.dial().await {
            Ok(_) => panic!("{} accepted with {:?}", self.path, self.headers),
            Err(answer) => answer,
        }
    }
}

impl Socket {
    /// Sends one message; fails the test when the connection is gone.
    pub(crate) async fn send(&mut self, message: Message) {
        assert!(self.try_send(message).await, "the connection is gone");
    }

    /// Sends one message; false when the connection is gone.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        timeout(PATIENCE, self.stream.send(message))
            .await
            .expect("the service reads")
            .is_ok()
    }

    pub(crate) async fn text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    pub(crate) async fn json(&mut self, value: &Value) {
        self.text(value.to_string()).await;
    }

    pub(crate) async fn binary(&mut self, bytes: impl Into<Vec<u8>>) {
        self.send(Message::binary(bytes.into())).await;
    }

    /// One frame of the protocol, for fragments.
    pub(crate) async fn frame(&mut self, frame: Frame) {
        self.send(Message::Frame(frame)).await;
    }

    /// Bytes beside the protocol.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        let wire = self.stream.get_mut();
        wire.write_all(bytes).await.expect("the service reads");
        wire.flush().await.expect("the service reads");
    }

    /// The next message, `None` once the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        timeout(PATIENCE, self.stream.next())
            .await
            .expect("a message or the end in time")?
            .ok()
    }

    /// The next text as JSON; fails the test if something else comes.
    pub(crate) async fn next_json(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => {
                    return serde_json::from_str(&text).expect("texts are JSON");
                }
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    /// Whatever text or binary comes within `limit`.
    pub(crate) async fn heard_within(&mut self, limit: Duration) -> Vec<Message> {
        let deadline = Instant::now() + limit;
        let mut heard = Vec::new();
        while let Ok(Some(Ok(message))) = timeout_at(deadline, self.stream.next()).await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) {
                heard.push(message);
            }
        }
        heard
    }

    /// Reads until the server has closed.
    pub(crate) async fn rest(&mut self) -> Rest {
        let mut rest = Rest {
            texts: Vec::new(),
            binaries: 0,
            code: None,
        };
        while let Some(message) = self.next().await {
            match message {
                Message::Text(text) => rest
                    .texts
                    .push(serde_json::from_str(&text).expect("texts are JSON")),
                Message::Binary(_) => rest.binaries += 1,
                Message::Close(Some(frame)) => rest.code = Some(frame.code.into()),
                _ => {}
            }
        }
        rest
    }

    /// Sends a close frame and waits for the answer.
    pub(crate) async fn hang_up(mut self) -> Rest {
        let frame = CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        };
        self.try_send(Message::Close(Some(frame))).await;
        self.rest().await
    }
}
