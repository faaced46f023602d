//! What a cache keeps, and that it never keeps more than it may.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use cairn_store::cache::{CacheStore, MemoryBacking, Policy, PolicyOptions, Requester};
use cairn_store::faulty::{Call, Fault, Rule};
use cairn_store::testing::{ask, block};
use cairn_store::{Ask, BlockStore, FaultyStore, Put};
use lru::LruCache;
use proptest::prelude::*;

/// A cache of about this many equal items.
const ITEMS: u64 = 1000;
const ITEM_BYTES: u64 = 64 << 10;

fn policy() -> Policy<u64> {
    Policy::new(PolicyOptions {
        ceiling_bytes: ITEMS * ITEM_BYTES,
        item_bytes_max: ITEM_BYTES,
        item_bytes_typical: ITEM_BYTES,
    })
}

/// Reads through the cache, as a node would: what is not there is fetched and put. Whether it was there.
fn read(policy: &mut Policy<u64>, key: u64, requester: Requester) -> bool {
    let is_hit = policy.get(&key, requester).is_some();
    if !is_hit {
        let _ = policy.put(key, (), ITEM_BYTES);
    }
    is_hit
}

/// The share of `keys` that is here, in per cent.
fn percent_kept(policy: &Policy<u64>, keys: std::ops::Range<u64>) -> u64 {
    let count = keys.end - keys.start;
    keys.filter(|key| policy.peek(key).is_some()).count() as u64 * 100 / count
}

#[test]
fn a_hot_set_survives_a_scan_of_ten_times_the_cache() {
    let hot = 0..ITEMS * 7 / 10;
    let scan = 1_000_000..1_000_000 + 10 * ITEMS;
    let mut policy = policy();
    let mut lru = LruCache::new(NonZeroUsize::new(ITEMS as usize).expect("not zero"));
    for key in (0..4).flat_map(|_| hot.clone()).chain(scan) {
        read(&mut policy, key, Requester::Own);
        lru.put(key, ());
    }
    let kept = percent_kept(&policy, hot.clone());
    let kept_by_lru = hot.filter(|key| lru.contains(key)).count();
    println!("of the hot set {kept} % stay; a plain LRU keeps {kept_by_lru} items");
    assert!(kept >= 97, "only {kept} % stay");
    assert_eq!(kept_by_lru, 0);
}

#[test]
fn a_scan_by_many_peers_does_no_more_than_one_by_ourselves() {
    let hot = 0..ITEMS * 7 / 10;
    let mut policy = policy();
    for key in (0..4).flat_map(|_| hot.clone()) {
        read(&mut policy, key, Requester::Own);
    }
    for key in 1_000_000..1_000_000 + 10 * ITEMS {
        for _ in 0..10 {
            read(&mut policy, key, Requester::Peer(key % 50));
        }
    }
    let kept = percent_kept(&policy, hot);
    assert!(kept >= 97, "only {kept} % stay");
}

#[test]
fn yesterdays_favourites_make_room_for_todays() {
    let mut policy = policy();
    let (old, new) = (0..ITEMS * 7 / 10, 5_000..5_000 + ITEMS * 7 / 10);
    for key in (0..20).flat_map(|_| old.clone()) {
        read(&mut policy, key, Requester::Own);
    }
    for key in (0..40).flat_map(|_| new.clone()) {
        read(&mut policy, key, Requester::Own);
    }
    let kept = percent_kept(&policy, new);
    assert!(kept >= 95, "only {kept} % of what is wanted now");
}

#[test]
fn a_skewed_load_hits_more_often_than_in_a_plain_lru() {
    let mut policy = policy();
    let mut lru = LruCache::new(NonZeroUsize::new(ITEMS as usize).expect("not zero"));
    let (mut hits, mut lru_hits) = (0, 0);
    const ASKS: u64 = 300_000;
    for n in 0..ASKS {
        let key = skewed_key(n);
        hits += u64::from(read(&mut policy, key, Requester::Own));
        lru_hits += u64::from(lru.put(key, ()).is_some());
    }
    println!("hits: {} %, of a plain LRU: {} %", hits * 100 / ASKS, lru_hits * 100 / ASKS);
    assert!(hits > lru_hits);
}

