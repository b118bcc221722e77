//! Waiting for something to become true, with a deadline instead of a sleep. Nothing here knows
//! what is waited for; a probe that never answers fails the test and says what was missing.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Long enough for a debug build on a machine that runs many tests at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// For things that must not happen: how long we look.
pub(crate) const MOMENT: Duration = Duration::from_millis(300);

/// Asks until there is an answer; fails the test after [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe).await
}

/// Asks until there is an answer; fails the test after `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} in vain for {what}"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// Watches for `limit` that a probe stays silent.
pub(crate) async fn never<T: std::fmt::Debug>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        let seen = probe().await;
        assert!(seen.is_none(), "{what}: {seen:?}");
        sleep(Duration::from_millis(20)).await;
    }
}
