//! What is wrong with the configuration, all of it at once (1.3).
//!
//! Invariant: no secret is in here. A [`Problem`] takes the value already masked where the setting is one.

use std::{fmt, path::PathBuf};

use crate::{secret::Secret, server::TlsFiles};

/// Every problem found; never empty when it reaches a caller.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors {
    pub problems: Vec<Problem>,
    /// What may hold problems of its own, for whoever reads it.
    pub documents: Box<Documents>,
}

/// Settings that hold or name documents which nobody has read yet, as far as they are no problem already.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    pub public_keys: Option<Secret>,
    pub server_tls: Option<TlsFiles>,
    pub redis_ca: Option<PathBuf>,
    pub redis_tls: Option<TlsFiles>,
}

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable, or the place in a file where no variable can be named.
    pub name: String,
    /// As given, masked for a secret; `None` where the trouble is that there is none.
    pub value: Option<String>,
    pub wrong: String,
    pub accepted: String,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "1 setting cannot be used:")?,
            count => write!(f, "{count} settings cannot be used:")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(value) = &self.value {
            write!(f, "={}", quoted(value))?;
        }
        write!(f, ": {}; accepted: {}", self.wrong, self.accepted)
    }
}

/// Escaped, since the value may hold control characters, and cut, since it may be a whole file.
fn quoted(value: &str) -> String {
    if value.chars().count() <= SHOWN_CHARS {
        return format!("{value:?}");
    }
    let start: String = value.chars().take(SHOWN_CHARS).collect();
    format!("{start:?}…")
}

/// Enough to recognise a value by, on two lines of a terminal.
const SHOWN_CHARS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_a_line_with_its_value_escaped_and_cut() {
        let problem = |name: &str, value: Option<&str>| Problem {
            name: name.into(),
            value: value.map(Into::into),
            wrong: "out of range".into(),
            accepted: "less".into(),
        };
        let long = "x".repeat(5000);
        let errors = ConfigErrors {
            problems: vec![
                problem("PORT", Some("\u{1b}[2J\n")),
                problem("REDIS_URL", None),
                problem("HOST", Some(&long)),
            ],
            documents: Box::default(),
        };
        let text = errors.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "3 settings cannot be used:",
                r#"  PORT="\u{1b}[2J\n": out of range; accepted: less"#,
                "  REDIS_URL: out of range; accepted: less",
            ]
        );
        assert!(lines.len() == 4 && lines[3].len() < 200, "{text}");
    }
}
