//! The index as maps, where schedules are explored: RocksDB has threads of its own that no scheduler of ours can stop. It is
//! gone when it is dropped, so a store that is opened again is read from its log.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use cairn_block::BlockId;

use super::catalog::{Catalog, Change, Position, Queued};
use super::record::{Location, StoreId};
use crate::StoreError;
use crate::sync::Mutex;

/// How far the index is, and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) store: StoreId,
    pub(crate) upto: Position,
    /// The number of the last record before `upto`.
    pub(crate) seq: u64,
    /// Blocks that are indexed.
    pub(crate) blocks: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    store: StoreId,
    maps: Mutex<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    blocks: BTreeMap<BlockId, Location>,
    quarantined: BTreeMap<BlockId, Location>,
    unread: Option<Position>,
    upto: Position,
    seq: u64,
}

type Result<T> = std::result::Result<T, StoreError>;

impl Index {
    /// There is never one to open.
    pub(crate) fn open(_: &Path, _: StoreId, _: usize) -> Result<Self> {
        Err(StoreError::Index { op: "open", source: "it was in memory".into() })
    }

    pub(crate) fn create(_: &Path, store: StoreId, _: usize) -> Result<Self> {
        Ok(Self { store, maps: Mutex::default() })
    }

    /// There is nothing that could fail half-way.
    pub(crate) fn shut(&self) {}

    pub(crate) fn reset(&self) -> Result<()> {
        *self.maps.lock() = Maps::default();
        Ok(())
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let maps = self.maps.lock();
        let (blocks, bytes) = (maps.blocks.len() as u64, maps.blocks.values().map(|at| u64::from(at.len)).sum());
        Checkpoint { store: self.store, upto: maps.upto, seq: maps.seq, blocks, bytes }
    }

    pub(crate) fn block(&self, id: &BlockId) -> Result<Option<Location>> {
        Ok(self.maps.lock().blocks.get(id).copied())
    }

    pub(crate) fn page(&self, after: Option<&BlockId>, max: usize) -> Result<Vec<(BlockId, Location)>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let maps = self.maps.lock();
        Ok(maps.blocks.range((from, Bound::Unbounded)).take(max).map(|(id, at)| (*id, *at)).collect())
    }

    pub(crate) fn apply(&self, changes: &[Queued]) -> Result<()> {
        let mut maps = self.maps.lock();
        for queued in changes {
            match &queued.change {
                Change::Block { id, at, .. } | Change::Delta { id, at, .. } => {
                    maps.blocks.insert(*id, *at);
                }
                Change::Dead { blocks } => {
                    for (id, _) in blocks {
                        maps.blocks.remove(id);
                    }
                }
                // Heads and journals are in the catalog, and never have to be loaded from here.
                _ => {}
            }
            maps.upto = queued.upto;
            maps.seq = maps.seq.max(queued.seq);
        }
        Ok(())
    }

    pub(crate) fn advance(&self, upto: Position) -> Result<()> {
        self.maps.lock().upto = upto;
        Ok(())
    }

    pub(crate) fn flush(&self) -> Result<()> {
        Ok(())
    }

    pub(crate) fn load(&self, _: &mut Catalog) -> Result<()> {
        Ok(())
    }

    pub(crate) fn quarantined(&self) -> Result<Vec<(BlockId, Location)>> {
        Ok(self.maps.lock().quarantined.iter().map(|(id, at)| (*id, *at)).collect())
    }

    pub(crate) fn set_quarantined(&self, id: &BlockId, at: Option<Location>) -> Result<()> {
        let quarantined = &mut self.maps.lock().quarantined;
        match at {
            Some(at) => quarantined.insert(*id, at),
            None => quarantined.remove(id),
        };
        Ok(())
    }

    pub(crate) fn unread(&self) -> Result<Option<Position>> {
        Ok(self.maps.lock().unread)
    }

    pub(crate) fn set_unread(&self, from: Option<Position>) -> Result<()> {
        self.maps.lock().unread = from;
        Ok(())
    }

    pub(crate) fn hint(&self, _: &[u8; 32]) -> Option<Bytes> {
        None
    }

    pub(crate) fn put_hint(&self, _: &[u8; 32], _: &[u8]) {}

    pub(crate) fn bound_hints(&self) -> Result<()> {
        Ok(())
    }
}
