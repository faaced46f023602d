//! Visiting every node and entry: for collection and checks.

use std::sync::Arc;

use bytes::Bytes;

use super::{MapNode, MapRoot, load_child, load_root};
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
    /// An entry of a leaf. The answer makes no difference.
    Entry {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
}

/// Visits all nodes and entries in order, a node before what is below it.
pub fn walk<N: Nodes>(
    nodes: &mut N,
    root: &MapRoot,
    mut visit: impl FnMut(Visit<'_>) -> Result<Descend, N::Error>,
) -> Result<(), N::Error> {
    let Some(reference) = &root.root else { return Ok(()) };
    if visit(Visit::Node { reference, level: root.level })? == Descend::No {
        return Ok(());
    }
    let node = load_root(nodes, reference, root)?;
    walk_node(nodes, &node, &mut visit)
}

fn walk_node<N: Nodes>(
    nodes: &mut N,
    node: &Arc<MapNode>,
    visit: &mut impl FnMut(Visit<'_>) -> Result<Descend, N::Error>,
) -> Result<(), N::Error> {
    for (key, value) in node.entries() {
        visit(Visit::Entry { key, value })?;
    }
    if node.level() == 0 {
        return Ok(());
    }
    for index in 0..node.len() {
        let level = node.level() - 1;
        if visit(Visit::Node { reference: &node.child(index).0, level })? == Descend::Yes {
            let (_, child) = load_child(nodes, node, index)?;
            walk_node(nodes, &child, visit)?;
        }
    }
    Ok(())
}
