//! What each of the library's reply objects carries, and how it is taken back.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use bytes::Bytes;
use cairn_block::{Attr, Ino};
use fuser::{Errno, FileAttr, FileHandle, FopenFlags, Generation, INodeNo};

use super::attr::{absent, is_snapshot, kind_to_kernel, to_kernel, ttl};
use super::counts::RequestKind;
use super::desk::{Answer, Desk};
use crate::error::FsError;
use crate::ops::{DirItem, Handle, StatFs, Wait};

/// Inode numbers are never used twice, so one generation is enough for file handles that outlive a mount.
const GENERATION: Generation = Generation(0);

fn errno(error: &FsError) -> Errno {
    Errno::from_i32(error.errno().raw_os_error())
}

/// What a name leads to.
pub(super) enum Found {
    /// An inode, with one lookup reference.
    Entry(Attr),
    /// Nothing, and the kernel may remember that.
    Nothing {
        /// The directory that was searched.
        parent: Ino,
    },
}

impl Answer for fuser::ReplyEntry {
    type Value = Found;

    fn send(self, _: &Desk, value: Found) {
        match value {
            Found::Entry(attr) => self.entry(&ttl(attr.ino), &to_kernel(&attr), GENERATION),
            Found::Nothing { parent } => self.entry(&ttl(parent), &absent(), GENERATION),
        }
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }

    fn undo(desk: &Desk, value: Found) {
        if let Found::Entry(attr) = value {
            desk.tell(RequestKind::Forget, |ops| ops.forget(attr.ino, 1));
        }
    }
}

impl Answer for fuser::ReplyAttr {
    type Value = Attr;

    fn send(self, _: &Desk, attr: Attr) {
        self.attr(&ttl(attr.ino), &to_kernel(&attr));
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }
}

impl Answer for fuser::ReplyEmpty {
    type Value = ();

    fn send(self, _: &Desk, (): ()) {
        self.ok();
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }
}

impl Answer for fuser::ReplyData {
    type Value = Bytes;

    fn send(self, _: &Desk, data: Bytes) {
        self.data(&data);
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }
}

impl Answer for fuser::ReplyWrite {
    type Value = u32;

    fn send(self, _: &Desk, written: u32) {
        self.written(written);
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }
}

/// An open file.
pub(super) struct Opened {
    pub(super) handle: Handle,
}

/// The kernel keeps its pages: all changes go through it, or are announced (see `notify`). `O_DIRECT` is the kernel's to
/// honour; we never force it.
fn open_flags() -> FopenFlags {
    FopenFlags::FOPEN_KEEP_CACHE
}

impl Answer for fuser::ReplyOpen {
    type Value = Opened;

    fn send(self, _: &Desk, opened: Opened) {
        self.opened(FileHandle(opened.handle.0), open_flags());
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }

    fn undo(desk: &Desk, opened: Opened) {
        desk.tell(RequestKind::Release, |ops| ops.release(opened.handle));
    }
}

impl Answer for fuser::ReplyCreate {
    type Value = (Attr, Handle);

    fn send(self, _: &Desk, (attr, handle): (Attr, Handle)) {
        self.created(&ttl(attr.ino), &to_kernel(&attr), GENERATION, FileHandle(handle.0), open_flags());
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }

    /// The file stays, as after any timeout of an operation that still took effect; reference and handle don't.
    fn undo(desk: &Desk, (attr, handle): (Attr, Handle)) {
        desk.tell(RequestKind::Release, |ops| {
            ops.release(handle);
            ops.forget(attr.ino, 1);
        });
    }
}

/// The kernel keeps listings of directories of up to this many entries. It has only the names in them, so that whoever wants
/// attributes as well pays a lookup for each name: dear for a large directory.
const KEPT_LISTING_MAX: u64 = 4096;

