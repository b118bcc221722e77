//! The order of things: each round takes each workload, each workload takes the servers in turn, each with a fresh process
//! and a fresh Redis; so what changes on the machine in between hits all of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    ceiling, connections,
    flood::{self, Flood},
    load::{Form, Speech},
    machine,
    options::Options,
    paced::{self, Paced},
    report::Measured,
    results::{Results, Run},
    rivals,
    servers::{self, AT_ONCE, Kind, OURS, Server, Stage},
};

/// What `BENCH_ONLY` may name besides servers.
pub(crate) const WORKLOADS: [&str; 7] = [
    "paced",
    "long",
    "flood",
    "stalled",
    "idle",
    "connections",
    "wss",
];

pub(crate) fn run(options: &Options) -> Result<Measured> {
    let pinned = machine::settle(true);
    rtaa_ingest::open_files::raise(20_000);
    let target = target();
    std::fs::create_dir_all(&target)?;
    let names: Vec<&str> = [OURS, AT_ONCE].into_iter().chain(rivals::names()).collect();
    for name in &options.only {
        let known = names.contains(&name.as_str()) || WORKLOADS.contains(&name.as_str());
        anyhow::ensure!(
            known,
            "BENCH_ONLY: {name} is none of {names:?} {WORKLOADS:?}"
        );
    }
    let mut servers: Vec<Server> = servers::ours()
        .into_iter()
        .filter(|server| options.wants(server.name, &names))
        .collect();
    servers.extend(rivals::prepare(options, &names, &target)?);
    let mut bench = Bench {
        options,
        results: Results::begin(&target)?,
        target,
        round: 0,
        entry: Vec::new(),
    };
    for round in 0..options.rounds {
        bench.round = round;
        for workload in WORKLOADS {
            if !options.wants(workload, &WORKLOADS) {
                continue;
            }
            for server in servers.iter().filter(|server| concerns(workload, server)) {
                eprintln!(
                    "round {} of {}: {workload}, {}",
                    round + 1,
                    options.rounds,
                    server.name
                );
                bench
                    .measure(workload, server)
                    .with_context(|| format!("{workload}, {}", server.name))?;
            }
        }
    }
    Ok(Measured {
        results: bench.results,
        pinned,
        servers: servers.iter().map(|server| server.name).collect(),
        write: options.write,
        quick: options.quick,
        rounds: options.rounds,
    })
}

/// Floors keep nothing while Redis stands still and know no TLS; rivals never came near the largest load.
fn concerns(workload: &str, server: &Server) -> bool {
    match workload {
        "stalled" | "wss" => server.name == OURS,
        "long" => server.kind != Kind::Rival,
        _ => true,
    }
}

/// Where the results, the logs and the rivals are.
pub(crate) fn target() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Cargo gives benches a folder inside of the target directory, wherever that is.
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(package).join("bench")
}

struct Bench<'a> {
    options: &'a Options,
    results: Results,
    target: PathBuf,
    round: usize,
    /// One that a server of ours wrote.
    entry: Vec<u8>,
}

