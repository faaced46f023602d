//! What map trees and file trees share: where nodes end, how levels are built, whence nodes come and where they go.
//!
//! Both are search trees that depend on their content alone. A sequence of items is cut into nodes by `boundary`,
//! each node becomes an item of the level above, and so on until one node is left, which is the root. Cuts follow from
//! the items of the node that ends, never from its neighbours, so a change moves the cuts near it and no others.
//!
//! An edit walks the old tree with a `Builder` in step. As long as the builder stands at the start
//! of a node on every level below, an old subtree without changes is taken over by its ref, unread: building it anew
//! would give the same bytes. That is why `edit` gives the root that building from scratch gives, and why it reads and
//! writes only the nodes near the changes and the paths to them.
//!
//! The algorithms do no I/O of their own: [`Nodes`] loads, [`Sink`] stores.

pub(crate) mod boundary;
pub(crate) mod builder;
pub(crate) mod frame;

use std::sync::Arc;

use thiserror::Error;

use crate::chunk::Kind;
use crate::file_tree::FileNode;
use crate::id::BlockId;
use crate::map_tree::MapNode;
use crate::reference::Ref;

/// Whence the algorithms take nodes.
pub trait Nodes {
    /// Why a node can't be had; also carries what is wrong with one that can.
    type Error: From<TreeError>;

    /// The node of a map tree at this ref, decoded as one of this level.
    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, Self::Error>;

    /// The node of a file tree at this ref, decoded as one of this level.
    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, Self::Error>;
}

/// Where the algorithms put nodes.
pub trait Sink {
    /// Why a node can't be stored; also carries what is wrong with the input of an edit.
    type Error: From<TreeError>;

    /// Stores a node and gives its ref: equal payloads must get equal refs.
    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, Self::Error>;
}

/// A tree or a request that can't be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TreeError {
    /// The node is well-formed and not the one that its parent, or the root, describes.
    #[error("tree node {id}: {reason}")]
    Node {
        /// The node.
        id: BlockId,
        /// What contradicts what.
        reason: &'static str,
    },
    /// A change, patch or extent that the caller should not have asked for.
    #[error("item {index} of the edit: {reason}")]
    Edit {
        /// Its place in the request.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl TreeError {
    /// Shorthand for [`TreeError::Node`].
    pub(crate) fn node(reference: &Ref, reason: &'static str) -> TreeError {
        TreeError::Node { id: reference.id, reason }
    }

    /// The damaged block, if it is the tree that is wrong and not the request.
    pub fn block(&self) -> Option<BlockId> {
        match self {
            TreeError::Node { id, .. } => Some(*id),
            TreeError::Edit { .. } => None,
        }
    }
}

/// What a visitor of a tree answers for each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descend {
    /// Load the node and visit what is in it.
    Yes,
    /// Go on after it: everything below is known already.
    No,
}
