//! What a store may show, written down with no regard for how one works.
//!
//! Every fact (a block is here, a head has these bytes, a delta has this block) is a [`Fact`]: its value now, and the
//! values that a crash at this moment may leave. A change adds to the latter, a sync reduces them to one, and
//! what a crash left is learned by looking.

use std::collections::BTreeMap;

use crate::testing::model::{BLOCKS, HeadKey};

/// A value that may change before it is durable.
#[derive(Debug, Clone)]
pub(super) struct Fact<T> {
    now: T,
    after_crash: Vec<T>,
}

impl<T: Clone + PartialEq + Default> Default for Fact<T> {
    fn default() -> Self {
        Self { now: T::default(), after_crash: vec![T::default()] }
    }
}

impl<T: Clone + PartialEq> Fact<T> {
    fn set(&mut self, value: T) {
        if !self.after_crash.contains(&value) {
            self.after_crash.push(value.clone());
        }
        self.now = value;
    }

    fn sync(&mut self) {
        self.after_crash = vec![self.now.clone()];
    }

    /// Learns what a crash left. `false` if it could not have.
    fn learn(&mut self, seen: T) -> bool {
        let is_possible = self.after_crash.contains(&seen);
        self.now = seen;
        self.sync();
        is_possible
    }
}

/// All facts about a store of the model's blocks, heads and journals.
#[derive(Debug, Clone, Default)]
pub(super) struct Spec {
    blocks: [Fact<bool>; BLOCKS],
    /// Removed by a sweep and not put since: may be back after any crash.
    swept: [bool; BLOCKS],
    heads: BTreeMap<HeadKey, Fact<Option<u8>>>,
    deltas: BTreeMap<(u8, u64), Fact<Option<usize>>>,
    /// The highest number each journal ever used.
    highest: BTreeMap<u8, u64>,
}

impl Spec {
    pub(super) fn has(&self, block: usize) -> bool {
        self.blocks[block].now
    }

    pub(super) fn put(&mut self, block: usize) {
        self.blocks[block].set(true);
        self.swept[block] = false;
    }

    pub(super) fn sync(&mut self) {
        self.blocks.iter_mut().for_each(Fact::sync);
        self.heads.values_mut().for_each(Fact::sync);
        self.deltas.values_mut().for_each(Fact::sync);
    }

    pub(super) fn head(&self, key: HeadKey) -> Option<u8> {
        self.heads.get(&key).and_then(|fact| fact.now)
    }

    pub(super) fn set_head(&mut self, key: HeadKey, value: Option<u8>) {
        self.heads.entry(key).or_default().set(value);
    }

    /// The heads of a volume, as (device, number, value).
    pub(super) fn heads(&self, volume: u8) -> Vec<(u8, u64, u8)> {
        let heads = self.heads.iter().filter(|(key, _)| key.volume == volume);
        heads.filter_map(|(key, fact)| Some((key.device, key.seq, fact.now?))).collect()
    }

    /// The untrimmed journal of a volume, as (number, block).
    pub(super) fn deltas(&self, volume: u8) -> Vec<(u64, usize)> {
        let deltas = self.deltas.range((volume, 0)..=(volume, u64::MAX));
        deltas.filter_map(|((_, seq), fact)| Some((*seq, fact.now?))).collect()
    }

    pub(super) fn highest(&self, volume: u8) -> u64 {
        self.highest.get(&volume).copied().unwrap_or(0)
    }

    pub(super) fn append(&mut self, volume: u8, seq: u64, block: usize) {
        self.put(block);
        self.deltas.entry((volume, seq)).or_default().set(Some(block));
        self.highest.insert(volume, seq);
    }

    pub(super) fn trim(&mut self, volume: u8, upto: u64) {
        for (_, fact) in self.deltas.range_mut((volume, 0)..=(volume, upto)) {
            fact.set(None);
        }
        self.highest.insert(volume, self.highest(volume).max(upto));
    }

    /// The blocks that a sweep takes which must keep `kept`.
    pub(super) fn garbage(&self, kept: impl Fn(usize) -> bool) -> Vec<usize> {
        let is_delta = |block| self.deltas.values().any(|fact| fact.now == Some(block));
        (0..BLOCKS).filter(|&block| self.has(block) && !kept(block) && !is_delta(block)).collect()
    }

    pub(super) fn remove(&mut self, block: usize) {
        self.blocks[block].set(false);
        self.swept[block] = true;
    }

    /// Learns whether a block survived a crash.
    pub(super) fn learn_block(&mut self, block: usize, seen: bool) -> bool {
        let is_garbage = self.swept[block];
        self.blocks[block].learn(seen) || is_garbage
    }

    /// Learns which heads survived. `false` if one of the facts could not have come about.
    pub(super) fn learn_heads(&mut self, seen: impl Fn(HeadKey) -> Option<u8>) -> bool {
        self.heads.iter_mut().all(|(key, fact)| fact.learn(seen(*key)))
    }

    /// Learns which deltas survived.
    pub(super) fn learn_deltas(&mut self, seen: impl Fn(u8, u64) -> Option<usize>) -> bool {
        self.deltas.iter_mut().all(|((volume, seq), fact)| fact.learn(seen(*volume, *seq)))
    }
}
