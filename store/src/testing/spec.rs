//! What a store may show, written down with no regard for how one works.
//!
//! Every fact (a block is here, a head has these bytes, a delta has this block) is a [`Fact`]: its value now, and the
//! values that a crash at this moment may leave. A change adds to the latter, a sync reduces them to one, and
//! what a crash left is learned by looking.

use std::collections::BTreeMap;

use super::op::{BLOCKS, HeadKey};

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
        self.may_become(value.clone());
        self.now = value;
    }

    fn may_become(&mut self, value: T) {
        if !self.after_crash.contains(&value) {
            self.after_crash.push(value);
        }
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

/// What a store has of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing.
    #[default]
    Not,
    /// Its bytes.
    Sound,
    /// Other bytes, which the store knows: it is asked right after they changed.
    Damaged,
}

/// All facts about a store of the model's blocks, heads, journals and hints.
#[derive(Debug, Clone, Default)]
pub(super) struct Spec {
    blocks: [Fact<Kept>; BLOCKS],
    /// Removed by a sweep and not durably put since: may be back after any crash, and whenever the index is made anew.
    swept: [bool; BLOCKS],
    /// Damaged since it was last synced whole. The last records of a log may go with a crash, if they are damaged.
    harmed: [bool; BLOCKS],
    /// Was in a journal once: a second record of it may lie in the log, and is found when the index is made anew.
    doubled: [bool; BLOCKS],
    heads: BTreeMap<HeadKey, Fact<Option<u8>>>,
    deltas: BTreeMap<(u8, u64), Fact<Option<usize>>>,
    /// The highest number each journal ever used.
    highest: BTreeMap<u8, u64>,
    /// The last value put under each key. A store may forget any.
    hints: BTreeMap<u8, u8>,
}

impl Spec {
    pub(super) fn kept(&self, block: usize) -> Kept {
        self.blocks[block].now
    }

    pub(super) fn has(&self, block: usize) -> bool {
        self.kept(block) == Kept::Sound
    }

    pub(super) fn put(&mut self, block: usize) {
        self.blocks[block].set(Kept::Sound);
    }

    pub(super) fn damage(&mut self, block: usize) {
        self.blocks[block].now = Kept::Damaged;
        self.blocks[block].sync();
        self.harmed[block] = true;
    }

    pub(super) fn sync(&mut self) {
        self.blocks.iter_mut().for_each(Fact::sync);
        self.heads.values_mut().for_each(Fact::sync);
        self.deltas.values_mut().for_each(Fact::sync);
        for (harmed, fact) in self.harmed.iter_mut().zip(&self.blocks) {
            *harmed &= fact.now == Kept::Damaged;
        }
        // A put that a crash may still take leaves what was swept before.
        for (swept, fact) in self.swept.iter_mut().zip(&self.blocks) {
            *swept &= fact.now != Kept::Sound;
        }
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

    /// Whether a journal holds the block, or may after a crash.
    pub(super) fn is_delta(&self, block: usize) -> bool {
        self.deltas.values().any(|fact| fact.now == Some(block) || fact.after_crash.contains(&Some(block)))
    }

    pub(super) fn highest(&self, volume: u8) -> u64 {
        self.highest.get(&volume).copied().unwrap_or(0)
    }

    pub(super) fn append(&mut self, volume: u8, seq: u64, block: usize) {
        self.put(block);
        self.doubled[block] = true;
        self.deltas.entry((volume, seq)).or_default().set(Some(block));
        self.highest.insert(volume, seq);
    }

    pub(super) fn trim(&mut self, volume: u8, upto: u64) {
        for (_, fact) in self.deltas.range_mut((volume, 0)..=(volume, upto)) {
            fact.set(None);
        }
        self.highest.insert(volume, self.highest(volume).max(upto));
        // What was trimmed for good is of no more interest; a long history would be slow with it.
        self.deltas.retain(|_, fact| fact.now.is_some() || fact.after_crash.iter().any(Option::is_some));
    }

    pub(super) fn set_hint(&mut self, key: u8, value: u8) {
        self.hints.insert(key, value);
    }

    pub(super) fn hint(&self, key: u8) -> Option<u8> {
        self.hints.get(&key).copied()
    }

    /// The blocks that a sweep takes which must keep `kept`.
    pub(super) fn garbage(&self, kept: impl Fn(usize) -> bool) -> Vec<usize> {
        let is_delta = |block| self.deltas.values().any(|fact| fact.now == Some(block));
        (0..BLOCKS).filter(|&block| self.kept(block) != Kept::Not && !kept(block) && !is_delta(block)).collect()
    }

    pub(super) fn remove(&mut self, block: usize) {
        self.blocks[block].set(Kept::Not);
        self.swept[block] = true;
    }

    /// Learns what a crash left of a block.
    pub(super) fn learn_block(&mut self, block: usize, seen: Kept) -> bool {
        let may_be = match seen {
            // The last records of a log, if they are damaged, look like records that never were.
            Kept::Not => self.harmed[block],
            // A damaged record may be back where a sound one is lost, and all that was swept.
            Kept::Damaged => self.harmed[block],
            Kept::Sound => self.harmed[block] && self.doubled[block],
        };
        let is_garbage = self.swept[block];
        let is_possible = self.blocks[block].learn(seen);
        self.harmed[block] = seen == Kept::Damaged;
        self.swept[block] &= seen != Kept::Sound;
        is_possible || is_garbage || may_be
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
