//! How the process ends: who is told when, and who is waited for (1.4).
//!
//! Two tokens: `draining` stops intake, `closing` ends what is still live when the grace has passed. Sockets are
//! tracked from the handshake on, since the HTTP server forgets a connection when it is upgraded.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Shared by everything that must end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// No new calls; calls that wait for a reconnect end at once.
    pub draining: CancellationToken,
    /// Live calls are closed.
    pub closing: CancellationToken,
    /// Every connection, from accept to its very end.
    pub sockets: TaskTracker,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The signals that the process listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves at the next signal.
    ///
    /// # Cancel safety
    /// A signal that came while nobody waited is kept for the next wait.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Resolves at the next signal that asks to stop.
    ///
    /// # Cancel safety
    /// As with [`Signals::next`]; a reload that is asked for meanwhile is passed over.
    pub async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
