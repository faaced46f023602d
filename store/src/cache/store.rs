//! A block store under a byte ceiling.
//!
//! The policy decides, the backing holds the bytes. Writers take turns, because the two must agree: what the policy
//! gives up is deleted before what it admits is written, so the bytes never exceed the ceiling even for a moment. Readers
//! only lock the policy, briefly.

use cairn_block::limits::{CDC_BYTES_MIN, SEALED_BLOCK_BYTES_MAX};
use cairn_block::{Block, BlockId};

use super::{CacheBacking, Policy, PolicyOptions, Requester};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::{Ask, BlockStore, Priority, Put, StoreError};

/// What a block costs beyond its bytes: a log record's header and trailer, its index entry, its place in the policy.
const BLOCK_OVERHEAD_BYTES: u64 = 256;

/// A cache of blocks. It may forget any block at any time; what it promises is its ceiling.
pub struct CacheStore<B> {
    backing: B,
    policy: Mutex<Policy<BlockId>>,
    /// Held while the policy and the backing change together. Holds what the policy gave up but the backing
    /// failed to delete: it goes before anything else comes in.
    condemned: Mutex<Vec<BlockId>>,
    hits: AtomicU64,
    misses: AtomicU64,
    evicted: AtomicU64,
}

/// What a cache has done so far, and holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Gets that found their block; only those that a program or a peer waited for.
    pub hits: u64,
    /// Gets that did not.
    pub misses: u64,
    /// Blocks that went, or never got past the door.
    pub evicted: u64,
    /// Blocks held.
    pub blocks: u64,
    /// What they cost, overhead included.
    pub bytes: u64,
    /// The most that `bytes` can be.
    pub ceiling_bytes: u64,
}

impl<B: CacheBacking> CacheStore<B> {
    /// A cache over what `backing` holds already; what does not fit goes.
    pub fn open(backing: B, ceiling_bytes: u64) -> Result<Self, StoreError> {
        let mut policy = Policy::new(PolicyOptions {
            ceiling_bytes,
            item_bytes_max: SEALED_BLOCK_BYTES_MAX as u64 + BLOCK_OVERHEAD_BYTES,
            item_bytes_typical: CDC_BYTES_MIN as u64,
        });
        let mut evicted = Vec::new();
        for (id, bytes) in backing.contents()? {
            evicted.extend(ids(policy.put(id, (), cost(bytes))));
        }
        backing.evict(&evicted)?;
        Ok(Self {
            backing,
            policy: Mutex::new(policy),
            condemned: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            evicted: AtomicU64::new(evicted.len() as u64),
        })
    }

    /// [`get`](BlockStore::get) on behalf of `requester`.
    pub fn get_for(&self, requester: Requester, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        let is_kept = self.policy.lock().get(id, requester).is_some();
        let found = if is_kept { self.read(id, ask)? } else { None };
        if requester != Requester::Nobody {
            let counter = if found.is_some() { &self.hits } else { &self.misses };
            counter.fetch_add(1, Relaxed);
        }
        Ok(found)
    }

    /// What it holds and has done.
    pub fn stats(&self) -> CacheStats {
        let policy = self.policy.lock();
        CacheStats {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            blocks: policy.len() as u64,
            bytes: policy.bytes(),
            ceiling_bytes: policy.ceiling_bytes(),
        }
    }

    /// Where the bytes lie.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// A kept block. One that is damaged or lost is a miss: whoever asks fetches it elsewhere and puts it again.
    fn read(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        match self.backing.get(id, ask) {
            Ok(Some(block)) => Ok(Some(block)),
            Ok(None) => self.forget_unsound(id),
            Err(error) if error.is_damaged() => self.forget_unsound(id),
            Err(error) => Err(error),
        }
    }

    /// Drops a block that could not be read, unless a writer has put it right in the meantime.
    fn forget_unsound(&self, id: &BlockId) -> Result<Option<Block>, StoreError> {
        let mut condemned = self.condemned.lock();
        if !self.backing.has(id)? {
            self.policy.lock().remove(id);
            self.evict(&mut condemned, vec![*id])?;
        }
        Ok(None)
    }

    /// Deletes what was given up, now and earlier.
    fn evict(&self, condemned: &mut Vec<BlockId>, more: Vec<BlockId>) -> Result<(), StoreError> {
        self.evicted.fetch_add(more.len() as u64, Relaxed);
        condemned.extend(more);
        if !condemned.is_empty() {
            self.backing.evict(condemned)?;
            condemned.clear();
        }
        Ok(())
    }
}

impl<B: CacheBacking> BlockStore for CacheStore<B> {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        let requester = match ask.priority {
            Priority::Now => Requester::Own,
            Priority::Ahead | Priority::Background => Requester::Nobody,
        };
        self.get_for(requester, id, ask)
    }

    /// Keeps the block for now. It may be gone at the next put; a block larger than the cache is gone at once.
    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        let id = block.id();
        let mut condemned = self.condemned.lock();
        if self.has(&id)? {
            return Ok(Put::Known);
        }
        self.evict(&mut condemned, Vec::new())?;
        let evicted = ids(self.policy.lock().put(id, (), cost(block.len() as u64)));
        let is_kept = !evicted.contains(&id);
        let written = self
            .evict(&mut condemned, evicted)
            .and_then(|()| if is_kept { self.backing.put(block).map(drop) } else { Ok(()) });
        if let Err(error) = written {
            self.policy.lock().remove(&id);
            return Err(error);
        }
        Ok(Put::New)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        let is_kept = self.policy.lock().peek(id).is_some();
        Ok(is_kept && self.backing.has(id)?)
    }

    /// As `has`: a cache has no collections, and a claim does not hold a block in it.
    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.has(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.backing.sync()
    }
}

fn cost(bytes: u64) -> u64 {
    bytes + BLOCK_OVERHEAD_BYTES
}

fn ids(evicted: Vec<(BlockId, ())>) -> Vec<BlockId> {
    evicted.into_iter().map(|(id, ())| id).collect()
}
