//! Blocks: sealed bytes under the id they hash to.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::id::BlockId;
use crate::limits::SEALED_BLOCK_BYTES_MAX;

/// Sealed bytes that are known to be the ones their id names. There is no way to make one without hashing it.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    id: BlockId,
    bytes: Bytes,
}

impl Block {
    /// Hashes sealed bytes: for who made them. Bytes from outside are an [`UnverifiedBlock`].
    pub fn seal_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Block { id: BlockId::of(&bytes), bytes }
    }

    /// The address.
    pub const fn id(&self) -> BlockId {
        self.id
    }

    /// The sealed bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The sealed bytes without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none. No sealed block is empty, so one that is cannot be opened.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({}, {} bytes)", self.id.short(), self.len())
    }
}

/// Bytes from outside that claim to be a block.
#[derive(Clone)]
pub struct UnverifiedBlock(Bytes);

impl UnverifiedBlock {
    /// Takes bytes that are no longer than a block may be.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, TooLarge> {
        let bytes = bytes.into();
        if bytes.len() > SEALED_BLOCK_BYTES_MAX {
            return Err(TooLarge { len: bytes.len() });
        }
        Ok(UnverifiedBlock(bytes))
    }

    /// The bytes as they came, or are to be sent: for whoever passes them on. To use them is to verify them.
    pub const fn as_sent(&self) -> &Bytes {
        &self.0
    }

    /// The block `wanted`, if these are its bytes.
    pub fn verify(self, wanted: &BlockId) -> Result<Block, WrongBytes> {
        let found = BlockId::of(&self.0);
        if found != *wanted {
            return Err(WrongBytes { wanted: *wanted, found });
        }
        Ok(Block { id: found, bytes: self.0 })
    }
}

/// A block on its way to somebody who has no reason to believe us.
impl From<Block> for UnverifiedBlock {
    fn from(block: Block) -> Self {
        UnverifiedBlock(block.bytes)
    }
}

impl fmt::Debug for UnverifiedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnverifiedBlock({} bytes)", self.0.len())
    }
}

/// More bytes than a block may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{len} bytes are no block, it has at most {SEALED_BLOCK_BYTES_MAX}")]
pub struct TooLarge {
    /// The length given.
    pub len: usize,
}

/// Bytes that are not those of the block asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the bytes of block {wanted}: they are those of {found}")]
pub struct WrongBytes {
    /// The block asked for.
    pub wanted: BlockId,
    /// The id of the bytes given.
    pub found: BlockId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_become_a_block() {
        let block = Block::seal_bytes(&b"sealed"[..]);
        let verified = UnverifiedBlock::new(&b"sealed"[..]).unwrap().verify(&block.id());
        assert_eq!(verified, Ok(block.clone()));
        let wrong = UnverifiedBlock::new(&b"sealeD"[..]).unwrap().verify(&block.id());
        assert_eq!(wrong.unwrap_err().wanted, block.id());
    }

    #[test]
    fn bytes_above_the_largest_block_are_refused_unhashed() {
        let len = SEALED_BLOCK_BYTES_MAX + 1;
        assert_eq!(UnverifiedBlock::new(vec![0; len]).unwrap_err(), TooLarge { len });
        assert!(UnverifiedBlock::new(vec![0; len - 1]).is_ok());
    }
}
