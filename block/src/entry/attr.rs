//! What `stat` tells about an inode, in a fixed layout.

use crate::codec::{Reader, Writer};
use crate::entry::EntryError;
use crate::id::Ino;
use crate::limits::{FILE_BYTES_MAX, INO_LIMIT, LINK_COUNT_MAX};
use crate::time::Timestamp;

/// The permission bits of `st_mode`; the kind is above them.
const MODE_BITS: u16 = 0o7777;
const KIND_SHIFT: u32 = 12;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// The kind of an inode. Each value is its `DT_*` number, which is `st_mode >> 12` as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FileType {
    /// A named pipe.
    Fifo = 1,
    /// A character device.
    Char = 2,
    /// A directory.
    Directory = 4,
    /// A block device.
    Block = 6,
    /// A file of bytes.
    Regular = 8,
    /// A symbolic link.
    Symlink = 10,
    /// A unix socket.
    Socket = 12,
}

impl FileType {
    /// The kind whose `DT_*` number is `code`.
    pub fn from_code(code: u8) -> Option<FileType> {
        Some(match code {
            1 => FileType::Fifo,
            2 => FileType::Char,
            4 => FileType::Directory,
            6 => FileType::Block,
            8 => FileType::Regular,
            10 => FileType::Symlink,
            12 => FileType::Socket,
            _ => return None,
        })
    }

    /// The `DT_*` number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Whether `rdev` has a meaning.
    pub fn is_device(self) -> bool {
        matches!(self, FileType::Char | FileType::Block)
    }
}

/// The attributes of one inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    /// The inode number, stable for the life of the inode.
    pub ino: Ino,
    /// What it is.
    pub kind: FileType,
    /// Permission bits, `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names (of a directory: 2 + subdirectories).
    pub nlink: u32,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that are not holes.
    pub allocated: u64,
    /// Device number; 0 unless the kind is a device.
    pub rdev: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
}

impl Attr {
    /// The bits of `st_mode`: kind and permissions.
    pub fn st_mode(&self) -> u16 {
        u16::from(self.kind.code()) << KIND_SHIFT | self.mode
    }

    /// Whether a writer may put these attributes into a tree.
    pub(super) fn check(&self) -> Result<(), EntryError> {
        let ino = self.ino;
        check_ino(ino)?;
        if self.mode & !MODE_BITS != 0 {
            return Err(EntryError::Mode { ino, mode: self.mode });
        }
        let bytes = self.size.max(self.allocated);
        if bytes > FILE_BYTES_MAX {
            return Err(EntryError::Size { ino, bytes });
        }
        // The links of a directory are its subdirectories: only the number of entries bounds them.
        if self.kind != FileType::Directory && self.nlink > LINK_COUNT_MAX {
            return Err(EntryError::LinkCount { ino, nlink: self.nlink });
        }
        if self.rdev != 0 && !self.kind.is_device() {
            return Err(EntryError::DeviceNumber { ino });
        }
        let times = [self.atime, self.mtime, self.ctime, self.btime];
        if times.iter().any(|time| time.nanos >= NANOS_PER_SECOND) {
            return Err(EntryError::Time { ino });
        }
        Ok(())
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.u16(self.st_mode()).u64(self.ino.get());
        out.u32(self.uid).u32(self.gid).u32(self.nlink).u32(self.rdev);
        out.u64(self.size).u64(self.allocated);
        for time in [self.atime, self.mtime, self.ctime, self.btime] {
            time.encode(out);
        }
    }

    /// Reads the fields; the caller checks the whole record.
    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Attr, EntryError> {
        let (kind, mode) = decode_st_mode(input)?;
        Ok(Attr {
            ino: Ino::new(input.u64("inode number")?),
            kind,
            mode,
            uid: input.u32("uid")?,
            gid: input.u32("gid")?,
            nlink: input.u32("link count")?,
            rdev: input.u32("device number")?,
            size: input.u64("size")?,
            allocated: input.u64("allocated")?,
            atime: Timestamp::decode(input, "atime")?,
            mtime: Timestamp::decode(input, "mtime")?,
            ctime: Timestamp::decode(input, "ctime")?,
            btime: Timestamp::decode(input, "btime")?,
        })
    }
}

/// Inode 0 means "none" to every program, and the numbers from [`INO_LIMIT`] on are not a volume's to give.
pub(super) fn check_ino(ino: Ino) -> Result<(), EntryError> {
    match ino.get() {
        1..INO_LIMIT => Ok(()),
        _ => Err(EntryError::Ino { ino }),
    }
}

pub(super) fn decode_st_mode(input: &mut Reader<'_>) -> Result<(FileType, u16), EntryError> {
    let st_mode = input.u16("st_mode")?;
    let code = (st_mode >> KIND_SHIFT) as u8;
    let kind = FileType::from_code(code).ok_or(EntryError::Kind { code })?;
    Ok((kind, st_mode & MODE_BITS))
}
