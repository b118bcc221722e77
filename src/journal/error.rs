//! Why the journal cannot do what it was asked to, and what to do about it.
//!
//! Invariant: none of these loses a record that was taken: each says what is kept.

use std::{io, path::PathBuf};

/// Why a journal cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the journal in {dir} is being written by another process ({pid}): stop that one, or set JOURNAL_DIR to a directory of its own"
    )]
    Held { dir: PathBuf, pid: String },
    #[error(
        "cannot open the journal in {dir}: JOURNAL_DIR must be a directory that this user may write to"
    )]
    Io {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why a record was not taken. The ones before it are not affected.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(
        "the journal has reached JOURNAL_MAX_BYTES ({max_bytes}): raise it, or bring Redis back"
    )]
    Full { max_bytes: u64 },
    #[error(
        "a record of {bytes} bytes is larger than the {limit} that the journal takes: lower MAX_MESSAGE_BYTES, or raise JOURNAL_MAX_BYTES"
    )]
    TooLarge { bytes: u64, limit: u64 },
    /// The memory for unsynced records is full, and making it free did not work.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

/// Why records are not on the disk yet. All of them are kept; syncing again tries again.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error(
        "cannot begin the journal segment {path}: see that the disk has room and may be written to"
    )]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot write the journal segment {path}: see that the disk has room and may be written to"
    )]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot sync the journal segment {path}: see whether the disk is failing")]
    Sync {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot remove the journal segment {path} to make room: see that its directory may be written to"
    )]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why released records still take up room. Releasing again tries again.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("cannot write the journal's cursor: see that the disk has room and may be written to")]
    Cursor(#[source] io::Error),
    #[error("cannot remove the journal segment {path}: see that its directory may be written to")]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why a journal cannot be read. Reading again tries again.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no journal in {dir}: see what JOURNAL_DIR is where the service runs")]
    NoJournal { dir: PathBuf },
    #[error("cannot read {path}: see that this user may read it")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the segments of the journal in {dir} are removed faster than they can be opened")]
    Vanishing { dir: PathBuf },
}
