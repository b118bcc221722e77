//! The way of frames out (stub).

use std::{path::PathBuf, time::Duration};

use crate::secret::Secret;

/// Where frames go and how.
#[derive(Debug, Clone)]
pub struct Settings {
    pub destination: Destination,
    /// Stream key of the frames; with several shards the shard's number follows in braces.
    pub stream: String,
    pub shards: u16,
    pub trim: Trim,
    pub consumer_groups: Vec<String>,
    pub gather: Duration,
    pub format: FrameFormat,
}

#[derive(Debug, Clone)]
pub enum Destination {
    Redis(RedisSettings),
    /// The embedded journal. `meant` tells whether the operator asked for it or merely set no `REDIS_URL`.
    Journal {
        meant: bool,
    },
}

#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// One or several URLs; each may hold a password.
    pub urls: Vec<Secret>,
    pub topology: Topology,
    pub tls_ca: Option<PathBuf>,
    pub tls_client: Option<crate::server::TlsFiles>,
}

#[derive(Debug, Clone)]
pub enum Topology {
    Standalone,
    Cluster,
    Sentinel {
        master: String,
        password: Option<Secret>,
    },
}

/// What bounds the stream of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trim {
    Age(Duration),
    Length(u64),
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFormat {
    Json,
    Fields,
}
