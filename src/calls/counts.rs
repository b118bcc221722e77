//! What is counted of sessions' audio: what is missing in it, and what nothing could hold.

use crate::{call::JOURNAL_FULL, metrics::Labelled};

/// Of all sessions of this instance.
#[derive(Debug)]
pub struct Counts {
    /// Gap records, by reason.
    pub gaps: Labelled<3>,
    /// Pieces of audio that were received and are nowhere, by reason.
    pub dropped: Labelled<2>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            gaps: Labelled::new(["client", JOURNAL_FULL, "other"]),
            dropped: Labelled::new([JOURNAL_FULL, CALL_ENDED]),
        }
    }
}

/// Its session ended, and so did the next, before it was in either.
pub const CALL_ENDED: &str = "call_ended";
