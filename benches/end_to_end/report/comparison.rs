//! All servers beside each other, workload by workload.

use std::fmt::Write as _;

use super::{Measured, spread};
use crate::{
    results::{Results, Run, Spread},
    rounds::{in_time, kept_up},
};

/// A column: its heading, and where its values are.
type Column = (&'static str, &'static str, &'static str);

const FRAMES: [Column; 6] = [
    ("100 calls", "paced-100", "ingest_us"),
    ("500 calls", "paced-500", "ingest_us"),
    ("1,000 calls", "paced-1000", "ingest_us"),
    ("2,000 calls", "paced-2000", "ingest_us"),
    ("500 calls, binary frames", "binary-500", "ingest_us"),
    ("4,000 calls × 100 ms", "long-4000", "ingest_us"),
];

const LATENCY: [Column; 6] = [
    ("p50", "paced-500", "p50_us"),
    ("p99", "paced-500", "p99_us"),
    ("p99.9", "paced-500", "p999_us"),
    ("Redis CPU", "paced-500", "redis_us"),
    ("p99 at 1,000 calls", "paced-1000", "p99_us"),
    ("Redis CPU at 1,000", "paced-1000", "redis_us"),
];

const FLOOD: [Column; 5] = [
    ("frames/s", "flood", "frames_per_s"),
    ("ingest CPU", "flood", "ingest_us"),
    ("Redis CPU", "flood", "redis_us"),
    ("ingest CPU, binary frames", "flood-binary", "ingest_us"),
    ("growth of memory, KiB", "flood", "growth_kib"),
];

const CONNECTIONS: [Column; 5] = [
    ("memory at rest, MiB", "idle", "base_mib"),
    ("KiB each, silent", "idle-silent", "kib_each"),
    ("KiB each, after 5 frames", "idle", "kib_each"),
    ("CPU, made and closed", "connections", "connection_us"),
    ("CPU, with a call", "calls", "connection_us"),
];

pub(super) fn tables(measured: &Measured) -> String {
    let mut text = String::new();
    for (title, columns) in [
        (
            "CPU of the server per frame at real-time pace, µs",
            FRAMES.as_slice(),
        ),
        (
            "From the client's write to the consumer's hands at 500 calls, µs",
            &LATENCY,
        ),
        ("Flood; CPU per frame, µs", &FLOOD),
        ("Connections; CPU in µs", &CONNECTIONS),
    ] {
        table(measured, title, columns, &mut text);
    }
    if let Some(ceiling) = spread(&measured.results.of("Redis", "ceiling", "frames_per_s")) {
        writeln!(
            text,
            "What Redis takes of the flood's entries from one connection that does nothing else: {ceiling} per second.\n"
        ).ok();
    }
    if text.contains(TOO_MUCH) {
        writeln!(
            text,
            "`{TOO_MUCH}`: the load was too much for this server.\n"
        )
        .ok();
    }
    if text.contains(&format!("{LATE} |")) {
        writeln!(
            text,
            "`{LATE}`: the callers were late, so it is less than it would be.\n"
        )
        .ok();
    }
    text
}

fn table(measured: &Measured, title: &str, columns: &[Column], text: &mut String) {
    let rows: Vec<(&str, Vec<Option<String>>)> = measured
        .servers
        .iter()
        .map(|server| {
            (
                *server,
                columns
                    .iter()
                    .map(|column| cell(&measured.results, server, *column))
                    .collect(),
            )
        })
        .filter(|(_, cells): &(&str, Vec<Option<String>>)| cells.iter().any(Option::is_some))
        .collect();
    if rows.is_empty() {
        return;
    }
    let headings: Vec<&str> = columns.iter().map(|(heading, _, _)| *heading).collect();
    writeln!(text, "**{title}**\n\n| | {} |", headings.join(" | ")).ok();
    writeln!(text, "|---{}|", "|--:".repeat(columns.len())).ok();
    for (server, cells) in rows {
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| cell.unwrap_or_else(|| "–".to_owned()))
            .collect();
        writeln!(text, "| {server} | {} |", cells.join(" | ")).ok();
    }
    text.push('\n');
}

fn cell(results: &Results, server: &str, (_, workload, value): Column) -> Option<String> {
    let shown = spread(&Spread::clone(&results.of(server, workload, value)))?;
    let all = |holds: fn(&Run) -> bool| {
        let mut runs = results.runs.iter();
        runs.all(|run| run.server != server || run.workload != workload || holds(run))
    };
    Some(if !all(in_time) {
        format!("{shown} {LATE}")
    } else if !all(|run| !run.values.contains_key("frame_ms") || kept_up(run)) {
        format!("{shown} {TOO_MUCH}")
    } else {
        shown
    })
}

/// Only real time can be too much.
const TOO_MUCH: &str = "!";
const LATE: &str = "~";
