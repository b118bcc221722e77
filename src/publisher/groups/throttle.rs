//! What the owner of a lane asks before it publishes more of a backlog.
//!
//! Shared by that owner, who publishes, and by the watch beside it, who looks at the groups. The rule is `pace.rs`'s.

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::pace::Pace;
use crate::publisher::{Trim, reply::EntryId};

/// One lane's throttle. Live audio does not ask it.
#[derive(Debug)]
pub(in crate::publisher) struct Throttle {
    trim: Trim,
    /// `None` while no backlog is being published.
    pace: Mutex<Option<Pace>>,
    changed: Notify,
    begun: Notify,
}

impl Throttle {
    pub(in crate::publisher) fn new(trim: Trim) -> Self {
        Self {
            trim,
            pace: Mutex::new(None),
            changed: Notify::new(),
            begun: Notify::new(),
        }
    }
}

/// For the owner of the lane.
impl Throttle {
    /// A backlog is about to be published: the groups are looked at at once, and more often until [`Throttle::end`].
    pub(in crate::publisher) fn begin(&self) {
        *self.pace.lock() = Some(Pace::new(self.trim, Instant::now()));
        self.begun.notify_one();
    }

    pub(in crate::publisher) fn end(&self) {
        *self.pace.lock() = None;
    }

    /// How many entries of the backlog may be published now: 0 until the groups were looked at, `u64::MAX` where nothing
    /// holds it back.
    pub(in crate::publisher) fn allowance(&self) -> u64 {
        self.pace.lock().as_ref().map_or(0, Pace::allowance)
    }

    /// So many were published; the newest has this id.
    pub(in crate::publisher) fn published(&self, entries: u64, newest: EntryId) {
        if let Some(pace) = self.pace.lock().as_mut() {
            pace.published(entries, newest, Instant::now());
        }
    }

    /// Resolves when the allowance may have grown. For one waiter. It does not resolve any more once the publisher is
    /// closed: what is left of a backlog then stays on disk.
    ///
    /// # Cancel safety
    /// A change that came while nobody waited is kept for the next wait.
    pub(in crate::publisher) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// For the watch.
impl Throttle {
    pub(super) fn is_under_way(&self) -> bool {
        self.pace.lock().is_some()
    }

    /// Resolves when a backlog begins.
    ///
    /// # Cancel safety
    /// A beginning that came while nobody waited is kept for the next wait.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    pub(super) fn look(&self, needs: &[Option<EntryId>], newest: EntryId, now: Instant) {
        self.apply(|pace| pace.look(needs, newest, now));
    }

    /// The groups cannot be looked at.
    pub(super) fn blind(&self, now: Instant) {
        self.apply(|pace| pace.blind(now));
    }

    fn apply(&self, change: impl FnOnce(&mut Pace)) {
        let may_go_on = self.pace.lock().as_mut().is_some_and(|pace| {
            change(pace);
            pace.allowance() > 0
        });
        if may_go_on {
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_waiting_owner_is_woken_by_a_look() {
        let throttle = Throttle::new(Trim::Age(Duration::from_mins(2)));
        assert_eq!(throttle.allowance(), 0, "nothing has begun");
        throttle.begin();
        throttle.begun().await;
        assert_eq!(throttle.allowance(), 0);
        throttle.look(&[None], EntryId::default(), Instant::now());
        throttle.changed().await;
        let chunk = throttle.allowance();
        assert!(chunk > 0);
        let newest = EntryId { ms: 1, seq: 0 };
        throttle.published(chunk, newest);
        throttle.published(chunk, newest.next());
        assert_eq!(throttle.allowance(), 0);
        let (waited, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(5), throttle.changed()),
            async { throttle.look(&[], newest, Instant::now()) }
        );
        assert!(waited.is_ok());
        assert_eq!(throttle.allowance(), u64::MAX);
        throttle.end();
        assert_eq!(throttle.allowance(), 0);
    }
}
