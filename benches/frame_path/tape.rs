//! In-memory sockets: what a client sends is on a tape, which is played one piece at a time.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How far the tapes may play.
#[derive(Default)]
pub(crate) struct Player {
    pieces: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl Player {
    /// Plays one piece more of every tape that waits.
    pub(crate) fn play_on(&self) {
        self.pieces.fetch_add(1, Ordering::Relaxed);
        for waker in self.waiting.lock().drain(..) {
            waker.wake();
        }
    }
}

/// The service's end of a socket: each piece comes with a read of its own, and what is written to it is gone.
pub(crate) struct Tape {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    played: usize,
    player: Arc<Player>,
}

impl Tape {
    pub(crate) fn new(pieces: impl Iterator<Item = Vec<u8>>, player: Arc<Player>) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for piece in pieces {
            bytes.extend(piece);
            ends.push(bytes.len());
        }
        Self {
            bytes,
            ends,
            played: 0,
            player,
        }
    }
}

impl AsyncRead for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.played >= self.player.pieces.load(Ordering::Relaxed) {
            self.player.waiting.lock().push(cx.waker().clone());
            return Poll::Pending;
        }
        let begin = self.played.checked_sub(1).map_or(0, |last| self.ends[last]);
        let end = self.ends[self.played];
        space.put_slice(&self.bytes[begin..end]);
        self.played += 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tape {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
