//! Why an entry is not one.

use thiserror::Error;

use super::FileType;
use crate::codec::DecodeError;
use crate::id::Ino;
use crate::limits::{FILE_BYTES_MAX, INO_LIMIT, LINK_COUNT_MAX};

/// A record, entry, name or volume root that breaks the format: refused when written and when read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The bytes end early, go on too long or exceed a bound.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
    /// A tag no writer uses.
    #[error("{what}: tag {tag} is not known")]
    Tag {
        /// The structure being read.
        what: &'static str,
        /// The tag found.
        tag: u8,
    },
    /// Not the number of a file type.
    #[error("file type {code} is not known")]
    Kind {
        /// The number found.
        code: u8,
    },
    /// An inode number that no volume gives out.
    #[error("inode number {ino} is not in 1..{INO_LIMIT}")]
    Ino {
        /// The number.
        ino: Ino,
    },
    /// Permission bits outside of `0o7777`.
    #[error("inode {ino}: mode {mode:o} has bits beyond 7777")]
    Mode {
        /// The inode.
        ino: Ino,
        /// Its mode.
        mode: u16,
    },
    /// A size that `off_t` can't say.
    #[error("inode {ino}: {bytes} bytes are above the bound {FILE_BYTES_MAX}")]
    Size {
        /// The inode.
        ino: Ino,
        /// Its size.
        bytes: u64,
    },
    /// Too many names.
    #[error("inode {ino}: {nlink} links are above the bound {LINK_COUNT_MAX}")]
    LinkCount {
        /// The inode.
        ino: Ino,
        /// Its link count.
        nlink: u32,
    },
    /// A device number on something that is not a device.
    #[error("inode {ino}: a device number without a device")]
    DeviceNumber {
        /// The inode.
        ino: Ino,
    },
    /// Nanoseconds of a whole second or more.
    #[error("inode {ino}: a time with a second of nanoseconds or more")]
    Time {
        /// The inode.
        ino: Ino,
    },
    /// Content that this kind of inode can't have, or of another length than the size says.
    #[error("inode {ino}: the content does not fit a {kind:?} of {size} bytes")]
    Content {
        /// The inode.
        ino: Ino,
        /// Its kind.
        kind: FileType,
        /// Its size.
        size: u64,
    },
    /// A root whose level, count and ref contradict each other.
    #[error("{what}: level, count and ref of the root contradict each other")]
    Root {
        /// The tree.
        what: &'static str,
    },
    /// A directory with several names.
    #[error("inode {ino}: a directory can't be linked")]
    LinkedDirectory {
        /// The inode.
        ino: Ino,
    },
    /// An extended attribute that is misnamed, too long or out of order.
    #[error("extended attribute {index}: {reason}")]
    Xattr {
        /// Its place in the list.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// Extended attributes in the wrong place for their size.
    #[error("{bytes} bytes of extended attributes are not for {place}")]
    XattrsPlace {
        /// Their encoded size.
        bytes: usize,
        /// Where they were found or meant to go.
        place: &'static str,
    },
    /// Bytes that can't be a name in a directory.
    #[error("a name of {len} bytes {reason}")]
    Name {
        /// Its length.
        len: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// A key whose hash is not that of its name.
    #[error("the hash of a directory key is not that of its name")]
    KeyHash,
    /// The root directory is not inode 1, or not a directory.
    #[error("the root directory is a {kind:?} with inode number {ino}")]
    RootDirectory {
        /// Its inode.
        ino: Ino,
        /// Its kind.
        kind: FileType,
    },
}
