//! Every store keeps the same promises.

use cairn_store::cache::{CacheStore, MemoryBacking};
use cairn_store::testing::{MemoryRig, contract};
use cairn_store::{FaultyStore, MemoryStore};

const CACHE_BYTES: u64 = 32 << 20;

#[test]
fn the_model_keeps_the_contract() {
    contract::run(&mut || Box::new(MemoryStore::new()));
    contract::run_crashes(&mut || Box::new(MemoryRig::new()));
}

#[test]
fn a_faulty_store_without_rules_keeps_the_contract() {
    contract::run(&mut || Box::new(FaultyStore::new(MemoryStore::new(), 1)));
}

#[test]
fn a_cache_with_room_keeps_the_contract_of_blocks() {
    contract::run_blocks(&mut || {
        let cache = CacheStore::open(MemoryBacking::new(), CACHE_BYTES);
        Box::new(cache.expect("an empty cache"))
    });
}
