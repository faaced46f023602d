//! Group commit, and what a put and a sync cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rig::{DiskRig, get, options, put_all};
use crate::BlockStore;
use crate::disk::DiskOptions;
use crate::testing::block;

/// Room for everything in one segment, so that rotation syncs nothing.
fn roomy() -> DiskRig {
    DiskRig::on_disk(DiskOptions { segment_bytes: 64 << 20, ..options() })
}

#[test]
fn a_sync_with_nothing_new_is_free() {
    let rig = roomy();
    let store = rig.disk();
    store.put(&block(1, 4096)).expect("put");
    store.sync().expect("sync");
    let syncs = store.stats().syncs;
    store.sync().expect("sync");
    assert_eq!(store.put(&block(1, 4096)).expect("put"), crate::Put::Known);
    store.sync().expect("sync");
    assert_eq!(store.stats().syncs, syncs);
}

#[test]
fn small_puts_reach_the_file_together_and_are_read_before() {
    let rig = roomy();
    let store = rig.disk();
    let blocks: Vec<_> = (0..100).map(|n| block(n, 4096)).collect();
    put_all(store, &blocks);
    let (_, _, written) = store.inner.appender.unsynced_range();
    assert!(written < 4096, "{written} bytes were written before anybody asked");
    for block in &blocks {
        assert_eq!(get(store, block).as_ref(), Some(block));
    }
    store.sync().expect("sync");
    let (_, synced, written) = store.inner.appender.unsynced_range();
    assert_eq!(synced, written);
    assert!(written > 100 * 4096);
}

#[test]
fn many_waiters_share_a_sync() {
    const THREADS: u64 = 16;
    const ROUNDS: u64 = 40;
    let rig = roomy();
    let store = rig.disk();
    let before = store.stats().syncs;
    let acknowledged = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let acknowledged = Arc::clone(&acknowledged);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    store.put(&block(thread * 1000 + round, 512)).expect("put");
                    store.sync().expect("sync");
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let syncs = store.stats().syncs - before;
    assert_eq!(acknowledged.load(Ordering::Relaxed), THREADS * ROUNDS);
    println!("{} acknowledgements took {syncs} syncs", THREADS * ROUNDS);
    assert!(syncs < THREADS * ROUNDS / 2, "{syncs} syncs");
}
