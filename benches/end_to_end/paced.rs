//! Calls in real time: each sends a frame every 20 or 100 ms, in a phase of its own.
//!
//! The phases are random but the same in every run, so each server sees the same arrivals; evenly spread ones would spare it
//! the bunches that independent callers make. Invariant: frame n of a call is due at the start plus its phase plus n
//! intervals; what is late is sent at once, nothing is left out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Result;
use rustix::process::Signal;

use crate::{
    clock::{SECOND_NS, be_punctual, now_ns, sleep, sleep_until},
    consumer::{Consumer, all_came, note, quantile, read_back},
    load::{Crowd, Random, Speech, caller::Caller, encoder::Encoder},
    resp::Connection,
    results::Run,
    servers::Stage,
    usage::{Moment, forget_peak, peak_rss_kib, rss_kib},
};

#[derive(Clone, Copy)]
pub(crate) struct Paced {
    pub calls: u32,
    pub speech: Speech,
    pub warm: Duration,
    pub measured: Duration,
    /// Whether the consumer follows. Where it does not, the stream is read back afterwards and nothing is known of
    /// latency: that makes room for more callers on the CPU that they share.
    pub followed: bool,
    /// Redis stands still for so long in the middle.
    pub stall: Option<Duration>,
}

/// What the callers' thread has to tell.
struct Spoken {
    callers: Vec<Caller>,
    late_ns: Vec<u64>,
    until_ns: u64,
}

pub(crate) fn run(stage: &mut Stage, plan: Paced, run: &mut Run) -> Result<()> {
    let crowd = Crowd::new(plan.calls, plan.speech);
    let mut encoder = Encoder::new(plan.speech.frame_ms);
    let mut redis = Connection::open(stage.redis.port)?;
    let mark = redis.mark("audio_stream")?;
    let (port, added) = (stage.redis.port, mark.added);
    let callers = crowd.gather(&stage.door, &mut encoder)?;
    sleep(Duration::from_millis(300));

    let interval_ns = u64::from(plan.speech.frame_ms) * 1_000_000;
    let whole = (plan.warm + plan.measured).as_nanos() as u64;
    let frames_each = whole / interval_ns;
    let wanted = frames_each * u64::from(plan.calls);
    let begin_ns = now_ns() + SECOND_NS / 10;
    let warm_ns = begin_ns + plan.warm.as_nanos() as u64;
    let (consumer, mut mark) = if plan.followed {
        (Some(Consumer::start(port, mark, &crowd, warm_ns)?), None)
    } else {
        (None, Some(mark))
    };

    let (server, redis_pid) = (stage.server.pid, stage.redis.process.pid);
    let before = rss_kib(server);
    forget_peak(server);
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let speaking = std::thread::Builder::new().spawn(move || {
        let due = schedule(plan.calls, interval_ns);
        speak(
            plan.speech,
            callers,
            &due,
            frames_each,
            begin_ns,
            warm_ns,
            &count,
        )
    })?;
    sleep_until(warm_ns);
    let begin = Moment::now(server, redis_pid);
    let sent_before = sent.load(Relaxed);
    if let Some(stall) = plan.stall {
        stage.redis.process.signal(Signal::STOP);
        sleep(stall);
        stage.redis.process.signal(Signal::CONT);
    }
    let mut spoken = speaking.join().expect("the callers end");
    let (_, came_ns) = match &consumer {
        Some(consumer) => all_came(wanted, || Ok(consumer.seen()))?,
        None => all_came(wanted, || Ok(redis.mark("audio_stream")?.added - added))?,
    };
    let end = Moment::now(server, redis_pid);
    used(run, begin, end, wanted - sent_before);
    run.values
        .insert("growth_kib", peak_rss_kib(server) - before);
    let drain_ns = came_ns.saturating_sub(spoken.until_ns);
    run.values.insert("drain_ms", drain_ns as f64 / 1e6);
    spoken.late_ns.sort_unstable();
    let late = quantile(&spoken.late_ns, 0.99).unwrap_or(0.0);
    run.values.insert("late_p99_us", late / 1e3);
    run.values
        .insert("frame_ms", f64::from(plan.speech.frame_ms));

    let mut finding = match consumer {
        Some(consumer) => consumer.finish()?,
        None => read_back(port, mark.take().expect("kept for this"), &crowd, wanted)?,
    };
    note(run, &mut finding, wanted, &mut spoken.callers);
    for caller in &mut spoken.callers {
        caller.stop(&mut encoder);
    }
    sleep(Duration::from_millis(200));
    Ok(())
}

/// What each process used for each frame, and how busy that made it.
pub(crate) fn used(run: &mut Run, begin: Moment, end: Moment, frames: u64) {
    let wall = (end.at_ns - begin.at_ns) as f64 / 1e9;
    let parts = [
        ("ingest_us", "ingest_cores", end.server.since(begin.server)),
        ("redis_us", "redis_cores", end.redis.since(begin.redis)),
        ("bench_us", "bench_cores", end.bench.since(begin.bench)),
    ];
    for (per_frame, cores, seconds) in parts {
        run.values.insert(per_frame, seconds * 1e6 / frames as f64);
        run.values.insert(cores, seconds / wall);
    }
}

/// When each caller speaks within the interval, in that order.
fn schedule(calls: u32, interval_ns: u64) -> Vec<(u64, usize)> {
    let mut random = Random(20);
    let mut due: Vec<(u64, usize)> = (0..calls as usize)
        .map(|caller| (random.next() % interval_ns, caller))
        .collect();
    due.sort_unstable();
    due
}

fn speak(
    speech: Speech,
    mut callers: Vec<Caller>,
    due: &[(u64, usize)],
    frames_each: u64,
    begin_ns: u64,
    warm_ns: u64,
    sent: &AtomicU64,
) -> Spoken {
    be_punctual();
    let interval_ns = u64::from(speech.frame_ms) * 1_000_000;
    let mut encoder = Encoder::new(speech.frame_ms);
    let mut late_ns = Vec::new();
    // Whose socket is full.
    let mut waiting: Vec<usize> = Vec::new();
    let go_on = |callers: &mut [Caller], waiting: &mut Vec<usize>| {
        waiting.retain(|caller| !callers[*caller].flush());
    };
    for frame in 0..frames_each {
        for (phase, caller) in due {
            let due = begin_ns + frame * interval_ns + phase;
            let mut now = now_ns();
            while now < due {
                sleep_until(if waiting.is_empty() {
                    due
                } else {
                    due.min(now + LOOK_NS)
                });
                go_on(&mut callers, &mut waiting);
                now = now_ns();
            }
            if now >= warm_ns {
                late_ns.push(now - due);
            }
            encoder.clear();
            speech.frame(&mut callers[*caller], &mut encoder, now);
            if !callers[*caller].send(encoder.bytes()) && !waiting.contains(caller) {
                waiting.push(*caller);
            }
            sent.fetch_add(1, Relaxed);
        }
        go_on(&mut callers, &mut waiting);
    }
    let until_ns = now_ns();
    while !waiting.is_empty() && now_ns() < until_ns + PATIENCE_S * SECOND_NS {
        sleep(Duration::from_millis(1));
        go_on(&mut callers, &mut waiting);
    }
    Spoken {
        callers,
        late_ns,
        until_ns,
    }
}

/// How often full sockets are tried again.
const LOOK_NS: u64 = 500_000;
const PATIENCE_S: u64 = 60;
