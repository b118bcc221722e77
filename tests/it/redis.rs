//! A real `redis-server` for one test, and what a consumer would read from it. It keeps nothing on
//! disk and dies with the value that owns it; only processes started here are ever signalled.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult, aio::MultiplexedConnection,
    cmd,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::Mutex, time::timeout};

use crate::wait::until;

/// Names and values of one stream entry, in their order.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// One running server (or one that a test has killed and may start again on the same port).
pub(crate) struct Redis {
    child: Option<Child>,
    port: u16,
    dir: TempDir,
    link: Mutex<Option<MultiplexedConnection>>,
}

/// One published frame as a consumer reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) interaction_id: String,
    pub(crate) seq: u64,
    pub(crate) timestamp_ms: u64,
    pub(crate) sample_rate: u64,
    pub(crate) encoding: String,
    pub(crate) session: u64,
    pub(crate) stream_sid: Option<String>,
    pub(crate) track: Option<String>,
    pub(crate) media_ms: Option<u64>,
    pub(crate) audio: Vec<u8>,
    /// The text of `data` as it stood in the stream.
    pub(crate) text: String,
}

impl Redis {
    /// A server on a port that nothing else in this process uses.
    pub(crate) async fn start() -> Self {
        let mut redis = Self::absent();
        redis.revive().await;
        redis
    }

    /// A port where nobody listens yet; [`Redis::revive`] changes that.
    pub(crate) fn absent() -> Self {
        Self {
            child: None,
            port: free_port(),
            dir: TempDir::new().expect("a temporary directory"),
            link: Mutex::new(None),
        }
    }

    /// Starts the server, empty, on the same port as before.
    pub(crate) async fn revive(&mut self) {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &self.port.to_string()])
            .args(["--dir", &self.dir.path().to_string_lossy()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        self.child = Some(child);
        let ping = cmd("PING");
        until("redis-server to answer", async || {
            self.ask::<String>(&ping).await.ok()
        })
        .await;
    }

    /// Ends the server at once, as a crash would.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("redis-server can be killed");
            child.wait().expect("redis-server has ended");
        }
        *self.link.lock().await = None;
    }

    /// Stops the server without closing its sockets, as a stalled host would.
    pub(crate) fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// One command, on a connection that is made again after a failure.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let mut link = self.link.lock().await;
        if link.is_none() {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(Duration::from_secs(1)))
                .set_response_timeout(Some(Duration::from_secs(10)));
            let client = Client::open(self.url())?;
            *link = Some(
                client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?,
            );
        }
        let answer = match link.as_mut() {
            Some(connection) => command.query_async(connection).await,
            None => unreachable!("made above"),
        };
        if answer.is_err() {
            *link = None;
        }
        answer
    }

    /// [`Redis::ask`] of a server that must answer.
    pub(crate) async fn tell<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let (name, rest) = words.split_first().expect("a command");
        let mut command = cmd(name);
        for word in rest {
            command.arg(*word);
        }
        self.ask(&command).await.expect("redis answers")
    }

    /// Everything in a stream, oldest first.
    pub(crate) async fn entries(&self, stream: &str) -> Vec<(String, Fields)> {
        self.tell(&["XRANGE", stream, "-", "+"]).await
    }

    /// All frames of `audio_stream`.
    pub(crate) async fn frames(&self) -> Vec<Frame> {
        self.frames_in("audio_stream").await
    }

    /// All frames of a stream under another key.
    pub(crate) async fn frames_in(&self, stream: &str) -> Vec<Frame> {
        let entries = self.entries(stream).await;
        entries
            .iter()
            .map(|(id, fields)| frame(id, fields))
            .collect()
    }

    /// Frames of one call, oldest first.
    pub(crate) async fn frames_of(&self, call: &str) -> Vec<Frame> {
        let mut frames = self.frames().await;
        frames.retain(|frame| frame.interaction_id == call);
        frames
    }

    /// Waits until a call has at least `count` frames and returns them.
    pub(crate) async fn wait_for_frames(&self, call: &str, count: usize) -> Vec<Frame> {
        until(&format!("{count} frames of {call}"), async || {
            let frames = self.frames_of(call).await;
            (frames.len() >= count).then_some(frames)
        })
        .await
    }

    /// The JSON records of `call_end` or `call_events`.
    pub(crate) async fn records(&self, stream: &str) -> Vec<Value> {
        let entries = self.entries(stream).await;
        entries.iter().map(|(_, fields)| json(fields)).collect()
    }

    /// The ends of one call.
    pub(crate) async fn ends_of(&self, call: &str) -> Vec<Value> {
        let mut ends = self.records("call_end").await;
        ends.retain(|end| end["interaction_id"] == call);
        ends
    }

    /// Waits for the first end of a call.
    pub(crate) async fn wait_for_end(&self, call: &str) -> Value {
        until(&format!("the end of {call}"), async || {
            self.ends_of(call).await.into_iter().next()
        })
        .await
    }

    /// The events of one call of one type.
    pub(crate) async fn events_of(&self, call: &str, kind: &str) -> Vec<Value> {
        let mut events = self.records("call_events").await;
        events.retain(|event| event["interaction_id"] == call && event["type"] == kind);
        events
    }

    /// Waits for the first event of a type.
    pub(crate) async fn wait_for_event(&self, call: &str, kind: &str) -> Value {
        until(&format!("event {kind} of {call}"), async || {
            self.events_of(call, kind).await.into_iter().next()
        })
        .await
    }

    /// What `call:metadata:<call>` says, if it is there.
    pub(crate) async fn metadata(&self, call: &str) -> Option<Value> {
        let text: Option<String> = self.tell(&["GET", &format!("call:metadata:{call}")]).await;
        text.map(|text| serde_json::from_str(&text).expect("metadata is JSON"))
    }

    /// Every key with everything in it, as one text to search secrets in.
    pub(crate) async fn everything(&self) -> String {
        let mut all = String::new();
        for key in self.tell::<Vec<String>>(&["KEYS", "*"]).await {
            let kind: String = self.tell(&["TYPE", &key]).await;
            let value: ::redis::Value = match kind.as_str() {
                "stream" => self.tell(&["XRANGE", &key, "-", "+"]).await,
                "string" => self.tell(&["GET", &key]).await,
                "hash" => self.tell(&["HGETALL", &key]).await,
                "set" => self.tell(&["SMEMBERS", &key]).await,
                "zset" => self.tell(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await,
                _ => self.tell(&["LRANGE", &key, "0", "-1"]).await,
            };
            all.extend([key, format!(" {value:?}\n")]);
        }
        all
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("redis-server runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal)
            .expect("redis-server can be signalled");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take()
            && child.kill().is_ok()
        {
            child.wait().ok();
        }
    }
}

/// A second connection, for a consumer that blocks.
pub(crate) async fn consumer(redis: &Redis) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = Client::open(redis.url()).expect("a valid URL");
    timeout(
        Duration::from_secs(10),
        client.get_multiplexed_async_connection_with_config(&config),
    )
    .await
    .expect("redis accepts in time")
    .expect("redis accepts")
}

