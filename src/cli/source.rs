//! `--redis` and `--journal`: where a command reads entries from, and the reading, with its progress and its warnings.
//!
//! How entries are fetched is `readback/`'s subject. Invariants: no error repeats a URL, which may hold a password; an entry
//! that cannot be read is counted and said, and ends nothing.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::UsageError,
    config::{self, Config, error::ConfigErrors},
    frame::Shown,
    journal::fields::FieldsError,
    prepared,
    published::UnreadableEntry,
    publisher::{self, Destination},
    readback::{Entry, ReadbackError, Source},
    record::Kind,
    secret::Secret,
    tail::{Follower, Wanted},
};

/// Where the entries are; without either, what the environment says.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Read from this Redis: redis://, rediss:// or unix:/// [default: what the environment says]
    #[arg(long, value_name = "URL", value_parser = secret, conflicts_with = "journal")]
    redis: Option<Secret>,
    /// Read from this journal directory; a server may be writing to it
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
}

/// A source that is being read.
#[derive(Debug)]
pub struct Reading {
    source: Source,
    progress: ProgressBar,
    unreadable: u64,
    first_unreadable: Option<String>,
}

/// Why an entry is passed over.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error(transparent)]
    Fields(#[from] FieldsError),
    #[error(transparent)]
    Content(#[from] UnreadableEntry),
}

impl Place {
    /// Finds the source and connects to it.
    pub async fn open(self) -> anyhow::Result<Reading> {
        let source = if let Some(dir) = self.journal {
            // Nothing of the environment matters then, be it broken or not.
            Source::journal(dir)?
        } else {
            let config = configuration(self.redis)?;
            Source::open(&config.publisher, config.journal.dir).await?
        };
        let progress = ProgressBar::new_spinner();
        progress.set_style(
            ProgressStyle::with_template("{spinner} {pos} entries read, {elapsed}")
                .unwrap_or_else(|_malformed| ProgressStyle::default_spinner()),
        );
        Ok(Reading {
            source,
            progress,
            unreadable: 0,
            first_unreadable: None,
        })
    }

    /// Finds the source and follows it.
    pub async fn follow(self, wanted: &Wanted) -> anyhow::Result<Follower> {
        if let Some(dir) = self.journal {
            return Ok(Follower::journal(dir, wanted)?);
        }
        let config = configuration(self.redis)?;
        Ok(Follower::open(&config.publisher, config.journal.dir, wanted).await?)
    }
}

/// What the environment says, with this Redis in the place of its own.
pub fn configuration(redis: Option<Secret>) -> anyhow::Result<Config> {
    let config = match redis {
        None => Config::load()?,
        Some(url) => {
            if let Some(wrong) = config::redis_fault(&url) {
                let flag = "--redis";
                return Err(UsageError { flag, wrong }.into());
            }
            Config::load_with_redis(&url)?
        }
    };
    let problems = match &config.publisher.destination {
        Destination::Redis(_) => prepared::redis_documents(&config.documents),
        Destination::Journal { .. } => Vec::new(),
    };
    if problems.is_empty() {
        return Ok(config);
    }
    Err(ConfigErrors {
        problems,
        documents: Box::default(),
    }
    .into())
}

impl Reading {
    /// Reads all entries of a kind. Those of Redis that were added before `from_ms` are left out.
    pub async fn each(
        &mut self,
        kind: Kind,
        from_ms: u64,
        mut take: impl FnMut(&Entry<'_>) -> Result<(), EntryError>,
    ) -> Result<(), ReadbackError> {
        let mut entries = self.source.entries(kind, from_ms)?;
        while let Some(entry) = entries.next().await? {
            self.progress.inc(1);
            if let Err(error) = take(&entry) {
                self.unreadable += 1;
                self.first_unreadable
                    .get_or_insert_with(|| format!("{}: {error}", entry.id));
            }
        }
        Ok(())
    }

    /// For a call: before when entries have been removed from the stream that has its frames, or should have them.
    pub async fn fronts(
        &mut self,
    ) -> Result<impl Fn(&str, Option<usize>) -> Option<u64> + use<>, ReadbackError> {
        let fronts = self.source.fronts().await?;
        Ok(move |call: &str, shard: Option<usize>| {
            let shard = shard.or_else(|| publisher::shard(call, fronts.len()))?;
            fronts.get(shard).copied().flatten()
        })
    }

    pub fn not_found(&self, call: &str) -> String {
        format!(
            "call {} was not found: neither a frame in {} nor a call_end names it; see --tenant, --redis and --journal",
            shown(call),
            self.source.name()
        )
    }

    /// Takes the progress away and says what could not be read. Where standard error is gone, nobody wants to know.
    pub fn finish(&mut self) {
        self.progress.finish_and_clear();
        let mut warnings = self.source.take_notices();
        if let Some(first) = self.first_unreadable.take() {
            warnings.push(format!(
                "{} entries could not be read and were passed over, the first of them {first}",
                self.unreadable
            ));
        }
        let mut out = io::stderr().lock();
        for warning in warnings {
            writeln!(out, "warning: {warning}").ok();
        }
    }
}

/// A name as it may be shown on a terminal: whoever made the call chose it.
pub fn shown(name: &str) -> String {
    Shown(name).to_string()
}

pub fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        place: Place,
    }

    #[test]
    fn one_source_at_most() {
        let line = ["x", "--redis", "redis://:hunter2@h", "--journal", "d"];
        assert!(Line::try_parse_from(line).is_err());
        let line = Line::try_parse_from(line.into_iter().take(3)).unwrap();
        assert!(!format!("{:?}", line.place).contains("hunter2"));
    }

    #[test]
    fn a_url_that_is_none_is_bad_usage_and_not_repeated() {
        let error = configuration(Some(Secret::new("redis//:hunter2@h"))).unwrap_err();
        assert!(error.is::<UsageError>(), "{error}");
        let said = error.to_string();
        assert!(said.starts_with("--redis: ") && !said.contains("hunter2"));
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(shown("a\u{1b}[2J\nb é"), "a\\u{1b}[2J\\nb é");
    }
}
