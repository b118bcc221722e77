//! Whole conversations with the intake: what a peer says, line by line, and what follows from it, line by line.
//!
//! A line of a conversation is a text message, but for these: `hex 00ff` and `binary {…}` are binary messages,
//! `zeros 320` is so many bytes of raw silence, `wait 1500` lets milliseconds pass, and `99 times …` says one line
//! that often.

mod any_order;
mod audio;
mod bad;
mod ends;
mod late_token;
mod naming;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use super::{Effect, Facts, Heard, Intake, Message};
use crate::{
    admission::{Rules, Settings},
    frame::{Now, Sender},
    payload::Scratch,
    record::Detail,
    secret::Secret,
};

/// A conversation under way, and what came of it.
struct Talk {
    intake: Intake,
    scratch: Scratch,
    now: Now,
    told: Vec<String>,
}

impl Talk {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn new(facts: Facts) -> Self {
        let now = Now {
            instant: std::time::Instant::now(),
            epoch_ms: 1000,
        };
        Self {
            intake: Intake::new(facts, now),
            scratch: Scratch::default(),
            now,
            told: Vec::new(),
        }
    }

    fn play(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("wait", ms)) => self.wait(ms.parse().unwrap()),
            Some(("zeros", bytes)) => self.hear(Message::Binary(&vec![0; bytes.parse().unwrap()])),
            Some(("hex", digits)) => self.hear(Message::Binary(&from_hex(digits))),
            Some(("binary", text)) => self.hear(Message::Binary(text.as_bytes())),
            Some((count, rest)) if rest.starts_with("times ") => {
                for _ in 0..count.parse().unwrap() {
                    self.play(rest.trim_start_matches("times "));
                }
            }
            _ => self.hear(Message::Text(line)),
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now.instant += Duration::from_millis(ms);
        self.now.epoch_ms += ms;
        self.intake.handle_timeout(self.now);
        drain(&mut self.intake, &mut self.told);
    }

    fn hear(&mut self, message: Message<'_>) {
        self.hear_at(message, self.now);
        for (then, message) in self.intake.take_released() {
            self.hear_at(message.borrow(), then);
        }
    }

    fn hear_at(&mut self, message: Message<'_>, now: Now) {
        let heard = self.intake.handle(message, &mut self.scratch, now);
        drain(&mut self.intake, &mut self.told);
        self.told
            .extend(heard.map(|heard| describe_audio(&self.intake, &heard)));
    }
}

/// Plays a conversation and compares all that came of it.
fn check(facts: Facts, conversation: &str, expected: &str) {
    let mut talk = Talk::new(facts);
    lines(conversation).for_each(|line| talk.play(line));
    let expected: Vec<_> = lines(expected).collect();
    assert_eq!(talk.told, expected, "{conversation}");
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn exotel() -> Facts {
    Facts::new(Sender::Exotel, "acme", "fresh-1")
}

fn custom() -> Facts {
    Facts::new(Sender::Custom, "acme", "fresh-1")
}

fn custom_for(call: &str) -> Facts {
    let mut facts = custom();
    facts.hints.call = Some(call.to_owned());
    facts
}

/// An Exotel connection that must still bring the token `open-sesame`.
fn awaiting_token() -> Facts {
    let settings = Settings {
        support_exotel: true,
        basic_auth: Vec::new(),
        allowed_ips: Vec::new(),
        trusted_proxies: Vec::new(),
        url_tokens: vec![Secret::new("open-sesame")],
    };
    let mut facts = exotel();
    facts.awaits_token = Some(Arc::new(Rules::new(settings, None)));
    facts
}

fn drain(intake: &mut Intake, told: &mut Vec<String>) {
    while let Some(effect) = intake.poll() {
        told.push(describe(&effect));
    }
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Open(opening) => {
            let name = format!("{}/{}", opening.name.tenant_id, opening.name.interaction_id);
            match opening.start.as_deref() {
                None => format!("open {name}"),
                Some((_, start)) => format!("open {name} {}", describe_event(start)),
            }
        }
        Effect::Started => "started".to_owned(),
        Effect::Event(detail) => format!("event {}", describe_event(detail)),
        Effect::End(reason) => format!("end {reason}"),
        Effect::Finish => "finish".to_owned(),
        Effect::Fail(refusal) => format!("fail {}", refusal.code.name()),
        Effect::Close(code) => format!("close {code}"),
        Effect::Bad { error, total } => format!("bad {total}: {error}"),
        Effect::Warn(_) | Effect::Denied(_) => "warn".to_owned(),
        Effect::Rate { measured, .. } => format!("rate {measured}"),
    }
}

fn describe_event(detail: &Detail) -> String {
    match detail {
        Detail::Start {
            sample_rate,
            encoding,
            custom_parameters,
            ..
        } => {
            let mut words = format!("start {sample_rate} {encoding}");
            for (name, value) in custom_parameters.iter() {
                write!(words, " {name}={value}").unwrap();
            }
            words
        }
        Detail::Dtmf { digit, duration_ms } => format!("dtmf {digit} {duration_ms:?}"),
        Detail::Mark { name } => format!("mark {name}"),
        Detail::Renamed { from, to } => format!("renamed {from} {to}"),
        Detail::Stop { reason } => format!("stop {reason}"),
        Detail::Clear {} | Detail::Gap { .. } | Detail::RateMismatch { .. } => {
            detail.kind().to_owned()
        }
    }
}

fn describe_audio(intake: &Intake, heard: &Heard<'_>) -> String {
    let pcm = heard.audio.pcm;
    assert!(!pcm.is_empty() && pcm.len().is_multiple_of(2), "{pcm:?}");
    let mut words = format!("audio {} ", intake.sample_rate());
    if pcm.len() > 16 {
        write!(words, "{} bytes", pcm.len()).unwrap();
    } else {
        for byte in pcm {
            write!(words, "{byte:02x}").unwrap();
        }
    }
    if let Some(track) = intake.track(heard.track) {
        write!(words, " on {track}").unwrap();
    }
    if let Some(ms) = heard.media_ms {
        write!(words, " at {ms}").unwrap();
    }
    if let Some(seq) = heard.seq {
        write!(words, " as {seq}").unwrap();
    }
    words
}

fn from_hex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from((byte as char).to_digit(16).unwrap()).unwrap();
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
