//! What a custom client is told about how far it is safe (3.8): where to go on, and acks, each for its call in turn.
//!
//! An ack does not name its call, so a call that another follows is acked to its end before the next is answered.
//! Invariant: nothing here is said before it is true.

use axum::extract::ws::Message as WsMessage;
use futures_util::{Sink, Stream};

use super::{Connection, Current, Phase, socket::Socket};
use crate::{
    dialect::reply::{self, ErrorCode, close},
    frame::Now,
    intake::Refusal,
};

impl<S> Connection<S>
where
    S: Stream<Item = Result<WsMessage, axum::Error>> + Sink<WsMessage, Error = axum::Error> + Unpin,
{
    /// Does what has become possible since the last time: answers a custom client (an ack is worth `ack_after` new
    /// frames), and closes a conversation whose records are all durable.
    pub(super) fn answer(&mut self, ack_after: u64, now: Now) {
        if matches!(self.phase, Phase::Closing | Phase::Gone) {
            return;
        }
        self.answer_calls(ack_after);
        if let Phase::Finishing { shutting_down } = self.phase
            && self.partings.is_empty()
            && self
                .current
                .as_ref()
                .is_none_or(|current| current.call.progress().is_finished())
        {
            self.close_finished(shutting_down, now);
        }
    }

    pub(super) fn answer_calls(&mut self, ack_after: u64) {
        if !self.is_custom() {
            return;
        }
        while let Some(parting) = self.partings.front_mut() {
            let finished = parting.call.progress().is_finished();
            parting.answer(
                &mut self.socket,
                if finished { ANY_NEWS } else { ack_after },
            );
            if !finished {
                return;
            }
            self.socket.settle_ack();
            self.partings.pop_front();
        }
        if let Some(current) = &mut self.current {
            current.answer(&mut self.socket, ack_after);
        }
    }

    pub(super) fn close_finished(&mut self, shutting_down: bool, now: Now) {
        match (shutting_down, self.is_custom()) {
            (false, _) => self.close(close::NORMAL, "the call is over", now),
            (true, false) => self.close(close::GOING_AWAY, "the service is shutting down", now),
            (true, true) => {
                let message = "the service is shutting down: connect again".to_owned();
                let code = ErrorCode::ShuttingDown;
                self.fail(&Refusal { code, message }, now);
            }
        }
    }
}

impl Current {
    fn answer<S>(&mut self, socket: &mut Socket<S>, ack_after: u64)
    where
        S: Stream<Item = Result<WsMessage, axum::Error>>
            + Sink<WsMessage, Error = axum::Error>
            + Unpin,
    {
        let progress = self.call.progress();
        if let Some(starting) = &self.starting
            && starting.after.is_none_or(|seq| progress.is_durable(seq))
        {
            let next_seq = starting.after.map_or(1, |seq| seq.saturating_add(1));
            socket.send_text(reply::started(&self.opening.name.interaction_id, next_seq));
            self.starting = None;
        }
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

/// An ack that is due whatever it says.
pub(super) const ANY_NEWS: u64 = 1;
