//! Files as sequences of extents.
//!
//! A leaf holds extents, an inner node holds for each child its length, its allocated bytes and its ref. Lengths are
//! relative: no position is stored, so bytes that move change no node. Where nodes end depends on the extents alone
//! (see [`tree`](crate::tree)).
//!
//! A sequence of extents has one canonical form: no extent is empty, no two holes touch, and no two extents touch that
//! continue each other within one chunk. A file without any chunk has no tree. Building and editing give the canonical
//! form of whatever they are given, so the same bytes in the same chunks have the same root.

mod edit;
mod extent;
mod node;
mod read;
mod walk;
mod writer;

pub use crate::entry::FileRoot;
pub use edit::{Patch, edit};
pub use extent::Extent;
pub use node::FileNode;
pub use read::{extents, next_data, next_hole};
pub use walk::{Visit, walk};
pub use writer::{FileTree, build};

use std::sync::Arc;

use crate::reference::Ref;
use crate::tree::{Nodes, TreeError};

/// The root node.
fn load_root<N: Nodes>(nodes: &mut N, root: &FileRoot) -> Result<Arc<FileNode>, N::Error> {
    let node = nodes.file(&root.root, root.level)?;
    if node.level() > 0 && node.len() == 1 {
        return Err(TreeError::node(&root.root, "an inner root with a single child").into());
    }
    Ok(node)
}

/// The node behind an inner item of `parent`, checked against what the item says of it.
fn load_child<N: Nodes>(nodes: &mut N, parent: &FileNode, index: usize) -> Result<(Ref, Arc<FileNode>), N::Error> {
    let (reference, summary) = parent.child(index);
    let node = nodes.file(&reference, parent.level() - 1)?;
    if node.summary() != summary {
        return Err(TreeError::node(&reference, "not of the length its parent claims").into());
    }
    Ok((reference, node))
}
