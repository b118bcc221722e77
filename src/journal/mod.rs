//! The journal (stub).

use std::path::PathBuf;

/// Where the journal lives and how large it may grow.
#[derive(Debug, Clone)]
pub struct Settings {
    pub dir: PathBuf,
    pub max_bytes: u64,
}
