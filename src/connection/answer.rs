//! What a custom client is told about how far it is safe (3.8): where to go on, and acks, each for its call in turn.
//!
//! An ack does not name its call, so a call that another follows is acked to its end before the next is answered.
//! Invariant: nothing here is said before it is true.

use super::{Connection, Current, Phase, counts, socket::Socket};
use crate::{
    dialect::reply::{self, ErrorCode, close},
    frame::Now,
    intake::Refusal,
};

impl<T> Connection<T> {
    /// Does what has become possible since the last time: answers a custom client (an ack is worth `ack_after` new
    /// frames), and closes a conversation whose records are all durable.
    pub(super) fn answer(&mut self, ack_after: u64, now: Now) {
        if matches!(self.phase, Phase::Closing | Phase::Gone) {
            return;
        }
        self.answer_calls(ack_after, now);
        if let Phase::Finishing { shutting_down } = self.phase
            && self.partings.is_empty()
            && self
                .current
                .as_ref()
                .is_none_or(|current| current.is_answered())
        {
            self.close_finished(shutting_down, now);
        }
    }

    pub(super) fn answer_calls(&mut self, mut ack_after: u64, now: Now) {
        if !self.is_custom() {
            return;
        }
        while let Some(parting) = self.partings.front_mut() {
            let finished = parting.call.progress().is_finished();
            parting.answer(
                &mut self.socket,
                if finished { ANY_NEWS } else { ack_after },
                now,
            );
            if !parting.is_answered() {
                return;
            }
            self.socket.settle_ack();
            self.partings.pop_front();
            // The news of the next came while nothing could be said of it.
            ack_after = ANY_NEWS;
        }
        if let Some(current) = &mut self.current {
            current.answer(&mut self.socket, ack_after, now);
        }
    }

    pub(super) fn close_finished(&mut self, shutting_down: bool, now: Now) {
        match (shutting_down, self.is_custom()) {
            (false, _) => self.close(close::NORMAL, counts::FINISHED, "the call is over", now),
            (true, false) => {
                let why = "the service is shutting down";
                self.close(close::GOING_AWAY, counts::SHUTTING_DOWN, why, now);
            }
            (true, true) => {
                let message = "the service is shutting down: connect again".to_owned();
                let code = ErrorCode::ShuttingDown;
                self.fail(&Refusal { code, message }, now);
            }
        }
    }
}

impl Current {
    /// Whether there is nothing left to tell its client.
    fn is_answered(&self) -> bool {
        self.starting.is_none() && self.call.progress().is_finished()
    }

    async fn news(&mut self) {
        // Who sends them lives as long as the call.
        let progress = async { self.progress.changed().await.unwrap_or_default() };
        match &mut self.starting {
            Some(starting) => either(starting.news(), progress).await,
            None => progress.await,
        }
    }

    fn answer<T>(&mut self, socket: &mut Socket<T>, mut ack_after: u64, now: Now) {
        if let Some(starting) = &mut self.starting {
            // Its acks wait as well: a client that hears the answer first knows what they are about.
            let Some(next_seq) = starting.next_seq() else {
                return;
            };
            // A client that numbers and did not wait for the answer has said itself where it goes on.
            let next_seq = self.call.goes_on_at().unwrap_or(next_seq);
            socket.send_text(&reply::started(&self.opening.name.interaction_id, next_seq));
            self.starting = None;
            ack_after = ANY_NEWS;
            self.call.announce_at(next_seq, now);
        }
        let progress = self.call.progress();
        let next = match self.acked {
            Some(acked) => acked.saturating_add(ack_after),
            // A client may count from 0.
            None => ack_after.saturating_sub(1),
        };
        if let Some(durable) = progress.durable()
            && durable >= next
        {
            self.acked = Some(durable);
            socket.send_ack(durable);
        }
    }
}

/// Returns when it is worth answering again: with news of the call whose turn it is, or of the current one, where
/// another connection may have asked something.
///
/// # Cancel safety
/// Nothing is lost by dropping it.
pub(super) async fn told(parting: Option<&mut Box<Current>>, current: Option<&mut Box<Current>>) {
    match (parting, current) {
        (None, None) => std::future::pending().await,
        (None, Some(only)) | (Some(only), None) => only.news().await,
        (Some(parting), Some(current)) => {
            either(parting.news(), current.news()).await;
        }
    }
}

/// Either of two, in a box: it is rare that there are two, and every connection has room for what is not.
async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let both = async {
        tokio::select! {
            () = one => {}
            () = other => {}
        }
    };
    Box::pin(both).await;
}

/// An ack that is due whatever it says.
pub(super) const ANY_NEWS: u64 = 1;
