//! `replay`: publishes what a journal directory holds into Redis, and ends when all of it is there (1.1).
//!
//! It is the service's own lane, without calls: what was published before is not published again, and whatever happens on
//! the way, to Redis or to this process, the next attempt goes on where this one was. Invariant: exit code 0 only if
//! nothing is left.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{runtime::Builder, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{UsageError, source},
    journal,
    publisher::{Destination, Left, Publisher},
    secret::Secret,
    shutdown::Signals,
};

/// Publish a journal directory into Redis
///
/// Sends every record that is not in Redis yet, in order and once, then removes it from the journal. The server does
/// the same by itself when it starts; this is for a journal whose server will not start again. Interrupted, it goes on
/// the next time where it was.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The directory: `JOURNAL_DIR` of the server that wrote it
    #[arg(long, value_name = "DIR")]
    journal: PathBuf,
    /// Publish into this Redis: redis://, rediss:// or unix:/// [default: what the environment says]
    #[arg(long, value_name = "URL", value_parser = source::secret)]
    redis: Option<Secret>,
}

/// Publishes, shows how far it is, and says what came of it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime(Builder::new_current_thread())?;
    runtime.block_on(replay(args))
}

async fn replay(args: Args) -> anyhow::Result<ExitCode> {
    let config = source::configuration(args.redis)?;
    if !matches!(config.publisher.destination, Destination::Redis(_)) {
        return Err(UsageError {
            flag: "--redis",
            wrong: "no Redis to publish into: give its URL here, or set REDIS_URL".to_owned(),
        }
        .into());
    }
    check(&args.journal, config.publisher.shards)?;
    let journal = journal::Settings {
        dir: args.journal.clone(),
        ..config.journal
    };
    let (mut owners, give_up) = (JoinSet::new(), CancellationToken::new());
    let publisher = Publisher::start(&config.publisher, &journal, &mut owners, &give_up)?;
    let mut signals = Signals::listen().context("signals cannot be listened to")?;
    let outcome = tokio::select! {
        outcome = follow(&publisher) => outcome,
        () = signals.stop() => Err("interrupted".to_owned()),
    };
    publisher.close();
    give_up.cancel();
    let left = Left::of_all(&mut owners).await;
    let outcome = outcome.and_then(|frames| {
        if left.died {
            return Err("a part of the program has died; see the log".to_owned());
        }
        Ok(frames)
    });
    let left = left.journaled;
    match outcome {
        Ok(frames) => {
            let dir = args.journal.display();
            writeln!(
                io::stdout(),
                "{frames} frames published; nothing is left in {dir}"
            )?;
        }
        Err(problem) => bail!(
            "{left} frames are left in {}: {problem}",
            args.journal.display()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// A journal that is not there would be made, and found empty.
fn check(dir: &Path, shards: u16) -> anyhow::Result<()> {
    journal::reader::Reader::open(dir)
        .map(drop)
        .or_else(|error| match shards {
            0 | 1 => Err(error),
            _ => journal::reader::Reader::open(&dir.join(format!("shard-0-of-{shards}"))).map(drop),
        })?;
    Ok(())
}

/// Waits until all is published; with an error when Redis does not take it.
async fn follow(publisher: &Publisher) -> Result<u64, String> {
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} frames, {eta} left")
            .unwrap_or_else(|_malformed| ProgressStyle::default_bar()),
    );
    let (mut stuck_since, mut left_before) = (Instant::now(), u64::MAX);
    loop {
        let (left, all) = publisher.backlog();
        bar.set_length(all);
        bar.set_position(all - left);
        let health = publisher.health();
        if health.up && publisher.is_caught_up() {
            bar.finish_and_clear();
            return Ok(all);
        }
        if left < left_before {
            (stuck_since, left_before) = (Instant::now(), left);
        }
        if !health.up && stuck_since.elapsed() >= GIVE_UP_AFTER {
            bar.finish_and_clear();
            return Err(health.problems.join("; "));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(100);
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

const AFTER_HELP: &str = "\
Stop the server that writes this directory first: a journal has one writer. AUDIO_STREAM, AUDIO_STREAM_SHARDS and the
other settings must be those of that server.

Examples:
  rtaa-ingest replay --journal ./data/journal --redis redis://localhost
  REDIS_URL=rediss://cache:6380 rtaa-ingest replay --journal /var/lib/rtaa/journal

Exit codes: 0 all is in Redis, 1 something is left (run it again), 2 bad usage, 78 bad configuration.";
