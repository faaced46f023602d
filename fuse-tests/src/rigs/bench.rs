//! Where a rig is built: a directory in memory that takes everything down with it, in the right order.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Scratch, command, mounts};

/// All images and logs of one rig lie in memory, so that a cut costs milliseconds; this bounds them.
const MEMORY: &str = "size=3g,mode=755";

/// A disk of this size holds every workload here several times over.
pub const DISK_BYTES: u64 = 96 << 20;

/// A place for a rig's files and mount points.
#[derive(Debug)]
pub struct Bench {
    ram: PathBuf,
    // Last: takes away whatever is still mounted, and ends what still runs.
    _scratch: Scratch,
}

/// Why no rig can be built here, if none can.
pub fn missing() -> Option<String> {
    if !command::is_root() {
        return Some("only root can mount a disk of its own".to_owned());
    }
    for program in ["qemu-storage-daemon", "mkfs.ext4", "e2fsck", "mount", "filefrag"] {
        if !command::exists(program) {
            return Some(format!("{program} is missing"));
        }
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            return Some(format!("there is no {device}"));
        }
    }
    let ext4 = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    (!ext4.contains("\text4\n")).then(|| "the kernel has no ext4".to_owned())
}

impl Bench {
    /// A fresh one.
    pub fn new() -> Bench {
        let scratch = Scratch::new();
        let ram = scratch.path().join("ram");
        std::fs::create_dir(&ram).expect("a directory");
        command::succeed(Command::new("mount").args(["-t", "tmpfs", "-o", MEMORY, "tmpfs"]).arg(&ram));
        Bench { ram, _scratch: scratch }
    }

    /// A path in memory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.ram.join(name)
    }

    /// A new disk image with an empty ext4 on it.
    pub fn format(&self, name: &str) -> PathBuf {
        let image = self.path(name);
        std::fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("an image");
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-b", "4096", "-N", "4096", "-m", "0", "-J", "size=4"]);
        // Nothing is written later that no workload asked for.
        mkfs.args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"]);
        command::succeed(mkfs.arg(&image));
        image
    }

    /// Mounts an image for as long as the value lives.
    pub fn mount(&self, image: &Path, name: &str, options: &str) -> Mounted {
        Mounted::new(image, &self.path(name), options)
    }
}

impl Default for Bench {
    fn default() -> Bench {
        Bench::new()
    }
}

/// A mounted image.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// Mounts `image` at `at`, which is made if it is missing.
    pub fn new(image: &Path, at: &Path, options: &str) -> Mounted {
        std::fs::create_dir_all(at).expect("a mount point");
        let options = format!("loop,{options}");
        command::succeed(Command::new("mount").args(["-t", "ext4", "-o", &options]).arg(image).arg(at));
        Mounted { at: at.to_path_buf() }
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The loop device goes with its last mount.
        if rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::empty()).is_err()
            && let Some(mount) = mounts::at(&self.at)
        {
            mounts::remove(&mount);
        }
    }
}
