//! `verify`: proves that calls are complete, a line for each of their sessions (1.1).
//!
//! What is whole is decided in `proof.rs`; this reads, prints and sums up. Invariants: ends are read before frames, so that no
//! frame is missed that came before an end; the stream of frames is read once, however many calls there are; the exit code is
//! 0 only if every session is whole.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;

use crate::{
    cli::source::{Place, shown},
    clock, duration,
    proof::{Judged, Proof, State, Wanted},
    published::{End, Frame},
    record::Kind,
};

/// Prove that calls are complete
///
/// Reads the frames of each session back and compares their count, numbers, bytes and CRC-32 with the session's `call_end`.
/// Each is whole, not whole, or trimmed: then what is missing was removed from the stream with all else that was as old
/// (`AUDIO_STREAM_RETENTION_S`), and nobody can tell any more.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["call", "since"])))]
pub struct Args {
    /// All sessions of this call
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    call: Option<String>,
    /// All sessions that ended in this time up to now: 500ms, 10s, 5m, 1h
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Only sessions of this tenant
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// Print one JSON object a line for each session, and nothing else
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Reads, compares, prints.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime(tokio::runtime::Builder::new_current_thread())?;
    runtime.block_on(verify(args))
}

async fn verify(args: Args) -> anyhow::Result<ExitCode> {
    let wanted = match (args.call.clone(), args.since) {
        (Some(call), _) => Wanted::Call(call),
        (None, since) => {
            let since_ms = since.unwrap_or_default().as_millis();
            let since_ms = u64::try_from(since_ms).unwrap_or(u64::MAX);
            Wanted::EndedFrom(clock::epoch_ms().saturating_sub(since_ms))
        }
    };
    let mut proof = Proof::new(wanted, args.tenant);
    let mut reading = args.place.open().await?;
    let ends = reading.each(Kind::CallEnd, 0, |entry| {
        proof.end(End::read(entry.pairs()?)?, entry.added_ms);
        Ok(())
    });
    ends.await?;
    if args.call.is_some() || proof.has_ends() {
        let from_ms = proof.floor_ms();
        let frames = reading.each(Kind::Frame, from_ms, |entry| {
            proof.frame(&Frame::read(entry.pairs()?)?, entry.added_ms, entry.shard);
            Ok(())
        });
        frames.await?;
    }
    // Behind the frames: what was removed meanwhile is not held against a call.
    let front_ms = reading.fronts().await?;
    reading.finish();
    let judged = proof.judge(front_ms);
    if let (Some(call), true) = (&args.call, judged.is_empty()) {
        bail!(reading.not_found(call));
    }
    let printed = if args.json {
        print_json(&judged, &mut io::stdout().lock())
    } else {
        print_text(&judged, proof.unended(), &mut io::stdout().lock())
    };
    match printed {
        // Whoever reads us, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        outcome => outcome.context("the result could not be written")?,
    }
    Ok(exit_code(&judged))
}

