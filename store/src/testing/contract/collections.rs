//! Claims about collections, above all that whoever races a sweep wins, and about scrubs of sound stores.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use cairn_block::{Block, BlockId};

use super::{Claim, claims};
use crate::testing::{ask, block, volume};
use crate::{Collection, Put, Store, StoreError, SweepOptions, SweepReport};

pub(super) const CLAIMS: &[Claim<dyn Store>] = claims![
    a_sweep_keeps_what_is_marked_and_removes_the_rest,
    a_mark_is_remembered_even_for_an_absent_block,
    a_dry_run_counts_and_removes_nothing,
    what_is_put_during_a_collection_stays,
    what_is_claimed_during_a_collection_stays,
    what_was_claimed_before_is_not_protected,
    deltas_stay_until_they_are_trimmed,
    one_collection_runs_at_a_time,
    a_collection_that_is_dropped_removes_nothing,
    a_swept_block_can_be_put_again,
    whoever_races_the_sweep_wins,
    threads_that_race_the_sweep_win,
    a_scrub_of_a_sound_store_sees_all_and_finds_nothing,
];

fn fill(store: &dyn Store, count: u64) -> Vec<Block> {
    let blocks: Vec<_> = (0..count).map(|n| block(n, 500)).collect();
    for block in &blocks {
        store.put(block).expect("put");
    }
    store.sync().expect("sync");
    blocks
}

fn begin(store: &dyn Store) -> Box<dyn Collection> {
    store.begin_collection().expect("begin_collection")
}

fn sweep(collection: Box<dyn Collection>) -> SweepReport {
    collection.sweep(SweepOptions::default(), &mut |_| ()).expect("sweep")
}

fn has(store: &dyn Store, id: &BlockId) -> bool {
    let has = store.has(id).expect("has");
    assert_eq!(store.get(id, ask()).expect("get").is_some(), has, "has and get disagree");
    has
}

fn a_sweep_keeps_what_is_marked_and_removes_the_rest(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 20);
    let mut collection = begin(store.as_ref());
    for block in &blocks[..5] {
        collection.mark(&block.id());
    }
    let report = sweep(collection);
    assert_eq!((report.blocks_kept, report.blocks_removed), (5, 15));
    assert_eq!((report.bytes_kept, report.bytes_removed), (5 * 500, 15 * 500));
    for (n, block) in blocks.iter().enumerate() {
        assert_eq!(has(store.as_ref(), &block.id()), n < 5);
    }
}

fn a_mark_is_remembered_even_for_an_absent_block(store: Box<dyn Store>) {
    let mut collection = begin(store.as_ref());
    let absent = block(1, 100).id();
    assert!(!collection.is_marked(&absent));
    collection.mark(&absent);
    assert!(collection.is_marked(&absent));
    sweep(collection);
    assert!(!has(store.as_ref(), &absent));
}

fn a_dry_run_counts_and_removes_nothing(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 10);
    let mut collection = begin(store.as_ref());
    collection.mark(&blocks[0].id());
    let dry = collection.sweep(SweepOptions { dry_run: true }, &mut |_| ()).expect("sweep");
    assert!(blocks.iter().all(|block| has(store.as_ref(), &block.id())));
    let mut collection = begin(store.as_ref());
    collection.mark(&blocks[0].id());
    assert_eq!(sweep(collection), dry);
}

fn what_is_put_during_a_collection_stays(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 2);
    let collection = begin(store.as_ref());
    let fresh = block(100, 500);
    assert_eq!(store.put(&fresh).expect("put"), Put::New);
    assert_eq!(store.put(&blocks[0]).expect("put"), Put::Known);
    sweep(collection);
    assert!(has(store.as_ref(), &fresh.id()));
    assert!(has(store.as_ref(), &blocks[0].id()));
    assert!(!has(store.as_ref(), &blocks[1].id()));
}

fn what_is_claimed_during_a_collection_stays(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 2);
    let collection = begin(store.as_ref());
    assert!(store.claim(&blocks[0].id()).expect("claim"));
    assert!(store.has(&blocks[1].id()).expect("has"));
    sweep(collection);
    assert!(has(store.as_ref(), &blocks[0].id()));
    assert!(!has(store.as_ref(), &blocks[1].id()));
}

