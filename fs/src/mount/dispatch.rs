//! The kernel's requests, one method each: parse, copy what outlives the receive buffer, hand to the [`Desk`].
//!
//! Nothing here blocks. What is answered without asking the volume, and why:
//! - `flush` says "not implemented" once, which the kernel takes as success for ever: writes are answered when they are
//!   done, so a `close` has nothing to wait for and nothing to report; durability is `fsync`'s.
//! - `access` likewise: with `default_permissions` the kernel checks.
//! - `getlk`, `setlk` are never asked: locks stay in the kernel, which does flock, fcntl and OFD locks right. The library
//!   can't tell them apart.
//! - `fsync` must never say "not implemented": that too would be success for ever.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use cairn_block::{Attr, FileType, Ino};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, Request, WriteFlags,
};
use rustix::fs::OFlags;

use super::attr::{is_snapshot, kind_of_mode, time_or_now, timestamp};
use super::caller::{caller, kill_priv_of, may_keep_group_bit};
use super::desk::Desk;
use super::listing::list;
use super::reply::{Found, Opened, Sized, open_directory};
use crate::error::FsError;
use crate::ops::{
    Allocate, Caller, Handle, KillPriv, Listing, NewNode, OpenFlags, Operations, Place, RenameFlags, Seek, SetAttr,
    SetXattr, Wait,
};

/// What we ask the kernel for, each only if it offers it. Never asked for: `SETXATTR_EXT`, on which the library panics;
/// `ALLOW_IDMAP`, on which it refuses everything; `POSIX_LOCKS` and `FLOCK_LOCKS`, see the module; `WRITEBACK_CACHE`,
/// which measured halves large writes and would make the kernel the judge of sizes and times.
const WANTED: [InitFlags; 10] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_EXPORT_SUPPORT,
    // Without it every write asks for security.capability first.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
];

/// Requests that the kernel may have under way on nobody's behalf: read-ahead, above all.
const BACKGROUND_MAX: u16 = 128;

/// Above this many the kernel holds read-ahead back.
const BACKGROUND_CONGESTED: u16 = 96;

/// Largest write: what a kernel sends by default, and about what a block holds.
const WRITE_BYTES_MAX: u32 = 1 << 20;

/// Prefixes of the attributes that can be set. The kernel has checked who may.
const XATTR_SPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// The library's trait over a volume.
pub(super) struct Dispatcher {
    desk: Arc<Desk>,
}

