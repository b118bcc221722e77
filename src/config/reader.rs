//! From texts to values, one setting at a time: where each comes from and what is wrong with it.
//!
//! How a value is shown is in `value.rs`, what values mean together in `sections.rs`. Invariants: every problem is noted and reading goes on, so
//! that all of them are found at once; a text is shown only where the table says that it is no secret.

use std::{io, path::Path, time::Duration};

use super::{
    accepts,
    environment::{Environment, Source},
    error::{Documents, Problem},
    value::Value,
    var::{Fallback, Var},
    vars,
};
use crate::secret::Secret;

/// All settings, and what was found wrong with them so far.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) values: Vec<Value>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
    pub(super) documents: Documents,
}

/// The value cannot be used and the reader has noted why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noted;

impl Reader {
    pub(super) fn new(
        mut environment: Environment,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Self {
        let mut reader = Self {
            values: Vec::new(),
            problems: std::mem::take(&mut environment.problems),
            warnings: std::mem::take(&mut environment.warnings),
            documents: Documents::default(),
        };
        for var in vars::all() {
            let value = reader.gather(var, &environment, read_file);
            reader.values.push(value);
        }
        reader
    }

    /// A setting that may be left out and has no default.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Noted> {
        let value = self.value(name)?;
        let Some(text) = &value.text else {
            return Ok(None);
        };
        match parse(text.expose()) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(wrong) => Err(self.reject(name, wrong)),
        }
    }

    pub(super) fn required<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Noted> {
        match self.optional(name, parse)? {
            Some(parsed) => Ok(parsed),
            // An unreadable file has been noted already; a second line about it would mislead.
            None => Err(Noted),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Noted> {
        self.required(name, accepts::flag)
    }

    pub(super) fn whole<T: TryFrom<u64>>(&mut self, name: &str) -> Result<T, Noted> {
        let accepts = self.value(name)?.var.accepts;
        let narrow = |number| {
            T::try_from(number)
                .ok()
                .ok_or_else(|| "out of range".into())
        };
        self.required(name, |text| accepts.whole(text).and_then(narrow))
    }

    pub(super) fn decimal(&mut self, name: &str) -> Result<f64, Noted> {
        let accepts = self.value(name)?.var.accepts;
        self.required(name, |text| accepts.decimal(text))
    }

    pub(super) fn time(&mut self, name: &str) -> Result<Duration, Noted> {
        let accepts = self.value(name)?.var.accepts;
        self.required(name, |text| accepts.time(text))
    }

    pub(super) fn word(&mut self, name: &str) -> Result<Option<&'static str>, Noted> {
        let accepts = self.value(name)?.var.accepts;
        self.optional(name, |text| accepts.word(text))
    }

    pub(super) fn is_given(&self, name: &str) -> bool {
        self.values
            .iter()
            .any(|value| value.var.name == name && value.is_given())
    }

    /// Notes a value that is no good by itself; what would be is in the table.
    pub(super) fn reject(&mut self, name: &str, wrong: String) -> Noted {
        let accepted = vars::find(name).map_or_else(String::new, |var| var.accepts.to_string());
        self.conflict(name, wrong, accepted)
    }

    /// Notes a value that does not go with another one.
    pub(super) fn conflict(
        &mut self,
        name: &str,
        wrong: impl Into<String>,
        accepted: impl Into<String>,
    ) -> Noted {
        let value = self.values.iter().find(|value| value.var.name == name);
        let shown = value.and_then(|value| {
            let text = value.text.as_ref()?;
            Some(if value.var.secret {
                text.to_string()
            } else {
                text.expose().to_owned()
            })
        });
        self.problems.push(Problem {
            name: name.to_owned(),
            value: shown,
            wrong: wrong.into(),
            accepted: accepted.into(),
        });
        Noted
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// What holds in fact where it was left open, for `check` to show; nothing where another setting took its place.
    pub(super) fn settle(&mut self, name: &str, text: Option<&str>) {
        if let Some(value) = self.values.iter_mut().find(|value| value.var.name == name) {
            value.text = text.map(Secret::new);
        }
    }

    fn value(&self, name: &str) -> Result<&Value, Noted> {
        self.values
            .iter()
            .find(|value| value.var.name == name)
            .ok_or(Noted)
    }

    /// What is set for a variable: directly, by way of a file, or not at all.
    fn gather(
        &mut self,
        var: &'static Var,
        environment: &Environment,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Value {
        let direct = self.text_of(var.name, environment);
        let file = var
            .file_name()
            .and_then(|name| self.text_of(&name, environment));
        let (text, source) = match (direct, file) {
            (None, None) => match var.default {
                Fallback::Value(text) => (Some(text.to_owned()), Source::Default),
                Fallback::Nothing | Fallback::Depends(_) => (None, Source::Default),
            },
            (Some((text, source)), None) => (Some(text), source),
            // The environment wins over `.env` (2.1), whichever of the two names it uses.
            (Some((text, Source::Process)), Some((_, Source::DotEnv))) => {
                (Some(text), Source::Process)
            }
            (None, Some((path, _)))
            | (Some((_, Source::DotEnv)), Some((path, Source::Process))) => {
                (self.file_text(var, &path, read_file), Source::File)
            }
            (Some((_, source)), Some(_)) => {
                self.problems.push(Problem {
                    name: var.name.to_owned(),
                    value: Some(MASK.to_owned()),
                    wrong: format!("{}_FILE is set too", var.name),
                    accepted: "only one of the two".to_owned(),
                });
                (None, source)
            }
        };
        Value {
            var,
            source,
            text: text.map(Secret::new),
        }
    }

    /// Empty means unset (2.1).
    fn text_of(&mut self, name: &str, environment: &Environment) -> Option<(String, Source)> {
        let (text, source) = environment.find(name)?;
        let Some(text) = text.0 else {
            self.problems.push(Problem {
                name: name.to_owned(),
                value: None,
                wrong: "not UTF-8".to_owned(),
                accepted: vars::find(name)
                    .map_or_else(|| "a path".to_owned(), |var| var.accepts.to_string()),
            });
            return None;
        };
        if text.trim().is_empty() {
            return None;
        }
        // Spaces may belong to a password; around anything else they are a slip.
        let is_secret = vars::find(name).is_some_and(|var| var.secret);
        let text = if is_secret {
            text
        } else {
            text.trim().to_owned()
        };
        Some((text, source))
    }

    fn file_text(
        &mut self,
        var: &Var,
        path: &str,
        read_file: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Option<String> {
        let wrong = match read_file(Path::new(path)) {
            Ok(text) if text.trim().is_empty() => "an empty file".to_owned(),
            Ok(text) => return Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => format!("cannot be read: {error}"),
        };
        self.problems.push(Problem {
            name: format!("{}_FILE", var.name),
            value: Some(path.to_owned()),
            wrong,
            accepted: format!("the path of a readable file that holds {}", var.accepts),
        });
        None
    }
}

const MASK: &str = "********";

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(process: &[(&str, &str)], dot_env: &str) -> Reader {
        let mut environment = Environment::default();
        environment.add_dot_env(dot_env);
        environment.add_process(
            process
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        Reader::new(environment, &|path| match path.to_str() {
            Some("/run/token") => Ok("from-file\r\n".into()),
            Some("/run/empty") => Ok("\n".into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn line(reader: &Reader, name: &str) -> String {
        reader.value(name).unwrap().line()
    }

    #[test]
    fn every_value_knows_its_source() {
        let reader = reader(
            &[
                ("PORT", " 1 "),
                ("OPS_TOKEN_FILE", "/run/token"),
                ("HOST", "  "),
            ],
            "MAX_CONNECTIONS=7\nPORT=2\nHOST=::1\n",
        );
        for (name, expected) in [
            ("PORT", "PORT=1 # environment"),
            ("HOST", "HOST=:: # default"),
            ("MAX_CONNECTIONS", "MAX_CONNECTIONS=7 # .env"),
            ("OPS_TOKEN", "OPS_TOKEN=******** # OPS_TOKEN_FILE"),
            ("REDIS_URL", "REDIS_URL= # default"),
        ] {
            assert_eq!(line(&reader, name), expected);
        }
        assert_eq!(
            reader
                .value("OPS_TOKEN")
                .unwrap()
                .text
                .as_ref()
                .unwrap()
                .expose(),
            "from-file"
        );
        assert!(reader.problems.is_empty(), "{:?}", reader.problems);
    }

    #[test]
    fn a_secret_and_its_file_exclude_each_other_in_one_place_only() {
        let both = [("OPS_TOKEN", "hunter2"), ("OPS_TOKEN_FILE", "/run/token")];
        let conflicting = reader(&both, "");
        assert_eq!(conflicting.problems.len(), 1);
        assert_eq!(
            conflicting.problems[0].to_string(),
            "OPS_TOKEN=\"********\": OPS_TOKEN_FILE is set too; accepted: only one of the two"
        );
        let process_wins = reader(&both[..1], "OPS_TOKEN_FILE=/run/token");
        assert_eq!(
            line(&process_wins, "OPS_TOKEN"),
            "OPS_TOKEN=******** # environment"
        );
        let process_wins = reader(&both[1..], "OPS_TOKEN=hunter2");
        assert_eq!(
            line(&process_wins, "OPS_TOKEN"),
            "OPS_TOKEN=******** # OPS_TOKEN_FILE"
        );
        assert!(process_wins.problems.is_empty());
    }

    #[test]
    fn files_that_hold_nothing_are_problems() {
        for path in ["/run/empty", "/run/missing"] {
            let mut reader = reader(&[("OPS_TOKEN_FILE", path)], "");
            assert_eq!(
                (reader.problems.len(), reader.problems[0].name.as_str()),
                (1, "OPS_TOKEN_FILE")
            );
            assert_eq!(reader.problems[0].value.as_deref(), Some(path));
            assert_eq!(reader.required("OPS_TOKEN", |_| Ok(())), Err(Noted));
            assert_eq!(reader.problems.len(), 1);
        }
    }

    #[test]
    fn bad_values_are_noted_with_their_text_unless_it_is_secret() {
        let mut reader = reader(&[("PORT", "x"), ("OPS_TOKEN", "hunter2")], "");
        assert_eq!(reader.whole::<u16>("PORT"), Err(Noted));
        assert_eq!(
            reader.optional("OPS_TOKEN", |_| Err::<(), _>("bad".into())),
            Err(Noted)
        );
        let problems: Vec<String> = reader.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            problems[0],
            "PORT=\"x\": not a whole number; accepted: a whole number from 0 to 65535"
        );
        assert!(
            problems[1].starts_with("OPS_TOKEN=\"********\": bad; accepted: "),
            "{}",
            problems[1]
        );
    }

    #[test]
    fn what_is_settled_is_shown() {
        let mut reader = reader(&[], "");
        reader.settle("LOG_FORMAT", Some("json"));
        assert_eq!(line(&reader, "LOG_FORMAT"), "LOG_FORMAT=json # default");
    }
}
