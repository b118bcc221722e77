//! A lane against a server that answers as a test says. Broken connections are in `breaks.rs`, what stays
//! refused in `refused.rs`, the turns of the journal in `turns.rs`.

mod breaks;
mod refused;
mod turns;

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::RedisLane;
use crate::{
    journal::{self, Keep},
    publisher::{
        Left, Trim, batch::What, groups::throttle::Throttle, keeper::Keeper, lane::Lane,
        link::Dial, moments::Moment, progress::Progress, reply,
    },
};

/// A lane, its owner at work, and the server that it talks to.
struct Stage {
    lane: Arc<Lane>,
    progress: Arc<Progress>,
    listener: TcpListener,
    owner: JoinSet<Left>,
    give_up: Option<oneshot::Sender<()>>,
    journal: tempfile::TempDir,
}

impl Stage {
    async fn new(gather: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::over(tempfile::tempdir().unwrap(), listener, gather)
    }

    fn over(journal: tempfile::TempDir, listener: TcpListener, gather: Duration) -> Self {
        let dial = Dial::to(&listener, "audio");
        let lane = Arc::new(Lane::new("audio".to_owned(), Trim::Never));
        let (give_up, told_to) = oneshot::channel::<()>();
        let mut owner = JoinSet::new();
        let settings = journal::Settings {
            dir: journal.path().to_owned(),
            max_bytes: 1 << 30,
        };
        let throttle = Arc::new(Throttle::new(Trim::Never));
        let keeper = Keeper::open(&settings, Keep::Unpublished).unwrap();
        let redis_lane = RedisLane::new(Arc::clone(&lane), dial, keeper, throttle, gather);
        owner.spawn(redis_lane.run(async { told_to.await.unwrap_or_default() }));
        Self {
            lane,
            progress: Arc::new(Progress::new("t", "i", 0)),
            listener,
            owner,
            give_up: Some(give_up),
            journal,
        }
    }

