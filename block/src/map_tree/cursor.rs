//! A place in a map tree, from which to go on in order.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::{MapNode, MapRoot, load_child, load_root};
use crate::reference::Ref;
use crate::tree::Nodes;

/// The path from the root to an item: at each step a node and the item in it. The item may be a whole subtree.
pub(super) struct Cursor {
    path: Vec<(Arc<MapNode>, usize)>,
}

/// What a cursor stands at.
pub(super) enum Item<'a> {
    /// An entry: a leaf and the index in it.
    Entry(&'a MapNode, usize),
    /// A subtree that was not entered, by its ref and level.
    Subtree(Ref, u8),
}

impl Cursor {
    /// At the first item of the root node.
    pub(super) fn at_start<N: Nodes>(nodes: &mut N, root: &MapRoot) -> Result<Cursor, N::Error> {
        let path = match &root.root {
            Some(reference) => vec![(load_root(nodes, reference, root)?, 0)],
            None => Vec::new(),
        };
        Ok(Cursor { path })
    }

    /// At the first entry within the bound.
    pub(super) fn at_bound<N: Nodes>(nodes: &mut N, root: &MapRoot, from: Bound<&[u8]>) -> Result<Cursor, N::Error> {
        let mut cursor = Cursor::at_start(nodes, root)?;
        loop {
            let Some((node, index)) = cursor.path.last_mut() else { return Ok(cursor) };
            *index = match from {
                Bound::Unbounded => 0,
                Bound::Included(key) => node.position(key),
                Bound::Excluded(key) => {
                    let index = node.position(key);
                    // An inner item whose last key is the excluded one has nothing within the bound either.
                    index + usize::from(index < node.len() && node.key(index) == key)
                }
            };
            // Only in the root: below it, the parent's last key promises an item.
            if *index == node.len() {
                cursor.path.clear();
            } else if node.level() == 0 {
                return Ok(cursor);
            } else {
                cursor.enter(nodes)?;
            }
        }
    }

    /// The item the cursor stands at; none at the end.
    pub(super) fn item(&self) -> Option<Item<'_>> {
        let (node, index) = self.path.last()?;
        Some(match node.level() {
            0 => Item::Entry(node, *index),
            level => Item::Subtree(node.child(*index).0, level - 1),
        })
    }

    /// Steps into the subtree the cursor stands at: to its first item.
    pub(super) fn enter<N: Nodes>(&mut self, nodes: &mut N) -> Result<(), N::Error> {
        if let Some((node, index)) = self.path.last()
            && node.level() > 0
        {
            let (_, child) = load_child(nodes, node, *index)?;
            self.path.push((child, 0));
        }
        Ok(())
    }

    /// Steps over the item the cursor stands at.
    pub(super) fn advance(&mut self) {
        while let Some((node, index)) = self.path.last_mut() {
            *index += 1;
            match (*index).cmp(&node.len()) {
                Ordering::Less => return,
                _ => self.path.pop(),
            };
        }
    }
}
