//! What the owner of a lane waits for.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf},
    time::Interval,
};

use super::{
    REPLY_BUFFER_BYTES, RedisLane, approach::Approached, bridge::News, flight::Flight, line::Line,
};
use crate::publisher::link::{Io, LinkError};

/// What has come.
pub(super) enum Wake {
    Read(io::Result<usize>),
    /// So many bytes; none if all that was written has left.
    Written(io::Result<usize>),
    Filled,
    GatherOver,
    /// More of the backlog may be published.
    Allowed,
    /// It is time to connect again.
    Redial,
    Dialled(Result<Approached, LinkError>),
    News(News),
    Tick,
}

impl RedisLane {
    /// Waits for the next thing to do. `gathering` tells that it waits for more records already.
    ///
    /// # Cancel safety
    /// Every arm either has not happened or is returned.
    pub(super) async fn wait(&mut self, ticks: &mut Interval, gathering: bool) -> Wake {
        let wants_records = !gathering && self.wants_records();
        let (at_work, behind) = (self.bridge.is_at_work(), self.bridge.has_business());
        let Self {
            lane,
            gathering: gathers,
            line,
            flight,
            bridge,
            replies,
            throttle,
            unflushed,
            ..
        } = self;
        let unwritten = flight.as_ref().map(Flight::unwritten).unwrap_or_default();
        let writing = *unflushed || !unwritten.is_empty();
        replies.reserve(REPLY_BUFFER_BYTES / 4);
        let on_line = async {
            match line {
                Line::Up(link) => {
                    tokio::select! {
                        biased;
                        result = link.reader.read_buf(replies) => Wake::Read(result),
                        result = push(&mut link.writer, unwritten), if writing => Wake::Written(result),
                    }
                }
                Line::Dialling(approach) => Wake::Dialled(approach.as_mut().await),
                Line::Down { until } => {
                    tokio::time::sleep_until(*until).await;
                    Wake::Redial
                }
            }
        };
        tokio::select! {
            biased;
            wake = on_line => wake,
            () = gathers.wait(), if gathering => Wake::GatherOver,
            () = lane.filled(), if wants_records => Wake::Filled,
            news = bridge.news(), if at_work => Wake::News(news),
            () = throttle.changed(), if behind => Wake::Allowed,
            _ = ticks.tick() => Wake::Tick,
        }
    }
}

/// Writes on, or pushes out what an encrypted connection still holds.
///
/// # Cancel safety
/// What it has not told of has not been written.
async fn push(writer: &mut WriteHalf<Box<dyn Io>>, unwritten: &[u8]) -> io::Result<usize> {
    if unwritten.is_empty() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write(unwritten).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}
