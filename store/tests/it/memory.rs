//! What the model can do beyond the traits: crash at will, and be damaged.

use std::time::Duration;

use cairn_store::testing::{ask, block, volume};
use cairn_store::{Ask, BlockStore, Collector, HeadStore, MemoryStore, StoreError, SweepOptions};

#[test]
fn a_crash_keeps_nothing_but_what_was_synced() {
    let store = MemoryStore::new();
    store.put(&block(1, 100)).expect("put");
    store.sync().expect("sync");
    store.put(&block(2, 100)).expect("put");
    assert_eq!(store.unsynced(), 1);
    store.crash();
    assert_eq!(store.block_ids(), [block(1, 100).id()]);
    assert_eq!(store.unsynced(), 0);
}

#[test]
fn a_crash_can_keep_any_part_of_what_was_not() {
    let store = MemoryStore::new();
    for seq in 1..=5 {
        store.append_delta(&volume(1), seq, &block(seq, 100)).expect("append_delta");
    }
    store.crash_keeping(|change| change % 2 == 0);
    let deltas = store.deltas(&volume(1), 0).expect("deltas");
    assert_eq!(deltas.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3, 5]);
}

#[test]
fn a_collection_begun_before_a_crash_cannot_sweep_after_it() {
    let store = MemoryStore::new();
    let block = block(1, 100);
    store.put(&block).expect("put");
    store.sync().expect("sync");
    let stale = store.begin_collection().expect("begin_collection");
    store.crash();
    let running = store.begin_collection().expect("the crash ended the first");
    let report = stale.sweep(SweepOptions::default(), &mut |_| ()).expect("sweep");
    assert_eq!((report.blocks_kept, report.blocks_removed), (1, 0));
    assert!(store.has(&block.id()).expect("has"));
    assert!(store.begin_collection().is_err(), "the stale one did not end the other");
    drop(running);
}

#[test]
fn a_late_ask_is_refused_even_for_a_block_that_is_here() {
    let store = MemoryStore::new();
    store.put(&block(1, 100)).expect("put");
    let late = store.get(&block(1, 100).id(), Ask::now(Duration::ZERO));
    assert!(matches!(late, Err(StoreError::Timeout { .. })));
}

#[test]
fn a_lost_block_is_absent_and_not_damaged() {
    let store = MemoryStore::new();
    let block = block(1, 100);
    store.put(&block).expect("put");
    store.sync().expect("sync");
    assert!(store.lose(&block.id()) && !store.lose(&block.id()));
    assert_eq!(store.get(&block.id(), ask()).expect("get"), None);
    store.crash();
    assert!(!store.has(&block.id()).expect("has"));
}