/// A key of 100,000: the `k`th is wanted in proportion to 1/k.
fn skewed_key(n: u64) -> u64 {
    let hash = *blake3::hash(&n.to_le_bytes()).as_bytes();
    let [a, b, c, d, ..] = hash;
    let uniform = f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX);
    (100_000_f64).powf(uniform) as u64
}

#[test]
fn one_peer_asking_a_hundred_times_moves_nothing() {
    let mut policy = policy();
    for key in 0..2 * ITEMS {
        for peer in 0..3 {
            read(&mut policy, key % ITEMS, Requester::Peer(peer));
        }
    }
    let pushy = 1_000_000;
    for _ in 0..100 {
        policy.get(&pushy, Requester::Peer(7));
    }
    let _ = policy.put(pushy, (), ITEM_BYTES);
    for key in 2_000_000..2_000_000 + ITEMS / 5 {
        read(&mut policy, key, Requester::Own);
    }
    assert!(policy.peek(&pushy).is_none(), "one peer pinned a block");
}

#[test]
fn what_two_peers_want_outlasts_what_one_wants_a_hundred_times() {
    let mut policy = policy();
    for key in 0..ITEMS {
        read(&mut policy, key, Requester::Own);
    }
    let (pushy, popular) = (1_000_000, 1_000_001);
    for n in 0..100 {
        policy.get(&pushy, Requester::Peer(1));
        policy.get(&popular, Requester::Peer(n));
    }
    for key in [pushy, popular] {
        let _ = policy.put(key, (), ITEM_BYTES);
    }
    for key in 2_000_000..2_000_000 + ITEMS / 5 {
        read(&mut policy, key, Requester::Own);
    }
    assert!(policy.peek(&popular).is_some());
    assert!(policy.peek(&pushy).is_none());
}

proptest! {
    #[test]
    fn the_ceiling_holds_and_nothing_gets_lost(
        ceiling in 0..5000_u64,
        steps in prop::collection::vec((0..60_u64, 0..700_u64, 0..4_u8), 1..400),
    ) {
        let mut policy = Policy::new(PolicyOptions {
            ceiling_bytes: ceiling,
            item_bytes_max: 500,
            item_bytes_typical: 100,
        });
        let mut shadow = HashMap::new();
        for (key, bytes, kind) in steps {
            let evicted = match kind {
                0 => {
                    prop_assert_eq!(policy.get(&key, Requester::Own), shadow.get(&key));
                    Vec::new()
                }
                1 => {
                    prop_assert_eq!(policy.remove(&key), shadow.remove(&key));
                    Vec::new()
                }
                2 if bytes < 100 => policy.shrink_to(bytes * 50),
                _ => {
                    shadow.insert(key, bytes);
                    policy.put(key, bytes, bytes)
                }
            };
            for (key, bytes) in evicted {
                prop_assert_eq!(shadow.remove(&key), Some(bytes));
            }
            prop_assert_eq!(policy.len(), shadow.len());
            prop_assert_eq!(policy.bytes(), shadow.values().sum::<u64>());
            prop_assert!(policy.bytes() <= ceiling);
        }
    }
}

const CEILING: u64 = 4 << 20;

fn open<B: cairn_store::cache::CacheBacking>(backing: B) -> CacheStore<B> {
    CacheStore::open(backing, CEILING).expect("open")
}

