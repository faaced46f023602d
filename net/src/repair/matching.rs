//! How many shards of a pack count, if of each node only one does.

use std::collections::BTreeMap;

use cairn_block::DeviceId;

/// As many shards as can be, each with a node of its own that has it; the same for everybody who knows the same.
pub(super) fn count_one_each(held: &[(DeviceId, u8)]) -> BTreeMap<u8, DeviceId> {
    let mut nodes: BTreeMap<u8, Vec<DeviceId>> = BTreeMap::new();
    held.iter().for_each(|(node, shard)| nodes.entry(*shard).or_default().push(*node));
    let mut of_node = BTreeMap::new();
    for shard in nodes.keys() {
        give(*shard, &nodes, &mut of_node, &mut Vec::new());
    }
    of_node.into_iter().map(|(node, shard)| (shard, node)).collect()
}

/// Finds a node for a shard, moving others if need be: an augmenting path.
fn give(
    shard: u8,
    nodes: &BTreeMap<u8, Vec<DeviceId>>,
    of_node: &mut BTreeMap<DeviceId, u8>,
    tried: &mut Vec<DeviceId>,
) -> bool {
    for node in nodes.get(&shard).into_iter().flatten() {
        if tried.contains(node) {
            continue;
        }
        tried.push(*node);
        let other = of_node.get(node).copied();
        if other.is_none_or(|other| give(other, nodes, of_node, tried)) {
            of_node.insert(*node, shard);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_counts_once_and_as_many_shards_as_can_be_do() {
        let count = |held: &[(u8, u8)]| {
            let held: Vec<_> = held.iter().map(|(n, shard)| (DeviceId::from_bytes([*n; 32]), *shard)).collect();
            count_one_each(&held).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(count(&[(1, 0), (1, 1), (1, 2)]), [0]);
        assert_eq!(count(&[(1, 0), (1, 1), (2, 0)]), [0, 1]);
        assert_eq!(count(&[(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]), [0, 1]);
        assert_eq!(count(&[(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (4, 0)]), [0, 1, 2, 3]);
    }
}
