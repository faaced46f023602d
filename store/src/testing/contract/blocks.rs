//! Claims about blocks: what any [`BlockStore`] promises.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cairn_block::limits::SEALED_BLOCK_BYTES_MAX;

use super::{Claim, claims};
use crate::testing::{ask, block};
use crate::{Ask, BlockStore, Put, StoreError};

pub(super) const CLAIMS: &[Claim<dyn BlockStore>] = claims![
    what_was_put_is_returned,
    the_smallest_and_the_largest_block_fit,
    an_absent_block_is_none,
    the_second_put_finds_the_block_known,
    has_and_claim_agree_with_put,
    a_late_ask_is_a_timeout_or_a_block,
    sync_changes_nothing_that_is_seen,
    an_empty_sync_succeeds,
    threads_that_put_the_same_blocks_agree,
];

fn what_was_put_is_returned(store: Box<dyn BlockStore>) {
    for n in 0..50 {
        assert_eq!(store.put(&block(n, 100)).expect("put"), Put::New);
    }
    for n in 0..50 {
        let wanted = block(n, 100);
        assert_eq!(store.get(&wanted.id(), ask()).expect("get"), Some(wanted));
    }
}

fn the_smallest_and_the_largest_block_fit(store: Box<dyn BlockStore>) {
    for bytes in [8, SEALED_BLOCK_BYTES_MAX - 1, SEALED_BLOCK_BYTES_MAX] {
        let wanted = block(1, bytes);
        store.put(&wanted).expect("put");
        assert_eq!(store.get(&wanted.id(), ask()).expect("get"), Some(wanted));
    }
}

fn an_absent_block_is_none(store: Box<dyn BlockStore>) {
    store.put(&block(1, 100)).expect("put");
    let absent = block(2, 100).id();
    assert_eq!(store.get(&absent, ask()).expect("get"), None);
    assert!(!store.has(&absent).expect("has"));
    assert!(!store.claim(&absent).expect("claim"));
}

fn the_second_put_finds_the_block_known(store: Box<dyn BlockStore>) {
    let block = block(1, 100);
    assert_eq!(store.put(&block).expect("put"), Put::New);
    assert_eq!(store.put(&block).expect("put"), Put::Known);
    store.sync().expect("sync");
    assert_eq!(store.put(&block).expect("put"), Put::Known);
}

fn has_and_claim_agree_with_put(store: Box<dyn BlockStore>) {
    let block = block(1, 100);
    store.put(&block).expect("put");
    assert!(store.has(&block.id()).expect("has"));
    assert!(store.claim(&block.id()).expect("claim"));
}

fn a_late_ask_is_a_timeout_or_a_block(store: Box<dyn BlockStore>) {
    let block = block(1, 100);
    store.put(&block).expect("put");
    match store.get(&block.id(), Ask::now(Duration::ZERO)) {
        Ok(found) => assert_eq!(found, Some(block)),
        Err(error) => assert!(matches!(error, StoreError::Timeout { .. }), "{error}"),
    }
}

fn sync_changes_nothing_that_is_seen(store: Box<dyn BlockStore>) {
    let (first, second) = (block(1, 100), block(2, 100));
    store.put(&first).expect("put");
    store.sync().expect("sync");
    store.put(&second).expect("put");
    for block in [first, second] {
        assert_eq!(store.get(&block.id(), ask()).expect("get"), Some(block));
    }
}

fn an_empty_sync_succeeds(store: Box<dyn BlockStore>) {
    store.sync().expect("sync");
    store.sync().expect("sync");
}

fn threads_that_put_the_same_blocks_agree(store: Box<dyn BlockStore>) {
    const THREADS: usize = 4;
    const BLOCKS: usize = 100;
    let new = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..BLOCKS {
                    let block = block(n as u64, 1000);
                    if store.put(&block).expect("put") == Put::New {
                        new.fetch_add(1, Relaxed);
                    }
                    assert_eq!(store.get(&block.id(), ask()).expect("get"), Some(block));
                    if n % 10 == 0 {
                        store.sync().expect("sync");
                    }
                }
            });
        }
    });
    // Two that race may both be told New: both then wrote the same bytes.
    assert!((BLOCKS..=BLOCKS * THREADS).contains(&new.into_inner()));
}
