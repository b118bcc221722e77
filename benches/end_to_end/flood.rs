//! As fast as TCP takes it: 64 connections write 32 frames at a time; the stream is read back and verified afterwards.

use std::time::Duration;

use anyhow::Result;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Signal,
};

use crate::{
    clock::{now_ns, sleep},
    consumer::{all_came, note, read_back},
    load::{Crowd, Speech, caller::Caller, encoder::Encoder},
    paced::used,
    resp::Connection,
    results::Run,
    servers::Stage,
    usage::{Moment, forget_peak, peak_rss_kib, rss_kib},
};

#[derive(Clone, Copy)]
pub(crate) struct Flood {
    pub speech: Speech,
    pub frames_each: u32,
    /// Redis stands still for so long, from soon after the beginning.
    pub stall: Option<Duration>,
}

/// Runs one; an entry as the server wrote it.
pub(crate) fn run(stage: &mut Stage, plan: Flood, run: &mut Run) -> Result<Vec<u8>> {
    let crowd = Crowd::new(CONNECTIONS, plan.speech);
    let mut encoder = Encoder::new(plan.speech.frame_ms);
    let mut redis = Connection::open(stage.redis.port)?;
    let mark = redis.mark("audio_stream")?;
    let callers = crowd.gather(&stage.door, &mut encoder)?;
    sleep(Duration::from_millis(300));
    let wanted = u64::from(plan.frames_each) * u64::from(CONNECTIONS);
    let (server, redis_pid) = (stage.server.pid, stage.redis.process.pid);
    let before = rss_kib(server);
    forget_peak(server);
    let begin = Moment::now(server, redis_pid);
    let pouring =
        std::thread::Builder::new().spawn(move || pour(plan.speech, callers, plan.frames_each))?;
    if let Some(stall) = plan.stall {
        sleep(Duration::from_millis(200));
        stage.redis.process.signal(Signal::STOP);
        sleep(stall);
        stage.redis.process.signal(Signal::CONT);
    }
    let (came, came_ns) = all_came(
        wanted,
        || Ok(redis.mark("audio_stream")?.added - mark.added),
    )?;
    let end = Moment::now(server, redis_pid);
    let mut callers = pouring.join().expect("the callers end");
    used(run, begin, end, came);
    let seconds = (came_ns - begin.at_ns) as f64 / 1e9;
    run.values.insert("frames_per_s", came as f64 / seconds);
    run.values
        .insert("growth_kib", peak_rss_kib(server) - before);
    let mut finding = read_back(stage.redis.port, mark, &crowd, wanted)?;
    note(run, &mut finding, wanted, &mut callers);
    for caller in &mut callers {
        caller.stop(&mut encoder);
    }
    sleep(Duration::from_millis(200));
    Ok(finding.ledger.sample)
}

fn pour(speech: Speech, mut callers: Vec<Caller>, frames_each: u32) -> Vec<Caller> {
    let mut encoder = Encoder::new(speech.frame_ms);
    let mut full = vec![false; callers.len()];
    loop {
        let mut moved = false;
        let mut pouring = false;
        for (caller, full) in callers.iter_mut().zip(&mut full) {
            if *full {
                *full = !caller.flush();
                moved |= !*full;
                pouring = true;
                continue;
            }
            let frames = AT_ONCE.min(frames_each - caller.frames);
            if frames == 0 {
                continue;
            }
            pouring = true;
            moved = true;
            encoder.clear();
            let now = now_ns();
            for _ in 0..frames {
                speech.frame(caller, &mut encoder, now);
            }
            *full = !caller.send(encoder.bytes());
        }
        if !pouring {
            return callers;
        }
        if !moved {
            let mut sockets: Vec<PollFd<'_>> = callers
                .iter()
                .zip(&full)
                .filter(|(_, full)| **full)
                .map(|(caller, _)| PollFd::new(caller, PollFlags::OUT))
                .collect();
            // A server that reads nothing more is noticed by who counts what came.
            poll(&mut sockets, Some(&LOOK)).ok();
        }
    }
}

pub(crate) const CONNECTIONS: u32 = 64;
/// Frames in one write.
const AT_ONCE: u32 = 32;
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
