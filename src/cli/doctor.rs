//! `doctor`: finds out why Exotel, or a custom client, does not get through (1.1).
//!
//! The steps are `doctor/`'s; this takes the arguments and prints. Invariants: exit code 0 only if no step failed; what the
//! environment says wrongly does not keep the rest from being examined.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    cli::{
        UsageError,
        source::{configuration, secret},
    },
    doctor::{
        self,
        settings::Settings,
        step::{Report, Status, Step},
        tls,
    },
    duration, publisher,
    secret::Secret,
};

/// Find out why Exotel or a custom client does not get through
///
/// Walks the way that a call takes, link by link: the URL's shape, DNS, TCP, TLS, /health, the upgrade, the credentials, one
/// second of audio in a call of its own (its name begins with `doctor-`), and, where the service's Redis can be reached, whether
/// the frames arrived there and whether it is fit to keep them. A link that fails does not end the walk. Each says what was
/// seen, and what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The URL as it is given to Exotel, credentials before the @ and parameters included
    #[arg(long, default_value = "ws://127.0.0.1:8443/v1/ingest", value_parser = secret)]
    url: Secret,
    /// HTTP Basic credentials, instead of those in the URL
    #[arg(long, value_name = "KEY:TOKEN", value_parser = secret, conflicts_with = "token")]
    basic: Option<Secret>,
    /// Examine as a custom client with this JSON Web Token; `rtaa-ingest token` makes one. If it names a call, the
    /// audio is that call's
    #[arg(long, value_name = "JWT", value_parser = secret)]
    token: Option<Secret>,
    /// The service's Redis: redis://, rediss:// or unix:/// [default: what the environment says]
    #[arg(long, value_name = "URL", value_parser = secret)]
    redis: Option<Secret>,
    /// PEM file with a certificate authority of your own to believe beside the public ones
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How many calls at a time are expected, to hold Redis's memory against
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    calls: Option<u64>,
    /// How long each step over the network may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = patience)]
    timeout: Duration,
    /// Print one JSON object, and nothing else
    #[arg(long)]
    json: bool,
}

