//! The children: started on their CPU, stopped by their id when dropped, and killed by the system if this process dies first.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock::{SECOND_NS, now_ns, sleep};

/// A child that ends with its owner.
pub(crate) struct Process {
    child: Child,
    pub pid: u32,
    stopped: bool,
}

impl Process {
    /// `command` is told where its output goes.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).context("the log cannot be written")?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command
            .spawn()
            .with_context(|| format!("{command:?} does not start"))?;
        Ok(Self {
            pid: child.id(),
            child,
            stopped: false,
        })
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Gone already is as good.
            kill_process(pid, signal).ok();
        }
        self.stopped = match signal {
            Signal::STOP => true,
            Signal::CONT => false,
            _ => self.stopped,
        };
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stopped {
            self.signal(Signal::CONT);
        }
        self.signal(Signal::TERM);
        let until = now_ns() + STOP_S * SECOND_NS;
        while now_ns() < until {
            if self.has_ended() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A command that the system kills when this process is gone, whatever ended it.
pub(crate) fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A Redis that keeps nothing.
pub(crate) struct Redis {
    pub process: Process,
    pub port: u16,
}

impl Redis {
    pub(crate) fn start(logs: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = tied(Path::new("redis-server"));
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]);
        command.current_dir(logs);
        let mut process = Process::start(command, &logs.join("redis.log"))?;
        wait_until("Redis answers", &mut process, || {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
            socket.write_all(b"PING\r\n").ok()?;
            let mut answer = [0; 7];
            socket.read_exact(&mut answer).ok()?;
            (&answer == b"+PONG\r\n").then_some(())
        })?;
        Ok(Self { process, port })
    }
}

/// Asks until there is an answer, 20 s at most.
pub(crate) fn wait_until<T>(
    what: &str,
    process: &mut Process,
    mut ask: impl FnMut() -> Option<T>,
) -> Result<T> {
    let until = now_ns() + START_S * SECOND_NS;
    while now_ns() < until {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if process.has_ended() {
            bail!("the process ended before {what}: its log is in target/bench");
        }
        sleep(Duration::from_millis(20));
    }
    bail!("waited {START_S} s until {what}: the log is in target/bench")
}

/// Nobody else takes it in the moment until the child does.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(listener.local_addr()?.port())
}

/// Longer than the drain of calls that have ended.
const STOP_S: u64 = 8;
const START_S: u64 = 20;
