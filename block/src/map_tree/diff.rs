//! What differs between two maps.

use std::cmp::Ordering;

use bytes::Bytes;

use super::MapRoot;
use super::cursor::{Cursor, Item};
use crate::tree::Nodes;

/// Calls `visit` for each key whose value differs, in order, with the value before and after.
///
/// Subtrees that both maps share are skipped unread, also where one map is higher than the other. Where the
/// boundaries of nodes differ, both sides are read until they meet again.
pub fn diff<N: Nodes>(
    nodes: &mut N,
    before: &MapRoot,
    after: &MapRoot,
    mut visit: impl FnMut(Bytes, Option<Bytes>, Option<Bytes>) -> Result<(), N::Error>,
) -> Result<(), N::Error> {
    if before == after {
        return Ok(());
    }
    let mut old = Cursor::at_start(nodes, before)?;
    let mut new = Cursor::at_start(nodes, after)?;
    loop {
        let order = match (old.item(), new.item()) {
            (None, None) => return Ok(()),
            (Some(Item::Entry(..)), None) => Ordering::Less,
            (None, Some(Item::Entry(..))) => Ordering::Greater,
            (Some(Item::Entry(a, i)), Some(Item::Entry(b, j))) => a.key(i).cmp(b.key(j)),
            (Some(Item::Subtree(a, level_a)), Some(Item::Subtree(b, level_b))) if a == b && level_a == level_b => {
                old.advance();
                new.advance();
                continue;
            }
            (a, b) => {
                // The higher one, so that both come to compare subtrees of one level; both if they are.
                let (height_a, height_b) = (height(a), height(b));
                if height_a >= height_b {
                    old.enter(nodes)?;
                }
                if height_b >= height_a {
                    new.enter(nodes)?;
                }
                continue;
            }
        };
        let removed = if order.is_le() { take(&mut old) } else { None };
        let added = if order.is_ge() { take(&mut new) } else { None };
        match (removed, added) {
            (Some((_, a)), Some((_, b))) if a == b => {}
            (Some((key, a)), Some((_, b))) => visit(key, Some(a), Some(b))?,
            (Some((key, a)), None) => visit(key, Some(a), None)?,
            (None, Some((key, b))) => visit(key, None, Some(b))?,
            (None, None) => {}
        }
    }
}

/// The entry a cursor stands at, stepping over it.
fn take(cursor: &mut Cursor) -> Option<(Bytes, Bytes)> {
    let entry = match cursor.item()? {
        Item::Entry(leaf, index) => leaf.entry(index),
        Item::Subtree(..) => return None,
    };
    cursor.advance();
    Some(entry)
}

fn height(item: Option<Item<'_>>) -> u8 {
    match item {
        Some(Item::Subtree(_, level)) => level + 1,
        _ => 0,
    }
}
