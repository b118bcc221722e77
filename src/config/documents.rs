//! `.env.example` and the README's table say what the code does: name, default and meaning of every setting.
//!
//! Tests only. Where one fails, it prints the text that belongs into the document.

use std::{fs, io, path::Path};

use super::{
    Config,
    environment::Environment,
    tests::with,
    var::{Fallback, Var},
    vars,
};
use crate::telemetry::LogFormat;

/// The configuration of a `.env` file with nothing in the environment.
pub(super) fn from_dot_env(text: &str) -> Config {
    let mut environment = Environment::default();
    environment.add_dot_env(text);
    let read_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    Config::from_environment(environment, &read_file, LogFormat::Json).unwrap()
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn example_of(var: &Var) -> String {
    let (default, depends) = match var.default {
        Fallback::Value(text) => (text, String::new()),
        Fallback::Nothing => ("", String::new()),
        Fallback::Depends(words) => ("", format!(" (default: {words})")),
    };
    let secret = match var.file_name() {
        Some(file) => format!(" [secret, or {file}]"),
        None => String::new(),
    };
    let pending = if var.pending.is_some() {
        " [no effect yet]"
    } else {
        ""
    };
    let meaning = format!("{}{depends}{secret}{pending}", var.meaning).replace('`', "");
    format!("# {meaning}\n# {}={default}\n", var.name)
}

fn row_of(var: &Var) -> String {
    let name = match var.file_name() {
        Some(file) => format!("`{}`, `{file}`", var.name),
        None => format!("`{}`", var.name),
    };
    let default = match var.default {
        Fallback::Value(text) => format!("`{text}`"),
        Fallback::Nothing => "–".to_owned(),
        Fallback::Depends(words) => words.to_owned(),
    };
    let pending = if var.pending.is_some() {
        " *(no effect yet)*"
    } else {
        ""
    };
    format!("| {name} | {default} | {}{pending} |\n", var.meaning)
}

#[test]
fn the_example_lists_every_setting() {
    let groups: Vec<String> = vars::GROUPS
        .iter()
        .map(|(title, group)| {
            let entries: Vec<String> = group.iter().map(example_of).collect();
            format!("\n#### {title}\n\n{}", entries.join("\n"))
        })
        .collect();
    let expected = groups.concat();
    assert!(
        document(".env.example").ends_with(&expected),
        "write into .env.example:\n{expected}"
    );
}

#[test]
fn the_readme_lists_every_setting() {
    let rows: String = vars::all().map(row_of).collect();
    let expected = format!("| variable | default | meaning |\n| --- | --- | --- |\n{rows}");
    assert!(
        document("README.md").contains(&expected),
        "write into README.md:\n{expected}"
    );
}

#[test]
fn the_example_changes_nothing_as_it_is() {
    let loaded = from_dot_env(&document(".env.example"));
    let nothing = with(&[]).unwrap();
    assert_eq!(format!("{loaded:?}"), format!("{nothing:?}"));
}

#[test]
fn the_example_holds_the_defaults() {
    let example = document(".env.example");
    let uncommented: Vec<&str> = example
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| {
            let name = line.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| vars::find(name).is_some())
        })
        .collect();
    assert_eq!(uncommented.len(), vars::all().count());
    let (loaded, nothing) = (from_dot_env(&uncommented.join("\n")), with(&[]).unwrap());
    assert_eq!(loaded.changed_since(&nothing).count(), 0);
    assert_eq!(typed(&loaded), typed(&nothing));
}

/// All but where the values came from.
fn typed(config: &Config) -> String {
    let parts = (
        &config.server,
        &config.connection,
        &config.admission,
        &config.auth,
        &config.publisher,
    );
    let more = (
        &config.journal,
        &config.telemetry,
        &config.default_tenant,
        &config.public_url,
    );
    let rest = (
        config.target_rate,
        config.frame_ms,
        config.outbound_buffer,
        &config.ops_token,
        &config.warnings,
    );
    format!("{parts:?} {more:?} {rest:?}")
}
