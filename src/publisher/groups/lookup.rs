//! One question for the value of a key, and who waits for the answer. How many may wait is the watch's affair.

use redis::{Value, cmd};
use tokio::sync::oneshot;

use crate::publisher::link::{Link, LinkError};

#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) key: String,
    pub(super) answer: oneshot::Sender<Option<Vec<u8>>>,
}

impl Lookup {
    /// Asks Redis, unless nobody waits any more.
    pub(super) async fn ask(self, link: &mut Link) -> Result<(), LinkError> {
        if self.answer.is_closed() {
            return Ok(());
        }
        let value = match link.request(cmd("GET").arg(self.key)).await? {
            Value::BulkString(value) if value.len() <= VALUE_BYTES_MAX => Some(value),
            _ => None,
        };
        self.answer.send(value).ok();
        Ok(())
    }

    /// Tells that there is no answer.
    pub(super) fn give_up(self) {
        self.answer.send(None).ok();
    }
}

/// A call's metadata is a few hundred bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;
