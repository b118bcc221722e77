//! How the process ends: who is told when, and who is waited for (1.4).
//!
//! Two tokens: `draining` stops intake, `closing` ends what is still live when the grace has passed. Sockets are
//! tracked from the handshake on, since the HTTP server forgets a connection when it is upgraded.

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

/// Resolves at the next SIGTERM or SIGINT; a system without signals never asks to stop.
#[derive(Debug)]
pub struct StopSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignals {
    pub fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// # Cancel safety
    /// A signal that came while nobody waited is kept for the next wait.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
