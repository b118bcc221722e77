//! One second of a call over a connection that is open: start, audio, end, as Exotel or a custom client says them.
//!
//! The words are the simulator's. Invariants: the call's name begins with [`CALL_PREFIX`], unless the token names another,
//! so that workers can leave it alone; and each wait is within the limit.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::tungstenite::Message;

use super::{step::Step, url::Client};
use crate::simulate::{
    connect::Socket,
    sound::{Encoding, Sound},
    summary::tidy,
    wire::{self, Answer, Names},
};

/// What the call is to be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) call: String,
    pub(super) tenant: Option<String>,
    pub(super) rate: u32,
    /// Of the URL; Exotel hands them over in the start.
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) limit: Duration,
}

/// How far it came.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) frames: u64,
    pub(super) steps: Vec<Step>,
}

/// What a token binds, as it says itself.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Bound {
    pub(super) interaction_id: Option<String>,
    pub(super) tenant_id: Option<String>,
}

/// How the connection ended, or what came instead.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Nothing of weight.
    Quiet,
    Started,
    Closed(Ended),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ended {
    code: Option<u16>,
    /// Of the close, or of an `error` event before it.
    reason: String,
}

struct Conversation<'a> {
    plan: &'a Plan,
    socket: Socket,
    acked: u64,
    error: Option<String>,
}

impl Bound {
    /// Nothing is verified here; the service does that.
    pub(super) fn read(token: &str) -> Self {
        let payload = token.split('.').nth(1).unwrap_or_default();
        let payload = URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .unwrap_or_default();
        serde_json::from_slice(&payload).unwrap_or_default()
    }
}

/// Plays it and closes the connection.
pub(super) async fn play(socket: Socket, plan: &Plan) -> Played {
    let mut talk = Conversation {
        plan,
        socket,
        acked: 0,
        error: None,
    };
    let mut played = Played::default();
    let names = plan.names();
    match talk.start(&names).await {
        Ok(step) => played.steps.push(step),
        Err(ended) => {
            played
                .steps
                .push(Step::failed("start", ended.seen(), advice(&ended)));
            played.skip(&["audio", "close"]);
            return played;
        }
    }
    let sent = talk.audio(&names, &mut played.frames).await;
    if let Err(ended) = sent {
        played
            .steps
            .push(Step::failed("audio", ended.seen(), advice(&ended)));
        played.skip(&["close"]);
        return played;
    }
    let seen = format!(
        "{} frames, one second at {} Hz, in call {}",
        played.frames, plan.rate, plan.call
    );
    played.steps.push(Step::ok("audio", seen));
    played.steps.push(talk.close(&names, played.frames).await);
    played
}

impl Plan {
    fn names(&self) -> Names {
        Names {
            stream_sid: wire::sid(),
            call_sid: self.call.clone(),
            account_sid: self.tenant.clone().unwrap_or_else(|| TENANT.to_owned()),
            from: "doctor".to_owned(),
            to: "doctor".to_owned(),
        }
    }
}

impl Played {
    fn skip(&mut self, names: &[&'static str]) {
        let skipped = names
            .iter()
            .map(|name| Step::skipped(name, "the call did not get so far"));
        self.steps.extend(skipped);
    }
}

impl Conversation<'_> {
    async fn start(&mut self, names: &Names) -> Result<Step, Ended> {
        let plan = self.plan;
        let until = Instant::now() + plan.limit;
        if plan.client == Client::Custom {
            let start = wire::flat_start(
                &plan.call,
                plan.tenant.as_deref(),
                plan.rate,
                Encoding::Pcm16,
            );
            self.say(start).await?;
            return loop {
                match self.listen(until).await {
                    Some(Heard::Started) => {
                        break Ok(Step::ok("start", "the service answered `started`"));
                    }
                    Some(Heard::Closed(ended)) => break Err(ended),
                    Some(Heard::Quiet) => {}
                    None => break Err(Ended::silent("no `started` came")),
                }
            };
        }
        self.say(wire::CONNECTED.to_owned()).await?;
        let start = wire::exotel_start(names, plan.rate, Encoding::Pcm16, &plan.parameters);
        self.say(start).await?;
        // A token in it that is wrong closes the connection at once.
        let until = Instant::now() + QUIET;
        while let Some(heard) = self.listen(until).await {
            if let Heard::Closed(ended) = heard {
                return Err(ended);
            }
        }
        Ok(Step::ok("start", "taken; the connection stays open"))
    }

