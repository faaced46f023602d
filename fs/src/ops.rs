//! What a volume can be asked, in words that know neither kernel nor library.
//!
//! [`Operations`] is the port between a volume and whoever presents it: the mount today, other doors later. It is
//! synchronous. An operation asked with [`Wait::Never`] answers from memory or says [`FsError::WouldWait`] *without
//! having changed anything*, so that it can be asked again from a thread that may block.
//!
//! Rules that hold for every operation:
//! - Permissions by mode bits and ACLs are the kernel's to check; what is left to the volume is rules about rights
//!   (snapshots are read-only, link counts, set-id bits as asked by [`KillPriv`], `setgid` directories hand their group down).
//! - ACLs are the extended attributes `system.posix_acl_access` and `system.posix_acl_default`. The volume keeps the mode
//!   and the access ACL consistent in both directions, applies the default ACL of the parent at creation (then the umask
//!   counts for nothing), and applies the umask otherwise.
//! - An operation that returns [`Attr`] for a name ([`lookup`](Operations::lookup), [`create`](Operations::create),
//!   [`link`](Operations::link), [`readdir`](Operations::readdir) with [`Listing::Referenced`]) takes one lookup reference
//!   on that inode. The inode, even when its last name is gone, stays until as many are given back with
//!   [`forget`](Operations::forget) and every handle is released.

use std::time::Instant;

use bytes::Bytes;
use cairn_block::{Attr, FileType, Ino, Timestamp};

use crate::error::FsError;

/// Whether an operation may take time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Answer from memory, or [`FsError::WouldWait`] with nothing changed.
    Never,
    /// Store and network may be asked until then; after it, [`FsError::TimedOut`].
    Until(Instant),
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id for file access.
    pub uid: u32,
    /// Effective group id for file access.
    pub gid: u32,
    /// Thread that asks; 0 when the kernel does it for itself.
    pub pid: u32,
}

impl Caller {
    /// The node itself, for work that no process asked for.
    pub const NODE: Caller = Caller { uid: 0, gid: 0, pid: 0 };
}

/// Whether writing takes the privileges that a file's mode gives its runner: set-user-id, set-group-id where the group
/// may execute, and the `security.capability` attribute. Directories keep theirs in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillPriv {
    /// Leave them: the caller may set them anyway.
    Keep,
    /// Clear them in the same step as the change.
    Clear,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeOrNow {
    /// Exactly this.
    Time(Timestamp),
    /// The volume's clock at the change.
    Now,
}

/// Which attributes to change; `None` leaves one alone. Any change sets ctime, to now unless `ctime` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits, 07777.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// New size: cuts, or extends with a hole. Sets mtime as well.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<TimeOrNow>,
    /// Last change of content.
    pub mtime: Option<TimeOrNow>,
    /// Last change of anything; only a kernel that caches writes sets it.
    pub ctime: Option<Timestamp>,
    /// Applied after `mode`.
    pub kill_priv: KillPriv,
}

impl SetAttr {
    /// Changes nothing yet: the start for a struct update.
    pub const NONE: SetAttr = SetAttr {
        mode: None,
        uid: None,
        gid: None,
        size: None,
        atime: None,
        mtime: None,
        ctime: None,
        kill_priv: KillPriv::Keep,
    };
}

/// A node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// Its type.
    pub kind: FileType,
    /// Permission bits as asked, 07777, before the umask.
    pub mode: u16,
    /// The caller's umask; ignored where the parent has a default ACL, and for symbolic links.
    pub umask: u16,
    /// Device number of a character or block device, else 0.
    pub rdev: u32,
    /// Target of a symbolic link, else empty.
    pub target: Bytes,
}

/// How a rename treats a target that exists. The default replaces it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenameFlags {
    /// Fail with [`FsError::Exists`] instead of replacing.
    pub noreplace: bool,
    /// Swap the two entries; both must exist.
    pub exchange: bool,
    /// Leave a character device 0:0 under the old name.
    pub whiteout: bool,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFlags {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Cut to nothing in the same step.
    pub truncate: bool,
    /// Whether the cut takes privileges away. Without `truncate` it has no effect.
    pub kill_priv: KillPriv,
}

