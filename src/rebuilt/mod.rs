//! A session's audio put together again: its frames in the order of their numbers, and silence where some are missing.
//!
//! Reading the frames is the caller's affair, the file [`crate::audio::recording`]'s, how long a hole is `missing.rs`'s. Invariants: a frame counts once, however
//! often it came; silence stands only where its length is known; whatever is missing is in the list, filled or not.

mod missing;

use std::collections::BTreeMap;

use crate::{
    audio::{
        recording::Recording,
        wav::{TRACKS_MAX, WavError},
    },
    published::{End, Frame, Gap},
};

use self::missing::{Length, Missing, Place};

/// The frames of one session, as they come.
#[derive(Debug, Default)]
pub struct Frames {
    tracks: Vec<String>,
    pieces: BTreeMap<u64, Piece>,
    bytes: usize,
}

#[derive(Debug)]
struct Piece {
    track: usize,
    rate: u32,
    pcm: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub struct Rebuilt {
    pub recording: Recording,
    pub missing: Vec<Missing>,
    /// In the order in which they first came; several are no good for comparing samples.
    pub rates: Vec<u32>,
}

impl Frames {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a frame; one that has come before changes nothing.
    pub fn push(&mut self, frame: Frame<'_>) -> Result<(), WavError> {
        if self.pieces.contains_key(&frame.seq) {
            return Ok(());
        }
        self.bytes += frame.pcm.len();
        if self.bytes > BYTES_MAX {
            return Err(WavError::TooLong);
        }
        let name = frame.track.as_deref().unwrap_or_default();
        let track = match self.tracks.iter().position(|known| known == name) {
            Some(track) => track,
            None if self.tracks.len() == TRACKS_MAX => return Err(WavError::TooManyTracks),
            None => {
                self.tracks.push(name.to_owned());
                self.tracks.len() - 1
            }
        };
        let piece = Piece {
            track,
            rate: frame.sample_rate,
            pcm: frame.pcm,
        };
        self.pieces.insert(frame.seq, piece);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Puts them together. `gaps` are those of this session; the end tells what is missing before and behind.
    pub fn rebuild(
        &self,
        gaps: &[Gap],
        end: Option<&End>,
        fill: Fill,
    ) -> Result<Rebuilt, WavError> {
        let mut rebuilt = Rebuilt {
            recording: Recording::new(),
            missing: self.before(end).into_iter().collect(),
            rates: Vec::new(),
        };
        let mut last: Option<(u64, &Piece)> = None;
        for (seq, piece) in &self.pieces {
            let hole = last.and_then(|(last_seq, last_piece)| {
                missing::between((last_seq, last_piece.ns()), (*seq, piece.ns()), gaps)
            });
            let pause = missing::unnumbered(*seq, gaps);
            for (mut missing, length) in hole.into_iter().chain(pause) {
                missing.place = match (length, fill) {
                    (Some(length), Fill::Silence) if length.total_ms() <= SILENCE_MS_MAX => {
                        self.silence(&mut rebuilt.recording, length, piece.rate)?;
                        Place::Silence {
                            ms: length.total_ms(),
                        }
                    }
                    (Some(length), _) => Place::Left {
                        ms: length.total_ms(),
                    },
                    (None, _) => Place::Unknown,
                };
                rebuilt.missing.push(missing);
            }
            let track = self.tracks.get(piece.track).map_or("", String::as_str);
            rebuilt.recording.push(track, piece.rate, &piece.pcm)?;
            if !rebuilt.rates.contains(&piece.rate) {
                rebuilt.rates.push(piece.rate);
            }
            last = Some((*seq, piece));
        }
        rebuilt.missing.extend(self.behind(end));
        Ok(rebuilt)
    }

    /// Numbers tell how much audio is missing in all, and time how much in each track.
    fn silence(
        &self,
        recording: &mut Recording,
        length: Length,
        rate: u32,
    ) -> Result<(), WavError> {
        let tracks = self.tracks.len().max(1) as u64;
        let ns = length.audio_ns / tracks + length.time_ns;
        let samples =
            (u128::from(ns) * u128::from(rate) + u128::from(NS_PER_S / 2)) / u128::from(NS_PER_S);
        let bytes = usize::try_from(samples * 2).map_err(|_huge| WavError::TooLong)?;
        let zeros = vec![0; bytes.min(BYTES_MAX)];
        self.tracks
            .iter()
            .try_for_each(|track| recording.push(track, rate, &zeros))
    }

    fn before(&self, end: Option<&End>) -> Option<Missing> {
        let (first, _) = self.pieces.first_key_value()?;
        let expected = end?.first_seq;
        (*first > expected).then(|| Missing::at_front(expected, *first))
    }

    fn behind(&self, end: Option<&End>) -> Option<Missing> {
        let (last, _) = self.pieces.last_key_value()?;
        let expected = end?.last_seq;
        (*last < expected).then(|| Missing::at_end(*last, expected))
    }
}

/// Whether silence stands for what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    Silence,
    Nothing,
}

impl Piece {
    fn ns(&self) -> u64 {
        self.pcm.len() as u64 / 2 * NS_PER_S / u64::from(self.rate.max(1))
    }
}

/// What a recording takes: half of the 4 GiB that a file can hold.
const BYTES_MAX: usize = 1 << 31;
/// A client may jump in its numbering as far as it likes; nobody wants to hear that.
const SILENCE_MS_MAX: u64 = 3_600_000;
const NS_PER_S: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// 20 ms at 8 kHz, all samples the frame's number.
    fn frame(seq: u64, track: Option<&'static str>) -> Frame<'static> {
        let [low, ..] = seq.to_le_bytes();
        Frame {
            tenant_id: "t".into(),
            interaction_id: "c".into(),
            session: 1,
            seq,
            timestamp_ms: 0,
            sample_rate: 8_000,
            stream_sid: None,
            track: track.map(Into::into),
            media_ms: None,
            pcm: [low, 0].repeat(160),
        }
    }

    fn gap(from_seq: u64, to_seq: u64, ms: u64, reason: &str) -> Gap {
        Gap {
            tenant_id: "t".into(),
            interaction_id: "c".into(),
            timestamp_ms: 0,
            from_seq,
            to_seq,
            ms,
            reason: reason.into(),
        }
    }

    fn of(frames: impl IntoIterator<Item = Frame<'static>>) -> Frames {
        let mut all = Frames::new();
        for frame in frames {
            all.push(frame).unwrap();
        }
        all
    }

    /// The first sample of every 20 ms of the file, channel by channel.
    fn heard(rebuilt: &Rebuilt) -> Vec<Vec<i16>> {
        let mut file = Cursor::new(Vec::new());
        rebuilt.recording.write(&mut file).unwrap();
        let mut reader = hound::WavReader::new(Cursor::new(file.into_inner())).unwrap();
        let width = usize::from(reader.spec().channels);
        let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(samples.len() % (160 * width), 0, "whole frames");
        (0..width)
            .map(|at| {
                samples
                    .iter()
                    .skip(at)
                    .step_by(160 * width)
                    .copied()
                    .collect()
            })
            .collect()
    }

    fn said(rebuilt: &Rebuilt) -> Vec<String> {
        rebuilt.missing.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn frames_are_put_in_order_once() {
        let frames = of([2, 1, 2, 4, 3, 1].map(|seq| frame(seq, None)));
        let rebuilt = frames.rebuild(&[], None, Fill::Silence).unwrap();
        assert_eq!(heard(&rebuilt), [[1, 2, 3, 4]]);
        assert!(rebuilt.missing.is_empty());
        assert_eq!(rebuilt.rates, [8_000]);
    }

    #[test]
    fn silence_stands_for_what_is_missing_unless_it_is_not_wanted() {
        let frames = of([1, 2, 5, 9].map(|seq| frame(seq, None)));
        let gaps = [gap(6, 8, 40, "client"), gap(5, 4, 20, "paused")];
        let rebuilt = frames.rebuild(&gaps, None, Fill::Silence).unwrap();
        assert_eq!(heard(&rebuilt), [[1, 2, 0, 0, 0, 5, 0, 0, 9]]);
        assert_eq!(
            said(&rebuilt),
            [
                "seq 3 to 4, 40 ms of silence in the file",
                "before seq 5 (paused), 20 ms of silence in the file",
                "seq 6 to 8 (client), 40 ms of silence in the file",
            ]
        );
        let rebuilt = frames.rebuild(&gaps, None, Fill::Nothing).unwrap();
        assert_eq!(heard(&rebuilt), [[1, 2, 5, 9]]);
        assert_eq!(said(&rebuilt)[0], "seq 3 to 4, 40 ms left out of the file");
    }

    #[test]
    fn a_length_that_is_not_known_or_absurd_is_not_made_up() {
        let mut longer = frame(3, None);
        longer.pcm = [3, 0].repeat(320);
        let rebuilt = of([frame(1, None), longer])
            .rebuild(&[], None, Fill::Silence)
            .unwrap();
        assert_eq!(heard(&rebuilt), [[1, 3, 3]]);
        assert_eq!(
            said(&rebuilt),
            ["seq 2, of unknown length, left out of the file"]
        );
        let far = of([frame(1, None), frame(u64::MAX, None)]);
        let gaps = [gap(2, u64::MAX - 1, u64::MAX, "client")];
        for gaps in [&gaps[..], &[]] {
            let rebuilt = far.rebuild(gaps, None, Fill::Silence).unwrap();
            assert_eq!(heard(&rebuilt)[0].len(), 2);
            assert!(said(&rebuilt)[0].contains("left out"));
        }
    }

    #[test]
    fn tracks_are_channels_that_share_what_is_missing() {
        let track = |seq| Some(if seq % 2 == 1 { "inbound" } else { "outbound" });
        let frames = of([1, 2, 5, 6].map(|seq| frame(seq, track(seq))));
        let gaps = [gap(5, 4, 20, "paused")];
        let rebuilt = frames.rebuild(&gaps, None, Fill::Silence).unwrap();
        assert_eq!(heard(&rebuilt), [[1, 0, 0, 5], [2, 0, 0, 6]]);
        let names: Vec<&str> = rebuilt.recording.tracks().collect();
        assert_eq!(names, ["inbound", "outbound"]);
    }

    #[test]
    fn what_is_missing_at_the_edges_is_told_and_not_filled() {
        let end = End {
            tenant_id: "t".into(),
            interaction_id: "c".into(),
            session: 1,
            reason: "stop".into(),
            timestamp_ms: 0,
            complete: true,
            frames: 9,
            first_seq: 1,
            last_seq: 9,
            bytes: 0,
            duration_ms: 0,
            wall_ms: 0,
            gaps: 0,
            crc32: String::new(),
        };
        let frames = of([4, 5].map(|seq| frame(seq, None)));
        let rebuilt = frames.rebuild(&[], Some(&end), Fill::Silence).unwrap();
        assert_eq!(heard(&rebuilt), [[4, 5]]);
        assert_eq!(
            said(&rebuilt),
            [
                "seq 1 to 3, before the beginning of the file",
                "seq 6 to 9, behind the end of the file"
            ]
        );
    }
}
