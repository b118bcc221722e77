//! The programs and commands of the documents, run as a reader would run them.
//!
//! Only ports and folders differ from what the document says; the workers are in `consumers`. Nothing is skipped where an interpreter or a library is
//! missing: `make test` installs them.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines, copy},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::block;
use crate::{conversation::pcm, redis::Redis, rig::Rig, service::Setup};

/// Debian's, where `make test` puts the libraries; another one may come first in PATH.
const PYTHON: &str = "/usr/bin/python3";
const PATIENCE: Duration = Duration::from_secs(40);

/// A program of a document, at work.
pub(super) struct Program {
    pub(super) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    pub(super) fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    /// The next line; fails with the program's own words if it has ended.
    pub(super) async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("a line in time")
            .expect("text");
        if let Some(line) = line {
            return line;
        }
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut said).await.expect("text");
        }
        panic!("the program ended: {said}")
    }
}

/// Runs the commands of a block as a reader's shell would, and returns what they print.
async fn shell(name: &str, dir: &Path, service_port: u16, redis: &Redis) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_rtaa-ingest"))
        .parent()
        .expect("a folder")
        .display();
    let script = block(name)
        .replace("cargo run --release -- ", "rtaa-ingest ")
        .replace("redis://localhost:6379", &redis.url())
        .replace("localhost:8443", &format!("127.0.0.1:{service_port}"));
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(dir)
        .env_clear()
        .env("TMPDIR", dir)
        .env("PATH", format!("{binary}:/usr/local/bin:/usr/bin:/bin"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .expect("it ends in time")
        .expect("bash starts");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name}: {script}\n{stdout}\n{stderr}"
    );
    stdout.into_owned()
}

pub(super) fn python(dir: &Path, name: &str) -> Command {
    let file = dir.join("program.py");
    std::fs::write(&file, block(name)).expect("written");
    let mut command = Command::new(PYTHON);
    command.arg("-u").arg(file);
    command
}

/// Passes connections on, and cuts the first one off in the middle of the call: by bytes, not by time, so that a slow
/// machine sees the same.
async fn cut_the_first(listener: TcpListener, port: u16) {
    let mut bytes_max = 20_000;
    while let Ok((mut client, _)) = listener.accept().await {
        let mut server = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("the service accepts");
        let (from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut upwards = from_client.take(bytes_max);
        tokio::select! {
            _ = copy(&mut upwards, &mut to_server) => {}
            _ = copy(&mut from_server, &mut to_client) => {}
        }
        bytes_max = u64::MAX;
    }
}

// With the keys and the token that the document makes, and over a connection that breaks.
#[tokio::test]
async fn the_python_client_goes_on_after_a_broken_connection() {
    let redis = Redis::start().await;
    let setup = Setup::new().env("REDIS_URL", &redis.url());
    shell("custom-token", setup.dir(), 0, &redis).await;
    let service = setup
        .env("JWT_PUBLIC_KEY_FILE", "keys/public.pem")
        .start()
        .await;
    let audio = pcm(1, 48_000);
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(service.dir().join("speech.wav"), spec).expect("a file");
    for sample in audio.chunks_exact(2) {
        wav.write_sample(i16::from_le_bytes([sample[0], sample[1]]))
            .expect("written");
    }
    wav.finalize().expect("written");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "ws://{}/v1/ingest",
        listener.local_addr().expect("an address")
    );
    let token = std::fs::read_to_string(service.dir().join("token")).expect("a token");
    let mut command = python(service.dir(), "client-python");
    command
        .args(["speech.wav", "call-1"])
        .current_dir(service.dir());
    command
        .env("INGEST_URL", url)
        .env("INGEST_TOKEN", token.trim());
    let mut program = Program::start(command);
    let line = tokio::select! {
        line = program.line() => line,
        () = cut_the_first(listener, service.port()) => panic!("the listener is gone"),
    };
    assert_eq!(line, "75 frames sent, all durable");

    let end = redis.wait_for_end("call-1").await;
    let frames = redis.frames_of("call-1").await;
    assert_eq!(
        service.logged("Start event received").len(),
        2,
        "the connection was cut"
    );
    assert_eq!(
        (&end["frames"], &end["gaps"], &end["tenant_id"]),
        (&75.into(), &0.into(), &"acme".into())
    );
    let published: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.audio.clone())
        .collect();
    assert_eq!(published, audio);
}

// The commands of the documents, in the order in which a reader meets them.
#[tokio::test]
async fn the_commands_run() {
    let rig = Rig::open().await;
    let run =
        async |name: &str| shell(name, rig.service.dir(), rig.service.port(), &rig.redis).await;
    let said = run("first-call").await;
    assert!(
        said.contains("1 started, 1 completed, 0 refused, 0 failed"),
        "{said}"
    );
    assert!(
        said.contains(r#""interaction_id":"demo-1","seq":250,"#),
        "{said}"
    );
    assert!(said.contains(r#""reason":"callended""#), "{said}");
    let proven = "call demo-1: 250 frames, 0 gaps, 0 duplicates, crc ok\n";
    assert!(said.contains(proven), "{said}");
    assert!(
        said.contains("demo-1.wav: 5.000 s, 1 channel at 8000 Hz\n"),
        "{said}"
    );
    let said = run("health").await;
    assert!(
        said.contains(r#""pubsub":true"#) && said.contains(r#"{"ready":true}"#),
        "{said}"
    );
    let said = run("upgrade-by-hand").await;
    assert!(said.contains("HTTP/1.1 101"), "{said}");
    let said = run("doctor").await;
    assert_eq!(outline(&block("doctor-says")), outline(&said)[..12]);
    let said = run("memory").await;
    let bytes: u64 = said.trim().parse().expect("a number");
    assert!(
        (600..1100).contains(&bytes),
        "docs/operations.md says about 820: {bytes}"
    );
}

/// The first two words of each line: what varies comes behind them.
fn outline(said: &str) -> Vec<String> {
    let words = |line: &str| {
        line.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    said.lines().map(words).collect()
}

#[tokio::test]
async fn the_demo_comes_through_whole() {
    let dir = tempfile::TempDir::new().expect("a temporary directory");
    let said = shell("demo", dir.path(), 0, &Redis::absent()).await;
    assert!(
        said.contains("300 frames, 0 gaps, 0 duplicates, crc ok"),
        "{said}"
    );
}

#[tokio::test]
async fn the_rehearsal_of_exotels_url_runs() {
    let rig = Rig::with(&[("SUPPORT_EXOTEL", "true"), ("EXOTEL_URL_TOKENS", "s3cret")]).await;
    let said = shell(
        "exotel-rehearsal",
        rig.service.dir(),
        rig.service.port(),
        &rig.redis,
    )
    .await;
    assert_eq!(
        said.matches("1 completed, 0 refused, 0 failed").count(),
        2,
        "{said}"
    );
    rig.assert_unseen("s3cret").await;
}
