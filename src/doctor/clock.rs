//! Clocks that do not agree: tokens are refused for it, and times in records cannot be compared. Pure.

use super::step::Step;

/// Somebody's clock, asked between two looks at ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub(super) who: &'static str,
    pub(super) theirs_ms: u64,
    pub(super) before_ms: u64,
    pub(super) after_ms: u64,
}

impl Reading {
    /// How far theirs is off, beyond what asking took.
    fn skew_ms(&self) -> u64 {
        if self.theirs_ms < self.before_ms {
            self.before_ms - self.theirs_ms
        } else {
            self.theirs_ms.saturating_sub(self.after_ms)
        }
    }
}

pub(super) fn judge(readings: &[Reading]) -> Step {
    if readings.is_empty() {
        return Step::skipped(NAME, "nobody's clock could be read");
    }
    let list: Vec<String> = readings
        .iter()
        .map(|reading| match reading.skew_ms() {
            skew if skew < SMALL_MS => format!("{} agrees with this machine", reading.who),
            skew => format!(
                "{} differs by {:.1} s",
                reading.who,
                f64::from(u32::try_from(skew).unwrap_or(u32::MAX)) / 1_000.0
            ),
        })
        .collect();
    let list = list.join(", ");
    match readings.iter().map(Reading::skew_ms).max() {
        Some(skew) if skew >= LARGE_MS => Step::failed(
            NAME,
            list,
            "set the clocks by NTP, on this machine too: tokens are refused beyond JWT_LEEWAY_S",
        ),
        Some(skew) if skew >= SMALL_MS => Step::warning(
            NAME,
            list,
            "set the clocks by NTP, on this machine too: times in records cannot be compared otherwise",
        ),
        _ => Step::ok(NAME, list),
    }
}

const NAME: &str = "clock";
const SMALL_MS: u64 = 1_000;
/// `JWT_LEEWAY_S` by default.
const LARGE_MS: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    #[test]
    fn clocks_agree_differ_or_are_wrong() {
        let of = |theirs_ms| {
            judge(&[Reading {
                who: "Redis",
                theirs_ms,
                before_ms: 100_000,
                after_ms: 103_000,
            }])
        };
        assert_eq!(
            of(101_000),
            Step::ok("clock", "Redis agrees with this machine")
        );
        assert!(of(105_500).is_warning() && of(105_500).detail.contains("2.5 s"));
        assert_eq!(of(60_000).status, Status::Failed);
        assert_eq!(judge(&[]).status, Status::Skipped);
    }
}
