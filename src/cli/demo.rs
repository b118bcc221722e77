//! `demo`: shows the whole system at work, and what to do next.
//!
//! What happens is in [`crate::demo`]; here is how it looks. Invariant: standard output holds the summary alone, and the exit
//! code is 0 only if the call came through whole.

use std::{
    env, fs,
    io::{self, Cursor, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    audio::recording::Recording,
    demo::{AUDIO, CALL, Demo, FRAMES, Outcome, heard::Heard},
};

#[derive(Debug, clap::Args)]
pub struct Args {}

/// Plays the demo and says what it came to.
pub fn run(_: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime(tokio::runtime::Builder::new_multi_thread())?;
    let (url, outcome) = runtime.block_on(watch())?;
    if let Some(verdict) = outcome.heard.verdict() {
        writeln!(io::stdout().lock(), "call {CALL}: {verdict}").context(STDOUT)?;
    }
    if !outcome.is_whole() {
        bail!(
            "the call did not come through whole: {} frames sent, {} in the journal\n{}",
            outcome.sent.frames,
            outcome.heard.frames(),
            outcome.sent
        );
    }
    let wav = write_wav(outcome.heard.recording())?;
    let summary = summary(&url, &outcome, &wav);
    let mut out = io::stdout().lock();
    out.write_all(summary.as_bytes())
        .and_then(|()| out.flush())
        .context(STDOUT)?;
    Ok(ExitCode::SUCCESS)
}

async fn watch() -> anyhow::Result<(String, Outcome)> {
    let demo = Demo::start(&env::temp_dir())?;
    let url = demo.url().to_owned();
    say(&format!(
        "serving on {url}, frames go to a journal on this disk\n\
         look while it lasts: curl {}\n\
         playing a call of {} s into it, as Exotel would",
        demo.health_url(),
        AUDIO.as_secs()
    ));
    let mut screen = Screen::new();
    let outcome = demo.play(|heard| screen.show(heard)).await;
    screen.clear();
    Ok((url, outcome?))
}

/// Where people see the frames arrive: one line that is drawn again and again, or a line a second where nothing can be.
enum Screen {
    Bar(ProgressBar),
    Lines { looks: u32 },
}

impl Screen {
    fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines { looks: 0 };
        }
        let bar = ProgressBar::new(FRAMES);
        // The template is a constant; were it wrong, it would only look plain. `NO_COLOR` is seen to by the bar itself.
        bar.set_style(
            ProgressStyle::with_template("{bar:20.green} {pos}/{len} frames  {msg}")
                .unwrap_or_else(|_malformed| ProgressStyle::default_bar()),
        );
        Self::Bar(bar)
    }

    fn show(&mut self, heard: &mut Heard) {
        match self {
            Self::Bar(bar) => {
                let level = meter(heard.take_level(), "▮", "▯");
                bar.set_message(format!("{level}  {}", lag(heard)));
                bar.set_position(heard.frames());
            }
            Self::Lines { looks } => {
                *looks += 1;
                if *looks > LOOKS_PER_LINE {
                    *looks = 1;
                    let level = meter(heard.take_level(), "#", "-");
                    let (frames, lag) = (heard.frames(), lag(heard));
                    say(&format!("{frames:>3}/{FRAMES} frames  {level}  {lag}"));
                }
            }
        }
    }

    fn clear(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn meter(level: usize, on: &str, off: &str) -> String {
    let level = level.min(METER);
    [on.repeat(level), off.repeat(METER - level)].concat()
}

fn lag(heard: &Heard) -> String {
    format!("in the journal within {} ms", heard.behind_ms_max().max(1))
}

/// Beside the summary, so to standard error. Where that is gone, the demo goes on without.
fn say(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Writes the recording into the working directory, or if that is not possible into the temporary one.
fn write_wav(recording: &Recording) -> anyhow::Result<PathBuf> {
    let mut file = Cursor::new(Vec::new());
    recording.write(&mut file)?;
    let bytes = file.into_inner();
    let here = env::current_dir().unwrap_or_default().join(WAV);
    if fs::write(&here, &bytes).is_ok() {
        return Ok(here);
    }
    // Others may write there too: a name that nobody could have taken before.
    let name = format!("rtaa-demo-{}.wav", uuid::Uuid::new_v4().simple());
    let there = env::temp_dir().join(name);
    let write = || fs::File::create_new(&there)?.write_all(&bytes);
    write().with_context(|| {
        format!(
            "the recording could be written neither to {} nor to {}",
            here.display(),
            there.display()
        )
    })?;
    Ok(there)
}

fn summary(url: &str, outcome: &Outcome, wav: &Path) -> String {
    let Outcome { sent, heard } = outcome;
    format!(
        "\n\
         What happened\n  \
           An Exotel call of {audio} s was played into {url}: {frames} messages in {wall:.1} s.\n  \
           Each became a frame with a number, was written to a journal on disk within {behind} ms, and read back.\n  \
           All of them are there: call_end, the record that closes a call, has the same count, bytes and CRC-32.\n  \
           Listen to what was read back: {wav}\n\
         \n\
         Next steps\n  \
           1. Serve with Redis, where workers read the frames, and look at one:\n       \
                REDIS_URL=redis://localhost:6379 SUPPORT_EXOTEL=true rtaa-ingest\n       \
                redis-cli XRANGE audio_stream - + COUNT 1\n  \
           2. Paste the URL into Exotel's applet (how: docs/exotel.md):\n       \
                wss://<your host>/v1/ingest\n  \
           3. See how the server is:\n       \
                curl http://localhost:8443/health\n",
        audio = AUDIO.as_secs(),
        frames = sent.frames,
        wall = sent.wall.as_secs_f64(),
        behind = heard.behind_ms_max().max(1),
        wav = wav.display(),
    )
}

const WAV: &str = "rtaa-demo.wav";
const STDOUT: &str = "the summary could not be written";
const METER: usize = 10;
/// A second.
const LOOKS_PER_LINE: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_is_always_as_wide() {
        assert_eq!(meter(0, "#", "-"), "----------");
        assert_eq!(meter(4, "#", "-"), "####------");
        assert_eq!(meter(99, "#", "-"), "##########");
    }
}
