//! Finding extents.

use std::ops::Range;

use super::node::Summary;
use super::{Extent, FileNode, FileRoot, load_child, load_root};
use crate::tree::Nodes;

/// The extents that overlap a range of a file, whole, each with its offset in the file.
pub fn extents<N: Nodes>(nodes: &mut N, root: &FileRoot, range: Range<u64>) -> Result<Vec<(u64, Extent)>, N::Error> {
    let mut found = Vec::new();
    if !range.is_empty() {
        let node = load_root(nodes, root)?;
        collect(nodes, &node, 0, &range, &mut found)?;
    }
    Ok(found)
}

fn collect<N: Nodes>(
    nodes: &mut N,
    node: &FileNode,
    start: u64,
    range: &Range<u64>,
    found: &mut Vec<(u64, Extent)>,
) -> Result<(), N::Error> {
    for index in node.position(range.start.saturating_sub(start))..node.len() {
        let at = start + node.range(index).start;
        if at >= range.end {
            break;
        }
        if node.level() == 0 {
            found.push((at, node.extent(index)));
        } else {
            let (_, child) = load_child(nodes, node, index)?;
            collect(nodes, &child, at, range, found)?;
        }
    }
    Ok(())
}

/// The first byte at or after `offset` that is not in a hole, if there is any.
pub fn next_data<N: Nodes>(nodes: &mut N, root: &FileRoot, offset: u64) -> Result<Option<u64>, N::Error> {
    let node = load_root(nodes, root)?;
    seek(nodes, &node, offset, &|_, allocated| allocated > 0)
}

/// The first byte at or after `offset` that is in a hole. None if there is no hole up to the end of the tree, where
/// every file has one.
pub fn next_hole<N: Nodes>(nodes: &mut N, root: &FileRoot, offset: u64) -> Result<Option<u64>, N::Error> {
    let node = load_root(nodes, root)?;
    seek(nodes, &node, offset, &|len, allocated| allocated < len)
}

/// The first byte at or after `offset` in an extent that is wanted, by its length and allocated bytes. Subtrees that
/// hold none are passed unread.
fn seek<N: Nodes>(
    nodes: &mut N,
    node: &FileNode,
    offset: u64,
    wanted: &impl Fn(u64, u64) -> bool,
) -> Result<Option<u64>, N::Error> {
    for index in node.position(offset)..node.len() {
        let range = node.range(index);
        let within = offset.saturating_sub(range.start);
        let Summary { len, allocated } = node.item_summary(index);
        if !wanted(len, allocated) {
            continue;
        }
        if node.level() == 0 {
            return Ok(Some(range.start + within));
        }
        let (_, child) = load_child(nodes, node, index)?;
        if let Some(found) = seek(nodes, &child, within, wanted)? {
            return Ok(Some(range.start + found));
        }
    }
    Ok(None)
}
