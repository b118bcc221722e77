//! `simulate`: plays calls into a server, shows how far they are, and prints a summary.
//!
//! Only flags, bars and the exit code live here; the playing is in [`crate::simulate`]. Invariant: standard output holds the
//! summary and nothing else, and the exit code is 0 only if every call came through whole.

use std::{
    fs::File,
    io::{self, BufReader, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args as ClapArgs;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::{pin, runtime::Builder, select, time};

use crate::{
    audio::wav::Clip,
    cli::UsageError,
    duration, open_files,
    secret::Secret,
    simulate::{
        self, Credentials, Dialect, Settings,
        progress::Progress,
        sound::{Encoding, Sound},
        summary::Summary,
        target::Target,
    },
};

/// Play calls like Exotel's client, or a custom one, does
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Where to: the URL as it is given to Exotel, credentials before the @ and parameters included
    #[arg(long, default_value = "ws://127.0.0.1:8443/v1/ingest")]
    url: String,
    /// How many calls at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    calls: u32,
    /// Play this WAV file instead of a generated voice; brought to the rate roughly, which adds a little hiss
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// How long each call lasts: 500ms, 10s, 5m, 1h [default: 10s, or the WAV file's length]
    #[arg(long, value_parser = call_duration)]
    duration: Option<Duration>,
    /// Audio in one message, in milliseconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    frame_ms: u32,
    /// Samples per second [default: 8000 as Exotel or what the URL's sample-rate says, else 24000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1_000..=192_000))]
    sample_rate: Option<u32>,
    /// Whose messages to send
    #[arg(long, value_enum, default_value_t = Dialect::Exotel)]
    dialect: Dialect,
    /// How the audio is encoded
    #[arg(long, value_enum, default_value_t = Encoding::Pcm16)]
    encoding: Encoding,
    /// HTTP Basic credentials, as Exotel sends those of its URL
    #[arg(long, value_name = "KEY:TOKEN", value_parser = secret, conflicts_with = "token")]
    basic: Option<Secret>,
    /// JSON Web Token of a custom client, which the server then answers; `rtaa-ingest token` makes one
    #[arg(long, value_name = "JWT", value_parser = secret)]
    token: Option<Secret>,
    /// How many times faster than real time
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// Tenant that the calls name: Exotel's account, or the simple start's `tenant_id`
    #[arg(long)]
    tenant: Option<String>,
    /// Name of the call; several are PREFIX-1, PREFIX-2 and so on [default: random]
    #[arg(long, value_name = "PREFIX")]
    call_prefix: Option<String>,
}

/// Plays the calls and prints what they came to.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = settings(args)?;
    // Deliberately no error: the old limit may do.
    open_files::raise(settings.calls as u64 + OPEN_FILES_BESIDE);
    let runtime = super::runtime(Builder::new_multi_thread())?;
    let summary = runtime.block_on(watch(settings))?;
    write!(io::stdout().lock(), "{summary}").context("the summary could not be written")?;
    Ok(if summary.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn settings(args: Args) -> anyhow::Result<Settings> {
    let target = Target::parse(&args.url).map_err(|error| UsageError {
        flag: "--url",
        wrong: error.to_string(),
    })?;
    let sample_rate = args.sample_rate.unwrap_or_else(|| match args.dialect {
        Dialect::Exotel => target.sample_rate().unwrap_or(8_000),
        Dialect::Simple | Dialect::Binary => 24_000,
    });
    if args
        .basic
        .as_ref()
        .is_some_and(|pair| !pair.expose().contains(':'))
    {
        bail!(UsageError {
            flag: "--basic",
            wrong: "write it as KEY:TOKEN".to_owned(),
        });
    }
    let recording = args.wav.as_deref().map(open).transpose()?;
    let recording = recording.map(|clip| Sound::clip(clip, sample_rate));
    let whole = recording.as_ref().map_or(CALL_DEFAULT, Sound::duration);
    let duration = args.duration.unwrap_or(whole);
    let sound = recording.unwrap_or_else(|| Sound::voice(sample_rate, duration));
    Ok(Settings {
        target,
        calls: usize::try_from(args.calls)?,
        duration,
        frame_ms: args.frame_ms,
        dialect: args.dialect,
        encoding: args.encoding,
        sound,
        credentials: match (args.basic, args.token) {
            (_, Some(token)) => Some(Credentials::Bearer(token)),
            (Some(pair), None) => Some(Credentials::Basic(pair)),
            (None, None) => None,
        },
        speed: args.speed,
        tenant: args.tenant,
        name: args.call_prefix,
    })
}

fn open(file: &Path) -> anyhow::Result<Clip> {
    let opened = File::open(file).with_context(|| format!("--wav {}", file.display()))?;
    Clip::read(BufReader::new(opened)).with_context(|| format!("--wav {}", file.display()))
}

/// Plays, with bars on standard error if a person looks at it.
async fn watch(settings: Settings) -> anyhow::Result<Summary> {
    let progress = Arc::new(Progress::default());
    let bars = io::stderr()
        .is_terminal()
        .then(|| Bars::new(settings.calls as u64, settings.frames()));
    let playing = simulate::play(settings, Arc::clone(&progress));
    pin!(playing);
    let mut redraw = time::interval(Duration::from_millis(100));
    let summary = loop {
        select! {
            summary = &mut playing => break summary,
            _ = redraw.tick() => if let Some(bars) = &bars {
                bars.show(&progress);
            },
        }
    };
    if let Some(bars) = bars {
        bars.clear();
    }
    Ok(summary?)
}

/// Calls connected and frames sent. The bars leave colours away by themselves where `NO_COLOR` is set.
struct Bars {
    calls: ProgressBar,
    frames: ProgressBar,
}

impl Bars {
    fn new(calls: u64, frames_per_call: u64) -> Self {
        let both = MultiProgress::new();
        let bar = |length, template| {
            let bar = both.add(ProgressBar::new(length));
            // The templates are constants; one that did not parse would only look plain.
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_malformed| ProgressStyle::default_bar()),
            );
            bar
        };
        Self {
            calls: bar(
                calls,
                "calls  {bar:30.cyan} {pos}/{len} connected, {msg} ended",
            ),
            frames: bar(
                calls.saturating_mul(frames_per_call),
                "frames {bar:30.green} {pos}/{len} sent, {elapsed}",
            ),
        }
    }

    fn show(&self, progress: &Progress) {
        self.calls.set_position(progress.connected());
        self.calls.set_message(progress.ended().to_string());
        self.frames.set_position(progress.frames());
    }

    fn clear(self) {
        self.calls.finish_and_clear();
        self.frames.finish_and_clear();
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a flag's parser")]
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

fn call_duration(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > CALL_MAX {
        return Err("a call lasts from 1ms to 24h".to_owned());
    }
    Ok(duration)
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.01..=1_000_000.0).contains(&speed) => Ok(speed),
        _ => Err("write a number from 0.01 to 1000000".to_owned()),
    }
}

