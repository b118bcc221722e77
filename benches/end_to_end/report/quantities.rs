//! What we watch, and how it is made of the runs. How it is shown is in [`super::gates`].
//!
//! Invariant: a ratio is taken within a round, where the machine was the same, and the median is of the rounds' ratios.

use super::{
    gates::{Bound, Bound::AtLeast, Bound::AtMost, Row, faults},
    number,
};
use crate::{
    results::{Results, Spread},
    rivals::{FLOOR_1MS, FLOOR_TOKIO},
    rounds::{in_time, kept_up},
    servers::{AT_ONCE, OURS},
};

pub(super) fn rows(results: &Results) -> Vec<Row> {
    let sound = row(
        "lost, doubled, reordered, corrupt",
        Spread::new(std::iter::once(faults(results))),
        "",
        AtMost(0.0, 0.0),
    );
    let mut rows = vec![sound];
    rows.extend(real_time(results));
    rows.extend(flood(results));
    rows.extend(room(results));
    rows.extend(other_ways(results));
    rows
}

fn real_time(results: &Results) -> [Row; 7] {
    let (ingest, redis) = ("ingest_us", "redis_us");
    let to = |quantity, value, (one, other), bound| {
        against(results, quantity, ("paced-500", value), (one, other), bound)
    };
    [
        to(
            "500 calls × 20 ms, gathering 1 ms: ingest CPU per frame, to floor-1ms",
            ingest,
            (OURS, FLOOR_1MS),
            AtMost(2.0, 1.3),
        ),
        to(
            "… Redis CPU per frame, to floor-1ms",
            redis,
            (OURS, FLOOR_1MS),
            AtMost(1.5, 1.1),
        ),
        in_ms(
            results,
            "… p50 end to end",
            ("paced-500", "p50_us"),
            AtMost(1.6, 1.0),
        ),
        in_ms(
            results,
            "… p99 end to end",
            ("paced-500", "p99_us"),
            AtMost(3.0, 2.0),
        ),
        to(
            "500 calls × 20 ms, at once: ingest CPU per frame, to floor-tokio",
            ingest,
            (AT_ONCE, FLOOR_TOKIO),
            AtMost(1.5, 1.2),
        ),
        at_once_p99(results),
        row(
            "CPU per frame at 1,000 calls, of that at 500",
            results.ratio((OURS, "paced-1000", ingest), (OURS, "paced-500", ingest)),
            "×",
            Bound::Falls,
        ),
    ]
}

fn flood(results: &Results) -> [Row; 5] {
    let ours = (OURS, "flood", "frames_per_s");
    let ceiling = ("Redis", "ceiling", "frames_per_s");
    [
        against(
            results,
            "flood: ingest CPU per frame, to floor-tokio",
            ("flood", "ingest_us"),
            (OURS, FLOOR_TOKIO),
            AtMost(2.0, 1.5),
        ),
        row(
            "… frames per second, of what Redis can take",
            results.ratio(ours, ceiling).map(|share| share * 100.0),
            " %",
            AtLeast(85.0, 95.0),
        ),
        growth(results, "… growth of memory", "flood"),
        growth(
            results,
            "Redis stalled for 3 s under 500 calls: growth of memory",
            "stalled-500",
        ),
        growth(
            results,
            "… under a flood: growth of memory",
            "stalled-flood",
        ),
    ]
}

fn room(results: &Results) -> [Row; 6] {
    let ours = |quantity, workload, value, unit, bound| {
        row(quantity, results.of(OURS, workload, value), unit, bound)
    };
    [
        row(
            "calls per core at 80 % busy, 20 ms frames, computed",
            calls_per_core(results, &["paced-2000", "paced-1000", "paced-500"], 50.0),
            "",
            AtLeast(1_800.0, 3_000.0),
        ),
        row(
            "… 100 ms frames, computed",
            calls_per_core(results, &["long-4000"], 10.0),
            "",
            AtLeast(6_000.0, 10_000.0),
        ),
        ours(
            "memory per idle connection that has spoken",
            "idle",
            "kib_each",
            " KiB",
            AtMost(8.0, 3.0),
        ),
        ours(
            "memory before the first connection",
            "idle",
            "base_mib",
            " MiB",
            AtMost(12.0, 8.0),
        ),
        ours(
            "CPU per connection made and closed",
            "connections",
            "connection_us",
            " µs",
            AtMost(60.0, 30.0),
        ),
        ours(
            "… with a call begun and ended on it",
            "calls",
            "connection_us",
            " µs",
            Bound::None,
        ),
    ]
}

