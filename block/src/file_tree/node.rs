//! One node of a file tree.

use std::ops::Range;

use bytes::Bytes;

use super::Extent;
use crate::chunk::Kind;
use crate::codec::{DecodeError, Reader, check_bound};
use crate::limits::FILE_BYTES_MAX;
use crate::reference::Ref;
use crate::tree::boundary::hash_ref;
use crate::tree::builder;
use crate::tree::frame::{Frame, check_child};

/// Length, allocated bytes, ref.
const INNER_ITEM_BYTES: usize = 8 + 8 + Ref::BYTES;

/// A decoded node: the payload as it was opened, where each item starts in it, and where each ends in the file.
#[derive(Debug)]
pub struct FileNode {
    frame: Frame,
    /// For each item the bytes of the file from the start of this node to the item's end.
    ends: Box<[u64]>,
    allocated: u64,
}

/// What an inner item tells of its child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) len: u64,
    pub(super) allocated: u64,
}

impl FileNode {
    /// Reads a node of the given level and checks all that can be seen from inside: lengths, sums, canonical form.
    pub fn decode(level: u8, payload: Bytes) -> Result<FileNode, DecodeError> {
        match level {
            0 => decode_leaf(&payload),
            _ => decode_inner(level, &payload),
        }
    }

    /// 0 for a leaf, and one more with every step towards the root.
    pub fn level(&self) -> u8 {
        self.frame.level()
    }

    /// Items in this node: extents of a leaf, children of an inner node. Never 0.
    #[allow(clippy::len_without_is_empty, reason = "a node is never empty")]
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Bytes of the file at and below this node.
    pub fn file_bytes(&self) -> u64 {
        self.ends[self.ends.len() - 1]
    }

    /// How many of them are not in holes.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// The bytes of the node.
    pub fn payload(&self) -> &Bytes {
        self.frame.payload()
    }

    /// The item that holds the byte at `offset` from the start of the node; the number of items if it is beyond.
    pub(super) fn position(&self, offset: u64) -> usize {
        self.ends.partition_point(|end| *end <= offset)
    }

    /// Where an item is, from the start of the node.
    pub(super) fn range(&self, index: usize) -> Range<u64> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }

    /// An extent. Leaves only.
    pub(super) fn extent(&self, index: usize) -> Extent {
        Extent::decode(&mut Reader::new(self.frame.item(index))).expect("checked when the node was decoded")
    }

    /// What an inner item holds.
    pub(super) fn child(&self, index: usize) -> (Ref, Summary) {
        let mut input = Reader::new(self.frame.item(index));
        let (summary, reference) = read_inner_item(&mut input).expect("checked when the node was decoded");
        (reference, summary)
    }

    /// Length and allocated bytes of an item.
    pub(super) fn item_summary(&self, index: usize) -> Summary {
        match self.level() {
            0 => {
                let extent = self.extent(index);
                Summary { len: extent.len(), allocated: extent.allocated() }
            }
            _ => self.child(index).1,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        Summary { len: self.file_bytes(), allocated: self.allocated }
    }
}

fn decode_leaf(payload: &Bytes) -> Result<FileNode, DecodeError> {
    let mut sums = Sums::default();
    let mut previous: Option<Extent> = None;
    let frame = Frame::decode(0, payload, Extent::ENCODED_BYTES_MIN, |input| {
        let extent = Extent::decode(input)?;
        if previous.as_ref().is_some_and(|previous| previous.is_continued_by(&extent)) {
            return Err(DecodeError::invalid("extent", "one with the extent before"));
        }
        sums.add(extent.len(), extent.allocated())?;
        previous = Some(extent);
        Ok(())
    })?;
    Ok(sums.into_node(frame))
}

fn decode_inner(level: u8, payload: &Bytes) -> Result<FileNode, DecodeError> {
    let mut sums = Sums::default();
    let frame = Frame::decode(level, payload, INNER_ITEM_BYTES, |input| {
        let (Summary { len, allocated }, reference) = read_inner_item(input)?;
        if len == 0 {
            return Err(DecodeError::invalid("length of a file node", "a child without bytes"));
        }
        check_bound("allocated bytes of a file node", allocated, len)?;
        check_child(&reference)?;
        sums.add(len, allocated)
    })?;
    Ok(sums.into_node(frame))
}

fn read_inner_item(input: &mut Reader<'_>) -> Result<(Summary, Ref), DecodeError> {
    let len = input.u64("length of a file node")?;
    let allocated = input.u64("allocated bytes of a file node")?;
    Ok((Summary { len, allocated }, Ref::decode(input)?))
}

/// Sums up the items of a node.
#[derive(Default)]
struct Sums {
    ends: Vec<u64>,
    total: Summary,
}

impl Sums {
    fn add(&mut self, len: u64, allocated: u64) -> Result<(), DecodeError> {
        check_bound("bytes of a file", len, FILE_BYTES_MAX - self.total.len)?;
        self.total.len += len;
        // No more than the length, item by item.
        self.total.allocated += allocated;
        self.ends.push(self.total.len);
        Ok(())
    }

    fn into_node(self, frame: Frame) -> FileNode {
        FileNode { frame, ends: self.ends.into_boxed_slice(), allocated: self.total.allocated }
    }
}

impl Summary {
    /// Takes the next extent of a leaf into account.
    pub(super) fn add_extent(&mut self, extent: &Extent) {
        self.len += extent.len();
        self.allocated += extent.allocated();
    }
}

impl builder::Summary for Summary {
    const KIND: Kind = Kind::FileNode;

    fn add(&mut self, next: &Self) {
        self.len += next.len;
        self.allocated += next.allocated;
    }

    fn encode(&self, child: &Ref, out: &mut Vec<u8>) {
        out.extend(self.len.to_le_bytes());
        out.extend(self.allocated.to_le_bytes());
        out.extend(child.to_bytes());
    }

    fn hash(&self, _: u8, child: &Ref) -> u64 {
        hash_ref(child, self.len)
    }
}
