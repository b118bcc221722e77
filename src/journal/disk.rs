//! Every step by which the writer changes the disk, so that tests can make each of them fail. What a failure means is
//! the writer's business.
//!
//! Invariant: when a call returns without an error, what it did to the directory survives a crash, but for
//! [`Disk::remove`]: a segment that comes back is removed again.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Recorded calls are nobody else's.
pub(crate) const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    #[cfg(test)]
    pub(crate) faults: faults::Faults,
}

impl Disk {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            #[cfg(test)]
            faults: faults::Faults::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a file that was not there.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        let path = self.path(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(&path)?;
        if let Err(error) = self.sync_dir() {
            // Best effort: an empty segment that stays is no harm.
            drop(std::fs::remove_file(&path));
            return Err(error);
        }
        Ok(file)
    }

    /// Writes all of `bytes` at `at`; after an error any part of them may be there.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests make it fail"))]
    pub(crate) fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.write(file, bytes, at)?;
        file.write_all_at(bytes, at)
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests make it fail"))]
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        file.sync_data()
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests make it fail"))]
    pub(crate) fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.truncate()?;
        file.set_len(len)
    }

    /// Removes a file; one that is gone already is removed.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts `bytes` in the place of a small file, whole or not at all.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(PRIVATE_FILE)
            .open(&new)?;
        self.write(&file, bytes, 0)?;
        self.sync(&file)?;
        std::fs::rename(&new, &path)?;
        self.sync_dir()
    }

    pub(crate) fn sync_dir(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Makes `dir` and those above it that are missing, so that they survive a crash.
pub(crate) fn make_dir(dir: &Path) -> io::Result<()> {
    let missing: Vec<_> = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(dir)?;
    for made in missing {
        let above = match made.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod faults {
    use std::{fs::File, io, os::unix::fs::FileExt, sync::Mutex};

    /// What fails from now on.
    #[derive(Debug, Default)]
    pub(crate) struct Faults(Mutex<Plan>);

    #[derive(Debug, Default, Clone, Copy)]
    pub(crate) struct Plan {
        /// So many bytes can still be written, then the disk is full.
        pub(crate) room: Option<u64>,
        pub(crate) sync_fails: bool,
        pub(crate) truncate_fails: bool,
    }

    impl Faults {
        pub(crate) fn set(&self, plan: Plan) {
            *self.0.lock().unwrap() = plan;
        }

        pub(super) fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
            let mut plan = self.0.lock().unwrap();
            let Some(room) = &mut plan.room else {
                return Ok(());
            };
            let fits = bytes.len().min(usize::try_from(*room).unwrap());
            *room -= fits as u64;
            if fits == bytes.len() {
                return Ok(());
            }
            file.write_all_at(&bytes[..fits], at)?;
            Err(io::ErrorKind::StorageFull.into())
        }

        pub(super) fn sync(&self) -> io::Result<()> {
            fail_if(self.0.lock().unwrap().sync_fails)
        }

        pub(super) fn truncate(&self) -> io::Result<()> {
            fail_if(self.0.lock().unwrap().truncate_fails)
        }
    }

    fn fail_if(fails: bool) -> io::Result<()> {
        if fails {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_made_is_private() {
        let above = tempfile::tempdir().unwrap();
        let dir = above.path().join("data").join("journal");
        make_dir(&dir).unwrap();
        make_dir(&dir).unwrap();
        let disk = Disk::new(&dir);
        disk.create("a").unwrap();
        disk.create("a").unwrap_err();
        disk.replace("b", b"1").unwrap();
        disk.replace("b", b"2").unwrap();
        assert_eq!(std::fs::read(disk.path("b")).unwrap(), b"2");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&disk.path("a")), 0o600);
        assert_eq!(mode(&disk.path("b")), 0o600);
        disk.remove("a").unwrap();
        disk.remove("a").unwrap();
    }
}
