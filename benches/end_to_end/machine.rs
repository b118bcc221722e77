//! Who runs where: the measured server alone on CPU 1; Redis, the callers and the consumer on CPU 0.
//!
//! A child inherits the CPUs of the thread that starts it, and so do the threads that it then starts: so this thread moves
//! over for the moment. Invariant: a server that sizes itself by the CPUs it may use gets one thread, and every figure is per core.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the measured server runs.
const SERVER: usize = 1;
/// Where all others run.
const OTHERS: usize = 0;

static PINNED: OnceLock<bool> = OnceLock::new();

/// Puts this process on its CPU, if there are two to choose from; whether it did. To be called once, first.
pub(crate) fn settle(wanted: bool) -> bool {
    let two = sched_getaffinity(None).is_ok_and(|cpus| cpus.is_set(SERVER) && cpus.is_set(OTHERS));
    let pinned = *PINNED.get_or_init(|| wanted && two);
    stay_on(OTHERS);
    pinned
}

/// Runs `start` as a server would be run.
pub(crate) fn on_the_servers_cpu<T>(start: impl FnOnce() -> T) -> T {
    stay_on(SERVER);
    let started = start();
    stay_on(OTHERS);
    started
}

fn stay_on(cpu: usize) {
    if PINNED.get().is_some_and(|pinned| *pinned) {
        let mut cpus = CpuSet::new();
        cpus.set(cpu);
        sched_setaffinity(None, &cpus).expect("a CPU that may be used can be chosen");
    }
}

/// What the figures come from, for the report.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let release = kernel.split('-').next().unwrap_or_default().trim();
    format!("{cores} × {model}, Linux {release}")
}
