//! One session of a call: numbers its frames and keeps the manifest that proves it whole.
//!
//! A session may span several connections (3.10); what one connection says is `intake.rs`'s subject, and which
//! connection belongs to which session is `calls.rs`'s. Invariants: a sequence number is never given twice, and a
//! session ends once.

#[cfg(test)]
mod tests;

use std::{fmt, time::Instant};

use crate::{
    dialect::Dialect,
    frame::Now,
    record::{CallEnd, Detail, Metadata},
};

/// Names of a call. Tenant and id together say which call it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallName {
    pub tenant_id: String,
    pub interaction_id: String,
}

/// What the start said of a call beyond its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    pub call_sid: Option<String>,
    pub stream_sid: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
}

/// Why a session ended (4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Exotel's own word.
    Word(String),
    Stop,
    End,
    Disconnected,
    IdleTimeout,
    MaxDuration,
    Restarted,
    Renamed,
    Shutdown,
    BadInput,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word(word) => word,
            Self::Stop => "stop",
            Self::End => "end",
            Self::Disconnected => "disconnected",
            Self::IdleTimeout => "idle_timeout",
            Self::MaxDuration => "max_duration",
            Self::Restarted => "restarted",
            Self::Renamed => "renamed",
            Self::Shutdown => "shutdown",
            Self::BadInput => "bad_input",
        })
    }
}

/// The state of one session.
#[derive(Debug)]
pub struct Call {
    name: CallName,
    session: u64,
    about: About,
    started: Instant,
    started_ms: u64,
    first_seq: u64,
    last_seq: Option<u64>,
    /// Whether the client gave a number of its own.
    numbered: bool,
    /// Where a client that numbers goes on after earlier sessions of the call; 1 where none is known.
    goes_on_at: u64,
    frames: u64,
    bytes: u64,
    gaps: u64,
    audio_ns: u64,
    crc: crc32fast::Hasher,
    last_frame_ns: u64,
    /// Play time of the audio that was dropped since the newest frame.
    dropped_ns: Option<u64>,
    last_activity_ms: u64,
    metadata_ms: Option<u64>,
    rate_mismatch: Option<u32>,
    /// The last mismatch that was told: the declared rate, and the one at which the audio came.
    rates_told: Option<(u32, u32)>,
    start_told: bool,
    ended: bool,
    sample_rate: Option<u32>,
    dialect: Option<Dialect>,
}

/// What there is to show of a session while it lasts.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub started_ms: u64,
    pub last_activity_ms: u64,
    pub frames: u64,
    pub gaps: u64,
    pub sample_rate: Option<u32>,
    pub dialect: Option<Dialect>,
}

/// What became of a piece of audio.
#[derive(Debug, PartialEq)]
pub enum Numbered {
    /// It is the frame with this number; audio before it may be missing.
    Frame { seq: u64, gap: Option<Detail> },
    /// The sender repeated itself; the audio is to be dropped.
    Duplicate,
}

/// What a session leaves at its end.
#[derive(Debug)]
pub struct Last<'a> {
    /// Audio that is missing after its last frame.
    pub gap: Option<Detail>,
    pub record: CallEnd<'a>,
}

impl Call {
    pub fn new(name: CallName, session: u64, now: Now) -> Self {
        Self {
            name,
            session,
            about: About::default(),
            started: now.instant,
            started_ms: now.epoch_ms,
            first_seq: 0,
            last_seq: None,
            numbered: false,
            goes_on_at: 1,
            frames: 0,
            bytes: 0,
            gaps: 0,
            audio_ns: 0,
            crc: crc32fast::Hasher::new(),
            last_frame_ns: 0,
            dropped_ns: None,
            last_activity_ms: now.epoch_ms,
            metadata_ms: None,
            rate_mismatch: None,
            rates_told: None,
            start_told: false,
            ended: false,
            sample_rate: None,
            dialect: None,
        }
    }

    pub fn name(&self) -> &CallName {
        &self.name
    }

