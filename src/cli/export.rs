//! `export`: one session of a call as a WAV file, and what is missing in it (1.1).
//!
//! How audio is put together is in `rebuilt/`, whether it is whole in `proof/`. Invariants: a file that was there is replaced
//! only by a whole one; nothing that is missing goes unsaid.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;

use crate::{
    audio::{recording::Recording, wav::WavError},
    cli::{
        source::{Place, shown},
        verify,
    },
    proof::{Judged, Proof, Wanted},
    published::{End, Frame, Gap},
    rebuilt::{Fill, Frames, Rebuilt},
    record::Kind,
};

/// Write a call's audio to a WAV file, and say what is missing
///
/// Reads the frames of one session of the call back and writes them in the order of their numbers, 16 bits a sample, with one
/// channel for each track. Where frames are missing between others, or the service told of a gap, and the length is known,
/// silence stands in the file; nothing is put before the first frame or behind the last one. A FILE that is there already is
/// replaced, once the new one is whole.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The call
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    call: String,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The session of the call, as `verify` names it [default: the newest that has audio]
    #[arg(long, value_name = "N")]
    session: Option<u64>,
    /// The tenant, where several have a call of this name
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// Leave out what is missing instead of putting silence in its place
    #[arg(long)]
    no_fill: bool,
    #[command(flatten)]
    place: Place,
}

/// Reads, puts together, writes, and says what came of it.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime(tokio::runtime::Builder::new_current_thread())?;
    let said = runtime.block_on(export(args))?;
    let mut out = io::stdout().lock();
    match out.write_all(said.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads us, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        outcome => outcome.context("the file was written, but what came of it could not be")?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(args: Args) -> anyhow::Result<String> {
    let mut proof = Proof::new(Wanted::Call(args.call.clone()), args.tenant.clone());
    let mut reading = args.place.open().await?;
    let ends = reading.each(Kind::CallEnd, 0, |entry| {
        proof.end(End::read(entry.pairs()?)?, entry.added_ms);
        Ok(())
    });
    ends.await?;
    let mut gaps = Vec::new();
    let events = reading.each(Kind::CallEvent, 0, |entry| {
        let gap = Gap::read(entry.pairs()?)?;
        gaps.extend(gap.filter(|gap| gap.interaction_id == args.call));
        Ok(())
    });
    events.await?;
    let mut collected = Collected::new(args.session);
    let floor_ms = proof.floor_ms();
    let frames = reading.each(Kind::Frame, floor_ms, |entry| {
        let frame = Frame::read(entry.pairs()?)?;
        proof.frame(&frame, entry.added_ms, entry.shard);
        let tenant = args.tenant.as_ref();
        if frame.interaction_id == args.call && tenant.is_none_or(|t| *t == frame.tenant_id) {
            collected.take(frame);
        }
        Ok(())
    });
    frames.await?;
    let front_ms = reading.fronts().await?;
    reading.finish();

    let judged = proof.judge(front_ms);
    let call = shown(&args.call);
    if judged.is_empty() {
        bail!(reading.not_found(&args.call));
    }
    let one = choose(&call, &judged, &collected, args.session)?;
    if let Some(error) = collected.failed {
        return Err(error).context(format!("call {call} cannot be put together"));
    }
    let gaps: Vec<Gap> = gaps
        .into_iter()
        .filter(|gap| is_of(gap, one, &judged))
        .collect();
    let fill = if args.no_fill {
        Fill::Nothing
    } else {
        Fill::Silence
    };
    let end = one.end.as_ref().map(|(end, _)| *end);
    let rebuilt = collected.frames.rebuild(&gaps, end, fill);
    let rebuilt = rebuilt.with_context(|| format!("call {call} cannot be put together"))?;
    let replaced = write(&args.out, &rebuilt.recording)?;
    Ok(summary(&args.out, replaced, one, &judged, &rebuilt))
}

/// The frames of the session that is wanted; where any will do, of the newest that has been seen.
#[derive(Debug)]
struct Collected {
    wanted: Option<u64>,
    newest: u64,
    frames: Frames,
    failed: Option<WavError>,
}

impl Collected {
    fn new(wanted: Option<u64>) -> Self {
        Self {
            wanted,
            newest: 0,
            frames: Frames::new(),
            failed: None,
        }
    }

    fn take(&mut self, frame: Frame<'_>) {
        if frame.session < self.newest || self.wanted.is_some_and(|one| one != frame.session) {
            return;
        }
        if frame.session > self.newest {
            self.newest = frame.session;
            self.frames = Frames::new();
            self.failed = None;
        }
        if let Err(error) = self.frames.push(frame) {
            self.failed.get_or_insert(error);
        }
    }
}

/// The session that was collected, if that is clearly what was meant.
fn choose<'a>(
    call: &str,
    judged: &'a [Judged<'a>],
    collected: &Collected,
    wanted: Option<u64>,
) -> anyhow::Result<&'a Judged<'a>> {
    let tenants: BTreeSet<&str> = judged
        .iter()
        .map(|one| one.name.tenant_id.as_str())
        .collect();
    if tenants.len() > 1 {
        let tenants: Vec<String> = tenants.into_iter().map(shown).collect();
        bail!(
            "several tenants have a call {call}: choose with --tenant {}",
            tenants.join(", or ")
        );
    }
    let session = wanted.unwrap_or(collected.newest);
    let chosen = judged.iter().find(|one| one.name.session == session);
    match chosen {
        Some(one) if !collected.frames.is_empty() => Ok(one),
        Some(one) => bail!(
            "no audio of call {call} session {session} is there: {}",
            verify::finding(one)
        ),
        None if wanted.is_some() => bail!(
            "call {call} has no session {session}, but {}",
            sessions(judged.iter())
        ),
        None => bail!(
            "no audio of call {call} is there, only the end of {}",
            sessions(judged.iter())
        ),
    }
}

