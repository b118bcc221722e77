//! The process's environment and the `.env` file beside it, as they are: who set what, and where a text is not one.
//!
//! The only place that reads either. What the texts mean is found out in `reader.rs` and `sections.rs`.
//! Invariant: nothing of a broken line of `.env` but the variable's name is ever shown, as it may hold a secret.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Read},
    rc::Rc,
};

use super::error::Problem;

/// All variables by name, each with where it was set.
#[derive(Debug, Default)]
pub struct Environment {
    vars: BTreeMap<String, (Text, Source)>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Process,
    DotEnv,
    /// The file that `NAME_FILE` names.
    File,
    Default,
}

/// A value; nothing where its bytes are not UTF-8. No `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Text(pub(super) Option<String>);

impl Environment {
    /// The environment of this process, over the `.env` of its working directory.
    pub fn of_process() -> Self {
        let dot_env = match std::fs::File::open(DOT_ENV) {
            Ok(file) => read_bounded(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let mut environment = Self::default();
        match dot_env {
            Ok(Some(text)) => environment.add_dot_env(&text),
            Ok(None) => {}
            Err(error) => environment.problems.push(Problem {
                name: DOT_ENV.into(),
                value: None,
                wrong: format!("cannot be read: {error}"),
                accepted: "a readable text file of at most 1 MiB, or none".into(),
            }),
        }
        environment.add_process(std::env::vars_os());
        environment
    }

    pub(super) fn add_process(&mut self, vars: impl IntoIterator<Item = (OsString, OsString)>) {
        for (name, value) in vars {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = name.into_string() {
                let text = Text(value.into_string().ok());
                self.vars.insert(name, (text, Source::Process));
            }
        }
    }

    /// Sets a variable, whatever was said of it, in a file of its own too.
    pub(super) fn replace(&mut self, name: &str, value: &str) {
        self.vars.remove(&format!("{name}_FILE"));
        let text = Text(Some(value.to_owned()));
        self.vars.insert(name.to_owned(), (text, Source::Process));
    }

    /// Every broken line is a problem; the readable ones count none the less, so that all errors are found at once.
    pub(super) fn add_dot_env(&mut self, text: &str) {
        // Editors on Windows put a byte order mark first; a last line without an end is no mistake either.
        let text = format!("{}\n", text.trim_start_matches('\u{feff}'));
        let lines_read = Rc::new(Cell::new(0));
        let lines = LineByLine {
            rest: text.as_bytes(),
            lines_read: Rc::clone(&lines_read),
        };
        for item in dotenvy::from_read_iter(lines) {
            match item {
                Ok((name, value)) => {
                    let text = Text(Some(value));
                    if self
                        .vars
                        .insert(name.clone(), (text, Source::DotEnv))
                        .is_some()
                    {
                        self.warnings.push(format!(
                            "{name} is set twice in {DOT_ENV}: the last one counts"
                        ));
                    }
                }
                Err(error) => self
                    .problems
                    .push(broken_line(&text, lines_read.get(), &error)),
            }
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<(Text, Source)> {
        self.vars.get(name).cloned()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.vars.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Reads a file that an operator named, at most [`FILE_BYTES_MAX`] of it.
pub(super) fn read_bounded(file: impl Read) -> io::Result<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 1 MiB",
        ));
    }
    Ok(text)
}

/// Hands out one line at each read, and counts them: the parser does not say at which line it stumbled.
struct LineByLine<'a> {
    rest: &'a [u8],
    lines_read: Rc<Cell<usize>>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self
            .rest
            .split_inclusive(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let length = line.len().min(buffer.len());
        let (now, later) = self.rest.split_at(length);
        buffer
            .get_mut(..length)
            .unwrap_or_default()
            .copy_from_slice(now);
        self.rest = later;
        if now.ends_with(b"\n") {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        Ok(length)
    }
}

fn broken_line(text: &str, lines_read: usize, error: &dotenvy::Error) -> Problem {
    // A value in quotes may run over several lines; the mistake is where it began.
    let length = match error {
        dotenvy::Error::LineParse(logical_line, _) => logical_line.lines().count().max(1),
        _ => 1,
    };
    let number = (lines_read + 1).saturating_sub(length).max(1);
    let variable = text
        .lines()
        .nth(number - 1)
        .and_then(|line| line.split_once('='))
        .map(|(name, _)| name.trim().trim_start_matches("export ").trim())
        .filter(|name| !name.is_empty() && name.len() < 100)
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    Problem {
        name: match variable {
            Some(variable) => format!("{DOT_ENV} line {number} ({variable})"),
            None => format!("{DOT_ENV} line {number}"),
        },
        value: None,
        wrong: "cannot be read".into(),
        accepted: "NAME=value, with a value that has spaces, quotes, $, # or \\ in single quotes"
            .into(),
    }
}

const DOT_ENV: &str = ".env";
/// A key set of many PEM keys is a few kilobytes; this is room for hundreds.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    fn of(dot_env: &str) -> Environment {
        let mut environment = Environment::default();
        environment.add_dot_env(dot_env);
        environment
    }