    /// Appends the frames with these numbers at once.
    fn append(&self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.append_text(seq, &format!("f{seq}"));
        }
    }

    fn append_text(&self, seq: u64, text: &str) {
        let progress = Arc::clone(&self.progress);
        let what = What::Frame {
            progress,
            seq,
            numbered: false,
            read: Moment::default(),
        };
        self.lane.append_record(text.as_bytes(), what);
    }

    /// The lane's next connection, logged in.
    async fn accept(&self) -> Session {
        let (stream, _) = within(self.listener.accept()).await.unwrap();
        let mut session = Session {
            stream,
            bytes: Vec::new(),
            stream_holds: Vec::new(),
        };
        assert_eq!(session.any_command().await[..2], ["CLIENT", "SETNAME"]);
        session.say("+OK\r\n").await;
        session
    }

    async fn durable(&self, seq: u64) {
        within(async {
            while self.progress.durable() != Some(seq) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    async fn problem(&self, word: &str) {
        let status = &self.lane.status;
        within(async {
            while !status.problem().is_some_and(|told| told.contains(word)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// Closes the lane, which then must end with nothing left.
    async fn finish(mut self) {
        self.lane.close();
        let left = within(self.owner.join_next()).await.unwrap().unwrap();
        assert_eq!(left, Left::default());
        assert_eq!(self.lane.queued_bytes(), 0);
    }
}

/// The server's end of a connection.
struct Session {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// What the stream of frames shows to those who look.
    stream_holds: Vec<(u64, &'static str)>,
}

impl Session {
    /// The next command that is not one of those with which a new connection looks around: they are answered here.
    async fn command(&mut self) -> Vec<String> {
        loop {
            let command = self.any_command().await;
            match command[0].as_str() {
                "CLIENT" | "INFO" => self.say("-NOPERM not here\r\n").await,
                "XREVRANGE" | "XRANGE" => {
                    let after = command[2].trim_start_matches('(');
                    let after = reply::EntryId::parse(after.as_bytes()).map_or(0, |id| id.ms);
                    let from = self.stream_holds.partition_point(|(ms, _)| *ms <= after);
                    let mut shown = &self.stream_holds[from..];
                    if command[1] != "audio" {
                        shown = &[];
                    } else if command[0] == "XREVRANGE" {
                        shown = &shown[shown.len().saturating_sub(1)..];
                    }
                    let entries: String = shown.iter().map(|(ms, data)| entry(*ms, data)).collect();
                    self.say(&format!("*{}\r\n{entries}", shown.len())).await;
                }
                _ => return command,
            }
        }
    }

    async fn any_command(&mut self) -> Vec<String> {
        loop {
            if let Some(end) = reply::length(&self.bytes, 4) {
                let command: Vec<_> = self.bytes.drain(..end).collect();
                let text = String::from_utf8(command).unwrap();
                let words = text.split("\r\n").skip(1);
                return words
                    .filter(|word| !word.starts_with('$') && !word.is_empty())
                    .map(str::to_owned)
                    .collect();
            }
            assert!(within(self.stream.read_buf(&mut self.bytes)).await.unwrap() > 0);
        }
    }

    /// The frames that come next must be these, several of them as one transaction.
    async fn expect(&mut self, seqs: std::ops::RangeInclusive<u64>) {
        let several = seqs.end() > seqs.start();
        if several {
            assert_eq!(self.command().await, ["MULTI"]);
        }
        for seq in seqs {
            let command = self.command().await;
            assert_eq!(command.last(), Some(&format!("f{seq}")), "{command:?}");
        }
        if several {
            assert_eq!(self.command().await, ["EXEC"]);
        }
    }

    /// The frames of the next transaction.
    async fn transaction(&mut self) -> Vec<String> {
        assert_eq!(self.command().await, ["MULTI"]);
        let mut frames = Vec::new();
        loop {
            let command = self.command().await;
            if command == ["EXEC"] {
                return frames;
            }
            frames.extend(command.last().cloned());
        }
    }

    /// Takes a transaction of so many commands.
    async fn take(&mut self, commands: usize) {
        self.say(&format!(
            "+OK\r\n{}*{commands}\r\n{}",
            "+QUEUED\r\n".repeat(commands),
            ID.repeat(commands)
        ))
        .await;
    }

    /// Refuses the second of three commands, and with it all of them.
    async fn refuse(&mut self, error: &str) {
        self.say(&format!(
            "+OK\r\n+QUEUED\r\n{error}+QUEUED\r\n-EXECABORT discarded\r\n"
        ))
        .await;
    }

    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future)
        .await
        .expect("in time")
}

/// One entry of an XRANGE reply, laid out as the test's commands are.
fn entry(ms: u64, data: &str) -> String {
    let (id, bytes) = (format!("{ms}-1"), data.len());
    format!(
        "*2\r\n${}\r\n{id}\r\n*2\r\n$4\r\ndata\r\n${bytes}\r\n{data}\r\n",
        id.len()
    )
}

const ID: &str = "$15\r\n1762500000000-0\r\n";
const MISCONF: &str = "-MISCONF the disk is full\r\n";
const GATHER: Duration = Duration::from_millis(1);

#[tokio::test]
async fn replies_may_come_in_pieces() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    let mut session = stage.accept().await;
    session.expect(1..=3).await;
    for piece in [
        "+O",
        "K\r\n+QUEUED\r",
        "\n+QUEUED\r\n+QUEUED\r\n*",
        "3\r",
        "\n",
        ID,
        "$",
    ] {
        session.say(piece).await;
    }
    stage.durable(1).await;
    for piece in ["15\r\n1762", "500000000-0\r"] {
        session.say(piece).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(stage.progress.durable(), Some(1));
    }
    session.say(&format!("\n{ID}")).await;
    stage.durable(3).await;
    stage.finish().await;
}

#[tokio::test]
async fn one_refusal_refuses_the_batch_and_nothing_newer_overtakes_it() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=3);
    let mut session = stage.accept().await;
    session.expect(1..=3).await;
    session.refuse(MISCONF).await;
    stage.problem("MISCONF").await;
    stage.append(4..=4);
    session.expect(1..=3).await;
    assert_eq!(stage.progress.durable(), None);
    session.take(3).await;
    stage.durable(3).await;
    session.expect(4..=4).await;
    session.say(ID).await;
    stage.durable(4).await;
    assert_eq!(stage.lane.status.problem(), None);
    stage.finish().await;
}

#[tokio::test]
async fn out_of_memory_the_streams_are_trimmed_before_the_next_attempt() {
    let stage = Stage::new(GATHER).await;
    stage.append(1..=1);
    let mut session = stage.accept().await;
    session.expect(1..=1).await;
    session.say("-OOM command not allowed\r\n").await;
    for (word, key) in [
        ("MULTI", None),
        ("XTRIM", Some("call_end")),
        ("XTRIM", Some("call_events")),
        ("EXEC", None),
    ] {
        let command = session.command().await;
        assert_eq!(
            (command[0].as_str(), command.get(1).map(String::as_str)),
            (word, key)
        );
    }
    session
        .say("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:0\r\n:0\r\n")
        .await;
    session.expect(1..=1).await;
    session.say(ID).await;
    stage.durable(1).await;
    stage.finish().await;
}

#[tokio::test]
async fn what_gathers_during_a_flight_waits_for_its_end() {
    let stage = Stage::new(Duration::ZERO).await;
    let mut session = stage.accept().await;
    stage.append(1..=2);
    session.expect(1..=2).await;
    stage.append(3..=5);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(session.bytes.is_empty());
    session.take(2).await;
    session.expect(3..=5).await;
    session.take(3).await;
    stage.durable(5).await;
    stage.finish().await;
}

#[tokio::test]
async fn an_idle_connection_is_pinged() {
    let stage = Stage::new(GATHER).await;
    let mut session = stage.accept().await;
    let began = Instant::now();
    assert_eq!(session.command().await, ["PING"]);
    assert!(began.elapsed() >= Duration::from_millis(1900));
    session.say("+PONG\r\n").await;
    stage.append(1..=1);
    session.expect(1..=1).await;
    session.say(ID).await;
    stage.durable(1).await;
    stage.finish().await;
}

#[tokio::test]
async fn the_first_frame_after_a_pause_leaves_at_once_and_the_next_ones_together() {
    const LONG: Duration = Duration::from_millis(200);
    let stage = Stage::new(LONG).await;
    let mut session = stage.accept().await;
    tokio::time::sleep(LONG).await;
    let began = Instant::now();
    stage.append(1..=1);
    session.expect(1..=1).await;
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    session.say(ID).await;
    for seq in 2..=9 {
        stage.append(seq..=seq);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(session.bytes.is_empty());
    within(session.stream.readable()).await.unwrap();
    assert!(began.elapsed() >= LONG.mul_f32(0.97));
    session.bytes.reserve(4096);
    session.stream.try_read_buf(&mut session.bytes).unwrap();
    let whole = session.bytes.len();
    session.expect(2..=9).await;
    assert!(whole > 8 * 30 && session.bytes.is_empty(), "one write");
    session.take(8).await;
    stage.durable(9).await;
    stage.finish().await;
}
