//! A publisher whose one lane is delivered by a test: nothing is taken or confirmed but when it says so.

use std::{collections::HashMap, sync::Arc};

use super::{
    Publisher, Trim,
    batch::{Batch, What},
    lane::Lane,
};
use crate::record::frame::FrameFormat;

/// The far end of the lane.
#[derive(Debug)]
pub(crate) struct ByHand {
    lane: Arc<Lane>,
    /// Taken off the lane so far, in order.
    taken: Batch,
    confirmed: usize,
}

impl ByHand {
    pub(crate) fn publisher() -> (Publisher, Self) {
        let lane = Arc::new(Lane::new("audio".to_owned(), Trim::Never));
        lane.set_earlier(HashMap::new());
        let publisher = Publisher {
            lanes: Arc::new([Arc::clone(&lane)]),
            watches: Arc::new([]),
            format: FrameFormat::Json,
            adapter: "by hand",
            left_behind: Vec::new(),
        };
        let far_end = Self {
            lane,
            taken: Batch::default(),
            confirmed: 0,
        };
        (publisher, far_end)
    }

    /// What has been appended since the last time, in few words.
    pub(crate) fn take(&mut self) -> Vec<String> {
        let batch = self.lane.take();
        (0..batch.entries.len())
            .map(|index| {
                self.taken.copy(&batch, index);
                describe(&batch, index)
            })
            .collect()
    }

    /// Takes what there is and confirms the first `frames` frames that are not confirmed, with all between them.
    pub(crate) fn confirm(&mut self, frames: usize) {
        self.take();
        let mut left = frames;
        while let Some(entry) = self.taken.entries.get(self.confirmed) {
            if let What::Frame { progress, seq, .. } = &entry.what {
                if left == 0 {
                    return;
                }
                left -= 1;
                progress.confirm(*seq, 0);
            }
            if let What::CallEnd(progress) = &entry.what {
                progress.finish();
            }
            self.lane
                .confirm_bytes(entry.end - self.taken.start(self.confirmed));
            self.confirmed += 1;
        }
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.lane.set_full(full);
    }

    pub(crate) fn confirm_all(&mut self) {
        self.confirm(usize::MAX);
    }
}

/// `frame 1`, `dtmf i`, `gap 3-4 40 client i`, `end stop 3 i`, `end stop 3 1 gaps i`, `active i`.
fn describe(batch: &Batch, index: usize) -> String {
    let json = json(batch.command(index));
    let text = |name: &str| json[name].as_str().unwrap_or("?").to_owned();
    match &batch.entries[index].what {
        What::Frame { seq, .. } => format!("frame {seq}"),
        What::CallEnd { .. } => {
            let gaps = match json["gaps"].as_u64() {
                Some(0) | None => String::new(),
                Some(gaps) => format!("{gaps} gaps "),
            };
            let (reason, call) = (text("reason"), text("interaction_id"));
            format!("end {reason} {} {gaps}{call}", json["frames"])
        }
        What::CallEvent(_) if json["type"] == "gap" => {
            let (from, to, ms) = (&json["from_seq"], &json["to_seq"], &json["ms"]);
            let (reason, call) = (text("reason"), text("interaction_id"));
            format!("gap {from}-{to} {ms} {reason} {call}")
        }
        What::CallEvent(_) => format!("{} {}", text("type"), text("interaction_id")),
        What::Metadata(_) => format!("{} {}", text("status"), text("interactionId")),
        What::Journaled { .. } | What::Chore => "?".to_owned(),
    }
}

fn json(command: &[u8]) -> serde_json::Value {
    let text = String::from_utf8_lossy(command);
    let object = text.lines().find(|line| line.starts_with('{'));
    object
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default()
}
