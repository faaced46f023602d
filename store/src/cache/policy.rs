//! What a cache keeps: W-TinyLFU, weighed in bytes.
//!
//! ```text
//! put ──> window (10 %) ──candidate──> wanted more than all it pushes out? ──no──> out
//!                                               │ yes
//!                                               v
//!                                      probation ⇄ protected (80 % of the rest)
//! ```
//! Each of the three is a recency list. Only an ask that counts moves an item; see [`Requester`].
//! Window and main part have their own byte limits that add up to the ceiling, so it holds by construction.

use std::hash::Hash;

use lru::LruCache;

use super::interest::{Interest, Requester};

/// The window's share of the ceiling: large enough for what is read twice in a row, small enough that
/// a scan costs the rest nothing.
const WINDOW_PERCENT: u64 = 10;
/// The share of the main part that one more ask earns; what falls out of it gets another chance in probation.
const PROTECTED_PERCENT: u64 = 80;

/// The measures of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyOptions {
    /// Never more bytes than this.
    pub ceiling_bytes: u64,
    /// The largest item expected; the window has room for one. Larger ones may be turned away.
    pub item_bytes_max: u64,
    /// About the size of most items: with the ceiling it sizes the memory of who was asked for.
    pub item_bytes_typical: u64,
}

/// Decides what stays, and holds it. Not shared: whoever owns it locks it.
pub struct Policy<K, V = ()> {
    interest: Interest,
    window: List<K, V>,
    probation: List<K, V>,
    protected: List<K, V>,
    limits: Limits,
}

/// How many bytes each part may hold.
#[derive(Clone, Copy)]
struct Limits {
    window: u64,
    main: u64,
    protected: u64,
}

impl Limits {
    fn new(ceiling: u64, item_max: u64) -> Self {
        let window = (ceiling / 100 * WINDOW_PERCENT).max(item_max).min(ceiling);
        let main = ceiling - window;
        Self { window, main, protected: main / 100 * PROTECTED_PERCENT }
    }
}

impl<K: Hash + Eq, V> Policy<K, V> {
    /// An empty cache.
    pub fn new(options: PolicyOptions) -> Self {
        let PolicyOptions { ceiling_bytes, item_bytes_max, item_bytes_typical } = options;
        Self {
            interest: Interest::new(ceiling_bytes / item_bytes_typical.max(1)),
            window: List::new(),
            probation: List::new(),
            protected: List::new(),
            limits: Limits::new(ceiling_bytes, item_bytes_max),
        }
    }

    /// The item, and the ask is noted, whether the item is here or not: that is what it is admitted by later.
    pub fn get(&mut self, key: &K, requester: Requester) -> Option<&V> {
        let hash = self.interest.hash(key);
        if self.interest.note(hash, requester) {
            self.promote(key);
        }
        self.peek(key)
    }

