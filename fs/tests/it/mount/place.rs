//! A directory to mount on, and the ways in which things go wrong there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use cairn_fs::mount::{Mount, MountOptions};
use cairn_fs::ops::Operations;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, UnmountFlags, fsconfig_create, fsmount, fsopen};

/// Short enough to be waited for.
pub(super) const DEADLINE: Duration = Duration::from_millis(500);

/// Left unmounted whatever happens.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
}

impl Place {
    /// `None`, and a line in the output, where mounting isn't possible.
    pub(super) fn new() -> Option<Self> {
        if !Path::new("/dev/fuse").exists() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs /dev/fuse and root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        Some(Self { dir })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub(super) fn mount(&self, ops: Arc<dyn Operations>) -> Mount {
        Mount::start(ops, &self.path(), &[], &options()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        while rustix::mount::unmount(self.path(), UnmountFlags::DETACH).is_ok() {}
    }
}

pub(super) fn options() -> MountOptions {
    MountOptions { deadline: DEADLINE, ..MountOptions::new("toy") }
}

pub(super) fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Waits for something that another thread brings about.
pub(super) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The abort that the kernel offers for every FUSE mount: what a crash of the node looks like from outside.
pub(super) fn cut_connection(path: &Path) {
    let minor = rustix::fs::minor(fs::metadata(path).unwrap().dev());
    let control = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_create(&control).unwrap();
    let root = fsmount(&control, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    let file = rustix::fs::openat(root, format!("{minor}/abort"), OFlags::WRONLY, Mode::empty()).unwrap();
    rustix::io::write(file, b"1").unwrap();
}
