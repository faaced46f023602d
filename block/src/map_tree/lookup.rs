//! Reading entries.

use std::ops::Bound;

use bytes::Bytes;

use super::cursor::{Cursor, Item};
use super::{MapRoot, load_child, load_root};
use crate::tree::Nodes;

/// The value of a key, as a slice of its node.
pub fn get<N: Nodes>(nodes: &mut N, root: &MapRoot, key: &[u8]) -> Result<Option<Bytes>, N::Error> {
    let Some(reference) = &root.root else { return Ok(None) };
    let mut node = load_root(nodes, reference, root)?;
    while node.level() > 0 {
        let index = node.position(key);
        if index == node.len() {
            return Ok(None);
        }
        (_, node) = load_child(nodes, &node, index)?;
    }
    Ok(node.get(key))
}

/// Up to `entries_max` entries from a bound on, in order. To go on: from the last key, excluded.
pub fn range<N: Nodes>(
    nodes: &mut N,
    root: &MapRoot,
    from: Bound<&[u8]>,
    entries_max: usize,
) -> Result<Vec<(Bytes, Bytes)>, N::Error> {
    let mut found = Vec::new();
    if entries_max == 0 {
        return Ok(found);
    }
    let mut cursor = Cursor::at_bound(nodes, root, from)?;
    while let Some(item) = cursor.item() {
        match item {
            Item::Entry(leaf, index) => {
                found.push(leaf.entry(index));
                // Before advancing: the next leaf is not needed, and loading it may fail.
                if found.len() == entries_max {
                    break;
                }
                cursor.advance();
            }
            Item::Subtree(..) => cursor.enter(nodes)?,
        }
    }
    Ok(found)
}
