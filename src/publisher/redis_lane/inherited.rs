//! What an earlier process has left in the journal, as far as it is not known yet what became of it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    approach::Arrived,
    replay::{ReadFailure, Survey},
};
use crate::{
    journal::{Position, error::ReadError},
    publisher::backlog::Note,
};

/// What an earlier process has left.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) note: Option<Note>,
    /// Finds out which records of it are to be published.
    pub(super) survey: Option<JoinHandle<Result<Survey, ReadError>>>,
    /// When it is tried again after it failed.
    pub(super) survey_at: Option<Instant>,
    /// All of it is behind this record or is this one.
    pub(super) until: Position,
    /// What it may have published without noting it is not known yet.
    pub(super) is_doubtful: bool,
    pub(super) arrived: Arc<Mutex<Arrived>>,
}

impl Inherited {
    /// Whether the survey is still to be waited for.
    pub(super) fn is_unknown(&self) -> bool {
        self.survey.is_some() || self.survey_at.is_some()
    }

    /// Returns when the survey is done; never if there is none.
    ///
    /// # Cancel safety
    /// It goes on, and the next call tells of it.
    pub(super) async fn surveyed(&mut self) -> Result<Survey, ReadFailure> {
        let Some(thread) = &mut self.survey else {
            return std::future::pending().await;
        };
        let found = thread.await;
        self.survey = None;
        Ok(found??)
    }
}
