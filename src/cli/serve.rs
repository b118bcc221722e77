//! `serve`: the service, from its configuration to its drain. The life of the process on one screen.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::{
    app::App,
    config::Config,
    prepared::Prepared,
    publisher::Destination,
    rounds,
    shutdown::{Asked, Signals},
    telemetry,
};

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: Args) -> anyhow::Result<ExitCode> {
    let prepared = Prepared::load()?;
    telemetry::init(&prepared.config().telemetry);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    rounds::install(&mut builder, prepared.config().publisher.gather);
    let runtime = super::runtime(builder)?;
    let code = runtime.block_on(serve(prepared));
    // Whatever still runs after a second signal is not waited for.
    runtime.shutdown_background();
    code
}

async fn serve(mut prepared: Prepared) -> anyhow::Result<ExitCode> {
    warn(&prepared);
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let destination = destination(prepared.config())?;
    let mut app = App::start(&prepared)?;
    telemetry::listening(&app.address.to_string(), &app.url, app.adapter());
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => break,
                Asked::Reload => reload(&mut prepared, &app),
            },
            () = app.failed() => anyhow::bail!("a part of the service has stopped unexpectedly; see the log"),
        }
    }
    let left = tokio::select! {
        left = app.drain() => left,
        () = signals.stop() => {
            telemetry::warning("a second signal: exiting at once");
            return Ok(ExitCode::FAILURE);
        }
    };
    if left.journaled > 0 {
        telemetry::left_in_journal(left.journaled, &prepared.config().journal.dir);
    }
    if left.lost > 0 {
        telemetry::undelivered(left.lost, &destination);
    }
    if left.lost > 0 || left.died {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads settings, files and certificates again, and uses what may change under live calls (2.1). What cannot be
/// read leaves everything as it was.
fn reload(prepared: &mut Prepared, app: &App) {
    let fresh = match Prepared::load() {
        Ok(fresh) => fresh,
        Err(errors) => return telemetry::reload_failed(&errors.to_string()),
    };
    for var in fresh.config().changed_since(prepared.config()) {
        if !var.reloadable {
            telemetry::warning(&format!(
                "{} has changed, which takes effect at the next start only",
                var.name
            ));
        }
    }
    app.reload(&fresh);
    telemetry::reloaded();
    *prepared = fresh;
}

/// Where records go, in words that may be logged.
fn destination(config: &Config) -> anyhow::Result<String> {
    Ok(match &config.publisher.destination {
        Destination::Redis(redis) => format!("Redis at {}", redis.address()?),
        Destination::Journal { .. } => format!("the journal in {}", config.journal.dir.display()),
    })
}

/// What an operator should know before the first call.
fn warn(prepared: &Prepared) {
    let config = prepared.config();
    config
        .warnings
        .iter()
        .for_each(|warning| telemetry::warning(warning));
    for name in config.pending_set() {
        telemetry::warning(&format!(
            "{name} is read and checked, but has no effect in this release"
        ));
    }
    let admission = &config.admission;
    let checked = !admission.basic_auth.is_empty()
        || !admission.allowed_ips.is_empty()
        || !admission.url_tokens.is_empty();
    if admission.support_exotel && !checked {
        telemetry::warning(
            "everybody who reaches this port can send audio as Exotel: set EXOTEL_URL_TOKENS, EXOTEL_BASIC_AUTH or EXOTEL_ALLOWED_IPS",
        );
    }
    if let Destination::Journal { meant: false } = config.publisher.destination {
        telemetry::warning(
            "no REDIS_URL is set: frames go to the journal and no worker receives them",
        );
    }
}
