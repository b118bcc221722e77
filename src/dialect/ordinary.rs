//! Audio events as nearly all of them are: one object of plain strings and whole numbers, with the audio in it.
//!
//! There are fifty a second in every call, so they do not go through the reader for everything. Whatever is out of the
//! ordinary here (an escape, a fraction, a list, another event) is none of this module's: it gives up, and that reader
//! decides. Invariant: what is read here reads the same there.

use super::{Inbound, Media, MediaSlots, scalar::Scalar};

/// Reads an audio event, if it is an ordinary one.
pub(super) fn read(text: &str) -> Option<Inbound<'_>> {
    let mut tokens = Tokens { rest: text };
    let mut event = Scalar::Nothing;
    let (mut stream_sid, mut track) = (Scalar::Nothing, Scalar::Nothing);
    let (mut data, mut seq) = (Scalar::Nothing, Scalar::Nothing);
    let mut media = MediaSlots::default();
    tokens.object(|key, tokens| {
        let slot = match key {
            "media" => {
                media = tokens.media()?;
                return Some(());
            }
            "event" => &mut event,
            "stream_sid" | "streamSid" => &mut stream_sid,
            "track" => &mut track,
            "data" => &mut data,
            "seq" => &mut seq,
            _ => return tokens.scalar().map(|_| ()),
        };
        *slot = tokens.scalar()?;
        Some(())
    })?;
    if !tokens.rest.bytes().all(|byte| is_space(byte)) {
        return None;
    }
    let Scalar::Text(event) = event else {
        return None;
    };
    match event.as_ref() {
        "media" => Some(Inbound::Media(Media::nested(media, track, stream_sid))),
        "audio" => Some(Inbound::Media(Media::flat(data, seq, track, stream_sid))),
        _ => None,
    }
}