impl Bench<'_> {
    fn measure(&mut self, workload: &str, server: &Server) -> Result<()> {
        match workload {
            "paced" => self.paced(server),
            "long" => self.long(server),
            "flood" => self.flood(server),
            "stalled" => self.stalled(server),
            "idle" => self.idle(server),
            "connections" => self.connections(server),
            "wss" => self.wss(server),
            other => bail!("{other} is no workload"),
        }
    }

    fn paced(&mut self, server: &Server) -> Result<()> {
        let mut stage = server.start(&self.target, false)?;
        for (workload, calls, form) in [
            ("paced-100", 100, Form::Json),
            ("paced-500", 500, Form::Json),
            ("binary-500", 500, Form::Binary),
            ("paced-1000", 1_000, Form::Json),
            ("paced-2000", 2_000, Form::Json),
        ] {
            let highest = calls == 2_000;
            // Rivals climb until a load is too much for them; the highest was never within reach.
            if highest && server.kind == Kind::Rival {
                break;
            }
            let plan = Paced {
                followed: !highest,
                ..self.real_time(calls, Speech { form, frame_ms: 20 })
            };
            let run = self.run(server, workload, |run| paced::run(&mut stage, plan, run))?;
            if !kept_up(&run) {
                break;
            }
        }
        Ok(())
    }

    fn real_time(&self, calls: u32, speech: Speech) -> Paced {
        Paced {
            calls,
            speech,
            warm: self.options.warm,
            measured: self.options.measured,
            followed: true,
            stall: None,
        }
    }

    fn long(&mut self, server: &Server) -> Result<()> {
        let mut stage = server.start(&self.target, false)?;
        let speech = Speech {
            form: Form::Json,
            frame_ms: 100,
        };
        let plan = Paced {
            followed: false,
            ..self.real_time(4_000, speech)
        };
        self.run(server, "long-4000", |run| paced::run(&mut stage, plan, run))?;
        Ok(())
    }

    fn flood(&mut self, server: &Server) -> Result<()> {
        for (workload, form) in [("flood", Form::Json), ("flood-binary", Form::Binary)] {
            let mut stage = server.start(&self.target, false)?;
            let speech = Speech { form, frame_ms: 20 };
            let first = self.pour(server, &mut stage, "warming", speech, 1_000)?;
            let seconds = self.options.flood.as_secs_f64();
            let frames = first.value("frames_per_s") * seconds / f64::from(flood::CONNECTIONS);
            let frames = (frames as u32).clamp(200, 20_000);
            let run = self.pour(server, &mut stage, workload, speech, frames)?;
            if server.name == OURS && form == Form::Json {
                drop(stage);
                let entries = run.value("frames") as u64;
                let (entry, target) = (self.entry.clone(), self.target.clone());
                let ceiling = Server {
                    name: "Redis",
                    ..server.clone()
                };
                self.run(&ceiling, "ceiling", |run| {
                    ceiling::run(&target, &entry, entries, run)
                })?;
            }
        }
        Ok(())
    }

    fn pour(
        &mut self,
        server: &Server,
        stage: &mut Stage,
        workload: &str,
        speech: Speech,
        frames_each: u32,
    ) -> Result<Run> {
        let plan = Flood {
            speech,
            frames_each,
            stall: None,
        };
        let mut entry = Vec::new();
        let run = self.run(server, workload, |run| {
            entry = flood::run(stage, plan, run)?;
            Ok(())
        })?;
        if server.kind == Kind::Ours {
            self.entry = entry;
        }
        Ok(run)
    }

    fn stalled(&mut self, server: &Server) -> Result<()> {
        let speech = Speech {
            form: Form::Json,
            frame_ms: 20,
        };
        let stall = Some(Duration::from_secs(3));
        let mut stage = server.start(&self.target, false)?;
        let plan = Paced {
            measured: Duration::from_secs(5),
            stall,
            ..self.real_time(500, speech)
        };
        self.run(server, "stalled-500", |run| {
            paced::run(&mut stage, plan, run)
        })?;
        drop(stage);
        let mut stage = server.start(&self.target, false)?;
        let plan = Flood {
            speech,
            frames_each: 5_000,
            stall,
        };
        self.run(server, "stalled-flood", |run| {
            flood::run(&mut stage, plan, run).map(drop)
        })?;
        Ok(())
    }

    fn idle(&mut self, server: &Server) -> Result<()> {
        for (workload, spoken) in [("idle-silent", 0), ("idle", 5)] {
            self.idle_with(server, workload, spoken, false)?;
        }
        Ok(())
    }

    fn idle_with(&mut self, server: &Server, workload: &str, spoken: u32, tls: bool) -> Result<()> {
        let stage = server.start(&self.target, tls)?;
        let count = self.options.idle_connections;
        self.run(server, workload, |run| {
            connections::idle(&stage, EVERYDAY, count, spoken, run)
        })?;
        Ok(())
    }

    fn connections(&mut self, server: &Server) -> Result<()> {
        let count = if self.options.quick { 500 } else { 2_000 };
        for (workload, with_call) in [("connections", false), ("calls", true)] {
            let stage = server.start(&self.target, false)?;
            self.run(server, workload, |run| {
                connections::made_and_closed(&stage, EVERYDAY, count, with_call, run)
            })?;
        }
        Ok(())
    }

    fn wss(&mut self, server: &Server) -> Result<()> {
        let mut stage = server.start(&self.target, true)?;
        let plan = self.real_time(500, EVERYDAY);
        self.run(server, "wss-500", |run| paced::run(&mut stage, plan, run))?;
        drop(stage);
        self.idle_with(server, "wss-idle", 5, true)
    }

    fn run(
        &mut self,
        server: &Server,
        workload: &str,
        measure: impl FnOnce(&mut Run) -> Result<()>,
    ) -> Result<Run> {
        let mut run = Run {
            server: server.name.to_owned(),
            workload: workload.to_owned(),
            round: self.round,
            values: BTreeMap::new(),
            complaint: None,
        };
        measure(&mut run).with_context(|| workload.to_owned())?;
        let shown = [
            "ingest_us",
            "redis_us",
            "bench_us",
            "p50_us",
            "p99_us",
            "frames_per_s",
            "growth_kib",
            "kib_each",
            "connection_us",
        ];
        let shown: Vec<String> = shown
            .iter()
            .filter_map(|name| Some(format!("{name} {:.2}", run.values.get(name)?)))
            .collect();
        eprintln!(
            "    {workload}: {}, faults {}",
            shown.join(", "),
            run.faults()
        );
        self.results.add(run.clone())?;
        Ok(run)
    }
}

/// Whether the load was not too much: nothing left over at the end, and a core that had a little room.
pub(crate) fn kept_up(run: &Run) -> bool {
    run.faults() == 0.0 && run.value("drain_ms") < 500.0 && run.value("ingest_cores") < 0.93
}

/// Whether the callers were: late ones come in bunches, which share wake-ups and make each frame look cheaper than it is:
/// at 2,000 calls 3.2 µs where p99 was 4.9 ms, 7.5 µs where it was 0.5 ms. A twentieth of a frame is allowed.
pub(crate) fn in_time(run: &Run) -> bool {
    run.value("late_p99_us") <= run.value("frame_ms") * 50.0
}

const EVERYDAY: Speech = Speech {
    form: Form::Json,
    frame_ms: 20,
};