    pub fn session(&self) -> u64 {
        self.session
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    pub fn figures(&self) -> Figures {
        Figures {
            started_ms: self.started_ms,
            last_activity_ms: self.last_activity_ms,
            frames: self.frames,
            gaps: self.gaps,
            sample_rate: self.sample_rate,
            dialect: self.dialect,
        }
    }

    /// Learns the rate of its newest audio.
    pub fn note_rate(&mut self, sample_rate: u32) {
        self.sample_rate = Some(sample_rate);
    }

    /// Learns how its newest audio came.
    pub fn note_dialect(&mut self, dialect: Dialect) {
        self.dialect = Some(dialect);
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Number of the newest frame, if there is one.
    pub fn last_seq(&self) -> Option<u64> {
        self.last_seq
    }

    /// Whether its frames have the client's own numbers.
    pub fn is_numbered(&self) -> bool {
        self.numbered
    }

    /// Learns where a client that numbers goes on. It is told so; the numbers are its own all the same.
    pub fn go_on_at(&mut self, next_seq: u64) {
        self.goes_on_at = next_seq;
    }

    /// Takes in what a start said; what it left out stays as it was. Tells whether this was the session's first
    /// start, which is the one to publish.
    pub fn take_start(&mut self, about: &About) -> bool {
        for (slot, value) in [
            (&mut self.about.call_sid, &about.call_sid),
            (&mut self.about.stream_sid, &about.stream_sid),
            (&mut self.about.from, &about.from),
            (&mut self.about.to, &about.to),
        ] {
            if value.is_some() {
                slot.clone_from(value);
            }
        }
        !std::mem::replace(&mut self.start_told, true)
    }

    /// Learns the stream's id from a message where no start told it.
    pub fn take_stream_sid(&mut self, stream_sid: &str) {
        if self.about.stream_sid.is_none() {
            self.about.stream_sid = Some(stream_sid.to_owned());
        }
    }

    /// Learns at which rate the audio arrives. Tells whether that is to be published: a mismatch, and another than the last.
    pub fn take_rate(&mut self, declared: u32, measured: u32) -> bool {
        self.rate_mismatch = (measured != declared).then_some(measured);
        let rates = Some((declared, measured));
        self.rate_mismatch.is_some() && std::mem::replace(&mut self.rates_told, rates) != rates
    }

    /// The rate at which the audio arrives, while that is another than the declared one.
    pub fn rate_mismatch(&self) -> Option<u32> {
        self.rate_mismatch
    }

    /// Numbers one piece of audio and enters it in the manifest.
    pub fn number(
        &mut self,
        given: Option<u64>,
        pcm: &[u8],
        sample_rate: u32,
        now: Now,
    ) -> Numbered {
        let next = self.last_seq.map_or(1, |last| last.saturating_add(1));
        let seq = given.unwrap_or(next);
        if self.last_seq.is_some_and(|last| seq <= last) {
            return Numbered::Duplicate;
        }
        let gap = if self.last_seq.is_some() {
            self.take_gap(next, seq)
        } else {
            // Whatever number comes first, none is missing before it.
            self.first_seq = seq;
            self.take_gap(seq, seq)
        };
        self.last_seq = Some(seq);
        self.numbered |= given.is_some();
        self.frames += 1;
        self.bytes += pcm.len() as u64;
        self.crc.update(pcm);
        self.last_frame_ns = play_ns(pcm.len(), sample_rate);
        self.audio_ns = self.audio_ns.saturating_add(self.last_frame_ns);
        self.last_activity_ms = now.epoch_ms;
        Numbered::Frame { seq, gap }
    }

    /// Counts audio that nothing could hold: it gets no number, and what comes next tells of it. Tells whether it is the
    /// first since the newest frame.
    pub fn drop_audio(&mut self, pcm_bytes: usize, sample_rate: u32, now: Now) -> bool {
        let before = self.dropped_ns;
        let dropped_ns = before
            .unwrap_or(0)
            .saturating_add(play_ns(pcm_bytes, sample_rate));
        self.dropped_ns = Some(dropped_ns);
        self.last_activity_ms = now.epoch_ms;
        before.is_none()
    }

    /// What is missing before the frame `seq` where `next` was to come, if anything is.
    fn take_gap(&mut self, next: u64, seq: u64) -> Option<Detail> {
        let (ns, reason) = match self.dropped_ns.take() {
            // Numbers that are missing as well belong to the audio that was dropped.
            Some(ns) => (ns, JOURNAL_FULL),
            None if seq > next => ((seq - next).saturating_mul(self.last_frame_ns), "client"),
            None => return None,
        };
        self.gaps += 1;
        Some(Detail::Gap {
            from_seq: next,
            to_seq: seq.saturating_sub(1),
            ms: whole_ms(ns),
            reason,
        })
    }

    /// Whether the metadata of 4.5 should be written again.
    pub fn metadata_due(&self, now: Now) -> bool {
        self.metadata_ms
            .is_none_or(|written| now.epoch_ms.saturating_sub(written) >= METADATA_EVERY_MS)
    }

    /// Whether there was anything to say of it yet: until then the metadata is that of an earlier session.
    pub fn is_shown(&self) -> bool {
        self.metadata_ms.is_some() || self.last_seq.is_some()
    }

    pub fn metadata(&mut self, now: Now) -> Metadata<'_> {
        self.metadata_ms = Some(now.epoch_ms);
        Metadata {
            interaction_id: &self.name.interaction_id,
            call_sid: self.about.call_sid.as_deref(),
            from: self.about.from.as_deref(),
            to: self.about.to.as_deref(),
            tenant_id: &self.name.tenant_id,
            start_time: self.started_ms,
            status: if self.ended { "ended" } else { "active" },
            last_activity: self.last_activity_ms,
            // What a session without audio has inherited is not forgotten by it.
            last_seq: self.last_seq.unwrap_or(self.goes_on_at.saturating_sub(1)),
            session: self.session,
            paused: false,
            numbered: self.numbered || (self.last_seq.is_none() && self.goes_on_at > 1),
        }
    }

    /// Ends the session: its last records, or nothing if it has ended before.
    pub fn end<'a>(&'a mut self, reason: &'a str, now: Now) -> Option<Last<'a>> {
        if std::mem::replace(&mut self.ended, true) {
            return None;
        }
        let next = self.last_seq.map_or(1, |last| last.saturating_add(1));
        let gap = self.take_gap(next, next);
        let wall = now.instant.saturating_duration_since(self.started);
        let record = CallEnd {
            interaction_id: self.name.interaction_id.as_str().into(),
            tenant_id: self.name.tenant_id.as_str().into(),
            call_sid: self.about.call_sid.as_deref().map(Into::into),
            stream_sid: self.about.stream_sid.as_deref().map(Into::into),
            reason: reason.into(),
            timestamp_ms: now.epoch_ms,
            session: self.session,
            complete: true,
            frames: self.frames,
            first_seq: self.first_seq,
            last_seq: self.last_seq.unwrap_or(0),
            bytes: self.bytes,
            duration_ms: whole_ms(self.audio_ns),
            wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            gaps: self.gaps,
            crc32: format!("{:08x}", self.crc.clone().finalize()),
        };
        Some(Last { gap, record })
    }
}

fn play_ns(pcm_bytes: usize, sample_rate: u32) -> u64 {
    (pcm_bytes as u64 / 2).saturating_mul(NS_PER_S) / u64::from(sample_rate.max(1))
}

fn whole_ms(ns: u64) -> u64 {
    ns.saturating_add(NS_PER_MS / 2) / NS_PER_MS
}

/// Why audio is missing: neither Redis nor the journal could take it (5.4).
pub const JOURNAL_FULL: &str = "journal_full";

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// The contract says at least every 5 s while audio comes; a second less leaves room for slow senders.
const METADATA_EVERY_MS: u64 = 4000;
