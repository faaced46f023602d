//! The reader's nodes with the error of this crate, for tree edits.

use std::sync::Arc;

use cairn_block::file_tree::FileNode;
use cairn_block::map_tree::MapNode;
use cairn_block::{EntryError, Ino, Nodes, Ref, TreeError};
use cairn_store::Ask;

use crate::error::FsError;
use crate::reader::{ReadError, TreeReader};

/// Tree nodes on behalf of an inode, whom errors then name.
pub(crate) struct InodeNodes<'a> {
    pub(crate) reader: &'a TreeReader,
    pub(crate) ino: Ino,
    pub(crate) ask: Ask,
}

impl Nodes for InodeNodes<'_> {
    type Error = FsError;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, FsError> {
        self.reader.map_node(reference, level, self.ask).map_err(|e| e.into_fs(self.ino))
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, FsError> {
        self.reader.file_node(reference, level, self.ask).map_err(|e| e.into_fs(self.ino))
    }
}

impl ReadError {
    /// The same, as an operation on `ino` reports it.
    pub(crate) fn into_fs(self, ino: Ino) -> FsError {
        match self {
            ReadError::WouldWait { .. } => FsError::WouldWait,
            ReadError::Missing { id } => FsError::Missing { id, ino },
            ReadError::Damaged { id, .. } => FsError::Damaged { id, ino },
            ReadError::Entry(error) => error.into(),
            ReadError::Request(_) => FsError::Invalid,
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<TreeError> for FsError {
    fn from(error: TreeError) -> FsError {
        match error.block() {
            Some(id) => FsError::Damaged { id, ino: Ino::ROOT },
            None => FsError::Invalid,
        }
    }
}

impl From<EntryError> for FsError {
    fn from(_: EntryError) -> FsError {
        // An entry of ours that no reader would take: refuse it before it is stored.
        FsError::Invalid
    }
}

impl From<crate::journal::ItemError> for FsError {
    fn from(_: crate::journal::ItemError) -> FsError {
        FsError::Invalid
    }
}