/// Answers an `opendir`, which the volume needn't hear of. Listings are cached like everything else, but for snapshots,
/// whose directory grows by the clock, and for large directories.
pub(super) fn open_directory(desk: &Desk, reply: fuser::ReplyOpen, ino: Ino) {
    // The size of a directory is how many entries it has.
    let attr = || desk.look(RequestKind::Opendir, |ops| ops.getattr(Wait::Never, ino));
    let is_large = || attr().is_ok_and(|attr| attr.size > KEPT_LISTING_MAX);
    let flags = if is_snapshot(ino) || is_large() {
        FopenFlags::empty()
    } else {
        FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE
    };
    reply.opened(FileHandle(0), flags);
}

impl Answer for fuser::ReplyStatfs {
    type Value = StatFs;

    fn send(self, _: &Desk, stat: StatFs) {
        self.statfs(
            stat.blocks,
            stat.blocks_free,
            stat.blocks_available,
            stat.files.saturating_add(stat.files_free),
            stat.files_free,
            stat.block_bytes,
            cairn_block::limits::NAME_BYTES_MAX as u32,
            stat.block_bytes,
        );
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }
}

/// An attribute's value or the list of names, for a caller who offered `room` bytes, or 0 to learn the size.
pub(super) struct Sized {
    pub(super) data: Bytes,
    pub(super) room: u32,
}

impl Answer for fuser::ReplyXattr {
    type Value = Sized;

    fn send(self, _: &Desk, Sized { data, room }: Sized) {
        match u32::try_from(data.len()) {
            Ok(len) if room == 0 => self.size(len),
            Ok(len) if len <= room => self.data(&data),
            _ => self.error(errno(&FsError::Range)),
        }
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }
}

impl Answer for fuser::ReplyLseek {
    type Value = u64;

    fn send(self, _: &Desk, offset: u64) {
        match i64::try_from(offset) {
            Ok(offset) => self.offset(offset),
            Err(_) => self.error(errno(&FsError::FileTooBig)),
        }
    }

    fn refuse(self, error: &FsError) {
        match error {
            // What lseek says for "nothing after this offset".
            FsError::NoData => self.error(Errno::ENXIO),
            error => self.error(errno(error)),
        }
    }
}

impl Answer for fuser::ReplyDirectory {
    type Value = Vec<DirItem>;

    fn send(mut self, desk: &Desk, items: Vec<DirItem>) {
        let full = |item: &DirItem| {
            let name = OsStr::from_bytes(&item.name);
            self.add(INodeNo(item.ino.get()), item.cookie, kind_to_kernel(item.kind), name)
        };
        let fitted = items.iter().position(full).unwrap_or(items.len());
        desk.names.learn(items.len(), fitted);
        self.ok();
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }
}

impl Answer for fuser::ReplyDirectoryPlus {
    type Value = Vec<DirItem>;

    fn send(mut self, desk: &Desk, mut items: Vec<DirItem>) {
        let full = |item: &DirItem| {
            let name = OsStr::from_bytes(&item.name);
            let attr = item.attr.as_ref().map_or_else(|| bare(item), to_kernel);
            self.add(attr.ino, item.cookie, name, &ttl(item.ino), &attr, GENERATION)
        };
        let fitted = items.iter().position(full).unwrap_or(items.len());
        desk.entries.learn(items.len(), fitted);
        self.ok();
        give_back(desk, items.split_off(fitted));
    }

    fn refuse(self, error: &FsError) {
        self.error(errno(error));
    }

    fn undo(desk: &Desk, items: Vec<DirItem>) {
        give_back(desk, items);
    }
}

/// `.` and `..`, of which the kernel takes the number and the type, and no reference.
fn bare(item: &DirItem) -> FileAttr {
    FileAttr { ino: INodeNo(item.ino.get()), kind: kind_to_kernel(item.kind), ..absent() }
}

fn give_back(desk: &Desk, items: Vec<DirItem>) {
    desk.tell(RequestKind::Forget, |ops| {
        items.iter().filter(|item| item.attr.is_some()).for_each(|item| ops.forget(item.ino, 1));
    });
}
