//! Where a node ends: after the first item that says so.
//!
//! Each item ends its node with a chance in proportion to its size, decided by a hash of the item, so that nodes come
//! out alike in bytes whether items are small or large. The chance is nil in short nodes, small up to the size aimed
//! for, greater above it, and one when another item might not fit. A cut depends on the items of its own node only;
//! two sequences that become equal are cut alike from the first common cut on, a node or two later.

use crate::limits::{MAP_KEY_BYTES_MAX, MAP_VALUE_BYTES_MAX, NODE_BYTES_MAX};
use crate::reference::Ref;

/// No node but the last of its level is shorter: inner nodes so branch at least 24-fold.
const NODE_BYTES_MIN: usize = 8 << 10;

/// From here on nodes end soon.
const NODE_BYTES_AIM: usize = 20 << 10;

/// From here on the next item ends its node, since the largest item might not fit after it.
const NODE_BYTES_FULL: usize = 47 << 10;

/// Mean bytes to the next cut below the aim.
const CUT_BYTES_RARE: u64 = 32 << 10;

/// Mean bytes to the next cut above it.
const CUT_BYTES_OFTEN: u64 = 5 << 10;

/// Largest items of each kind of node.
const LEAF_ITEM_BYTES_MAX: usize = 2 + 2 + MAP_KEY_BYTES_MAX + MAP_VALUE_BYTES_MAX;
const INNER_ITEM_BYTES_MAX: usize = 2 + MAP_KEY_BYTES_MAX + Ref::BYTES + 8;

const _: () = {
    assert!(NODE_BYTES_FULL + LEAF_ITEM_BYTES_MAX <= NODE_BYTES_MAX);
    assert!(NODE_BYTES_MIN / INNER_ITEM_BYTES_MAX >= 24);
};

/// Whether the node ends after its latest item, of `item_bytes`, which brought it to `node_bytes`.
pub(crate) fn ends(node_bytes: usize, item_bytes: usize, hash: impl FnOnce() -> u64) -> bool {
    if node_bytes < NODE_BYTES_MIN {
        return false;
    }
    if node_bytes >= NODE_BYTES_FULL {
        return true;
    }
    let mean = if node_bytes < NODE_BYTES_AIM { CUT_BYTES_RARE } else { CUT_BYTES_OFTEN };
    // hash / 2³² < item / mean, without a division; neither side exceeds 2⁴⁸.
    (hash() >> 32) * mean < (item_bytes as u64) << 32
}

/// The hash of an item with a key. The level is part of it: keys that ended nodes are the keys of the level above,
/// where they must be as good as fresh.
pub(crate) fn hash_key(level: u8, key: &[u8]) -> u64 {
    let mut hash = u64::from(level) << 32 | key.len() as u64;
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        hash = fold(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(fold(hash, u64::from_le_bytes(last)))
}

/// The hash of an item that is a ref and a number. Block ids are uniform: one word of them is enough.
pub(crate) fn hash_ref(reference: &Ref, number: u64) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *reference.id.as_bytes();
    mix(u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ number)
}

fn fold(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}

/// The finalizer of SplitMix64: every bit of the input moves every bit of the output.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}
