//! One WebSocket (stub).

use std::{num::NonZeroU64, time::Duration};

/// The limits of one WebSocket.
#[derive(Debug, Clone)]
pub struct Settings {
    pub ack_interval: NonZeroU64,
    pub max_message_bytes: usize,
    /// 0: no limit.
    pub max_rate_factor: f64,
    pub idle_timeout: Duration,
    pub max_call: Duration,
}
