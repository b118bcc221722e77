//! The Redis that the service writes to, as far as it can be reached from here: its fitness, and what arrived in it.
//!
//! What its INFO means is in `server.rs`, looking for the call in `arrival.rs`. Invariants: nothing is written; no word of
//! a URL but host and port is told; each question is answered within the limit or not at all.

pub(super) mod arrival;
mod server;

use std::{future::Future, time::Duration};

use redis::{Value, cmd};
use tokio::time::{Instant, timeout};

use self::{
    arrival::Sent,
    server::{Expected, Info},
};
use super::{clock::Reading, network::timed_out, step::Step};
use crate::{
    clock,
    publisher::{
        self, Destination, LinkError,
        groups::glance::{self, Glance},
        link::{Dial, Link},
        reply,
    },
};

/// A server that is open.
#[derive(Debug)]
pub(super) struct Store {
    settings: publisher::Settings,
    address: String,
    link: Link,
    limit: Duration,
}

/// Connects, or says why not.
pub(super) async fn open(settings: &publisher::Settings, limit: Duration) -> Result<Store, Step> {
    let Destination::Redis(redis) = &settings.destination else {
        return Err(Step::skipped(
            "redis",
            "no REDIS_URL is set here: give the service's with --redis to see whether frames arrive",
        ));
    };
    let unreachable = |error: LinkError| {
        Step::failed(
            "redis",
            error.to_string(),
            "compare REDIS_URL with the one where the service runs; a Redis that only the service can reach is examined from there",
        )
    };
    let address = redis.address().map_err(unreachable)?;
    let dial = Dial::new(redis, "", &[]).map_err(unreachable)?;
    let link = within(limit, dial.connect()).await.map_err(unreachable)?;
    Ok(Store {
        settings: settings.clone(),
        address,
        link,
        limit,
    })
}

impl Store {
    /// Its clock beside ours.
    pub(super) async fn clock(&mut self) -> Option<Reading> {
        let before_ms = clock::epoch_ms();
        let time = within(self.limit, self.link.request(&cmd("TIME")))
            .await
            .ok()?;
        let Value::Array(parts) = time else {
            return None;
        };
        let [Value::BulkString(seconds), Value::BulkString(micros)] = parts.as_slice() else {
            return None;
        };
        let number = |digits: &[u8]| str::from_utf8(digits).ok()?.parse::<u64>().ok();
        Some(Reading {
            who: "Redis",
            theirs_ms: number(seconds)? * 1_000 + number(micros)? / 1_000,
            before_ms,
            after_ms: clock::epoch_ms(),
        })
    }

    /// Its version, limits and disk; `calls` are expected at a time.
    pub(super) async fn fitness(&mut self, calls: Option<u64>) -> Vec<Step> {
        let began = Instant::now();
        let info = within(self.limit, self.link.request(&cmd("INFO"))).await;
        let info = match info {
            Ok(Value::BulkString(text)) => Info(String::from_utf8_lossy(&text).into_owned()),
            Ok(Value::VerbatimString { text, .. }) => Info(text),
            Ok(Value::ServerError(error)) => {
                let seen = format!(
                    "{}: INFO is refused: {}",
                    self.address,
                    reply::words(&error)
                );
                let fix = "allow the user INFO, to see version, eviction and memory";
                return vec![Step::warning("redis", seen, fix)];
            }
            Ok(_) => Info(String::new()),
            Err(error) => {
                return vec![Step::failed(
                    "redis",
                    error.to_string(),
                    "see whether it hangs",
                )];
            }
        };
        let expected = Expected {
            calls,
            trim: self.settings.trim,
            format: self.settings.format,
        };
        vec![
            info.server(&self.address, began.elapsed()),
            info.eviction(),
            info.memory(expected),
            info.persistence(),
        ]
    }

    pub(super) async fn arrival(&self, sent: &Sent) -> Vec<Step> {
        arrival::look(&self.settings, sent, self.limit).await
    }

    /// The readers of every stream of frames, and whether trimming overtakes them.
    pub(super) async fn groups(&mut self) -> Step {
        let mut seen = Vec::new();
        let mut faults = Vec::new();
        for key in self.settings.frame_keys() {
            let looking = glance::glance(&mut self.link, &key, self.settings.trim);
            match within(self.limit, looking).await {
                Ok(Glance::Groups(groups)) => {
                    for group in groups {
                        seen.push(format!("{} of {key} {}", group.name, group.seen));
                        faults.extend(
                            group
                                .problem
                                .map(|problem| (format!("{} loses audio", group.name), problem)),
                        );
                    }
                }
                Ok(Glance::Absent) => seen.push(format!("there is no stream {key}")),
                Ok(Glance::Refused(words)) => {
                    return Step::skipped(GROUPS, format!("Redis does not let us look: {words}"));
                }
                Err(error) => return Step::skipped(GROUPS, error.to_string()),
            }
        }
        if seen.is_empty() {
            return Step::warning(
                GROUPS,
                "no consumer group reads the stream",
                "workers that use XREAD need none; else set AUDIO_CONSUMER_GROUPS to the workers' groups, so that one that starts late misses nothing",
            );
        }
        Step::judged(GROUPS, &seen.join(", "), faults, Vec::new())
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    timeout(limit, work)
        .await
        .unwrap_or_else(|_elapsed| Err(timed_out().into()))
}

const GROUPS: &str = "groups";
