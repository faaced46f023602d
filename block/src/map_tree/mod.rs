//! Maps from byte strings to byte strings: directories and the link table.
//!
//! A leaf holds entries sorted by key, an inner node holds for each child its last key, its ref and its number of
//! entries. Where nodes end depends on the entries alone (see [`tree`](crate::tree)), so the same entries give the
//! same root whatever the order they came in.

mod cursor;
mod diff;
mod edit;
mod lookup;
mod node;
mod walk;

pub use crate::entry::MapRoot;
pub use diff::diff;
pub use edit::edit;
pub use lookup::{get, range};
pub use node::MapNode;
pub use walk::{Visit, walk};

use std::sync::Arc;

use crate::reference::Ref;
use crate::tree::{Nodes, TreeError};

/// The root node, checked against what the root says of it.
fn load_root<N: Nodes>(nodes: &mut N, reference: &Ref, root: &MapRoot) -> Result<Arc<MapNode>, N::Error> {
    let node = nodes.map(reference, root.level)?;
    if node.count() != root.count {
        return Err(TreeError::node(reference, "the root claims another number of entries").into());
    }
    if node.level() > 0 && node.len() == 1 {
        return Err(TreeError::node(reference, "an inner root with a single child").into());
    }
    Ok(node)
}

/// The node behind an inner item of `parent`, checked against what the item says of it and against the item before.
fn load_child<N: Nodes>(nodes: &mut N, parent: &MapNode, index: usize) -> Result<(Ref, Arc<MapNode>), N::Error> {
    let (reference, summary) = parent.child(index);
    let node = nodes.map(&reference, parent.level() - 1)?;
    if node.summary() != summary {
        return Err(TreeError::node(&reference, "not the last key or number of entries its parent claims").into());
    }
    let overlaps = index > 0 && node.key(0) <= parent.key(index - 1);
    if overlaps {
        return Err(TreeError::node(&reference, "its keys begin before its sibling's end").into());
    }
    Ok((reference, node))
}