/// Reads one entry, whether it is JSON in `data` (4.1) or fields (4.2).
pub(crate) fn frame(id: &str, fields: &Fields) -> Frame {
    if fields.iter().any(|(name, _)| name == "data") {
        return frame_from_json(id, fields);
    }
    let text = |name: &str| {
        let found = fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let number = |name: &str| text(name).and_then(|digits| digits.parse::<u64>().ok());
    let audio = fields.iter().find(|(name, _)| name == "audio");
    Frame {
        id: id.to_owned(),
        tenant_id: text("tenant_id").expect("tenant_id"),
        interaction_id: text("interaction_id").expect("interaction_id"),
        seq: number("seq").expect("seq"),
        timestamp_ms: number("timestamp_ms").expect("timestamp_ms"),
        sample_rate: number("sample_rate").expect("sample_rate"),
        encoding: text("encoding").expect("encoding"),
        session: number("session").expect("session"),
        stream_sid: text("stream_sid"),
        track: text("track"),
        media_ms: number("media_ms"),
        audio: audio.expect("audio").1.clone(),
        text: String::new(),
    }
}

fn frame_from_json(id: &str, fields: &Fields) -> Frame {
    let value = json(fields);
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let number = |name: &str| value[name].as_u64();
    let audio = text("audio").expect("audio");
    Frame {
        id: id.to_owned(),
        tenant_id: text("tenant_id").expect("tenant_id"),
        interaction_id: text("interaction_id").expect("interaction_id"),
        seq: number("seq").expect("seq"),
        timestamp_ms: number("timestamp_ms").expect("timestamp_ms"),
        sample_rate: number("sample_rate").expect("sample_rate"),
        encoding: text("encoding").expect("encoding"),
        session: number("session").expect("session"),
        stream_sid: text("stream_sid"),
        track: text("track"),
        media_ms: number("media_ms"),
        audio: STANDARD.decode(audio).expect("audio is base64"),
        text: String::from_utf8(fields[0].1.clone()).expect("data is text"),
    }
}

fn json(fields: &Fields) -> Value {
    let found = fields.iter().find(|(name, _)| name == "data");
    let (_, data) = found.expect("an entry has the field `data`");
    serde_json::from_slice(data).expect("`data` is JSON")
}

/// Below the ephemeral ports, so that no client socket takes it before the server does; spread by
/// process, so that two runs on one machine seldom try the same.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 9_000).unwrap_or(0);
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 9_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
