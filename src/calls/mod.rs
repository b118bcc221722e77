//! The calls that are live on this instance, and which connection belongs to which.
//!
//! A connection that names a call opens it here: it begins a session, or joins the one that is live (3.10). Whoever
//! is last to leave a call without ending it waits a while for somebody to take it up, then ends it. Invariants: a
//! call of one tenant and id has at most one session at a time; every session that began ends with one `call_end`.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    call::{About, Call, CallName, JOURNAL_FULL, Last, Numbered, Reason},
    frame::{Now, Sender},
    intake::Heard,
    publisher::{Outlet, Publisher, progress::Progress},
    record::{
        CallEvent, Detail,
        frame::{FrameFacts, FrameNumbers, FramePattern},
    },
    telemetry,
};

/// All live calls.
#[derive(Debug)]
pub struct Calls {
    publisher: Publisher,
    ack_interval: u64,
    live: Mutex<Live>,
    frames_dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Live {
    calls: HashMap<CallName, Arc<LiveCall>>,
    /// Which tenant's call the metadata key of an id belongs to: the first one's.
    metadata_owners: HashMap<String, String>,
    last_session: u64,
}

/// One session and its way out.
#[derive(Debug)]
pub struct LiveCall {
    call: Mutex<Call>,
    outlet: Outlet,
    progress: Arc<Progress>,
    session: u64,
    /// Connections that use it.
    attached: AtomicUsize,
    /// How often a connection has left it.
    departures: AtomicUsize,
    /// Another tenant's call has the same id and had it first, so its metadata stays.
    owns_metadata: bool,
}

/// A call that was opened.
#[derive(Debug)]
pub struct Opened {
    pub call: Arc<LiveCall>,
    /// It was live already.
    pub joined: bool,
    /// The newest frame that was in it then.
    pub last_seq: Option<u64>,
}

/// A connection's leaving, by number.
#[derive(Debug, Clone, Copy)]
pub struct Departure(usize);

/// The session has ended; audio that comes later belongs to a new one.
#[derive(Debug)]
pub struct Ended;

impl Calls {
    pub fn new(publisher: Publisher, ack_interval: u64) -> Self {
        Self {
            publisher,
            ack_interval,
            live: Mutex::default(),
            frames_dropped: AtomicU64::new(0),
        }
    }

