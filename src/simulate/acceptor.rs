//! A small server for the simulator's tests: it accepts, keeps what it hears, and says what it is told to.
//!
//! What is expected of the simulator is in [`super::tests`]. Invariant: it listens on the loopback, at a port of its own.

use std::sync::Mutex;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderMap,
    },
};

/// What one connection brought.
pub(super) struct Heard {
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    pub(super) messages: Vec<(Instant, Message)>,
    /// Whether the client sent a close frame.
    pub(super) closed: bool,
}

impl Heard {
    pub(super) fn json(&self, at: usize) -> Value {
        serde_json::from_str(self.messages[at].1.to_text().unwrap()).unwrap()
    }
}

pub(super) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, format!("ws://127.0.0.1:{port}/v1/ingest"))
}

#[expect(
    clippy::result_large_err,
    reason = "the callback's type is the library's"
)]
pub(super) async fn upgrade(tcp: TcpStream) -> (WebSocketStream<TcpStream>, Heard) {
    let seen = Mutex::new(None);
    let callback = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        *seen.lock().unwrap() = Some((request.uri().to_string(), request.headers().clone()));
        Ok(response)
    };
    let socket = accept_hdr_async(tcp, callback).await.unwrap();
    let (uri, headers) = seen.into_inner().unwrap().unwrap();
    let heard = Heard {
        uri,
        headers,
        messages: Vec::new(),
        closed: false,
    };
    (socket, heard)
}

/// Accepts one connection and answers each message with what `answer` makes of it.
pub(super) async fn serve(
    listener: &TcpListener,
    mut answer: impl FnMut(usize, &Message) -> Vec<Message>,
) -> Heard {
    let (tcp, _) = listener.accept().await.unwrap();
    let (mut socket, mut heard) = upgrade(tcp).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() {
            heard.closed = true;
            continue;
        }
        let answers = answer(heard.messages.len(), &message);
        heard.messages.push((Instant::now(), message));
        for message in answers {
            // The client may be gone already.
            socket.send(message).await.ok();
        }
    }
    heard
}
