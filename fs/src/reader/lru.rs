//! Least recently used first out, weighed in bytes.

use std::hash::Hash;

use lru::LruCache;

/// What an entry costs beyond its value: key, links, table slot. Keeps many small entries from hiding their price.
const ENTRY_BYTES: usize = 160;

struct Weighed<V> {
    value: V,
    bytes: usize,
}

/// A map that holds at most so many bytes and drops what wasn't used for longest.
pub(super) struct ByteLru<K: Hash + Eq, V> {
    entries: LruCache<K, Weighed<V>>,
    bytes: usize,
    bytes_max: usize,
}

impl<K: Hash + Eq, V> ByteLru<K, V> {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, bytes_max }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Keeps `value`. One that is larger than everything allowed is not kept at all.
    pub(super) fn put(&mut self, key: K, value: V, value_bytes: usize) {
        let bytes = value_bytes + ENTRY_BYTES;
        if bytes > self.bytes_max {
            return;
        }
        if let Some(old) = self.entries.put(key, Weighed { value, bytes }) {
            self.bytes -= old.bytes;
        }
        self.bytes += bytes;
        self.evict_to(self.bytes_max);
    }

    /// Drops the oldest until at most `bytes` are left, and gives the table's memory back.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.evict_to(bytes);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict_to(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.entries.pop_lru() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = ByteLru::new(2 * (100 + ENTRY_BYTES));
        cache.put("a", 1, 100);
        cache.put("b", 2, 100);
        assert_eq!(cache.get(&"a"), Some(&1));
        cache.put("c", 3, 100);
        assert_eq!((cache.get(&"a"), cache.get(&"b"), cache.get(&"c")), (Some(&1), None, Some(&3)));
    }

    #[test]
    fn bytes_never_exceed_the_bound() {
        let mut cache = ByteLru::new(10_000);
        for key in 0..1000_usize {
            cache.put(key % 37, (), key % 900);
            assert!(cache.bytes() <= 10_000);
        }
        cache.shrink_to(0);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_value_larger_than_the_cache_pushes_nothing_out() {
        let mut cache = ByteLru::new(1000);
        cache.put(1, (), 100);
        cache.put(2, (), 2000);
        assert!(cache.get(&1).is_some() && cache.get(&2).is_none());
    }

    #[test]
    fn the_same_key_again_replaces_its_weight() {
        let mut cache = ByteLru::new(1000);
        cache.put(1, (), 100);
        cache.put(1, (), 300);
        assert_eq!(cache.bytes(), 300 + ENTRY_BYTES);
    }
}
