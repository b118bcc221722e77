//! What follows from a connection's conversation: calls opened and ended, frames published, replies and closes sent.

use super::{Connection, Current, Phase, counts, starting::Starting};
use crate::{
    call::Reason,
    calls::{counts::CALL_ENDED, live_call::Ended},
    dialect::reply::close,
    frame::{Now, Sender},
    intake::{Effect, Heard, Message, Opening},
    payload::Scratch,
    record::Detail,
    telemetry,
};

impl<T> Connection<T> {
    /// One message: its effects in order, then its audio.
    pub(super) fn hear(&mut self, message: Message<'_>, scratch: &mut Scratch, now: Now) {
        let heard = self.intake.handle(message, scratch, now);
        if let Some(bad) = self.intake.take_bad() {
            self.shared.counts.bad_messages.count(bad.reason());
        }
        self.apply_effects(now);
        if let Some(heard) = heard {
            self.publish(&heard, now);
        }
    }

    pub(super) fn apply_effects(&mut self, now: Now) {
        while let Some(effect) = self.intake.poll() {
            match effect {
                Effect::Open(opening) => self.open(opening, now),
                Effect::Started => self.note_started(),
                Effect::Event(detail) => {
                    if let Some(current) = &self.current {
                        current.call.event(&detail, now);
                    }
                }
                Effect::End(reason) => self.end_call(&reason, now),
                Effect::Finish => self.finish(now),
                Effect::Fail(refusal) => self.fail(&refusal, now),
                Effect::Close(code) => {
                    let farewell = if code == close::POLICY {
                        counts::DENIED
                    } else {
                        counts::BAD_INPUT
                    };
                    self.close(code, farewell, "see the server's log", now);
                }
                Effect::Bad { error, total } => {
                    telemetry::bad_message(self.intake.connection_id(), &error.to_string(), total);
                }
                Effect::Warn(text) => {
                    telemetry::connection_warning(self.intake.connection_id(), &text);
                }
                Effect::Rate {
                    declared,
                    measured,
                    advice,
                } => self.note_rate(declared, measured, advice.as_deref(), now),
                Effect::Denied(text) => {
                    telemetry::late_token_denied(self.intake.connection_id(), &text);
                    self.note_refused(close::POLICY, BAD_URL_TOKEN, &text);
                }
            }
        }
        if self.phase == Phase::Open {
            self.timing.set_limit(self.intake.deadline());
        }
    }

    fn note_rate(&self, declared: u32, measured: u32, advice: Option<&str>, now: Now) {
        let Some(current) = &self.current else { return };
        if current.call.take_rate(declared, measured, now)
            && let Some(advice) = advice
        {
            telemetry::connection_warning(self.intake.connection_id(), advice);
        }
    }

    fn open(&mut self, opening: Opening, now: Now) {
        let other = |current: &mut Box<Current>| {
            current.opening.name != opening.name || current.call.is_ended()
        };
        if let Some(current) = self.current.take_if(other) {
            // It has ended already: whoever opens another call has ended the one before.
            self.part(current, now);
        }
        match &mut self.current {
            Some(current) => current.opening = opening,
            None => {
                if !self.attach(opening, now) {
                    return;
                }
            }
        }
        let Some(current) = &self.current else { return };
        let start = current.opening.start.as_deref();
        if let Some((about, event)) = start {
            current.call.take_start(about, event, now);
        }
        // The metadata may say where a custom client goes on: it is read before it is written over, see `answer.rs`.
        if start.is_none() || !self.is_custom() {
            current.call.announce(now);
        }
    }

    /// Leaves a call that another follows; its client is still to hear how far it is durable.
    fn part(&mut self, mut current: Box<Current>, now: Now) {
        current.call.detach(now);
        if self.is_custom() {
            current.reader = None;
            self.partings.push_back(current);
        }
    }

