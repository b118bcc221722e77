//! At which rate a track's audio arrives, whatever was declared: samples against the time in which they came (4.4).
//!
//! A frame costs an addition and a comparison; once a second what came is weighed. Invariants: a rate is found only where
//! five seconds in a row each fit it, so that neither a backlog nor a stall looks like one; and none is found where the
//! sender's own time (`media.timestamp`) says that it plays the declared rate, only faster than it is spoken.

use std::time::{Duration, Instant};

use crate::frame::{Now, Sender};

/// The arrival of one track on one connection.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the present second is over.
    due: Instant,
    /// That came in it.
    bytes: usize,
    began: Option<Began>,
    /// The newest last.
    seconds: [Second; SECONDS],
    /// How many of them there are.
    filled: usize,
    declared: u32,
    found: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Began {
    at: Instant,
    media_ms: Option<u64>,
}

/// From one frame's arrival to that of the first frame a second later or more: so it holds whole frames, whatever their
/// length.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    samples: u64,
    micros: u64,
    /// How far the sender's own time went on.
    media_ms: Option<u64>,
}

/// A piece of audio that ends a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) pcm_bytes: usize,
    pub(super) media_ms: Option<u64>,
    pub(super) declared: u32,
    pub(super) sender: Sender,
}

impl Pace {
    pub(super) fn new(now: Now) -> Self {
        Self {
            due: now.instant,
            bytes: 0,
            began: None,
            seconds: [Second::default(); SECONDS],
            filled: 0,
            declared: 0,
            found: None,
        }
    }

    /// Counts a piece of audio. Where it tells that the second is over, [`Pace::weigh`] is to be called with the same piece.
    #[inline]
    pub(super) fn count(&mut self, pcm_bytes: usize, now: Now) -> bool {
        self.bytes += pcm_bytes;
        now.instant >= self.due
    }

    /// Ends the second before this piece of audio, and begins the next with it. Tells which rate the audio has, the declared
    /// one perhaps, if it has not told before.
    #[cold]
    pub(super) fn weigh(&mut self, heard: Piece, now: Now) -> Option<u32> {
        let before = self.bytes.saturating_sub(heard.pcm_bytes);
        let began = self.began.replace(Began {
            at: now.instant,
            media_ms: heard.media_ms,
        });
        self.bytes = heard.pcm_bytes;
        self.due = now.instant + SECOND;
        if self.declared != heard.declared {
            self.declared = heard.declared;
            self.filled = 0;
            self.found = None;
            return None;
        }
        let began = began?;
        let micros = now.instant.saturating_duration_since(began.at).as_micros();
        self.seconds.rotate_left(1);
        if let Some(newest) = self.seconds.last_mut() {
            *newest = Second {
                samples: before as u64 / 2,
                micros: u64::try_from(micros).unwrap_or(u64::MAX),
                media_ms: heard
                    .media_ms
                    .zip(began.media_ms)
                    .and_then(|(to, from)| to.checked_sub(from)),
            };
        }
        self.filled = (self.filled + 1).min(SECONDS);
        let rate = self.rate(heard.sender)?;
        (self.found.replace(rate) != Some(rate)).then_some(rate)
    }

    /// The rate that the last five seconds fit, if there is one.
    fn rate(&self, sender: Sender) -> Option<u32> {
        if self.filled < SECONDS {
            return None;
        }
        let samples: u64 = self.seconds.iter().map(|second| second.samples).sum();
        let micros: u64 = self.seconds.iter().map(|second| second.micros).sum();
        let fits = |rate: u32| near(samples, micros, rate, OVERALL_PERCENT);
        if fits(self.declared) || self.plays_as_declared(samples) {
            return Some(self.declared);
        }
        let known = match sender {
            Sender::Exotel => EXOTELS,
            Sender::Custom => COMMON,
        };
        // Where two fit, the one that was found before, so that it does not go to and fro between them; else the nearer.
        let found = self.found.filter(|&rate| fits(rate)).or_else(|| {
            let near = known.iter().copied().filter(|&rate| fits(rate));
            near.min_by_key(|&rate| expected(micros, rate).abs_diff(samples))
        })?;
        let steady = self
            .seconds
            .iter()
            .all(|second| near(second.samples, second.micros, found, EACH_PERCENT));
        steady.then_some(found)
    }

    fn plays_as_declared(&self, samples: u64) -> bool {
        let times = self.seconds.iter().map(|second| second.media_ms);
        let media_ms: Option<u64> = times.sum();
        media_ms.is_some_and(|ms| {
            near(
                samples,
                ms.saturating_mul(1000),
                self.declared,
                OVERALL_PERCENT,
            )
        })
    }
}

/// How many samples there are of a rate in this time.
fn expected(micros: u64, rate: u32) -> u64 {
    micros.saturating_mul(u64::from(rate)) / 1_000_000
}

fn near(samples: u64, micros: u64, rate: u32, percent: u64) -> bool {
    let expected = expected(micros, rate);
    expected.abs_diff(samples).saturating_mul(100) <= expected.saturating_mul(percent)
}

/// In words that name the remedy.
pub(super) fn advice(declared: u32, measured: u32, sender: Sender) -> String {
    let remedy = match sender {
        Sender::Exotel => {
            format!(
                "add ?sample-rate={measured} to the URL that Exotel is given, if its audio has that rate"
            )
        }
        Sender::Custom => {
            format!(
                "say \"sample_rate\":{measured} in the start event, or ?sample-rate={measured} in the URL"
            )
        }
    };
    format!(
        "declared {declared} Hz, arriving like {measured} Hz: {remedy}; frames go on to say {declared}, and speech sounds \
         too slow or too fast"
    )
}

