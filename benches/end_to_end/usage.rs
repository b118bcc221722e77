//! What a process has used: the scheduler's run time of its threads, and its memory.

use std::fs;

use crate::clock::now_ns;

/// Processor time until now.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    /// Of the threads that live, to the nanosecond.
    exact_ns: u64,
    /// Of those that have ended, too, in hundredths of a second.
    ticks: u64,
}

impl Cpu {
    pub(crate) fn of(pid: u32) -> Self {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let run_time = |task: fs::DirEntry| -> Option<u64> {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: user and system time are the 12th and 13th field.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(11).take(2);
        Self {
            exact_ns: tasks.flatten().filter_map(run_time).sum(),
            ticks: ticks.filter_map(|field| field.parse::<u64>().ok()).sum(),
        }
    }

    /// Seconds since then; by ticks where a thread that had run much has ended since.
    pub(crate) fn since(self, then: Self) -> f64 {
        let exact = (self.exact_ns as f64 - then.exact_ns as f64) / 1e9;
        let ticks = (self.ticks as f64 - then.ticks as f64) / TICKS_PER_S;
        let apart = (exact - ticks).abs();
        if apart <= 0.03 + 0.03 * ticks {
            exact
        } else {
            ticks
        }
    }
}

/// All three at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub at_ns: u64,
    pub server: Cpu,
    pub redis: Cpu,
    pub bench: Cpu,
}

impl Moment {
    pub(crate) fn now(server: u32, redis: u32) -> Self {
        Self {
            at_ns: now_ns(),
            server: Cpu::of(server),
            redis: Cpu::of(redis),
            bench: Cpu::of(std::process::id()),
        }
    }
}

/// Memory in KiB, without what the system keeps for the sockets.
pub(crate) fn rss_kib(pid: u32) -> f64 {
    status(pid, "VmRSS:")
}

/// The most that it had since [`forget_peak`].
pub(crate) fn peak_rss_kib(pid: u32) -> f64 {
    status(pid, "VmHWM:")
}

pub(crate) fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a child's peak can be reset");
}

fn status(pid: u32, name: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = text.lines().find_map(|line| line.strip_prefix(name));
    let number = field.and_then(|field| field.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0.0)
}

/// The unit of /proc/PID/stat on every Linux that we run on.
const TICKS_PER_S: f64 = 100.0;