/// An open file: keeps its inode alive until released. Numbers aren't reused while the volume is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub u64);

/// What was read: pieces in order, which together are shorter than asked only at the end of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces(pub Vec<Bytes>);

impl Pieces {
    /// Bytes in all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether nothing was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// As one buffer; copies only when there is more than one piece.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        match self.0.len() {
            0 => Bytes::new(),
            1 => self.0.swap_remove(0),
            _ => self.0.concat().into(),
        }
    }
}

/// What `fallocate` does to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocate {
    /// Make sure that writes to the range can't fail for space, and extend the file to its end.
    Reserve,
    /// The same, but the size stays.
    ReserveKeepSize,
    /// Make the range a hole; the size stays.
    PunchHole,
    /// Make the range read as zeros, and extend the file to its end.
    Zero,
    /// Make the range read as zeros; the size stays.
    ZeroKeepSize,
}

/// What `seek` looks for at or after an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that isn't in a hole; [`FsError::NoData`] when there is none.
    Data,
    /// The next byte in a hole; the end of the file counts as one.
    Hole,
}

/// One half of a copy: a place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub ino: Ino,
    /// Byte offset in it.
    pub offset: u64,
}

/// How much of each entry a listing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Names, inode numbers and types; `attr` is `None` and no reference is taken.
    Names,
    /// Attributes as well, and one lookup reference for every item returned.
    Referenced,
}

/// The cookies below this one belong to the caller of [`Operations::readdir`], for the start, `.` and `..`.
pub const COOKIE_MIN: u64 = 3;

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirItem {
    /// The inode.
    pub ino: Ino,
    /// Ask with this cookie to go on after this entry; at least [`COOKIE_MIN`], below 2^63, stays valid for ever.
    pub cookie: u64,
    /// The name.
    pub name: Bytes,
    /// The type.
    pub kind: FileType,
    /// Present with [`Listing::Referenced`].
    pub attr: Option<Attr>,
}

/// How `setxattr` treats an attribute that exists, and one that doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetXattr {
    /// Either way.
    Any,
    /// [`FsError::Exists`] when it does.
    Create,
    /// [`FsError::NoData`] when it doesn't.
    Replace,
}

/// Space and counts of the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Unit of the three counts that follow.
    pub block_bytes: u32,
    /// Size of the quota, or of the disk underneath.
    pub blocks: u64,
    /// Free, with the reserve.
    pub blocks_free: u64,
    /// Free for anyone to write.
    pub blocks_available: u64,
    /// Inodes in use.
    pub files: u64,
    /// Inodes that can still be made.
    pub files_free: u64,
}

