//! How a connection ends: closes that are sent and answered, what WebSocket forbids, and the clock.
//!
//! What its conversation asks for is `apply.rs`'s. Invariant: after a close was sent nothing is, and the socket is let go
//! of in time whatever the peer does.

use std::time::Duration;

use super::{
    Connection, Phase,
    answer::ANY_NEWS,
    counts::{self, LOST},
    socket::{close_code, farewell},
    timing::Due,
};
use crate::{
    call::Reason,
    dialect::reply::{self, ErrorCode, close},
    frame::Now,
    handshakes::Why,
    intake::Refusal,
    telemetry,
    websocket::Violation,
};

impl<T> Connection<T> {
    pub(super) fn finish(&mut self, now: Now) {
        let within = if self.is_custom() {
            FINISH_WITHIN
        } else {
            CLOSE_WITHIN
        };
        self.farewell = counts::FINISHED;
        self.phase = Phase::Finishing {
            shutting_down: false,
        };
        self.timing.only_limit(now.instant + within);
    }

    pub(super) fn fail(&mut self, refusal: &Refusal, now: Now) {
        telemetry::connection_warning(self.intake.connection_id(), &refusal.message);
        if refusal.code == ErrorCode::Forbidden {
            let (code, name) = (refusal.code.close_code(), refusal.code.name());
            self.note_refused(code, name, &refusal.message);
        }
        self.answer_calls(ANY_NEWS, now);
        self.socket
            .send_text(&reply::error(refusal.code, &refusal.message));
        let name = refusal.code.name();
        self.say_goodbye(refusal.code.close_code(), name, name, now);
    }

    /// What was let in at the handshake is turned away after all.
    pub(super) fn note_refused(&self, status: u16, error: &'static str, reason: &str) {
        let why = Why {
            status,
            error,
            reason,
        };
        let connection = self.intake.connection_id();
        self.shared.handshakes.note_refused_late(connection, &why);
    }

    pub(super) fn close(&mut self, code: u16, farewell: &'static str, reason: &str, now: Now) {
        self.answer_calls(ANY_NEWS, now);
        self.say_goodbye(code, farewell, reason, now);
    }

    /// The close frame, with no ack behind what was said last.
    fn say_goodbye(&mut self, code: u16, farewell: &'static str, reason: &str, now: Now) {
        self.farewell = farewell;
        self.socket.send_close(code, reason);
        self.closed = (code, reason.to_owned().into());
        self.phase = Phase::Closing;
        self.timing.only_limit(now.instant + CLOSE_WITHIN);
    }

    /// The peer's close: the answer to ours, or one to be answered.
    pub(super) fn take_close(&mut self, code: Option<u16>, reason: &str, now: Now) {
        if self.phase == Phase::Closing {
            self.phase = Phase::Gone;
            return;
        }
        if self.farewell == LOST {
            self.farewell = counts::PEER;
        }
        self.closed = (code.unwrap_or(NO_STATUS), reason.to_owned().into());
        self.socket.answer_close(code, reason);
        self.phase = Phase::Closing;
        self.timing.only_limit(now.instant + CLOSE_WITHIN);
    }

    /// What the peer did is against WebSocket itself: the one way in which input ends a call at once.
    pub(super) fn take_forbidden(&mut self, violation: Violation, now: Now) {
        if self.phase == Phase::Closing {
            self.phase = Phase::Gone;
            return;
        }
        let (code, what) = (close_code(violation), violation.to_string());
        self.end_call(&Reason::BadInput, now);
        telemetry::connection_warning(self.intake.connection_id(), &what);
        self.answer_calls(ANY_NEWS, now);
        if self.is_custom() && code == close::TOO_LARGE {
            self.socket
                .send_text(&reply::error(ErrorCode::TooLarge, &what));
        }
        self.say_goodbye(code, farewell(violation), &what, now);
    }

    pub(super) fn take_timer(&mut self, now: Now) {
        match self.timing.due(now) {
            Due::Nothing => {}
            // While we do not read, silence is our own.
            Due::Ping | Due::Idle if !self.may_read() => self.timing.heard(now),
            Due::Ping => self.socket.send_ping(),
            Due::Idle => {
                self.end_call(&Reason::IdleTimeout, now);
                let why = "nothing was heard, not even a pong";
                self.close(close::GOING_AWAY, counts::IDLE, why, now);
            }
            Due::CallTooLong => {
                self.end_call(&Reason::MaxDuration, now);
                let why = "the call has lasted MAX_CALL_S";
                self.close(close::NORMAL, counts::MAX_DURATION, why, now);
            }
            Due::Limit => {
                match self.phase {
                    Phase::Open => {
                        self.intake.handle_timeout(now);
                        self.apply_effects(now);
                    }
                    Phase::Finishing { shutting_down } if !self.is_custom() => {
                        self.close_finished(shutting_down, now);
                    }
                    Phase::Finishing { .. } => {
                        let message = "the last frames are not durable yet: send them again on a new connection".to_owned();
                        self.fail(
                            &Refusal {
                                code: ErrorCode::Overloaded,
                                message,
                            },
                            now,
                        );
                    }
                    Phase::Closing | Phase::Gone => self.phase = Phase::Gone,
                }
            }
        }
    }

    /// The grace of the drain is over.
    pub(super) fn shut_down(&mut self, now: Now) {
        if self.phase != Phase::Open {
            return;
        }
        self.end_call(&Reason::Shutdown, now);
        self.farewell = counts::SHUTTING_DOWN;
        self.phase = Phase::Finishing {
            shutting_down: true,
        };
        self.timing.only_limit(now.instant + CLOSE_WITHIN);
    }
}

/// How long a client that has ended its call waits for its last frames to be durable.
const FINISH_WITHIN: Duration = Duration::from_secs(30);
/// How long the peer may take to answer a close frame.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// RFC 6455's code for a close that has none.
const NO_STATUS: u16 = 1005;