/// Beside the sockets: standard streams, the runtime's own, and the lookup.
const OPEN_FILES_BESIDE: u64 = 64;

const CALL_DEFAULT: Duration = Duration::from_secs(10);
const CALL_MAX: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &str) -> Result<Args, clap::Error> {
        let words = std::iter::once("simulate").chain(flags.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn defaults_are_one_call_of_exotels() {
        let settings = settings(parse("").unwrap()).unwrap();
        assert_eq!((settings.calls, settings.frames()), (1, 500));
        assert_eq!(
            (settings.target.port, settings.target.path.as_str()),
            (8443, "/v1/ingest")
        );
        assert_eq!(
            (settings.dialect, settings.sound.rate()),
            (Dialect::Exotel, 8_000)
        );
        assert!(settings.credentials.is_none() && settings.name.is_none());
    }

    #[test]
    fn the_rate_follows_the_dialect_the_url_and_the_flag() {
        let rate = |flags| settings(parse(flags).unwrap()).unwrap().sound.rate();
        assert_eq!(rate("--dialect simple"), 24_000);
        assert_eq!(rate("--url wss://a/x?sample-rate=16000"), 16_000);
        assert_eq!(
            rate("--url wss://a/x?sample-rate=16000 --sample-rate 8000"),
            8_000
        );
        assert_eq!(rate("--dialect binary --sample-rate 44100"), 44_100);
    }

    #[test]
    fn wrong_flags_are_refused() {
        for flags in [
            "--calls 0",
            "--duration 0",
            "--duration 2d",
            "--frame-ms 0",
            "--speed 0",
            "--speed nan",
            "--speed inf",
            "--dialect twilio",
            "--encoding opus",
            "--basic a:b --token c",
        ] {
            assert!(parse(flags).is_err(), "{flags}");
        }
        for (flags, flag) in [
            ("--basic nocolon", "--basic"),
            ("--url http://nocolon@a", "--url"),
        ] {
            let error = settings(parse(flags).unwrap()).unwrap_err();
            assert!(!error.to_string().contains("nocolon"));
            assert_eq!(error.downcast::<UsageError>().unwrap().flag, flag);
        }
        assert!(settings(parse("--wav /nonexistent.wav").unwrap()).is_err());
    }

    #[test]
    fn a_wav_file_gives_the_length() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("second.wav");
        let mut recording = crate::audio::recording::Recording::new();
        recording.push("", 16_000, &vec![7; 32_000]).unwrap();
        recording.write(File::create(&file).unwrap()).unwrap();
        let flags = format!("--wav {}", file.display());
        let one = settings(parse(&flags).unwrap()).unwrap();
        assert_eq!((one.frames(), one.sound.rate()), (50, 8_000));
        let longer = settings(parse(&format!("{flags} --duration 3s")).unwrap()).unwrap();
        assert_eq!(longer.frames(), 150);
    }

    #[test]
    fn secrets_are_not_in_the_debug_text() {
        let args = parse("--token eyJhbGciOi").unwrap();
        assert!(!format!("{args:?}").contains("eyJ"));
    }
}
