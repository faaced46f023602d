//! The model: a store in memory that keeps each promise to the letter and none beyond it.
//!
//! It holds two states. *Visible* is what calls see. *Durable* is what the last sync made of it; the changes
//! in between wait in a list, as a log's unsynced tail would. [`MemoryStore::crash`] throws the list away,
//! [`MemoryStore::crash_keeping`] keeps any part of it, which is all that a disk promises.
//!
//! It is stricter than the disk store: a late ask is always refused, stored bytes are verified at every get, and
//! an error is raised wherever one is allowed to be.

mod collection;
mod state;

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::limits::HEAD_BYTES_MAX;
use cairn_block::{Block, BlockId, DeviceId, UnverifiedBlock, VolumeId};
use lru::LruCache;

use crate::head_store::check_number;
use crate::sync::Mutex;
use crate::{
    Ask, BlockStore, Collection, Collector, Damage, HINT_BYTES_MAX, HeadStore, HintStore, Place, Progress, Put,
    ScrubReport, Scrubber, StoreError, StoredHead,
};
use collection::MemoryCollection;
use state::{Change, State};

/// Hints kept: enough for a test volume of some GiB, at most 20 MiB.
const HINTS_MAX: NonZeroUsize = NonZeroUsize::new(1 << 16).expect("not zero");

/// A store in memory. Clones are handles to the same store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    hints: Mutex<LruCache<[u8; 32], Bytes>>,
}

/// All that is behind the one lock.
#[derive(Default)]
struct Inner {
    visible: State,
    durable: State,
    unsynced: Vec<Change>,
    /// Blocks whose bytes were found to be wrong.
    quarantine: HashSet<BlockId>,
    /// What the running collection must not take; `None` while there is no collection.
    protected: Option<HashSet<BlockId>>,
    /// Counts crashes, so that a collection begun before one cannot sweep after it.
    crashes: u64,
}

impl Inner {
    fn change(&mut self, change: Change) {
        self.unsynced.push(change.clone());
        self.visible.apply(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            self.durable.apply(change);
        }
    }

    fn has(&self, id: &BlockId) -> bool {
        self.visible.blocks.contains_key(id) && !self.quarantine.contains(id)
    }

    fn protect(&mut self, id: &BlockId) {
        if let Some(protected) = &mut self.protected {
            protected.insert(*id);
        }
    }

    /// The stored bytes as a block, or the block is quarantined.
    fn read(&mut self, id: &BlockId) -> Result<Option<Block>, StoreError> {
        let Some(bytes) = self.visible.blocks.get(id) else {
            return Ok(None);
        };
        let verified = UnverifiedBlock::new(bytes.clone()).ok().and_then(|unverified| unverified.verify(id).ok());
        match verified {
            Some(block) => Ok(Some(block)),
            None => {
                self.quarantine.insert(*id);
                Err(StoreError::Damaged { id: *id, place: Place::Memory })
            }
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { inner: Mutex::default(), hints: Mutex::new(LruCache::sparse(HINTS_MAX)) }) }
    }

    /// The power goes out and comes back: whatever was not synced is gone, hints too.
    pub fn crash(&self) {
        self.crash_keeping(|_| false);
    }

    /// A crash that happens to keep those unsynced changes for which `survives` says so. It is asked once per
    /// change, by its place in the order they were made.
    pub fn crash_keeping(&self, mut survives: impl FnMut(usize) -> bool) {
        let mut inner = self.shared.inner.lock();
        let unsynced = std::mem::take(&mut inner.unsynced);
        for (index, change) in unsynced.into_iter().enumerate() {
            if survives(index) {
                inner.durable.apply(change);
            }
        }
        inner.visible = inner.durable.clone();
        inner.quarantine.clear();
        inner.protected = None;
        inner.crashes += 1;
        self.shared.hints.lock().clear();
    }

    /// Flips a bit of a stored block, as a failing disk would. `false` if the block is not here. Everything is synced
    /// first: what a disk can harm was on the disk.
    pub fn damage(&self, id: &BlockId) -> bool {
        let mut inner = self.shared.inner.lock();
        inner.sync();
        let Some(bytes) = inner.visible.blocks.get(id) else {
            return false;
        };
        let bytes = with_flipped_bit(bytes);
        inner.durable.blocks.insert(*id, bytes.clone());
        inner.visible.blocks.insert(*id, bytes);
        true
    }

    /// Loses a block without a trace, as a store that was cut short would. `false` if it was not here. Everything is
    /// synced first, as by [`damage`](Self::damage).
    pub fn lose(&self, id: &BlockId) -> bool {
        let mut inner = self.shared.inner.lock();
        inner.sync();
        inner.durable.blocks.remove(id);
        inner.visible.blocks.remove(id).is_some()
    }

    /// The blocks here, in no order.
    pub fn block_ids(&self) -> Vec<BlockId> {
        self.shared.inner.lock().visible.blocks.keys().copied().collect()
    }

    /// How many changes a crash would lose.
    pub fn unsynced(&self) -> usize {
        self.shared.inner.lock().unsynced.len()
    }
}

/// An empty block has no bit to flip: it grows instead.
fn with_flipped_bit(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    match bytes.last_mut() {
        Some(byte) => *byte ^= 1,
        None => bytes.push(0),
    }
    Bytes::from(bytes)
}

