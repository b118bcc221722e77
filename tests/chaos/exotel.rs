//! A call as Exotel plays it: no acks, nothing is ever said twice, and a connection that breaks from the
//! other side is the end of it. Custom clients are in `client`.

use std::time::Duration;

use crate::{
    ledger::Ledger,
    line::Line,
    plan::{CallPlan, Tear},
    wire::Wire,
};

/// How one connection's talk went.
enum Spoken {
    /// To the call's last frame.
    All,
    /// To where it is to be lost.
    ToBreak,
    Broken,
}

/// Plays the call to its end.
pub(crate) async fn play(plan: CallPlan, line: Line) -> Ledger {
    let mut ledger = Ledger::new(&plan);
    let mut breaks = plan.breaks.iter();
    line.wait_for(&plan).await;
    loop {
        let Some((incarnation, mut wire)) = line.dial(&mut ledger, PATIENCE).await else {
            return ledger;
        };
        ledger.begin(incarnation, ledger.highest() + 1);
        let next = breaks.next();
        match speak(&mut wire, &mut ledger, &line, next.map(|next| next.after)).await {
            Spoken::Broken => return ledger,
            Spoken::All => {
                let ready = plan.ending != Tear::Stop || wire.text(stop(&plan)).await;
                let whole = ready && wire.leave(plan.ending).await;
                ledger.arrives(whole);
                ledger.finished = Some(ledger.highest());
                return ledger;
            }
            Spoken::ToBreak => {
                let Some(next) = next else { return ledger };
                let whole = wire.leave(next.tear).await;
                ledger.arrives(whole);
                tokio::time::sleep(Duration::from_millis(next.pause_ms)).await;
            }
        }
    }
}

async fn speak(wire: &mut Wire, ledger: &mut Ledger, line: &Line, until: Option<u32>) -> Spoken {
    let plan = ledger.plan.clone();
    if !wire.text(r#"{"event":"connected"}"#).await || !wire.text(Line::start(&plan)).await {
        return Spoken::Broken;
    }
    let mut index = ledger.highest();
    loop {
        if until == Some(index) {
            return Spoken::ToBreak;
        }
        if line.goal(ledger).is_some_and(|goal| index >= goal) {
            return Spoken::All;
        }
        index += 1;
        ledger.sends(index, line.has_lost());
        if !wire.say(line.frame(&plan, index)).await {
            return Spoken::Broken;
        }
        line.pause(wire, plan.pace, index).await;
    }
}

fn stop(plan: &CallPlan) -> String {
    let name = plan.name();
    format!(
        r#"{{"event":"stop","stream_sid":"{name}","stop":{{"call_sid":"{name}","reason":"callended"}}}}"#
    )
}

/// A call that nobody takes for so long is not made.
const PATIENCE: Duration = Duration::from_secs(3);
