//! When a connection reads, and that it reads on when another one joins its call: what had arrived here by then comes
//! before what the other is told (3.8). The question and its answer are `calls/reader.rs`'s subject.
//!
//! Invariant: it is answered after a look at the socket that began after the question was heard, unless this
//! connection reads no more.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::coop::has_budget_remaining,
};

use super::{Connection, PARTINGS_MAX, Phase, Wake, socket::Socket};
use crate::{calls::reader::Reader, clock, frame::Now, publisher::Outlet};

impl<T> Connection<T> {
    pub(super) fn may_read(&self) -> bool {
        self.full_outlet().is_none() && !self.parts_too_often()
    }

    /// The lane of the current call, if it is to be waited for.
    pub(super) fn full_outlet(&self) -> Option<Outlet> {
        let outlet = self.current.as_ref()?.call.outlet();
        (!outlet.has_room() && !self.sheds(outlet)).then(|| outlet.clone())
    }

    /// Whether audio is to be dropped: a custom client keeps what was not acked, Exotel keeps nothing (5.4).
    pub(super) fn sheds(&self, outlet: &Outlet) -> bool {
        outlet.sheds() && !self.is_custom()
    }

    fn parts_too_often(&self) -> bool {
        self.partings.len() >= PARTINGS_MAX
    }

    /// Hears whether another connection of the current call has asked.
    pub(super) fn hear_question(&mut self) {
        if let Some(reader) = self.reader() {
            reader.listen();
        }
    }

    /// There was nothing to read; if that was so a while ago too, everything is read.
    pub(super) fn note_read_all(&mut self, now: Now) {
        if let Some(reader) = self.reader() {
            reader.note_read_all(now.instant);
        }
    }

    /// When there is something to do although nothing happens.
    pub(super) fn next_due(&self) -> Instant {
        let reader = self.current.as_ref().and_then(|c| c.reader.as_ref());
        let due = self.timing.next();
        reader
            .and_then(Reader::look_again_at)
            .map_or(due, |look_again| look_again.min(due))
    }

    /// Whether it is to be told when there is nothing to read, since another connection waits for that.
    pub(super) fn is_asked(&mut self, reading: bool) -> bool {
        // A client with so many calls may be waiting for the one that asks, so that neither would ever go on.
        let reads_no_more = self.phase != Phase::Open || self.parts_too_often();
        let Some(reader) = self.reader().filter(|reader| reader.is_asked()) else {
            return false;
        };
        if reads_no_more {
            reader.answer();
            return false;
        }
        reader.begin_turn(reading);
        reader
            .look_again_at()
            .is_none_or(|look_again| look_again <= clock::now().instant)
    }

    fn reader(&mut self) -> Option<&mut Reader> {
        self.current.as_mut()?.reader.as_mut()
    }
}

/// What has come in; or that there is none, if that was `asked`.
pub(super) fn read<T: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut Socket<T>,
    cx: &mut Context<'_>,
    reading: bool,
    asked: bool,
) -> Poll<Wake> {
    match socket.poll(cx, reading) {
        Poll::Ready(incoming) => Poll::Ready(Wake::Incoming(incoming)),
        // A task that has had its share is told that there is nothing, whatever there is.
        Poll::Pending if asked && reading && has_budget_remaining() => Poll::Ready(Wake::ReadAll),
        Poll::Pending => Poll::Pending,
    }
}
