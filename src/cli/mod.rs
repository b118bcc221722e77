//! The command line: which subcommands there are, and which one was asked for.
//!
//! What a subcommand takes and does is in its own file, as `Args` and `run`. Invariant: nothing here exits the
//! process or panics on input; an outcome is an exit code (1.3) or an error for `main` to report.

pub mod check;
pub mod demo;
pub mod doctor;
pub mod export;
pub mod health;
pub mod replay;
pub mod serve;
pub mod simulate;
pub mod source;
pub mod tail;
pub mod token;
pub mod verify;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

/// Takes telephone audio over WebSocket, from Exotel and from clients with a JWT, and publishes every frame to a
/// Redis Stream, or to a journal on disk where there is no Redis.
///
/// Without a subcommand it serves.
#[derive(Debug, Parser)]
#[command(
    name = "rtaa-ingest",
    version,
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: take calls until SIGTERM or SIGINT (the default)
    Serve(serve::Args),
    /// See the whole system work, with nothing to set up
    Demo(demo::Args),
    /// Play calls into a server as Exotel or another client would
    Simulate(simulate::Args),
    Doctor(doctor::Args),
    /// Show the configuration in effect, or everything that is wrong with it
    ///
    /// Prints NAME=value and where it comes from for every setting, secrets masked, as a .env file could hold it.
    /// Warnings go to standard error. A bad configuration is a list of all its mistakes and exit code 78.
    Check(check::Args),
    Tail(tail::Args),
    Verify(verify::Args),
    Export(export::Args),
    Replay(replay::Args),
    /// Make a signed test token, or a key pair
    Token(token::Args),
    /// Ask the server on this machine whether it is healthy: for containers that have no shell
    #[command(hide = true)]
    Health(health::Args),
}

/// A flag whose value cannot be used, found out only after parsing: clap's own errors repeat the value, which may hold
/// a password.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: {wrong}")]
pub struct UsageError {
    pub flag: &'static str,
    pub wrong: String,
}

/// Runs what the arguments ask for. Help and bad usage are answered here: 0 and 2.
pub fn run(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<ExitCode> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(answer) => {
            // Whoever closed the pipe, such as `head`, has seen enough.
            answer.print().ok();
            let code = u8::try_from(answer.exit_code()).unwrap_or(1);
            return Ok(ExitCode::from(code));
        }
    };
    match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Simulate(args)) => simulate::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Tail(args)) => tail::run(args),
        Some(Command::Verify(args)) => verify::run(args),
        Some(Command::Export(args)) => export::run(args),
        Some(Command::Replay(args)) => replay::run(args),
        Some(Command::Token(args)) => token::run(args),
        Some(Command::Health(args)) => health::run(args),
    }
}

/// What a subcommand runs on.
fn runtime(mut builder: Builder) -> anyhow::Result<Runtime> {
    builder
        .enable_all()
        .build()
        .context("the runtime could not be started")
}

const AFTER_HELP: &str = "\
Settings come from the environment or from .env in the working directory. The most used:
  PORT                    listen port [8443]
  REDIS_URL               redis:// or rediss://; without it frames go to the journal
  SUPPORT_EXOTEL          true: accept Exotel's connections
  EXOTEL_ALLOWED_IPS, EXOTEL_BASIC_AUTH, EXOTEL_URL_TOKENS
                          which of them: by address, by password, by a token in the URL
  JWT_PUBLIC_KEY          PEM: accept custom clients whose token this key verifies
  SSL_CERT_PATH, SSL_KEY_PATH
                          serve wss:// without a proxy in front
  JOURNAL_DIR             where frames go without a Redis [./data/journal]
  DRAIN_TIMEOUT_S         how long calls may go on after SIGTERM [25]
  RUST_LOG                which log lines are written [info]
All of them are in .env.example. Durations are 500ms, 10s, 5m, 1h; a bare number is seconds.

Examples:
  rtaa-ingest demo                          see it work, with nothing to set up
  rtaa-ingest check                         what is set, and from where
  SUPPORT_EXOTEL=true rtaa-ingest           serve Exotel, frames in the journal
  REDIS_URL=redis://localhost SUPPORT_EXOTEL=true rtaa-ingest
  rtaa-ingest simulate --url ws://localhost:8443/v1/ingest --calls 10
  rtaa-ingest doctor --url wss://<host>/v1/ingest   why do no calls arrive?
  rtaa-ingest tail                          see the frames of all live calls arrive
  rtaa-ingest verify --since 10m            prove that all calls came through whole

Exit codes: 0 clean, 1 failed, 2 bad usage, 3 see verify, 78 bad configuration.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::vars;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_subcommand_serves() {
        assert!(parse("rtaa-ingest").unwrap().command.is_none());
        assert!(matches!(
            parse("rtaa-ingest serve").unwrap().command,
            Some(Command::Serve(_))
        ));
        assert!(matches!(
            parse("rtaa-ingest check").unwrap().command,
            Some(Command::Check(_))
        ));
    }

    #[test]
    fn bad_usage_is_2_and_help_is_0() {
        for (line, code) in [
            ("rtaa-ingest frobnicate", 2),
            ("rtaa-ingest --frobnicate", 2),
            ("rtaa-ingest check --frobnicate", 2),
            ("rtaa-ingest --help", 0),
            ("rtaa-ingest check --help", 0),
            ("rtaa-ingest --version", 0),
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), code, "{line}");
        }
    }

    #[test]
    fn help_names_only_settings_that_exist() {
        let help = Cli::command().render_long_help().to_string();
        let words = help.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let settings: Vec<&str> = words
            .filter(|word| word.contains('_') && word.len() > 3)
            .collect();
        assert!(settings.len() > 8, "{settings:?}");
        for name in settings {
            assert!(vars::find(name).is_some(), "{name}");
        }
        assert!(!help.contains("health"), "{help}");
    }
}
