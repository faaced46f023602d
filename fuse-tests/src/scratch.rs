//! Temporary directories that know whose they are, so that a run which was killed can be cleaned up by the next.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::mounts;

const PREFIX: &str = "cairn-test-";
/// Where Linux keeps files in memory for everyone.
const MEMORY: &str = "/dev/shm";

/// A directory that goes away with this value, together with whatever is still mounted below it.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    /// A fresh directory under the system's temporary directory (`TMPDIR`).
    pub fn new() -> Scratch {
        Scratch::below(&std::env::temp_dir())
    }

    /// A fresh directory in memory where there is one: for what would wait for a disk a thousand times without need of it.
    pub fn in_memory() -> Scratch {
        let memory = Path::new(MEMORY);
        if memory.is_dir() { Scratch::below(memory) } else { Scratch::new() }
    }

    fn below(parent: &Path) -> Scratch {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent).expect("a temporary directory");
        // Other users are among those who judge: they must be able to reach what is mounted inside.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("chmod of our own directory");
        Scratch { dir }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new folder in it.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.dir.path().join(name);
        std::fs::create_dir(&folder).expect("a folder in our own scratch");
        folder
    }

    /// A new folder in it, in which ext4 gives each folder a region of the disk of its own. For minutes after a removal it
    /// steps around the inodes that became free: whoever is measured next, in the same region, would pay for that with
    /// several times what making its files costs.
    pub fn folder_of_regions(&self, name: &str) -> PathBuf {
        let folder = self.folder(name);
        let apart = |directory: std::fs::File| {
            let flags = rustix::fs::ioctl_getflags(&directory)?;
            rustix::fs::ioctl_setflags(&directory, flags | rustix::fs::IFlags::TOPDIR)
        };
        // Other filesystems have no such flag, and most no such habit.
        if let Ok(directory) = std::fs::File::open(&folder) {
            let _ = apart(directory);
        }
        folder
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        end_processes_at_home_in(self.dir.path());
        // Before the directory is removed: nothing that is mounted in it may be emptied by accident.
        for mount in mounts::below(self.dir.path()) {
            mounts::remove(&mount);
        }
        if !mounts::below(self.dir.path()).is_empty() {
            self.dir.disable_cleanup(true);
            crate::report::say(&format!("left behind, still mounted: {}", self.dir.path().display()));
        }
    }
}

/// Removes what runs that no longer exist left behind: their nodes, mounts and directories.
pub fn sweep() {
    let entries = [std::env::temp_dir(), MEMORY.into()].into_iter().filter_map(|parent| std::fs::read_dir(parent).ok());
    for entry in entries.flatten().flatten() {
        if owner_of(&entry.file_name().to_string_lossy()).is_some_and(is_gone) {
            sweep_one(&entry.path());
        }
    }
}

fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn sweep_one(dir: &Path) {
    end_processes_at_home_in(dir);
    for mount in mounts::below(dir) {
        mounts::remove(&mount);
    }
    if mounts::below(dir).is_empty() {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// Ends the processes whose HOME lies in `dir`: nobody but our nodes has a home there.
fn end_processes_at_home_in(dir: &Path) {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.filter(|pid| home_of(*pid).is_some_and(|home| home.starts_with(dir))) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

fn home_of(pid: i32) -> Option<PathBuf> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let home = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"HOME="))?;
    Some(PathBuf::from(String::from_utf8_lossy(home).into_owned()))
}
