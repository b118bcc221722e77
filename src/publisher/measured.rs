//! What `benches/` counts by itself and cannot reach from outside: a lane that nobody owns, and the replies to a
//! transaction (`redis_lane/measured.rs`). Nothing in the product uses it, and nothing is done here that the lane's owner
//! does not do.

use std::{collections::HashMap, sync::Arc};

pub use super::redis_lane::measured::Transaction;
use super::{Publisher, Trim, lane::Lane};
use crate::record::frame::FrameFormat;

/// The far end of a lane: what is appended stays until it is taken.
#[derive(Debug)]
pub struct FarEnd(Arc<Lane>);

/// A publisher with such a lane.
pub fn publisher(stream: &str, format: FrameFormat) -> (Publisher, FarEnd) {
    let lane = Arc::new(Lane::new(stream.to_owned(), Trim::Never));
    lane.set_earlier(HashMap::new());
    let publisher = Publisher {
        lanes: Arc::new([Arc::clone(&lane)]),
        watches: Arc::new([]),
        format,
        adapter: "none",
        left_behind: Vec::new(),
    };
    (publisher, FarEnd(lane))
}

impl FarEnd {
    /// Takes what was appended, calls it delivered, and gives the buffer back. How many commands there were.
    pub fn deliver(&self) -> usize {
        let batch = self.0.take();
        let commands = batch.entries.len();
        self.0.confirm_bytes(batch.command_bytes());
        self.0.spare(batch);
        commands
    }
}
