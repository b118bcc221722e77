//! A custom client that does what the contract asks of it (3.8): it keeps what was not acked, connects again
//! until all is, and goes on where `started` says. Exotel's calls are in `exotel`.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;

use crate::{
    ledger::Ledger,
    line::Line,
    plan::{Break, CallPlan, Speaker, Tear},
    wire::Wire,
};

/// One client and where it stands.
struct Client {
    ledger: Ledger,
    line: Line,
    breaks: VecDeque<Break>,
    /// Which of its frames the session's first is, where the service numbers them.
    base: u32,
}

/// Plays the call until everything is acked.
pub(crate) async fn play(plan: CallPlan, line: Line) -> Ledger {
    line.wait_for(&plan).await;
    let mut client = Client {
        ledger: Ledger::new(&plan),
        line,
        breaks: plan.breaks.iter().copied().collect(),
        base: 1,
    };
    while client.ledger.finished.is_none() && client.ledger.complaints.is_empty() {
        let line = client.line.clone();
        let Some((incarnation, wire)) = line.dial(&mut client.ledger, PATIENCE).await else {
            break;
        };
        client.converse(incarnation, wire).await;
        if client.line.goal(&client.ledger) == Some(client.ledger.acked) {
            client.ledger.finished = Some(client.ledger.acked);
        }
        if client.ledger.finished.is_none() {
            // A client that is turned away comes back, but not at once and for ever.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    client.ledger
}

impl Client {
    /// One connection, to its end.
    async fn converse(&mut self, incarnation: usize, mut wire: Wire) {
        let plan = self.ledger.plan.clone();
        if !wire.text(Line::start(&plan)).await {
            return;
        }
        let Some(first) = self.first(&mut wire).await else {
            return;
        };
        self.ledger.begin(incarnation, first);
        self.breaks.retain(|one| one.after >= first);
        let mut index = first - 1;
        while self.line.goal(&self.ledger).is_none_or(|goal| index < goal) {
            index += 1;
            self.ledger.sends(index, self.line.has_lost());
            if !wire.say(self.line.frame(&plan, index)).await {
                return self.hear_rest(wire).await;
            }
            self.line.pause(&mut wire, plan.pace, index).await;
            while let Some(message) = wire.heard() {
                self.hear(&message);
            }
            if let Some(due) = self.breaks.pop_front_if(|one| one.after <= index) {
                wire.leave(due.tear).await;
                return tokio::time::sleep(Duration::from_millis(due.pause_ms)).await;
            }
        }
        if wire.text(r#"{"event":"end"}"#).await {
            while let Some(message) = wire.next().await {
                self.hear(&message);
            }
            if wire.code() == Some(1000) {
                if self.ledger.acked != index {
                    let acked = self.ledger.acked;
                    self.ledger.complain(&format!(
                        "closed with 1000 after {index} frames, {acked} acked"
                    ));
                }
                self.ledger.arrives(true);
            }
        }
        self.hear_rest(wire).await;
    }

    /// What was heard before the connection broke counts too.
    async fn hear_rest(&mut self, mut wire: Wire) {
        while let Some(message) = wire.heard() {
            self.hear(&message);
        }
        wire.leave(Tear::Vanish).await;
    }

    /// Waits for `started`; the frame to go on with.
    async fn first(&mut self, wire: &mut Wire) -> Option<u32> {
        loop {
            let message = wire.next().await?;
            if message["event"] != "started" {
                self.hear(&message);
                continue;
            }
            let next = message["next_seq"].as_u64();
            let Some(next) = next.and_then(|next| u32::try_from(next).ok()) else {
                self.ledger.complain(&format!("{message}"));
                return None;
            };
            let ledger = &mut self.ledger;
            let first = if ledger.plan.speaker == Speaker::Numbered {
                next.max(ledger.acked + 1)
            } else {
                if next <= 1 {
                    self.base = ledger.acked + 1;
                }
                self.base + next.max(1) - 1
            };
            if first > ledger.highest() + 1 || first <= ledger.acked {
                let (sent, acked) = (ledger.highest(), ledger.acked);
                ledger.complain(&format!(
                    "{message} means frame {first} after {sent} sent, {acked} acked"
                ));
                return None;
            }
            // All before it is durable, whether or not its ack has been heard.
            ledger.acked = ledger.acked.max(first - 1);
            return Some(first);
        }
    }

    fn hear(&mut self, message: &Value) {
        match message["event"].as_str() {
            Some("ack") => {
                let seq = message["seq"].as_u64().unwrap_or(u64::MAX);
                let before = match self.ledger.plan.speaker {
                    Speaker::Numbered => 0,
                    _ => u64::from(self.base) - 1,
                };
                self.ledger.hears_ack(seq.saturating_add(before));
            }
            Some("error") if message["code"] == "shutting_down" => {}
            Some("error") if message["code"] == "overloaded" => {}
            _ => self.ledger.complain(&format!("was told {message}")),
        }
    }
}

/// Longer than the service is ever away in a run.
const PATIENCE: Duration = Duration::from_mins(1);
