//! What was asked for, in the environment: `cargo bench` hands its own arguments to every bench there is.

use std::{path::PathBuf, time::Duration};

pub(crate) struct Options {
    pub rounds: usize,
    /// How long a paced load is measured, after `warm`.
    pub measured: Duration,
    pub warm: Duration,
    /// How long a flood lasts at the pace of the one that warmed up.
    pub flood: Duration,
    pub idle_connections: u32,
    /// Servers and workloads; all of them where it is empty.
    pub only: Vec<String>,
    pub rivals: Option<PathBuf>,
    /// Also write docs/performance.md and its drawing.
    pub write: bool,
    pub quick: bool,
}

impl Options {
    pub(crate) fn read() -> Self {
        let quick = flag("BENCH_QUICK");
        let rounds =
            text("BENCH_ROUNDS").map(|rounds| rounds.parse().expect("BENCH_ROUNDS is a number"));
        let only = text("BENCH_ONLY").unwrap_or_default();
        Self {
            rounds: rounds.unwrap_or(if quick { 1 } else { 3 }),
            measured: Duration::from_secs(if quick { 2 } else { 5 }),
            warm: Duration::from_secs(if quick { 1 } else { 2 }),
            flood: Duration::from_secs(if quick { 1 } else { 2 }),
            idle_connections: 1_000,
            only: only
                .split(',')
                .filter(|name| !name.is_empty())
                .map(ToOwned::to_owned)
                .collect(),
            rivals: text("BENCH_RIVALS").map(PathBuf::from),
            write: flag("BENCH_WRITE"),
            quick,
        }
    }

    /// Whether `BENCH_ONLY` lets this one in. Naming a server does not exclude a workload, nor the other way round.
    pub(crate) fn wants(&self, name: &str, all: &[&str]) -> bool {
        let mut of_its_kind = self.only.iter().filter(|only| all.contains(&only.as_str()));
        let named = of_its_kind.clone().any(|only| only == name);
        named || of_its_kind.next().is_none()
    }
}

fn flag(name: &str) -> bool {
    text(name).is_some_and(|text| text != "0")
}

#[expect(
    clippy::disallowed_methods,
    reason = "these are no settings of the service"
)]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