const SECOND: Duration = Duration::from_secs(1);
const SECONDS: usize = 5;
/// Clocks and networks are better than that, and no two of Exotel's rates are that near.
const OVERALL_PERCENT: u64 = 10;
/// A frame of 200 ms more or less in a second; a stall or a backlog is more.
const EACH_PERCENT: u64 = 25;
const EXOTELS: &[u32] = &[8000, 16000, 24000];
const COMMON: &[u32] = &[8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    /// A connection that brings audio at times of the test's choice.
    struct Line {
        pace: Pace,
        now: Now,
        declared: u32,
        sender: Sender,
        media_ms: Option<u64>,
        found: Vec<u32>,
    }

    impl Line {
        fn new(sender: Sender, declared: u32) -> Self {
            let now = clock::now();
            Self {
                pace: Pace::new(now),
                now,
                declared,
                sender,
                media_ms: None,
                found: Vec::new(),
            }
        }

        fn bring(&mut self, samples: usize) {
            let pcm_bytes = 2 * samples;
            if self.pace.count(pcm_bytes, self.now) {
                let heard = Piece {
                    pcm_bytes,
                    media_ms: self.media_ms,
                    declared: self.declared,
                    sender: self.sender,
                };
                self.found.extend(self.pace.weigh(heard, self.now));
            }
        }

        fn pass(&mut self, ms: u64) {
            self.now.instant += Duration::from_millis(ms);
            self.now.epoch_ms += ms;
        }

        /// Frames of `frame_ms` at this rate, for so many seconds.
        fn play(&mut self, rate: u64, frame_ms: u64, seconds: u64) {
            for _ in 0..seconds * 1000 / frame_ms {
                self.bring(usize::try_from(rate * frame_ms / 1000).unwrap());
                self.pass(frame_ms);
            }
        }
    }

    #[test]
    fn another_rate_than_the_declared_is_found_once() {
        for frame_ms in [20, 100, 200, 500, 1000] {
            let mut line = Line::new(Sender::Exotel, 8000);
            line.play(16_000, frame_ms, 5);
            assert!(
                line.found.is_empty(),
                "not before 5 s, frames of {frame_ms} ms"
            );
            line.play(16_000, frame_ms, 60);
            assert_eq!(line.found, [16_000], "frames of {frame_ms} ms");
            line.play(24_000, frame_ms, 8);
            line.play(8000, frame_ms, 8);
            assert_eq!(
                line.found,
                [16_000, 24_000, 8000],
                "frames of {frame_ms} ms"
            );
        }
    }

    #[test]
    fn the_declared_rate_is_found_to_fit() {
        for rate in [7300, 8000, 8700] {
            let mut line = Line::new(Sender::Exotel, 8000);
            line.play(rate, 20, 60);
            assert_eq!(line.found, [8000], "{rate}");
        }
    }

    #[test]
    fn a_rate_that_is_none_is_not_found() {
        for rate in [2000, 5000, 10_000, 12_000, 20_000, 80_000] {
            let mut line = Line::new(Sender::Exotel, 8000);
            line.play(rate, 20, 60);
            assert!(line.found.is_empty(), "{rate}: {:?}", line.found);
        }
    }

    #[test]
    fn a_custom_clients_rate_is_one_of_the_common_ones() {
        for rate in [8000, 11_025, 16_000, 32_000, 44_100, 48_000] {
            let mut line = Line::new(Sender::Custom, 24_000);
            line.play(rate, 20, 20);
            assert_eq!(u64::from(line.found[0]), rate);
            assert_eq!(line.found.len(), 1);
        }
    }

    #[test]
    fn a_backlog_at_the_beginning_is_no_rate() {
        let mut line = Line::new(Sender::Exotel, 8000);
        for _ in 0..400 {
            line.bring(160);
        }
        line.play(8000, 20, 30);
        assert_eq!(line.found, [8000]);
    }

    #[test]
    fn stalls_that_are_made_up_for_are_no_rate() {
        let mut line = Line::new(Sender::Exotel, 8000);
        for round in 0..20 {
            line.play(8000, 20, 2);
            line.pass(1000 + 100 * round);
            for _ in 0..(50 + 5 * round) {
                line.bring(160);
            }
        }
        assert!(
            line.found.iter().all(|&rate| rate == 8000),
            "{:?}",
            line.found
        );
    }

    #[test]
    fn pauses_between_words_are_no_rate() {
        let mut line = Line::new(Sender::Custom, 16_000);
        for round in 1..30 {
            line.play(16_000, 20, 1 + round % 3);
            line.pass(1500);
        }
        assert!(line.found.is_empty(), "{:?}", line.found);
    }

    #[test]
    fn who_says_that_it_plays_faster_has_the_declared_rate() {
        let mut line = Line::new(Sender::Exotel, 8000);
        // As `simulate --speed 2` does: 20 ms of audio, and of the sender's time, every 10 ms.
        for frame in 0..3000 {
            line.media_ms = Some(frame * 20);
            line.bring(160);
            line.pass(10);
        }
        assert_eq!(line.found, [8000]);
        let mut line = Line::new(Sender::Exotel, 8000);
        // As Exotel does: 20 ms of its time, with twice the samples.
        for frame in 0..1000 {
            line.media_ms = Some(frame * 20);
            line.bring(320);
            line.pass(20);
        }
        assert_eq!(line.found, [16_000]);
    }

    #[test]
    fn a_start_that_declares_another_rate_begins_anew() {
        let mut line = Line::new(Sender::Exotel, 8000);
        line.play(16_000, 20, 7);
        line.declared = 16_000;
        line.play(16_000, 20, 10);
        assert_eq!(
            line.found,
            [16_000, 16_000],
            "the first is not the declared one, the second is"
        );
    }
}