fn exit_code(judged: &[Judged<'_>]) -> ExitCode {
    let any = |state| judged.iter().any(|judged| judged.state == state);
    if any(State::NotWhole) || any(State::NoEnd) {
        ExitCode::FAILURE
    } else if any(State::Trimmed) {
        ExitCode::from(TRIMMED)
    } else {
        ExitCode::SUCCESS
    }
}

fn print_text(judged: &[Judged<'_>], unended: usize, out: &mut impl Write) -> io::Result<()> {
    for one in judged {
        writeln!(out, "{}: {}", name(one, judged), finding(one))?;
    }
    let count = |state| judged.iter().filter(|one| one.state == state).count();
    write!(
        out,
        "{} sessions: {} whole, {} not whole, {} trimmed",
        judged.len(),
        count(State::Whole),
        count(State::NotWhole),
        count(State::Trimmed),
    )?;
    let no_end = count(State::NoEnd) + unended;
    if no_end > 0 {
        let others = if unended > 0 { "; beside them " } else { ", " };
        write!(out, "{others}{no_end} without a call_end")?;
    }
    writeln!(out)?;
    out.flush()
}

/// `call X`, and whatever tells the session from the others of that call.
fn name(one: &Judged<'_>, all: &[Judged<'_>]) -> String {
    let call = shown(&one.name.interaction_id);
    let mut namesakes = all
        .iter()
        .filter(|other| other.name.interaction_id == one.name.interaction_id);
    if namesakes.clone().nth(1).is_none() {
        return format!("call {call}");
    }
    let tenant = if namesakes.any(|other| other.name.tenant_id != one.name.tenant_id) {
        format!(" of {}", shown(&one.name.tenant_id))
    } else {
        String::new()
    };
    format!("call {call}{tenant} session {}", one.name.session)
}

/// What was found of a session, in one line.
pub(super) fn finding(one: &Judged<'_>) -> String {
    let counts = format!(
        "{} frames, {} gaps, {} duplicates",
        one.tally.frames(),
        one.tally.gaps(),
        one.tally.duplicates()
    );
    match (&one.end, one.state) {
        (None, _) => format!("{counts}, no call_end: the call goes on, or its end was lost"),
        (Some((end, _)), State::Trimmed) => format!(
            "{counts}, trimmed: {} of {} frames are no longer there, nor is anything else that was as old",
            end.frames.saturating_sub(one.tally.frames()),
            end.frames
        ),
        (Some((end, verdict)), _) if verdict.gaps > end.gaps => {
            format!("{verdict}; missing {}", holes(one))
        }
        (Some((_, verdict)), _) => verdict.to_string(),
    }
}

/// The first holes, and how many more there are.
fn holes(one: &Judged<'_>) -> String {
    let numbers = |(first, last)| match last {
        last if last == first => format!("seq {first}"),
        last => format!("seq {first} to {last}"),
    };
    let first: Vec<String> = one.tally.holes().take(HOLES_SHOWN).map(numbers).collect();
    let more = one.tally.holes().skip(HOLES_SHOWN).count();
    match more {
        0 => first.join(", "),
        _ => format!("{} and {more} more", first.join(", ")),
    }
}

/// One session as `--json` has it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    interaction_id: &'a str,
    tenant_id: &'a str,
    session: u64,
    status: &'static str,
    frames: u64,
    bytes: u64,
    gaps: u64,
    duplicates: u64,
    /// Null where there is no `call_end`, as the rest.
    crc_ok: Option<bool>,
    expected_frames: Option<u64>,
    reason: Option<&'a str>,
    ended_ms: Option<u64>,
    faults: Vec<String>,
}

