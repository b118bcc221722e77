//! What the documents, the alert rules and the dashboard say of metrics: each name is there, none is left out, and
//! Prometheus's own tool understands the rules and the dashboard's expressions.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;

use super::scrape::{Scrape, promtool};
use crate::rig::Rig;

fn read(document: &str) -> String {
    let path = format!("{}/{document}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap_or_else(|_| panic!("{document} is there"))
}

/// The names of metrics in a text, those of a histogram's samples as the histogram's own.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| word.starts_with("ingest_") || word.starts_with("process_"));
    metrics
        .map(|name| {
            let histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            histogram.unwrap_or(name).to_owned()
        })
        .collect()
}

/// The expressions of the dashboard, as Grafana would send them.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let notes = dashboard["annotations"]["list"].as_array().expect("a list");
    let all = targets.flatten().chain(notes);
    all.map(|target| {
        let text = target["expr"].as_str().expect("an expression");
        let text = text
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1h");
        text.replace("$__interval", "1m")
            .replace("$job", ".*")
            .replace("$instance", ".*")
    })
    .collect()
}

#[tokio::test]
async fn documents_alerts_and_dashboard_name_what_is_there() {
    let rig = Rig::open().await;
    let there = Scrape::of(&rig.service).await.names();
    let operations = read("docs/operations.md");
    let rows = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(['`', '{']).next());
    let metrics = names.filter(|name| name.starts_with("ingest_") || name.starts_with("process_"));
    let explained: BTreeSet<String> = metrics.map(str::to_owned).collect();
    assert_eq!(explained, there, "docs/operations.md");
    for document in [
        "docs/operations.md",
        "docs/alerts.yml",
        "docs/grafana.json",
        "tests/alerts/cases.yml",
    ] {
        for name in named(&read(document)) {
            assert!(there.contains(&name), "{document} names {name}");
        }
    }
}

#[test]
fn every_ingest_metric_is_on_the_dashboard() {
    let operations = named(&read("docs/operations.md"));
    let dashboard = named(&read("docs/grafana.json"));
    for name in operations.iter().filter(|name| name.starts_with("ingest_")) {
        assert!(dashboard.contains(name), "{name}");
    }
}

// A row of the table that speaks of an alert speaks of one that exists, and all are spoken of.
#[test]
fn alerts_are_explained() {
    let alerts = read("docs/alerts.yml");
    let alerts = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let operations = read("docs/operations.md");
    let words = operations
        .split('`')
        .filter(|word| word.starts_with("Ingest"));
    let (alerts, words): (BTreeSet<_>, BTreeSet<_>) = (alerts.collect(), words.collect());
    assert_eq!(words, alerts);
}

#[tokio::test]
async fn the_rules_are_sound() {
    let path = |file: &str| format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    promtool(&["check", "rules", &path("docs/alerts.yml")], "").await;
    promtool(&["test", "rules", &path("tests/alerts/cases.yml")], "").await;
}

#[tokio::test]
async fn the_dashboards_expressions_are_sound() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana.json")).expect("JSON");
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 20, "{expressions:?}");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in expressions.iter().enumerate() {
        assert!(!expression.contains('$'), "{expression}");
        let quoted = Value::from(expression.as_str());
        writeln!(
            rules,
            "      - {{record: \"panel:{number}\", expr: {quoted}}}"
        )
        .expect("a String");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("dashboard.yml");
    std::fs::write(&file, rules).expect("written");
    promtool(&["check", "rules", &file.to_string_lossy()], "").await;
}
