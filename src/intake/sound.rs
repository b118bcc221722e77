//! Audio on a connection: from the message that carried it to whole samples of one track.

use std::borrow::Cow;

use super::{
    Bad, EVENT_TEXT_BYTES_MAX, Effect, Heard, Intake, Track,
    pace::{self, Pace},
};
use crate::{
    dialect::{Dialect, Media, scalar::Scalar},
    frame::{ID_BYTES_MAX, Now, clip},
    payload::{Decoder, Scratch},
};

impl Intake {
    pub(super) fn take_media<'m>(
        &mut self,
        media: Media<'m>,
        dialect: Dialect,
        scratch: &'m mut Scratch,
        now: Now,
    ) -> Option<Heard<'m>> {
        self.ensure_call()?;
        if self.stream_sid.is_none()
            && let Some(sid) = &media.stream_sid
        {
            self.stream_sid = Some(clip(sid, ID_BYTES_MAX).to_owned());
            self.generation = self.generation.wrapping_add(1);
        }
        let Scalar::Text(payload) = media.payload else {
            return self.bad(Bad::NoAudio, now);
        };
        let seq = media.seq.integer().filter(|&seq| seq <= SEQ_MAX);
        if seq.is_none() && media.seq.is_some() {
            return self.bad(Bad::Seq, now);
        }
        let Some(index) = self.track_index(media.track.as_deref(), now) else {
            return self.bad(Bad::TooManyTracks, now);
        };
        let track = self.tracks.get_mut(index)?;
        if let (Some(last), Some(chunk)) = (track.chunk, media.chunk)
            && chunk > last.saturating_add(1)
        {
            self.sender_gaps += 1;
        }
        track.chunk = media.chunk.or(track.chunk);
        let audio = match payload {
            Cow::Borrowed(text) => track.decoder.base64(text, scratch),
            // Escapes in the text (`\/`): rare enough to afford a copy.
            Cow::Owned(text) => track.decoder.base64_owned(&text, scratch),
        };
        match audio {
            Ok(audio) => {
                if track.pace.count(audio.pcm.len(), now) {
                    self.weigh(index, audio.pcm.len(), media.offset_ms, now);
                }
                self.bad_in_a_row = 0;
                (!audio.pcm.is_empty()).then_some(Heard {
                    audio,
                    track: index,
                    media_ms: media.offset_ms,
                    seq,
                    dialect,
                })
            }
            Err(error) => self.bad(error.into(), now),
        }
    }

    pub(super) fn take_raw<'m>(
        &mut self,
        bytes: &'m [u8],
        scratch: &'m mut Scratch,
        now: Now,
    ) -> Option<Heard<'m>> {
        if bytes.is_empty() {
            return None;
        }
        self.ensure_call()?;
        let Some(index) = self.track_index(None, now) else {
            return self.bad(Bad::TooManyTracks, now);
        };
        let track = self.tracks.get_mut(index)?;
        let audio = track.decoder.raw(bytes, scratch);
        if track.pace.count(audio.pcm.len(), now) {
            self.weigh(index, audio.pcm.len(), None, now);
        }
        self.bad_in_a_row = 0;
        (!audio.pcm.is_empty()).then_some(Heard {
            audio,
            track: index,
            media_ms: None,
            seq: None,
            dialect: Dialect::Binary,
        })
    }

    /// A second of a track is over: does its audio arrive at the rate that was declared?
    #[cold]
    fn weigh(&mut self, track: usize, pcm_bytes: usize, media_ms: Option<u64>, now: Now) {
        let (declared, sender) = (self.sample_rate(), self.facts.sender);
        let heard = pace::Piece {
            pcm_bytes,
            media_ms,
            declared,
            sender,
        };
        let Some(track) = self.tracks.get_mut(track) else {
            return;
        };
        if let Some(measured) = track.pace.weigh(heard, now) {
            self.effects.push_back(Effect::Rate {
                declared,
                measured,
                advice: (declared != measured).then(|| pace::advice(declared, measured, sender)),
            });
        }
    }

    fn track_index(&mut self, name: Option<&str>, now: Now) -> Option<usize> {
        let name = name.map(|name| clip(name, EVENT_TEXT_BYTES_MAX));
        if let Some(index) = self
            .tracks
            .iter()
            .position(|track| track.name.as_deref() == name)
        {
            return Some(index);
        }
        let encoding = self.current.as_ref()?.format.encoding;
        (self.tracks.len() < TRACKS_MAX).then(|| {
            // Nearly always it is the only one.
            self.tracks.reserve_exact(1);
            self.tracks.push(Track {
                name: name.map(str::to_owned),
                decoder: Decoder::new(encoding, self.facts.sender),
                pace: Pace::new(now),
                chunk: None,
            });
            self.tracks.len() - 1
        })
    }
}

/// Inbound and outbound are what is known; room for a conference, and an end to invention.
const TRACKS_MAX: usize = 8;
/// 2^53: what every JSON reader can count to.
const SEQ_MAX: u64 = 1 << 53;
