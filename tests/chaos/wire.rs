//! A caller's WebSocket: it hears while it speaks, and it can be left in every way that a connection ends.
//! What is said on it is `caller`'s and `client`'s subject.

use std::{collections::VecDeque, time::Duration};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message, client::IntoClientRequest as _, http::HeaderValue, protocol::CloseFrame,
    },
};

use crate::plan::Tear;

/// One open WebSocket.
pub(crate) struct Wire {
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    stream: SplitStream<WebSocketStream<TcpStream>>,
    /// Texts that were heard and not looked at yet.
    heard: VecDeque<Value>,
    /// The code that the server closed with.
    code: Option<u16>,
    gone: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoWire {
    /// Nobody listens, or not now.
    Later,
    Refused(u16),
}

impl Wire {
    pub(crate) async fn dial(port: u16, bearer: Option<&str>) -> Result<Self, NoWire> {
        let mut request = format!("ws://127.0.0.1:{port}/v1/ingest")
            .into_client_request()
            .expect("a valid URL");
        if let Some(token) = bearer {
            let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a valid header");
            request.headers_mut().insert("authorization", value);
        }
        let dial = async {
            let wire = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            wire.set_nodelay(true).ok()?;
            Some(client_async(request, wire).await)
        };
        let opened = timeout(Duration::from_secs(5), dial).await;
        match opened.ok().flatten() {
            Some(Ok((socket, _))) => {
                let (sink, stream) = socket.split();
                Ok(Self {
                    sink,
                    stream,
                    heard: VecDeque::new(),
                    code: None,
                    gone: false,
                })
            }
            Some(Err(Error::Http(answer))) if answer.status() != 503 => {
                Err(NoWire::Refused(answer.status().as_u16()))
            }
            _ => Err(NoWire::Later),
        }
    }

    /// Sends one message, and hears meanwhile; false when the connection is gone or being closed.
    pub(crate) async fn say(&mut self, message: Message) -> bool {
        let Self {
            sink,
            stream,
            heard,
            code,
            gone,
        } = self;
        let said = sink.send(message);
        tokio::pin!(said);
        loop {
            if *gone || code.is_some() {
                return false;
            }
            tokio::select! {
                biased;
                result = &mut said => return result.is_ok(),
                message = stream.next() => hear(message, heard, code, gone),
            }
        }
    }

    pub(crate) async fn text(&mut self, text: impl Into<String>) -> bool {
        self.say(Message::text(text.into())).await
    }

    /// Hears for a while, or until the connection is gone.
    pub(crate) async fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.gone {
            tokio::select! {
                () = sleep_until(until) => return,
                message = self.stream.next() => {
                    hear(message, &mut self.heard, &mut self.code, &mut self.gone);
                }
            }
        }
    }

    /// The next text that has been heard already.
    pub(crate) fn heard(&mut self) -> Option<Value> {
        self.heard.pop_front()
    }

    /// The next text; `None` once the connection is gone.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        while self.heard.is_empty() && !self.gone {
            let message = self.stream.next().await;
            hear(message, &mut self.heard, &mut self.code, &mut self.gone);
        }
        self.heard.pop_front()
    }

    /// The code of the server's close, if there was one.
    pub(crate) fn code(&self) -> Option<u16> {
        self.code
    }

    /// Leaves in one of the ways that need no word; tells whether all that was sent arrives.
    pub(crate) async fn leave(mut self, tear: Tear) -> bool {
        match tear {
            Tear::Stop => {
                while self.next().await.is_some() {}
                self.code == Some(1000)
            }
            Tear::Close => {
                let close = CloseFrame {
                    code: 1000.into(),
                    reason: "".into(),
                };
                let said = self.say(Message::Close(Some(close))).await;
                while self.next().await.is_some() {}
                said && self.code == Some(1000)
            }
            Tear::Vanish | Tear::Reset => {
                let gone = self.gone || self.code.is_some();
                let Ok(mut socket) = self.sink.reunite(self.stream) else {
                    unreachable!("both halves are of one socket");
                };
                if tear == Tear::Reset {
                    SockRef::from(socket.get_ref())
                        .set_linger(Some(Duration::ZERO))
                        .ok();
                    return false;
                }
                !gone && socket.get_mut().shutdown().await.is_ok()
            }
        }
    }
}

fn hear(
    message: Option<Result<Message, Error>>,
    heard: &mut VecDeque<Value>,
    code: &mut Option<u16>,
    gone: &mut bool,
) {
    match message {
        Some(Ok(Message::Text(text))) => {
            heard.push_back(serde_json::from_str(&text).expect("texts are JSON"));
        }
        Some(Ok(Message::Close(frame))) => {
            *code = Some(frame.map_or(1005, |frame| frame.code.into()));
        }
        Some(Ok(_)) => {}
        Some(Err(_)) | None => *gone = true,
    }
}