/// What is not read yet. Every method takes the next token, or gives up.
struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// An object; `member` takes the value that belongs to the key.
    fn object(&mut self, mut member: impl FnMut(&str, &mut Self) -> Option<()>) -> Option<()> {
        self.mark(b'{')?;
        loop {
            let key = self.string()?;
            self.mark(b':')?;
            member(key, self)?;
            match self.byte()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn media(&mut self) -> Option<MediaSlots<'a>> {
        let mut media = MediaSlots::default();
        self.object(|key, tokens| {
            let value = tokens.scalar()?;
            if let Some(slot) = media.slot(key) {
                *slot = value;
            }
            Some(())
        })?;
        Some(media)
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        self.pass_space();
        if self.rest.starts_with('"') {
            self.string().map(|text| Scalar::Text(text.into()))
        } else {
            self.integer().map(Scalar::Integer)
        }
    }

    /// A string that stands in the message as it is meant.
    fn string(&mut self) -> Option<&'a str> {
        self.mark(b'"')?;
        let end = memchr::memchr2(b'"', b'\\', self.rest.as_bytes())?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        // A control character is an error, which is not told here; a loop without a way out is a fast one.
        let least = text.bytes().fold(u8::MAX, u8::min);
        if least < b' ' {
            return None;
        }
        self.rest = rest.strip_prefix('"')?;
        Some(text)
    }

    /// A whole number of which every reader thinks the same.
    fn integer(&mut self) -> Option<u64> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        let plain = digits <= DIGITS_MAX && (digits == 1 || !number.starts_with('0'));
        let ends = rest
            .bytes()
            .next()
            .is_some_and(|byte| matches!(byte, b',' | b'}') || is_space(byte));
        self.rest = rest;
        number.parse().ok().filter(|_| plain && ends)
    }

    fn mark(&mut self, mark: u8) -> Option<()> {
        (self.byte()? == mark).then_some(())
    }

    fn byte(&mut self) -> Option<u8> {
        self.pass_space();
        let byte = self.rest.bytes().next()?;
        self.rest = self.rest.get(1..)?;
        Some(byte)
    }

    fn pass_space(&mut self) {
        while let Some((first, rest)) = self.rest.as_bytes().split_first()
            && is_space(*first)
        {
            self.rest = self
                .rest
                .get(self.rest.len() - rest.len()..)
                .unwrap_or_default();
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// All numbers of so many digits fit.
const DIGITS_MAX: usize = 18;

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::dialect::decode_any;

    fn assert_the_same(text: &str) -> bool {
        let Some(read) = read(text) else { return false };
        let general = decode_any(text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{general:?}"), "{text}");
        true
    }

    #[test]
    fn what_exotel_and_clients_send_is_ordinary() {
        for text in [
            r#"{"event":"media","stream_sid":"s1","sequence_number":"2","media":{"chunk":"1","timestamp":"20","payload":"AA=="}}"#,
            r#"{"event": "media", "streamSid": "s1", "media": {"track": "inbound", "chunk": 1, "timestamp": 20, "payload": ""}}"#,
            r#"{"media":{"payload":"AA==","payload":"BB=="},"track":"x","event":"media"}"#,
            "{\"event\":\"audio\",\n\t\"data\":\"AA==\",\"seq\":7,\"track\":\"é\"}\n",
            r#"{"event":"audio","data":"AA==","seq":"7","stream_sid":"a","streamSid":"b","what":"ever"}"#,
        ] {
            assert!(assert_the_same(text), "{text}");
        }
    }

    #[test]
    fn whatever_else_is_left_to_the_reader_for_everything() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"event":"start"}"#,
            r#"{"event":"stop","reason":"x"}"#,
            r#"{"event":"media","media":{"payload":"A\/A="}}"#,
            r#"{"event":"media","media":{"payload":null}}"#,
            r#"{"event":"media","media":{"chunk":1.0,"payload":"AA=="}}"#,
            r#"{"event":"media","media":{"chunk":01,"payload":"AA=="}}"#,
            r#"{"event":"media","media":{"chunk":-1,"payload":"AA=="}}"#,
            r#"{"event":"media","media":{"chunk":1234567890123456789,"payload":"AA=="}}"#,
            r#"{"event":"media","media":{"payload":{}}}"#,
            r#"{"event":"media","media":[]}"#,
            r#"{"event":"media","media":{"payload":"AA=="}} x"#,
            r#"{"event":"media","media":{"payload":"AA=="},}"#,
            r#"{"event":"media","media":{"payload":"AA=="}"#,
            "{\"event\":\"media\",\"media\":{\"payload\":\"A\u{1}==\"}}",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    /// A value, mostly of the kinds that are ordinary.
    fn value() -> impl Strategy<Value = String> {
        let odd = r#"(null|true|-?[0-9]{1,20}(\.0)?(e2)?|"[ -~]{0,6}"|"\\u0041|\[\]|\{\})"#;
        prop_oneof![
            8 => "\"[a-zA-Z0-9+/=é ]{0,12}\"",
            4 => "(0|[1-9][0-9]{0,4})",
            1 => odd,
        ]
    }

    fn object(keys: &'static [&'static str]) -> impl Strategy<Value = String> {
        let space = select(&["", "", " ", "\n\t"][..]);
        let member = (select(keys), value(), space).prop_map(|(key, value, space)| {
            format!("{space}\"{key}\"{space}:{space}{value}{space}")
        });
        proptest::collection::vec(member, 0..6)
            .prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #[test]
        fn both_readers_agree(
            top in object(&["event", "stream_sid", "streamSid", "track", "data", "seq", "start", "dtmf", "other"]),
            media in object(&["payload", "timestamp", "chunk", "track", "stream_sid", "streamSid", "other"]),
            event in select(&["media", "audio", "start", "Media"][..]),
            at in any::<proptest::sample::Index>(),
            stray in proptest::option::weighted(0.3, any::<char>()),
        ) {
            let rest = top.trim_start_matches('{');
            let comma = if rest == "}" { "" } else { "," };
            let mut text = format!(r#"{{"event":"{event}","media":{media}{comma}{rest}"#);
            if let Some(stray) = stray {
                let at = text.char_indices().map(|(at, _)| at).nth(at.index(text.chars().count())).unwrap();
                text.insert(at, stray);
            }
            assert_the_same(&text);
        }
    }
}
