//! When the records that have gathered leave: `PUBLISH_GATHER_US` after the last ones did, and behind every task that
//! is about to add to them.

use std::{future::poll_fn, mem, task::Poll, time::Duration};

use tokio::time::Instant;

use crate::publisher::fine_timer::FineTimer;

/// The time in which records gather.
#[derive(Debug)]
pub(super) struct Gathering {
    time: Duration,
    /// When records left last.
    left: Instant,
    timer: FineTimer,
}

impl Gathering {
    pub(super) fn new(time: Duration, now: Instant) -> Self {
        Self {
            time,
            left: now,
            timer: FineTimer::new(),
        }
    }

    /// Threads look at their sockets in rounds of about the same length (`rounds.rs`): one that ends a little early is no
    /// reason to wait for the next.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.left) >= self.time * 3 / 4
    }

    /// Records leave: what comes now gathers again.
    pub(super) fn begin(&mut self, now: Instant) {
        self.left = now;
    }

    /// Has waited for long enough, whatever came before.
    pub(super) fn end(&mut self, now: Instant) {
        self.left = now.checked_sub(self.time).unwrap_or(now);
    }

    /// Returns when it is over.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub(super) async fn wait(&mut self) {
        let rest = self.time.saturating_sub(self.left.elapsed());
        self.timer.sleep(rest).await;
    }
}

/// Lets every task go first that is ready to: what their sockets hold leaves with what is there already.
pub(super) async fn behind_the_others() {
    let mut went = false;
    poll_fn(|cx| {
        if mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