fn print_json(judged: &[Judged<'_>], out: &mut impl Write) -> io::Result<()> {
    for one in judged {
        let (end, verdict) = match &one.end {
            Some((end, verdict)) => (Some(*end), Some(verdict)),
            None => (None, None),
        };
        let faults = verdict.map(|verdict| &verdict.faults).into_iter().flatten();
        let line = Line {
            interaction_id: &one.name.interaction_id,
            tenant_id: &one.name.tenant_id,
            session: one.name.session,
            status: match one.state {
                State::Whole => "whole",
                State::NotWhole => "not_whole",
                State::Trimmed => "trimmed",
                State::NoEnd => "no_end",
            },
            frames: one.tally.frames(),
            bytes: one.tally.bytes(),
            gaps: verdict.map_or(one.tally.gaps(), |verdict| verdict.gaps),
            duplicates: one.tally.duplicates(),
            crc_ok: verdict.map(|verdict| verdict.crc_ok),
            expected_frames: end.map(|end| end.frames),
            reason: end.map(|end| end.reason.as_str()),
            ended_ms: end.map(|end| end.timestamp_ms),
            faults: faults.map(ToString::to_string).collect(),
        };
        serde_json::to_writer(&mut *out, &line)?;
        writeln!(out)?;
    }
    out.flush()
}

/// Nothing is known to be missing, and not all is there to tell (1.3).
const TRIMMED: u8 = 3;
const HOLES_SHOWN: usize = 5;

const AFTER_HELP: &str = "\
Examples:
  rtaa-ingest verify --call 5a1b2c                  one call, in the Redis of REDIS_URL
  rtaa-ingest verify --since 10m                    all that ended in the last ten minutes
  rtaa-ingest verify --since 1h --journal /var/lib/rtaa/journal
  rtaa-ingest verify --since 1m --json | jq 'select(.status != \"whole\")'

Exit codes: 0 all whole; 1 one is not whole, has no call_end, or was not found; 3 nothing is known
to be missing, but some are trimmed; 2 bad usage; 78 bad configuration.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn frame(tenant: &'static str, call: &'static str, seq: u64) -> Frame<'static> {
        Frame {
            tenant_id: tenant.into(),
            interaction_id: call.into(),
            session: 7,
            seq,
            timestamp_ms: 10_000,
            sample_rate: 8_000,
            stream_sid: None,
            track: None,
            media_ms: None,
            pcm: vec![1, 2],
        }
    }

    fn end(tenant: &str, call: &str, frames: u64) -> End {
        let audio = [1, 2].repeat(usize::try_from(frames).unwrap());
        End {
            tenant_id: tenant.into(),
            interaction_id: call.into(),
            session: 7,
            reason: "stop".into(),
            timestamp_ms: 10_000,
            complete: true,
            frames,
            first_seq: 1,
            last_seq: frames,
            bytes: audio.len() as u64,
            duration_ms: 0,
            wall_ms: 0,
            gaps: 0,
            crc32: format!("{:08x}", crc32fast::hash(&audio)),
        }
    }

    fn proof() -> Proof {
        let mut proof = Proof::new(Wanted::EndedFrom(0), None);
        for (tenant, call) in [
            ("t", "whole"),
            ("u", "whole"),
            ("t", "holey"),
            ("t", "gone"),
        ] {
            proof.end(end(tenant, call, 9), 10_000);
        }
        for seq in (1..=9).filter(|seq| ![2, 4, 5].contains(seq)) {
            proof.frame(&frame("t", "holey", seq), 10_000, 0);
        }
        for (tenant, seq) in ["t", "u"]
            .into_iter()
            .flat_map(|t| (1..=9).map(move |n| (t, n)))
        {
            proof.frame(&frame(tenant, "whole", seq), 10_000, 0);
        }
        proof.frame(&frame("t", "live", 1), 10_000, 0);
        proof
    }

    #[test]
    fn a_line_for_each_session_and_one_for_all() {
        let proof = proof();
        let judged = proof.judge(|_, _| Some(20_000));
        let mut out = Vec::new();
        print_text(&judged, proof.unended(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("call gone: 0 frames, 0 gaps, 0 duplicates, trimmed: 9 of 9 ")
        );
        assert!(lines[1].starts_with("call holey: 6 frames, 2 gaps, 0 duplicates, crc wrong; "));
        assert!(lines[1].ends_with("; missing seq 2, seq 4 to 5"), "{text}");
        assert_eq!(
            lines[2..],
            [
                "call whole of t session 7: 9 frames, 0 gaps, 0 duplicates, crc ok",
                "call whole of u session 7: 9 frames, 0 gaps, 0 duplicates, crc ok",
                "4 sessions: 2 whole, 1 not whole, 1 trimmed; beside them 1 without a call_end",
            ]
        );
        assert_eq!(exit_code(&judged), ExitCode::FAILURE);
    }

    #[test]
    fn json_is_an_object_a_line() {
        let proof = proof();
        let judged = proof.judge(|_, _| Some(20_000));
        let mut out = Vec::new();
        print_json(&judged, &mut out).unwrap();
        let lines: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(&out)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let statuses: Vec<_> = lines.iter().map(|line| line["status"].clone()).collect();
        assert_eq!(statuses, ["trimmed", "not_whole", "whole", "whole"]);
        assert_eq!(
            (&lines[1]["frames"], &lines[1]["expected_frames"]),
            (&6.into(), &9.into())
        );
        assert!(!lines[1]["faults"].as_array().unwrap().is_empty());
    }

    #[test]
    fn the_exit_code_is_the_worst_of_all() {
        let code = |calls: &[&str]| {
            let proof = proof();
            let mut judged = proof.judge(|_, _| Some(20_000));
            judged.retain(|one| calls.contains(&one.name.interaction_id.as_str()));
            exit_code(&judged)
        };
        assert_eq!(code(&[]), ExitCode::SUCCESS);
        assert_eq!(code(&["whole"]), ExitCode::SUCCESS);
        assert_eq!(code(&["whole", "gone"]), ExitCode::from(3));
        assert_eq!(code(&["whole", "gone", "holey"]), ExitCode::FAILURE);
    }

    #[test]
    fn a_call_or_a_time_and_not_both() {
        for (line, good) in [
            ("x --call c", true),
            ("x --since 10m --tenant t --json", true),
            ("x", false),
            ("x --call c --since 1m", false),
            ("x --since soon", false),
        ] {
            let parsed = Command::try_parse_from(line.split(' '));
            assert_eq!(parsed.is_ok(), good, "{line}");
        }
        assert!(Command::try_parse_from(["x", "--call", ""]).is_err());
    }
}
