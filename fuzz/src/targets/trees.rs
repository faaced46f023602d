//! Nodes of trees, and whole trees of nodes that somebody made up.
//!
//! A made-up tree is a list of nodes, and a ref leads to the node whose number its id's first byte is: so nodes share
//! children, repeat them and contradict them, as hashes would let an author do who has the volume's keys. What they
//! could not do, a circle, is ruled out by the levels, which a reader checks.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::codec::DecodeError;
use cairn_block::{
    BlockId, BlockKey, Descend, FileNode, FileRoot, Kind, MapNode, MapRoot, Nodes, Patch, Ref, Sink, TreeError,
    file_tree, map_tree,
};

use crate::input::Input;

/// Visits of one walk: a tree may repeat a child without end.
const VISITS_MAX: usize = 4096;

/// Why a walk of a made-up tree ends.
#[derive(Debug)]
pub(crate) enum Why {
    Decode,
    Tree,
    Enough,
}

impl From<DecodeError> for Why {
    fn from(_: DecodeError) -> Why {
        Why::Decode
    }
}

impl From<TreeError> for Why {
    fn from(_: TreeError) -> Why {
        Why::Tree
    }
}

/// See the module.
struct MadeUp {
    payloads: Vec<Bytes>,
    loads: usize,
}

impl MadeUp {
    fn read(input: &mut Input<'_>) -> MadeUp {
        let mut payloads = Vec::new();
        while !input.is_empty() && payloads.len() < 16 {
            payloads.push(Bytes::copy_from_slice(input.piece()));
        }
        MadeUp { payloads, loads: 0 }
    }

    fn payload(&mut self, reference: &Ref) -> Result<Bytes, Why> {
        self.loads += 1;
        if self.loads > VISITS_MAX {
            return Err(Why::Enough);
        }
        let number = usize::from(reference.id.as_bytes()[0]);
        self.payloads.get(number % self.payloads.len().max(1)).cloned().ok_or(Why::Enough)
    }
}

impl Nodes for MadeUp {
    type Error = Why;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, Why> {
        Ok(Arc::new(MapNode::decode(level, self.payload(reference)?)?))
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, Why> {
        Ok(Arc::new(FileNode::decode(level, self.payload(reference)?)?))
    }
}

/// Takes nodes and forgets them.
struct Forget;

impl Sink for Forget {
    type Error = Why;

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, Why> {
        // What an edit writes has to be readable.
        match kind {
            Kind::MapNode => {
                drop(MapNode::decode(payload[0], Bytes::copy_from_slice(payload)).expect("an edited node"))
            }
            Kind::FileNode => {
                drop(FileNode::decode(payload[0], Bytes::copy_from_slice(payload)).expect("an edited node"))
            }
            _ => {}
        }
        Ok(reference(0xff, payload.len() as u32))
    }
}

fn reference(number: u8, len: u32) -> Ref {
    Ref { id: BlockId::from_bytes([number; 32]), key: BlockKey::from_bytes([0; 32]), len }
}

/// One node of a map: its entries ascend and are found.
pub(crate) fn map_node(data: &[u8]) {
    let level = data.first().copied().unwrap_or(0);
    for level in [level, 0] {
        let Ok(node) = MapNode::decode(level, Bytes::copy_from_slice(data)) else { continue };
        assert_eq!((node.payload().as_ref(), node.level()), (data, level));
        let mut before = Bytes::new();
        for (key, value) in node.entries() {
            assert!(key > before);
            assert_eq!(node.get(&key), Some(value));
            before = key;
        }
        assert!(node.count() > 0 && node.len() > 0);
    }
}

/// One node of a file: its sums hold.
pub(crate) fn file_node(data: &[u8]) {
    let level = data.first().copied().unwrap_or(0);
    for level in [level, 0] {
        let Ok(node) = FileNode::decode(level, Bytes::copy_from_slice(data)) else { continue };
        assert_eq!(node.payload().as_ref(), data);
        assert!(node.allocated() <= node.file_bytes() && node.file_bytes() <= i64::MAX as u64);
    }
}

/// Everything that is done with a map.
pub(crate) fn map_tree(data: &[u8]) {
    let mut input = Input(data);
    let (level, number, count) = (input.u8() % 13, input.u8(), input.u64());
    let root = MapRoot { root: Some(reference(number, 100)), level, count };
    let key = input.piece();
    let mut nodes = MadeUp::read(&mut input);
    let _ = map_tree::get(&mut nodes, &root, key);
    if let Ok(found) = map_tree::range(&mut nodes, &root, Bound::Excluded(key), 64) {
        assert!(found.len() <= 64 && found.iter().all(|(found, _)| found > key));
        assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "a listing that doesn't ascend");
    }
    let mut visits = 0;
    let _ = map_tree::walk(&mut nodes, &root, |_| {
        visits += 1;
        if visits > VISITS_MAX { Err(Why::Enough) } else { Ok(Descend::Yes) }
    });
    let other = MapRoot { root: Some(reference(number.wrapping_add(1), 100)), level, count };
    let mut differences = 0;
    let _ = map_tree::diff(&mut nodes, &root, &other, |_, _, _| {
        differences += 1;
        if differences > VISITS_MAX { Err(Why::Enough) } else { Ok(()) }
    });
    nodes.loads = 0;
    if !key.is_empty() && key.len() <= 262 {
        let change = [(Bytes::copy_from_slice(key), Some(Bytes::from_static(b"value")))];
        let _ = map_tree::edit(&mut nodes, &mut Forget, &root, &change);
    }
}

/// Everything that is done with a file's tree.
pub(crate) fn file_tree(data: &[u8]) {
    let mut input = Input(data);
    let (level, number) = (input.u8() % 13, input.u8());
    let root = FileRoot { root: reference(number, 100), level, fixed: false };
    let (offset, len) = (input.u64() >> 1, u64::from(input.u32()));
    let mut nodes = MadeUp::read(&mut input);
    if let Ok(found) = file_tree::extents(&mut nodes, &root, offset..offset.saturating_add(len)) {
        assert!(found.windows(2).all(|pair| pair[0].0 + pair[0].1.len() == pair[1].0), "extents with a gap");
    }
    if let Ok(Some(at)) = file_tree::next_data(&mut nodes, &root, offset) {
        assert!(at >= offset);
    }
    if let Ok(Some(at)) = file_tree::next_hole(&mut nodes, &root, offset) {
        assert!(at >= offset);
    }
    let mut visits = 0;
    let _ = file_tree::walk(&mut nodes, &root, |_| {
        visits += 1;
        if visits > VISITS_MAX { Err(Why::Enough) } else { Ok(Descend::Yes) }
    });
    edit_file(&mut nodes, &root, offset, len);
}

fn edit_file(nodes: &mut MadeUp, root: &FileRoot, offset: u64, len: u64) {
    let Ok(size) = nodes.file(&root.root, root.level).map(|node| node.file_bytes()) else { return };
    let (start, end) = (offset.min(size), offset.saturating_add(len).min(size));
    let extents = if start < end { vec![file_tree::Extent::Hole { len: end - start }] } else { Vec::new() };
    nodes.loads = 0;
    let _ = file_tree::edit(nodes, &mut Forget, Some(root), size, &[Patch { range: start..end, extents }], size);
}
