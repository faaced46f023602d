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
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use cairn_block::{Attr, FileType, Ino};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags, IoctlFlags,
    KernelConfig, LockOwner, Request, WriteFlags,
};

use super::attr::{kind_of_mode, time_or_now, timestamp};
use super::caller::{caller, kill_priv_of, may_keep_group_bit};
use super::counts::RequestKind;
use super::desk::Desk;
use super::listing::list;
use super::reply::{Found, Opened, Sized, open_directory};
use super::request::{
    allocation, bytes, found, ino, is_access_list, is_exclusive, kill_priv_of_setattr, kill_priv_of_write,
    no_attribute, open_flags, permissions, rename_flags, seek_kind, xattr_list, xattr_name, xattr_set,
};
use crate::error::FsError;
use crate::ops::{Caller, Handle, KillPriv, Listing, NewNode, OpenFlags, Operations, Place, SetAttr, Wait};

/// What we ask the kernel for, each only if it offers it. Never asked for: `SETXATTR_EXT`, on which the library panics;
/// `ALLOW_IDMAP`, on which it refuses everything; `POSIX_LOCKS` and `FLOCK_LOCKS`, see the module; `WRITEBACK_CACHE`,
/// which measured halves large writes and would make the kernel the judge of sizes and times; `ATOMIC_O_TRUNC`, with which
/// a program that runs is cut to nothing before the kernel finds that nobody may open it for writing.
const WANTED: [InitFlags; 9] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
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

/// The library's trait over a volume.
pub(super) struct Dispatcher {
    desk: Arc<Desk>,
}

