//! Whether the examination's call arrived: its end, and every frame before it, by the call's name.
//!
//! Reading is `readback/`'s, comparing `proof`'s. Invariant: only entries are read that came since the call began.

use std::{path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    doctor::{call::FRAME_MS, step::Step},
    proof::{Proof, State, Wanted},
    published::{End, Frame},
    publisher,
    readback::{ReadbackError, Source},
    record::Kind,
};

/// What was sent, to be looked for.
#[derive(Debug)]
pub(in crate::doctor) struct Sent {
    pub(in crate::doctor) call: String,
    pub(in crate::doctor) frames: u64,
    /// By Redis's clock, when it began.
    pub(in crate::doctor) from_ms: u64,
}

/// What was found of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    frames: u64,
    end: Option<FoundEnd>,
}

#[derive(Debug, PartialEq, Eq)]
struct FoundEnd {
    reason: String,
    /// What the comparison with the frames found.
    verdict: String,
    is_whole: bool,
    duration_ms: u64,
}

pub(super) async fn look(
    settings: &publisher::Settings,
    sent: &Sent,
    limit: Duration,
) -> Vec<Step> {
    let until = Instant::now() + limit;
    match timeout_at(until + limit, find(settings, sent, until)).await {
        Ok(Ok(found)) => judge(sent, &found, &settings.frame_keys().join(", ")),
        Ok(Err(error)) => vec![
            Step::failed("frames", error.to_string(), "see the steps before this one"),
            Step::skipped("call_end", "the streams could not be read"),
        ],
        Err(_elapsed) => vec![
            Step::failed(
                "frames",
                "the streams could not be read in time",
                "try again with a longer --timeout",
            ),
            Step::skipped("call_end", "the streams could not be read"),
        ],
    }
}

async fn find(
    settings: &publisher::Settings,
    sent: &Sent,
    until: Instant,
) -> Result<Found, ReadbackError> {
    let mut source = Source::open(settings, PathBuf::new()).await?;
    let mut proof = Proof::new(Wanted::Call(sent.call.clone()), None);
    while !take_end(&mut source, sent, &mut proof).await? && Instant::now() < until {
        sleep(LOOK_EVERY).await;
    }
    let mut found = Found::default();
    let mut entries = source.entries(Kind::Frame, sent.from_ms)?;
    while let Some(entry) = entries.next().await? {
        let Ok(pairs) = entry.pairs() else { continue };
        // Other programs' entries are none of ours.
        if let Ok(frame) = Frame::read(pairs)
            && frame.interaction_id == sent.call
        {
            found.frames += 1;
            proof.frame(&frame, entry.added_ms, entry.shard);
        }
    }
    let judged = proof.judge(|_, _| None);
    found.end = judged.last().and_then(|judged| {
        let (end, verdict) = judged.end.as_ref()?;
        Some(FoundEnd {
            reason: end.reason.clone(),
            verdict: verdict.to_string(),
            is_whole: judged.state == State::Whole,
            duration_ms: end.duration_ms,
        })
    });
    Ok(found)
}

async fn take_end(
    source: &mut Source,
    sent: &Sent,
    proof: &mut Proof,
) -> Result<bool, ReadbackError> {
    let mut is_there = false;
    let mut entries = source.entries(Kind::CallEnd, sent.from_ms)?;
    while let Some(entry) = entries.next().await? {
        let Ok(pairs) = entry.pairs() else { continue };
        if let Ok(end) = End::read(pairs)
            && end.interaction_id == sent.call
        {
            is_there = true;
            proof.end(end, entry.added_ms);
        }
    }
    Ok(is_there)
}

fn judge(sent: &Sent, found: &Found, keys: &str) -> Vec<Step> {
    let seen = format!(
        "{} of {} frames of {} in {keys}",
        found.frames, sent.frames, sent.call
    );
    // AUDIO_FRAME_MS makes other frames of the same audio.
    let is_regrouped = found
        .end
        .as_ref()
        .is_some_and(|end| end.is_whole && end.duration_ms == sent.frames * u64::from(FRAME_MS));
    let frames = if found.frames == sent.frames || is_regrouped {
        Step::ok("frames", seen)
    } else if found.frames == 0 {
        Step::failed(
            "frames",
            seen,
            "the service writes elsewhere, or not at present: compare REDIS_URL with its database number, AUDIO_STREAM and AUDIO_STREAM_SHARDS there and here, and see `problems` in /health",
        )
    } else {
        Step::failed(
            "frames",
            seen,
            "see `problems` in /health, and whether something else removes entries from the stream",
        )
    };
    let end = match &found.end {
        Some(end) if end.is_whole => Step::ok(
            "call_end",
            format!("reason {}: {}", end.reason, end.verdict),
        ),
        Some(end) => Step::failed(
            "call_end",
            format!("reason {}: {}", end.reason, end.verdict),
            "frames were lost between the service and here: see its log",
        ),
        None => Step::failed(
            "call_end",
            "none has come for the call",
            "see `problems` in /health; the end is written when all frames before it are confirmed",
        ),
    };
    vec![frames, end]
}

const LOOK_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    fn judged(frames: u64, end: Option<bool>) -> Vec<Status> {
        let sent = Sent {
            call: "doctor-1".into(),
            frames: 50,
            from_ms: 0,
        };
        let end = end.map(|is_whole| FoundEnd {
            reason: "callended".into(),
            verdict: "50 frames".into(),
            is_whole,
            duration_ms: 1_000,
        });
        let steps = judge(&sent, &Found { frames, end }, "audio_stream");
        steps.into_iter().map(|step| step.status).collect()
    }

    #[test]
    fn all_frames_and_their_end_must_be_there() {
        use Status::{Failed, Ok};
        assert_eq!(judged(50, Some(true)), [Ok, Ok]);
        // Longer frames than were sent.
        assert_eq!(judged(10, Some(true)), [Ok, Ok]);
        assert_eq!(judged(0, None), [Failed, Failed]);
        assert_eq!(judged(49, Some(false)), [Failed, Failed]);
    }
}