    /// The item; the ask leaves no trace.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let lists = [&self.protected, &self.probation, &self.window];
        lists.into_iter().find_map(|list| list.items.peek(key)).map(|item| &item.value)
    }

    /// Puts an item in, and returns what had to go. An item that is larger than the window comes straight back;
    /// any other stays at least until others follow it.
    #[must_use = "what was evicted may have to be deleted elsewhere"]
    pub fn put(&mut self, key: K, value: V, bytes: u64) -> Vec<(K, V)> {
        self.remove(&key);
        if bytes > self.limits.window {
            return vec![(key, value)];
        }
        let hash = self.interest.hash(&key);
        self.window.put(key, Item { value, bytes, hash });
        let mut evicted = Vec::new();
        while self.window.bytes > self.limits.window {
            match self.window.pop_lru() {
                Some((key, candidate)) => self.consider(key, candidate, &mut evicted),
                None => break,
            }
        }
        evicted
    }

    /// Takes an item out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let lists = [&mut self.protected, &mut self.probation, &mut self.window];
        lists.into_iter().find_map(|list| list.remove(key)).map(|(_, item)| item.value)
    }

    /// Lets go of the least wanted until at most `bytes` are held. The ceiling stays.
    #[must_use = "what was evicted may have to be deleted elsewhere"]
    pub fn shrink_to(&mut self, bytes: u64) -> Vec<(K, V)> {
        let mut evicted = Vec::new();
        while self.bytes() > bytes {
            let lists = [&mut self.window, &mut self.probation, &mut self.protected];
            match lists.into_iter().find_map(List::pop_lru) {
                Some((key, item)) => evicted.push((key, item.value)),
                None => break,
            }
        }
        evicted
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.window.bytes + self.main_bytes()
    }

    /// The most bytes ever held.
    pub fn ceiling_bytes(&self) -> u64 {
        self.limits.window + self.limits.main
    }

    /// Items held.
    pub fn len(&self) -> usize {
        self.window.items.len() + self.probation.items.len() + self.protected.items.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn main_bytes(&self) -> u64 {
        self.probation.bytes + self.protected.bytes
    }

    /// Moves an item up after an ask that counts.
    fn promote(&mut self, key: &K) {
        if self.window.items.promote(key) || self.protected.items.promote(key) {
            return;
        }
        let Some((key, item)) = self.probation.remove(key) else {
            return;
        };
        self.protected.put(key, item);
        while self.protected.bytes > self.limits.protected {
            match self.protected.pop_lru() {
                Some((key, item)) => self.probation.put(key, item),
                None => break,
            }
        }
    }

    /// Lets a candidate from the window into the main part, or not.
    fn consider(&mut self, key: K, candidate: Item<V>, evicted: &mut Vec<(K, V)>) {
        let Some(victims) = self.victims_of(&candidate) else {
            evicted.push((key, candidate.value));
            return;
        };
        for _ in 0..victims {
            let victim = self.probation.pop_lru().or_else(|| self.protected.pop_lru());
            evicted.extend(victim.map(|(key, item)| (key, item.value)));
        }
        self.probation.put(key, candidate);
    }

    /// How many of the least recent items make room for the candidate, if it is wanted more than all of them
    /// together: a large item has to be worth the many small ones it replaces.
    fn victims_of(&self, candidate: &Item<V>) -> Option<usize> {
        let room = self.limits.main - self.main_bytes();
        let mut missing = candidate.bytes.saturating_sub(room);
        if missing == 0 {
            return Some(0);
        }
        let mut advantage = self.interest.estimate(candidate.hash);
        let least_recent = self.probation.items.iter().rev().chain(self.protected.items.iter().rev());
        for (count, (_, victim)) in (1..).zip(least_recent) {
            advantage = advantage.saturating_sub(self.interest.estimate(victim.hash));
            if advantage == 0 {
                return None;
            }
            missing = missing.saturating_sub(victim.bytes);
            if missing == 0 {
                return Some(count);
            }
        }
        None
    }
}

/// An item and what it weighs.
struct Item<V> {
    value: V,
    bytes: u64,
    hash: u64,
}

/// A recency list that knows its bytes.
struct List<K, V> {
    items: LruCache<K, Item<V>>,
    bytes: u64,
}

impl<K: Hash + Eq, V> List<K, V> {
    fn new() -> Self {
        Self { items: LruCache::unbounded(), bytes: 0 }
    }

    /// Puts in an item whose key is not in the list.
    fn put(&mut self, key: K, item: Item<V>) {
        self.bytes += item.bytes;
        self.items.put(key, item);
    }

    fn pop_lru(&mut self) -> Option<(K, Item<V>)> {
        let popped = self.items.pop_lru()?;
        self.bytes -= popped.1.bytes;
        Some(popped)
    }

    fn remove(&mut self, key: &K) -> Option<(K, Item<V>)> {
        let removed = self.items.pop_entry(key)?;
        self.bytes -= removed.1.bytes;
        Some(removed)
    }
}
