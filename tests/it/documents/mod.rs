//! What the documents show is true: their programs and commands run against a real service and a real Redis, their
//! samples have the shape of real records, and what they name is there.
//!
//! A fenced block under an HTML comment `<!-- test: NAME -->` is taken from the document as a reader would copy it;
//! what runs is run in `programs`. The rest here reads: samples, links, names of settings and log lines.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::{
    conversation::{assert_run, begin, speak, stop},
    redis::Redis,
    rig::Rig,
    wait::until,
};

mod consumers;
mod misconfigurations;
mod programs;

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "CHANGELOG.md",
    "docs/exotel.md",
    "docs/troubleshooting.md",
    "docs/consuming.md",
    "docs/custom-clients.md",
    "docs/operations.md",
    "docs/delivery.md",
    "docs/performance.md",
    "docs/security.md",
];

/// Every marked block; each is used by a test below.
const MARKED: [&str; 14] = [
    "call_end",
    "client-python",
    "consumer-node",
    "consumer-python",
    "custom-token",
    "demo",
    "doctor",
    "doctor-says",
    "exotel-rehearsal",
    "first-call",
    "health",
    "memory",
    "record",
    "upgrade-by-hand",
];

const PROGRAM_LINES_MAX: usize = 120;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|_| panic!("{document} is there"))
}

/// The names of a document's marked blocks.
fn marks(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("<!-- test: ")?.strip_suffix(" -->"))
}

/// The text of a marked block.
fn block(name: &str) -> String {
    let mark = format!("<!-- test: {name} -->\n```");
    let texts = DOCUMENTS.map(read);
    let mut found = texts.iter().filter_map(|text| text.split_once(&mark));
    let (_, rest) = found
        .next()
        .unwrap_or_else(|| panic!("no document has a block {name}"));
    let (_, body) = rest.split_once('\n').expect("a fence ends its line");
    let (body, _) = body.split_once("\n```").expect("a fence is closed");
    format!("{body}\n")
}

/// The names of a record's members, in the order of its text, which a map would not keep.
fn names(record: &str) -> Vec<String> {
    let read: Map<String, Value> = serde_json::from_str(record).expect("a JSON object");
    let mut names: Vec<String> = read.into_iter().map(|(name, _)| name).collect();
    names.sort_by_key(|name| record.find(&format!("\"{name}\":")));
    names
}

#[tokio::test]
async fn the_samples_have_the_shape_of_real_records() {
    let rig = Rig::open().await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "shape", 1).await;
    socket.json(&stop("shape")).await;
    rig.redis.wait_for_end("shape").await;
    for (name, stream) in [("record", "audio_stream"), ("call_end", "call_end")] {
        let entries = rig.redis.entries(stream).await;
        let real = String::from_utf8_lossy(&entries[0].1[0].1).into_owned();
        assert_eq!(names(&block(name)), names(&real), "{name}");
    }
    assert!(
        read("README.md").contains(&block("record")),
        "the README shows the same"
    );
}

#[test]
fn every_marked_block_is_used() {
    let texts = DOCUMENTS.map(read);
    let mut marked: Vec<&str> = texts.iter().flat_map(|text| marks(text)).collect();
    marked.sort_unstable();
    assert_eq!(marked, MARKED);
    let source = ["mod.rs", "programs.rs", "consumers.rs"]
        .map(|file| read(&format!("tests/it/documents/{file}")))
        .concat();
    for name in MARKED {
        assert!(
            source.matches(&format!("\"{name}\"")).count() > 1,
            "no test uses {name}"
        );
    }
}

#[test]
fn programs_are_short() {
    for name in ["consumer-python", "consumer-node", "client-python"] {
        let lines = block(name).lines().count();
        assert!(lines < PROGRAM_LINES_MAX, "{name} has {lines} lines");
    }
}

/// What a document's headings are called in links.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let prose = text.split("\n```").step_by(2).flat_map(str::lines);
    prose.filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches(['#', ' ']).to_lowercase();
        let kept = title.replace(' ', "-");
        kept.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "")
    })
}

#[test]
fn links_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let folder = root().join(document);
            let target = match path {
                "" => folder,
                path => folder.parent().expect("a folder").join(path),
            };
            let found = std::fs::read_to_string(&target);
            let found = found.unwrap_or_else(|_| panic!("{document} links to {link}"));
            let leads = place.is_empty() || headings(&found).any(|heading| heading == place);
            assert!(leads, "{document} links to {link}");
        }
    }
}

/// Words in code marks, outside of fenced blocks.
fn code_words(text: &str) -> Vec<&str> {
    let prose = text.split("\n```").step_by(2);
    prose
        .flat_map(|part| part.split('`').skip(1).step_by(2))
        .collect()
}