impl BlockStore for MemoryStore {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        if ask.remaining().is_zero() {
            return Err(StoreError::Timeout { op: "get", waited: Default::default() });
        }
        self.shared.inner.lock().read(id)
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        let mut inner = self.shared.inner.lock();
        let id = block.id();
        inner.protect(&id);
        if inner.has(&id) {
            return Ok(Put::Known);
        }
        inner.quarantine.remove(&id);
        inner.change(Change::Put { id, bytes: block.bytes().clone() });
        Ok(Put::New)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        Ok(self.shared.inner.lock().has(id))
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        let mut inner = self.shared.inner.lock();
        let has = inner.has(id);
        if has {
            inner.protect(id);
        }
        Ok(has)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.shared.inner.lock().sync();
        Ok(())
    }
}

impl HeadStore for MemoryStore {
    fn put_head(&self, volume: &VolumeId, device: &DeviceId, seq: u64, head: &Bytes) -> Result<(), StoreError> {
        if head.len() > HEAD_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "head", bytes: head.len() as u64, max: HEAD_BYTES_MAX as u64 });
        }
        check_number(seq)?;
        let (volume, device) = (*volume, *device);
        let mut inner = self.shared.inner.lock();
        match inner.visible.heads.get(&(volume, device, seq)) {
            Some(kept) if kept == head => return Ok(()),
            Some(_) => {
                return Err(StoreError::HeadConflict { volume, device, seq });
            }
            None => {}
        }
        inner.change(Change::PutHead { volume, device, seq, bytes: head.clone() });
        Ok(())
    }

    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, StoreError> {
        let inner = self.shared.inner.lock();
        let heads = inner.visible.heads.iter();
        Ok(heads
            .filter(|((of, _, _), _)| of == volume)
            .map(|((_, device, seq), bytes)| StoredHead { device: *device, seq: *seq, bytes: bytes.clone() })
            .collect())
    }

    fn drop_heads(&self, volume: &VolumeId, heads: &[(DeviceId, u64)]) -> Result<(), StoreError> {
        let mut inner = self.shared.inner.lock();
        for &(device, seq) in heads {
            if inner.visible.heads.contains_key(&(*volume, device, seq)) {
                inner.change(Change::DropHead { volume: *volume, device, seq });
            }
        }
        Ok(())
    }

    fn append_delta(&self, volume: &VolumeId, seq: u64, block: &Block) -> Result<(), StoreError> {
        check_number(seq)?;
        let volume = *volume;
        let mut inner = self.shared.inner.lock();
        let last = inner.visible.journals.get(&volume).map_or(0, |journal| journal.last());
        if seq <= last {
            return Err(StoreError::DeltaOutOfOrder { volume, seq, last });
        }
        let id = block.id();
        inner.protect(&id);
        inner.quarantine.remove(&id);
        inner.change(Change::Append { volume, seq, id, bytes: block.bytes().clone() });
        Ok(())
    }

    fn deltas(&self, volume: &VolumeId, after: u64) -> Result<Vec<(u64, BlockId)>, StoreError> {
        let inner = self.shared.inner.lock();
        let Some(journal) = inner.visible.journals.get(volume) else {
            return Ok(Vec::new());
        };
        let later = journal.deltas.iter().skip_while(|(seq, _)| **seq <= after);
        Ok(later.map(|(seq, id)| (*seq, *id)).collect())
    }

    fn last_delta(&self, volume: &VolumeId) -> Result<u64, StoreError> {
        Ok(self.shared.inner.lock().visible.journals.get(volume).map_or(0, |journal| journal.last()))
    }

    fn trim_deltas(&self, volume: &VolumeId, upto: u64) -> Result<(), StoreError> {
        check_number(upto)?;
        self.shared.inner.lock().change(Change::Trim { volume: *volume, upto });
        Ok(())
    }

    fn volumes(&self) -> Result<Vec<VolumeId>, StoreError> {
        let inner = self.shared.inner.lock();
        let with_heads = inner.visible.heads.keys().map(|(volume, _, _)| *volume);
        let with_deltas = inner.visible.journals.iter();
        let with_deltas = with_deltas.filter(|(_, journal)| !journal.deltas.is_empty());
        let mut volumes: Vec<_> = with_heads.chain(with_deltas.map(|(volume, _)| *volume)).collect();
        volumes.sort_unstable();
        volumes.dedup();
        Ok(volumes)
    }
}

impl HintStore for MemoryStore {
    fn hint(&self, key: &[u8; 32]) -> Option<Bytes> {
        self.shared.hints.lock().get(key).cloned()
    }

    fn put_hint(&self, key: [u8; 32], value: Bytes) {
        if value.len() <= HINT_BYTES_MAX {
            self.shared.hints.lock().put(key, value);
        }
    }
}

impl Collector for MemoryStore {
    fn begin_collection(&self) -> Result<Box<dyn Collection>, StoreError> {
        Ok(Box::new(MemoryCollection::begin(&self.shared)?))
    }
}

impl Scrubber for MemoryStore {
    fn scrub(&self, progress: &mut dyn FnMut(Progress)) -> Result<ScrubReport, StoreError> {
        let ids = self.block_ids();
        let mut report = ScrubReport::default();
        for id in &ids {
            let mut inner = self.shared.inner.lock();
            let Some(bytes) = inner.visible.blocks.get(id).map(Bytes::len) else {
                continue;
            };
            report.blocks += 1;
            report.bytes += bytes as u64;
            if inner.read(id).is_err() {
                report.damaged.push(Damage { id: Some(*id), place: Place::Memory });
            }
            drop(inner);
            progress(Progress { blocks_done: report.blocks, blocks_total: ids.len() as u64, bytes_done: report.bytes });
        }
        Ok(report)
    }
}
