//! Small files by operation. Nothing here is special to us: each test holds on ext4 too, and is tried there.

mod acl;
mod append;
mod copy_range;
mod create;
mod direct;
mod folder;
mod handle;
mod link;
mod locks;
mod mmap;
mod names;
mod permissions;
mod read_write;
mod readdir;
mod refused;
mod rename;
mod space;
mod sparse;
mod special;
mod symlink;
mod times;
mod truncate;
mod unlink;
mod xattr;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

/// An unprivileged user that every system has.
const NOBODY: u32 = 65534;

/// Insists on a failure with exactly this code.
#[track_caller]
fn assert_fails<T: Debug, E: Into<io::Error>>(outcome: Result<T, E>, errno: Errno) {
    let code = outcome.map_err(Into::into).expect_err("this has to fail").raw_os_error();
    assert_eq!(code, Some(errno.raw_os_error()), "expected {errno}, got {:?}", code.map(io::Error::from_raw_os_error));
}

/// A shell command as an ordinary user; `None` where that can't be had, with the reason.
fn as_nobody(dir: &Path, script: &str) -> Result<Command, &'static str> {
    if !cairn_fuse_tests::command::is_root() {
        return Err("only root can become another user");
    }
    let mut command = cairn_fuse_tests::command::command(dir, "setpriv");
    command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "bash", "-c", script]);
    Ok(command)
}
