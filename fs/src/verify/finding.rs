//! What a check can find.

use std::fmt;

use bytes::Bytes;
use cairn_block::{BlockId, EntryError, Ino};
use cairn_store::StoreError;

use crate::reader::ReadError;

/// Something that is wrong, and where.
#[derive(Debug)]
pub struct Finding {
    /// The path from the root of the volume. Empty for what no path leads to: the tree itself, the table of linked inodes.
    pub path: Bytes,
    /// The inode, where one is known.
    pub ino: Option<Ino>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A node of a tree can't be read; what is below it was not looked at.
    #[error("a node of its tree is lost: {0}")]
    Node(ReadError),
    /// A chunk of a file can't be read.
    #[error("a part of its content is lost: {0}")]
    Chunk(ReadError),
    /// The extended attributes can't be read.
    #[error("its extended attributes are lost: {0}")]
    Xattrs(ReadError),
    /// An entry breaks the format.
    #[error("its entry breaks the format: {0}")]
    Entry(EntryError),
    /// The number of links is not that of the names.
    #[error("it says it has {recorded} links, and has {counted}")]
    LinkCount {
        /// What its record says.
        recorded: u32,
        /// What was counted.
        counted: u64,
    },
    /// Two entries hold records of one inode.
    #[error("its inode number is in use elsewhere")]
    TwoPlaces,
    /// The number was never given out, so the next new file may get it too.
    #[error("its inode number is not below {next_ino}, the next to be given out")]
    NeverGivenOut {
        /// The smallest number that was not.
        next_ino: u64,
    },
    /// The extents go on beyond the end of the file.
    #[error("it is {size} bytes long, and its extents {extents}")]
    Size {
        /// What its record says.
        size: u64,
        /// What the extents add up to.
        extents: u64,
    },
    /// The bytes that are not holes are not as many as the record says.
    #[error("it says that {recorded} of its bytes are not holes, and {counted} are not")]
    Allocated {
        /// What its record says.
        recorded: u64,
        /// What the extents add up to.
        counted: u64,
    },
    /// A link leads to an inode that the link table doesn't have.
    #[error("it is a link to an inode that is not there")]
    LinkToNothing,
    /// The link table has an inode that no name leads to.
    #[error("no name leads to it")]
    NoName,
}

impl Problem {
    /// The block it is about, if it is about one.
    #[must_use]
    pub fn block(&self) -> Option<BlockId> {
        match self {
            Self::Node(error) | Self::Chunk(error) | Self::Xattrs(error) => error.block(),
            _ => None,
        }
    }

    /// Whether a block is not here, as opposed to here and damaged. In a volume of several devices it may be with another one,
    /// and nothing is wrong; with one device it is lost.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        let (Self::Node(error) | Self::Chunk(error) | Self::Xattrs(error)) = self else { return false };
        matches!(error, ReadError::Missing { .. } | ReadError::Store(StoreError::NotFetched { .. }))
    }

    /// Whether something can't be read, as opposed to a wrong count.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Node(_) | Self::Chunk(_) | Self::Xattrs(_) | Self::Entry(_) | Self::LinkToNothing)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path[..], self.ino) {
            ([], None) => write!(f, "the volume: {}", self.problem),
            ([], Some(ino)) => write!(f, "inode {ino}: {}", self.problem),
            (path, _) => write!(f, "{}: {}", path.escape_ascii(), self.problem),
        }
    }
}