impl Dispatcher {
    pub(super) fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
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
    let (attr, flags, open_wait) = match ops.create(wait, caller, parent, name, node) {
        // A new file has nothing to cut, and its times are those of the answer.
        Ok(attr) => (attr, OpenFlags { truncate: false, ..flags }, Wait::Until(until)),
        Err(FsError::Exists) if !exclusive => (ops.lookup(wait, parent, name)?, flags, wait),
        Err(error) => return Err(error),
    };
    let opened = ops.open(open_wait, attr.ino, flags).and_then(|handle| {
        // The answer shows the file as the cut left it.
        let shown = if flags.truncate { ops.getattr(Wait::Until(until), attr.ino) } else { Ok(attr.clone()) };
        shown.inspect_err(|_| ops.release(handle)).map(|attr| (attr, handle))
    });
    opened.inspect_err(|_| ops.forget(attr.ino, 1))
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
        self.desk.answer(RequestKind::Lookup, reply, move |ops, wait| found(parent, ops.lookup(wait, parent, &name)));
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        self.desk.count(RequestKind::Forget);
        self.desk.tell(RequestKind::Forget, |ops| ops.forget(ino(number), count));
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: fuser::ReplyAttr) {
        let ino = ino(number);
        self.desk.answer(RequestKind::Getattr, reply, move |ops, wait| ops.getattr(wait, ino));
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
        self.desk.answer(RequestKind::Setattr, reply, move |ops, wait| ops.setattr(wait, &caller, ino, set));
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: fuser::ReplyData) {
        let ino = ino(number);
        self.desk.answer(RequestKind::Readlink, reply, move |ops, wait| ops.readlink(wait, ino));
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
        self.make(RequestKind::Mknod, req, parent, name, node, reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: fuser::ReplyEntry) {
        let node = NewNode {
            kind: FileType::Directory,
            mode: permissions(mode),
            umask: permissions(umask),
            rdev: 0,
            target: Bytes::new(),
        };
        self.make(RequestKind::Mkdir, req, parent, name, node, reply);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: fuser::ReplyEntry) {
        let target = bytes(target.as_os_str());
        let node = NewNode { kind: FileType::Symlink, mode: 0o777, umask: 0, rdev: 0, target };
        self.make(RequestKind::Symlink, req, parent, name, node, reply);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: fuser::ReplyEmpty) {
        let (parent, name, caller) = (ino(parent), bytes(name), caller(req));
        self.desk.answer(RequestKind::Unlink, reply, move |ops, wait| ops.unlink(wait, &caller, parent, &name));
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: fuser::ReplyEmpty) {
        let (parent, name, caller) = (ino(parent), bytes(name), caller(req));
        self.desk.answer(RequestKind::Rmdir, reply, move |ops, wait| ops.rmdir(wait, &caller, parent, &name));
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
        let caller = caller(req);
        let (parent, name) = (ino(parent), bytes(name));
        let (new_parent, new_name) = (ino(new_parent), bytes(new_name));
        let flags = rename_flags(flags);
        self.desk.answer(RequestKind::Rename, reply, move |ops, wait| {
            let flags = flags.ok_or(FsError::Invalid)?;
            ops.rename(wait, &caller, parent, &name, new_parent, &new_name, flags)
        });
    }

    fn link(&self, req: &Request, number: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: fuser::ReplyEntry) {
        let (ino, caller) = (ino(number), caller(req));
        let (parent, name) = (self::ino(new_parent), bytes(new_name));
        self.desk.answer(RequestKind::Link, reply, move |ops, wait| {
            ops.link(wait, &caller, ino, parent, &name).map(Found::Entry)
        });
    }

    fn open(&self, req: &Request, number: INodeNo, flags: fuser::OpenFlags, reply: fuser::ReplyOpen) {
        let ino = ino(number);
        let flags = open_flags(flags.0, &caller(req));
        self.desk.answer(RequestKind::Open, reply, move |ops, wait| {
            ops.open(wait, ino, flags).map(|handle| Opened { handle })
        });
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
        let how = (open_flags(flags, &caller), is_exclusive(flags), Instant::now() + self.desk.deadline());
        self.desk.answer(RequestKind::Create, reply, move |ops, wait| {
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
        self.desk.answer(RequestKind::Read, reply, move |ops, wait| {
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
        let kill_priv = kill_priv_of_write(write_flags);
        self.desk
            .answer(RequestKind::Write, reply, move |ops, wait| ops.write(wait, ino, offset, data.clone(), kill_priv));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: fuser::ReplyEmpty) {
        self.desk.count(RequestKind::Flush);
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
        self.desk.count(RequestKind::Release);
        self.desk.tell(RequestKind::Release, |ops| ops.release(Handle(handle.0)));
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: fuser::ReplyEmpty) {
        self.sync(RequestKind::Fsync, number, reply);
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: fuser::OpenFlags, reply: fuser::ReplyOpen) {
        self.desk.count(RequestKind::Opendir);
        open_directory(&self.desk, reply, ino(number));
    }

    fn releasedir(&self, _: &Request, _: INodeNo, _: FileHandle, _: fuser::OpenFlags, reply: fuser::ReplyEmpty) {
        self.desk.count(RequestKind::Releasedir);
        reply.ok();
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: fuser::ReplyDirectory) {
        let (ino, count) = (ino(number), self.desk.names.ask());
        self.desk
            .answer(RequestKind::Readdir, reply, move |ops, wait| list(ops, wait, ino, offset, count, Listing::Names));
    }

    fn readdirplus(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, reply: fuser::ReplyDirectoryPlus) {
        let (ino, count) = (ino(number), self.desk.entries.ask());
        self.desk.answer(RequestKind::Readdirplus, reply, move |ops, wait| {
            list(ops, wait, ino, offset, count, Listing::Referenced)
        });
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: fuser::ReplyEmpty) {
        self.sync(RequestKind::Fsyncdir, number, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: fuser::ReplyStatfs) {
        self.desk.answer(RequestKind::Statfs, reply, |ops, _| ops.statfs());
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
        let (ino, caller, name, set) = (ino(number), caller(req), xattr_name(name), xattr_set(flags));
        let value = Bytes::copy_from_slice(value);
        self.desk.answer(RequestKind::Setxattr, reply, move |ops, wait| {
            let name = name.as_ref().map_err(|_| FsError::Unsupported)?;
            let may_keep = !is_access_list(name) || may_keep_group_bit(ops, wait, &caller, ino)?;
            let kill_sgid = if may_keep { KillPriv::Keep } else { KillPriv::Clear };
            ops.setxattr(wait, ino, name, value.clone(), set, kill_sgid)
        });
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, room: u32, reply: fuser::ReplyXattr) {
        let (ino, name) = (ino(number), xattr_name(name));
        self.desk.answer(RequestKind::Getxattr, reply, move |ops, wait| {
            let name = name.as_ref().map_err(|_| FsError::Unsupported)?;
            match ops.getxattr(wait, ino, name) {
                Ok(data) => Ok(Sized { data, room }),
                Err(FsError::NoData) => Err(no_attribute(name)),
                Err(error) => Err(error),
            }
        });
    }

    fn listxattr(&self, req: &Request, number: INodeNo, room: u32, reply: fuser::ReplyXattr) {
        let (ino, caller) = (ino(number), caller(req));
        self.desk.answer(RequestKind::Listxattr, reply, move |ops, wait| {
            let data = xattr_list(&ops.listxattr(wait, ino)?, &caller);
            Ok(Sized { data, room })
        });
    }

    fn removexattr(&self, _: &Request, number: INodeNo, name: &OsStr, reply: fuser::ReplyEmpty) {
        let (ino, name) = (ino(number), xattr_name(name));
        self.desk.answer(RequestKind::Removexattr, reply, move |ops, wait| {
            let name = name.as_ref().map_err(|_| FsError::Unsupported)?;
            ops.removexattr(wait, ino, name)
        });
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: fuser::ReplyEmpty) {
        self.desk.count(RequestKind::Access);
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
        self.desk.count(RequestKind::Ioctl);
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
        self.desk.answer_later(RequestKind::Fallocate, reply, move |ops, wait| {
            ops.fallocate(wait, ino, allocation(mode)?, offset, length, kill_priv)
        });
    }

    fn lseek(&self, _: &Request, number: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: fuser::ReplyLseek) {
        let (ino, what) = (ino(number), seek_kind(whence));
        self.desk.answer(RequestKind::Lseek, reply, move |ops, wait| {
            let offset = u64::try_from(offset).map_err(|_| FsError::NoData)?;
            ops.seek(wait, ino, offset, what.ok_or(FsError::Invalid)?)
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
        self.desk.answer_later(RequestKind::CopyFileRange, reply, move |ops, wait| {
            let copied = ops.copy_range(wait, source, target, len.min(COPY_BYTES_MAX), kill_priv)?;
            u32::try_from(copied).map_err(|_| FsError::Invalid)
        });
    }
}

impl Dispatcher {
    fn make(
        &self,
        kind: RequestKind,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        node: NewNode,
        reply: fuser::ReplyEntry,
    ) {
        let (parent, name, caller) = (ino(parent), bytes(name), caller(req));
        self.desk.answer(kind, reply, move |ops, wait| {
            ops.create(wait, &caller, parent, &name, node.clone()).map(Found::Entry)
        });
    }

    fn sync(&self, kind: RequestKind, number: INodeNo, reply: fuser::ReplyEmpty) {
        let ino = ino(number);
        self.desk.answer_later(kind, reply, move |ops, _| ops.fsync(ino));
    }
}
