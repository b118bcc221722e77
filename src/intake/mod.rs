//! One connection's conversation: what a peer says becomes audio of a call and [`Effect`]s, in order.
//!
//! Feed one message to [`Intake::handle`], apply every effect that [`Intake::poll`] gives, then publish the audio that
//! `handle` returned, and at [`Intake::deadline`] call [`Intake::handle_timeout`]. No socket, no clock and no Redis here:
//! the driver is `connection.rs`. Numbers and manifests are `call.rs`'s. Invariants: nothing that an Exotel peer
//! sends ends its call, but a hundred bad messages in a row; audio is never returned before its call has been opened.

mod effect;
mod facts;
pub mod format;
mod held;
mod opening;
mod pace;
mod sound;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

pub use self::{
    effect::{Bad, Effect, Heard, Message, Opening, Refusal},
    facts::{Facts, Hints},
    held::OwnedMessage,
};
use self::{format::Format, held::Held, pace::Pace};
use crate::{
    call::{CallName, Reason},
    dialect::{
        Dialect, Inbound, decode_binary, decode_text,
        reply::{ErrorCode, close},
    },
    frame::{ID_BYTES_MAX, Now, Sender, clip},
    payload::{Decoder, Scratch},
    record::Detail,
};

/// The state of one connection.
#[derive(Debug)]
pub struct Intake {
    facts: Facts,
    held: Option<Held>,
    released: Vec<(Now, OwnedMessage)>,
    current: Option<Current>,
    stream_sid: Option<String>,
    tracks: Vec<Track>,
    /// Rises whenever something that stands in every frame has changed.
    generation: u32,
    effects: VecDeque<Effect>,
    bad_in_a_row: u32,
    bad_total: u64,
    bad_told: Option<Instant>,
    /// The last message, if it could not be used.
    bad: Option<Bad>,
    sender_gaps: u64,
    over: bool,
}

/// The call whose audio is coming.
#[derive(Debug)]
struct Current {
    name: CallName,
    format: Format,
    /// Whether a start has announced it.
    started: bool,
    /// Whether that start gave it its name; else the name is provisional.
    named: bool,
}

#[derive(Debug)]
struct Track {
    name: Option<String>,
    decoder: Decoder,
    pace: Pace,
    chunk: Option<u64>,
}

impl Intake {
    pub fn new(mut facts: Facts, now: Now) -> Self {
        facts.hints.call = facts.hints.call.filter(|id| id.len() <= ID_BYTES_MAX);
        facts.hints.tenant = facts.hints.tenant.filter(|id| id.len() <= ID_BYTES_MAX);
        let held = facts.awaits_token.take().map(|rules| Held::new(rules, now));
        Self {
            facts,
            held,
            released: Vec::new(),
            current: None,
            stream_sid: None,
            tracks: Vec::new(),
            generation: 0,
            effects: VecDeque::new(),
            bad_in_a_row: 0,
            bad_total: 0,
            bad_told: None,
            bad: None,
            sender_gaps: 0,
            over: false,
        }
    }

    /// What the log calls this connection.
    pub fn connection_id(&self) -> &str {
        &self.facts.connection_id
    }

    pub fn sender(&self) -> Sender {
        self.facts.sender
    }

    pub fn sample_rate(&self) -> u32 {
        self.current.as_ref().map_or_else(
            || self.facts.sender.default_rate(),
            |current| current.format.sample_rate,
        )
    }

    pub fn stream_sid(&self) -> Option<&str> {
        self.stream_sid.as_deref()
    }

    pub fn track(&self, index: usize) -> Option<&str> {
        self.tracks
            .get(index)
            .and_then(|track| track.name.as_deref())
    }

    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Jumps in the sender's own numbering, which may or may not mean lost audio.
    pub fn sender_gaps(&self) -> u64 {
        self.sender_gaps
    }

    pub fn bad_messages(&self) -> u64 {
        self.bad_total
    }

    /// Why the last message could not be used, if so; to be asked for after each, since only some are told of.
    pub fn take_bad(&mut self) -> Option<Bad> {
        self.bad.take()
    }

    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Messages that waited for the token, to be handled now, as of the time they came.
    pub fn take_released(&mut self) -> Vec<(Now, OwnedMessage)> {
        std::mem::take(&mut self.released)
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(Held::deadline)
    }

    pub fn handle_timeout(&mut self, now: Now) {
        if self
            .held
            .as_ref()
            .is_some_and(|held| held.deadline() <= now.instant)
        {
            self.refuse_token("no token came in the start event within 5 s");
        }
    }

