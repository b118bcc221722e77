//! From what a message carries to PCM16: base64, G.711, and samples cut in two by a message's end.
//!
//! One [`Decoder`] per track of a connection, since half a sample may wait in it. Where the text already is what
//! will be published (canonical base64 of PCM16) it is passed through and never encoded again.
//! Invariant: what comes out is whole samples, in the order in which their bytes came.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::{
    audio::g711::{self, Law},
    frame::{Encoding, Sender},
};

/// A piece of audio as it will be published: PCM16, little endian, mono.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audio<'a> {
    pub pcm: &'a [u8],
    /// The same as canonical base64, where the sender delivered it so.
    pub text: Option<&'a str>,
}

impl Audio<'_> {
    /// Length of the base64 form.
    pub fn base64_bytes(&self) -> usize {
        base64_simd::STANDARD.encoded_length(self.pcm.len())
    }

    /// Appends the base64 form.
    pub fn push_base64(&self, out: &mut Vec<u8>) {
        match self.text {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => base64_simd::STANDARD.encode_append(self.pcm, out),
        }
    }
}

/// Buffers that are reused from message to message.
#[derive(Debug, Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    pcm: Vec<u8>,
}

/// Base64 that does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audio is not base64")]
pub struct BadBase64;

/// Turns one track's payloads into PCM16.
#[derive(Debug)]
pub struct Decoder {
    encoding: Encoding,
    /// Whether base64 that is only nearly right is taken.
    lenient: bool,
    /// The first byte of a sample whose second has not come.
    half: Option<u8>,
}

impl Decoder {
    pub fn new(encoding: Encoding, sender: Sender) -> Self {
        Self {
            encoding,
            lenient: sender == Sender::Exotel,
            half: None,
        }
    }

    /// Audio that came as base64.
    pub fn base64<'m>(
        &mut self,
        text: &'m str,
        scratch: &'m mut Scratch,
    ) -> Result<Audio<'m>, BadBase64> {
        let Scratch { bytes, pcm } = scratch;
        bytes.clear();
        let had_half = self.half.is_some();
        bytes.extend(self.half);
        let canonical = decode_base64(text, bytes, self.lenient)?;
        let audio = self.finish(bytes, pcm);
        let untouched =
            canonical && !had_half && self.half.is_none() && self.encoding == Encoding::Pcm16;
        Ok(Audio {
            text: untouched.then_some(text),
            ..audio
        })
    }

    /// The same for text that does not live as long as the audio: nothing is passed through.
    pub fn base64_owned<'m>(
        &mut self,
        text: &str,
        scratch: &'m mut Scratch,
    ) -> Result<Audio<'m>, BadBase64> {
        let Scratch { bytes, pcm } = scratch;
        bytes.clear();
        bytes.extend(self.half);
        decode_base64(text, bytes, self.lenient)?;
        Ok(self.finish(bytes, pcm))
    }

    /// Audio that came as bytes.
    pub fn raw<'m>(&mut self, message: &'m [u8], scratch: &'m mut Scratch) -> Audio<'m> {
        let Scratch { bytes, pcm } = scratch;
        if let Some(law) = law(self.encoding) {
            return expand(law, message, pcm);
        }
        if self.half.is_none() && message.len().is_multiple_of(2) {
            return Audio {
                pcm: message,
                text: None,
            };
        }
        bytes.clear();
        bytes.extend(self.half);
        bytes.extend_from_slice(message);
        self.finish(bytes, pcm)
    }

    /// Makes whole samples of `bytes`, at whose front the waiting half sample stands already.
    fn finish<'m>(&mut self, bytes: &'m mut Vec<u8>, pcm: &'m mut Vec<u8>) -> Audio<'m> {
        if let Some(law) = law(self.encoding) {
            return expand(law, bytes, pcm);
        }
        self.half = if bytes.len().is_multiple_of(2) {
            None
        } else {
            bytes.pop()
        };
        Audio {
            pcm: bytes,
            text: None,
        }
    }
}

fn law(encoding: Encoding) -> Option<Law> {
    match encoding {
        Encoding::Pcm16 => None,
        Encoding::Mulaw => Some(Law::Mu),
        Encoding::Alaw => Some(Law::A),
    }
}

fn expand<'m>(law: Law, bytes: &[u8], pcm: &'m mut Vec<u8>) -> Audio<'m> {
    pcm.clear();
    g711::decode_into(law, bytes, pcm);
    Audio { pcm, text: None }
}

