//! One setting as it holds: its text, where it came from, and the line that shows it.
//!
//! Found by `reader.rs`. Invariant: the text is shown only where the table says that it is no secret.

use super::{
    environment::Source,
    var::{Fallback, Var},
};
use crate::secret::Secret;

/// One setting as it holds now.
#[derive(Debug, Clone)]
pub struct Value {
    pub var: &'static Var,
    pub source: Source,
    /// Hidden whether or not it is a secret, so that `Debug` of a configuration shows none.
    pub(super) text: Option<Secret>,
}

impl Value {
    /// Set by somebody, rather than left at its default.
    pub fn is_given(&self) -> bool {
        self.source != Source::Default
    }

    /// Set by somebody to something else than what holds anyway.
    pub fn is_changed(&self) -> bool {
        let is_default = |text: &Secret| matches!(self.var.default, Fallback::Value(value) if value == text.expose());
        self.is_given() && !self.text.as_ref().is_some_and(is_default)
    }

    /// Whether both hold the same text.
    pub fn equals(&self, other: &Self) -> bool {
        match (&self.text, &other.text) {
            (None, None) => true,
            (Some(one), Some(two)) => one.matches(two.expose().as_bytes()),
            _ => false,
        }
    }

    /// `NAME=value # source`, which a `.env` file can hold.
    pub fn line(&self) -> String {
        let shown = match &self.text {
            Some(text) if self.var.secret => text.to_string(),
            Some(text) => quoted(text.expose()),
            None => String::new(),
        };
        let name = self.var.name;
        match self.source {
            Source::Process => format!("{name}={shown} # environment"),
            Source::DotEnv => format!("{name}={shown} # .env"),
            Source::File => format!("{name}={shown} # {name}_FILE"),
            Source::Default => format!("{name}={shown} # default"),
        }
    }
}

/// As it may stand in a `.env` file: plain where that is safe, else in double quotes with escapes.
fn quoted(text: &str) -> String {
    if text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-+./:,=@%*{}[]".contains(&b))
    {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '"' | '\\' | '$' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lines_load_as_they_were(text in "[^\r\0]*") {
            let written = format!("A={} # environment\n", quoted(&text));
            let read: Vec<_> = dotenvy::from_read_iter(written.as_bytes()).collect::<Result<_, _>>().unwrap();
            prop_assert_eq!(read, vec![("A".to_owned(), text)]);
        }
    }
}
