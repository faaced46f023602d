//! Changing a map: one pass over the nodes near the changes.

use bytes::Bytes;

use super::node::{MapNode, Summary, encode_entry};
use super::{MapRoot, load_child, load_root};
use crate::limits::{MAP_KEY_BYTES_MAX, MAP_VALUE_BYTES_MAX};
use crate::reference::Ref;
use crate::tree::boundary::hash_key;
use crate::tree::builder::{Builder, Built};
use crate::tree::{Nodes, Sink, TreeError};

/// Applies changes, sorted by key and one per key: a value replaces or inserts, none removes.
///
/// The result is the root that building the changed map from scratch gives, down to the ref. Subtrees without changes
/// are neither read nor written, but for the few in which boundaries move.
pub fn edit<N, S, K>(
    nodes: &mut N,
    sink: &mut S,
    root: &MapRoot,
    changes: &[(K, Option<Bytes>)],
) -> Result<MapRoot, N::Error>
where
    N: Nodes,
    S: Sink<Error = N::Error>,
    K: AsRef<[u8]>,
{
    check(changes)?;
    if changes.is_empty() {
        return Ok(root.clone());
    }
    let mut editor = Editor { nodes, sink, builder: Builder::new() };
    match &root.root {
        Some(reference) => {
            let node = load_root(editor.nodes, reference, root)?;
            editor.node(reference, &node, changes)?;
        }
        None => editor.insert_all(changes)?,
    }
    match editor.builder.finish(editor.sink)? {
        Some(built) => lower_root(nodes, built),
        None => Ok(MapRoot::EMPTY),
    }
}

fn check<K: AsRef<[u8]>>(changes: &[(K, Option<Bytes>)]) -> Result<(), TreeError> {
    let mut previous: &[u8] = &[];
    for (index, (key, value)) in changes.iter().enumerate() {
        let refuse = |reason| Err(TreeError::Edit { index, reason });
        let key = key.as_ref();
        if key <= previous {
            return refuse("its key is empty or not above the one before");
        }
        if key.len() > MAP_KEY_BYTES_MAX {
            return refuse("its key is too long");
        }
        if value.as_ref().is_some_and(|value| value.len() > MAP_VALUE_BYTES_MAX) {
            return refuse("its value is too long");
        }
        previous = key;
    }
    Ok(())
}

/// A subtree that was taken over whole may be all that is left, with a single child at its top.
fn lower_root<N: Nodes>(nodes: &mut N, built: Built<Summary>) -> Result<MapRoot, N::Error> {
    let Built { mut root, mut level, summary, is_old } = built;
    while is_old && level > 0 {
        let node = nodes.map(&root, level)?;
        if node.len() > 1 {
            break;
        }
        (root, _) = node.child(0);
        level -= 1;
    }
    Ok(MapRoot { root: Some(root), level, count: summary.count })
}

struct Editor<'a, N, S> {
    nodes: &'a mut N,
    sink: &'a mut S,
    builder: Builder<Summary>,
}

impl<N: Nodes, S: Sink<Error = N::Error>> Editor<'_, N, S> {
    /// Builds what becomes of a node of the old tree.
    fn node<K: AsRef<[u8]>>(
        &mut self,
        reference: &Ref,
        node: &MapNode,
        changes: &[(K, Option<Bytes>)],
    ) -> Result<(), N::Error> {
        self.builder.opened(node.level(), reference, node.payload());
        match node.level() {
            0 => self.leaf(node, changes),
            _ => self.children(node, changes),
        }
    }

    fn children<K: AsRef<[u8]>>(&mut self, node: &MapNode, mut changes: &[(K, Option<Bytes>)]) -> Result<(), N::Error> {
        let level = node.level() - 1;
        for index in 0..node.len() {
            // What lies beyond the last key goes to the last child.
            let is_last = index + 1 == node.len();
            let mine = match changes.first() {
                Some(_) if is_last => changes.len(),
                Some((key, _)) if key.as_ref() <= node.key(index) => {
                    changes.partition_point(|(key, _)| key.as_ref() <= node.key(index))
                }
                _ => 0,
            };
            let (mine, rest) = changes.split_at(mine);
            changes = rest;
            if mine.is_empty() && self.builder.is_at_start(level) {
                let (reference, summary) = node.child(index);
                self.builder.push_subtree(self.sink, level, &reference, &summary)?;
            } else {
                let (reference, child) = load_child(self.nodes, node, index)?;
                self.node(&reference, &child, mine)?;
            }
        }
        Ok(())
    }

    /// Merges the entries of a leaf with the changes.
    fn leaf<K: AsRef<[u8]>>(&mut self, leaf: &MapNode, mut changes: &[(K, Option<Bytes>)]) -> Result<(), N::Error> {
        for index in 0..leaf.len() {
            let key = leaf.key(index);
            let before = changes.iter().take_while(|(changed, _)| changed.as_ref() < key).count();
            let (inserted, rest) = changes.split_at(before);
            changes = rest;
            self.insert_all(inserted)?;
            match changes.split_first() {
                Some(((changed, value), rest)) if changed.as_ref() == key => {
                    self.insert(key, value.as_ref())?;
                    changes = rest;
                }
                _ => self.keep(key, leaf.item(index))?,
            }
        }
        self.insert_all(changes)
    }

    fn insert_all<K: AsRef<[u8]>>(&mut self, changes: &[(K, Option<Bytes>)]) -> Result<(), N::Error> {
        changes.iter().try_for_each(|(key, value)| self.insert(key.as_ref(), value.as_ref()))
    }

    fn insert(&mut self, key: &[u8], value: Option<&Bytes>) -> Result<(), N::Error> {
        let Some(value) = value else { return Ok(()) };
        self.push(key, |out| encode_entry(key, value, out))
    }

    fn keep(&mut self, key: &[u8], item: &[u8]) -> Result<(), N::Error> {
        self.push(key, |out| out.extend_from_slice(item))
    }

    fn push(&mut self, key: &[u8], encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), N::Error> {
        self.builder.push_item(self.sink, encode, |summary| summary.add_entry(key), || hash_key(0, key))
    }
}
