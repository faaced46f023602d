//! The fields of a request, in our words. Nothing here does anything.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use cairn_block::{Attr, Ino};
use fuser::{INodeNo, WriteFlags};
use rustix::fs::{FallocateFlags, OFlags, XattrFlags};

use super::attr::is_snapshot;
use super::caller::kill_priv_of;
use super::reply::Found;
use crate::error::FsError;
use crate::ops::{Allocate, Caller, KillPriv, OpenFlags, RenameFlags, Seek, SetAttr, SetXattr};

/// Prefixes of the attributes that can be set. The kernel has checked who may.
const XATTR_SPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
const SECURITY_LABEL: &[u8] = b"security.selinux";

pub(super) fn ino(number: INodeNo) -> Ino {
    Ino::new(number.0)
}

pub(super) fn bytes(name: &OsStr) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

/// A name that leads nowhere is an answer, and one that the kernel may keep, except where names appear by the clock.
pub(super) fn found(parent: Ino, result: Result<Attr, FsError>) -> Result<Found, FsError> {
    match result {
        Ok(attr) => Ok(Found::Entry(attr)),
        Err(FsError::NotFound) if !is_snapshot(parent) => Ok(Found::Nothing { parent }),
        Err(error) => Err(error),
    }
}

/// The parts of open(2)'s flags that are ours to act on. `O_APPEND` is not: the kernel computes the offsets.
pub(super) fn open_flags(raw: i32, caller: &Caller) -> OpenFlags {
    let flags = OFlags::from_bits_retain(raw.cast_unsigned());
    let access = flags & OFlags::RWMODE;
    OpenFlags {
        read: access != OFlags::WRONLY,
        write: access == OFlags::WRONLY || access == OFlags::RDWR,
        truncate: flags.contains(OFlags::TRUNC),
        kill_priv: kill_priv_of(caller),
    }
}

/// Whether a file that is there already is a reason to fail.
pub(super) fn is_exclusive(raw: i32) -> bool {
    OFlags::from_bits_retain(raw.cast_unsigned()).contains(OFlags::EXCL)
}

/// `None` for a flag that we don't know.
pub(super) fn rename_flags(flags: fuser::RenameFlags) -> Option<RenameFlags> {
    fuser::RenameFlags::all().contains(flags).then(|| RenameFlags {
        noreplace: flags.contains(fuser::RenameFlags::RENAME_NOREPLACE),
        exchange: flags.contains(fuser::RenameFlags::RENAME_EXCHANGE),
        whiteout: flags.contains(fuser::RenameFlags::RENAME_WHITEOUT),
    })
}

/// What `lseek` looks for; the kernel answers the other kinds itself.
pub(super) fn seek_kind(whence: i32) -> Option<Seek> {
    // From linux/fs.h.
    const SEEK_DATA: i32 = 3;
    const SEEK_HOLE: i32 = 4;
    match whence {
        SEEK_DATA => Some(Seek::Data),
        SEEK_HOLE => Some(Seek::Hole),
        _ => None,
    }
}

pub(super) fn xattr_name(name: &OsStr) -> Result<Bytes, FsError> {
    let raw = name.as_bytes();
    let known = XATTR_SPACES.iter().any(|space| raw.len() > space.len() && raw.starts_with(space));
    if known || raw == ACL_ACCESS || raw == ACL_DEFAULT { Ok(bytes(name)) } else { Err(FsError::Unsupported) }
}

/// What the absence of an attribute is called. A missing label is "not supported": `ls -l` asks every file for one, unless it
/// hears this of the first.
pub(super) fn no_attribute(name: &[u8]) -> FsError {
    if name == SECURITY_LABEL { FsError::Unsupported } else { FsError::NoData }
}

/// Whether this attribute is the list that the mode's group bits come from.
pub(super) fn is_access_list(name: &[u8]) -> bool {
    name == ACL_ACCESS
}

pub(super) fn xattr_set(flags: i32) -> SetXattr {
    match XattrFlags::from_bits_retain(flags.cast_unsigned()) {
        XattrFlags::CREATE => SetXattr::Create,
        XattrFlags::REPLACE => SetXattr::Replace,
        _ => SetXattr::Any,
    }
}

/// All names, each followed by a NUL, as `listxattr` wants them. `trusted.` is for root's eyes, as on every filesystem.
pub(super) fn xattr_list(names: &[Bytes], caller: &Caller) -> Bytes {
    let mut list = Vec::new();
    for name in names {
        if caller.uid == 0 || !name.starts_with(b"trusted.") {
            list.extend_from_slice(name);
            list.push(0);
        }
    }
    list.into()
}

