//! `tail`: follows the frames live, a line for each, or at a terminal a row for each call (1.1).
//!
//! Following and drawing are `tail/`'s subject. Invariants: standard output holds frames and nothing else, warnings go to
//! standard error or below the rows; an entry that cannot be read is counted and said, and ends nothing.

use std::{
    collections::VecDeque,
    io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use tokio::{runtime::Builder, time};

use crate::{
    cli::source::Place,
    clock,
    config::Config,
    duration,
    shutdown::Signals,
    tail::{
        EntryName, Follower, Start, Wanted,
        lines::{self, Style},
        news::{Filter, News},
        rows::Rows,
        screen::Screen,
    },
};

/// Follow the frames live: a row for each call, or a line for each frame
///
/// At a terminal there is a row for each call: the level of its audio, frames per second, number of the newest frame, gaps,
/// lag (from the frame's arrival at the service until it is seen here) and the time since. Calls that have ended or fallen
/// silent are dimmed, and dropped after a while. In a pipe, or with --lines or --json, there is a line for each frame.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only this call
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    call: Option<String>,
    /// Only calls of this tenant
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// Begin with what was added in this time up to now: 500ms, 10s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with = "from")]
    since: Option<Duration>,
    /// Begin behind this entry: an `id` as --json shows it; 0 for all that there is
    #[arg(long, value_name = "ID", value_parser = entry)]
    from: Option<EntryName>,
    /// Print one JSON object a line: the frame without its audio, with its `bytes` and the entry's `id`
    #[arg(long)]
    json: bool,
    /// Show what happens in calls too: start, dtmf, gap, `rate_mismatch`, stop, `call_end`
    #[arg(long)]
    events: bool,
    /// Print a line for each frame at a terminal too
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    place: Place,
}

/// Where it is shown.
enum View {
    Lines {
        out: BufWriter<StdoutLock<'static>>,
        style: Style,
    },
    Rows {
        rows: Rows,
        screen: Screen,
        title: String,
        /// Whether events get lines of their own below the rows.
        events: bool,
        below: VecDeque<String>,
    },
}

/// What was passed over.
#[derive(Default)]
struct Unreadable {
    entries: u64,
    told: u64,
}

