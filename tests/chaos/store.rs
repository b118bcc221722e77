//! A real `redis-server` that can be stopped, killed, restarted with or without its data, and told to refuse.
//! It listens on a Unix socket in the run's directory, so that runs beside each other never meet. Tests that
//! need no data on disk have `redis`. Only processes started here are ever signalled.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisResult, aio::MultiplexedConnection,
    cmd,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{wait::within, warden};

/// What the service logs in with.
pub(crate) const PASSWORD: &str = "the-right-one";

/// One server, running or not.
pub(crate) struct Store {
    child: Option<Child>,
    dir: PathBuf,
    persistent: bool,
}

impl Store {
    /// In a directory of its own below this one. If it is `persistent`, every write is on disk when it is confirmed.
    pub(crate) async fn start(below: &Path, persistent: bool) -> Self {
        let dir = below.join("redis");
        std::fs::create_dir_all(&dir).expect("a directory can be made");
        let mut store = Self {
            child: None,
            dir,
            persistent,
        };
        store.launch(0).await;
        store
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it with what it finds on its disk; with a delay per key it says LOADING for a while.
    pub(crate) async fn launch(&mut self, load_delay_us: u64) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))
            .expect("a log");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--daemonize", "no"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(&self.dir)
            .args(["--requirepass", PASSWORD])
            .args(["--user", "keeper", "on", "nopass", "~*", "&*", "+@all"])
            .args(["--appendonly", if self.persistent { "yes" } else { "no" }])
            .args(["--appendfsync", "always"])
            .args(["--auto-aof-rewrite-percentage", "0"])
            .args(["--key-load-delay", &load_delay_us.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("redis-server starts");
        warden::watch(child.id());
        self.child = Some(child);
        let ping = cmd("PING");
        within(
            Duration::from_secs(20),
            "redis-server to answer",
            async || self.admin().ask::<String>(&ping).await.ok(),
        )
        .await;
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("redis-server can be killed");
            child.wait().expect("redis-server has ended");
            warden::forget(child.id());
        }
    }

    /// Throws away what it has on disk.
    pub(crate) fn wipe(&self) {
        std::fs::remove_dir_all(self.dir.join("appendonlydir")).ok();
        std::fs::remove_file(self.dir.join("appendonly.aof")).ok();
    }

    /// Stops it without closing its sockets.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal).ok();
        }
    }

    /// A way in that no fault closes but the server's absence.
    pub(crate) fn admin(&self) -> Admin {
        Admin {
            socket: self.socket(),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.thaw();
        if let Some(mut child) = self.child.take()
            && child.kill().is_ok()
        {
            child.wait().ok();
            warden::forget(child.id());
        }
    }
}

/// Commands beside the service, each on a connection of its own, as a user that needs no password.
#[derive(Clone)]
pub(crate) struct Admin {
    socket: PathBuf,
}

impl Admin {
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let mut link = self.connect(Duration::from_secs(1)).await?;
        command.query_async(&mut link).await
    }

    /// The same in words.
    pub(crate) async fn tell<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let (name, rest) = words.split_first().expect("a command");
        let mut command = cmd(name);
        for word in rest {
            command.arg(*word);
        }
        self.ask(&command).await
    }

    pub(crate) async fn connect(&self, patience: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let client = Client::open(format!(
            "redis+unix://{}?user=keeper&pass=none",
            self.socket.display()
        ))?;
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }
}