/// `fallocate`'s mode bits; what we don't do the kernel has refused already.
pub(super) fn allocation(mode: i32) -> Result<Allocate, FsError> {
    use FallocateFlags as Flags;
    let flags = Flags::from_bits_retain(mode.cast_unsigned());
    if flags == Flags::empty() {
        Ok(Allocate::Reserve)
    } else if flags == Flags::KEEP_SIZE {
        Ok(Allocate::ReserveKeepSize)
    } else if flags == Flags::PUNCH_HOLE | Flags::KEEP_SIZE {
        Ok(Allocate::PunchHole)
    } else if flags == Flags::ZERO_RANGE {
        Ok(Allocate::Zero)
    } else if flags == Flags::ZERO_RANGE | Flags::KEEP_SIZE {
        Ok(Allocate::ZeroKeepSize)
    } else {
        Err(FsError::Unsupported)
    }
}

/// A write says itself whether it takes privileges.
pub(super) fn kill_priv_of_write(flags: WriteFlags) -> KillPriv {
    if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) { KillPriv::Clear } else { KillPriv::Keep }
}

/// Which privileges a change of attributes takes. The kernel leaves it to us (`HANDLE_KILLPRIV_V2`) and the library drops
/// the flag in which it says so, hence by rule: a new size by anyone but root, a new owner or group by anyone. A request
/// that sets nothing is a `chown(-1, -1)`, or the kernel clearing privileges before it allocates or copies.
pub(super) fn kill_priv_of_setattr(caller: &Caller, set: &SetAttr) -> KillPriv {
    let sets_nothing = *set == SetAttr::NONE;
    if set.uid.is_some() || set.gid.is_some() || sets_nothing {
        KillPriv::Clear
    } else if set.size.is_some() {
        kill_priv_of(caller)
    } else {
        KillPriv::Keep
    }
}

/// The low twelve bits of a mode.
pub(super) fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Caller = Caller::NODE;
    const USER: Caller = Caller { uid: 1000, gid: 1000, pid: 1 };

    #[test]
    fn only_what_takes_privileges_takes_them() {
        let kill = |caller, set| kill_priv_of_setattr(caller, &set) == KillPriv::Clear;
        let size = SetAttr { size: Some(1), ..SetAttr::NONE };
        assert!(kill(&USER, size) && !kill(&ROOT, size), "a new size, by anyone but root");
        assert!(kill(&ROOT, SetAttr { gid: Some(1), ..SetAttr::NONE }), "a new group, by anyone");
        assert!(kill(&ROOT, SetAttr::NONE), "chown(-1, -1)");
        assert!(!kill(&USER, SetAttr { mode: Some(0o4755), ..SetAttr::NONE }), "a mode is what it says");
    }

    #[test]
    fn open_flags_say_what_the_handle_is_for() {
        let flags = |flags: OFlags| open_flags(flags.bits().cast_signed(), &USER);
        let (read, write) = (flags(OFlags::RDONLY), flags(OFlags::WRONLY | OFlags::TRUNC | OFlags::APPEND));
        assert!(read.read && !read.write && !read.truncate);
        assert!(!write.read && write.write && write.truncate);
        assert!(flags(OFlags::RDWR).read && flags(OFlags::RDWR).write);
        assert!(is_exclusive((OFlags::CREATE | OFlags::EXCL).bits().cast_signed()));
    }

    #[test]
    fn attributes_outside_of_the_known_namespaces_are_refused() {
        for name in ["user.a", "trusted.overlay.opaque", "security.capability", "system.posix_acl_default"] {
            assert!(xattr_name(OsStr::new(name)).is_ok(), "{name}");
        }
        for name in ["user.", "user", "system.nfs4_acl", "strange.a", ""] {
            assert!(xattr_name(OsStr::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn trusted_attributes_are_listed_for_root_only() {
        let names = [Bytes::from_static(b"trusted.a"), Bytes::from_static(b"user.b")];
        assert_eq!(xattr_list(&names, &ROOT), "trusted.a\0user.b\0");
        assert_eq!(xattr_list(&names, &USER), "user.b\0");
    }

    #[test]
    fn a_missing_name_is_remembered_but_not_in_snapshots() {
        let in_snapshots = Ino::new(1 << 62);
        assert!(matches!(found(Ino::ROOT, Err(FsError::NotFound)), Ok(Found::Nothing { .. })));
        assert!(matches!(found(in_snapshots, Err(FsError::NotFound)), Err(FsError::NotFound)));
    }

    #[test]
    fn unknown_modes_of_fallocate_are_refused() {
        use FallocateFlags as Flags;
        let mode = |flags: Flags| allocation(flags.bits().cast_signed());
        assert!(matches!(mode(Flags::PUNCH_HOLE | Flags::KEEP_SIZE), Ok(Allocate::PunchHole)));
        assert!(matches!(mode(Flags::COLLAPSE_RANGE), Err(FsError::Unsupported)));
        assert!(matches!(mode(Flags::INSERT_RANGE), Err(FsError::Unsupported)));
    }
}
