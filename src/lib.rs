//! Audio ingest for real-time agent assist (map to come).

pub mod cli;
pub mod config;

pub mod server;
pub mod simulate;

pub mod admission;
pub mod auth;
pub mod connection;

pub mod journal;
pub mod publisher;
pub mod telemetry;

pub mod audio;
pub mod duration;
pub mod secret;