    /// In real time, as a call is.
    async fn audio(&mut self, names: &Names, sent: &mut u64) -> Result<(), Ended> {
        let sound = Sound::voice(self.plan.rate, Duration::from_secs(1));
        let began = Instant::now();
        let mut audio = Vec::new();
        for index in 0..FRAMES {
            sound.frame(u64::from(index), FRAME_MS, Encoding::Pcm16, &mut audio);
            let message = match self.plan.client {
                Client::Custom => wire::simple_audio(u64::from(index) + 1, &audio),
                Client::Exotel => {
                    let mut message = String::new();
                    let sid = &names.stream_sid;
                    wire::append_exotel_media(
                        &mut message,
                        sid,
                        u64::from(index),
                        FRAME_MS,
                        &audio,
                    );
                    message
                }
            };
            self.say(message).await?;
            *sent += 1;
            let due = began + Duration::from_millis(u64::from(FRAME_MS)) * (index + 1);
            while let Some(heard) = self.listen(due).await {
                if let Heard::Closed(ended) = heard {
                    return Err(ended);
                }
            }
        }
        Ok(())
    }

    async fn close(&mut self, names: &Names, frames: u64) -> Step {
        let goodbye = match self.plan.client {
            Client::Exotel => wire::exotel_stop(names, frames),
            Client::Custom => wire::END.to_owned(),
        };
        if let Err(ended) = self.say(goodbye).await {
            return Step::failed("close", ended.seen(), advice(&ended));
        }
        if self.plan.client == Client::Exotel {
            // Exotel drops the connection behind its stop; that this fails only means that it is gone already.
            self.socket.get_mut().shutdown().await.ok();
        }
        let until = Instant::now() + self.plan.limit;
        let ended = loop {
            match self.listen(until).await {
                Some(Heard::Closed(ended)) => break ended,
                Some(_) => {}
                None => {
                    return Step::failed(
                        "close",
                        "the service did not close after the end of the call",
                        "Redis or the journal's disk may be slow: see /health and the log",
                    );
                }
            }
        };
        closed(self.plan.client, &ended, frames, self.acked)
    }

    async fn say(&mut self, text: String) -> Result<(), Ended> {
        let until = Instant::now() + self.plan.limit;
        match timeout_at(until, self.socket.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                // Why it was closed may lie unread.
                while let Some(heard) = self.listen(Instant::now() + QUIET).await {
                    if let Heard::Closed(ended) = heard {
                        return Err(ended);
                    }
                }
                Err(Ended::silent(&error.to_string()))
            }
            Err(_elapsed) => Err(Ended::silent("the service does not read")),
        }
    }

    /// What comes before it is time.
    async fn listen(&mut self, until: Instant) -> Option<Heard> {
        let message = timeout_at(until, self.socket.next()).await.ok()?;
        let text = match message {
            None | Some(Err(_)) => {
                return Some(Heard::Closed(Ended {
                    code: None,
                    reason: self.error.take().unwrap_or_default(),
                }));
            }
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.as_ref().map(|frame| tidy(frame.reason.as_str()));
                return Some(Heard::Closed(Ended {
                    code: frame.map(|frame| frame.code.into()),
                    reason: self.error.take().or(reason).unwrap_or_default(),
                }));
            }
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => return Some(Heard::Quiet),
        };
        let answer = Answer::read(&text).unwrap_or_default();
        match answer.event.as_str() {
            "ack" => self.acked = self.acked.max(answer.seq),
            "error" => {
                self.error = Some(format!("{}: {}", tidy(&answer.code), tidy(&answer.message)));
            }
            "started" => return Some(Heard::Started),
            _ => {}
        }
        Some(Heard::Quiet)
    }
}

