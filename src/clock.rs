//! The only reader of the wall clock; everything else is handed a [`Now`].

use std::time::{SystemTime, UNIX_EPOCH};

use crate::frame::Now;

/// This moment.
pub fn now() -> Now {
    Now {
        instant: tokio::time::Instant::now().into_std(),
        epoch_ms: epoch_ms(),
    }
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn epoch_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// This moment as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(epoch_ms: u64) -> String {
    let nanos = i128::from(epoch_ms) * 1_000_000;
    time::OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|moment| {
            moment
                .format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_default()
}

/// A moment in epoch ms, written as [`rfc3339`] where it is shown to people.
pub fn serialize_rfc3339<S: serde::Serializer>(
    epoch_ms: &u64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*epoch_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_762_500_000_123), "2025-11-07T07:20:00.123Z");
        assert!(epoch_ms() > 1_762_500_000_000);
    }
}