impl Dispatcher {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

fn ino(number: INodeNo) -> Ino {
    Ino::new(number.0)
}

fn bytes(name: &OsStr) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

/// A name that leads nowhere is an answer, and one that the kernel may keep, except where names appear by the clock.
fn found(parent: Ino, result: Result<Attr, FsError>) -> Result<Found, FsError> {
    match result {
        Ok(attr) => Ok(Found::Entry(attr)),
        Err(FsError::NotFound) if !is_snapshot(parent) => Ok(Found::Nothing { parent }),
        Err(error) => Err(error),
    }
}

/// The parts of open(2)'s flags that are ours to act on. `O_APPEND` is not: the kernel computes the offsets.
fn open_flags(raw: i32, caller: &Caller) -> OpenFlags {
    let flags = OFlags::from_bits_retain(raw.cast_unsigned());
    let access = flags & OFlags::RWMODE;
    OpenFlags {
        read: access != OFlags::WRONLY,
        write: access == OFlags::WRONLY || access == OFlags::RDWR,
        truncate: flags.contains(OFlags::TRUNC),
        kill_priv: kill_priv_of(caller),
    }
}

/// `create` and `open` in one. Once made the file must be opened, waiting or not: asking again would find it there.
fn create_and_open(
    ops: &dyn Operations,
    wait: Wait,
    caller: &Caller,
    (parent, name): (Ino, &[u8]),
    node: NewNode,
    (flags, exclusive, until): (OpenFlags, bool, Instant),
) -> Result<(Attr, Handle), FsError> {
    let (attr, open_wait) = match ops.create(wait, caller, parent, name, node) {
        Ok(attr) => (attr, Wait::Until(until)),
        Err(FsError::Exists) if !exclusive => (ops.lookup(wait, parent, name)?, wait),
        Err(error) => return Err(error),
    };
    match ops.open(open_wait, attr.ino, flags) {
        Ok(handle) => Ok((attr, handle)),
        Err(error) => {
            ops.forget(attr.ino, 1);
            Err(error)
        }
    }
}

fn xattr_name(name: &OsStr) -> Result<Bytes, FsError> {
    let raw = name.as_bytes();
    let known = XATTR_SPACES.iter().any(|space| raw.len() > space.len() && raw.starts_with(space));
    if known || raw == ACL_ACCESS || raw == ACL_DEFAULT { Ok(bytes(name)) } else { Err(FsError::Unsupported) }
}

/// All names, each followed by a NUL, as `listxattr` wants them. `trusted.` is for root's eyes, as on every filesystem.
fn xattr_list(names: &[Bytes], caller: &Caller) -> Bytes {
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
fn allocation(mode: i32) -> Result<Allocate, FsError> {
    use rustix::fs::FallocateFlags as Flags;
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

/// Which privileges a change of attributes takes. The kernel leaves it to us (`HANDLE_KILLPRIV_V2`) and the library drops
/// the flag in which it says so, hence by rule: a new size by anyone but root, a new owner or group by anyone. A request
/// that sets nothing is a `chown(-1, -1)`, or the kernel clearing privileges before it allocates or copies.
fn kill_priv_of_setattr(caller: &Caller, set: &SetAttr) -> KillPriv {
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
fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

impl Filesystem for Dispatcher {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in WANTED {
            if let Err(missing) = config.add_capabilities(wanted) {
                tracing::debug!(?missing, "this kernel does not offer a capability");
            }
        }
        // These only fail for zero and for more than the library's own maximum.
        let settings = [
            config.set_max_background(BACKGROUND_MAX).is_ok(),
            config.set_congestion_threshold(BACKGROUND_CONGESTED).is_ok(),
            config.set_max_write(WRITE_BYTES_MAX).is_ok(),
        ];
        if settings.contains(&false) {
            tracing::warn!("the library refused a setting of the connection");
        }
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: fuser::ReplyEntry) {
        let (parent, name) = (ino(parent), bytes(name));
        self.desk.answer("lookup", reply, move |ops, wait| found(parent, ops.lookup(wait, parent, &name)));
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        self.desk.tell("forget", |ops| ops.forget(ino(number), count));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: fuser::ReplyAttr) {
        let ino = ino(number);
        self.desk.answer("getattr", reply, move |ops, wait| ops.getattr(wait, ino));
    }

    fn setattr(
        &self,
        req: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<fuser::TimeOrNow>,
        mtime: Option<fuser::TimeOrNow>,
        ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: fuser::ReplyAttr,
    ) {
        let (ino, caller) = (ino(number), caller(req));
        let mut set = SetAttr {
            mode: mode.map(permissions),
            uid,
            gid,
            size,
            atime: atime.map(time_or_now),
            mtime: mtime.map(time_or_now),
            ctime: ctime.map(timestamp),
            kill_priv: KillPriv::Keep,
        };
        set.kill_priv = kill_priv_of_setattr(&caller, &set);
        self.desk.answer("setattr", reply, move |ops, wait| ops.setattr(wait, &caller, ino, set));
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: fuser::ReplyData) {
        let ino = ino(number);
        self.desk.answer("readlink", reply, move |ops, wait| ops.readlink(wait, ino));
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: fuser::ReplyEntry,
    ) {
        let Some(kind) = kind_of_mode(mode) else {
            return reply.error(Errno::EINVAL);
        };
        let rdev = if matches!(kind, FileType::Char | FileType::Block) { rdev } else { 0 };
        let node = NewNode { kind, mode: permissions(mode), umask: permissions(umask), rdev, target: Bytes::new() };
        self.make("mknod", req, parent, name, node, reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: fuser::ReplyEntry) {
        let node = NewNode {
            kind: FileType::Directory,
            mode: permissions(mode),
            umask: permissions(umask),
            rdev: 0,
            target: Bytes::new(),
        };
        self.make("mkdir", req, parent, name, node, reply);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: fuser::ReplyEntry) {
        let target = bytes(target.as_os_str());
        let node = NewNode { kind: FileType::Symlink, mode: 0o777, umask: 0, rdev: 0, target };
        self.make("symlink", req, parent, name, node, reply);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: fuser::ReplyEmpty) {
        let (parent, name, caller) = (ino(parent), bytes(name), caller(req));
        self.desk.answer("unlink", reply, move |ops, wait| ops.unlink(wait, &caller, parent, &name));
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: fuser::ReplyEmpty) {
        let (parent, name, caller) = (ino(parent), bytes(name), caller(req));
        self.desk.answer("rmdir", reply, move |ops, wait| ops.rmdir(wait, &caller, parent, &name));
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: fuser::RenameFlags,
        reply: fuser::ReplyEmpty,
    ) {
        if !fuser::RenameFlags::all().contains(flags) {
            return reply.error(Errno::EINVAL);
        }
        let flags = RenameFlags {
            noreplace: flags.contains(fuser::RenameFlags::RENAME_NOREPLACE),
            exchange: flags.contains(fuser::RenameFlags::RENAME_EXCHANGE),
            whiteout: flags.contains(fuser::RenameFlags::RENAME_WHITEOUT),
        };
        let caller = caller(req);
        let (parent, name) = (ino(parent), bytes(name));
        let (new_parent, new_name) = (ino(new_parent), bytes(new_name));
        self.desk.answer("rename", reply, move |ops, wait| {
            ops.rename(wait, &caller, parent, &name, new_parent, &new_name, flags)
        });
    }

    fn link(&self, req: &Request, number: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: fuser::ReplyEntry) {
        let (ino, caller) = (ino(number), caller(req));
        let (parent, name) = (self::ino(new_parent), bytes(new_name));
        self.desk.answer("link", reply, move |ops, wait| ops.link(wait, &caller, ino, parent, &name).map(Found::Entry));
    }

    fn open(&self, req: &Request, number: INodeNo, flags: fuser::OpenFlags, reply: fuser::ReplyOpen) {
        let ino = ino(number);
        let flags = open_flags(flags.0, &caller(req));
        self.desk.answer("open", reply, move |ops, wait| ops.open(wait, ino, flags).map(|handle| Opened { handle }));
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: fuser::ReplyCreate,
    ) {
        let (parent, name, caller) = (ino(parent), bytes(name), caller(req));
        let node = NewNode {
            kind: FileType::Regular,
            mode: permissions(mode),
            umask: permissions(umask),
            rdev: 0,
            target: Bytes::new(),
        };
        let exclusive = OFlags::from_bits_retain(flags.cast_unsigned()).contains(OFlags::EXCL);
        let how = (open_flags(flags, &caller), exclusive, Instant::now() + self.desk.deadline());
        self.desk.answer("create", reply, move |ops, wait| {
            create_and_open(ops, wait, &caller, (parent, &name), node.clone(), how)
        });
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: fuser::OpenFlags,
        _: Option<LockOwner>,
        reply: fuser::ReplyData,
    ) {
        let ino = ino(number);
        self.desk.answer("read", reply, move |ops, wait| {
            ops.read(wait, ino, offset, size).map(crate::ops::Pieces::into_bytes)
        });
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: fuser::OpenFlags,
        _: Option<LockOwner>,
        reply: fuser::ReplyWrite,
    ) {
        // The one copy of the data: it lies in the receive buffer, which the next request will use.
        let (ino, data) = (ino(number), Bytes::copy_from_slice(data));
        let kill_priv =
            if write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) { KillPriv::Clear } else { KillPriv::Keep };
        self.desk.answer("write", reply, move |ops, wait| ops.write(wait, ino, offset, data.clone(), kill_priv));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: fuser::ReplyEmpty) {
        reply.error(Errno::ENOSYS); // Asked once; see the module.
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: fuser::OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: fuser::ReplyEmpty,
    ) {
        self.desk.tell("release", |ops| ops.release(Handle(handle.0)));
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: fuser::ReplyEmpty) {
        self.sync("fsync", number, reply);
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: fuser::OpenFlags, reply: fuser::ReplyOpen) {
        open_directory(reply, ino(number));
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: fuser::ReplyDirectory) {
        let (ino, count) = (ino(number), self.desk.names.ask());
        self.desk.answer("readdir", reply, move |ops, wait| list(ops, wait, ino, offset, count, Listing::Names));
    }

    fn readdirplus(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: fuser::ReplyDirectoryPlus) {
        let (ino, count) = (ino(number), self.desk.entries.ask());
        self.desk
            .answer("readdirplus", reply, move |ops, wait| list(ops, wait, ino, offset, count, Listing::Referenced));
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: fuser::ReplyEmpty) {
        self.sync("fsyncdir", number, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: fuser::ReplyStatfs) {
        self.desk.answer("statfs", reply, |ops, _| ops.statfs());
    }

    fn setxattr(
        &self,
        req: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: fuser::ReplyEmpty,
    ) {
        use rustix::fs::XattrFlags as Flags;
        let (ino, caller) = (ino(number), caller(req));
        let name = match xattr_name(name) {
            Ok(name) => name,
            Err(error) => return reply.error(Errno::from_i32(error.errno().raw_os_error())),
        };
        let set = match Flags::from_bits_retain(flags.cast_unsigned()) {
            Flags::CREATE => SetXattr::Create,
            Flags::REPLACE => SetXattr::Replace,
            _ => SetXattr::Any,
        };
        let value = Bytes::copy_from_slice(value);
        self.desk.answer("setxattr", reply, move |ops, wait| {
            let kill_sgid = if name == ACL_ACCESS && !may_keep_group_bit(ops, wait, &caller, ino)? {
                KillPriv::Clear
            } else {
                KillPriv::Keep
            };
            ops.setxattr(wait, ino, &name, value.clone(), set, kill_sgid)
        });
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, room: u32, reply: fuser::ReplyXattr) {
        let (ino, name) = (ino(number), xattr_name(name));
        self.desk.answer("getxattr", reply, move |ops, wait| {
            let name = name.as_ref().map_err(|_| FsError::Unsupported)?;
            let data = ops.getxattr(wait, ino, name)?;
            Ok(Sized { data, room })
        });
    }

    fn listxattr(&self, req: &Request, number: INodeNo, room: u32, reply: fuser::ReplyXattr) {
        let (ino, caller) = (ino(number), caller(req));
        self.desk.answer("listxattr", reply, move |ops, wait| {
            let data = xattr_list(&ops.listxattr(wait, ino)?, &caller);
            Ok(Sized { data, room })
        });
    }

    fn removexattr(&self, _: &Request, number: INodeNo, name: &OsStr, reply: fuser::ReplyEmpty) {
        let (ino, name) = (ino(number), xattr_name(name));
        self.desk.answer("removexattr", reply, move |ops, wait| {
            let name = name.as_ref().map_err(|_| FsError::Unsupported)?;
            ops.removexattr(wait, ino, name)
        });
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: fuser::ReplyEmpty) {
        reply.error(Errno::ENOSYS); // Asked once; see the module.
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: fuser::ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        req: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: fuser::ReplyEmpty,
    ) {
        let (ino, kill_priv) = (ino(number), kill_priv_of(&caller(req)));
        self.desk.answer_later("fallocate", reply, move |ops, wait| {
            ops.fallocate(wait, ino, allocation(mode)?, offset, length, kill_priv)
        });
    }

    fn lseek(&self, _: &Request, number: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: fuser::ReplyLseek) {
        // From linux/fs.h; the kernel answers the other kinds itself.
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let ino = ino(number);
        self.desk.answer("lseek", reply, move |ops, wait| {
            let what = match whence {
                SEEK_DATA => Seek::Data,
                SEEK_HOLE => Seek::Hole,
                _ => return Err(FsError::Invalid),
            };
            let offset = u64::try_from(offset).map_err(|_| FsError::NoData)?;
            ops.seek(wait, ino, offset, what)
        });
    }

    fn copy_file_range(
        &self,
        req: &Request,
        source: INodeNo,
        _: FileHandle,
        source_offset: u64,
        target: INodeNo,
        _: FileHandle,
        target_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: fuser::ReplyWrite,
    ) {
        /// The answer has 32 bits; the caller comes back for the rest. Aligned, so that the rest is as well.
        const COPY_BYTES_MAX: u64 = 1 << 31;
        let kill_priv = kill_priv_of(&caller(req));
        let source = Place { ino: ino(source), offset: source_offset };
        let target = Place { ino: ino(target), offset: target_offset };
        self.desk.answer_later("copy_file_range", reply, move |ops, wait| {
            let copied = ops.copy_range(wait, source, target, len.min(COPY_BYTES_MAX), kill_priv)?;
            u32::try_from(copied).map_err(|_| FsError::Invalid)
        });
    }
}

impl Dispatcher {
    fn make(
        &self,
        op: &'static str,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        node: NewNode,
        reply: fuser::ReplyEntry,
    ) {
        let (parent, name, caller) = (ino(parent), bytes(name), caller(req));
        self.desk.answer(op, reply, move |ops, wait| {
            ops.create(wait, &caller, parent, &name, node.clone()).map(Found::Entry)
        });
    }

    fn sync(&self, op: &'static str, number: INodeNo, reply: fuser::ReplyEmpty) {
        let ino = ino(number);
        self.desk.answer_later(op, reply, move |ops, _| ops.fsync(ino));
    }
}
