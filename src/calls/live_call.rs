//! One session with its way out: what is said of a call becomes records in its lane, in one order.
//!
//! Which connection uses it, and when it ends, is `mod.rs`'s subject. Invariant: frames and records of a session are
//! made and appended under one lock.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use super::{
    counts::Counts,
    earlier::Earlier,
    listing::{self, Pace},
    meter::Meter,
    reader::{Asked, Reader, Readers},
};
use crate::{
    call::{About, Call, CallName, JOURNAL_FULL, Last, Numbered, Reason},
    dialect::Dialect,
    frame::{Now, Sender},
    intake::Heard,
    publisher::{Outlet, Publisher, progress::Progress},
    record::{
        CallEvent, Detail,
        frame::{FrameFacts, FrameNumbers, FramePattern},
        to_json,
    },
    telemetry,
};

/// One session and its way out.
#[derive(Debug)]
pub struct LiveCall {
    pub(super) call: Mutex<Call>,
    pub(super) outlet: Outlet,
    pub(super) progress: Arc<Progress>,
    /// The session before it, if its client numbers.
    pub(super) earlier: Option<Earlier>,
    pub(super) session: u64,
    /// Of the connection that opened it.
    pub(super) sender: Sender,
    /// Connections that use it.
    pub(super) attached: AtomicUsize,
    /// How often a connection has left it.
    pub(super) departures: AtomicUsize,
    pub(super) readers: Readers,
    /// Another tenant's call has the same id and had it first, so its metadata stays.
    pub(super) owns_metadata: bool,
    /// For whoever looks at the calls, as is the meter; no frame touches it.
    pub(super) pace: Mutex<Pace>,
    /// `None` unless somebody looks.
    pub(super) meter: Mutex<Option<Box<Meter>>>,
    pub(super) counts: Arc<Counts>,
}

/// A connection's leaving, by number.
#[derive(Debug, Clone, Copy)]
pub struct Departure(pub(super) usize);

/// The session has ended; audio that comes later belongs to a new one.
#[derive(Debug)]
pub struct Ended;

impl LiveCall {
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub fn session(&self) -> u64 {
        self.session
    }

    pub fn started(&self) -> std::time::Instant {
        self.call.lock().started()
    }

    pub fn last_seq(&self) -> Option<u64> {
        self.call.lock().last_seq()
    }

    /// Makes a connection one of those that are asked by [`LiveCall::ask_others`].
    pub fn reader(&self) -> Reader {
        self.readers.join(&self.progress)
    }

    /// Has the other connections read what has arrived at their sockets by now, if there are any.
    pub fn ask_others(&self, asks: &Reader) -> Option<Asked> {
        self.readers.ask_others(asks)
    }

    /// The session of this call before, as far as this instance knows.
    pub fn earlier(&self) -> Option<&Earlier> {
        self.earlier.as_ref()
    }

    /// Where a client goes on that has numbered audio in this session already: after what is durable of it.
    pub fn goes_on_at(&self) -> Option<u64> {
        let durable = self.progress.durable()?;
        let numbered = self.call.lock().is_numbered();
        numbered.then(|| durable.saturating_add(1))
    }

    /// Shows the session, once it is known where its client goes on.
    pub fn announce_at(&self, next_seq: u64, now: Now) {
        let mut call = self.call.lock();
        call.go_on_at(next_seq);
        if !call.is_ended() {
            self.write_metadata(&mut call, now);
        }
    }

    pub fn is_ended(&self) -> bool {
        self.call.lock().is_ended()
    }

    /// Takes in a start's facts, and publishes its event if it is the session's first.
    pub fn take_start(&self, about: &About, event: &Detail, now: Now) {
        let mut call = self.call.lock();
        if let Detail::Start { sample_rate, .. } = event {
            call.note_rate(*sample_rate);
        }
        if call.take_start(about) {
            self.publish_event(event, now);
        }
    }

    /// Shows the session to whoever looks for live calls.
    pub fn announce(&self, now: Now) {
        self.write_metadata(&mut self.call.lock(), now);
    }

    pub fn event(&self, detail: &Detail, now: Now) {
        let _in_turn = self.call.lock();
        self.publish_event(detail, now);
    }

    /// Learns at which rate the audio arrives, and publishes it if it is another than the declared one. Tells whether it did.
    pub fn take_rate(&self, declared: u32, measured: u32, now: Now) -> bool {
        let mut call = self.call.lock();
        let told = !call.is_ended() && call.take_rate(declared, measured);
        if told {
            self.publish_event(&Detail::RateMismatch { declared, measured }, now);
        }
        told
    }

    /// The rate at which the audio arrives, while that is another than the declared one.
    pub fn rate_mismatch(&self) -> Option<u32> {
        self.call.lock().rate_mismatch()
    }

    pub fn take_stream_sid(&self, stream_sid: &str) {
        self.call.lock().take_stream_sid(stream_sid);
    }