    pub fn len(&self) -> usize {
        self.live.lock().calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pieces of audio that nothing could hold (5.4).
    pub fn frames_dropped(&self) -> u64 {
        self.frames_dropped.load(Ordering::Relaxed)
    }

    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Begins a session of this call, or joins the live one.
    pub fn open(&self, name: &CallName, sender: Sender, now: Now) -> Option<Opened> {
        let mut live = self.live.lock();
        if let Some(call) = live.calls.get(name) {
            let state = call.call.lock();
            if !state.is_ended() {
                call.attached.fetch_add(1, Ordering::Relaxed);
                let last_seq = state.last_seq();
                drop(state);
                return Some(Opened {
                    call: Arc::clone(call),
                    joined: true,
                    last_seq,
                });
            }
        }
        let outlet = self.publisher.outlet(&name.interaction_id)?;
        let session = now.epoch_ms.max(live.last_session + 1);
        live.last_session = session;
        let owner = live
            .metadata_owners
            .entry(name.interaction_id.clone())
            .or_insert_with(|| name.tenant_id.clone());
        let owns_metadata = *owner == name.tenant_id;
        let wake_every = if sender == Sender::Custom {
            self.ack_interval
        } else {
            0
        };
        let call = Arc::new(LiveCall {
            call: Mutex::new(Call::new(name.clone(), session, now)),
            outlet,
            progress: Arc::new(Progress::new(
                &name.tenant_id,
                &name.interaction_id,
                wake_every,
            )),
            session,
            attached: AtomicUsize::new(1),
            departures: AtomicUsize::new(0),
            owns_metadata,
        });
        live.calls.insert(name.clone(), Arc::clone(&call));
        Some(Opened {
            call,
            joined: false,
            last_seq: None,
        })
    }

    /// Ends the session, if it has not ended before.
    pub fn end(&self, live_call: &Arc<LiveCall>, reason: &Reason, now: Now) {
        if live_call.finish(reason, now) {
            self.forget(live_call);
        }
    }

    /// Ends a session that nobody has joined since this departure.
    pub fn end_abandoned(
        &self,
        live_call: &Arc<LiveCall>,
        departure: Departure,
        reason: &Reason,
        now: Now,
    ) {
        {
            // Nobody can join while this is held.
            let _live = self.live.lock();
            let alone = live_call.attached.load(Ordering::Relaxed) == 0;
            if !alone
                || live_call.departures.load(Ordering::Relaxed) != departure.0
                || !live_call.finish(reason, now)
            {
                return;
            }
        }
        self.forget(live_call);
    }

    /// Throws one piece of audio away, and sees to it that the session tells of it.
    pub fn drop_audio(
        &self,
        live_call: &LiveCall,
        heard: &Heard<'_>,
        sample_rate: u32,
        now: Now,
    ) -> Result<(), Ended> {
        live_call.drop_audio(heard, sample_rate, now)?;
        self.frames_dropped.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn forget(&self, live_call: &Arc<LiveCall>) {
        let name = live_call.call.lock().name().clone();
        let mut live = self.live.lock();
        if live
            .calls
            .get(&name)
            .is_some_and(|known| Arc::ptr_eq(known, live_call))
        {
            live.calls.remove(&name);
            if live_call.owns_metadata {
                live.metadata_owners.remove(&name.interaction_id);
            }
        }
    }

    /// Ends every session that is left, at the very end of the process.
    pub fn end_all(&self, reason: &Reason, now: Now) {
        let all: Vec<_> = self.live.lock().calls.values().cloned().collect();
        for call in &all {
            self.end(call, reason, now);
        }
    }
}

impl LiveCall {
    pub fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    pub fn progress(&self) -> &Progress {
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

    pub fn is_ended(&self) -> bool {
        self.call.lock().is_ended()
    }

    /// Takes in a start's facts, and publishes its event if it is the session's first.
    pub fn take_start(&self, about: &About, event: &Detail, now: Now) {
        let mut call = self.call.lock();
        if call.take_start(about) {
            self.publish_event(event, now);
        }
        self.write_metadata(&mut call, now);
    }

    /// A session without a start shows up too.
    pub fn announce(&self, now: Now) {
        self.write_metadata(&mut self.call.lock(), now);
    }

    pub fn event(&self, detail: &Detail, now: Now) {
        let _in_turn = self.call.lock();
        self.publish_event(detail, now);
    }

    pub fn take_stream_sid(&self, stream_sid: &str) {
        self.call.lock().take_stream_sid(stream_sid);
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
            self.session,
        );
        if call.metadata_due(now) {
            self.write_metadata(&mut call, now);
        }
        Ok(true)
    }

    fn drop_audio(&self, heard: &Heard<'_>, sample_rate: u32, now: Now) -> Result<(), Ended> {
        let mut call = self.call.lock();
        if call.is_ended() {
            return Err(Ended);
        }
        if call.drop_audio(heard.audio.pcm.len(), sample_rate, now) {
            telemetry::audio_drops_began(&self.progress);
        }
        Ok(())
    }

    /// One connection less. If that leaves a live session alone, [`Calls::end_abandoned`] wants the answer later.
    pub fn detach(&self, now: Now) -> Option<Departure> {
        let mut call = self.call.lock();
        let departure = Departure(self.departures.fetch_add(1, Ordering::Relaxed) + 1);
        let last = self.attached.fetch_sub(1, Ordering::Relaxed) == 1;
        if call.is_ended() {
            return None;
        }
        self.write_metadata(&mut call, now);
        last.then_some(departure)
    }

    fn finish(&self, reason: &Reason, now: Now) -> bool {
        let mut call = self.call.lock();
        let reason = reason.to_string();
        let Some(Last { gap, record }) = call.end(&reason, now) else {
            return false;
        };
        if let Some(gap) = gap {
            self.publish_gap(&gap, now);
        }
        self.outlet.call_end(&record, &self.progress);
        let (frames, gaps) = (record.frames, record.gaps);
        telemetry::call_ended(
            record.interaction_id,
            record.tenant_id,
            record.session,
            &reason,
            frames,
            gaps,
        );
        self.write_metadata(&mut call, now);
        true
    }

    fn publish_gap(&self, gap: &Detail, now: Now) {
        if let Detail::Gap {
            reason: JOURNAL_FULL,
            ms,
            ..
        } = gap
        {
            telemetry::audio_drops_ended(&self.progress, *ms);
        }
        self.publish_event(gap, now);
    }

    /// To be called with the call's state locked: that gives events and frames their order.
    fn publish_event(&self, detail: &Detail, now: Now) {
        self.outlet.call_event(&CallEvent {
            kind: detail.kind(),
            interaction_id: &self.progress.interaction_id,
            tenant_id: &self.progress.tenant_id,
            timestamp_ms: now.epoch_ms,
            detail,
        });
    }

    fn write_metadata(&self, call: &mut Call, now: Now) {
        if self.owns_metadata {
            self.outlet.metadata(&call.metadata(now));
        }
    }
}
