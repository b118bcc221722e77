//! The replies to a transaction by themselves, for `benches/`: read and applied as the lane's owner does.

use std::sync::Arc;

use bytes::BytesMut;
use redis::RedisError;

use super::flight::{Answer, Flight};
use crate::publisher::{
    batch::{Batch, What},
    counts::Confirmed,
    moments::{Landing, Moment},
    progress::Progress,
    reply::Reply,
};

/// Frames of one call that are on their way.
#[derive(Debug)]
pub struct Transaction(Flight);

impl Transaction {
    pub fn of_frames(count: u64, progress: &Arc<Progress>) -> Self {
        let mut batch = Batch::default();
        for seq in 1..=count {
            batch.open();
            batch.bytes.extend_from_slice(&[b'x'; 600]);
            let frame = What::Frame {
                progress: Arc::clone(progress),
                seq,
                numbered: false,
                read: Moment::default(),
            };
            batch.close_entry(batch.bytes.len() - 500, frame);
        }
        Self(Flight::new(batch))
    }

    /// Hears what has come, and sorts the frames once that was all. How many bytes of them were taken.
    pub fn hear(mut self, replies: &mut BytesMut) -> Result<usize, RedisError> {
        while let Some(answer) = self.0.take(replies)? {
            if let Answer::Outcome(command, Reply::Id(id)) = answer {
                self.0.mark(command, id);
                self.0.confirm(command);
            }
        }
        let mut confirmed = Confirmed::at(Landing::default());
        Ok(self.0.finish(&mut confirmed).freed)
    }
}
