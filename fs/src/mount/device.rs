//! Getting a mounted `/dev/fuse`: by `mount(2)` where we may, else through the setuid helper.
//!
//! The library can do both, but its mount handles decide wrongly whether they are still mounted and then unmount whatever
//! lies there; so it is given a descriptor, and mounting stays here.

use std::ffi::CString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{geteuid, getgid, getuid};

use super::error::MountError;
use super::options::{MountOptions, SUBTYPE};

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";
const HELPER_CONFIG: &str = "/etc/fuse.conf";

/// Who mounted, and so who can unmount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// We did, with `mount(2)`.
    Direct,
    /// `fusermount3` did.
    Helper,
}

/// Mounts on `path`, which was checked. Until the session answers, everyone who touches it waits.
pub(super) fn mount(path: &Path, options: &MountOptions) -> Result<(OwnedFd, Means), MountError> {
    if geteuid().is_root() {
        match mount_direct(path, options) {
            // Root of a user namespace, or of a container without the capability: the helper may know a way.
            Err(MountError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
            result => return result.map(|device| (device, Means::Direct)),
        }
    }
    if options.allow_other && !geteuid().is_root() && !others_allowed() {
        return Err(MountError::AllowOther);
    }
    mount_by_helper(path, options).map(|device| (device, Means::Helper))
}

/// Whether this process can open the device by itself, as it must for a descriptor per thread.
pub(super) fn can_open() -> bool {
    open().is_ok()
}

fn open() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn mount_direct(path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let device = open().map_err(|errno| MountError::NoDevice { source: errno.into() })?;
    let metadata = std::fs::metadata(path).map_err(MountError::io("stat", path))?;
    let kind = rustix::fs::FileType::from_raw_mode(metadata.mode());
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let data = options.data(device.as_raw_fd(), kind.as_raw_mode(), uid, gid);
    let data = CString::new(data).map_err(MountError::io("mount", path))?;
    let fs_type = format!("fuse.{SUBTYPE}");
    rustix::mount::mount(options.source.as_str(), path, fs_type, options.flags(), data.as_c_str())
        .map_err(MountError::io("mount", path))?;
    Ok(device)
}

/// The helper opens the device, mounts, and sends the descriptor through a socket whose number it reads from the
/// environment. It gets the socket as its standard input: descriptors above 2 would need unsafe code between fork and exec.
fn mount_by_helper(path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let no_helper = |source| MountError::NoHelper { source };
    let (ours, theirs) = UnixStream::pair().map_err(no_helper)?;
    let child = Command::new(HELPER)
        .arg("-o")
        .arg(options.helper_list())
        .arg("--")
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_helper)?;
    let device = receive_descriptor(&ours);
    let output = child.wait_with_output().map_err(no_helper)?;
    match device {
        Ok(Some(device)) if output.status.success() => Ok(device),
        Ok(_) => Err(MountError::Helper { message: complaint(&output.stderr) }),
        Err(errno) => Err(no_helper(errno.into())),
    }
}

fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    if text.is_empty() { "it gave no reason".to_owned() } else { text.to_owned() }
}

/// The one descriptor that comes, or `None` when the other side closed without sending any.
fn receive_descriptor(socket: &UnixStream) -> rustix::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

/// Unmounts through the helper; `lazy` takes it out of the tree though it is in use.
pub(super) fn unmount_by_helper(path: &Path, lazy: bool) -> Result<(), MountError> {
    let output = Command::new(HELPER)
        .arg(if lazy { "-uz" } else { "-u" })
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .map_err(|source| MountError::NoHelper { source })?;
    if output.status.success() { Ok(()) } else { Err(MountError::Helper { message: complaint(&output.stderr) }) }
}

/// Whether the machine lets ordinary users open their mounts to others.
fn others_allowed() -> bool {
    std::fs::read_to_string(HELPER_CONFIG).is_ok_and(|text| config_allows_others(&text))
}

fn config_allows_others(text: &str) -> bool {
    text.lines().any(|line| line.trim() == "user_allow_other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commented_line_of_fuse_conf_allows_nothing() {
        assert!(!config_allows_others("# comment\n#user_allow_other\nmount_max = 10\n"));
        assert!(config_allows_others("mount_max = 10\nuser_allow_other\n"));
    }

    #[test]
    fn a_helper_that_says_nothing_is_quoted_as_such() {
        assert_eq!(complaint(b" fusermount3: no\n"), "fusermount3: no");
        assert_eq!(complaint(b"\n"), "it gave no reason");
    }
}
