//! The connections that read a session's audio, and what one of them asks of the others when it joins (3.8): to have
//! read what had arrived when it asked. How they read on is `connection/`'s subject.
//!
//! Only custom clients' connections are here. Exotel's are never asked: what they deliver is not what the client that
//! asks had sent, and while they are open they listen to nothing. Invariant: whoever is asked answers, at the latest
//! by its end.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::publisher::progress::Progress;

/// One connection, as the others of its session see it. It answers everything when it is dropped.
#[derive(Debug)]
pub struct Reader {
    marks: Arc<Marks>,
    progress: Arc<Progress>,
    /// The newest question that this connection knows of.
    heard: u64,
    /// How often it has begun to read since then.
    turns: u32,
    /// Everything was read, but for what may have been on its way.
    look_again_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Marks {
    /// How often it was asked.
    asked: AtomicU64,
    /// Up to which of these questions it has answered.
    answered: AtomicU64,
}

/// All readers of one session.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<Vec<Weak<Marks>>>);

/// A question to the other readers of a session.
#[derive(Debug)]
pub struct Asked(Vec<(Arc<Marks>, u64)>);

impl Readers {
    pub(super) fn join(&self, progress: &Arc<Progress>) -> Reader {
        let marks = Arc::default();
        let mut readers = self.0.lock();
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&marks));
        Reader {
            marks,
            progress: Arc::clone(progress),
            heard: 0,
            turns: 0,
            look_again_at: None,
        }
    }

    /// Asks all but this one, if there are any.
    pub(super) fn ask_others(&self, asks: &Reader) -> Option<Asked> {
        let others: Vec<_> = {
            let readers = self.0.lock();
            let others = readers.iter().filter_map(Weak::upgrade);
            others
                .filter(|other| !Arc::ptr_eq(other, &asks.marks))
                .map(|other| {
                    let question = other.asked.fetch_add(1, Ordering::AcqRel) + 1;
                    (other, question)
                })
                .collect()
        };
        if others.is_empty() {
            return None;
        }
        asks.progress.tell();
        Some(Asked(others))
    }
}

impl Asked {
    /// Whether all have answered; whoever waits for it is told by the session's [`Progress`].
    pub fn is_answered(&self) -> bool {
        let mut asked = self.0.iter();
        asked.all(|(reader, question)| reader.answered.load(Ordering::Acquire) >= *question)
    }
}

impl Reader {
    /// Looks whether it was asked. What is read from now on counts for the answer.
    pub fn listen(&mut self) {
        let asked = self.marks.asked.load(Ordering::Acquire);
        if asked > self.heard {
            self.heard = asked;
            self.turns = 0;
            self.look_again_at = None;
        }
    }

    /// Whether it knows of a question that it has not answered.
    pub fn is_asked(&self) -> bool {
        self.heard > self.marks.answered.load(Ordering::Relaxed)
    }

    /// It is about to read as much as is fair at a time, or it has to wait for room.
    pub fn begin_turn(&mut self, reading: bool) {
        if !reading {
            self.look_again_at = None;
            return;
        }
        self.turns += 1;
        if self.turns > TURNS_MAX {
            self.answer();
        }
    }

    /// There was nothing to read.
    pub fn note_read_all(&mut self, now: Instant) {
        match self.look_again_at {
            None => self.look_again_at = Some(now + ON_ITS_WAY),
            Some(look_again) if look_again <= now => self.answer(),
            Some(_) => {}
        }
    }

    /// When it is worth looking once more, if there was nothing to read.
    pub fn look_again_at(&self) -> Option<Instant> {
        self.look_again_at
    }

    /// It has read everything, or reads no more.
    pub fn answer(&mut self) {
        self.look_again_at = None;
        self.answer_up_to(self.heard);
    }

    fn answer_up_to(&self, question: u64) {
        self.marks.answered.store(question, Ordering::Release);
        self.progress.tell();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.answer_up_to(u64::MAX);
    }
}

/// What a client has sent arrives a little later: TCP waits up to 40 ms to confirm, and a sender up to an RTT for that.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// A client that sends without a pause never lets its socket run dry. So many turns are more than had arrived when it
/// was asked: a turn that leaves something takes 4 KiB at least, and Linux keeps 6 MB for a socket.
const TURNS_MAX: u32 = 2048;
