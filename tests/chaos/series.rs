//! Many runs, several at a time, and what to say of them: for each that failed, all that is needed to repeat
//! and to understand it; in the end a summary.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use tokio::{task::JoinSet, time::Instant};

use crate::{
    fault::{self, Kind},
    plan::Plan,
    run::{self, Outcome},
    settings::Settings,
};

/// One run's end.
struct Ended {
    plan: Plan,
    outcome: Outcome,
    /// Where its logs are, if it failed.
    kept: Option<String>,
}

/// What all runs together were.
#[derive(Default)]
struct Summary {
    runs: u64,
    failed: Vec<u64>,
    calls: usize,
    connections: usize,
    sessions: usize,
    frames: u64,
    gaps: usize,
    /// By kind: planned and carried out.
    faults: BTreeMap<Kind, (u64, u64)>,
    /// And its seed.
    longest: (Duration, u64),
    total: Duration,
}

/// Plays all seeds that are asked for.
pub(crate) async fn play(settings: &Settings) {
    let began = Instant::now();
    let mut summary = Summary::default();
    let mut runs = JoinSet::new();
    let mut seeds = settings.first..settings.first + settings.seeds;
    loop {
        while runs.len() < settings.parallel
            && let Some(seed) = seeds.next()
        {
            let plan = Plan::draw(seed, &settings.faults);
            runs.spawn_blocking(move || one(plan));
        }
        let Some(ended) = runs.join_next().await else {
            break;
        };
        let ended: Ended = ended.expect("panics are caught");
        if let Some(kept) = &ended.kept {
            say(&explain(&ended, kept, &settings.list));
        }
        summary.add(&ended);
        if summary.runs.is_multiple_of(50) {
            let (runs, failed) = (summary.runs, summary.failed.len());
            say(&format!(
                "{runs} runs, {failed} failed, {:.0?}\n",
                began.elapsed()
            ));
        }
    }
    say(&summary.text(began.elapsed()));
    assert!(summary.failed.is_empty(), "failed: {:?}", summary.failed);
}

fn one(plan: Plan) -> Ended {
    let dir = run::directory(&plan.seed.to_string());
    let outcome =
        run::alone(run::whole(plan.clone(), dir.path())).unwrap_or_else(|panic| Outcome {
            complaints: vec![format!("the run came to no end: {panic}")],
            ..Outcome::default()
        });
    let failed = !outcome.complaints.is_empty();
    let kept = failed.then(|| run::keep(dir).display().to_string());
    Ended {
        plan,
        outcome,
        kept,
    }
}

fn explain(ended: &Ended, kept: &str, list: &str) -> String {
    let Ended { plan, outcome, .. } = ended;
    let mut text = format!("\nseed {} failed\n  faults:\n", plan.seed);
    for fault in &plan.faults {
        let applied = outcome.faults.iter().find(|(other, _)| other == fault);
        let missed = matches!(applied, Some((_, false)));
        let note = if missed {
            " (could not be applied)"
        } else {
            ""
        };
        text.extend([format!("    {fault}{note}\n")]);
    }
    text.push_str("  settings:");
    for (name, value) in &plan.settings {
        text.extend([format!(" {name}={value}")]);
    }
    text.push_str("\n  violated:\n");
    for complaint in outcome.complaints.iter().take(COMPLAINTS_MAX) {
        text.extend([format!("    {complaint}\n")]);
    }
    if let Some(more) = outcome.complaints.len().checked_sub(COMPLAINTS_MAX + 1) {
        text.extend([format!("    and {} more\n", more + 1)]);
    }
    let list = if list.is_empty() {
        String::new()
    } else {
        format!(" FAULTS={list}")
    };
    text.extend([format!(
        "  logs: {kept}\n  repeat: make chaos SEED={}{list}\n",
        plan.seed
    )]);
    text
}

impl Summary {
    fn add(&mut self, ended: &Ended) {
        let outcome = &ended.outcome;
        self.runs += 1;
        if ended.kept.is_some() {
            self.failed.push(ended.plan.seed);
        }
        self.calls += outcome.calls;
        self.connections += outcome.connections;
        self.sessions += outcome.sessions;
        self.frames += outcome.frames;
        self.gaps += outcome.gaps;
        for (fault, applied) in &outcome.faults {
            let (planned, done) = self.faults.entry(fault.kind).or_default();
            *planned += 1;
            *done += u64::from(*applied);
        }
        self.longest = self.longest.max((outcome.took, ended.plan.seed));
        self.total += outcome.took;
    }

    fn text(&self, took: Duration) -> String {
        let mut text = format!(
            "\n{} runs in {took:.0?}, {} failed; a run takes {:.1?}, the longest {:.1?} (seed {})\n",
            self.runs,
            self.failed.len(),
            self.total / u32::try_from(self.runs.max(1)).unwrap_or(u32::MAX),
            self.longest.0,
            self.longest.1
        );
        text.extend([format!(
            "{} calls on {} connections, {} sessions, {} frames, {} gaps\nfaults:",
            self.calls, self.connections, self.sessions, self.frames, self.gaps
        )]);
        for (kind, name) in fault::ALL {
            let (planned, done) = self.faults.get(&kind).copied().unwrap_or_default();
            text.extend([format!(" {name} {done}")]);
            if done < planned {
                text.extend([format!(" (of {planned})")]);
            }
        }
        text.push('\n');
        if !self.failed.is_empty() {
            text.extend([format!("failed seeds: {:?}\n", self.failed)]);
        }
        text
    }
}

/// Straight to the terminal, since a test's output is held back otherwise.
pub(crate) fn say(text: &str) {
    std::io::stderr().lock().write_all(text.as_bytes()).ok();
}

const COMPLAINTS_MAX: usize = 12;
