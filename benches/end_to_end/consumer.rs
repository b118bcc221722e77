//! The other end: reads the stream as a worker would, on a connection of its own, and enters every frame in a [`Ledger`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{
    clock::{SECOND_NS, now_ns, sleep},
    ledger::Ledger,
    load::{Crowd, caller::Caller},
    resp::{Connection, Mark},
    results::Run,
};

/// A consumer at work.
pub(crate) struct Consumer {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<Finding>>,
}

#[derive(Default)]
struct Shared {
    seen: AtomicU64,
    ends: AtomicBool,
}

/// What it found.
pub(crate) struct Finding {
    pub ledger: Ledger,
    /// From just before the client's write to the entry in hand, for frames sent when it counted.
    pub latencies_ns: Vec<u64>,
}

impl Consumer {
    /// Reads what comes behind the mark. Frames sent before `counts_from_ns` are verified but not timed.
    pub(crate) fn start(port: u16, mark: Mark, crowd: &Crowd, counts_from_ns: u64) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut ledger = Ledger::new(&crowd.run, crowd.calls, crowd.speech.frame_ms);
        let mut connection = Connection::open(port)?;
        let told = Arc::clone(&shared);
        let thread = Builder::new().spawn(move || {
            let mut latencies_ns = Vec::new();
            let mut last = mark.last;
            while !told.ends.load(Relaxed) {
                let mut enter = |json: &[u8]| {
                    let now = now_ns();
                    let sent = ledger.enter(json);
                    told.seen.fetch_add(1, Relaxed);
                    latencies_ns.extend(
                        sent.filter(|sent| *sent >= counts_from_ns)
                            .map(|sent| now.saturating_sub(sent)),
                    );
                };
                read(&mut connection, &mut last, &mut enter)?;
            }
            Ok(Finding {
                ledger,
                latencies_ns,
            })
        })?;
        Ok(Self { shared, thread })
    }

    pub(crate) fn seen(&self) -> u64 {
        self.shared.seen.load(Relaxed)
    }

    /// When it is clear what came, after a moment for what comes twice.
    pub(crate) fn finish(self) -> Result<Finding> {
        sleep(Duration::from_millis(150));
        self.shared.ends.store(true, Relaxed);
        self.thread.join().expect("the consumer ends")
    }
}

/// Waits for entries, 100 ms at most, and takes the JSON of each.
fn read(
    connection: &mut Connection,
    last: &mut Vec<u8>,
    enter: &mut impl FnMut(&[u8]),
) -> Result<()> {
    connection.send(&[
        b"XREAD",
        b"COUNT",
        b"512",
        b"BLOCK",
        b"100",
        b"STREAMS",
        b"audio_stream",
        last,
    ])?;
    for _ in 0..connection.length()? {
        connection.length()?;
        connection.skip()?;
        for _ in 0..connection.length()? {
            connection.length()?;
            last.clear();
            last.extend_from_slice(connection.text()?);
            for _ in 0..connection.length()? / 2 {
                if connection.text()? == b"data" {
                    enter(connection.text()?);
                } else {
                    connection.skip()?;
                }
            }
        }
    }
    Ok(())
}

/// Waits until `count` says that all came, or that nothing more does for 5 s; how many, and when the last came.
pub(crate) fn all_came(wanted: u64, mut count: impl FnMut() -> Result<u64>) -> Result<(u64, u64)> {
    let (mut came, mut at_ns) = (0, now_ns());
    loop {
        let now_came = count()?;
        if now_came > came {
            (came, at_ns) = (now_came, now_ns());
        }
        if came >= wanted || now_ns() - at_ns > PATIENCE_S * SECOND_NS {
            return Ok((came, at_ns));
        }
        sleep(Duration::from_millis(2));
    }
}

/// Reads back what the stream holds behind the mark.
pub(crate) fn read_back(port: u16, mark: Mark, crowd: &Crowd, wanted: u64) -> Result<Finding> {
    let consumer = Consumer::start(port, mark, crowd, u64::MAX)?;
    all_came(wanted, || Ok(consumer.seen()))?;
    consumer.finish()
}

/// Notes what was found among `sent` frames, and by whom the server hung up.
pub(crate) fn note(run: &mut Run, finding: &mut Finding, sent: u64, callers: &mut [Caller]) {
    let ledger = &mut finding.ledger;
    let gone = callers
        .iter_mut()
        .filter_map(|c| c.is_gone().then_some(()))
        .count();
    let values = [
        ("frames", sent),
        ("lost", sent.saturating_sub(ledger.distinct)),
        ("doubled", ledger.doubled),
        ("reordered", ledger.reordered),
        ("corrupt", ledger.corrupt),
        ("dropped_connections", gone as u64),
    ];
    run.values
        .extend(values.map(|(name, value)| (name, value as f64)));
    run.complaint = ledger.complaint.take();
    finding.latencies_ns.sort_unstable();
    for (name, share) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
        if let Some(latency) = quantile(&finding.latencies_ns, share) {
            run.values.insert(name, latency / 1e3);
        }
    }
}

/// Of sorted values.
pub(crate) fn quantile(sorted: &[u64], share: f64) -> Option<f64> {
    let at = (sorted.len() as f64 * share) as usize;
    let at = at.min(sorted.len().checked_sub(1)?);
    sorted.get(at).map(|value| *value as f64)
}

const PATIENCE_S: u64 = 5;
