//! What connections cost besides their frames: memory while they are silent, and time to make and close them.

use std::time::Duration;

use anyhow::Result;

use crate::{
    clock::{now_ns, sleep},
    load::{Crowd, Speech, encoder::Encoder},
    results::Run,
    servers::Stage,
    usage::{Cpu, rss_kib},
};

/// Memory: a handful of calls first, which pay for what is there once, then `count` more; all have spoken `spoken` frames
/// each when they fall silent.
pub(crate) fn idle(
    stage: &Stage,
    speech: Speech,
    count: u32,
    spoken: u32,
    run: &mut Run,
) -> Result<()> {
    let server = stage.server.pid;
    let mut encoder = Encoder::new(speech.frame_ms);
    run.values.insert("base_mib", rss_kib(server) / 1024.0);
    let (mut callers, mut rss) = (Vec::new(), Vec::new());
    for calls in [HANDFUL, count] {
        let mut more = Crowd::new(calls, speech).gather(&stage.door, &mut encoder)?;
        for _ in 0..spoken {
            speech.speak_once(&mut more, &mut encoder);
            sleep(Duration::from_millis(50));
        }
        callers.extend(more);
        // Longer than the allocator keeps what it no longer needs.
        sleep(Duration::from_millis(2_500));
        rss.push(rss_kib(server));
    }
    run.values
        .insert("kib_each", (rss[1] - rss[0]) / f64::from(count));
    let gone = callers
        .iter_mut()
        .filter_map(|c| c.is_gone().then_some(()))
        .count();
    run.values.insert("dropped_connections", gone as f64);
    Ok(())
}

/// Time: `count` connections made and closed, 32 at a time; with a call begun and ended on each, or without.
pub(crate) fn made_and_closed(
    stage: &Stage,
    speech: Speech,
    count: u32,
    with_call: bool,
    run: &mut Run,
) -> Result<()> {
    let mut encoder = Encoder::new(speech.frame_ms);
    make_and_close(stage, speech, HANDFUL * 5, with_call, &mut encoder)?;
    let (begin, began_ns) = (Cpu::of(stage.server.pid), now_ns());
    make_and_close(stage, speech, count, with_call, &mut encoder)?;
    let seconds = Cpu::of(stage.server.pid).since(begin);
    let wall = (now_ns() - began_ns) as f64 / 1e9;
    run.values
        .insert("connection_us", seconds * 1e6 / f64::from(count));
    run.values
        .insert("connections_per_s", f64::from(count) / wall);
    Ok(())
}

fn make_and_close(
    stage: &Stage,
    speech: Speech,
    count: u32,
    with_call: bool,
    encoder: &mut Encoder,
) -> Result<()> {
    let crowd = Crowd::new(count, speech);
    let mut from = 0;
    while from < count {
        let until = count.min(from + AT_A_TIME);
        let mut callers = stage.door.open(&crowd.run, from, until)?;
        for caller in &mut callers {
            if with_call {
                caller.start(encoder);
                caller.stop(encoder);
            } else {
                caller.close(encoder);
            }
        }
        let patience = now_ns() + 5_000_000_000;
        while callers.iter_mut().any(|caller| !caller.is_gone()) && now_ns() < patience {
            sleep(Duration::from_micros(200));
        }
        from = until;
    }
    sleep(Duration::from_millis(300));
    Ok(())
}

const HANDFUL: u32 = 20;
const AT_A_TIME: u32 = 32;
