//! Why a read failed: what is lost, what is broken, and what is merely not known.

use cairn_block::{BlockId, DecodeError, EntryError, OpenError, TreeError};
use cairn_store::StoreError;

use crate::error::{FsError, newer};

/// Why a node or chunk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It isn't in memory, and the caller asked for memory only.
    #[error("block {id} is not in memory")]
    WouldWait {
        /// The block that would have to be fetched.
        id: BlockId,
    },
    /// No store that was asked has the block.
    #[error("block {id} is missing")]
    Missing {
        /// The block.
        id: BlockId,
    },
    /// The block is there and can't be trusted or understood.
    #[error("block {id} is damaged")]
    Damaged {
        /// The block.
        id: BlockId,
        /// What is wrong with it.
        source: Flaw,
    },
    /// A record or entry in a sound node breaks the format: whoever wrote it was wrong, or lied.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The request to a tree could not be right.
    #[error(transparent)]
    Request(TreeError),
    /// The store failed to answer: nothing is known about the block.
    #[error(transparent)]
    Store(StoreError),
}

/// What is wrong with a damaged block.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// The stored bytes are not those that the id names.
    #[error(transparent)]
    Stored(StoreError),
    /// The bytes are right, but the ref does not open them.
    #[error(transparent)]
    Sealed(#[from] OpenError),
    /// The plaintext is not what it should be.
    #[error(transparent)]
    Content(#[from] DecodeError),
    /// The extended attributes in it are not.
    #[error(transparent)]
    Xattrs(#[from] EntryError),
    /// The node is not the one that its parent describes.
    #[error(transparent)]
    Tree(TreeError),
}

impl ReadError {
    /// The block it is about, if it is about one.
    #[must_use]
    pub fn block(&self) -> Option<BlockId> {
        match self {
            Self::WouldWait { id } | Self::Missing { id } | Self::Damaged { id, .. } => Some(*id),
            Self::Entry(_) | Self::Request(_) | Self::Store(_) => None,
        }
    }

    /// Says so if a newer release wrote the block.
    pub(crate) fn newer(&self) -> Option<FsError> {
        match self {
            Self::Damaged {
                source: Flaw::Sealed(OpenError::Header { source, .. }) | Flaw::Content(source), ..
            }
            | Self::Entry(EntryError::Bytes(source)) => newer(source),
            _ => None,
        }
    }

    /// Whether data is lost, as far as this store knows: asking again won't help.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Damaged { .. } | Self::Entry(_))
    }

    /// Whether the block may be somewhere, and could not be had in time: asking again may help.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotFetched { .. } | StoreError::Timeout { .. }))
    }

    pub(super) fn damaged(id: BlockId, flaw: impl Into<Flaw>) -> Self {
        Self::Damaged { id, source: flaw.into() }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { id, .. } => Self::Damaged { id, source: Flaw::Stored(error) },
            other => Self::Store(other),
        }
    }
}

impl From<TreeError> for ReadError {
    fn from(error: TreeError) -> Self {
        match error.block() {
            Some(id) => Self::Damaged { id, source: Flaw::Tree(error) },
            None => Self::Request(error),
        }
    }
}
