//! The log (stub).

/// How the log looks and what it lets through.
#[derive(Debug, Clone)]
pub struct Settings {
    pub format: LogFormat,
    /// A `tracing` filter, `RUST_LOG`'s syntax.
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