fn what_was_claimed_before_is_not_protected(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 1);
    assert!(store.claim(&blocks[0].id()).expect("claim"));
    sweep(begin(store.as_ref()));
    assert!(!has(store.as_ref(), &blocks[0].id()));
}

fn deltas_stay_until_they_are_trimmed(store: Box<dyn Store>) {
    let (early, late) = (block(1, 500), block(2, 500));
    store.append_delta(&volume(1), 1, &early).expect("append_delta");
    let collection = begin(store.as_ref());
    store.append_delta(&volume(1), 2, &late).expect("append_delta");
    sweep(collection);
    assert!(has(store.as_ref(), &early.id()) && has(store.as_ref(), &late.id()));
    store.trim_deltas(&volume(1), 1).expect("trim_deltas");
    sweep(begin(store.as_ref()));
    assert!(!has(store.as_ref(), &early.id()));
    assert!(has(store.as_ref(), &late.id()));
    assert_eq!(store.deltas(&volume(1), 0).expect("deltas"), [(2, late.id())]);
}

fn one_collection_runs_at_a_time(store: Box<dyn Store>) {
    let collection = begin(store.as_ref());
    let refused = store.begin_collection().err();
    assert!(matches!(refused, Some(StoreError::CollectionRunning)));
    sweep(collection);
    sweep(begin(store.as_ref()));
}

fn a_collection_that_is_dropped_removes_nothing(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 3);
    drop(begin(store.as_ref()));
    assert!(blocks.iter().all(|block| has(store.as_ref(), &block.id())));
    sweep(begin(store.as_ref()));
    assert!(!blocks.iter().any(|block| has(store.as_ref(), &block.id())));
}

fn a_swept_block_can_be_put_again(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 3);
    sweep(begin(store.as_ref()));
    for block in &blocks {
        assert!(!store.claim(&block.id()).expect("claim"));
        assert_eq!(store.put(block).expect("put"), Put::New);
        assert!(has(store.as_ref(), &block.id()));
    }
}

/// Claims or puts from inside the sweep, whenever it reports.
fn whoever_races_the_sweep_wins(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 60);
    let collection = begin(store.as_ref());
    let mut left = blocks.iter();
    collection
        .sweep(SweepOptions::default(), &mut |_| {
            if let Some(block) = left.next_back() {
                claim_or_put(store.as_ref(), block);
            }
        })
        .expect("sweep");
    let untouched = left.len();
    for block in &blocks[untouched..] {
        assert!(has(store.as_ref(), &block.id()), "lost to the sweep");
    }
}

fn threads_that_race_the_sweep_win(store: Box<dyn Store>) {
    let blocks = fill(store.as_ref(), 400);
    let is_sweeping = AtomicBool::new(false);
    let collection = begin(store.as_ref());
    std::thread::scope(|scope| {
        for share in blocks.chunks(200) {
            scope.spawn(|| {
                while !is_sweeping.load(Relaxed) {
                    std::thread::yield_now();
                }
                for block in share.iter().step_by(2) {
                    claim_or_put(store.as_ref(), block);
                }
            });
        }
        is_sweeping.store(true, Relaxed);
        sweep(collection);
    });
    for block in blocks.iter().step_by(2) {
        assert!(has(store.as_ref(), &block.id()), "lost to the sweep");
    }
    for block in blocks.iter().skip(1).step_by(2) {
        assert!(!has(store.as_ref(), &block.id()), "left behind");
    }
}

/// As a writer refers to a block: by a claim if it is there, else by a put.
fn claim_or_put(store: &dyn Store, block: &Block) {
    if !store.claim(&block.id()).expect("claim") {
        store.put(block).expect("put");
    }
}

fn a_scrub_of_a_sound_store_sees_all_and_finds_nothing(store: Box<dyn Store>) {
    fill(store.as_ref(), 30);
    let mut reports = 0;
    let report = store.scrub(&mut |_| reports += 1).expect("scrub");
    assert_eq!((report.blocks, report.bytes), (30, 30 * 500));
    assert_eq!(report.damaged, []);
    assert!(reports > 0, "a scrub reports its progress");
}
