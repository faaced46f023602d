//! A pack's directory: which block lies where.

use std::ops::Range;

use crate::codec::{DecodeError, Reader, Writer, check_bound};
use crate::id::BlockId;
use crate::limits::{CHUNK_HEADER_BYTES, PACK_BLOCKS_MAX, SEALED_BLOCK_BYTES_MAX, TAG_BYTES};
use crate::pack::SizeClass;

/// Bytes of an entry: block id, offset, length.
pub(super) const ENTRY_BYTES: usize = 32 + 4 + 4;
/// No sealed block is shorter: the header of an empty chunk, and its tag.
pub(super) const BLOCK_BYTES_MIN: usize = CHUNK_HEADER_BYTES + TAG_BYTES;

/// Where one block of a pack lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The block.
    pub id: BlockId,
    /// Its first byte in the body.
    pub offset: u32,
    /// How many bytes it has.
    pub len: u32,
}

impl Placed {
    /// The block's bytes in the body.
    pub const fn range(&self) -> Range<u32> {
        self.offset..self.offset + self.len
    }
}

/// Which block lies where in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    class: SizeClass,
    /// By offset.
    blocks: Vec<Placed>,
    /// Positions in `blocks`, by block id.
    by_id: Vec<u32>,
}

impl Directory {
    /// The pack's class.
    pub const fn class(&self) -> SizeClass {
        self.class
    }

    /// All blocks, by offset.
    pub fn blocks(&self) -> &[Placed] {
        &self.blocks
    }

    /// The bytes of a block in the body, if it is in the pack.
    pub fn find(&self, id: &BlockId) -> Option<Range<u32>> {
        let position = |at: &u32| self.blocks[*at as usize].id;
        let found = self.by_id.binary_search_by_key(id, position).ok()?;
        Some(self.blocks[self.by_id[found] as usize].range())
    }

    /// Checks what holds for every directory. `end` is where in the body blocks end.
    pub(super) fn new(class: SizeClass, end: u32, blocks: Vec<Placed>) -> Result<Self, DecodeError> {
        check_bound("directory", blocks.len() as u64, PACK_BLOCKS_MAX as u64)?;
        let mut free_from = 0;
        for block in &blocks {
            check_block(class, end, free_from, block)?;
            free_from = block.offset + block.len;
        }
        let mut by_id: Vec<u32> = (0..blocks.len() as u32).collect();
        by_id.sort_unstable_by_key(|at| blocks[*at as usize].id);
        if by_id.windows(2).any(|pair| blocks[pair[0] as usize].id == blocks[pair[1] as usize].id) {
            return Err(DecodeError::invalid("directory", "a block is in it twice"));
        }
        Ok(Directory { class, blocks, by_id })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(self.blocks.len() * ENTRY_BYTES);
        for block in &self.blocks {
            out.raw(block.id.as_bytes()).u32(block.offset).u32(block.len);
        }
        out.into_vec()
    }

    pub(super) fn decode(class: SizeClass, end: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        check_bound("directory", bytes.len() as u64, (PACK_BLOCKS_MAX * ENTRY_BYTES) as u64)?;
        let mut input = Reader::new(bytes);
        let mut blocks = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
        while input.left() > 0 {
            blocks.push(Placed {
                id: BlockId::from_bytes(input.array("directory block id")?),
                offset: input.u32("directory offset")?,
                len: input.u32_max("directory length", SEALED_BLOCK_BYTES_MAX as u32)?,
            });
        }
        Directory::new(class, end, blocks)
    }
}

fn check_block(class: SizeClass, end: u32, free_from: u32, block: &Placed) -> Result<(), DecodeError> {
    if (block.len as usize) < BLOCK_BYTES_MIN {
        return Err(DecodeError::invalid("directory length", "shorter than any sealed block"));
    }
    if block.offset < free_from {
        return Err(DecodeError::invalid("directory offset", "out of order, or inside the block before"));
    }
    check_bound("directory offset", u64::from(block.offset) + u64::from(block.len), end.into())?;
    let slot = class.slot_bytes();
    if block.offset / slot != (block.offset + block.len - 1) / slot {
        return Err(DecodeError::invalid("directory offset", "the block crosses a slot"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(name: u8, offset: u32, len: u32) -> Placed {
        Placed { id: BlockId::of(&[name]), offset, len }
    }

    fn decoded(blocks: &[Placed]) -> Result<Directory, DecodeError> {
        let raw = Directory { class: SizeClass::M4, blocks: blocks.to_vec(), by_id: Vec::new() };
        Directory::decode(SizeClass::M4, END, &raw.encode())
    }

    const SLOT: u32 = 1 << 20;
    const END: u32 = 4 * SLOT - 1000;

    #[test]
    fn every_block_is_found_and_no_other() {
        let blocks = [placed(3, 0, 24), placed(1, 24, 1000), placed(2, SLOT, SLOT), placed(0, END - 24, 24)];
        let directory = decoded(&blocks).unwrap();
        assert_eq!(directory.blocks(), blocks);
        for block in &blocks {
            assert_eq!(directory.find(&block.id), Some(block.offset..block.offset + block.len));
        }
        assert_eq!(directory.find(&BlockId::of(b"other")), None);
        assert_eq!(decoded(&[]).unwrap().find(&BlockId::of(b"other")), None);
    }

    #[test]
    fn blocks_that_no_pack_holds_are_refused() {
        let bad: [&[Placed]; 9] = [
            &[placed(1, 0, 23)],
            &[placed(1, 0, SLOT + 1)],
            &[placed(1, SLOT - 1, 24)],
            &[placed(1, END - 23, 24)],
            &[placed(1, u32::MAX, 24)],
            &[placed(1, 0, 24), placed(2, 23, 24)],
            &[placed(1, 24, 24), placed(2, 0, 24)],
            &[placed(1, 0, 24), placed(1, 24, 24)],
            &[placed(1, 0, 24), placed(2, 24, u32::MAX)],
        ];
        for blocks in bad {
            assert!(decoded(blocks).is_err(), "{blocks:?}");
        }
    }

    #[test]
    fn more_blocks_than_a_pack_has_and_parts_of_an_entry_are_refused() {
        let too_many = vec![0; (PACK_BLOCKS_MAX + 1) * ENTRY_BYTES];
        assert!(matches!(Directory::decode(SizeClass::M16, END, &too_many), Err(DecodeError::AboveBound { .. })));
        let good = decoded(&[placed(1, 0, 24)]).unwrap().encode();
        for len in 1..good.len() {
            assert!(Directory::decode(SizeClass::M4, END, &good[..len]).is_err());
        }
    }
}
