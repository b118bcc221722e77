//! The whole system in one process, with nothing to set up: it serves on a journal of its own, a call is played into it in
//! real time, and what arrives is read back from the journal.
//!
//! How that looks is in `cli/demo.rs`. Here: `heard` is what was read back, `scratch` the directory of the journal.
//! Invariants: nothing of the user's environment reaches the configuration; a server that runs already is not disturbed; what
//! was started is drained and the directory removed, however the call went.

pub mod heard;
mod scratch;

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{pin, select, task::block_in_place, time};

use self::{
    heard::{Heard, HeardError},
    scratch::Scratch,
};
use crate::{
    app::{App, AppError},
    config::{Config, error::ConfigErrors},
    journal::{error::ReadError, reader::Reader},
    prepared::Prepared,
    shutdown::Signals,
    simulate::{
        self, Dialect, PlayError, Settings,
        progress::Progress,
        sound::{Encoding, Sound},
        summary::Summary,
        target::{Target, TargetError},
    },
    telemetry,
};

/// The running demo, before its call.
#[derive(Debug)]
pub struct Demo {
    app: App,
    reader: Reader,
    signals: Signals,
    /// Last, so that the journal is closed before its directory goes.
    scratch: Scratch,
}

/// What was sent, and what was read back of it.
#[derive(Debug)]
pub struct Outcome {
    pub sent: Summary,
    pub heard: Heard,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(
        "cannot make a directory for the journal in the temporary directory: set TMPDIR to one that may be written to"
    )]
    Scratch(#[source] io::Error),
    #[error("the demo's own settings are refused")]
    Config(#[source] ConfigErrors),
    #[error(transparent)]
    App(#[from] AppError),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("the journal cannot be read back")]
    Journal(#[from] ReadError),
    #[error("the call cannot be read back")]
    Heard(#[from] HeardError),
    #[error("the demo's own URL is refused")]
    Target(#[from] TargetError),
    #[error("the call cannot be played")]
    Play(#[from] PlayError),
    #[error("a part of the service has stopped unexpectedly; see the log")]
    Stopped,
    #[error("interrupted before the call had come through")]
    Interrupted,
    #[error(
        "the call's end did not come out of the journal within {} s: {frames} of {FRAMES} frames did", LIMIT.as_secs()
    )]
    TooLate { frames: u64 },
    #[error("{0} records had not been written when the demo ended")]
    Undelivered(usize),
}

impl Demo {
    /// Starts the service, with its journal in a new directory below `temp_dir`. Needs a runtime of several threads.
    pub fn start(temp_dir: &Path) -> Result<Self, DemoError> {
        let scratch = Scratch::below(temp_dir).map_err(DemoError::Scratch)?;
        let prepared = Prepared::new(config(scratch.path()).map_err(DemoError::Config)?)
            .map_err(DemoError::Config)?;
        telemetry::init(&prepared.config().telemetry);
        let signals = Signals::listen().map_err(DemoError::Signals)?;
        let app = App::start(&prepared)?;
        let reader = Reader::open(scratch.path())?;
        Ok(Self {
            app,
            reader,
            signals,
            scratch,
        })
    }

    /// Where a client connects.
    pub fn url(&self) -> &str {
        &self.app.url
    }

    /// Where `/health` is.
    pub fn health_url(&self) -> String {
        format!("http://{}/health", self.app.address)
    }

    /// Plays the call and reads it back, showing what has come 20 times a second; then ends the service.
    pub async fn play(mut self, show: impl FnMut(&mut Heard)) -> Result<Outcome, DemoError> {
        let outcome = self.follow(show).await;
        let Self { app, scratch, .. } = self;
        let drained = app.drain().await;
        drop(scratch);
        let outcome = outcome?;
        match drained.lost {
            0 => Ok(outcome),
            records => Err(DemoError::Undelivered(records)),
        }
    }

    async fn follow(&mut self, mut show: impl FnMut(&mut Heard)) -> Result<Outcome, DemoError> {
        let mut heard = Heard::new(TENANT, CALL);
        let mut sent = None;
        let playing = simulate::play(settings(&self.app.url)?, Arc::new(Progress::default()));
        let too_late = time::sleep(LIMIT);
        pin!(playing, too_late);
        let mut look = time::interval(LOOK_EVERY);
        loop {
            select! {
                summary = &mut playing, if sent.is_none() => sent = Some(summary?),
                _ = look.tick() => {
                    block_in_place(|| read_on(&mut self.reader, &mut heard))?;
                    show(&mut heard);
                }
                () = self.app.failed() => return Err(DemoError::Stopped),
                () = self.signals.stop() => return Err(DemoError::Interrupted),
                () = &mut too_late => return Err(DemoError::TooLate { frames: heard.frames() }),
            }
            match sent {
                // Where it was not played to its end, no end may come; the summary says why.
                Some(sent) if heard.verdict().is_some() || !sent.is_clean() => {
                    return Ok(Outcome { sent, heard });
                }
                other => sent = other,
            }
        }
    }
}

impl Outcome {
    /// Whether all that was sent was published, and all that was published is what `call_end` says.
    pub fn is_whole(&self) -> bool {
        let all = (self.sent.frames, self.sent.bytes) == (self.heard.frames(), self.heard.bytes());
        let as_told = self
            .heard
            .verdict()
            .is_some_and(|verdict| verdict.is_whole());
        self.sent.is_clean() && all && as_told
    }
}

/// Reads all that the journal has by now.
fn read_on(reader: &mut Reader, heard: &mut Heard) -> Result<(), DemoError> {
    while let Some(entry) = reader.next()? {
        heard.take(&entry.record)?;
    }
    Ok(())
}

/// Fixed values, so that neither the environment nor a `.env` has a say.
fn config(journal_dir: &Path) -> Result<Config, ConfigErrors> {
    let lookup = |name: &str| {
        let fixed = SETTINGS.iter().find(|(known, _)| *known == name);
        fixed.map(|(_, value)| (*value).to_owned())
    };
    let mut config = Config::from_lookup(lookup, |_| Err(io::ErrorKind::NotFound.into()))?;
    // Not through its text: a path need not be any.
    config.journal.dir = journal_dir.into();
    Ok(config)
}

fn settings(url: &str) -> Result<Settings, TargetError> {
    Ok(Settings {
        target: Target::parse(url)?,
        calls: 1,
        duration: AUDIO,
        frame_ms: FRAME_MS,
        dialect: Dialect::Exotel,
        encoding: Encoding::Pcm16,
        sound: Sound::voice(8_000, AUDIO),
        credentials: None,
        speed: 1.0,
        tenant: Some(TENANT.to_owned()),
        name: Some(CALL.to_owned()),
    })
}

/// What the call is called.
pub const CALL: &str = "demo-call";
const TENANT: &str = "demo";

/// How long the call is.
pub const AUDIO: Duration = Duration::from_secs(6);
const FRAME_MS: u32 = 20;
/// How many frames the call has.
pub const FRAMES: u64 = 300;

/// How often the journal is looked at: 20 times a second.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Twice what the call takes. With the drain, the demo is over within 15 s whatever happens.
const LIMIT: Duration = Duration::from_secs(12);

const SETTINGS: [(&str, &str); 9] = [
    ("HOST", "127.0.0.1"),
    ("PORT", "0"),
    ("SUPPORT_EXOTEL", "true"),
    ("PUBSUB_ADAPTER", "journal"),
    // The call takes 200 KB; a whole one is kept however small the temporary directory is.
    ("JOURNAL_MAX_BYTES", "67108864"),
    // One call, and whoever looks at /health.
    ("MAX_CONNECTIONS", "16"),
    ("DRAIN_TIMEOUT_S", "1"),
    ("LOG_FORMAT", "text"),
    ("RUST_LOG", "warn"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_are_taken_without_a_warning() {
        let config = config(Path::new("/nowhere")).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        assert_eq!(config.pending_set().count(), 0);
        assert_eq!(config.journal.dir, Path::new("/nowhere"));
        assert!(config.server.host.is_loopback() && config.server.port == 0);
        for (name, _) in SETTINGS {
            assert!(crate::config::vars::find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_call_has_its_frames() {
        let settings = settings("ws://127.0.0.1:1/v1/ingest").unwrap();
        assert_eq!(settings.frames(), FRAMES);
    }
}
