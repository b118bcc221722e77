//! Whether frames that are missing from the front of a session were trimmed, or never were where they belong.
//!
//! A stream is trimmed from its front only. So what is missing may have been removed where the stream's first entry is younger
//! than it; where an older one is still there, it was lost. Two clocks are in play: the service's, by which frames come and
//! calls end, and that of Redis, by which entries are added. Invariant: where it cannot be told, it counts as trimmed.

use crate::published::{End, Frame};

/// Something of a session that is there, behind what is missing.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "a unit comes last")]
pub(super) struct Seen {
    /// By the clock of the service.
    came_ms: u64,
    /// By the clock of Redis.
    added_ms: u64,
    /// How much audio it has.
    audio_ms: u64,
}

impl Seen {
    pub(super) fn of_frame(frame: &Frame<'_>, added_ms: u64) -> Self {
        Self {
            came_ms: frame.timestamp_ms,
            added_ms,
            audio_ms: frame.pcm.len() as u64 * 500 / u64::from(frame.sample_rate.max(1)),
        }
    }

    pub(super) fn of_end(end: &End, added_ms: u64) -> Self {
        Self {
            came_ms: end.timestamp_ms,
            added_ms,
            audio_ms: 0,
        }
    }
}

/// Whether all that is missing before `next` may have stood before the first entry that is left, which was added at
/// `front_ms`.
pub(super) fn may_explain(end: &End, next: Seen, front_ms: u64) -> bool {
    // Added before it came: by so much at least Redis's clock is behind. How much later it was added tells nothing, since it
    // may have waited in a journal.
    let behind_ms = next.came_ms.saturating_sub(next.added_ms);
    let begun_ms = end.timestamp_ms.saturating_sub(end.wall_ms);
    if front_ms < begun_ms.saturating_sub(behind_ms) {
        // Not even the first frame was older than what is still there.
        return false;
    }
    // The newest of what is missing came just before `next`, but for a pause.
    let next_ms = next.came_ms.min(next.added_ms);
    let before_ms = next
        .audio_ms
        .saturating_add(pauses_ms(end))
        .saturating_add(SLACK_MS);
    front_ms >= next_ms.saturating_sub(before_ms)
}

/// How long nothing came, at most. Where audio came faster than it plays, the clock tells nothing of pauses.
fn pauses_ms(end: &End) -> u64 {
    if end.duration_ms > end.wall_ms.saturating_add(HASTE_MS) {
        end.wall_ms
    } else {
        end.wall_ms.saturating_sub(end.duration_ms)
    }
}

/// Frames gather and networks stall: so much is no pause.
const SLACK_MS: u64 = 1000;
/// Audio that a sender had kept before it connected comes at once.
const HASTE_MS: u64 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: u64 = 1_762_500_000_000;

    /// 100 s of audio in `wall_ms`.
    fn end(wall_ms: u64) -> End {
        End {
            tenant_id: "t".into(),
            interaction_id: "c".into(),
            session: BEGUN,
            reason: "stop".into(),
            timestamp_ms: BEGUN + wall_ms,
            complete: true,
            frames: 5_000,
            first_seq: 1,
            last_seq: 5_000,
            bytes: 1_600_000,
            duration_ms: 100_000,
            wall_ms,
            gaps: 0,
            crc32: String::new(),
        }
    }

    /// A frame that came so long after the beginning, added so much later by the clock of Redis.
    fn seen(after_ms: u64, added_later_ms: i64) -> Seen {
        Seen {
            came_ms: BEGUN + after_ms,
            added_ms: (BEGUN + after_ms).saturating_add_signed(added_later_ms),
            audio_ms: 20,
        }
    }

    fn check(wall_ms: u64, next: Seen, front_after_ms: i64, expected: bool) {
        let front_ms = BEGUN.saturating_add_signed(front_after_ms);
        let found = may_explain(&end(wall_ms), next, front_ms);
        assert_eq!(found, expected, "{wall_ms} {next:?} {front_after_ms}");
    }

    #[test]
    fn what_stands_before_the_session_was_not_trimmed_and_so_neither_was_the_session() {
        check(100_010, seen(60_000, 2), 60_002, true);
        check(100_010, seen(60_000, 2), -5_000, false);
        check(100_010, seen(20, 2), 22, true);
        check(100_010, seen(20, 2), -5, false);
        // Redis is an hour behind.
        let hour = 3_600_000;
        check(100_010, seen(20, -hour), -hour - 5, false);
        check(100_010, seen(20, -hour), -hour + 22, true);
    }

    #[test]
    fn what_should_stand_behind_the_first_entry_was_lost() {
        check(100_010, seen(60_000, 2), 55_000, false);
        check(100_010, seen(60_000, 2), 59_500, true);
        // The call was silent for a minute in all: so it may have been then.
        check(160_010, seen(60_000, 2), 55_000, true);
        // Played in a tenth of the time: no telling.
        check(10_000, seen(6_000, 2), 2_000, true);
    }

    #[test]
    fn what_came_out_of_a_journal_may_have_been_trimmed_before_it() {
        check(100_010, seen(60_000, 300_000), 200_000, true);
        check(100_010, seen(60_000, 300_000), 59_500, true);
        check(100_010, seen(60_000, 300_000), -5_000, false);
    }
}
