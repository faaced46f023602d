//! The index by itself, for measuring what it takes.

use std::path::Path;

use cairn_block::BlockId;

use super::catalog::{Change, Position, Queued};
use super::index::Index;
use super::options::DiskOptions;
use super::record::{Location, StoreId};
use super::replay::BATCH_CHANGES;
use crate::StoreError;

/// Batches between flushes, as a store makes them.
const FLUSH_BATCHES: u64 = 32;

/// An index that is fed block ids as a store feeds it, without a log.
#[derive(Debug)]
pub struct IndexBench {
    index: Index,
    batch: Vec<Queued>,
    seq: u64,
}

impl IndexBench {
    /// An empty index in `dir`, with the memory that a store with these options would give it.
    pub fn create(dir: &Path, options: &DiskOptions) -> Result<Self, StoreError> {
        let index = Index::create(dir, StoreId::default(), options.index_cache_bytes)?;
        Ok(Self { index, batch: Vec::new(), seq: 0 })
    }

    /// Indexes a block at some place.
    pub fn add(&mut self, id: BlockId) -> Result<(), StoreError> {
        self.seq += 1;
        let at = Location { segment: (self.seq >> 10) as u32, offset: self.seq as u32, len: 256 << 10 };
        let upto = Position { segment: at.segment, offset: at.offset };
        self.batch.push(Queued { seq: self.seq, upto, change: Change::Block { id, at, is_new: true } });
        if self.batch.len() < BATCH_CHANGES {
            return Ok(());
        }
        self.index.apply(&self.batch)?;
        self.batch.clear();
        if self.seq.is_multiple_of(FLUSH_BATCHES * BATCH_CHANGES as u64) { self.index.flush() } else { Ok(()) }
    }

    /// Makes everything durable.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.index.apply(&self.batch)?;
        self.batch.clear();
        self.index.flush()
    }

    /// Whether a block is indexed.
    pub fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        Ok(self.index.block(id)?.is_some())
    }
}
