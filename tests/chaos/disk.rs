//! The disk under the journal, made slow or full for one process: a library that is loaded before the C
//! library (`disk.c`, compiled when it is first needed), and a page that tells it what to do.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// What the library looks at.
pub(crate) struct Disk {
    page: File,
    path: PathBuf,
}

impl Disk {
    pub(crate) fn new(below: &Path) -> Self {
        let path = below.join("disk");
        let page = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)
            .expect("a file");
        let disk = Self { page, path };
        disk.heal();
        disk
    }

    /// The environment of a process that is to have this disk.
    pub(crate) fn env(&self) -> [(&'static str, String); 2] {
        let path = self.path.display().to_string();
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("CHAOS_DISK", path),
        ]
    }

    /// Every sync takes so much longer.
    pub(crate) fn slow(&self, by_ms: u64) {
        let by_ms = u32::try_from(by_ms).expect("short");
        self.page
            .write_all_at(&by_ms.to_ne_bytes(), 0)
            .expect("a write");
    }

    /// Nothing more fits on it.
    pub(crate) fn fill(&self) {
        self.page
            .write_all_at(&1_u32.to_ne_bytes(), 4)
            .expect("a write");
    }

    pub(crate) fn empty(&self) {
        self.page
            .write_all_at(&0_u32.to_ne_bytes(), 4)
            .expect("a write");
    }

    pub(crate) fn heal(&self) {
        self.slow(0);
        self.empty();
    }
}

fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (made, library) = (
            folder.join(format!("disk-{}.so", std::process::id())),
            folder.join("chaos-disk.so"),
        );
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .arg(&made)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/disk.c"))
            .arg("-ldl")
            .status()
            .expect("cc is installed (`make tools` sees to it)");
        assert!(done.success(), "disk.c compiles");
        // In one step, since another process may be at the same.
        std::fs::rename(&made, &library).expect("it can be renamed");
        library
    })
}

#[test]
fn a_full_disk_refuses_files_and_leaves_pipes_alone() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let disk = Disk::new(dir.path());
    let target = dir.path().join("file");
    let dd = || {
        let mut dd = Command::new("dd");
        dd.args([
            "if=/dev/zero",
            "bs=512",
            "count=4",
            "conv=fsync",
            "status=none",
        ])
        .arg(format!("of={}", target.display()))
        .envs(disk.env());
        dd.output().expect("dd runs")
    };
    assert!(dd().status.success());
    disk.fill();
    let full = dd();
    assert!(!full.status.success());
    assert!(!full.stderr.is_empty(), "it can still complain");
    disk.empty();
    disk.slow(50);
    let began = tokio::time::Instant::now();
    assert!(dd().status.success());
    assert!(began.elapsed().as_millis() >= 50);
}
