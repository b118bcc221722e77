//! The lock that keeps a journal to one writer. Readers need none.
//!
//! Invariant: the lock lives as long as the file this returns, and the kernel gives it back when the process dies.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::disk::PRIVATE_FILE;

#[derive(Debug)]
pub(crate) enum LockError {
    /// By the process with this id, as far as the file says.
    Held(String),
    Io(io::Error),
}

pub(crate) fn take(dir: &Path) -> Result<File, LockError> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(dir.join("lock"))
        .map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => {
            // A full disk must not keep the service from starting: without the id the refusal of a second writer is
            // only less telling.
            drop(write_pid(&mut file));
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(LockError::Held(read_pid(&file))),
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text) {
        Ok(_) if text.trim().parse::<u32>().is_ok() => text.trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_hears_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("lock"), "4194304999 left by another\n").unwrap();
        let held = take(dir.path()).unwrap();
        match take(dir.path()) {
            Err(LockError::Held(pid)) => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other:?}"),
        }
        drop(held);
        take(dir.path()).unwrap();
    }
}
