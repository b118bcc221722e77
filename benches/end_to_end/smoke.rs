//! What `cargo test` runs: every workload for a moment through whatever was built, with no eye on time. All that counts is
//! that every frame arrives and that the bench still works.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    connections,
    flood::{self, Flood},
    ledger::Ledger,
    load::{
        Form, Speech,
        caller::TENANT,
        stamp::{Audio, Stamp},
    },
    machine,
    paced::{self, Paced},
    results::Run,
    rounds::target,
    servers,
};

/// `arguments` are the test runner's: a filter that does not fit means that other tests are wanted.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let mut filters = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'));
    let wanted =
        filters.clone().next().is_none() || filters.any(|filter| NAME.contains(filter.as_str()));
    let listed = arguments.iter().any(|argument| argument == "--list");
    if listed || !wanted {
        return ExitCode::SUCCESS;
    }
    match play() {
        Ok(()) => {
            eprintln!("test {NAME} ... ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("test {NAME} ... FAILED\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<()> {
    faults_are_seen()?;
    machine::settle(false);
    let target = target();
    std::fs::create_dir_all(&target)?;
    let [server, _] = servers::ours();
    let speech = Speech {
        form: Form::Json,
        frame_ms: 20,
    };
    for tls in [false, true] {
        let mut stage = server.start(&target, tls)?;
        let plan = Paced {
            calls: 20,
            speech,
            warm: Duration::from_millis(200),
            measured: Duration::from_millis(800),
            followed: true,
            stall: None,
        };
        check("paced", 1_000, |run| paced::run(&mut stage, plan, run))?;
        let speech = Speech {
            form: Form::Binary,
            frame_ms: 100,
        };
        let plan = Flood {
            speech,
            frames_each: 20,
            stall: None,
        };
        check("flood", 1_280, |run| {
            flood::run(&mut stage, plan, run).map(drop)
        })?;
        check("connections", 0, |run| {
            connections::made_and_closed(&stage, speech, 20, true, run)
        })?;
    }
    Ok(())
}

/// A ledger that finds nothing wrong must not be one that never does.
fn faults_are_seen() -> Result<()> {
    let audio = Audio::of(20);
    let mut samples = Vec::new();
    let mut ledger = Ledger::new("run", 2, 20);
    let mut enter = |number, named: &str, harm: fn(&mut [u8])| {
        let stamp = Stamp {
            sent_ns: 1,
            call: 1,
            number,
        };
        audio.write(stamp, &mut samples);
        harm(&mut samples);
        let record = serde_json::json!({
            "tenant_id": TENANT, "interaction_id": named, "seq": number,
            "timestamp_ms": rtaa_ingest::clock::epoch_ms(), "sample_rate": 8_000, "encoding": "pcm16",
            "audio": base64_simd::STANDARD.encode_to_string(&samples),
        });
        ledger.enter(record.to_string().as_bytes())
    };
    let unharmed = |_: &mut [u8]| {};
    ensure!(enter(1, "run-1", unharmed) == Some(1));
    ensure!(enter(3, "run-1", unharmed) == Some(1));
    ensure!(enter(2, "run-1", unharmed) == Some(1), "late, but new");
    ensure!(enter(3, "run-1", unharmed).is_none(), "a second time");
    ensure!(enter(4, "run-0", unharmed).is_none(), "another call's");
    ensure!(enter(4, "run-1", |samples| samples[300] ^= 1).is_none());
    let found = [
        ledger.distinct,
        ledger.reordered,
        ledger.doubled,
        ledger.corrupt,
    ];
    ensure!(found == [3, 1, 1, 2], "{found:?}");
    Ok(())
}

fn check(workload: &str, frames: u64, measure: impl FnOnce(&mut Run) -> Result<()>) -> Result<()> {
    let mut run = Run {
        server: String::new(),
        workload: workload.to_owned(),
        round: 0,
        values: BTreeMap::new(),
        complaint: None,
    };
    measure(&mut run)?;
    let came = run.value("frames") as u64;
    ensure!(
        run.faults() == 0.0 && came == frames,
        "{workload}: {came} frames of {frames}: {run:?}"
    );
    Ok(())
}

const NAME: &str = "end_to_end_smoke";
