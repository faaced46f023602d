//! Collection on disk: space returns, nothing that is wanted goes, and a rebuilt index agrees.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use cairn_block::Block;

use super::rig::{DiskRig, get, put_all};
use crate::disk::DiskStore;
use crate::disk::inner::Place;
use crate::disk::scan::{Found, Scan};
use crate::disk::segment::SEGMENT_HEADER_BYTES;
use crate::testing::{Rig, block, device, volume};
use crate::{BlockStore, Collector, HeadStore, StoreError, SweepOptions, SweepReport};

fn sweep(store: &DiskStore, kept: &[Block]) -> SweepReport {
    let mut collection = store.begin_collection().expect("begin");
    kept.iter().for_each(|block| collection.mark(&block.id()));
    collection.sweep(SweepOptions::default(), &mut |_| {}).expect("sweep")
}

#[test]
fn space_returns_and_what_is_marked_stays() {
    let mut rig = DiskRig::new();
    let blocks: Vec<_> = (0..100).map(|n| block(n, 10_000)).collect();
    put_all(rig.disk(), &blocks);
    let kept: Vec<_> = blocks.iter().step_by(10).cloned().collect();
    let report = sweep(rig.disk(), &kept);
    assert_eq!((report.blocks_kept, report.blocks_removed), (10, 90));
    sweep(rig.disk(), &kept);
    let bytes = rig.disk().stats().log_bytes;
    assert!(bytes < 200_000, "{bytes} bytes for 100,000");
    for open_again in [DiskRig::kill, DiskRig::open] {
        let store = open_again(&mut rig);
        assert_eq!(store.stats().blocks, 10);
        for (n, block) in blocks.iter().enumerate() {
            assert_eq!(get(store, block).is_some(), n % 10 == 0, "block {n}");
        }
    }
}

#[test]
fn a_journal_record_that_is_trimmed_while_it_is_copied_stays_a_block() {
    let rig = DiskRig::new();
    let (store, inner) = (rig.disk(), &rig.disk().inner);
    let delta = block(7, 900);
    store.append_delta(&volume(1), 1, &delta).expect("append_delta");
    store.sync().expect("sync");
    let before = inner.find(&delta.id()).expect("find");
    let (number, len) = inner.log.segments.list()[0];
    let file = inner.log.segments.file(number).expect("open").expect("there");
    let mut scan = Scan::new(&inner.log.device, &file, &inner.log.store, number, SEGMENT_HEADER_BYTES, len);
    let Some(Found::Record { header, payload, .. }) = scan.next() else { panic!("the record that was appended") };
    // The compaction has found it alive in the journal; now the journal is trimmed.
    store.trim_deltas(&volume(1), 1).expect("trim_deltas");
    assert!(inner.copy(&header, header.subject, payload).expect("copy") > 0);
    store.sync().expect("sync");
    // Its segment is unlinked next, so the index may not lead there any more.
    let after = inner.find(&delta.id()).expect("find");
    assert!(matches!((before, after), (Some(Place::At(from)), Some(Place::At(to))) if from != to));
    assert!(store.deltas(&volume(1), 0).expect("deltas").is_empty());
    assert_eq!(get(store, &delta), Some(delta));
}

#[test]
fn a_dry_run_changes_nothing() {
    let rig = DiskRig::new();
    let blocks: Vec<_> = (0..30).map(|n| block(n, 10_000)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().sync().expect("sync");
    let before = rig.disk().stats();
    let collection = rig.disk().begin_collection().expect("begin");
    let report = collection.sweep(SweepOptions { dry_run: true }, &mut |_| {}).expect("sweep");
    assert_eq!(report.blocks_removed, 30);
    assert_eq!((rig.disk().stats().blocks, rig.disk().stats().log_bytes), (before.blocks, before.log_bytes));
}

#[test]
fn a_rebuilt_index_agrees_after_collections() {
    let mut rig = DiskRig::new();
    for round in 0..6_u64 {
        let blocks: Vec<_> = (round * 20..round * 20 + 30).map(|n| block(n, 7000)).collect();
        put_all(rig.disk(), &blocks);
        let store = rig.disk();
        store.append_delta(&volume(1), round + 1, &block(1000 + round, 900)).expect("append_delta");
        store.put_head(&volume(1), &device(1), round, &Bytes::from(vec![round as u8; 99])).expect("put_head");
        if round > 1 {
            store.trim_deltas(&volume(1), round - 1).expect("trim_deltas");
            store.drop_heads(&volume(1), &[(device(1), round - 2)]).expect("drop_heads");
        }
        sweep(store, &blocks[10..]);
        let seen = |store: &DiskStore| {
            let has = (0..160).map(|n| store.has(&block(n, 7000).id()).expect("has")).collect::<Vec<_>>();
            let stats = store.stats();
            let deltas = store.deltas(&volume(1), 0).expect("deltas");
            let heads = store.heads(&volume(1)).expect("heads");
            (has, stats.blocks, stats.block_bytes, deltas, heads)
        };
        let before = seen(store);
        store.rebuild_index().expect("rebuild");
        assert_eq!(seen(store), before, "round {round}");
        rig.crash(u64::MAX);
        assert_eq!(seen(rig.disk()), before, "round {round}, after a crash");
        for (_, id) in rig.disk().deltas(&volume(1), 0).expect("deltas") {
            assert!(rig.disk().has(&id).expect("has"));
        }
    }
}

#[test]
fn puts_and_claims_during_a_collection_win() {
    let rig = DiskRig::new();
    let store = rig.disk();
    let blocks: Vec<_> = (0..400).map(|n| block(n, 2000)).collect();
    put_all(store, &blocks);
    for round in 0..5 {
        let collection = store.begin_collection().expect("begin");
        assert!(matches!(store.begin_collection(), Err(StoreError::CollectionRunning)));
        let is_done = AtomicBool::new(false);
        let wanted = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut wanted = Vec::new();
                for block in blocks.iter().skip(round).step_by(3).cycle() {
                    if wanted.len() >= 100 && is_done.load(Ordering::SeqCst) {
                        break;
                    }
                    // Known or new, claimed or put: from here on it must stay.
                    if wanted.len() % 2 == 0 || !store.claim(&block.id()).expect("claim") {
                        store.put(block).expect("put");
                    }
                    wanted.push(block.clone());
                }
                wanted
            });
            collection.sweep(SweepOptions::default(), &mut |_| {}).expect("sweep");
            is_done.store(true, Ordering::SeqCst);
            writer.join().expect("the writer")
        });
        for block in &wanted {
            assert_eq!(get(store, block).as_ref(), Some(block), "round {round}");
        }
        put_all(store, &blocks);
    }
}

#[test]
fn readers_never_notice_that_segments_go() {
    let rig = DiskRig::new();
    let store = rig.disk();
    let kept: Vec<_> = (0..60).map(|n| block(n * 5, 4000)).collect();
    let all: Vec<_> = (0..300).map(|n| block(n, 4000)).collect();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            put_all(store, &all);
            for _ in 0..4 {
                sweep(store, &kept);
                put_all(store, &all);
            }
            is_done.store(true, Ordering::SeqCst);
        });
        while !store.has(&kept[59].id()).expect("has") {}
        while !is_done.load(Ordering::SeqCst) {
            for block in &kept {
                assert_eq!(get(store, block).as_ref(), Some(block));
            }
        }
    });
}
