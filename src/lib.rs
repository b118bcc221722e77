//! Audio ingest for real-time agent assist (map to come).

pub mod cli;
pub mod config;

pub mod app;
pub mod demo;
pub mod health;
pub mod prepared;
pub mod server;
pub mod simulate;

pub mod admission;
pub mod auth;
pub mod calls;
pub mod client_address;
pub mod connection;

pub mod clock;
pub mod journal;
pub mod publisher;
pub mod shutdown;
pub mod telemetry;

pub mod intake;

pub mod call;
pub mod dialect;
pub mod manifest;
pub mod payload;
pub mod published;
pub mod record;

pub mod audio;
pub mod duration;
pub mod frame;
pub mod secret;
