//! Audio events as nearly all of them are: one object of plain strings and whole numbers, with the audio in it.
//!
//! There are fifty a second in every call, so they do not go through the reader for everything. Whatever is out of the
//! ordinary here (an escape, a fraction, a list, another event) is none of this module's: it gives up, and that reader
//! decides. Invariant: what is read here reads the same there.

use std::ops::Range;

use super::{Inbound, Media, MediaSlots, scalar::Scalar};

/// Reads an audio event, if it is an ordinary one.
pub(super) fn read(text: &str) -> Option<Inbound<'_>> {
    let mut tokens = Tokens { text, at: 0 };
    let mut event = Scalar::Nothing;
    let (mut stream_sid, mut track) = (Scalar::Nothing, Scalar::Nothing);
    let (mut data, mut seq) = (Scalar::Nothing, Scalar::Nothing);
    let mut media = MediaSlots::default();
    tokens.object(|key, tokens| {
        let slot = match key {
            b"media" => {
                media = tokens.media()?;
                return Some(());
            }
            b"event" => &mut event,
            b"stream_sid" | b"streamSid" => &mut stream_sid,
            b"track" => &mut track,
            b"data" => &mut data,
            b"seq" => &mut seq,
            _ => return tokens.scalar(key).map(|_| ()),
        };
        *slot = tokens.scalar(key)?;
        Some(())
    })?;
    if tokens.peek().is_some() {
        return None;
    }
    let Scalar::Text(event) = event else {
        return None;
    };
    match event.as_ref() {
        "media" => Some(Inbound::Media(Media::nested(media, track, stream_sid))),
        "audio" => Some(Inbound::Audio(Media::flat(data, seq, track, stream_sid))),
        _ => None,
    }
}

/// A text, and how far it is read. Every method takes the next token, or gives up.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// An object; `member` takes the value that belongs to the key.
    fn object(&mut self, mut member: impl FnMut(&[u8], &mut Self) -> Option<()>) -> Option<()> {
        self.mark(b'{')?;
        loop {
            let key = self.string(short)?;
            self.mark(b':')?;
            member(self.text.as_bytes().get(key)?, self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn media(&mut self) -> Option<MediaSlots<'a>> {
        let mut media = MediaSlots::default();
        self.object(|key, tokens| {
            let value = tokens.scalar(key)?;
            if let Some(slot) = media.slot(key) {
                *slot = value;
            }
            Some(())
        })?;
        Some(media)
    }

    fn scalar(&mut self, key: &[u8]) -> Option<Scalar<'a>> {
        if self.peek()? != b'"' {
            return self.integer().map(Scalar::Integer);
        }
        let is_audio = matches!(key, b"payload" | b"data");
        let range = self.string(if is_audio { long } else { short })?;
        self.text.get(range).map(|text| Scalar::Text(text.into()))
    }

    /// A string that stands in the message as it is meant; `length` looks for its end.
    fn string(&mut self, length: impl Fn(&[u8]) -> Option<usize>) -> Option<Range<usize>> {
        self.mark(b'"')?;
        let begin = self.at;
        let rest = self.text.as_bytes().get(begin..)?;
        let length = length(rest)?;
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        self.at += length + 1;
        Some(begin..begin + length)
    }

    /// A whole number of which every reader thinks the same.
    fn integer(&mut self) -> Option<u64> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let number = self.text.get(self.at..self.at + length)?;
        if length > DIGITS_MAX || (length > 1 && number.starts_with('0')) {
            return None;
        }
        self.at += length;
        number.parse().ok()
    }

    fn mark(&mut self, mark: u8) -> Option<()> {
        if self.peek()? != mark {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// The first byte of the next token.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }
}

/// How long a string is, looked at byte by byte.
fn short(text: &[u8]) -> Option<usize> {
    text.iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))
}

/// The same for what is long, with a fixed price. A loop without a way out is a fast one.
fn long(text: &[u8]) -> Option<usize> {
    let end = memchr::memchr2(b'"', b'\\', text)?;
    let least = text.get(..end)?.iter().copied().fold(u8::MAX, u8::min);
    (least >= b' ').then_some(end)
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
            "{\"event\":\"media\",\"media\":{\"payload\":\"AA==\n\"}}",
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
            stray in proptest::option::weighted(0.5, prop_oneof![any::<char>(), select(&['\n', ' ', '"', '\\', '{', '}', ',', ':', '0'][..])]),
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
