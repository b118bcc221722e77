//! What all callers of a run share: where the service is to be found now, and what they say to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::{
    audio, keys,
    ledger::Ledger,
    plan::{CallPlan, Pace, Speaker},
    wire::{NoWire, Wire},
};

/// Where the service listens, and which start of it that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) incarnation: usize,
    pub(crate) port: u16,
}

/// One run as callers see it.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) seed: u64,
    pub(crate) began: Instant,
    pub(crate) address: watch::Receiver<Option<Address>>,
    /// Calls without a planned end come to it.
    pub(crate) hush: CancellationToken,
    /// Redis has lost its data and is there again.
    pub(crate) lost: Arc<AtomicBool>,
}

impl Line {
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    pub(crate) async fn wait_for(&self, plan: &CallPlan) {
        sleep_until(self.began + Duration::from_millis(plan.begins_ms)).await;
    }

    /// A connection, as soon as there is one within the time that the caller has.
    pub(crate) async fn dial(
        &self,
        ledger: &mut Ledger,
        patience: Duration,
    ) -> Option<(usize, Wire)> {
        let until = Instant::now() + patience;
        let token = (!ledger.plan.is_exotel()).then(keys::token);
        let mut address = self.address.clone();
        loop {
            let there = timeout_at(until, address.wait_for(Option::is_some)).await;
            let Address { incarnation, port } = there.ok()?.ok()?.as_ref().copied()?;
            match Wire::dial(port, token.as_deref()).await {
                Ok(wire) => return Some((incarnation, wire)),
                Err(NoWire::Later) => {}
                Err(NoWire::Refused(status)) => {
                    ledger.complain(&format!("refused with {status}"));
                    return None;
                }
            }
            if Instant::now() >= until {
                return None;
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// How many frames the call has, if that is known by now.
    pub(crate) fn goal(&self, ledger: &Ledger) -> Option<u32> {
        let open_end = || self.hush.is_cancelled().then(|| ledger.highest().max(1));
        ledger.plan.frames.or_else(open_end)
    }

    /// The pause after a frame, if it is the last of its burst.
    pub(crate) async fn pause(&self, wire: &mut Wire, pace: Pace, index: u32) {
        if index.is_multiple_of(pace.burst) {
            wire.listen(Duration::from_micros(pace.pause_us)).await;
        }
    }

    /// The message that carries a frame.
    pub(crate) fn frame(&self, plan: &CallPlan, index: u32) -> Message {
        let audio = audio::frame(self.seed, plan.number, index, plan.frame_bytes);
        if plan.speaker == Speaker::Binary {
            return Message::binary(audio);
        }
        let payload = STANDARD.encode(audio);
        Message::text(match plan.speaker {
            Speaker::Exotel => {
                let at_ms = u64::from(index) * plan.frame_ms();
                format!(
                    r#"{{"event":"media","stream_sid":"{}","sequence_number":"{}","media":{{"chunk":"{index}","timestamp":"{at_ms}","payload":"{payload}"}}}}"#,
                    plan.name(),
                    index + 1
                )
            }
            Speaker::Numbered => format!(r#"{{"event":"audio","data":"{payload}","seq":{index}}}"#),
            Speaker::Plain | Speaker::Binary => {
                format!(r#"{{"event":"audio","data":"{payload}"}}"#)
            }
        })
    }

    /// The message that begins a connection.
    pub(crate) fn start(plan: &CallPlan) -> String {
        let (name, tenant, rate) = (plan.name(), plan.tenant(), plan.rate);
        let start = if plan.is_exotel() {
            json!({"event": "start", "stream_sid": name, "sequence_number": "1", "start": {
                "stream_sid": name, "call_sid": name, "account_sid": tenant, "from": "09990000000", "to": "04440000000",
                "media_format": {"encoding": "base64", "sample_rate": rate.to_string(), "bit_rate": "128kbps"}}})
        } else {
            json!({"event": "start", "interaction_id": name, "tenant_id": tenant, "sample_rate": rate, "encoding": "pcm16"})
        };
        start.to_string()
    }
}
