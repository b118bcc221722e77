//! What has come out of the journal of the demo's call: audio, numbers and, last, its end.
//!
//! Following the journal is in `mod.rs`, drawing in `cli/demo.rs`. Invariant: records of other calls change nothing here, since
//! anybody on this machine could call the demo's port while it is open.

use crate::{
    audio::{recording::Recording, wav::WavError},
    journal::{
        Record,
        fields::{self, FieldsError},
    },
    manifest::{Place, Tally, Verdict},
    published::{End, Frame, UnreadableEntry},
    record::Kind,
};

/// One call as it was read back.
#[derive(Debug)]
pub struct Heard {
    tenant: &'static str,
    call: &'static str,
    tally: Tally,
    recording: Recording,
    end: Option<End>,
    /// The loudest sample since somebody last asked.
    peak: u16,
    behind_ms_max: u64,
}

/// Why a record of the journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HeardError {
    #[error("a record in the journal is damaged")]
    Fields(#[from] FieldsError),
    #[error("a record in the journal is not as it was meant to be")]
    Entry(#[from] UnreadableEntry),
    #[error("the call cannot be recorded")]
    Recording(#[from] WavError),
}

impl Heard {
    pub(super) fn new(tenant: &'static str, call: &'static str) -> Self {
        Self {
            tenant,
            call,
            tally: Tally::new(),
            recording: Recording::new(),
            end: None,
            peak: 0,
            behind_ms_max: 0,
        }
    }

    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), HeardError> {
        let pairs = fields::pairs(record.fields)?;
        match record.kind {
            Kind::Frame => {
                let frame = Frame::read(pairs)?;
                if (self.tenant, self.call) == (&frame.tenant_id, &frame.interaction_id) {
                    self.frame(&frame, record.at_ms)?;
                }
            }
            Kind::CallEnd => {
                let end = End::read(pairs)?;
                if (self.tenant, self.call) == (&end.tenant_id, &end.interaction_id) {
                    self.end = Some(end);
                }
            }
            Kind::CallEvent | Kind::Metadata => {}
        }
        Ok(())
    }

    fn frame(&mut self, frame: &Frame<'_>, journaled_ms: u64) -> Result<(), HeardError> {
        let behind_ms = journaled_ms.saturating_sub(frame.timestamp_ms);
        self.behind_ms_max = self.behind_ms_max.max(behind_ms);
        if self.tally.frame(frame.seq, &frame.pcm) != Place::Duplicate {
            let track = frame.track.as_deref().unwrap_or_default();
            self.recording.push(track, frame.sample_rate, &frame.pcm)?;
        }
        let (samples, _) = frame.pcm.as_chunks::<2>();
        let loudest = samples
            .iter()
            .map(|sample| i16::from_le_bytes(*sample).unsigned_abs())
            .max();
        self.peak = self.peak.max(loudest.unwrap_or(0));
        Ok(())
    }

    pub fn frames(&self) -> u64 {
        self.tally.frames()
    }

    pub fn bytes(&self) -> u64 {
        self.tally.bytes()
    }

    /// How long after its arrival a frame was written to the journal, at most.
    pub fn behind_ms_max(&self) -> u64 {
        self.behind_ms_max
    }

    /// How loud it has been since the last time: 0 is silence, each step up to 10 twice as loud as the one before.
    pub fn take_level(&mut self) -> usize {
        let bits = u16::BITS - std::mem::take(&mut self.peak).leading_zeros();
        // The lowest 5 of 15 bits are hiss.
        usize::try_from(bits.saturating_sub(5).min(10)).unwrap_or(0)
    }

    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What the call came to, once its end has come.
    pub fn verdict(&self) -> Option<Verdict> {
        self.end.as_ref().map(|end| self.tally.check(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        payload::Audio,
        record::{
            frame::{FrameFacts, FrameFormat, FrameNumbers, FramePattern},
            push_pair,
        },
    };

    fn frame(call: &str, seq: u64, sample: i16) -> Vec<u8> {
        let facts = FrameFacts {
            tenant_id: "t",
            interaction_id: call,
            sample_rate: 8_000,
            session: 1,
            stream_sid: None,
            track: None,
        };
        let numbers = FrameNumbers {
            seq,
            timestamp_ms: 1_000,
            media_ms: None,
        };
        let mut out = Vec::new();
        FramePattern::new(FrameFormat::Json, &facts).write(
            &mut out,
            &numbers,
            &Audio {
                pcm: &sample.to_le_bytes(),
                text: None,
            },
        );
        out
    }

    fn take(heard: &mut Heard, kind: Kind, fields: &[u8]) -> Result<(), HeardError> {
        heard.take(&Record {
            kind,
            at_ms: 1_003,
            call: 1,
            number: 0,
            fields,
        })
    }

    #[test]
    fn hears_its_own_call_to_the_end_and_no_other() {
        let mut heard = Heard::new("t", "mine");
        take(&mut heard, Kind::Frame, &frame("mine", 1, -32_768)).unwrap();
        assert_eq!((heard.take_level(), heard.take_level()), (10, 0));
        take(&mut heard, Kind::Frame, &frame("mine", 2, 31)).unwrap();
        take(&mut heard, Kind::Frame, &frame("other", 3, 32_767)).unwrap();
        take(&mut heard, Kind::Frame, &frame("mine", 2, 31)).unwrap();
        assert_eq!(
            (heard.frames(), heard.bytes(), heard.take_level()),
            (2, 4, 0)
        );
        assert_eq!(heard.behind_ms_max(), 3);
        assert!(heard.verdict().is_none());
        for (call, told) in [("other", false), ("mine", true)] {
            let json = format!(
                r#"{{"tenant_id":"t","interaction_id":"{call}","reason":"stop","timestamp_ms":1,"session":1,"complete":true,
                "frames":2,"first_seq":1,"last_seq":2,"bytes":4,"duration_ms":0,"wall_ms":1,"gaps":0,"crc32":"{:08x}"}}"#,
                crc32fast::hash(&[0, 0x80, 31, 0])
            );
            let mut fields = Vec::new();
            push_pair(&mut fields, b"data", json.as_bytes());
            take(&mut heard, Kind::CallEnd, &fields).unwrap();
            assert_eq!(heard.verdict().is_some(), told);
        }
        let verdict = heard.verdict().unwrap();
        assert_eq!(
            verdict.to_string(),
            "2 frames, 0 gaps, 1 duplicates, crc ok"
        );
    }

    #[test]
    fn damage_is_an_error() {
        let mut heard = Heard::new("t", "mine");
        assert!(take(&mut heard, Kind::Frame, b"$4\r\ndata\r\n").is_err());
        assert!(take(&mut heard, Kind::Frame, b"$4\r\ndata\r\n$2\r\n{}\r\n").is_err());
        assert!(take(&mut heard, Kind::CallEnd, b"").is_err());
        assert!(take(&mut heard, Kind::CallEvent, b"").is_ok());
    }
}
