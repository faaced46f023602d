//! One group: who holds what of its 64 packs, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn_block::DeviceId;

use super::{GroupFacts, GroupId, Health, ShardOf, Standing};
use crate::code::Numbers;

pub(super) struct Group {
    pub(super) facts: GroupFacts,
    /// For each node and shard the packs, by their bits.
    held: BTreeMap<(DeviceId, u8), u64>,
    /// Packs that came in at these times.
    came: Vec<(Duration, u64)>,
}

/// A shard that is missing.
pub(super) struct Lack {
    pub(super) what: ShardOf,
    /// Shards that are there beyond k.
    pub(super) spare: usize,
    /// Who should make it.
    pub(super) maker: DeviceId,
    /// k shards that are there.
    pub(super) from: Vec<(DeviceId, u8)>,
    /// Everybody who has something of the pack and still counts.
    pub(super) holders: BTreeSet<DeviceId>,
    /// Those of them whose shards others have too: left over from repairs of holders that came back.
    pub(super) surplus: BTreeSet<DeviceId>,
    /// Bytes read and written.
    pub(super) cost: u64,
}

impl Group {
    pub(super) fn new(facts: GroupFacts, now: Duration) -> Self {
        Group { came: vec![(now, facts.packs)], facts, held: BTreeMap::new() }
    }

    pub(super) fn change(&mut self, facts: GroupFacts, now: Duration) {
        let new = facts.packs & !self.facts.packs;
        self.came.iter_mut().for_each(|(_, packs)| *packs &= facts.packs);
        // Each entry has a pack that no other one has: there are at most 64.
        self.came.retain(|(_, packs)| *packs != 0);
        if new != 0 {
            self.came.push((now, new));
        }
        self.facts = facts;
    }

    /// Packs that are too new here for anything to be missing.
    pub(super) fn unsettled(&self, now: Duration, settle: Duration) -> u64 {
        let new = self.came.iter().filter(|(came, _)| now.saturating_sub(*came) < settle);
        new.fold(0, |all, (_, packs)| all | packs)
    }

    pub(super) fn replace(&mut self, node: DeviceId, shards: &[(u8, u64)]) {
        self.forget(&node);
        let known = shards.iter().filter(|(shard, _)| usize::from(*shard) < self.facts.code.total());
        for (shard, packs) in known {
            self.held.insert((node, *shard), *packs);
        }
    }

    pub(super) fn add(&mut self, node: DeviceId, what: ShardOf) {
        if usize::from(what.shard) < self.facts.code.total() && what.pack < 64 {
            *self.held.entry((node, what.shard)).or_insert(0) |= 1 << what.pack;
        }
    }

    pub(super) fn forget(&mut self, node: &DeviceId) {
        self.held.retain(|(holder, _), _| holder != node);
    }

    /// What is missing of each pack, as far as it can be made.
    pub(super) fn lacks(
        &self,
        id: &GroupId,
        unsettled: u64,
        standing: &dyn Fn(&DeviceId) -> Standing,
        health: &mut Health,
    ) -> Vec<Lack> {
        let shards = self.facts.code.total();
        // Packs whose shard is here; expected back within the hour; expected back at all.
        let mut here = vec![0_u64; shards];
        let mut soon = vec![0_u64; shards];
        let mut later = vec![0_u64; shards];
        for ((node, shard), packs) in &self.held {
            let (at, standing) = (usize::from(*shard), standing(node));
            let count = |masks: &mut [u64], worst| masks[at] |= if standing <= worst { *packs } else { 0 };
            count(&mut here, Standing::Here);
            count(&mut soon, Standing::Late);
            count(&mut later, Standing::LateForUrgent);
        }
        let whole = later.iter().fold(u64::MAX, |all, mask| all & mask);
        let all_soon = soon.iter().fold(u64::MAX, |all, mask| all & mask);
        let mut lacks = Vec::new();
        for pack in (0..64).filter(|pack| self.facts.packs >> pack & 1 == 1) {
            let bit = 1_u64 << pack;
            if (whole & all_soon | unsettled) & bit != 0 {
                health.whole += 1;
                continue;
            }
            let left = here.iter().filter(|mask| **mask & bit != 0).count();
            let expected = if left <= self.facts.code.data() { &soon } else { &later };
            let missing: Vec<u8> = (0..shards as u8).filter(|shard| expected[usize::from(*shard)] & bit == 0).collect();
            match (missing.is_empty(), left < self.facts.code.data()) {
                (true, _) => health.whole += 1,
                (false, true) => health.unreadable += 1,
                (false, false) => {
                    health.degraded += 1;
                    lacks.extend(self.lack_of(id, pack as u8, &missing, left, standing));
                }
            }
        }
        lacks
    }

    fn lack_of(
        &self,
        id: &GroupId,
        pack: u8,
        missing: &[u8],
        left: usize,
        standing: &dyn Fn(&DeviceId) -> Standing,
    ) -> Vec<Lack> {
        let bit = 1_u64 << pack;
        let of_pack = || self.held.iter().filter(|(_, packs)| **packs & bit != 0).map(|(holder, _)| *holder);
        let here: Vec<(DeviceId, u8)> = of_pack().filter(|(node, _)| standing(node) == Standing::Here).collect();
        let counting: Vec<(DeviceId, u8)> = of_pack().filter(|(node, _)| standing(node) < Standing::Overdue).collect();
        let holders: BTreeSet<DeviceId> = counting.iter().map(|(node, _)| *node).collect();
        let is_alone = |shard: u8| counting.iter().filter(|(_, other)| *other == shard).count() == 1;
        let needed: BTreeSet<DeviceId> =
            counting.iter().filter(|(_, it)| is_alone(*it)).map(|(node, _)| *node).collect();
        let surplus: BTreeSet<DeviceId> = holders.difference(&needed).copied().collect();
        let by_shard: BTreeMap<u8, DeviceId> = here.iter().map(|(node, shard)| (*shard, *node)).collect();
        let k = self.facts.code.data();
        let from: Vec<_> = by_shard.into_iter().map(|(shard, node)| (node, shard)).take(k).collect();
        let Some((maker, _)) = here.iter().min_by_key(|(node, _)| self.draw(id, pack, node)) else {
            return Vec::new();
        };
        let lack = |shard: &u8| Lack {
            what: ShardOf { pack, shard: *shard },
            spare: left - k,
            maker: *maker,
            from: from.clone(),
            holders: holders.clone(),
            surplus: surplus.clone(),
            cost: self.facts.shard_bytes.saturating_mul(k as u64 + 1),
        };
        missing.iter().map(lack).collect()
    }

    /// Draws lots between the holders of a pack; all of them draw the same.
    fn draw(&self, id: &GroupId, pack: u8, node: &DeviceId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(self.facts.key.as_bytes());
        hasher.update(b"maker").update(&id.number.to_le_bytes()).update(&[pack]).update(node.as_bytes());
        *hasher.finalize().as_bytes()
    }
}
