//! The trees as `docs/FORMAT.md` describes them, written from that page alone and as plainly as it goes.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_block::{Extent, FileRoot, Kind, MapRoot, Ref, file_tree, map_tree};
use proptest::prelude::*;

use crate::memory::Memory;

/// An item of a level: its bytes, its hash, and what the level above says of the node that ends with it.
struct Item {
    bytes: Vec<u8>,
    hash: u64,
    last_key: Vec<u8>,
    /// Entries, or bytes of the file.
    sum: u64,
    allocated: u64,
}

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hash_key(level: u64, key: &[u8]) -> u64 {
    let mut padded = key.to_vec();
    padded.resize((key.len() / 8 + 1) * 8, 0);
    let mut x = (level << 32) | key.len() as u64;
    for word in padded.chunks(8) {
        x = (x ^ u64::from_le_bytes(word.try_into().unwrap())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 32;
    }
    mix(x)
}

fn hash_id(reference: &Ref, number: u64) -> u64 {
    mix(u64::from_le_bytes(reference.id.as_bytes()[..8].try_into().unwrap()) ^ number)
}

fn node_ends(n: u64, s: u64, h: u64) -> bool {
    match n {
        0..=8_191 => false,
        8_192..=20_479 => (h >> 32) * 32_768 < s << 32,
        20_480..=48_127 => (h >> 32) * 5_120 < s << 32,
        48_128.. => true,
    }
}

/// Cuts a level into nodes and makes the level above of them, until one node is left.
fn tree(memory: &Memory, kind: Kind, mut items: Vec<Item>) -> Option<(Ref, u8)> {
    for level in 0.. {
        let mut nodes: Vec<Vec<Item>> = Vec::new();
        let mut n = 0;
        let mut ended = true;
        for item in items {
            if ended {
                nodes.push(Vec::new());
                n = 3;
            }
            n += item.bytes.len() as u64;
            ended = node_ends(n, item.bytes.len() as u64, item.hash);
            nodes.last_mut().unwrap().push(item);
        }
        let count = nodes.len();
        let above: Vec<(Ref, Item)> = nodes.iter().map(|node| parent_item(memory, kind, level, node)).collect();
        match count {
            0 => return None,
            1 => return Some((above[0].0.clone(), level)),
            _ => items = above.into_iter().map(|(_, item)| item).collect(),
        }
    }
    None
}

fn parent_item(memory: &Memory, kind: Kind, level: u8, node: &[Item]) -> (Ref, Item) {
    let mut payload = vec![level];
    payload.extend((node.len() as u16).to_le_bytes());
    node.iter().for_each(|item| payload.extend(&item.bytes));
    let reference = memory.insert(kind, &payload);
    let last_key = node.last().unwrap().last_key.clone();
    let sum = node.iter().map(|item| item.sum).sum();
    let allocated = node.iter().map(|item| item.allocated).sum();
    let mut bytes = Vec::new();
    let hash = if kind == Kind::MapNode {
        bytes.extend((last_key.len() as u16).to_le_bytes());
        bytes.extend(&last_key);
        bytes.extend(reference.to_bytes());
        bytes.extend(u64::to_le_bytes(sum));
        hash_key(u64::from(level) + 1, &last_key)
    } else {
        bytes.extend(u64::to_le_bytes(sum));
        bytes.extend(u64::to_le_bytes(allocated));
        bytes.extend(reference.to_bytes());
        hash_id(&reference, sum)
    };
    (reference, Item { bytes, hash, last_key, sum, allocated })
}

fn leaf_item(key: &[u8], value: &[u8]) -> Item {
    let mut bytes = Vec::new();
    bytes.extend((key.len() as u16).to_le_bytes());
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend(key);
    bytes.extend(value);
    Item { bytes, hash: hash_key(0, key), last_key: key.to_vec(), sum: 1, allocated: 0 }
}

fn extent_item(extent: &Extent) -> Item {
    let mut bytes = Vec::new();
    let (hash, sum, allocated) = match extent {
        Extent::Hole { len } => {
            bytes.push(0);
            bytes.extend(len.to_le_bytes());
            (u64::MAX, *len, 0)
        }
        Extent::Chunk { len, chunk_off, chunk } => {
            bytes.push(1);
            bytes.extend(len.to_le_bytes());
            bytes.extend(chunk_off.to_le_bytes());
            bytes.extend(chunk.to_bytes());
            let len = u64::from(*len);
            (hash_id(chunk, (len << 32) | u64::from(*chunk_off)), len, len)
        }
    };
    Item { bytes, hash, last_key: Vec::new(), sum, allocated }
}

/// Pseudo-random bytes of a seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_map_is_cut_as_the_page_says(seed: u64, count in 0..20_000_u64, key_max in 2..263_u64, value_max in 1..600_u64) {
        let memory = Memory::default();
        let entries: BTreeMap<Vec<u8>, Vec<u8>> = (0..count)
            .map(|number| {
                let random = mix(seed ^ number);
                let key = noise(random, 1 + (random % key_max) as usize);
                (key, noise(!random, (random >> 32) as usize % value_max as usize))
            })
            .collect();
        let root = tree(&memory, Kind::MapNode, entries.iter().map(|(key, value)| leaf_item(key, value)).collect());
        let wanted = root.map_or(MapRoot::EMPTY, |(root, level)| {
            MapRoot { root: Some(root), level, count: entries.len() as u64 }
        });
        let changes: Vec<_> = entries.into_iter().map(|(key, value)| (key, Some(Bytes::from(value)))).collect();
        let built = map_tree::edit(&mut &memory, &mut &memory, &MapRoot::EMPTY, &changes).unwrap();
        prop_assert_eq!(built, wanted);
    }

    #[test]
    fn a_file_is_cut_as_the_page_says(seed: u64, count in 0..30_000_u64, holes in 2..100_u64) {
        let memory = Memory::default();
        let extents: Vec<_> = (0..count)
            .map(|number| {
                let random = mix(seed ^ number);
                // Every other extent at most is a hole, and no chunk is used twice.
                if number % 2 == 1 && random.is_multiple_of(holes) {
                    return Extent::Hole { len: 1 + random % 100_000 };
                }
                let mut chunk = memory.insert(Kind::Data, &random.to_le_bytes());
                chunk.len = 1_000;
                Extent::Chunk { len: 1 + (random >> 32) as u32 % 900, chunk_off: random as u32 % 100, chunk }
            })
            .collect();
        let wanted = tree(&memory, Kind::FileNode, extents.iter().map(extent_item).collect())
            .map(|(root, level)| FileRoot { root, level, fixed: true });
        let built = file_tree::build(&mut &memory, extents, true).unwrap();
        prop_assert_eq!(built.root, wanted);
    }
}
