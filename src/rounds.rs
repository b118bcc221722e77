//! Looks at the sockets in rounds: a thread that has taken audio lets some more arrive before it goes to sleep on them.
//!
//! To be woken costs more than to read a frame, number it and publish it, and by themselves the frames of five hundred
//! calls come at twenty-five thousand different moments of a second. They gather for `PUBLISH_GATHER_US` anyhow, so they
//! may as well do so in their sockets, and be read all at once when that time is over. Invariants: a thread that has
//! anything to do is not held up; a pause ends when gathering does, and is never longer than a millisecond.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use tokio::runtime::Builder;

use crate::clock;

/// Has the threads of a runtime pause so, if frames gather at all.
pub fn install(builder: &mut Builder, gather: Duration) {
    let pause = gather.min(PAUSE_MAX);
    if !pause.is_zero() {
        builder.on_thread_park(move || wait(pause));
    }
}

/// Audio was taken on this thread: that begins a round, if none has begun.
pub fn note_audio(now: Instant) {
    ROUND.set(ROUND.get().or(Some(now)));
}

/// So much has gathered on this thread that it is on its way already: what the thread waits for is room, not audio.
pub fn skip_pause() {
    FULL.set(true);
}

/// The thread has nothing left to do.
fn wait(pause: Duration) {
    let (round, full) = (ROUND.take(), FULL.take());
    if let Some(began) = round.filter(|_| !full) {
        let passed = clock::now().instant.saturating_duration_since(began);
        std::thread::sleep(pause.saturating_sub(passed));
    }
}

thread_local! {
    /// When the first audio of this round was taken.
    static ROUND: Cell<Option<Instant>> = const { Cell::new(None) };
    static FULL: Cell<bool> = const { Cell::new(false) };
}

/// What else runs on these threads waits as long: the health endpoint, handshakes, acks.
const PAUSE_MAX: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    /// How long the thread waits before it sleeps.
    fn waited() -> Duration {
        let began = clock::now().instant;
        wait(PAUSE);
        clock::now().instant - began
    }

    #[test]
    fn a_thread_waits_once_and_only_after_audio() {
        assert!(waited() < PAUSE);
        note_audio(clock::now().instant);
        assert!(waited() >= PAUSE / 2);
        assert!(waited() < PAUSE);
    }

    #[test]
    fn a_thread_that_waits_for_room_does_not_pause() {
        note_audio(clock::now().instant);
        skip_pause();
        assert!(waited() < PAUSE / 2);
        note_audio(clock::now().instant);
        assert!(waited() >= PAUSE / 2);
    }

    #[test]
    fn the_round_began_with_its_first_audio() {
        let now = clock::now().instant;
        note_audio(now.checked_sub(PAUSE).unwrap());
        note_audio(now);
        assert!(waited() < PAUSE);
    }
}
