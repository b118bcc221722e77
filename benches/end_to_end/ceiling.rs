//! What Redis can take at best: the entries of a flood, from one connection that does nothing else, on the CPU that Redis
//! shares with it as it does with the callers.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    clock::{now_ns, sleep},
    process::Redis,
    resp::{Connection, command},
    results::Run,
    usage::Cpu,
};

/// `entry` is one that the server wrote.
pub(crate) fn run(target: &Path, entry: &[u8], entries: u64, run: &mut Run) -> Result<()> {
    let redis = Redis::start(target)?;
    let mut socket = Connection::open(redis.port)?.socket()?;
    let one = command(&[b"XADD", b"audio_stream", b"*", b"data", entry]);
    let batch = one.repeat(BATCH as usize);
    let batches = entries / BATCH;
    let pids = [redis.process.pid, std::process::id()];
    let (begin, began_ns) = (pids.map(Cpu::of), now_ns());
    let mut answers = socket.try_clone()?;
    // An answer is an id: two lines. They are fetched once in a while, since each wake-up takes time from Redis.
    let listening = std::thread::Builder::new().spawn(move || -> Result<()> {
        let mut buffer = vec![0; 1 << 20];
        let mut lines = 0;
        while lines < batches * BATCH * 2 {
            sleep(Duration::from_millis(1));
            let length = answers.read(&mut buffer)?;
            ensure!(length > 0, "Redis hung up");
            lines += memchr::memchr_iter(b'\n', &buffer[..length]).count() as u64;
        }
        Ok(())
    })?;
    // Redis reads what it has room to execute: the socket alone sets the pace.
    for _ in 0..batches {
        socket.write_all(&batch)?;
    }
    listening.join().expect("the listener ends")?;
    let seconds = (now_ns() - began_ns) as f64 / 1e9;
    let entries = (batches * BATCH) as f64;
    run.values.insert("frames_per_s", entries / seconds);
    for ((name, pid), begin) in ["redis_us", "bench_us"].into_iter().zip(pids).zip(begin) {
        let used = Cpu::of(pid).since(begin);
        run.values.insert(name, used * 1e6 / entries);
    }
    Ok(())
}

const BATCH: u64 = 128;