    /// Makes `opening` the current call, as a session of its own or as part of the live one.
    fn attach(&mut self, opening: Opening, now: Now) -> bool {
        let Some(opened) = self
            .shared
            .calls
            .open(&opening.name, self.intake.sender(), now)
        else {
            return false;
        };
        let (name, session) = (&opening.name, opened.call.session());
        if let Some((
            _,
            Detail::Start {
                stream_sid,
                sample_rate,
                encoding,
                ..
            },
        )) = opening.start.as_deref()
        {
            let stream_sid = stream_sid.as_deref().unwrap_or_default();
            telemetry::start_received(
                self.intake.connection_id(),
                &name.interaction_id,
                &name.tenant_id,
                stream_sid,
                *sample_rate,
                encoding,
                session,
                opened.joined,
            );
        } else {
            telemetry::call_opened(
                self.intake.connection_id(),
                &name.interaction_id,
                &name.tenant_id,
                session,
                opened.joined,
            );
        }
        self.timing.call_began(opened.call.started());
        self.current = Some(Box::new(Current {
            starting: None,
            reader: self.is_custom().then(|| opened.call.reader()),
            acked: opened.last_seq,
            progress: opened.call.progress().subscribe(),
            call: opened.call,
            opening,
            patterns: Vec::new(),
            dialect: None,
            generation: self.intake.generation(),
        }));
        true
    }

    fn publish(&mut self, heard: &Heard<'_>, now: Now) {
        self.shared.counts.heard(heard);
        if self.try_publish(heard, now).is_err() {
            // Another connection has ended the call while this one goes on: what comes now is a new session of it.
            if let Some(current) = self.current.take() {
                let (name, start) = (current.opening.name.clone(), current.opening.start.clone());
                self.part(current, now);
                self.open(Opening { name, start }, now);
            }
            if self.try_publish(heard, now).is_err() {
                self.shared.calls.counts().dropped.count(CALL_ENDED);
                telemetry::connection_warning(
                    self.intake.connection_id(),
                    "a frame was lost: its call ended twice at once",
                );
            }
        }
    }

    fn try_publish(&mut self, heard: &Heard<'_>, now: Now) -> Result<(), Ended> {
        let lane = self.current.as_ref().map(|current| current.call.outlet());
        let sheds = lane.is_some_and(|lane| self.sheds(lane));
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        if current.generation != self.intake.generation() {
            current.generation = self.intake.generation();
            current.patterns.clear();
            current.dialect = None;
            if let Some(sid) = self.intake.stream_sid() {
                current.call.take_stream_sid(sid);
            }
        }
        let sample_rate = self.intake.sample_rate();
        if sheds {
            let calls = &self.shared.calls;
            return calls.drop_audio(&current.call, heard, sample_rate, now);
        }
        if current.dialect != Some(heard.dialect) {
            current.dialect = Some(heard.dialect);
            current.call.note_audio(sample_rate, heard.dialect);
        }
        if current.patterns.len() <= heard.track {
            current.patterns.reserve_exact(1);
            current.patterns.resize_with(heard.track + 1, || None);
        }
        let Some(slot) = current.patterns.get_mut(heard.track) else {
            return Ok(());
        };
        let pattern = slot.get_or_insert_with(|| {
            let (sid, track) = (self.intake.stream_sid(), self.intake.track(heard.track));
            current
                .call
                .pattern(self.shared.calls.publisher(), sample_rate, sid, track)
        });
        if !current.call.publish(heard, pattern, sample_rate, now)? {
            self.shared.counts.duplicate();
        } else if self.looked_at {
            current.call.measure(heard, sample_rate, now);
        }
        Ok(())
    }

    fn note_started(&mut self) {
        if let Some(current) = &mut self.current {
            let seeks = matches!(current.starting.as_deref(), Some(Starting::Sought(_)));
            if seeks && current.call.last_seq().is_none() {
                return;
            }
            let publisher = self.shared.calls.publisher();
            let starting = Starting::of(&current.call, current.reader.as_ref(), publisher);
            current.starting = Some(Box::new(starting));
        }
    }

    pub(super) fn end_call(&mut self, reason: &Reason, now: Now) {
        if let Some(current) = &self.current {
            self.shared.calls.end(&current.call, reason, now);
        }
    }

    pub(super) fn is_custom(&self) -> bool {
        self.intake.sender() == Sender::Custom
    }
}

/// As the refusal is called where the token stands in the path.
const BAD_URL_TOKEN: &str = "bad_url_token";
