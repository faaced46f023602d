//! Visiting every node and extent: for collection and checks.

use super::{Extent, FileNode, FileRoot, load_child, load_root};
use crate::reference::Ref;
use crate::tree::{Descend, Nodes};

/// What [`walk`] comes to.
#[derive(Debug)]
pub enum Visit<'a> {
    /// A node, before it is loaded. The answer decides whether it is.
    Node {
        /// Where it is.
        reference: &'a Ref,
        /// Its level.
        level: u8,
    },
    /// An extent of a leaf. The answer makes no difference.
    Extent {
        /// Its offset in the file.
        offset: u64,
        /// The extent.
        extent: Extent,
    },
}

/// Visits all nodes and extents in order, a node before what is below it.
pub fn walk<N: Nodes>(
    nodes: &mut N,
    root: &FileRoot,
    mut visit: impl FnMut(Visit<'_>) -> Result<Descend, N::Error>,
) -> Result<(), N::Error> {
    if visit(Visit::Node { reference: &root.root, level: root.level })? == Descend::No {
        return Ok(());
    }
    let node = load_root(nodes, root)?;
    walk_node(nodes, &node, 0, &mut visit)
}

fn walk_node<N: Nodes>(
    nodes: &mut N,
    node: &FileNode,
    start: u64,
    visit: &mut impl FnMut(Visit<'_>) -> Result<Descend, N::Error>,
) -> Result<(), N::Error> {
    for index in 0..node.len() {
        let offset = start + node.range(index).start;
        if node.level() == 0 {
            visit(Visit::Extent { offset, extent: node.extent(index) })?;
            continue;
        }
        let level = node.level() - 1;
        if visit(Visit::Node { reference: &node.child(index).0, level })? == Descend::Yes {
            let (_, child) = load_child(nodes, node, index)?;
            walk_node(nodes, &child, offset, visit)?;
        }
    }
    Ok(())
}
