//! Why a mount point can't be used, in sentences that say what to do.

use std::io;
use std::path::PathBuf;

/// Errors of mounting and unmounting.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// An option that isn't one of ours, or has a value that can't be used.
    #[error("mount option {option:?} is not understood")]
    Option {
        /// The word as given.
        option: String,
    },
    /// The mount point isn't there.
    #[error("{path} does not exist: create the directory first (mkdir -p {path})", path = .path.display())]
    Absent {
        /// The mount point.
        path: PathBuf,
    },
    /// The mount point is a file or something stranger.
    #[error("{path} is not a directory: choose an empty directory to mount on", path = .path.display())]
    NotDirectory {
        /// The mount point.
        path: PathBuf,
    },
    /// Mounting would hide files.
    #[error("{path} is not empty: mounting would hide what is in it; choose an empty directory", path = .path.display())]
    NotEmpty {
        /// The mount point.
        path: PathBuf,
    },
    /// Something is mounted there and works.
    #[error("{path} is already a mount point of {kind} ({source_name}): unmount it first (umount {path}) or choose another directory", path = .path.display())]
    Mounted {
        /// The mount point.
        path: PathBuf,
        /// Type in the mount table.
        kind: String,
        /// Source in the mount table.
        source_name: String,
    },
    /// A filesystem that isn't ours died there.
    #[error("{path} holds a dead {kind} mount that is not ours: detach it first (fusermount3 -uz {path})", path = .path.display())]
    DeadStranger {
        /// The mount point.
        path: PathBuf,
        /// Type in the mount table.
        kind: String,
    },
    /// Something is mounted there and doesn't answer.
    #[error("{path} does not answer: a process may still serve it; end that process, or detach the mount (umount -l {path})", path = .path.display())]
    Silent {
        /// The mount point.
        path: PathBuf,
    },
    /// The volume would contain its own store.
    #[error("{path} lies inside the store directory {store}: the volume would be stored in itself; choose a directory elsewhere", path = .path.display(), store = .store.display())]
    InsideStore {
        /// The mount point.
        path: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// The mount would cover its own store.
    #[error("{path} holds the store directory {store}: mounting would hide the store from its own process; choose a directory elsewhere", path = .path.display(), store = .store.display())]
    HoldsStore {
        /// The mount point.
        path: PathBuf,
        /// The store.
        store: PathBuf,
    },
    /// An ordinary user asked for others to be let in, and the machine doesn't allow it.
    #[error(
        "allow_other is for root unless /etc/fuse.conf has a line user_allow_other: add it, or mount without allow_other"
    )]
    AllowOther,
    /// The machine has no FUSE.
    #[error("/dev/fuse: {source}: load the kernel module (modprobe fuse), or in a container pass the device in")]
    NoDevice {
        /// What opening said.
        source: io::Error,
    },
    /// The setuid helper isn't installed or didn't run.
    #[error("fusermount3: {source}: an ordinary user needs it to mount (install the package fuse3)")]
    NoHelper {
        /// What running it said.
        source: io::Error,
    },
    /// The setuid helper refused.
    #[error("fusermount3 refused: {message}")]
    Helper {
        /// What it printed.
        message: String,
    },
    /// A system call failed.
    #[error("{op} {path}: {source}", path = .path.display())]
    Io {
        /// What was being done.
        op: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl MountError {
    /// Ready for `map_err`: wraps what the system said about `path`.
    pub(super) fn io<E: Into<io::Error>>(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { op, path, source: source.into() }
    }
}
