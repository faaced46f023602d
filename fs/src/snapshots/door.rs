//! A volume with `.snapshots` in its root.

use std::ops::Deref;

use bytes::Bytes;
use cairn_block::{Attr, Ino};

use super::Snapshots;
use crate::error::FsError;
use crate::ops::{
    Allocate, Caller, DirItem, Handle, KillPriv, Listing, NewNode, OpenFlags, Operations, Pieces, Place, RenameFlags,
    Seek, SetAttr, SetXattr, StatFs, Wait,
};

/// The name of the directory of snapshots in the root of a volume.
pub const SNAPSHOTS_NAME: &[u8] = b".snapshots";

/// A live volume and its snapshots, as one tree: what a mount shows. The volume is shared with its other users, such as by an
/// `Arc`.
pub struct Browsable<L> {
    live: L,
    snapshots: Snapshots,
}

impl<L: Deref<Target: Operations>> Browsable<L> {
    /// `live` with `snapshots` in its root.
    #[must_use]
    pub fn new(live: L, snapshots: Snapshots) -> Self {
        Self { live, snapshots }
    }

    /// The live volume.
    pub fn live(&self) -> &L {
        &self.live
    }

    /// Its snapshots.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The live volume, for changes to `ino`.
    fn writable(&self, ino: Ino) -> Result<&L::Target, FsError> {
        if Snapshots::holds(ino) { Err(FsError::ReadOnly) } else { Ok(&*self.live) }
    }

    /// The live volume, for changes to a name. The name of the directory of snapshots is taken for good.
    fn writable_name(&self, parent: Ino, name: &[u8]) -> Result<&L::Target, FsError> {
        if is_top(parent, name) {
            return Err(FsError::ReadOnly);
        }
        self.writable(parent)
    }
}

fn is_top(parent: Ino, name: &[u8]) -> bool {
    parent == Ino::ROOT && name == SNAPSHOTS_NAME
}