    /// Learns how its newest audio comes.
    pub fn note_audio(&self, sample_rate: u32, dialect: Dialect) {
        let mut call = self.call.lock();
        call.note_rate(sample_rate);
        call.note_dialect(dialect);
    }

    /// What stands in every frame of this call from one connection's track.
    pub fn pattern(
        &self,
        publisher: &Publisher,
        sample_rate: u32,
        stream_sid: Option<&str>,
        track: Option<&str>,
    ) -> FramePattern {
        let call = self.call.lock();
        let CallName {
            tenant_id,
            interaction_id,
        } = call.name();
        let facts = FrameFacts {
            tenant_id,
            interaction_id,
            sample_rate,
            session: self.session,
            stream_sid,
            track,
        };
        FramePattern::new(publisher.format(), &facts)
    }

    /// Publishes one piece of audio. It tells whether the audio was a repeat and was dropped.
    pub fn publish(
        &self,
        heard: &Heard<'_>,
        pattern: &FramePattern,
        sample_rate: u32,
        now: Now,
    ) -> Result<bool, Ended> {
        let mut call = self.call.lock();
        if call.is_ended() {
            return Err(Ended);
        }
        let Numbered::Frame { seq, gap } =
            call.number(heard.seq, heard.audio.pcm, sample_rate, now)
        else {
            return Ok(false);
        };
        if let Some(gap) = gap {
            self.publish_gap(&gap, now);
        }
        let numbers = FrameNumbers {
            seq,
            timestamp_ms: now.epoch_ms,
            media_ms: heard.media_ms,
        };
        self.outlet.frame(
            pattern,
            &numbers,
            &heard.audio,
            &self.progress,
            heard.seq.is_some(),
            &now.instant,
        );
        if call.metadata_due(now) {
            self.write_metadata(&mut call, now);
        }
        Ok(true)
    }

    /// Measures audio that was published, while somebody looks.
    pub fn measure(&self, heard: &Heard<'_>, sample_rate: u32, now: Now) {
        let mut meter = self.meter.lock();
        let meter = meter.get_or_insert_with(|| Box::new(Meter::new(now.instant)));
        meter.feed(heard.track, heard.audio.pcm, sample_rate, now.instant);
    }

    pub(super) fn drop_audio(
        &self,
        heard: &Heard<'_>,
        sample_rate: u32,
        now: Now,
    ) -> Result<(), Ended> {
        let mut call = self.call.lock();
        if call.is_ended() {
            return Err(Ended);
        }
        if call.drop_audio(heard.audio.pcm.len(), sample_rate, now) {
            telemetry::audio_drops_began(&self.progress);
        }
        Ok(())
    }

    /// One connection less. If that leaves a live session alone, [`super::Calls::end_abandoned`] wants the answer later.
    pub fn detach(&self, now: Now) -> Option<Departure> {
        let mut call = self.call.lock();
        let departure = Departure(self.departures.fetch_add(1, Ordering::Relaxed) + 1);
        let last = self.attached.fetch_sub(1, Ordering::Relaxed) == 1;
        if call.is_ended() {
            return None;
        }
        if call.is_shown() {
            self.write_metadata(&mut call, now);
        }
        last.then_some(departure)
    }

    /// Ends it, unless it has ended before; how it is shown from then on.
    pub(super) fn finish(&self, reason: &Reason, now: Now) -> Option<listing::Ended> {
        let mut call = self.call.lock();
        let reason = reason.to_string();
        let Last { gap, record } = call.end(&reason, now)?;
        if let Some(gap) = gap {
            self.publish_gap(&gap, now);
        }
        let json = to_json(&record);
        telemetry::call_ended(
            &record.interaction_id,
            &record.tenant_id,
            record.session,
            &reason,
            record.frames,
            record.gaps,
        );
        let end = record.into_owned();
        if call.is_shown() {
            self.write_metadata(&mut call, now);
        }
        // Last, so that whoever is told of the end finds in the metadata where to go on.
        self.outlet.call_end(&json, &self.progress);
        self.outlet.leave(&self.progress);
        let about = listing::About::of(self, &call.figures());
        Some(listing::Ended { about, end })
    }

    fn publish_gap(&self, gap: &Detail, now: Now) {
        if let Detail::Gap { reason, ms, .. } = gap {
            self.counts.gaps.count(reason);
            if *reason == JOURNAL_FULL {
                telemetry::audio_drops_ended(&self.progress, *ms);
            }
        }
        self.publish_event(gap, now);
    }

    /// To be called with the call's state locked: that gives events and frames their order.
    fn publish_event(&self, detail: &Detail, now: Now) {
        let event = CallEvent {
            kind: detail.kind(),
            interaction_id: &self.progress.interaction_id,
            tenant_id: &self.progress.tenant_id,
            timestamp_ms: now.epoch_ms,
            detail,
        };
        self.outlet.call_event(&event, &self.progress);
    }

    fn write_metadata(&self, call: &mut Call, now: Now) {
        if self.owns_metadata {
            self.outlet.metadata(&call.metadata(now), &self.progress);
        }
    }
}
