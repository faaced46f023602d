//! A disk that fails: nothing is acknowledged that is not there.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::rig::{DiskRig, get, options, put_all};
use crate::disk::DiskOptions;
use crate::testing::{ask, block, device, volume};
use crate::{BlockStore, Collector, HeadStore, Limit, ReadOnlyReason, StoreError, SweepOptions};

fn roomy() -> DiskRig {
    DiskRig::with(DiskOptions { segment_bytes: 8 << 20, ..options() })
}

#[test]
fn a_failed_sync_kills_the_segment_and_loses_nothing() {
    let mut rig = roomy();
    let early: Vec<_> = (0..20).map(|n| block(n, 5000)).collect();
    let late: Vec<_> = (100..120).map(|n| block(n, 50_000)).collect();
    let store = rig.disk();
    put_all(store, &early);
    store.sync().expect("sync");
    put_all(store, &late);
    store.put_head(&volume(1), &device(1), 1, &Bytes::from_static(b"head")).expect("put_head");
    store.append_delta(&volume(1), 7, &block(200, 600)).expect("append_delta");
    store.faults().sync_in.store(1, Ordering::SeqCst);
    store.sync().expect("written again elsewhere");
    assert_eq!(store.health().failed_syncs, 1);
    assert_eq!(store.health().read_only, None);
    assert_eq!(store.stats().segments, 2);
    // What the dead segment holds behind its last sync is gone from the disk, as the kernel may have dropped it.
    let dead = &rig.segments()[0];
    let durable = 72 + 20 * 5096;
    std::fs::OpenOptions::new().write(true).open(dead).expect("open").set_len(durable).expect("cut");
    for _ in 0..2 {
        let store = rig.kill();
        for block in early.iter().chain(&late) {
            assert_eq!(get(store, block).as_ref(), Some(block));
        }
        assert_eq!(store.heads(&volume(1)).expect("heads")[0].bytes, "head");
        assert_eq!(store.deltas(&volume(1), 0).expect("deltas"), [(7, block(200, 600).id())]);
        assert_eq!(store.damage(), []);
        store.rebuild_index().expect("rebuild");
    }
}

#[test]
fn a_disk_that_cannot_sync_makes_the_store_read_only_and_visibly_so() {
    let mut rig = roomy();
    let (kept, lost) = (block(1, 5000), block(2, 5000));
    let store = rig.disk();
    store.put(&kept).expect("put");
    store.sync().expect("sync");
    store.put(&lost).expect("put");
    store.faults().no_sync.store(true, Ordering::SeqCst);
    let is_refused = |result| matches!(result, Err(StoreError::ReadOnly { .. }));
    assert!(is_refused(store.sync()));
    assert!(is_refused(store.sync()), "a second try must not succeed");
    store.faults().no_sync.store(false, Ordering::SeqCst);
    assert!(is_refused(store.sync()));
    assert!(is_refused(store.put(&block(3, 100)).map(|_| ())));
    assert_eq!(store.health().read_only, Some(ReadOnlyReason::SyncFailed { segment: 1 }));
    assert_eq!(get(store, &kept), Some(kept.clone()));
    assert!(store.inner.close().is_err(), "closing must not say that it is durable");
    let store = rig.kill();
    assert_eq!(get(store, &kept), Some(kept));
    assert_eq!(store.health().read_only, None);
}

#[test]
fn a_disk_that_takes_no_writes_makes_the_store_read_only_and_visibly_so() {
    let mut rig = roomy();
    let kept = block(1, 5000);
    let store = rig.disk();
    store.put(&kept).expect("put");
    store.sync().expect("sync");
    store.faults().no_write.store(true, Ordering::SeqCst);
    // Large ones go to the disk at once: the first finds that its segment is of no use, the second that there is no other.
    for n in 2..4 {
        store.put(&block(n, 400_000)).expect_err("nothing can be written");
    }
    assert_eq!((store.health().read_only, store.health().failed_syncs), (Some(ReadOnlyReason::NoSegment), 1));
    store.faults().no_write.store(false, Ordering::SeqCst);
    assert!(matches!(store.put(&block(4, 100)), Err(StoreError::ReadOnly { .. })));
    assert_eq!(get(store, &kept), Some(kept.clone()));
    let store = rig.kill();
    assert_eq!(get(store, &kept), Some(kept));
    store.put(&block(5, 400_000)).expect("put");
}

#[test]
fn a_head_that_cannot_be_read_is_listed_without_bytes() {
    let rig = roomy();
    let store = rig.disk();
    store.put_head(&volume(1), &device(1), 1, &Bytes::from_static(b"head")).expect("put_head");
    store.sync().expect("sync");
    store.faults().no_read.store(true, Ordering::SeqCst);
    let heads = store.heads(&volume(1)).expect("heads");
    assert_eq!(heads.iter().map(|head| (head.seq, head.bytes.len())).collect::<Vec<_>>(), [(1, 0)]);
    store.faults().no_read.store(false, Ordering::SeqCst);
    assert_eq!(store.heads(&volume(1)).expect("heads")[0].bytes, "head");
}

