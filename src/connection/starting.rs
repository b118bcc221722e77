//! From where a custom client is to go on after its start (3.8): found out while its audio is taken already.
//!
//! In a session that has frames: after the newest of them. In a new one: after what the client had numbered in the one
//! before, if this instance remembers it, or the journal or the call's metadata in Redis has it; else from 1. Invariant: no number is
//! given out before the frame ahead of it is durable.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::ReusableBoxFuture;

use crate::{
    calls::{
        live_call::LiveCall,
        reader::{Asked, Reader},
    },
    published,
    publisher::{Publisher, progress::Progress},
};

/// A start that has not been answered.
#[derive(Debug)]
pub(super) enum Starting {
    /// After what other connections of the session have delivered: they read it first.
    Others {
        asked: Asked,
        call: Arc<LiveCall>,
        publisher: Publisher,
    },
    /// After this frame, once it is durable.
    After {
        seq: u64,
        progress: Arc<Progress>,
        told: watch::Receiver<()>,
    },
    /// At the number that comes out of this.
    Sought(ReusableBoxFuture<'static, u64>),
    /// At this number.
    Found(u64),
}

impl Starting {
    pub(super) fn of(call: &Arc<LiveCall>, reader: Option<&Reader>, publisher: &Publisher) -> Self {
        match reader.and_then(|reader| call.ask_others(reader)) {
            Some(asked) => Self::Others {
                asked,
                call: Arc::clone(call),
                publisher: publisher.clone(),
            },
            None => Self::after_all(call, publisher),
        }
    }

    /// After all that the session has now.
    fn after_all(call: &LiveCall, publisher: &Publisher) -> Self {
        match (call.last_seq(), call.earlier()) {
            (Some(seq), _) => Self::after(seq, call.progress()),
            (None, Some(earlier)) => Self::after(earlier.last_seq, &earlier.progress),
            (None, None) => {
                let (publisher, of) = (publisher.clone(), Arc::clone(call.progress()));
                let metadata = async move { publisher.metadata_of(&of.interaction_id).await };
                let (outlet, of) = (call.outlet().clone(), Arc::clone(call.progress()));
                let left = async move { outlet.left_in_journal(&of).await };
                Self::sought(metadata, left, Arc::clone(call.progress()))
            }
        }
    }

    fn sought(
        metadata: impl Future<Output = Option<Vec<u8>>> + Send + 'static,
        left: impl Future<Output = Option<u64>> + Send + 'static,
        of: Arc<Progress>,
    ) -> Self {
        Self::Sought(ReusableBoxFuture::new(async move {
            let (metadata, left) = tokio::join!(
                timeout(SOUGHT_WITHIN, metadata),
                timeout(SOUGHT_WITHIN, left)
            );
            let metadata = metadata.ok().flatten();
            next_seq(metadata.as_deref(), left.ok().flatten(), &of.tenant_id)
        }))
    }

    fn after(seq: u64, progress: &Arc<Progress>) -> Self {
        Self::After {
            seq,
            told: progress.subscribe(),
            progress: Arc::clone(progress),
        }
    }

    /// The number to go on at, if it can be said.
    pub(super) fn next_seq(&mut self) -> Option<u64> {
        if let Self::Others {
            asked,
            call,
            publisher,
        } = self
            && asked.is_answered()
        {
            *self = Self::after_all(call, publisher);
        }
        match self {
            Self::After { seq, progress, .. } => {
                progress.is_durable(*seq).then(|| seq.saturating_add(1))
            }
            Self::Others { .. } | Self::Sought(_) => None,
            Self::Found(next_seq) => Some(*next_seq),
        }
    }

    /// Returns when it is worth asking again, as is all news of the session itself.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub(super) async fn news(&mut self) {
        match self {
            Self::After { told, .. } => {
                if told.changed().await.is_ok() {
                    return;
                }
            }
            Self::Sought(found) => {
                *self = Self::Found(found.await);
                return;
            }
            Self::Others { .. } | Self::Found(_) => {}
        }
        std::future::pending::<()>().await;
    }
}

/// What an earlier process has left in the journal is not in Redis's metadata yet, or not all of it.
fn next_seq(metadata: Option<&[u8]>, left: Option<u64>, tenant_id: &str) -> u64 {
    let told = metadata.and_then(|metadata| published::numbered_up_to(metadata, tenant_id));
    told.max(left).map_or(1, |last| last.saturating_add(1))
}

/// A client that has nothing to go on from should not wait longer than that for a Redis that is away.
const SOUGHT_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn metadata_is_waited_for_a_second_and_no_longer() {
        let metadata = br#"{"tenantId":"t","lastSeq":7,"numbered":true}"#.to_vec();
        for (takes_ms, expected) in [(0, 8), (900, 8), (1100, 1), (99_000, 1)] {
            let metadata = metadata.clone();
            let late = async move {
                tokio::time::sleep(Duration::from_millis(takes_ms)).await;
                Some(metadata)
            };
            let mut starting =
                Starting::sought(late, async { None }, Arc::new(Progress::new("t", "i", 0)));
            assert_eq!(starting.next_seq(), None);
            let began = tokio::time::Instant::now();
            // Whoever waits for it is interrupted by other things all the time.
            while timeout(Duration::from_millis(70), starting.news())
                .await
                .is_err()
            {
                assert_eq!(starting.next_seq(), None);
            }
            assert_eq!(starting.next_seq(), Some(expected));
            assert!(began.elapsed() < Duration::from_millis(1010));
        }
    }

    #[test]
    fn metadata_is_believed_of_the_same_tenant_whose_client_numbers() {
        let check = |metadata: &str, expected| {
            assert_eq!(
                next_seq(Some(metadata.as_bytes()), None, "t"),
                expected,
                "{metadata}"
            );
        };
        check(
            r#"{"tenantId":"t","lastSeq":7,"numbered":true,"status":"ended"}"#,
            8,
        );
        check(r#"{"tenantId":"t","lastSeq":0,"numbered":true}"#, 1);
        check(r#"{"tenantId":"other","lastSeq":7,"numbered":true}"#, 1);
        check(r#"{"tenantId":"t","lastSeq":7,"numbered":false}"#, 1);
        check(r#"{"tenantId":"t","lastSeq":7}"#, 1);
        check(r#"{"tenantId":"t","lastSeq":-7,"numbered":true}"#, 1);
        check(
            r#"{"tenantId":"t","lastSeq":18446744073709551615,"numbered":true}"#,
            u64::MAX,
        );
        check("", 1);
        assert_eq!(next_seq(None, None, "t"), 1);
    }

    #[test]
    fn what_was_left_in_the_journal_goes_further_than_the_metadata() {
        let metadata = br#"{"tenantId":"t","lastSeq":7,"numbered":true}"#;
        for (metadata, left, expected) in [
            (Some(metadata.as_slice()), Some(9), 10),
            (Some(metadata), Some(5), 8),
            (None, Some(9), 10),
        ] {
            assert_eq!(next_seq(metadata, left, "t"), expected);
        }
    }
}