impl<L> Operations for Browsable<L>
where
    L: Deref<Target: Operations> + Send + Sync + 'static,
{
    fn lookup(&self, wait: Wait, parent: Ino, name: &[u8]) -> Result<Attr, FsError> {
        if is_top(parent, name) {
            return self.snapshots.lookup(wait, Snapshots::top(), b".");
        }
        if parent == Snapshots::top() && name == b".." {
            return self.live.lookup(wait, Ino::ROOT, b".");
        }
        match Snapshots::holds(parent) {
            true => self.snapshots.lookup(wait, parent, name),
            false => self.live.lookup(wait, parent, name),
        }
    }

    fn forget(&self, ino: Ino, count: u64) {
        match Snapshots::holds(ino) {
            true => self.snapshots.forget(ino, count),
            false => self.live.forget(ino, count),
        }
    }

    fn getattr(&self, wait: Wait, ino: Ino) -> Result<Attr, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.getattr(wait, ino),
            false => self.live.getattr(wait, ino),
        }
    }

    fn setattr(&self, wait: Wait, caller: &Caller, ino: Ino, set: SetAttr) -> Result<Attr, FsError> {
        self.writable(ino)?.setattr(wait, caller, ino, set)
    }

    fn readlink(&self, wait: Wait, ino: Ino) -> Result<Bytes, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.readlink(wait, ino),
            false => self.live.readlink(wait, ino),
        }
    }

    fn create(&self, wait: Wait, caller: &Caller, parent: Ino, name: &[u8], node: NewNode) -> Result<Attr, FsError> {
        if is_top(parent, name) {
            return Err(FsError::Exists);
        }
        self.writable(parent)?.create(wait, caller, parent, name, node)
    }

    fn unlink(&self, wait: Wait, caller: &Caller, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        self.writable_name(parent, name)?.unlink(wait, caller, parent, name)
    }

    fn rmdir(&self, wait: Wait, caller: &Caller, parent: Ino, name: &[u8]) -> Result<(), FsError> {
        self.writable_name(parent, name)?.rmdir(wait, caller, parent, name)
    }

    fn rename(
        &self,
        wait: Wait,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), FsError> {
        if Snapshots::holds(parent) != Snapshots::holds(new_parent) {
            return Err(FsError::CrossDevice);
        }
        self.writable_name(new_parent, new_name)?;
        self.writable_name(parent, name)?.rename(wait, caller, parent, name, new_parent, new_name, flags)
    }

    fn link(&self, wait: Wait, caller: &Caller, ino: Ino, new_parent: Ino, new_name: &[u8]) -> Result<Attr, FsError> {
        if Snapshots::holds(ino) != Snapshots::holds(new_parent) {
            return Err(FsError::CrossDevice);
        }
        self.writable_name(new_parent, new_name)?.link(wait, caller, ino, new_parent, new_name)
    }

    fn open(&self, wait: Wait, ino: Ino, flags: OpenFlags) -> Result<Handle, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.open(wait, ino, flags),
            false => self.live.open(wait, ino, flags),
        }
    }

    fn release(&self, handle: Handle) {
        match Snapshots::opened(handle) {
            true => self.snapshots.release(handle),
            false => self.live.release(handle),
        }
    }

    fn read(&self, wait: Wait, ino: Ino, offset: u64, len: u32) -> Result<Pieces, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.read(wait, ino, offset, len),
            false => self.live.read(wait, ino, offset, len),
        }
    }

    fn write(&self, wait: Wait, ino: Ino, offset: u64, data: Bytes, kill_priv: KillPriv) -> Result<u32, FsError> {
        self.writable(ino)?.write(wait, ino, offset, data, kill_priv)
    }

    fn fallocate(
        &self,
        wait: Wait,
        ino: Ino,
        what: Allocate,
        offset: u64,
        len: u64,
        kill_priv: KillPriv,
    ) -> Result<(), FsError> {
        self.writable(ino)?.fallocate(wait, ino, what, offset, len, kill_priv)
    }

    fn seek(&self, wait: Wait, ino: Ino, offset: u64, what: Seek) -> Result<u64, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.seek(wait, ino, offset, what),
            false => self.live.seek(wait, ino, offset, what),
        }
    }

    fn copy_range(
        &self,
        wait: Wait,
        source: Place,
        target: Place,
        len: u64,
        kill_priv: KillPriv,
    ) -> Result<u64, FsError> {
        // Out of a snapshot programs copy by reading and writing: what they write is known and stored once.
        if Snapshots::holds(source.ino) {
            return Err(FsError::CrossDevice);
        }
        self.writable(target.ino)?.copy_range(wait, source, target, len, kill_priv)
    }

    fn readdir(
        &self,
        wait: Wait,
        ino: Ino,
        cookie: u64,
        count_max: usize,
        listing: Listing,
    ) -> Result<Vec<DirItem>, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.readdir(wait, ino, cookie, count_max, listing),
            false => self.live.readdir(wait, ino, cookie, count_max, listing),
        }
    }

    fn getxattr(&self, wait: Wait, ino: Ino, name: &[u8]) -> Result<Bytes, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.getxattr(wait, ino, name),
            false => self.live.getxattr(wait, ino, name),
        }
    }

    fn setxattr(
        &self,
        wait: Wait,
        ino: Ino,
        name: &[u8],
        value: Bytes,
        set: SetXattr,
        kill_sgid: KillPriv,
    ) -> Result<(), FsError> {
        self.writable(ino)?.setxattr(wait, ino, name, value, set, kill_sgid)
    }

    fn listxattr(&self, wait: Wait, ino: Ino) -> Result<Vec<Bytes>, FsError> {
        match Snapshots::holds(ino) {
            true => self.snapshots.listxattr(wait, ino),
            false => self.live.listxattr(wait, ino),
        }
    }

    fn removexattr(&self, wait: Wait, ino: Ino, name: &[u8]) -> Result<(), FsError> {
        self.writable(ino)?.removexattr(wait, ino, name)
    }

    fn fsync(&self, ino: Ino) -> Result<(), FsError> {
        // Nothing in a snapshot is ever dirty.
        if Snapshots::holds(ino) { Ok(()) } else { self.live.fsync(ino) }
    }

    fn sync_all(&self) -> Result<(), FsError> {
        self.live.sync_all()
    }

    fn statfs(&self) -> Result<StatFs, FsError> {
        self.live.statfs()
    }
}
