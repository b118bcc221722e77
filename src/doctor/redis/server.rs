//! Whether a Redis server is fit to keep audio, from what its INFO says. Pure.
//!
//! Invariant: a member that a server does not tell is no fault.

use std::time::Duration;

use crate::{doctor::step::Step, publisher::Trim, record::frame::FrameFormat};

/// The text of INFO.
#[derive(Debug)]
pub(super) struct Info(pub(super) String);

/// What the calls that are expected will need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) calls: Option<u64>,
    pub(super) trim: Trim,
    pub(super) format: FrameFormat,
}

impl Info {
    fn text(&self, name: &str) -> Option<&str> {
        let lines = self.0.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().map(str::trim)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Version and role.
    pub(super) fn server(&self, address: &str, took: Duration) -> Step {
        let version = self.text("redis_version").unwrap_or("of unknown version");
        let role = self.text("role").unwrap_or("master");
        let seen = format!(
            "{address}: Redis {version}, answers in {:.1} ms",
            took.as_secs_f64() * 1_000.0
        );
        let mut faults = Vec::new();
        let mut numbers = version
            .split('.')
            .map_while(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next(), numbers.next());
        if major.is_some_and(|major| (major, minor.unwrap_or(0)) < (6, 2)) {
            faults.push(told(
                "older than 6.2",
                "use Redis 6.2 or newer: older ones cannot trim by age",
            ));
        }
        if role == "slave" {
            faults.push(told(
                "a replica, which takes no writes",
                "point REDIS_URL at the primary",
            ));
        }
        if self.number("loading") == Some(1) {
            faults.push(told("it is loading its data", "wait: it passes by itself"));
        }
        Step::judged("redis", &seen, faults, Vec::new())
    }

    pub(super) fn eviction(&self) -> Step {
        const NAME: &str = "eviction";
        let Some(policy) = self.text("maxmemory_policy") else {
            return Step::skipped(NAME, "the server does not tell its policy");
        };
        let limit = self.number("maxmemory").unwrap_or(0);
        let seen = format!("maxmemory-policy {policy}");
        let fix = "set maxmemory-policy noeviction: when memory is full, frames then wait in the journal instead of vanishing";
        match (policy, limit) {
            ("noeviction", _) => Step::ok(NAME, seen),
            (_, 0) => Step::warning(
                NAME,
                format!("{seen}, without effect as there is no maxmemory"),
                fix,
            ),
            _ if policy.starts_with("volatile") => Step::warning(
                NAME,
                format!(
                    "{seen}: when memory is full, what is known of live calls (call:metadata) is removed"
                ),
                fix,
            ),
            _ => Step::failed(
                NAME,
                format!("{seen}: when memory is full, Redis removes whole streams of audio"),
                fix,
            ),
        }
    }

    pub(super) fn memory(&self, expected: Expected) -> Step {
        const NAME: &str = "memory";
        let Some(used) = self.number("used_memory") else {
            return Step::skipped(NAME, "the server does not tell its memory");
        };
        let limit = self.number("maxmemory").filter(|&limit| limit > 0);
        let bound = limit.or_else(|| self.number("total_system_memory"));
        let of = match (limit, bound) {
            (Some(limit), _) => format!(" of {}", mib(limit)),
            (None, Some(system)) => format!(", no maxmemory, {} in the machine", mib(system)),
            (None, None) => String::new(),
        };
        let need = expected
            .calls
            .and_then(|calls| Some((calls, expected.bytes(calls)?)));
        let for_calls = need.map_or_else(String::new, |(calls, bytes)| {
            format!("; {calls} calls need about {}", mib(bytes))
        });
        let seen = format!("{} used{of}{for_calls}", mib(used));
        let Some(bound) = bound else {
            return Step::ok(NAME, seen);
        };
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        if used > bound / 10 * 9 {
            faults.push(told(
                "it is nearly full",
                "raise maxmemory, or lower AUDIO_STREAM_RETENTION_S",
            ));
        }
        if need.is_some_and(|(_, bytes)| bytes > bound / 10 * 9) {
            faults.push(told(
                "that is more than there is",
                "raise maxmemory, lower AUDIO_STREAM_RETENTION_S, or set FRAME_FORMAT=fields, which takes a third less",
            ));
        }
        if expected.calls.is_some() && matches!(expected.trim, Trim::Never) {
            warnings.push(told(
                "nothing is ever trimmed",
                "set AUDIO_STREAM_RETENTION_S, or remove what was read yourself",
            ));
        }
        if limit.is_none() {
            warnings.push(told(
                "without a limit the system may end Redis when memory is short",
                "set maxmemory to what Redis may have",
            ));
        }
        Step::judged(NAME, &seen, faults, warnings)
    }

    pub(super) fn persistence(&self) -> Step {
        let aof = self.number("aof_enabled") == Some(1);
        let seen = if aof {
            "append-only file on"
        } else {
            "append-only file off: what a crash of Redis takes with it is not sent again"
        };
        let mut faults = Vec::new();
        if self.text("rdb_last_bgsave_status") == Some("err") {
            faults.push(told(
                "its last snapshot failed, and by default it then refuses writes",
                "free disk space on the Redis server, or mend its persistence",
            ));
        }
        if aof && self.text("aof_last_write_status") == Some("err") {
            faults.push(told(
                "it cannot write its append-only file",
                "free disk space on the Redis server",
            ));
        }
        Step::judged("persistence", seen, faults, Vec::new())
    }
}

impl Expected {
    /// What the stream will hold; unknown where nothing is trimmed.
    fn bytes(&self, calls: u64) -> Option<u64> {
        let entry = match self.format {
            FrameFormat::Json => JSON_ENTRY_BYTES,
            FrameFormat::Fields => FIELDS_ENTRY_BYTES,
        };
        let entries = match self.trim {
            Trim::Age(kept) => calls
                .saturating_mul(FRAMES_PER_S)
                .saturating_mul(kept.as_secs()),
            Trim::Length(kept) => kept,
            Trim::Never => return None,
        };
        Some(entries.saturating_mul(entry))
    }
}

fn told(seen: &str, advice: &str) -> (String, String) {
    (seen.to_owned(), advice.to_owned())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Of Exotel's frames, 20 ms at 8 kHz, in Redis's memory (docs/operations.md).
const JSON_ENTRY_BYTES: u64 = 820;
const FIELDS_ENTRY_BYTES: u64 = 585;
const FRAMES_PER_S: u64 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::step::Status;

    fn info(lines: &[&str]) -> Info {
        Info(lines.join("\r\n"))
    }

    fn expected(calls: u64) -> Expected {
        Expected {
            calls: Some(calls),
            trim: Trim::Age(Duration::from_mins(2)),
            format: FrameFormat::Json,
        }
    }

    #[test]
    fn the_server_must_be_a_primary_of_6_2() {
        let of = |version: &str, role: &str| {
            let lines = [format!("redis_version:{version}"), format!("role:{role}")];
            Info(lines.join("\r\n")).server("h:1", Duration::ZERO)
        };
        assert_eq!(of("7.0.15", "master").status, Status::Ok);
        assert_eq!(of("6.2.0", "master").status, Status::Ok);
        assert!(of("6.0.16", "master").fix.contains("6.2"));
        assert!(of("7.2.4", "slave").fix.contains("primary"));
        assert_eq!(info(&[]).server("h:1", Duration::ZERO).status, Status::Ok);
    }

    #[test]
    fn eviction_takes_audio_only_if_it_takes_streams() {
        let of = |policy: &str, limit: &str| {
            info(&[
                &format!("maxmemory_policy:{policy}"),
                &format!("maxmemory:{limit}"),
            ])
            .eviction()
        };
        assert!(of("noeviction", "100").fix.is_empty());
        assert_eq!(of("allkeys-lru", "100").status, Status::Failed);
        assert!(of("allkeys-lru", "0").is_warning());
        assert!(of("volatile-ttl", "100").is_warning());
        assert_eq!(info(&[]).eviction().status, Status::Skipped);
    }

    #[test]
    fn memory_is_held_against_the_calls() {
        let of = |used: u64, limit: u64, calls| {
            info(&[
                &format!("used_memory:{used}"),
                &format!("maxmemory:{limit}"),
            ])
            .memory(expected(calls))
        };
        let fits = of(10 << 20, 1 << 30, 100);
        assert_eq!(
            fits.detail,
            "10 MiB used of 1024 MiB; 100 calls need about 470 MiB"
        );
        assert!(fits.status == Status::Ok && !fits.is_warning());
        assert!(of(10 << 20, 256 << 20, 100).fix.contains("FRAME_FORMAT"));
        assert_eq!(of(250 << 20, 256 << 20, 1).status, Status::Failed);
        assert!(
            info(&["used_memory:1", "total_system_memory:9999999"])
                .memory(expected(1))
                .fix
                .contains("maxmemory")
        );
    }

    #[test]
    fn a_disk_that_cannot_be_written_is_a_failure() {
        assert!(info(&["aof_enabled:1"]).persistence().fix.is_empty());
        assert!(
            info(&["aof_enabled:0"])
                .persistence()
                .detail
                .contains("off")
        );
        let broken = info(&["aof_enabled:1", "aof_last_write_status:err"]).persistence();
        assert_eq!(broken.status, Status::Failed);
        assert_eq!(
            info(&["rdb_last_bgsave_status:err"]).persistence().status,
            Status::Failed
        );
    }
}
