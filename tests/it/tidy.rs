//! The rules of the house that a machine can hold: every file says what it is, none grows too long,
//! no arrow leaves the core, and nothing is left to do.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// What the core consists of, below `src`: a file of that name or a folder.
const CORE: [&str; 15] = [
    "call",
    "frame",
    "record",
    "intake",
    "dialect",
    "payload",
    "audio",
    "admission",
    "client_address",
    "duration",
    "manifest",
    "proof",
    "published",
    "rebuilt",
    "secret",
];

/// Arrows that leave the core on purpose: admission decides, but what a token says is checked beside it.
const ARROWS_OUT: [(&str, &str); 1] = [("admission", "auth")];

/// What reaches for the world: the runtime, files, sockets, the environment, a clock.
const WORLD: [&str; 12] = [
    "tokio",
    "std::fs",
    "std::env",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime",
    "thread::",
    "redis::",
];

const LINES_MAX: usize = 400;

/// Every Rust file below a folder of the package.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut left = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source is text");
                let path = path
                    .strip_prefix(root)
                    .expect("below the root")
                    .to_path_buf();
                found.push((path, text));
            }
        }
    }
    found
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let mut all = sources("src");
    all.extend(sources("tests"));
    all.extend(sources("benches"));
    all
}

/// The part of the core that a file is, if it is one.
fn core_part(path: &Path) -> Option<String> {
    if path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests") {
        return None;
    }
    let below = path.strip_prefix("src").ok()?;
    let first = below
        .components()
        .next()?
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    let name = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
    CORE.contains(&name.as_str()).then_some(name)
}

/// Lines before the tests, without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.contains("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line))
}

/// The modules of ours that a file names: `crate::name`, or each name in `crate::{…}`.
fn modules_named(text: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = code(text).map(|(_, line)| line).collect();
    let code = lines.join("\n");
    let mut named = BTreeSet::new();
    for reference in code.split("crate::").skip(1) {
        let Some(group) = reference.strip_prefix('{') else {
            named.insert(first_word(reference));
            continue;
        };
        let mut depth = 0_usize;
        let mut expects_name = true;
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expects_name = true,
                letter if expects_name && !letter.is_whitespace() => {
                    named.insert(first_word(group.get(at..).unwrap_or_default()));
                    expects_name = false;
                }
                _ => {}
            }
        }
    }
    named
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

// STYLE 4: `//!` on every file.
#[test]
fn every_file_says_what_it_is() {
    for (path, text) in all_sources() {
        assert!(
            text.starts_with("//!"),
            "{} begins with //!",
            path.display()
        );
    }
}

// STYLE 4: 400 lines are the ceiling.
#[test]
fn no_file_is_too_long() {
    for (path, text) in all_sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

// STYLE 3.1, 3.2: the core names no runtime, file, socket, environment or clock.
#[test]
fn the_core_is_pure() {
    let mut seen = Vec::new();
    for (path, text) in sources("src") {
        let Some(part) = core_part(&path) else {
            continue;
        };
        seen.push(part);
        for (number, line) in code(&text) {
            for word in WORLD {
                assert!(
                    !line.contains(word),
                    "{}:{number} names {word}: {line}",
                    path.display()
                );
            }
        }
    }
    for part in CORE {
        assert!(
            seen.iter().any(|name| name == part),
            "src/{part} is gone: put the list of the core right"
        );
    }
}

// STYLE 3.1: no arrow leaves the core.
#[test]
fn no_arrow_leaves_the_core() {
    for (path, text) in sources("src") {
        let Some(part) = core_part(&path) else {
            continue;
        };
        for name in modules_named(&text) {
            let inside = CORE.contains(&name.as_str());
            let meant = ARROWS_OUT.contains(&(part.as_str(), name.as_str()));
            assert!(inside || meant, "{} names {name}", path.display());
        }
    }
}

// The reader of arrows sees both ways of naming a module.
#[test]
fn arrows_are_seen_in_groups_too() {
    let text = "use crate::{\n    call::{self, Call},\n    frame::Frame,\n};\nfn f() { crate::server::run() }\n\
                // crate::comment\n#[cfg(test)]\nuse crate::cli;";
    let named: Vec<String> = modules_named(text).into_iter().collect();
    assert_eq!(named, ["call", "frame", "server"]);
}

// STYLE 7: nothing is left to do in the text.
#[test]
fn nothing_is_left_to_do() {
    let words =
        ["TO", "FIX"].map(|half| format!("{half}{}", if half == "TO" { "DO" } else { "ME" }));
    for (path, text) in all_sources() {
        for word in &words {
            assert!(
                !text.contains(word.as_str()),
                "{} says {word}",
                path.display()
            );
        }
    }
}

// STYLE 5: no ignored test, none that expects to panic.
#[test]
fn no_test_is_skipped() {
    for (path, text) in all_sources() {
        for attribute in ["ignore", "should_panic"] {
            let attribute = format!("#[{attribute}");
            assert!(
                !text.contains(&attribute),
                "{} has {attribute}]",
                path.display()
            );
        }
    }
}

// STYLE 5: every conversation has its expectation, and the other way round.
#[test]
fn conversations_come_in_pairs() {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let names: Vec<String> = std::fs::read_dir(wire)
        .expect("tests/wire is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    for name in &names {
        let other = match name.strip_suffix(".jsonl") {
            Some(stem) => format!("{stem}.expect.json"),
            None => name.replace(".expect.json", ".jsonl"),
        };
        assert!(names.contains(&other), "{name} without {other}");
    }
}
