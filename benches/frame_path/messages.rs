//! What clients send, the same in every run: sound from a fixed seed, in the words of each dialect, framed and masked.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// PCM16 at 8 kHz, or µ-law: bytes that look like neither silence nor text.
pub(crate) struct Sound(u64);

impl Sound {
    pub(crate) fn new() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_le_bytes()[0]
    }
}

/// The id of the call with this index, in the form of Exotel's.
pub(crate) fn call_sid(call: usize) -> String {
    format!("b0c8aea60aceb0007fc5a1bb75{call:04}bl")
}

fn stream_sid(call: usize) -> String {
    format!("3357459ca698d8c765bac10b0e{call:04}bl")
}

/// Exotel's `start`, of PCM16 at 8 kHz.
pub(crate) fn exotel_start(call: usize) -> String {
    let (stream, call) = (stream_sid(call), call_sid(call));
    format!(
        r#"{{"event":"start","stream_sid":"{stream}","sequence_number":"1","start":{{"stream_sid":"{stream}","call_sid":"{call}","account_sid":"someacct1","from":"09991234567","to":"04441234567","media_format":{{"encoding":"base64","sample_rate":"8000","bit_rate":"128kbps"}}}}}}"#
    )
}

/// Exotel's `media`, the first being number 1: its numbers are strings.
pub(crate) fn exotel_media(call: usize, number: usize, audio: &[u8]) -> String {
    let (stream, payload) = (stream_sid(call), base64(audio));
    let (sequence, timestamp) = (number + 1, number * audio.len() / 16);
    format!(
        r#"{{"event":"media","stream_sid":"{stream}","sequence_number":"{sequence}","media":{{"chunk":"{number}","timestamp":"{timestamp}","payload":"{payload}"}}}}"#
    )
}

/// A custom client's `audio`.
pub(crate) fn custom_audio(number: usize, audio: &[u8]) -> String {
    let data = base64(audio);
    format!(r#"{{"event":"audio","seq":{number},"data":"{data}"}}"#)
}

pub(crate) fn base64(audio: &[u8]) -> String {
    STANDARD.encode(audio)
}

/// A text as a client's whole WebSocket frame.
pub(crate) fn masked(text: &str) -> Vec<u8> {
    let mask = [0x11, 0xf2, 0x43, 0xe4];
    let mut frame = vec![0x81];
    match u16::try_from(text.len()).expect("a short message") {
        short @ 0..126 => frame.push(0x80 | short.to_le_bytes()[0]),
        long => {
            frame.push(0xfe);
            frame.extend(long.to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        text.bytes()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