/// Examines and prints.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let json = args.json;
    let settings = settings(args)?;
    let runtime = super::runtime(tokio::runtime::Builder::new_multi_thread())?;
    let report = runtime.block_on(doctor::examine(&settings));
    let mut out = anstream::stdout().lock();
    let printed = if json {
        serde_json::to_string(&report)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(out, "{text}"))
    } else {
        out.write_all(text(&report).as_bytes())
    };
    match printed.and_then(|()| out.flush()) {
        // Whoever reads us, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        outcome => outcome.context("the result could not be written")?,
    }
    Ok(if report.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn settings(args: Args) -> anyhow::Result<Settings> {
    let no_colon = args
        .basic
        .as_ref()
        .is_some_and(|pair| !pair.expose().contains(':'));
    if no_colon {
        return Err(usage("--basic", "write it as KEY:TOKEN".to_owned()));
    }
    let unsendable = |token: &Secret| token.expose().contains(|c: char| !c.is_ascii_graphic());
    if args.token.as_ref().is_some_and(unsendable) {
        let wrong =
            "there are characters in it that no token has: take it without spaces or line breaks";
        return Err(usage("--token", wrong.to_owned()));
    }
    let authorities = match &args.ca {
        Some(file) => tls::read_authorities(file)
            .map_err(|error| usage("--ca", format!("{}: {error}", file.display())))?,
        None => Vec::new(),
    };
    Ok(Settings {
        url: args.url,
        basic: args.basic,
        token: args.token,
        authorities,
        publishing: publishing(args.redis)?,
        calls: args.calls,
        limit: args.timeout,
    })
}

/// What is wrong in the environment here is no fault of the service's.
fn publishing(redis: Option<Secret>) -> anyhow::Result<Result<publisher::Settings, String>> {
    match configuration(redis) {
        Ok(config) => Ok(Ok(config.publisher)),
        Err(error) if error.is::<UsageError>() => Err(error),
        Err(_) => Ok(Err(
            "the settings in this environment are wrong: `rtaa-ingest check` lists what".to_owned(),
        )),
    }
}

fn usage(flag: &'static str, wrong: String) -> anyhow::Error {
    UsageError { flag, wrong }.into()
}

fn patience(text: &str) -> Result<Duration, String> {
    let limit = duration::parse(text).map_err(|error| error.to_string())?;
    if limit < PATIENCE_MIN || limit > PATIENCE_MAX {
        return Err("write a time from 100ms to 2m".to_owned());
    }
    Ok(limit)
}

/// A line for each step, with what to do below it, and one for all. The colours are taken out where nobody sees them.
fn text(report: &Report) -> String {
    let width = report
        .steps
        .iter()
        .map(|step| step.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    // Many steps may hang on one that failed: they share a line.
    for alike in report.steps.chunk_by(is_skipped_with) {
        let Some((step, others)) = alike.split_first() else {
            continue;
        };
        let (colour, word) = word(step);
        let others: Vec<&str> = others.iter().map(|step| step.name).collect();
        let others = match others.len() {
            0 => String::new(),
            _ => format!("; so too {}", others.join(", ")),
        };
        // Writing to a text does not fail.
        writeln!(
            text,
            "{colour}{word:7}{PLAIN}  {:width$}  {}{others}",
            step.name, step.detail
        )
        .ok();
        if !step.fix.is_empty() {
            writeln!(text, "{:1$}→ {2}", "", width + INDENT, step.fix).ok();
        }
    }
    let count = |status| {
        report
            .steps
            .iter()
            .filter(|step| step.status == status)
            .count()
    };
    let warnings = report.steps.iter().filter(|step| step.is_warning()).count();
    writeln!(
        text,
        "\n{} steps: {} ok, {warnings} of them with a warning, {} failed, {} skipped",
        report.steps.len(),
        count(Status::Ok),
        count(Status::Failed),
        count(Status::Skipped)
    )
    .ok();
    text.push_str(match (report.ok, has_outside(report)) {
        (false, _) => "Mend the first that failed, and run this again.\n",
        (true, true) => "Nothing failed on this side. If calls still do not arrive, it is one of the exotel- lines.\n",
        (true, false) => "Nothing failed.\n",
    });
    text
}

fn is_skipped_with(one: &Step, next: &Step) -> bool {
    one.status == Status::Skipped && next.status == one.status && next.detail == one.detail
}

fn has_outside(report: &Report) -> bool {
    report
        .steps
        .iter()
        .any(|step| step.name.starts_with("exotel-"))
}

fn word(step: &Step) -> (&'static str, &'static str) {
    match step.status {
        Status::Ok if step.is_warning() => (YELLOW, "warning"),
        Status::Ok => (GREEN, "ok"),
        Status::Failed => (RED, "failed"),
        Status::Skipped => (GREY, "skipped"),
    }
}

const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const RED: &str = "\u{1b}[31m";
const GREY: &str = "\u{1b}[90m";
const PLAIN: &str = "\u{1b}[0m";
/// The status and the spaces around the name.
const INDENT: usize = 11;

const PATIENCE_MIN: Duration = Duration::from_millis(100);
const PATIENCE_MAX: Duration = Duration::from_mins(2);

const AFTER_HELP: &str = "\
Examples:
  rtaa-ingest doctor --url wss://KEY:TOKEN@voice.example.com/v1/ingest
  rtaa-ingest doctor --url wss://voice.example.com/v1/ingest/s3cret --redis rediss://:password@redis.example.com
  rtaa-ingest doctor --url wss://voice.example.com/v1/ingest --token \"$(rtaa-ingest token --key private.pem)\"
  rtaa-ingest doctor --url wss://voice.internal/v1/ingest --ca ca.pem --calls 200
  rtaa-ingest doctor --json | jq '.steps[] | select(.status == \"failed\")'

Run it twice: where the service runs, so that it sees Redis, and from a machine outside, as Exotel is. Workers see one
call of a second, which they may leave alone by its name.

Exit codes: 0 no step failed, 1 one failed, 2 bad usage.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &str) -> Result<Args, clap::Error> {
        let words = std::iter::once("doctor").chain(flags.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    fn step(name: &'static str, status: Status, fix: &str) -> Step {
        Step {
            name,
            status,
            detail: "seen".into(),
            fix: fix.into(),
        }
    }

    #[test]
    fn lines_are_aligned_and_say_what_to_do() {
        let report = Report {
            ok: false,
            steps: vec![
                step("url", Status::Ok, ""),
                step("upgrade", Status::Failed, "do this"),
                step("groups", Status::Ok, "do that"),
                step("start", Status::Skipped, ""),
                step("audio", Status::Skipped, ""),
            ],
        };
        let plain = anstream::adapter::strip_str(&text(&report)).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[0], "ok       url      seen");
        assert_eq!(lines[1], "failed   upgrade  seen");
        assert_eq!(lines[2], "                  → do this");
        assert_eq!(lines[3], "warning  groups   seen");
        assert_eq!(
            lines[7],
            "5 steps: 2 ok, 1 of them with a warning, 1 failed, 2 skipped"
        );
        assert_eq!(lines[5], "skipped  start    seen; so too audio");
        assert!(lines[8].starts_with("Mend"));
    }

    #[test]
    fn wrong_flags_are_refused_without_their_secrets() {
        for flags in [
            "--timeout 0",
            "--timeout 1h",
            "--calls 0",
            "--basic a:b --token c",
        ] {
            assert!(parse(flags).is_err(), "{flags}");
        }
        for flags in [
            "--basic hunter2",
            "--token hunter2\u{e9}",
            "--redis redis//:hunter2@h",
            "--ca /nonexistent.pem",
        ] {
            let error = settings(parse(flags).unwrap()).unwrap_err();
            assert!(
                error.is::<UsageError>() && !error.to_string().contains("hunter2"),
                "{flags}"
            );
        }
    }

    #[test]
    fn secrets_are_not_in_the_debug_text() {
        let args = parse("--url wss://k:hunter2@h/v1/ingest --redis redis://:hunter2@h").unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }
}
