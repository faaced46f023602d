//! A run of bytes of a file.

use std::ops::Range;

use crate::codec::{DecodeError, Reader};
use crate::limits::FILE_BYTES_MAX;
use crate::reference::Ref;
use crate::tree::boundary::hash_ref;

const TAG_HOLE: u8 = 0;
const TAG_CHUNK: u8 = 1;

/// A run of bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Zeros that nothing is stored for.
    Hole {
        /// Bytes in the file.
        len: u64,
    },
    /// A part of a chunk.
    Chunk {
        /// Bytes in the file.
        len: u32,
        /// Where in the chunk they start.
        chunk_off: u32,
        /// The chunk.
        chunk: Ref,
    },
}

impl Extent {
    /// Size of the shortest encoded form, a hole.
    pub(super) const ENCODED_BYTES_MIN: usize = 1 + 8;

    /// All of a chunk.
    pub fn whole(chunk: Ref) -> Extent {
        Extent::Chunk { len: chunk.len, chunk_off: 0, chunk }
    }

    /// Bytes in the file.
    #[allow(clippy::len_without_is_empty, reason = "an extent of a tree is never empty")]
    pub fn len(&self) -> u64 {
        match self {
            Extent::Hole { len } => *len,
            Extent::Chunk { len, .. } => u64::from(*len),
        }
    }

    /// Bytes that are not a hole.
    pub fn allocated(&self) -> u64 {
        match self {
            Extent::Hole { .. } => 0,
            Extent::Chunk { len, .. } => u64::from(*len),
        }
    }

    /// The part of this extent at `range` of its bytes; none if the range is empty or not within it.
    pub fn slice(&self, range: Range<u64>) -> Option<Extent> {
        if range.is_empty() || range.end > self.len() {
            return None;
        }
        let len = range.end - range.start;
        Some(match self {
            Extent::Hole { .. } => Extent::Hole { len },
            // Both numbers are within the extent's own `u32` length.
            Extent::Chunk { chunk_off, chunk, .. } => {
                Extent::Chunk { len: len as u32, chunk_off: chunk_off + range.start as u32, chunk: chunk.clone() }
            }
        })
    }

    /// Why this can't be an extent of a file; the reason is what an error says.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        match self {
            Extent::Hole { len: 0 } | Extent::Chunk { len: 0, .. } => Some("an empty extent"),
            Extent::Hole { len } => (*len > FILE_BYTES_MAX).then_some("a hole longer than any file"),
            Extent::Chunk { len, chunk_off, chunk } => {
                let end = chunk_off.checked_add(*len);
                end.is_none_or(|end| end > chunk.len).then_some("an extent beyond the end of its chunk")
            }
        }
    }

    /// Appends `next` to this extent if it goes on where this one ends; gives it back if not.
    pub(super) fn join(&mut self, next: Extent) -> Option<Extent> {
        if !self.is_continued_by(&next) {
            return Some(next);
        }
        match (self, next) {
            (Extent::Hole { len }, Extent::Hole { len: more }) => *len += more,
            (Extent::Chunk { len, .. }, Extent::Chunk { len: more, .. }) => *len += more,
            _ => {}
        }
        None
    }

    /// Whether the two would be one extent in canonical form.
    pub(super) fn is_continued_by(&self, next: &Extent) -> bool {
        match (self, next) {
            (Extent::Hole { .. }, Extent::Hole { .. }) => true,
            (Extent::Chunk { len, chunk_off, chunk }, Extent::Chunk { chunk_off: next_off, chunk: next, .. }) => {
                chunk_off + len == *next_off && chunk == next
            }
            _ => false,
        }
    }

    /// What decides whether this extent ends its node. A hole has nothing to decide by, and never does.
    pub(super) fn hash(&self) -> u64 {
        match self {
            Extent::Hole { .. } => u64::MAX,
            Extent::Chunk { len, chunk_off, chunk } => hash_ref(chunk, u64::from(*len) << 32 | u64::from(*chunk_off)),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Extent::Hole { len } => {
                out.push(TAG_HOLE);
                out.extend(len.to_le_bytes());
            }
            Extent::Chunk { len, chunk_off, chunk } => {
                out.push(TAG_CHUNK);
                out.extend(len.to_le_bytes());
                out.extend(chunk_off.to_le_bytes());
                out.extend(chunk.to_bytes());
            }
        }
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Result<Extent, DecodeError> {
        let extent = match input.u8("extent tag")? {
            TAG_HOLE => Extent::Hole { len: input.u64("length of a hole")? },
            TAG_CHUNK => Extent::Chunk {
                len: input.u32("length of an extent")?,
                chunk_off: input.u32("offset in a chunk")?,
                chunk: Ref::decode(input)?,
            },
            _ => return Err(DecodeError::invalid("extent tag", "neither hole nor chunk")),
        };
        match extent.flaw() {
            Some(reason) => Err(DecodeError::invalid("extent", reason)),
            None => Ok(extent),
        }
    }
}