/// What a volume answers. See the module for the rules that hold for all of it.
#[allow(clippy::too_many_arguments)] // A rename has two ends; naming them in a struct would only move the count.
pub trait Operations: Send + Sync + 'static {
    /// The inode that `name` leads to. `.` is `parent` itself, which then may be any inode; `..` is its parent directory,
    /// and the root's is the root.
    fn lookup(&self, wait: Wait, parent: Ino, name: &[u8]) -> Result<Attr, FsError>;

    /// Gives back `count` lookup references. Unknown inodes are ignored: the kernel forgets late.
    fn forget(&self, ino: Ino, count: u64);

    /// The attributes of an inode.
    fn getattr(&self, wait: Wait, ino: Ino) -> Result<Attr, FsError>;

    /// Changes attributes in one step.
    fn setattr(&self, wait: Wait, caller: &Caller, ino: Ino, set: SetAttr) -> Result<Attr, FsError>;

    /// The target of a symbolic link.
    fn readlink(&self, wait: Wait, ino: Ino) -> Result<Bytes, FsError>;

    /// Makes a node of any type.
    fn create(&self, wait: Wait, caller: &Caller, parent: Ino, name: &[u8], node: NewNode) -> Result<Attr, FsError>;

    /// Removes a name of something that isn't a directory.
    fn unlink(&self, wait: Wait, caller: &Caller, parent: Ino, name: &[u8]) -> Result<(), FsError>;

    /// Removes an empty directory.
    fn rmdir(&self, wait: Wait, caller: &Caller, parent: Ino, name: &[u8]) -> Result<(), FsError>;

    /// Moves an entry in one step.
    fn rename(
        &self,
        wait: Wait,
        caller: &Caller,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<(), FsError>;

    /// Gives a file one more name.
    fn link(&self, wait: Wait, caller: &Caller, ino: Ino, new_parent: Ino, new_name: &[u8]) -> Result<Attr, FsError>;

    /// Opens a regular file.
    fn open(&self, wait: Wait, ino: Ino, flags: OpenFlags) -> Result<Handle, FsError>;

    /// Closes a handle. Never waits.
    fn release(&self, handle: Handle);

    /// Reads up to `len` bytes.
    fn read(&self, wait: Wait, ino: Ino, offset: u64, len: u32) -> Result<Pieces, FsError>;

    /// Writes all of `data` or nothing.
    fn write(&self, wait: Wait, ino: Ino, offset: u64, data: Bytes, kill_priv: KillPriv) -> Result<u32, FsError>;

    /// Reserves, empties or zeroes a range.
    fn fallocate(
        &self,
        wait: Wait,
        ino: Ino,
        what: Allocate,
        offset: u64,
        len: u64,
        kill_priv: KillPriv,
    ) -> Result<(), FsError>;

    /// Finds the next data or hole.
    fn seek(&self, wait: Wait, ino: Ino, offset: u64, what: Seek) -> Result<u64, FsError>;

    /// Copies up to `len` bytes by reference; how many were copied is 0 only at the end of the source.
    fn copy_range(
        &self,
        wait: Wait,
        source: Place,
        target: Place,
        len: u64,
        kill_priv: KillPriv,
    ) -> Result<u64, FsError>;

    /// Up to `count_max` entries after `cookie` (0: from the start), without `.` and `..`. An empty answer is the end.
    fn readdir(
        &self,
        wait: Wait,
        ino: Ino,
        cookie: u64,
        count_max: usize,
        listing: Listing,
    ) -> Result<Vec<DirItem>, FsError>;

    /// The value of an extended attribute.
    fn getxattr(&self, wait: Wait, ino: Ino, name: &[u8]) -> Result<Bytes, FsError>;

    /// Sets an extended attribute. `kill_sgid` goes with `system.posix_acl_access`, as the mode that follows from it may
    /// not keep the set-group-id bit of a group that the caller isn't in.
    fn setxattr(
        &self,
        wait: Wait,
        ino: Ino,
        name: &[u8],
        value: Bytes,
        set: SetXattr,
        kill_sgid: KillPriv,
    ) -> Result<(), FsError>;

    /// The names of all extended attributes.
    fn listxattr(&self, wait: Wait, ino: Ino) -> Result<Vec<Bytes>, FsError>;

    /// Removes an extended attribute.
    fn removexattr(&self, wait: Wait, ino: Ino, name: &[u8]) -> Result<(), FsError>;

    /// Returns when everything that happened to this inode before the call is durable, and with it everything that
    /// happened to the volume before that. Blocks.
    fn fsync(&self, ino: Ino) -> Result<(), FsError>;

    /// The same for the whole volume. Blocks.
    fn sync_all(&self) -> Result<(), FsError>;

    /// Space and counts. Never waits.
    fn statfs(&self) -> Result<StatFs, FsError>;
}

/// Something that changed without the kernel having asked for it: by a restore, an undo, another device's head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Attributes or content of an inode; of a directory, its listing.
    Inode(Ino),
    /// A name leads elsewhere now, or to something where there was nothing.
    Entry {
        /// The directory.
        parent: Ino,
        /// The name in it.
        name: Bytes,
    },
    /// A name is gone.
    Removed {
        /// The directory.
        parent: Ino,
        /// The inode that it led to.
        ino: Ino,
        /// The name.
        name: Bytes,
    },
}

/// Wants to hear of [`Change`]s: a mount whose kernel has cached what was.
pub trait Watcher: Send + Sync {
    /// Called after the new state is visible to every operation, and with no lock held that an operation could want:
    /// the kernel may be waiting for one of them, and this may wait for the kernel.
    fn changed(&self, change: Change);
}