    pub fn handle<'m>(
        &mut self,
        message: Message<'m>,
        scratch: &'m mut Scratch,
        now: Now,
    ) -> Option<Heard<'m>> {
        if self.over {
            return None;
        }
        let inbound = match message {
            Message::Text(text) => match decode_text(text) {
                Ok(inbound) => inbound,
                Err(error) => return self.bad(error.into(), now),
            },
            Message::Binary(bytes) => decode_binary(bytes),
        };
        if self.held.is_some() {
            self.wait_for_token(inbound, message, now);
            return None;
        }
        match inbound {
            Inbound::Media(media) => {
                return self.take_media(media, Dialect::Exotel, scratch, now);
            }
            Inbound::Audio(media) => {
                return self.take_media(media, Dialect::Simple, scratch, now);
            }
            Inbound::Raw(bytes) => return self.take_raw(bytes, scratch, now),
            Inbound::Start(start) => self.take_start(*start),
            Inbound::Dtmf { digit, duration_ms } => self.take_event(Detail::Dtmf {
                digit: clip(&digit, EVENT_TEXT_BYTES_MAX).to_owned(),
                duration_ms,
            }),
            Inbound::Mark { name } => self.take_event(Detail::Mark {
                name: clip(&name, EVENT_TEXT_BYTES_MAX).to_owned(),
            }),
            Inbound::Clear => self.take_event(Detail::Clear {}),
            Inbound::Stop { word } => self.take_stop(word.map_or(Reason::Stop, |word| {
                Reason::Word(clip(&word, EVENT_TEXT_BYTES_MAX).to_owned())
            })),
            Inbound::End => self.take_stop(Reason::End),
            Inbound::Connected | Inbound::Unknown => {}
        }
        self.bad_in_a_row = 0;
        None
    }

    fn wait_for_token(&mut self, inbound: Inbound<'_>, message: Message<'_>, now: Now) {
        let Some(held) = &mut self.held else { return };
        let kept = match inbound {
            Inbound::Start(start) => {
                return match start.custom_parameters.find(&["token"]) {
                    None => {}
                    Some(token) if held.admits(token) => {
                        self.released = self
                            .held
                            .take()
                            .map(Held::into_messages)
                            .unwrap_or_default();
                        self.take_start(*start);
                    }
                    Some(_) => self.refuse_token("the token in the start event is wrong"),
                };
            }
            Inbound::Stop { .. } | Inbound::End => {
                return self.refuse_token("the stream ended before a token came");
            }
            Inbound::Media(media) | Inbound::Audio(media) => held.keep(
                message,
                self.facts
                    .play_time(media.payload.text().map_or(0, |text| text.len() / 4 * 3)),
                now,
            ),
            Inbound::Raw(bytes) => held.keep(message, self.facts.play_time(bytes.len()), now),
            _ => held.keep(message, Duration::ZERO, now),
        };
        if kept.is_err() {
            self.refuse_token("more than 5 s of audio came before a token");
        }
    }

    fn refuse_token(&mut self, why: &str) {
        self.held = None;
        let advice = "nothing of this connection is published; give Exotel the URL with one of EXOTEL_URL_TOKENS";
        self.effects
            .push_back(Effect::Denied(format!("{why}: {advice}")));
        self.close(close::POLICY);
    }

    fn take_event(&mut self, detail: Detail) {
        if self.ensure_call().is_some() {
            self.effects.push_back(Effect::Event(Box::new(detail)));
        }
    }

    fn take_stop(&mut self, reason: Reason) {
        if self.current.take().is_some() {
            self.effects.push_back(Effect::Event(Box::new(Detail::Stop {
                reason: reason.to_string(),
            })));
            self.effects.push_back(Effect::End(reason));
        }
        self.over = true;
        self.effects.push_back(Effect::Finish);
    }

    #[cold]
    fn bad<'m>(&mut self, error: Bad, now: Now) -> Option<Heard<'m>> {
        self.bad = Some(error);
        if self.facts.sender == Sender::Custom {
            let code = match error {
                Bad::Audio(_) => ErrorCode::BadAudio,
                Bad::Decode(_) | Bad::NoAudio | Bad::Seq | Bad::TooManyTracks => {
                    ErrorCode::BadMessage
                }
            };
            self.fail(Refusal {
                code,
                message: error.to_string(),
            });
            return None;
        }
        self.bad_total += 1;
        self.bad_in_a_row += 1;
        let quiet = self
            .bad_told
            .is_some_and(|told| now.instant.saturating_duration_since(told) < BAD_TOLD_EVERY);
        if !quiet {
            self.bad_told = Some(now.instant);
            self.effects.push_back(Effect::Bad {
                error,
                total: self.bad_total,
            });
        }
        if self.bad_in_a_row >= BAD_IN_A_ROW_MAX {
            self.end_badly();
            self.close(close::BAD_PAYLOAD);
        }
        None
    }

    fn fail(&mut self, refusal: Refusal) {
        self.end_badly();
        self.over = true;
        self.effects.push_back(Effect::Fail(refusal));
    }

    fn end_badly(&mut self) {
        if self.current.take().is_some() {
            self.effects.push_back(Effect::End(Reason::BadInput));
        }
    }

    fn close(&mut self, code: u16) {
        self.over = true;
        self.effects.push_back(Effect::Close(code));
    }
}

/// Exotel closes nothing on its own when we cannot read it; a hundred in a row is no hiccup (3.9).
const BAD_IN_A_ROW_MAX: u32 = 100;
const BAD_TOLD_EVERY: Duration = Duration::from_secs(1);
const EVENT_TEXT_BYTES_MAX: usize = 256;