/// Follows until whoever looks on has had enough.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime(Builder::new_current_thread())?;
    match runtime.block_on(tail(args)) {
        // Whoever reads us, such as `head`, has seen enough.
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn tail(args: Args) -> anyhow::Result<()> {
    let rows = io::stdout().is_terminal() && !args.lines && !args.json;
    let start = match (args.since, args.from) {
        (_, Some(entry)) => Start::Behind(entry),
        (Some(since), None) => {
            let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            Start::At(clock::epoch_ms().saturating_sub(since_ms))
        }
        (None, None) => Start::Now,
    };
    let wanted = Wanted {
        start,
        call: args.call.clone(),
        events: args.events || rows,
    };
    let filter = Filter {
        call: args.call,
        tenant: args.tenant,
    };
    let mut follower = args.place.follow(&wanted).await?;
    if !rows {
        let view = View::Lines {
            out: BufWriter::with_capacity(OUT_BYTES, io::stdout().lock()),
            style: if args.json { Style::Json } else { Style::Words },
        };
        // No signal is listened to: the default ends it between two writes, or while it waits in one.
        return follow(&mut follower, &filter, view).await;
    }
    let mut signals = Signals::listen().context("signals cannot be listened to")?;
    let mut view = View::Rows {
        rows: Rows::new(!Config::no_colour()),
        screen: Screen::open()?,
        title: follower.name(),
        events: args.events,
        below: VecDeque::new(),
    };
    view.draw()?;
    tokio::select! {
        outcome = follow(&mut follower, &filter, view) => outcome,
        () = signals.stop() => Ok(()),
    }
}

/// Shows what comes, for ever.
async fn follow(follower: &mut Follower, filter: &Filter, mut view: View) -> anyhow::Result<()> {
    let mut redraw = time::interval(REDRAW_EVERY);
    redraw.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut unreadable = Unreadable::default();
    loop {
        {
            let waiting = follower.wait();
            tokio::pin!(waiting);
            loop {
                tokio::select! {
                    biased;
                    _ = redraw.tick() => {
                        view.draw()?;
                        unreadable.tell(&mut view);
                    }
                    () = &mut waiting => break,
                }
            }
        }
        // What was removed unread was so before what comes now.
        view.warn_of(follower.take_notices());
        let now = clock::now();
        while let Some(entry) = follower.next()? {
            match News::read(&entry) {
                Ok(news) if filter.lets_through(&news) => match &mut view {
                    View::Lines { out, style } => {
                        lines::write(out, *style, entry.id, &news, now.epoch_ms)?;
                    }
                    View::Rows {
                        rows,
                        events,
                        below,
                        ..
                    } => {
                        rows.take(&news, now);
                        if *events && matches!(news, News::Event(_)) {
                            let mut line = Vec::new();
                            lines::write(&mut line, Style::Words, entry.id, &news, now.epoch_ms)?;
                            note(below, String::from_utf8_lossy(&line).trim_end());
                        }
                    }
                },
                Ok(_) => {}
                Err(_) => unreadable.entries += 1,
            }
        }
        view.flush()?;
        view.warn_of(follower.take_notices());
    }
}

impl View {
    fn draw(&mut self) -> io::Result<()> {
        let Self::Rows {
            rows,
            screen,
            title,
            below,
            ..
        } = self
        else {
            return Ok(());
        };
        let now = clock::now();
        rows.tick(now);
        let mut size = screen.size();
        let columns = size.columns;
        size.lines = size.lines.saturating_sub(below.len() + 1);
        let mut lines = rows.draw(size, title, now);
        if !below.is_empty() {
            lines.push(String::new());
            lines.extend(
                below
                    .iter()
                    .map(|line| line.chars().take(columns).collect()),
            );
        }
        screen.show(&lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines { out, .. } => out.flush(),
            Self::Rows { .. } => Ok(()),
        }
    }

    fn warn_of(&mut self, notices: Vec<String>) {
        for notice in notices {
            self.warn(&notice);
        }
    }

    fn warn(&mut self, text: &str) {
        match self {
            // Where standard error is gone, nobody wants to know.
            Self::Lines { .. } => {
                writeln!(io::stderr(), "warning: {text}").ok();
            }
            Self::Rows { below, .. } => {
                let time = clock::rfc3339(clock::epoch_ms());
                note(below, &format!("{time} {text}"));
            }
        }
    }
}

/// Keeps a line to show below the rows.
fn note(below: &mut VecDeque<String>, line: &str) {
    if below.len() >= BELOW_MAX {
        below.pop_front();
    }
    below.push_back(line.to_owned());
}

impl Unreadable {
    /// Says how many there were, once there are more.
    fn tell(&mut self, view: &mut View) {
        if self.entries == self.told {
            return;
        }
        self.told = self.entries;
        view.warn(&format!(
            "{} entries could not be read and were passed over: see whether something else writes to this stream",
            self.entries
        ));
    }
}

fn entry(text: &str) -> Result<EntryName, String> {
    EntryName::parse(text)
        .ok_or_else(|| "write it as 1762500000000-0, in a journal as a number".to_owned())
}

const REDRAW_EVERY: Duration = Duration::from_millis(250);
const OUT_BYTES: usize = 64 * 1024;
const BELOW_MAX: usize = 8;

const AFTER_HELP: &str = "\
It reads Redis, or the journal where no REDIS_URL is set, beside the service and its workers and without disturbing either.
While Redis is away it tries again every second, and goes on where it was. What was trimmed before it could be read is said.

Examples:
  rtaa-ingest tail                                  a row for each live call
  rtaa-ingest tail --call 3a7f --since 1m           what has come of a call in the last minute
  rtaa-ingest tail --json | jq 'select(.bytes > 640)'
  rtaa-ingest tail --events --lines --tenant acme   frames and events as lines
  rtaa-ingest tail --journal /var/lib/rtaa/journal

Exit codes: 0 interrupted or the pipe closed, 1 it cannot be read, 2 bad usage, 78 bad configuration.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn it_begins_at_one_place() {
        for (line, good) in [
            ("x", true),
            (
                "x --since 10m --call c --tenant t --json --events --lines",
                true,
            ),
            ("x --from 0", true),
            ("x --from 1762500000000-7", true),
            ("x --from now", false),
            ("x --from 0 --since 1m", false),
            ("x --since soon", false),
            ("x --call ", true),
        ] {
            let parsed = Line::try_parse_from(line.split_whitespace());
            assert_eq!(parsed.is_ok(), good && !line.ends_with("--call "), "{line}");
        }
    }

    #[test]
    fn what_stands_below_the_rows_is_bounded() {
        let mut below = VecDeque::new();
        for line in 0..20 {
            note(&mut below, &line.to_string());
        }
        assert_eq!(below.len(), BELOW_MAX);
        assert_eq!(below.back().unwrap(), "19");
    }
}
