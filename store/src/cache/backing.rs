//! Where a cache's bytes lie, and the one way to take them out again.

use std::collections::HashMap;

use cairn_block::{Block, BlockId};

use crate::sync::RwLock;
use crate::{Ask, BlockStore, Put, StoreError};

/// A block store whose blocks may be deleted at any time. Own data is never behind this trait.
pub trait CacheBacking: BlockStore {
    /// Deletes blocks; those that are not here are passed over.
    fn evict(&self, ids: &[BlockId]) -> Result<(), StoreError>;

    /// The blocks here and their sizes: what an earlier process left.
    fn contents(&self) -> Result<Vec<(BlockId, u64)>, StoreError>;
}

/// A cache's bytes in memory.
#[derive(Default)]
pub struct MemoryBacking {
    blocks: RwLock<HashMap<BlockId, Block>>,
}

impl MemoryBacking {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes here.
    pub fn bytes(&self) -> u64 {
        self.blocks.read().values().map(|block| block.len() as u64).sum()
    }
}

impl BlockStore for MemoryBacking {
    fn get(&self, id: &BlockId, _: Ask) -> Result<Option<Block>, StoreError> {
        Ok(self.blocks.read().get(id).cloned())
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        let known = self.blocks.write().insert(block.id(), block.clone());
        Ok(if known.is_some() { Put::Known } else { Put::New })
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        Ok(self.blocks.read().contains_key(id))
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.has(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl CacheBacking for MemoryBacking {
    fn evict(&self, ids: &[BlockId]) -> Result<(), StoreError> {
        let mut blocks = self.blocks.write();
        for id in ids {
            blocks.remove(id);
        }
        Ok(())
    }

    fn contents(&self) -> Result<Vec<(BlockId, u64)>, StoreError> {
        let blocks = self.blocks.read();
        Ok(blocks.iter().map(|(id, block)| (*id, block.len() as u64)).collect())
    }
}
