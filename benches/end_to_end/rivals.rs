//! Whoever else is to be measured, where `BENCH_RIVALS` names a folder that has them: floors, and what others would write.
//!
//! Nothing of the product needs that folder. Invariant: it is copied before anything is built, so it stays as it is; what
//! cannot be built here is said and left out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    options::Options,
    servers::{Kind, Server},
};

pub(crate) const FLOOR_1MS: &str = "floor-1ms";
pub(crate) const FLOOR_TOKIO: &str = "floor-tokio";

/// One of them: where it stands in the folder, how it is built there, and what then runs.
struct Recipe {
    name: &'static str,
    kind: Kind,
    folder: &'static str,
    build: &'static str,
    program: &'static str,
    argument: Option<&'static str>,
    environment: &'static [(&'static str, &'static str)],
}

const CARGO: &str = "cargo build --quiet --release --target-dir target";

const ALL: [Recipe; 7] = [
    Recipe {
        name: "floor",
        kind: Kind::Floor,
        folder: "floor",
        build: CARGO,
        program: "target/release/floor",
        argument: None,
        environment: &[],
    },
    Recipe {
        name: FLOOR_1MS,
        kind: Kind::Floor,
        folder: "floor",
        build: CARGO,
        program: "target/release/floor",
        argument: None,
        environment: &[("FLOOR_WINDOW_US", "1000")],
    },
    Recipe {
        name: FLOOR_TOKIO,
        kind: Kind::Floor,
        folder: "floor",
        build: CARGO,
        program: "target/release/floor-tokio",
        argument: None,
        environment: &[],
    },
    Recipe {
        name: "rust-naive",
        kind: Kind::Rival,
        folder: "peers/rust-naive",
        build: CARGO,
        program: "target/release/rust-naive",
        argument: None,
        environment: &[],
    },
    Recipe {
        name: "go",
        kind: Kind::Rival,
        folder: "peers/go",
        build: "GO111MODULE=off GOPATH=/usr/share/gocode go build -o peer-go main.go",
        program: "peer-go",
        argument: None,
        environment: &[],
    },
    Recipe {
        name: "node",
        kind: Kind::Rival,
        folder: "peers/node",
        build: "test -d node_modules || npm install --no-audit --no-fund",
        program: "/usr/bin/env",
        argument: Some("node server.js"),
        environment: &[],
    },
    Recipe {
        name: "python",
        kind: Kind::Rival,
        folder: "peers/python",
        build: "test -x .venv/bin/uvicorn || { python3 -m venv .venv && .venv/bin/pip -q install -r requirements.txt; }",
        program: ".venv/bin/python",
        argument: Some("server.py"),
        environment: &[],
    },
];

/// Copies and builds those that are wanted.
pub(crate) fn prepare(options: &Options, servers: &[&str], target: &Path) -> Result<Vec<Server>> {
    let Some(source) = &options.rivals else {
        return Ok(Vec::new());
    };
    let source = fs::canonicalize(source)
        .with_context(|| format!("BENCH_RIVALS is no folder: {}", source.display()))?;
    let copy = target.join("rivals");
    let mut ready = Vec::new();
    for recipe in ALL
        .iter()
        .filter(|recipe| options.wants(recipe.name, servers))
    {
        eprintln!("building {}", recipe.name);
        match recipe.build(&source, &copy) {
            Ok(server) => ready.push(server),
            Err(reason) => eprintln!("{} is left out: {reason:#}", recipe.name),
        }
    }
    Ok(ready)
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|recipe| recipe.name)
}

impl Recipe {
    fn build(&self, source: &Path, copy: &Path) -> Result<Server> {
        let folder = copy.join(self.folder);
        copy_sources(&source.join(self.folder), &folder)?;
        let log = folder.join("build.log");
        let output = fs::File::create(&log)?;
        let built = Command::new("timeout")
            .args(["900", "sh", "-ec", self.build])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()?;
        ensure!(built.success(), "it cannot be built, see {}", log.display());
        let in_folder = |word: &str| folder.join(word).to_string_lossy().into_owned();
        let arguments = self.argument.map_or_else(Vec::new, |argument| {
            let (words, file) = argument.rsplit_once(' ').unwrap_or(("", argument));
            let words = words.split(' ').filter(|word| !word.is_empty());
            let words = words.map(ToOwned::to_owned);
            words.chain([in_folder(file)]).collect()
        });
        Ok(Server {
            name: self.name,
            kind: self.kind,
            // An absolute path stays what it is.
            program: PathBuf::from(in_folder(self.program)),
            arguments,
            environment: self.environment.to_vec(),
        })
    }
}

/// All but what builds have left there. A file that is the same keeps its time, so that it is not built again.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        if ["target", "node_modules", ".venv"]
            .iter()
            .any(|built| name == *built)
        {
            continue;
        }
        let (old, new) = (entry.path(), to.join(&name));
        if old.is_dir() {
            copy_sources(&old, &new)?;
        } else if fs::read(&new).ok() != Some(fs::read(&old)?) {
            fs::copy(&old, &new)?;
        }
    }
    Ok(())
}
