//! The binary under test: started with a clean environment in a directory of its own, its log
//! captured line by line, its end observed. Nothing here knows what the service is for.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    request::{Answer, Request},
    wait::{PATIENCE, until, within},
};

const BINARY: &str = env!("CARGO_BIN_EXE_rtaa-ingest");

/// A service that is about to be started.
pub(crate) struct Setup {
    command: Command,
    dir: TempDir,
}

/// A running service.
pub(crate) struct Service {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    dir: TempDir,
    port: u16,
}

/// What a command that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        Self {
            command: command(dir.path()),
            dir,
        }
        .env("PORT", "0")
        .env("LOG_FORMAT", "json")
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// A file in the working directory.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.dir.path().join(name), text).expect("the file can be written");
        self
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits for its `listening` line (8.3).
    pub(crate) async fn start(mut self) -> Service {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the service starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().push(line);
            }
        });
        let mut service = Service {
            child,
            log,
            dir: self.dir,
            port: 0,
        };
        let listening = until("the service to listen", async || {
            if let Ok(Some(status)) = service.child.try_wait() {
                panic!("the service ended with {status} before it listened");
            }
            service.logged("listening").into_iter().next()
        })
        .await;
        let addr = field(&listening, "addr").expect("`listening` names `addr`");
        let addr = addr.as_str().expect("`addr` is text");
        service.port = addr
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .expect("`addr` ends in a port");
        service
    }
}

impl Service {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where a WebSocket client goes.
    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/v1/ingest", self.port)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All lines of the log so far, as they were written.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    /// The lines whose message contains a phrase.
    pub(crate) fn logged(&self, phrase: &str) -> Vec<Value> {
        let lines = self.log.lock();
        let values = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        values
            .filter(|line: &Value| message(line).contains(phrase))
            .collect()
    }

    /// Waits for the first line whose message contains a phrase.
    pub(crate) async fn wait_for_log(&self, phrase: &str) -> Value {
        until(&format!("log line {phrase:?}"), async || {
            self.logged(phrase).into_iter().next()
        })
        .await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the service can be signalled");
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the process has ended.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        self.exit_within(PATIENCE).await
    }

    pub(crate) async fn exit_within(&mut self, limit: Duration) -> ExitStatus {
        within(limit, "the service to end", async || {
            self.child
                .try_wait()
                .expect("the service can be waited for")
        })
        .await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the service runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("/proc names VmRSS")
            * 1024
    }

    /// `GET path` without further headers.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Request::get(path).send(self.port).await
    }

    /// `/health` as JSON.
    pub(crate) async fn health(&self) -> Value {
        self.get("/health").await.json()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
        if thread::panicking() {
            let mut stderr = std::io::stderr().lock();
            for line in self.log.lock().iter().rev().take(60).rev() {
                writeln!(stderr, "    | {line}").ok();
            }
        }
    }
}

/// Runs a subcommand to its end, at most `limit`.
pub(crate) async fn run(
    dir: &Path,
    env: &[(&str, &str)],
    args: &[&str],
    limit: Duration,
) -> Outcome {
    let mut command = tokio::process::Command::from(command(dir));
    command
        .envs(env.iter().copied())
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(limit, command.output())
        .await
        .unwrap_or_else(|_| panic!("{args:?} did not end within {limit:?}"))
        .expect("the binary starts");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

/// The text of a log line, wherever the JSON layout puts it.
pub(crate) fn message(line: &Value) -> &str {
    field(line, "message").and_then(Value::as_str).unwrap_or("")
}

/// A field of a log line: flattened, under `fields`, or on the span.
pub(crate) fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    [Some(line), line.get("fields"), line.get("span")]
        .into_iter()
        .flatten()
        .find_map(|level| level.get(name))
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("TMPDIR", dir).current_dir(dir);
    command
}
