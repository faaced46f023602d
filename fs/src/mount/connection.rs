//! The kernel's end of a mount, reachable even when the mount has left the tree: `/sys/fs/fuse/connections/N`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Ends a connection: every request, waiting or to come, fails, and so does every file that is still open. `minor` is the
/// minor device number of the mount.
///
/// # Errors
/// `NotFound` when the connection is gone already.
pub(super) fn abort(minor: u32) -> io::Result<()> {
    let knob = format!("{minor}/abort");
    match std::fs::write(Path::new(CONNECTIONS).join(&knob), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => abort_detached(&knob),
        result => result,
    }
}

/// Machines without systemd often don't mount the control filesystem. Root can look at it without mounting it anywhere.
fn abort_detached(knob: &str) -> io::Result<()> {
    let context = fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let file = openat(root, knob, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    File::from(file).write_all(b"1")
}
