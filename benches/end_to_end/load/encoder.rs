//! Messages as a client's WebSocket frames, one after another in one buffer that is used again.

use rtaa_ingest::simulate::wire;

use super::{
    Form, Random, Speech,
    caller::Caller,
    stamp::{Audio, Stamp},
};

pub(crate) struct Encoder {
    audio: Audio,
    /// The frame in hand, as samples and as a message.
    samples: Vec<u8>,
    message: String,
    out: Vec<u8>,
    keys: Random,
}

impl Encoder {
    pub(crate) fn new(frame_ms: u32) -> Self {
        Self {
            audio: Audio::of(frame_ms),
            samples: Vec::new(),
            message: String::new(),
            out: Vec::new(),
            keys: Random(1),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.out.clear();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.out
    }

    pub(super) fn frame(&mut self, speech: Speech, caller: &Caller, sent_ns: u64) {
        let stamp = Stamp {
            sent_ns,
            call: caller.number,
            number: caller.frames,
        };
        self.audio.write(stamp, &mut self.samples);
        let index = u64::from(caller.frames - 1);
        match speech.form {
            Form::Json => {
                self.message.clear();
                let sid = &caller.names.stream_sid;
                wire::append_exotel_media(
                    &mut self.message,
                    sid,
                    index,
                    speech.frame_ms,
                    &self.samples,
                );
                append(&mut self.out, TEXT, self.message.as_bytes(), &mut self.keys);
            }
            Form::Binary => append(&mut self.out, BINARY, &self.samples, &mut self.keys),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        append(&mut self.out, TEXT, text.as_bytes(), &mut self.keys);
    }

    pub(crate) fn close(&mut self) {
        append(
            &mut self.out,
            CLOSE,
            &1_000_u16.to_be_bytes(),
            &mut self.keys,
        );
    }
}

/// Adds one whole frame: its header, a fresh key, and the payload under it (RFC 6455, 5.2).
fn append(out: &mut Vec<u8>, opcode: u8, payload: &[u8], keys: &mut Random) {
    out.push(FINAL | opcode);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => out.push(MASKED | length as u8),
        Ok(length) => {
            out.push(MASKED | LONGER);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => unreachable!("no message of the bench is that long"),
    }
    let key = (keys.next() as u32).to_ne_bytes();
    out.extend_from_slice(&key);
    let from = out.len();
    out.extend_from_slice(payload);
    let (words, rest) = out[from..].as_chunks_mut::<4>();
    let wide = u32::from_ne_bytes(key);
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The length stands in the two bytes that follow.
const LONGER: u8 = 0x7e;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