impl Ended {
    fn silent(what: &str) -> Self {
        Self {
            code: None,
            reason: what.to_owned(),
        }
    }

    fn seen(&self) -> String {
        let reason = if self.reason.is_empty() {
            "no reason given"
        } else {
            &self.reason
        };
        match self.code {
            Some(code) => format!("the service closed with {code}: {reason}"),
            None => format!("the connection ended: {reason}"),
        }
    }
}

fn closed(client: Client, ended: &Ended, frames: u64, acked: u64) -> Step {
    match (client, ended.code) {
        (Client::Custom, Some(1000)) if acked >= frames => Step::ok(
            "close",
            format!("closed with 1000, all {frames} frames acked"),
        ),
        (Client::Custom, Some(1000)) => Step::failed(
            "close",
            format!("closed with 1000, and {acked} of {frames} frames were acked"),
            "what is not acked is not safe: see /health and the log",
        ),
        (Client::Exotel, Some(1000 | 1001)) => Step::ok("close", "closed with 1000 after the stop"),
        (Client::Exotel, None) => Step::ok("close", "the connection ended after the stop"),
        _ => Step::failed("close", ended.seen(), advice(ended)),
    }
}

fn advice(ended: &Ended) -> &'static str {
    match ended.code {
        Some(1001) => "the instance is shutting down: try again",
        Some(1007) => {
            "the service could not use what was said: see its log, and whether a proxy changes messages"
        }
        Some(1008) => {
            "with EXOTEL_URL_TOKENS one of the tokens must be in the URL, as the last part of the path or as the parameter token; a custom client may only name what its token does"
        }
        Some(1009) => "raise MAX_MESSAGE_BYTES",
        Some(1011..=1013) => "see /health and the log: the service is overloaded or has a fault",
        _ => {
            "a proxy or firewall cuts the connection, or the service ended: compare with its log, line `Connection closed`; with no such line a proxy did it"
        }
    }
}

/// What the examination's calls are called.
pub(super) const CALL_PREFIX: &str = "doctor-";
const TENANT: &str = "doctor";
const FRAMES: u32 = 50;
pub(super) const FRAME_MS: u32 = 20;
/// How long we listen for an objection.
const QUIET: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    fn ended(code: Option<u16>) -> Ended {
        Ended {
            code,
            reason: String::new(),
        }
    }

    #[test]
    fn a_close_is_judged_by_who_called() {
        let status = |client, code, acked| closed(client, &ended(code), 50, acked).status;
        assert_eq!(status(Client::Exotel, Some(1000), 0), Status::Ok);
        assert_eq!(status(Client::Exotel, None, 0), Status::Ok);
        assert_eq!(status(Client::Exotel, Some(1008), 0), Status::Failed);
        assert_eq!(status(Client::Custom, Some(1000), 50), Status::Ok);
        assert_eq!(status(Client::Custom, Some(1000), 49), Status::Failed);
        assert_eq!(status(Client::Custom, None, 50), Status::Failed);
    }

    #[test]
    fn every_close_has_its_advice() {
        assert!(advice(&ended(Some(1008))).contains("EXOTEL_URL_TOKENS"));
        assert!(advice(&ended(None)).contains("proxy"));
        let said = Ended::silent("no `started` came").seen();
        assert!(said.contains("started"), "{said}");
    }

    #[test]
    fn what_a_token_binds_is_read_from_it() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"tenant_id":"t","interaction_id":"i","exp":1}"#);
        let bound = Bound::read(&format!("x.{payload}.y"));
        assert_eq!(
            (bound.tenant_id.as_deref(), bound.interaction_id.as_deref()),
            (Some("t"), Some("i"))
        );
        assert!(Bound::read("nonsense").tenant_id.is_none());
    }
}
