//! One node of a map tree.

use bytes::Bytes;

use crate::chunk::Kind;
use crate::codec::{DecodeError, Reader, check_bound};
use crate::limits::{MAP_KEY_BYTES_MAX, MAP_VALUE_BYTES_MAX};
use crate::reference::Ref;
use crate::tree::boundary::hash_key;
use crate::tree::builder;
use crate::tree::frame::{Frame, check_child};

/// Most entries of a tree: far beyond any, and sums of counts can't overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

/// Key and value lengths of a leaf item, key length of an inner item.
const LEAF_PREFIX_BYTES: usize = 4;
const INNER_PREFIX_BYTES: usize = 2;
const INNER_SUFFIX_BYTES: usize = Ref::BYTES + 8;

/// A decoded node: the payload as it was opened, and where each item starts. Values are handed out as slices of it.
#[derive(Debug)]
pub struct MapNode {
    frame: Frame,
    count: u64,
}

/// What an inner item tells of its child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) last_key: Vec<u8>,
    pub(crate) count: u64,
}

impl MapNode {
    /// Reads a node of the given level and checks all that can be seen from inside: lengths, order, sums.
    pub fn decode(level: u8, payload: Bytes) -> Result<MapNode, DecodeError> {
        let (frame, count) = match level {
            0 => decode_leaf(&payload)?,
            _ => decode_inner(level, &payload)?,
        };
        Ok(MapNode { frame, count })
    }

    /// 0 for a leaf, and one more with every step towards the root.
    pub fn level(&self) -> u8 {
        self.frame.level()
    }

    /// Items in this node: entries of a leaf, children of an inner node. Never 0.
    #[allow(clippy::len_without_is_empty, reason = "a node is never empty")]
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Entries at and below this node.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The bytes of the node.
    pub fn payload(&self) -> &Bytes {
        self.frame.payload()
    }

    /// The value of a key in this node. None in inner nodes.
    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        if self.level() > 0 {
            return None;
        }
        let index = self.position(key);
        (index < self.len() && self.key(index) == key).then(|| self.value(index))
    }

    /// The entries of a leaf, in order; none of an inner node.
    pub fn entries(&self) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
        let len = if self.level() == 0 { self.len() } else { 0 };
        (0..len).map(|index| self.entry(index))
    }

    /// The first item whose key, or last key, is not below `key`; the number of items if there is none.
    pub(crate) fn position(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The key of an entry, or the last key of a child.
    pub(crate) fn key(&self, index: usize) -> &[u8] {
        let item = self.frame.item(index);
        let start = if self.level() == 0 { LEAF_PREFIX_BYTES } else { INNER_PREFIX_BYTES };
        &item[start..start + key_len(item)]
    }

    /// The bytes of an item, as they would be appended to another node of this level.
    pub(crate) fn item(&self, index: usize) -> &[u8] {
        self.frame.item(index)
    }

    /// The value of an entry. Leaves only.
    pub(crate) fn value(&self, index: usize) -> Bytes {
        let item = self.frame.item(index);
        self.payload().slice_ref(&item[LEAF_PREFIX_BYTES + key_len(item)..])
    }

    /// An entry. Leaves only.
    pub(crate) fn entry(&self, index: usize) -> (Bytes, Bytes) {
        (self.payload().slice_ref(self.key(index)), self.value(index))
    }

    /// What an inner item holds.
    pub(crate) fn child(&self, index: usize) -> (Ref, Summary) {
        let mut input = Reader::new(self.frame.item(index));
        let (key, reference, count) = read_inner_item(&mut input).expect("checked when the node was decoded");
        (reference, Summary { last_key: key.to_vec(), count })
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary { last_key: self.key(self.len() - 1).to_vec(), count: self.count }
    }
}

fn key_len(item: &[u8]) -> usize {
    usize::from(u16::from_le_bytes([item[0], item[1]]))
}

fn decode_leaf(payload: &Bytes) -> Result<(Frame, u64), DecodeError> {
    let mut order = Order::default();
    let frame = Frame::decode(0, payload, LEAF_PREFIX_BYTES + 1, |input| {
        let key_len = input.u16("key of a map node")?;
        let value_len = input.u16("value of a map node")?;
        check_bound("key of a map node", key_len.into(), MAP_KEY_BYTES_MAX as u64)?;
        check_bound("value of a map node", value_len.into(), MAP_VALUE_BYTES_MAX as u64)?;
        order.next(input.take("key of a map node", key_len.into())?)?;
        input.take("value of a map node", value_len.into())?;
        Ok(())
    })?;
    let count = frame.len() as u64;
    Ok((frame, count))
}

fn decode_inner(level: u8, payload: &Bytes) -> Result<(Frame, u64), DecodeError> {
    let mut order = Order::default();
    let mut total = 0;
    let frame = Frame::decode(level, payload, INNER_PREFIX_BYTES + 1 + INNER_SUFFIX_BYTES, |input| {
        let (key, reference, count) = read_inner_item(input)?;
        order.next(key)?;
        check_child(&reference)?;
        if count == 0 {
            return Err(DecodeError::invalid("count of a map node", "a child without entries"));
        }
        check_bound("count of a map node", count, COUNT_MAX - total)?;
        total += count;
        Ok(())
    })?;
    Ok((frame, total))
}

fn read_inner_item<'a>(input: &mut Reader<'a>) -> Result<(&'a [u8], Ref, u64), DecodeError> {
    let key = input.bytes16("key of a map node", MAP_KEY_BYTES_MAX)?;
    let reference = Ref::decode(input)?;
    let count = input.u64("count of a map node")?;
    Ok((key, reference, count))
}

/// Refuses keys that don't ascend; the first one must not be empty.
#[derive(Default)]
struct Order<'a> {
    previous: &'a [u8],
}

impl<'a> Order<'a> {
    fn next(&mut self, key: &'a [u8]) -> Result<(), DecodeError> {
        if key <= self.previous {
            return Err(DecodeError::invalid("key of a map node", "empty, or not above the one before"));
        }
        self.previous = key;
        Ok(())
    }
}

/// Appends a leaf item.
pub(crate) fn encode_entry(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend((key.len() as u16).to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

impl Summary {
    /// Takes the next entry of a leaf into account.
    pub(crate) fn add_entry(&mut self, key: &[u8]) {
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.count += 1;
    }
}

impl builder::Summary for Summary {
    const KIND: Kind = Kind::MapNode;

    fn add(&mut self, next: &Self) {
        self.last_key.clear();
        self.last_key.extend_from_slice(&next.last_key);
        self.count += next.count;
    }

    fn encode(&self, child: &Ref, out: &mut Vec<u8>) {
        out.extend((self.last_key.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.last_key);
        out.extend(child.to_bytes());
        out.extend(self.count.to_le_bytes());
    }

    fn hash(&self, level: u8, _: &Ref) -> u64 {
        hash_key(level, &self.last_key)
    }
}