#[test]
fn every_failing_sync_is_survived_whichever_it_is() {
    for nth in 1..12 {
        let mut rig = DiskRig::with(options());
        let store = rig.disk();
        store.faults().sync_in.store(nth, Ordering::SeqCst);
        let mut acknowledged = Vec::new();
        for n in 0..40 {
            let block = block(n, 9000);
            let done = store.put(&block).and_then(|_| if n % 4 == 3 { store.sync() } else { Ok(()) });
            if n % 4 == 3 && done.is_ok() {
                acknowledged.push(block);
            }
        }
        assert!(!acknowledged.is_empty());
        let store = rig.kill();
        for block in &acknowledged {
            assert_eq!(get(store, block).as_ref(), Some(block), "sync {nth} failed");
        }
        assert_eq!(store.damage(), []);
    }
}

#[test]
fn a_full_disk_loses_nothing_and_still_deletes() {
    let mut rig = DiskRig::with(DiskOptions { reserve_bytes: 1 << 20, ..options() });
    let store = rig.disk();
    let blocks: Vec<_> = (0..40).map(|n| block(n, 40_000)).collect();
    put_all(store, &blocks);
    store.sync().expect("sync");
    store.faults().room.store(60_000, Ordering::SeqCst);
    let more: Vec<_> = (100..120).map(|n| block(n, 40_000)).collect();
    let refused = more.iter().find_map(|block| store.put(block).err()).expect("the disk is full");
    assert!(refused.is_full(), "{refused}");
    assert!(!store.health().has_room, "whatever the system says of the room there is");
    for block in &blocks {
        assert_eq!(get(store, block).as_ref(), Some(block));
    }
    // The system gives back what the reserve gives up.
    store.faults().room.store(1 << 20, Ordering::SeqCst);
    let bytes_before = store.stats().log_bytes;
    let mut collection = store.begin_collection().expect("begin");
    collection.mark(&blocks[0].id());
    collection.sweep(SweepOptions::default(), &mut |_| {}).expect("sweep");
    assert!(store.stats().log_bytes < bytes_before / 2);
    store.faults().room.store(u64::MAX, Ordering::SeqCst);
    store.put(&more[0]).expect("there is room again");
    store.sync().expect("sync");
    assert!(store.health().has_room);
    let store = rig.kill();
    assert_eq!(get(store, &blocks[0]).as_ref(), Some(&blocks[0]));
    assert_eq!(get(store, &more[0]).as_ref(), Some(&more[0]));
}

#[test]
fn a_quota_refuses_blocks_and_lets_the_journal_on() {
    let rig = DiskRig::with(DiskOptions { quota_bytes: Some(100_000), ..options() });
    let store = rig.disk();
    let refused = (0..10).find_map(|n| store.put(&block(n, 40_000)).err()).expect("over the quota");
    assert!(matches!(refused, StoreError::Full { limit: Limit::Quota { bytes: 100_000 }, .. }), "{refused}");
    store.append_delta(&volume(1), 1, &block(50, 40_000)).expect("append_delta");
    store.sync().expect("sync");
}

#[test]
fn heads_are_listed_whatever_the_disk_refuses() {
    let head = Bytes::from_static(b"head");
    for is_dead in [false, true] {
        let rig = roomy();
        let store = rig.disk();
        store.put_head(&volume(1), &device(1), 1, &head).expect("put_head");
        // It is in memory alone, and stays there: the disk is full, or the store has become read-only.
        store.faults().room.store(if is_dead { u64::MAX } else { 0 }, Ordering::SeqCst);
        store.faults().no_sync.store(is_dead, Ordering::SeqCst);
        assert!(store.sync().is_err());
        let heads = store.heads(&volume(1)).expect("heads");
        assert_eq!(heads.iter().map(|head| &head.bytes).collect::<Vec<_>>(), [&head]);
    }
}

#[test]
fn a_block_that_could_not_be_read_for_a_while_is_served_again() {
    let mut rig = roomy();
    let blocks: Vec<_> = (0..20).map(|n| block(n, 5000)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().checkpoint().expect("checkpoint");
    rig.disk().faults().no_read.store(true, Ordering::SeqCst);
    for block in &blocks {
        assert!(rig.disk().get(&block.id(), ask()).expect_err("no read").is_damaged());
    }
    assert_eq!(rig.disk().health().damaged_blocks, 20);
    rig.disk().faults().no_read.store(false, Ordering::SeqCst);
    assert_eq!(get(rig.disk(), &blocks[3]).as_ref(), Some(&blocks[3]));
    assert_eq!(rig.disk().health().damaged_blocks, 19);
    let store = rig.open();
    for block in &blocks {
        assert_eq!(get(store, block).as_ref(), Some(block));
    }
    assert_eq!(store.damage(), []);
}

#[test]
fn a_log_that_could_not_be_read_when_the_index_was_made_is_read_by_the_next_open() {
    let mut rig = roomy();
    let blocks: Vec<_> = (0..20).map(|n| block(n, 5000)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().append_delta(&volume(1), 1, &block(77, 300)).expect("append_delta");
    rig.disk().sync().expect("sync");
    rig.disk().faults().no_read.store(true, Ordering::SeqCst);
    rig.disk().rebuild_index().expect("rebuild");
    rig.disk().faults().no_read.store(false, Ordering::SeqCst);
    rig.disk().put(&block(100, 5000)).expect("put");
    rig.close();
    for _ in 0..2 {
        let store = rig.open();
        for block in blocks.iter().chain([&block(77, 300), &block(100, 5000)]) {
            assert_eq!(get(store, block).as_ref(), Some(block));
        }
        assert_eq!(store.deltas(&volume(1), 0).expect("deltas"), [(1, block(77, 300).id())]);
        assert_eq!(store.damage(), []);
    }
}