#[test]
fn the_bytes_kept_never_exceed_the_ceiling_while_threads_write() {
    let cache = open(MemoryBacking::new());
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..200 {
                    let block = block(thread * 150 + n, 10_000 + n as usize * 100);
                    cache.get(&block.id(), ask()).expect("get");
                    cache.put(&block).expect("put");
                    assert!(cache.backing().bytes() <= CEILING);
                }
            });
        }
    });
    let stats = cache.stats();
    assert!(stats.bytes <= stats.ceiling_bytes && stats.ceiling_bytes == CEILING);
    assert!(stats.evicted > 0 && stats.blocks > 50, "{stats:?}");
    assert!(cache.backing().bytes() < stats.bytes, "overhead is charged for");
}

#[test]
fn a_block_that_was_just_put_is_there() {
    let cache = open(MemoryBacking::new());
    for n in 0..50 {
        let block = block(n, 1 << 20);
        assert_eq!(cache.put(&block).expect("put"), Put::New);
        assert_eq!(cache.get(&block.id(), ask()).expect("get"), Some(block));
    }
}

#[test]
fn hits_and_misses_count_only_where_somebody_waits() {
    let cache = open(MemoryBacking::new());
    let block = block(1, 1000);
    let id = block.id();
    cache.get(&id, ask()).expect("get");
    cache.put(&block).expect("put");
    cache.get(&id, ask()).expect("get");
    cache.get_for(Requester::Peer(3), &id, ask()).expect("get");
    let background = Ask::background(std::time::Duration::from_secs(9));
    assert!(cache.get(&id, background).expect("get").is_some());
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (2, 1));
}

#[test]
fn a_reopened_cache_keeps_what_fits() {
    let backing = MemoryBacking::new();
    for n in 0..30 {
        backing.put(&block(n, 400_000)).expect("put");
    }
    let cache = open(backing);
    assert!(cache.backing().bytes() <= CEILING);
    let stats = cache.stats();
    assert_eq!(stats.blocks + stats.evicted, 30);
    assert!(stats.blocks >= 8, "{stats:?}");
}

#[test]
fn a_cache_that_cannot_delete_takes_nothing_in() {
    let cache = open(FaultyStore::new(MemoryBacking::new(), 1));
    cache.backing().faults().add(Rule::from(Call::Evict, 1, Fault::Io));
    let failures = (0..100).filter(|n| cache.put(&block(*n, 100_000)).is_err()).count();
    assert!(failures > 50);
    assert!(cache.backing().inner().bytes() <= CEILING);
    cache.backing().faults().clear();
    for n in 100..200 {
        cache.put(&block(n, 100_000)).expect("put");
        assert!(cache.backing().inner().bytes() <= CEILING);
    }
}

#[test]
fn a_write_that_failed_leaves_nothing_behind() {
    let cache = open(FaultyStore::new(MemoryBacking::new(), 1));
    cache.backing().faults().add(Rule::nth(Call::Put, 1, Fault::Full));
    let block = block(1, 1000);
    assert!(cache.put(&block).is_err_and(|error| error.is_full()));
    assert!(!cache.has(&block.id()).expect("has"));
    assert_eq!(cache.stats().bytes, 0);
    assert_eq!(cache.put(&block).expect("put"), Put::New);
}

#[test]
fn a_damaged_block_is_a_miss() {
    let cache = open(FaultyStore::new(MemoryBacking::new(), 1));
    let block = block(1, 1000);
    cache.put(&block).expect("put");
    cache.backing().faults().add(Rule::nth(Call::Get, 1, Fault::Damage));
    assert_eq!(cache.get(&block.id(), ask()).expect("get"), None);
    cache.put(&block).expect("put");
    assert_eq!(cache.get(&block.id(), ask()).expect("get"), Some(block));
}

#[test]
fn a_block_that_the_backing_lost_is_forgotten() {
    let cache = open(MemoryBacking::new());
    let block = block(1, 1000);
    cache.put(&block).expect("put");
    cairn_store::cache::CacheBacking::evict(cache.backing(), &[block.id()]).expect("evict");
    assert_eq!(cache.get(&block.id(), ask()).expect("get"), None);
    assert_eq!(cache.stats().bytes, 0);
    assert_eq!(cache.put(&block).expect("put"), Put::New);
}
