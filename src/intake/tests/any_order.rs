//! Whatever is said in whatever order: no panic, no audio outside a call, nothing lost but half samples.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Facts, Message, Talk, awaiting_token, custom, custom_for, exotel};
use crate::{
    frame::Encoding,
    intake::{Effect, Intake},
    payload::Scratch,
    record::Detail,
};

/// One thing that a peer may do.
#[derive(Debug, Clone)]
enum Say {
    Text(String),
    Binary(Vec<u8>),
    Wait(u64),
}

fn anything() -> impl Strategy<Value = Say> {
    let bytes = || vec(any::<u8>(), 0..7);
    let tracks = select(vec!["", r#""track":"inbound","#, r#""track":"outbound","#]);
    let starts = select(vec![
        r#"{"event":"start"}"#,
        r#"{"event":"start","start":{"call_sid":"c1"}}"#,
        r#"{"event":"start","start":{"call_sid":"c1","custom_parameters":{"token":"open-sesame"}}}"#,
        r#"{"event":"start","interaction_id":"c2","tenant_id":"t2","sample_rate":16000}"#,
        r#"{"event":"start","call_sid":"c3","encoding":"mulaw"}"#,
        r#"{"event":"start","call_sid":"c1","encoding":"opus","sample_rate":"x"}"#,
    ]);
    let others = select(vec![
        r#"{"event":"connected"}"#,
        r#"{"event":"dtmf","digit":"1"}"#,
        r#"{"event":"mark"}"#,
        r#"{"event":"clear"}"#,
        r#"{"event":"media"}"#,
        r#"{"event":"media","media":{"payload":"A"}}"#,
        "nonsense",
    ]);
    let ends = select(vec![r#"{"event":"stop"}"#, r#"{"event":"end"}"#]);
    let media = (bytes(), tracks).prop_map(|(audio, track)| {
        let payload = STANDARD.encode(audio).replace('/', "\\/");
        format!(r#"{{"event":"media","media":{{{track}"payload":"{payload}"}}}}"#)
    });
    prop_oneof![
        8 => media.prop_map(Say::Text),
        6 => bytes().prop_map(Say::Binary),
        4 => starts.prop_map(|text| Say::Text(text.to_owned())),
        3 => others.clone().prop_map(|text| Say::Text(text.to_owned())),
        1 => others.prop_map(|text| Say::Binary(text.as_bytes().to_vec())),
        1 => ends.prop_map(|text| Say::Text(text.to_owned())),
        1 => (0..2000_u64).prop_map(Say::Wait),
    ]
}

fn anybody() -> impl Strategy<Value = u8> {
    0..4_u8
}

fn facts(who: u8) -> Facts {
    match who {
        0 => exotel(),
        1 => awaiting_token(),
        2 => custom(),
        _ => custom_for("c1"),
    }
}

/// What must hold at every moment, and the sums.
#[derive(Debug, Default)]
struct Ledger {
    open: bool,
    over: bool,
    opened: usize,
    sample_bytes: usize,
    bytes_in: usize,
    bytes_out: usize,
}

impl Ledger {
    fn note(&mut self, effect: &Effect) {
        assert!(!self.over, "{effect:?} after the end");
        match effect {
            Effect::Open(opening) => {
                let declared = match opening.start.as_deref() {
                    Some((_, Detail::Start { encoding, .. })) => Encoding::parse(encoding),
                    _ => None,
                };
                self.sample_bytes = declared.unwrap_or(Encoding::Pcm16).sample_bytes();
                self.open = true;
                self.opened += 1;
            }
            Effect::End(_) => assert!(std::mem::take(&mut self.open), "an end without a call"),
            Effect::Event(_) | Effect::Started => assert!(self.open, "{effect:?} outside a call"),
            Effect::Finish | Effect::Fail(_) | Effect::Close(_) => {
                assert!(!self.open, "{effect:?} leaves a call open");
                self.over = true;
            }
            Effect::Bad { .. } | Effect::Warn(_) | Effect::Rate { .. } | Effect::Denied(_) => {}
        }
    }

    fn hear(&mut self, intake: &mut Intake, message: Message<'_>, now: crate::frame::Now) {
        let mut scratch = Scratch::default();
        let was_over = self.over;
        let heard = intake.handle(message, &mut scratch, now);
        while let Some(effect) = intake.poll() {
            self.note(&effect);
        }
        if let Some(heard) = heard {
            assert!(self.open && !was_over, "audio outside a call");
            self.bytes_out += heard.audio.pcm.len();
        }
        let kept_for_later = intake.deadline().is_some();
        if !self.over && !kept_for_later {
            self.bytes_in += audio_in(message) * 2 / self.sample_bytes.max(1);
        }
    }
}

/// How many bytes of audio a message carries, read in the plainest way.
fn audio_in(message: Message<'_>) -> usize {
    let bytes = match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
    };
    match (serde_json::from_slice::<serde_json::Value>(bytes), message) {
        (Ok(value), _) if value["event"].is_string() => value["media"]["payload"]
            .as_str()
            .and_then(|payload| STANDARD.decode(payload).ok())
            .map_or(0, |audio| audio.len()),
        (_, Message::Binary(bytes)) => bytes.len(),
        _ => 0,
    }
}

/// Inbound, outbound and none.
const TRACKS: usize = 3;

proptest! {
    #[test]
    fn any_order_of_messages_keeps_the_books(who in anybody(), said in vec(anything(), 0..60)) {
        let Talk { mut intake, mut now, .. } = Talk::new(facts(who));
        let mut ledger = Ledger::default();
        for say in &said {
            match say {
                Say::Wait(ms) => {
                    now.instant += std::time::Duration::from_millis(*ms);
                    intake.handle_timeout(now);
                    while let Some(effect) = intake.poll() {
                        ledger.note(&effect);
                    }
                }
                Say::Text(text) => ledger.hear(&mut intake, Message::Text(text), now),
                Say::Binary(bytes) => ledger.hear(&mut intake, Message::Binary(bytes), now),
            }
            for (then, message) in intake.take_released() {
                ledger.hear(&mut intake, message.borrow(), then);
            }
        }
        let lost = ledger.bytes_in.checked_sub(ledger.bytes_out);
        prop_assert!(lost.is_some_and(|lost| lost <= ledger.opened * TRACKS), "{ledger:?}");
    }
}
