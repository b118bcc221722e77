//! One row of the table of settings: its shape, and how a row is written down.
//!
//! The rows are in `vars.rs`, what their texts may be in `accepts.rs`. Plain constants only: nothing is read here.

use super::accepts::Accepts;

/// One environment variable.
#[derive(Debug)]
pub struct Var {
    pub name: &'static str,
    pub default: Fallback,
    pub accepts: Accepts,
    /// One line, for `.env.example` and the README.
    pub meaning: &'static str,
    /// Never printed; also read from the file that `NAME_FILE` names.
    pub secret: bool,
    /// Takes effect on SIGHUP too (2.1); the others at the next start.
    pub reloadable: bool,
    /// What is not in this release yet: the value is read and checked, and has no effect.
    pub pending: Option<&'static str>,
}

/// What holds where a variable is unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    Value(&'static str),
    Nothing,
    /// Decided by something else, in words.
    Depends(&'static str),
}

impl Var {
    /// The variable that names a file with this secret in it.
    pub fn file_name(&self) -> Option<String> {
        self.secret.then(|| format!("{}_FILE", self.name))
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(super) const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    pub(super) const fn pending(mut self, feature: &'static str) -> Self {
        self.pending = Some(feature);
        self
    }
}

pub(super) const fn var(
    name: &'static str,
    default: Fallback,
    accepts: Accepts,
    meaning: &'static str,
) -> Var {
    Var {
        name,
        default,
        accepts,
        meaning,
        secret: false,
        reloadable: false,
        pending: None,
    }
}