    fn value(environment: &Environment, name: &str) -> Option<(Option<String>, Source)> {
        environment
            .find(name)
            .map(|(text, source)| (text.0, source))
    }

    #[test]
    fn the_process_wins_over_the_file_even_with_an_empty_value() {
        let mut environment = of("PORT=1\nHOST=::1\nREDIS_URL=redis://a\n");
        environment.add_process([("PORT".into(), "2".into()), ("REDIS_URL".into(), "".into())]);
        assert_eq!(
            value(&environment, "PORT"),
            Some((Some("2".into()), Source::Process))
        );
        assert_eq!(
            value(&environment, "HOST"),
            Some((Some("::1".into()), Source::DotEnv))
        );
        assert_eq!(
            value(&environment, "REDIS_URL"),
            Some((Some(String::new()), Source::Process))
        );
        assert_eq!(value(&environment, "NONE"), None);
    }

    #[test]
    fn bytes_that_are_not_text_are_kept_as_such() {
        let mut environment = Environment::default();
        environment.add_process([("PORT".into(), OsString::from_vec(vec![0x38, 0xff]))]);
        assert_eq!(value(&environment, "PORT"), Some((None, Source::Process)));
    }

    #[test]
    fn reads_what_people_write_into_such_files() {
        let environment =
            of("\u{feff}A=1\r\n\n# note\nexport B='two words' # note\nC=\"x\\ny\"\nD=\nE=last ");
        assert!(
            environment.problems.is_empty(),
            "{:?}",
            environment.problems
        );
        for (name, text) in [
            ("A", "1"),
            ("B", "two words"),
            ("C", "x\ny"),
            ("D", ""),
            ("E", "last"),
        ] {
            assert_eq!(
                value(&environment, name).unwrap().0.unwrap(),
                text,
                "{name}"
            );
        }
    }

    #[test]
    fn broken_lines_are_named_by_number_and_never_shown() {
        let environment =
            of("A=1\n\n# c\nOPS_TOKEN=hun ter2\nB='x\ny'\nwhat hunter2\nC=3\nD='hunter2\n\n");
        let names: Vec<_> = environment
            .problems
            .iter()
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(
            names,
            [".env line 4 (OPS_TOKEN)", ".env line 7", ".env line 9 (D)"]
        );
        assert!(!format!("{environment:?}").contains("ter2"));
        assert_eq!(value(&environment, "C").unwrap().0.unwrap(), "3");
    }

    #[test]
    fn a_name_set_twice_is_a_warning() {
        let environment = of("A=1\nA=2\n");
        assert_eq!(
            environment.warnings,
            ["A is set twice in .env: the last one counts"]
        );
        assert_eq!(value(&environment, "A").unwrap().0.unwrap(), "2");
    }

    #[test]
    fn a_file_without_end_is_cut_off() {
        assert!(read_bounded(io::repeat(b'x')).is_err());
        assert_eq!(read_bounded(&b"text"[..]).unwrap(), "text");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([A-Z]{0,3}=?[ '\"\\\\$#{}a\n]{0,9}|.){0,9}") {
            let environment = of(&text);
            let lines = text.lines().count().max(1);
            for problem in environment.problems {
                let number = problem.name.split(' ').nth(2).unwrap();
                prop_assert!((1..=lines).contains(&number.parse().unwrap()), "{}", problem);
            }
        }
    }
}