// Settings are those of the README's table, and a log line that a table explains is one that the code writes.
#[test]
fn settings_and_log_lines_are_real() {
    let readme = read("README.md");
    let telemetry = read("src/telemetry.rs");
    for document in DOCUMENTS {
        let text = read(document);
        for word in code_words(&text) {
            let name = word.split(['=', ' ']).next().unwrap_or(word);
            let is_setting = [
                "EXOTEL_", "JWT_", "AUDIO_", "REDIS_", "MAX_", "JOURNAL_", "PUBLISH_", "DRAIN_",
                "IDLE_",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix));
            assert!(
                !is_setting
                    || readme.contains(&format!("| `{name}`"))
                    || readme.contains(&format!(", `{name}` |")),
                "{document} names {name}"
            );
        }
        let explained = text
            .lines()
            .filter_map(|line| line.strip_prefix("| log: `")?.split('`').next());
        for line in explained {
            assert!(
                telemetry.contains(&format!("\"{line}\"")),
                "{document} explains {line:?}"
            );
        }
    }
}

/// The texts in quotes.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

// 5.7: one table in the code and one in the documents: each error stands in the row of its class, with the advice that
// the log gives.
#[test]
fn what_redis_may_answer_is_what_the_code_knows() {
    let code = read("src/publisher/redis_error.rs");
    let (code, _) = code.split_once("#[cfg(test)]").expect("tests come last");
    let (words, advice) = code.split_once("fn advice").expect("words, then advice");
    let document = read("docs/delivery.md");
    let (_, section) = document
        .split_once("## What Redis may answer")
        .expect("the section");
    let rows: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    let row_of = |class: &str| {
        let advice = advice
            .split("Self::")
            .find(|arm| arm.starts_with(class))
            .and_then(|arm| literals(arm).next())
            .unwrap_or_else(|| panic!("{class} has no advice"));
        let row = rows
            .iter()
            .find(|row| row.ends_with(&format!("| {advice} |")));
        row.unwrap_or_else(|| panic!("docs/delivery.md: no row of {class} ends in {advice:?}"))
    };
    let arms: Vec<&str> = words.split("Self::").collect();
    for (arm, class) in arms.iter().zip(arms.iter().skip(1)) {
        let class = class.split(|c: char| !c.is_alphanumeric()).next();
        let class = class.expect("a class behind each arm");
        let row = row_of(class);
        for word in literals(arm) {
            assert!(
                row.contains(&format!("`{word}`")),
                "{word:?} is {class}: {row}"
            );
        }
    }
}

// 5.5, 5.7: the rights that the documents give the service's user are all it asks for, whatever happens.
#[tokio::test]
async fn the_rights_of_the_documents_suffice() {
    let text = read("docs/security.md");
    let (_, rule) = text.split_once("`ACL SETUSER ").expect("the rule");
    let (rule, _) = rule.split_once('`').expect("its end");
    let redis = Redis::start().await;
    let words: Vec<&str> = ["ACL", "SETUSER"]
        .into_iter()
        .chain(rule.split(' '))
        .collect();
    redis.tell::<String>(&words).await;
    let url = redis.url().replace("redis://", "redis://ingest:password@");
    let settings = [
        ("SUPPORT_EXOTEL", "true"),
        ("AUDIO_CONSUMER_GROUPS", "asr"),
        ("REDIS_URL", &url),
    ];
    let rig = Rig::over(redis, &settings).await;
    let mut socket = rig.exotel().await;
    begin(&mut socket, "allowed", 10).await;
    rig.redis.wait_for_frames("allowed", 10).await;
    for round in 1..=5 {
        speak(&mut socket, round * 10 + 1, round * 10 + 10).await;
        rig.redis
            .tell::<u64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
            .await;
    }
    rig.redis.wait_for_frames("allowed", 60).await;
    let limit = async |bytes| {
        rig.redis
            .tell::<String>(&["CONFIG", "SET", "maxmemory", bytes])
            .await;
    };
    limit("1").await;
    speak(&mut socket, 61, 70).await;
    until("the streams to be trimmed", async || {
        let stats = rig.redis.tell::<String>(&["INFO", "commandstats"]).await;
        stats.contains("cmdstat_xtrim").then_some(())
    })
    .await;
    limit("0").await;
    socket.json(&stop("allowed")).await;
    rig.redis.wait_for_end("allowed").await;
    assert_run(&rig.redis.frames_of("allowed").await, 1, 1, 70);
    let denied = rig.redis.tell::<::redis::Value>(&["ACL", "LOG"]).await;
    assert_eq!(denied, ::redis::Value::Array(Vec::new()));
    until("health to find no fault", async || {
        let problems = &rig.service.health().await["problems"];
        (*problems == serde_json::json!([])).then_some(())
    })
    .await;
}