/// Gaps do not name their session: they are of the one that had begun last.
fn is_of(gap: &Gap, one: &Judged<'_>, all: &[Judged<'_>]) -> bool {
    let had_begun = all
        .iter()
        .map(|other| other.name.session)
        .filter(|session| *session <= gap.timestamp_ms);
    gap.tenant_id == one.name.tenant_id && had_begun.max() == Some(one.name.session)
}

/// Tells whether there was such a file.
fn write(path: &Path, recording: &Recording) -> anyhow::Result<bool> {
    // Where a link leads to, the file shall be.
    let path = fs::canonicalize(path).unwrap_or_else(|_missing| path.to_owned());
    let replaced = match fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => bail!("{} is no file", path.display()),
        outcome => outcome.is_ok(),
    };
    let mut part = path.clone().into_os_string();
    part.push(format!(".{}.part", uuid::Uuid::new_v4().simple()));
    let part = PathBuf::from(part);
    let written = write_part(&part, recording).and_then(|()| Ok(fs::rename(&part, &path)?));
    if let Err(error) = written {
        // It may not even have been begun.
        fs::remove_file(&part).ok();
        return Err(error).with_context(|| format!("{} cannot be written", path.display()));
    }
    Ok(replaced)
}

fn write_part(part: &Path, recording: &Recording) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create_new(part)?);
    recording.write(&mut file)?;
    file.flush()?;
    Ok(())
}

fn summary(
    path: &Path,
    replaced: bool,
    one: &Judged<'_>,
    all: &[Judged<'_>],
    rebuilt: &Rebuilt,
) -> String {
    let call = shown(&one.name.interaction_id);
    let mut lines = vec![format!(
        "call {call} session {}: {}",
        one.name.session,
        verify::finding(one)
    )];
    lines.extend(rebuilt.missing.iter().map(|one| format!("missing: {one}")));
    let rate = rebuilt.rates.iter().max().copied().unwrap_or_default();
    if rebuilt.rates.len() > 1 {
        let rates: Vec<String> = rebuilt.rates.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "warning: the sample rate changes within the call ({}): all was brought to {rate} Hz for listening, \
             so the samples are not all those that were published",
            rates.join(", ")
        ));
    }
    let tracks: Vec<String> = rebuilt.recording.tracks().map(shown).collect();
    let channels = match tracks.len() {
        1 => "1 channel".to_owned(),
        count => format!("{count} channels ({})", tracks.join(", ")),
    };
    lines.push(format!(
        "{} {}: {:.3} s, {channels} at {rate} Hz",
        if replaced { "replaced" } else { "wrote" },
        path.display(),
        rebuilt.recording.duration().as_secs_f64(),
    ));
    if all.len() > 1 {
        let others = all.iter().filter(|other| other.name != one.name);
        lines.push(format!(
            "the call also has {}: choose with --session",
            sessions(others)
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn sessions<'a>(judged: impl Iterator<Item = &'a Judged<'a>>) -> String {
    let named = judged.map(|one| {
        let (session, frames) = (one.name.session, one.tally.frames());
        format!("session {session} ({frames} frames)")
    });
    named.collect::<Vec<_>>().join(", ")
}

const AFTER_HELP: &str = "\
Examples:
  rtaa-ingest export --call 5a1b2c --out 5a1b2c.wav
  rtaa-ingest export --call 5a1b2c --out 5a1b2c.wav --journal /var/lib/rtaa/journal
  rtaa-ingest export --call 5a1b2c --out first.wav --session 1762500000000 --no-fill

Exit codes: 0 the file was written, whether or not something is missing; 1 the call or its audio was
not found, or the file could not be written; 2 bad usage; 78 bad configuration.";

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(samples: &[u8]) -> Recording {
        let mut recording = Recording::new();
        recording.push("", 8_000, samples).unwrap();
        recording
    }

    #[test]
    fn a_file_is_replaced_where_a_link_leads_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.wav"), dir.path().join("link.wav"));
        assert!(!write(&file, &recording(&[1, 2])).unwrap());
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let before = fs::read(&file).unwrap();
        assert!(write(&link, &recording(&[3, 4])).unwrap());
        assert_ne!(fs::read(&file).unwrap(), before);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_is_named_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("missing/a.wav")] {
            let error = write(&path, &recording(&[])).unwrap_err().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_newest_session_is_collected_unless_one_is_named() {
        let frame = |session, seq| Frame {
            tenant_id: "t".into(),
            interaction_id: "c".into(),
            session,
            seq,
            timestamp_ms: 0,
            sample_rate: 8_000,
            stream_sid: None,
            track: None,
            media_ms: None,
            pcm: vec![0; usize::try_from(session).unwrap()],
        };
        for (wanted, session) in [(None, 8), (Some(4), 4), (Some(8), 8)] {
            let mut collected = Collected::new(wanted);
            for one in [4, 8, 4] {
                collected.take(frame(one, 1));
            }
            assert_eq!(collected.newest, session);
            let rebuilt = collected.frames.rebuild(&[], None, Fill::Silence).unwrap();
            let micros = u128::from(session) / 2 * 125;
            assert_eq!(rebuilt.recording.duration().as_micros(), micros);
        }
        let mut collected = Collected::new(Some(5));
        collected.take(frame(4, 1));
        assert!(collected.frames.is_empty());
    }
}