fn other_ways(results: &Results) -> [Row; 6] {
    let ours = |quantity, workload, value, unit| {
        row(
            quantity,
            results.of(OURS, workload, value),
            unit,
            Bound::None,
        )
    };
    [
        ours(
            "500 calls over wss: ingest CPU per frame",
            "wss-500",
            "ingest_us",
            " µs",
        ),
        in_ms(
            results,
            "… p50 end to end",
            ("wss-500", "p50_us"),
            Bound::None,
        ),
        in_ms(
            results,
            "… p99 end to end",
            ("wss-500", "p99_us"),
            Bound::None,
        ),
        ours(
            "memory per idle wss connection that has spoken",
            "wss-idle",
            "kib_each",
            " KiB",
        ),
        ours(
            "500 calls with binary frames: ingest CPU per frame",
            "binary-500",
            "ingest_us",
            " µs",
        ),
        ours(
            "flood of binary frames: ingest CPU per frame",
            "flood-binary",
            "ingest_us",
            " µs",
        ),
    ]
}

fn row(quantity: &'static str, value: Spread, unit: &'static str, bound: Bound) -> Row {
    Row {
        quantity,
        value,
        unit,
        behind: String::new(),
        bound,
    }
}

fn in_ms(
    results: &Results,
    quantity: &'static str,
    (workload, value): (&str, &str),
    bound: Bound,
) -> Row {
    let value = results.of(OURS, workload, value).map(|us| us / 1e3);
    row(quantity, value, " ms", bound)
}

fn growth(results: &Results, quantity: &'static str, workload: &str) -> Row {
    let value = results
        .of(OURS, workload, "growth_kib")
        .map(|kib| kib / 1_024.0);
    row(quantity, value, " MiB", AtMost(32.0, 16.0))
}

fn against(
    results: &Results,
    quantity: &'static str,
    (workload, value): (&str, &str),
    (one, other): (&str, &str),
    bound: Bound,
) -> Row {
    let one_us = results.of(one, workload, value).median();
    let other_us = results.of(other, workload, value).median();
    Row {
        behind: behind(one_us, other_us),
        ..row(
            quantity,
            results.ratio((one, workload, value), (other, workload, value)),
            "×",
            bound,
        )
    }
}

fn behind(one_us: Option<f64>, other_us: Option<f64>) -> String {
    match (one_us, other_us) {
        (Some(one), Some(other)) => format!(": {} µs to {}", number(one), number(other)),
        _ => String::new(),
    }
}

/// To its best round, because single ones of that floor are several times slower for reasons of its own.
fn at_once_p99(results: &Results) -> Row {
    let floor = results.of(FLOOR_TOKIO, "paced-500", "p99_us").smallest();
    let ours = results.of(AT_ONCE, "paced-500", "p99_us");
    Row {
        behind: behind(ours.median(), floor),
        ..row(
            "… p99 end to end, to floor-tokio's best round",
            ours.map(|p99| p99 / floor.unwrap_or(f64::NAN)),
            "×",
            AtMost(2.5, 1.5),
        )
    }
}

/// From the highest load that came in time and was kept up with: a core carries so many calls when 80 % of it are used.
fn calls_per_core(results: &Results, workloads: &[&str], frames_per_s: f64) -> Spread {
    let fit = |workload: &&&str| {
        let runs = results.runs.iter();
        let mut runs = runs.filter(|run| run.server == OURS && run.workload == **workload);
        runs.clone().next().is_some() && runs.all(|run| kept_up(run) && in_time(run))
    };
    let highest = workloads.iter().find(fit);
    highest.map_or_else(Spread::default, |workload| {
        let used = results.of(OURS, workload, "ingest_us");
        used.map(|us| 0.8 / (frames_per_s * us / 1e6))
    })
}
