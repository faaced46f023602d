//! A cache under every order of its threads: the ceiling holds at each moment, nobody gets other bytes, and at the end what
//! the policy keeps is what the backing has.

use std::sync::{Arc, LazyLock};

use cairn_block::{Block, BlockId};
use shuttle::rand::Rng;

use super::{CacheBacking, CacheStore, MemoryBacking};
use crate::sync::thread;
use crate::testing::{ask, block, schedules};
use crate::{Ask, BlockStore, Put, StoreError};

/// Room for the window's largest item and two blocks besides: a fifth block of four pushes one out.
const CEILING_BYTES: u64 = 2 << 20;
const BLOCK_BYTES: usize = 500_000;
const BLOCKS: u64 = 6;
const THREADS: usize = 3;
const STEPS: usize = 4;

fn sample(n: usize) -> Block {
    static SAMPLES: LazyLock<Vec<Block>> = LazyLock::new(|| (0..BLOCKS).map(|n| block(n, BLOCK_BYTES)).collect());
    SAMPLES[n].clone()
}

/// Bytes in memory that are counted after each change, and lost now and then.
struct Watched(MemoryBacking);

impl Watched {
    fn check(&self) {
        let bytes = self.0.bytes();
        assert!(bytes <= CEILING_BYTES, "{bytes} bytes are over the ceiling");
        thread::yield_now();
    }
}

impl BlockStore for Watched {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        self.0.get(id, ask)
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        let put = self.0.put(block);
        self.check();
        put
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.0.has(id)
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.0.claim(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.0.sync()
    }
}

impl CacheBacking for Watched {
    fn evict(&self, ids: &[BlockId]) -> Result<(), StoreError> {
        self.check();
        self.0.evict(ids)
    }

    fn contents(&self) -> Result<Vec<(BlockId, u64)>, StoreError> {
        self.0.contents()
    }
}

#[test]
fn a_cache_keeps_its_ceiling_and_its_books() {
    schedules("the cache", || {
        let cache = CacheStore::open(Watched(MemoryBacking::new()), CEILING_BYTES).expect("an empty cache");
        let cache = Arc::new(cache);
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let cache = cache.clone();
                thread::spawn(move || (0..STEPS).for_each(|_| step(&cache)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        let stats = cache.stats();
        let kept = cache.backing().contents().expect("contents");
        assert_eq!(stats.blocks, kept.len() as u64, "the policy and the backing disagree");
        for (id, _) in &kept {
            assert!(cache.has(id).expect("has"), "the policy has forgotten a block that is still there");
        }
    });
}

/// A thread asks for a block, puts what it misses, or finds that a block was lost underneath.
fn step(cache: &CacheStore<Watched>) {
    let mut random = shuttle::rand::thread_rng();
    let wanted = sample(random.gen_range(0..BLOCKS as usize));
    if random.gen_range(0..8) == 0 {
        // Not by the cache's doing, and not counted by it.
        cache.backing().0.evict(&[wanted.id()]).expect("lost");
    }
    match cache.get(&wanted.id(), ask()).expect("get") {
        Some(found) => assert_eq!(found, wanted, "other bytes"),
        None => drop(cache.put(&wanted).expect("put")),
    }
}