/// Appends what `text` stands for; tells whether `text` is the canonical form of it.
fn decode_base64(text: &str, out: &mut Vec<u8>, lenient: bool) -> Result<bool, BadBase64> {
    let before = out.len();
    if base64_simd::STANDARD.decode_append(text, out).is_ok() {
        return Ok(true);
    }
    out.truncate(before);
    if !lenient {
        return Err(BadBase64);
    }
    // Padding left out, bits beyond the end, line breaks: what is meant is plain, and Exotel cannot be told to resend.
    let stripped: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    match LENIENT.decode_vec(stripped, out) {
        Ok(()) => Ok(false),
        Err(_) => Err(BadBase64),
    }
}

/// Base64 that need not have its padding, and whose last character's spare bits do not matter.
pub const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_text_passes_through_and_the_rest_is_made_canonical() {
        let mut scratch = Scratch::default();
        let mut decoder = Decoder::new(Encoding::Pcm16, Sender::Exotel);
        let mut check = |text: &str, pcm: &[u8], passed: bool| {
            let audio = decoder.base64(text, &mut scratch).unwrap();
            assert_eq!((audio.pcm, audio.text.is_some()), (pcm, passed), "{text:?}");
            let mut out = Vec::new();
            audio.push_base64(&mut out);
            assert_eq!(out, STANDARD.encode(pcm).as_bytes());
            assert_eq!(out.len(), audio.base64_bytes());
        };
        check("AAECAw==", &[0, 1, 2, 3], true);
        check("AAECAw", &[0, 1, 2, 3], false);
        check("AAECAx==", &[0, 1, 2, 3], false);
        check("AAEC\r\nAw==\n", &[0, 1, 2, 3], false);
        check("", &[], true);
        for bad in ["%%%%", "A", "AAEC-_==", "AA=A", "AAECAw==AAAA"] {
            assert_eq!(decoder.base64(bad, &mut scratch), Err(BadBase64), "{bad:?}");
        }
    }

    #[test]
    fn a_custom_client_is_told_what_is_wrong_with_its_base64() {
        let mut decoder = Decoder::new(Encoding::Pcm16, Sender::Custom);
        for bad in ["AAECAw", "AAECAx==", "AA EC", "***"] {
            assert_eq!(
                decoder.base64(bad, &mut Scratch::default()),
                Err(BadBase64),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_bad_message_leaves_the_half_sample_in_place() {
        let mut scratch = Scratch::default();
        let mut decoder = Decoder::new(Encoding::Pcm16, Sender::Exotel);
        assert_eq!(decoder.raw(&[1], &mut scratch).pcm, b"");
        assert_eq!(decoder.base64("!", &mut scratch), Err(BadBase64));
        assert_eq!(decoder.base64("AgM=", &mut scratch).unwrap().pcm, [1, 2]);
        assert_eq!(decoder.raw(&[4], &mut scratch).pcm, [3, 4]);
    }

    #[test]
    fn g711_has_no_half_samples() {
        let mut scratch = Scratch::default();
        let mut decoder = Decoder::new(Encoding::Mulaw, Sender::Exotel);
        assert_eq!(decoder.raw(&[0xff], &mut scratch).pcm, [0, 0]);
        assert_eq!(
            decoder.base64("gA==", &mut scratch).unwrap().pcm,
            32124_i16.to_le_bytes()
        );
    }

    proptest! {
        #[test]
        fn bytes_come_out_in_order_however_they_are_cut(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..9), any::<bool>()), 0..20)
        ) {
            let (mut decoder, mut scratch) = (Decoder::new(Encoding::Pcm16, Sender::Exotel), Scratch::default());
            let (mut sent, mut got) = (Vec::new(), Vec::new());
            for (piece, as_text) in pieces {
                sent.extend_from_slice(&piece);
                if as_text {
                    got.extend_from_slice(decoder.base64(&STANDARD.encode(&piece), &mut scratch).unwrap().pcm);
                } else {
                    got.extend_from_slice(decoder.raw(&piece, &mut scratch).pcm);
                }
            }
            sent.truncate(sent.len() / 2 * 2);
            prop_assert_eq!(sent, got);
        }

        #[test]
        fn no_text_panics_and_both_decoders_agree(text in "[A-Za-z0-9+/=\\n-]{0,40}") {
            let mut out = Vec::new();
            if decode_base64(&text, &mut out, true) == Ok(true) {
                prop_assert_eq!(STANDARD.encode(&out), text);
            }
        }
    }
}
