//! What came of it: the tables on standard output, and with `BENCH_WRITE=1` in docs/performance.md, with the drawing.
//!
//! `gates` holds the quantities that we watch, `comparison` all servers beside each other, `drawing` the curves. Invariant: the exit
//! status is 1 if a frame of ours was lost, doubled, reordered or harmed, or the bench itself failed; no time makes it so.

mod comparison;
mod drawing;
mod gates;
mod quantities;

use std::{fmt::Write as _, fs, io::Write as _, path::Path, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{
    machine,
    results::{FAULTS, Results, Spread},
    servers::{AT_ONCE, OURS},
};

/// A bench that came to its end.
pub(crate) struct Measured {
    pub results: Results,
    pub pinned: bool,
    pub servers: Vec<&'static str>,
    pub write: bool,
    pub quick: bool,
    pub rounds: usize,
}

pub(crate) fn finish(measured: Result<Measured>) -> ExitCode {
    let reported = measured.and_then(|measured| {
        let text = text(&measured);
        std::io::stdout().write_all(text.as_bytes())?;
        eprintln!("every run: {}", measured.results.path.display());
        if measured.write {
            write_documents(&measured, &text)?;
        }
        Ok(gates::faults(&measured.results))
    });
    match reported {
        Ok(0.0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("{faults} frames were lost, doubled, reordered or corrupt");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn text(measured: &Measured) -> String {
    let mut text = gates::table(measured);
    text.push('\n');
    text.push_str(&comparison::tables(measured));
    for line in complaints(measured) {
        text.push_str(&line);
    }
    text.push_str(&conditions(measured));
    text
}

/// What every figure depends on.
fn conditions(measured: &Measured) -> String {
    let mut text = format!("{}, Redis {}; ", machine::describe(), redis_version());
    let rounds = measured.rounds;
    let runs = if measured.quick {
        "short runs"
    } else {
        "runs of 5 s"
    };
    write!(
        text,
        "{rounds} round{} of {runs}",
        if rounds == 1 { "" } else { "s" }
    )
    .ok();
    text.push_str(if measured.pinned {
        "; the server on a CPU of its own.\n"
    } else {
        "; **not pinned**, there are no two CPUs to choose from: compare nothing.\n"
    });
    let late: Vec<String> = [100, 500, 1_000, 2_000]
        .iter()
        .filter_map(|calls| {
            let name = format!("paced-{calls}");
            let runs = measured.results.runs.iter();
            let late = runs
                .filter(|run| run.workload == name)
                .filter_map(|run| run.values.get("late_p99_us").copied());
            Some(format!(
                "{} at {calls}",
                number(Spread::new(late).median()?)
            ))
        })
        .collect();
    if !late.is_empty() {
        writeln!(
            text,
            "The callers themselves were late by (p99, median of the runs, µs): {} calls.",
            late.join(", ")
        )
        .ok();
    }
    text
}

/// Runs of anybody's that were not clean.
fn complaints(measured: &Measured) -> Vec<String> {
    let runs = measured.results.runs.iter();
    let unclean = runs.filter(|run| run.faults() > 0.0);
    unclean
        .map(|run| {
            let faults = FAULTS.map(|fault| format!("{fault} {}", run.value(fault)));
            let complaint = run.complaint.as_deref().unwrap_or_default();
            format!(
                "`{}`, {}, round {}: {} {complaint}\n\n",
                run.server,
                run.workload,
                run.round + 1,
                faults.join(", ")
            )
        })
        .collect()
}

fn redis_version() -> String {
    let output = std::process::Command::new("redis-server")
        .arg("--version")
        .output();
    let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    let text = String::from_utf8_lossy(&text).into_owned();
    let version = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="));
    version.unwrap_or("unknown").to_owned()
}

fn write_documents(measured: &Measured, text: &str) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let path = docs.join("performance.md");
    let document = fs::read_to_string(&path)?;
    let (before, rest) = document
        .split_once(BEGIN)
        .context("no mark to write behind")?;
    let (_, after) = rest.split_once(END).context("no mark to write up to")?;
    fs::write(path, format!("{before}{BEGIN}\n{text}{END}{after}"))?;
    drawing::draw(measured, &docs.join("performance.svg"))
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let plain = format!("{value:.digits$}");
    if digits > 0 || plain.len() < 4 {
        return plain;
    }
    let letters: Vec<char> = plain.chars().rev().collect();
    let groups: Vec<String> = letters
        .chunks(3)
        .map(|group| group.iter().collect::<String>())
        .collect();
    groups.join(",").chars().rev().collect()
}

/// The median, and how far apart the rounds were.
fn spread(values: &Spread) -> Option<String> {
    let (median, least, most) = (values.median()?, values.smallest()?, values.largest()?);
    let (least, most) = (number(least), number(most));
    let median = number(median);
    Some(if least == most {
        median
    } else {
        format!("{median} ({least}..{most})")
    })
}

fn is_ours(server: &str) -> bool {
    server == OURS || server == AT_ONCE
}

const BEGIN: &str = "<!-- measured by make bench -->";
const END: &str = "<!-- end of what was measured -->";
