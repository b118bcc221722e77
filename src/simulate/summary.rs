//! What a run of simulated calls came to.
//!
//! It is filled from the calls' outcomes and printed as plain text. Invariant: texts that a server sent are cut short and
//! stripped of control characters before they are kept, and only the first few different ones are.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::call::{CallError, Outcome};

/// The result of [`super::play`].
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Calls that were to be played: the sum of the next three.
    pub calls: u64,
    /// Whose whole audio was sent and, where the server acks, acked.
    pub completed: u64,
    /// Whose upgrade was answered by something else than 101.
    pub refused: u64,
    pub failed: u64,
    /// Whose connection was accepted.
    pub started: u64,
    pub frames: u64,
    /// Of audio as encoded, before base64.
    pub bytes: u64,
    pub acks: u64,
    /// Frames that the server said were durable.
    pub acked: u64,
    /// `error` events of the server by their code.
    pub errors: BTreeMap<String, u64>,
    /// Why calls were refused or failed, the first few different reasons.
    pub reasons: BTreeMap<String, u64>,
    pub wall: Duration,
    /// How late 99 of 100 frames were at most.
    pub late_p99: Duration,
}

impl Summary {
    /// Whether every call came through whole and no error was reported.
    pub fn is_clean(&self) -> bool {
        self.refused == 0 && self.failed == 0 && self.errors.is_empty()
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        self.calls += 1;
        self.started += u64::from(outcome.started);
        self.frames += outcome.frames;
        self.bytes += outcome.bytes;
        self.acks += outcome.acks;
        self.acked += outcome.acked;
        for code in outcome.errors {
            count(&mut self.errors, code);
        }
        match outcome.end {
            Ok(()) => self.completed += 1,
            Err(error) => {
                match error {
                    CallError::Refused { .. } => self.refused += 1,
                    _ => self.failed += 1,
                }
                count(&mut self.reasons, chain(&error));
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "calls   {}: {} started, {} completed, {} refused, {} failed",
            self.calls, self.started, self.completed, self.refused, self.failed
        )?;
        writeln!(
            f,
            "frames  {} sent, {} bytes of audio, in {:.1} s",
            self.frames,
            self.bytes,
            self.wall.as_secs_f64()
        )?;
        writeln!(
            f,
            "pace    99 of 100 frames at most {:.1} ms late",
            self.late_p99.as_secs_f64() * 1_000.0
        )?;
        writeln!(f, "acks    {}, for {} frames", self.acks, self.acked)?;
        if self.errors.is_empty() {
            writeln!(f, "errors  none")?;
        }
        for (code, times) in &self.errors {
            writeln!(f, "errors  {times} × {code}")?;
        }
        for (reason, times) in &self.reasons {
            writeln!(f, "why     {times} × {reason}")?;
        }
        Ok(())
    }
}

/// Makes a server's text fit to print: one line, no escape sequences, not too long.
pub(crate) fn tidy(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let short: String = text
        .trim()
        .chars()
        .map(printable)
        .take(TEXT_CHARS_MAX)
        .collect();
    short.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    tidy(&text)
}

fn count(counts: &mut BTreeMap<String, u64>, what: String) {
    let known = counts.len();
    if let Some(times) = counts.get_mut(&what) {
        *times += 1;
    } else if known < DIFFERENT_MAX {
        counts.insert(what, 1);
    } else {
        *counts.entry("others".to_owned()).or_default() += 1;
    }
}

/// A line or two of a terminal.
const TEXT_CHARS_MAX: usize = 240;

/// Different reasons that are told apart; a person reads the first few.
const DIFFERENT_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: Result<(), CallError>) -> Outcome {
        Outcome {
            started: end.is_ok(),
            frames: 10,
            bytes: 3_200,
            acks: 2,
            acked: 10,
            errors: Vec::new(),
            end,
        }
    }

    #[test]
    fn tells_what_happened() {
        let mut summary = Summary::default();
        summary.add(outcome(Ok(())));
        assert!(summary.is_clean());
        for _ in 0..2 {
            summary.add(outcome(Err(CallError::Refused {
                status: 401,
                message: "authentication failed".into(),
            })));
        }
        summary.wall = Duration::from_millis(2_040);
        summary.late_p99 = Duration::from_micros(1_260);
        assert!(!summary.is_clean());
        assert_eq!(
            summary.to_string(),
            "calls   3: 1 started, 1 completed, 2 refused, 0 failed\n\
             frames  30 sent, 9600 bytes of audio, in 2.0 s\n\
             pace    99 of 100 frames at most 1.3 ms late\n\
             acks    6, for 30 frames\n\
             errors  none\n\
             why     2 × the server refused the call with status 401: authentication failed\n"
        );
    }

    #[test]
    fn an_error_event_is_not_clean() {
        let mut summary = Summary::default();
        summary.add(Outcome {
            errors: vec!["bad_start".into()],
            ..outcome(Ok(()))
        });
        assert!(!summary.is_clean());
        assert!(summary.to_string().contains("errors  1 × bad_start\n"));
    }

    #[test]
    fn a_server_cannot_fill_memory_or_drive_the_terminal() {
        let mut summary = Summary::default();
        for code in 0..1_000 {
            summary.add(Outcome {
                errors: vec![code.to_string()],
                ..outcome(Ok(()))
            });
        }
        assert_eq!(summary.errors.len(), DIFFERENT_MAX + 1);
        assert_eq!(summary.errors["others"], 1_000 - DIFFERENT_MAX as u64);
        assert_eq!(tidy("\u{1b}[31m a\n\n b\u{7}"), "[31m a b");
        assert_eq!(tidy(&"x".repeat(10_000)).len(), TEXT_CHARS_MAX);
    }
}
