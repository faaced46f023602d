//! A large set of block ids.

use std::collections::HashSet;

use cairn_block::BlockId;

/// Sets beside each other, so that growing copies a small part at a time.
const SHARDS: usize = 64;

/// Half of an id names it: two of 2⁴⁰ blocks share it with a chance of one in 2⁴⁸, and whoever could make two collide
/// on purpose would have made both. Seventeen bytes a block instead of thirty-three.
type Half = [u8; 16];

/// Ids by their first half.
#[derive(Debug)]
pub(crate) struct Marks {
    shards: Vec<HashSet<Half>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| HashSet::new()).collect() }
    }
}

impl Marks {
    pub(crate) fn insert(&mut self, id: &BlockId) {
        let (shard, half) = split(id);
        self.shards[shard].insert(half);
    }

    pub(crate) fn contains(&self, id: &BlockId) -> bool {
        let (shard, half) = split(id);
        self.shards[shard].contains(&half)
    }
}

fn split(id: &BlockId) -> (usize, Half) {
    let bytes = id.as_bytes();
    let mut half = Half::default();
    half.copy_from_slice(&bytes[..16]);
    (usize::from(bytes[16]) % SHARDS, half)
}
