//! One answer of `/metrics`, read as Prometheus reads it, and Prometheus's own tool to say whether that is so.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{service::Service, wait::until};

/// All samples, by name and labels as they are written.
pub(super) struct Scrape {
    pub(super) text: String,
    pub(super) samples: BTreeMap<String, f64>,
}

impl Scrape {
    pub(super) async fn of(service: &Service) -> Self {
        let answer = service.get("/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self {
            samples: samples.collect(),
            text: answer.body,
        }
    }

    /// Waits until a sample has a value.
    pub(super) async fn when(service: &Service, name: &str, value: f64) -> Self {
        until(&format!("{name} {value}"), async || {
            let scrape = Self::of(service).await;
            (scrape.of_name(name) == value).then_some(scrape)
        })
        .await
    }

    pub(super) fn of_name(&self, name: &str) -> f64 {
        let sample = self.samples.get(name);
        *sample.unwrap_or_else(|| panic!("{name} in {}", self.text))
    }

    /// All samples of a name together.
    pub(super) fn sum(&self, name: &str) -> f64 {
        let of_name = |sample: &&String| {
            sample
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.samples
            .iter()
            .filter(|(sample, _)| of_name(sample))
            .map(|(_, value)| value)
            .sum()
    }

    /// What has a TYPE.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let types = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        types
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect()
    }

    /// What was counted, but for times and sizes.
    pub(super) fn counted(&self) -> BTreeMap<&str, f64> {
        let is_count = |name: &str| {
            let name = name.split('{').next().unwrap_or(name);
            name.starts_with("ingest_") && (name.ends_with("_total") || name.ends_with("_active"))
        };
        let samples = self
            .samples
            .iter()
            .map(|(name, value)| (name.as_str(), *value));
        samples
            .filter(|(name, value)| is_count(name) && *value != 0.0)
            .collect()
    }
}

/// Runs it; it must find no fault.
pub(super) async fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("promtool, which `make tools` installs");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&said)
    );
}
