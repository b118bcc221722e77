//! What the runs measured: a line of JSON each, kept in `target/bench`, and the medians over them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One run of one workload by one server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub server: String,
    pub workload: String,
    pub round: usize,
    pub values: BTreeMap<&'static str, f64>,
    /// What was wrong with the first entry that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
}

impl Run {
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(0.0)
    }

    /// Frames that did not come through as they should.
    pub(crate) fn faults(&self) -> f64 {
        FAULTS.iter().map(|fault| self.value(fault)).sum()
    }
}

/// All of them.
pub(crate) struct Results {
    pub runs: Vec<Run>,
    pub path: PathBuf,
    file: File,
}

impl Results {
    pub(crate) fn begin(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("runs-{}.jsonl", rtaa_ingest::clock::epoch_ms()));
        let file = File::create(&path).context("the results cannot be kept")?;
        Ok(Self {
            runs: Vec::new(),
            path,
            file,
        })
    }

    pub(crate) fn add(&mut self, run: Run) -> Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(&run)?)?;
        self.runs.push(run);
        Ok(())
    }

    pub(crate) fn of(&self, server: &str, workload: &str, value: &str) -> Spread {
        let runs = self.runs.iter();
        let matching = runs.filter(|run| run.server == server && run.workload == workload);
        Spread::new(matching.filter_map(|run| run.values.get(value).copied()))
    }

    /// One for each of the other, taken within each round, where the machine was the same.
    pub(crate) fn ratio(&self, one: Place<'_>, other: Place<'_>) -> Spread {
        let find = |(server, workload, value): Place<'_>, round: usize| {
            let mut runs = self.runs.iter();
            let run = runs.find(|run| {
                run.server == server && run.workload == workload && run.round == round
            })?;
            run.values.get(value).copied()
        };
        let rounds = self.runs.iter().map(|run| run.round + 1).max().unwrap_or(0);
        Spread::new((0..rounds).filter_map(|round| Some(find(one, round)? / find(other, round)?)))
    }
}

/// Where a value is: its server, its workload, its name.
pub(crate) type Place<'a> = (&'a str, &'a str, &'a str);

/// The values of several rounds, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    pub(crate) fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        let upper = *self.0.get(middle)?;
        if self.0.len() % 2 == 1 {
            return Some(upper);
        }
        Some(f64::midpoint(self.0[middle - 1], upper))
    }

    pub(crate) fn smallest(&self) -> Option<f64> {
        self.0.first().copied()
    }

    pub(crate) fn largest(&self) -> Option<f64> {
        self.0.last().copied()
    }

    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self::new(self.0.iter().map(|value| change(*value)))
    }
}

pub(crate) const FAULTS: [&str; 5] = [
    "lost",
    "doubled",
    "reordered",
    "corrupt",
    "dropped_connections",
];
