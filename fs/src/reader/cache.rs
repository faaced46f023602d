//! A cache that other threads may use, over the store's policy of what to keep.

use std::hash::Hash;

use cairn_store::Priority;
use cairn_store::cache::{Policy, PolicyOptions, Requester};

use crate::sync::Mutex;

/// What an entry costs beyond its value: key, links, table slot. Keeps many small entries from hiding their price.
const ENTRY_BYTES: usize = 192;

/// Values by key, as many bytes as allowed, the least wanted out first. A scan passes through without a trace.
pub(super) struct Cache<K, V> {
    policy: Mutex<Policy<K, V>>,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// A cache of at most `bytes_max`, made for values of about `typical` and at most `largest` bytes.
    pub(super) fn new(bytes_max: usize, typical: usize, largest: usize) -> Self {
        let policy = Policy::new(PolicyOptions {
            ceiling_bytes: bytes_max as u64,
            item_bytes_max: (largest + ENTRY_BYTES) as u64,
            item_bytes_typical: (typical + ENTRY_BYTES) as u64,
        });
        Self { policy: Mutex::new(policy) }
    }

    /// The value, if it is here. Background work does not count as interest in it.
    pub(super) fn get(&self, key: &K, priority: Priority) -> Option<V> {
        let requester = match priority {
            Priority::Now | Priority::Ahead => Requester::Own,
            Priority::Background => Requester::Nobody,
        };
        self.policy.lock().get(key, requester).cloned()
    }

    /// Keeps a value; what has to go for it is dropped after the lock is.
    pub(super) fn put(&self, key: K, value: V, value_bytes: usize) {
        let evicted = self.policy.lock().put(key, value, (value_bytes + ENTRY_BYTES) as u64);
        drop(evicted);
    }

    /// Drops the least wanted until at most `bytes` are left.
    pub(super) fn shrink_to(&self, bytes: usize) {
        let evicted = self.policy.lock().shrink_to(bytes as u64);
        drop(evicted);
    }

    pub(super) fn bytes(&self) -> usize {
        self.policy.lock().bytes() as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn bytes_never_exceed_the_bound_and_shrink_on_demand() {
        let cache = Cache::new(MIB, 1000, 64 << 10);
        for key in 0..5000_usize {
            cache.put(key % 3000, (), key % 9000);
            assert!(cache.bytes() <= MIB);
        }
        cache.shrink_to(10_000);
        assert!(cache.bytes() <= 10_000);
    }

    #[test]
    fn a_scan_does_not_push_out_what_is_used() {
        let cache = Cache::new(MIB, 1000, 1000);
        for round in 0..4 {
            for key in 0..400 {
                if cache.get(&key, Priority::Now).is_none() {
                    assert!(round < 3, "{key} was not kept");
                    cache.put(key, (), 1000);
                }
            }
        }
        for key in 10_000..20_000 {
            assert!(cache.get(&key, Priority::Ahead).is_none());
            cache.put(key, (), 1000);
        }
        let kept = (0..400).filter(|key| cache.get(key, Priority::Now).is_some()).count();
        assert!(kept > 350, "{kept} of 400");
    }
}
