//! The lane that a call's records take, as the call's session sees it.

use std::{sync::Arc, time::Instant};

use super::{batch::What, lane::Lane, progress::Progress};
use crate::{
    payload::Audio,
    record::{
        CallEvent, Metadata,
        frame::{FrameNumbers, FramePattern},
        to_json,
    },
};

/// The lane that a call's records take.
#[derive(Debug, Clone)]
pub struct Outlet(pub(super) Arc<Lane>);

impl Outlet {
    /// `read` is when it was read off its socket.
    pub fn frame(
        &self,
        pattern: &FramePattern,
        numbers: &FrameNumbers,
        audio: &Audio<'_>,
        progress: &Arc<Progress>,
        numbered: bool,
        read: &Instant,
    ) {
        self.0
            .append_frame(pattern, numbers, audio, progress, numbered, read);
    }

    /// `json` is a [`crate::record::CallEnd`].
    pub fn call_end(&self, json: &[u8], progress: &Arc<Progress>) {
        let what = What::CallEnd(Arc::clone(progress));
        self.0.append_record(json, what);
    }

    pub fn call_event(&self, record: &CallEvent<'_>, progress: &Arc<Progress>) {
        let what = What::CallEvent(Arc::clone(progress));
        self.0.append_record(&to_json(record), what);
    }

    pub fn metadata(&self, record: &Metadata<'_>, progress: &Arc<Progress>) {
        let key = metadata_key(record.interaction_id);
        let what = What::Metadata(Arc::clone(progress));
        self.0
            .append_metadata(&key, &to_json(record), METADATA_EXPIRY_S, what);
    }

    /// A session has begun: its call goes first when an outage is over.
    pub fn enter(&self, progress: &Progress) {
        self.0.enter(progress.call);
    }

    /// A session has ended.
    pub fn leave(&self, progress: &Progress) {
        self.0.leave(progress.call);
    }

    /// The last number that the client had given of the frames that an earlier process has left in the journal.
    pub async fn left_in_journal(&self, progress: &Progress) -> Option<u64> {
        self.0.earlier(progress.call).await
    }

    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }

    /// Returns once the lane takes more.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub async fn wait_for_room(&self) {
        self.0.wait_for_room().await;
    }

    /// Whether audio of senders that cannot wait is to be dropped.
    pub fn sheds(&self) -> bool {
        self.0.sheds()
    }

    /// Returns once the lane takes more, or sheds.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping it.
    pub async fn wait_for_room_or_shed(&self) {
        self.0.wait_for_room_or_shed().await;
    }
}

pub(super) fn metadata_key(interaction_id: &str) -> String {
    format!("call:metadata:{interaction_id}")
}

const METADATA_EXPIRY_S: &[u8] = b"3600";
