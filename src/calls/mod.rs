//! The calls that are live on this instance, and which connection belongs to which.
//!
//! A connection that names a call opens it here: it begins a session, or joins the one that is live (3.10). Whoever
//! is last to leave a call without ending it waits a while for somebody to take it up, then ends it. Invariants: a
//! call of one tenant and id has at most one session at a time; every session that began ends with one `call_end`.

pub mod counts;
pub mod earlier;
pub mod listing;
pub mod live_call;
mod meter;
pub mod reader;
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

use self::{
    counts::Counts,
    earlier::{Earlier, Remembered},
    listing::{Ended as Shown, EndedCalls, Pace},
    live_call::{Departure, Ended, LiveCall},
    reader::Readers,
};
use crate::{
    call::{Call, CallName, JOURNAL_FULL, Reason},
    frame::{Now, Sender},
    intake::Heard,
    publisher::{Publisher, progress::Progress},
};

/// All live calls.
#[derive(Debug)]
pub struct Calls {
    publisher: Publisher,
    ack_interval: u64,
    live: Mutex<Live>,
    /// Somebody looks at the calls until then, see `listing.rs`.
    looked_at_until_ms: AtomicU64,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Live {
    calls: HashMap<CallName, Arc<LiveCall>>,
    /// Which tenant's call the metadata key of an id belongs to: the first one's.
    metadata_owners: HashMap<String, String>,
    remembered: Remembered,
    ended: EndedCalls,
    last_session: u64,
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

impl Calls {
    pub fn new(publisher: Publisher, ack_interval: u64) -> Self {
        Self {
            publisher,
            ack_interval,
            live: Mutex::default(),
            looked_at_until_ms: AtomicU64::new(0),
            counts: Arc::default(),
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
        self.counts.dropped.get(JOURNAL_FULL)
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Begins a session of this call, or joins the live one.
    pub fn open(&self, name: &CallName, sender: Sender, now: Now) -> Option<Opened> {
        let mut live = self.live.lock();
        if let Some(call) = live.calls.get(name).cloned() {
            let state = call.call.lock();
            if !state.is_ended() {
                call.attached.fetch_add(1, Ordering::Relaxed);
                let last_seq = state.last_seq();
                drop(state);
                return Some(Opened {
                    call,
                    joined: true,
                    last_seq,
                });
            }
            live.remember(&state, &call, now);
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
        let earlier = live.remembered.get(name, now.instant).cloned();
        let mut call = Call::new(name.clone(), session, now);
        if let Some(earlier) = &earlier {
            call.go_on_at(earlier.last_seq.saturating_add(1));
        }
        let call = Arc::new(LiveCall {
            call: Mutex::new(call),
            earlier,
            outlet,
            progress: Arc::new(Progress::new(
                &name.tenant_id,
                &name.interaction_id,
                wake_every,
            )),
            session,
            sender,
            attached: AtomicUsize::new(1),
            departures: AtomicUsize::new(0),
            readers: Readers::default(),
            owns_metadata,
            pace: Mutex::new(Pace::new(now.instant)),
            meter: Mutex::default(),
            counts: Arc::clone(&self.counts),
        });
        call.outlet.enter(&call.progress);
        live.calls.insert(name.clone(), Arc::clone(&call));
        Some(Opened {
            call,
            joined: false,
            last_seq: None,
        })
    }

    /// Ends the session, if it has not ended before.
    pub fn end(&self, live_call: &Arc<LiveCall>, reason: &Reason, now: Now) {
        if let Some(ended) = live_call.finish(reason, now) {
            self.forget(live_call, ended, now);
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
        let ended = {
            // Nobody can join while this is held.
            let _live = self.live.lock();
            let alone = live_call.attached.load(Ordering::Relaxed) == 0;
            if !alone || live_call.departures.load(Ordering::Relaxed) != departure.0 {
                return;
            }
            live_call.finish(reason, now)
        };
        if let Some(ended) = ended {
            self.forget(live_call, ended, now);
        }
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
        self.counts.dropped.count(JOURNAL_FULL);
        Ok(())
    }

    fn forget(&self, live_call: &Arc<LiveCall>, ended: Shown, now: Now) {
        let mut live = self.live.lock();
        live.ended.add(ended);
        let call = live_call.call.lock();
        let name = call.name();
        if live
            .calls
            .get(name)
            .is_some_and(|known| Arc::ptr_eq(known, live_call))
        {
            live.calls.remove(name);
            live.remember(&call, live_call, now);
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

impl Live {
    /// Keeps what the next session of an ended call asks for.
    fn remember(&mut self, call: &Call, live_call: &LiveCall, now: Now) {
        match call.last_seq() {
            Some(last_seq) if call.is_numbered() => {
                let progress = Arc::clone(&live_call.progress);
                let earlier = Earlier { progress, last_seq };
                self.remembered
                    .insert(call.name(), call.session(), earlier, now.instant);
            }
            Some(_) => self.remembered.remove(call.name()),
            // What it had inherited still holds.
            None => {}
        }
    }
}
