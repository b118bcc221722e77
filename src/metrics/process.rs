//! What the system says of this process, under the names that all Prometheus clients use. From `/proc`: where there is
//! none, the samples are missing.

use std::{fs, time::Duration};

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::text::Page;

/// Adds them. Reads files, some of them with a line per open file: not for a thread that must not block.
pub fn write(page: &mut Page, started_ms: u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let used = Duration::try_from(used).unwrap_or_default();
    page.counter(
        "process_cpu_seconds_total",
        "Processor time that was used, by the program and for it in the kernel.",
    )
    .value(used.as_secs_f64());
    let started = Duration::from_millis(started_ms);
    page.gauge(
        "process_start_time_seconds",
        "When it started, in seconds since 1970.",
    )
    .value(started.as_secs_f64());
    let mut gauge = |name, help, value: Option<u64>| {
        if let Some(value) = value {
            page.gauge(name, help).value(value);
        }
    };
    gauge(
        "process_resident_memory_bytes",
        "Memory in use.",
        kibibytes(&status, "VmRSS:"),
    );
    gauge(
        "process_virtual_memory_bytes",
        "Addresses in use.",
        kibibytes(&status, "VmSize:"),
    );
    gauge("process_threads", "Threads.", number(&status, "Threads:"));
    gauge(
        "process_open_fds",
        "Open files; each connection is one.",
        open_files(),
    );
    gauge(
        "process_max_fds",
        "Files that may be open.",
        getrlimit(Resource::Nofile).current,
    );
}

fn open_files() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    // The list itself was open while it was read.
    u64::try_from(listed).ok()?.checked_sub(1)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    number(status, name)?.checked_mul(1024)
}

fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_described() {
        let status = "Name:\tx\nVmSize:\t  2048 kB\nThreads:\t7\n";
        assert_eq!(kibibytes(status, "VmSize:"), Some(2 << 20));
        assert_eq!(number(status, "Threads:"), Some(7));
        assert_eq!(number(status, "VmRSS:"), None);
        let mut page = Page::default();
        write(&mut page, 1500);
        let text = page.into_text();
        assert!(
            text.contains("\nprocess_start_time_seconds 1.5\n"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE process_").count(), 7, "{text}");
    }
}
