//! The frame around the items of a node: level and count in front, the place of each item beside.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, check_bound};
use crate::limits::{NODE_BYTES_MAX, TREE_LEVELS_MAX};
use crate::reference::Ref;

/// Level `u8`, count `u16`.
pub(crate) const HEADER_BYTES: usize = 3;

// Items start within a node, so their places are `u16`s.
const _: () = assert!(NODE_BYTES_MAX - 1 <= u16::MAX as usize);

/// The bytes of a node and where its items start.
#[derive(Debug)]
pub(crate) struct Frame {
    payload: Bytes,
    starts: Box<[u16]>,
}

impl Frame {
    /// Reads the frame of a node of `level`, whose items `item` reads one after the other.
    pub(crate) fn decode<'a>(
        level: u8,
        payload: &'a Bytes,
        item_bytes_min: usize,
        mut item: impl FnMut(&mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<Frame, DecodeError> {
        check_bound("tree node", payload.len() as u64, NODE_BYTES_MAX as u64)?;
        let mut input = Reader::new(payload);
        let found = input.u8("level of a tree node")?;
        if found != level || level >= TREE_LEVELS_MAX {
            return Err(DecodeError::invalid("level of a tree node", "not the one expected here"));
        }
        let count = input.count16("items of a tree node", NODE_BYTES_MAX, item_bytes_min)?;
        if count == 0 {
            return Err(DecodeError::invalid("items of a tree node", "there are none"));
        }
        let mut starts = Vec::with_capacity(count);
        for _ in 0..count {
            // Within the payload, whose length was checked.
            starts.push((payload.len() - input.left()) as u16);
            item(&mut input)?;
        }
        input.finish("tree node")?;
        let starts = starts.into_boxed_slice();
        Ok(Frame { payload: payload.clone(), starts })
    }

    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    pub(crate) fn level(&self) -> u8 {
        self.payload[0]
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of an item. Panics if there is none of that index, as slices do.
    pub(crate) fn item(&self, index: usize) -> &[u8] {
        let start = usize::from(self.starts[index]);
        match self.starts.get(index + 1) {
            Some(end) => &self.payload[start..usize::from(*end)],
            None => &self.payload[start..],
        }
    }
}

/// Refuses a ref that can't be one to a node.
pub(crate) fn check_child(reference: &Ref) -> Result<(), DecodeError> {
    if reference.len == 0 {
        return Err(DecodeError::invalid("ref to a tree node", "its length is 0"));
    }
    check_bound("length of a tree node", reference.len.into(), NODE_BYTES_MAX as u64)
}
