//! One group: who holds what of its 64 packs, and what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn_block::DeviceId;

use super::matching::count_one_each;
use super::{Config, GroupFacts, GroupId, Health, ShardOf, Standing};
use crate::code::{Code, Numbers};
use crate::placement::Anchors;

pub(super) struct Group {
    pub(super) facts: GroupFacts,
    /// For each node and shard the packs, by their bits.
    held: BTreeMap<(DeviceId, u8), u64>,
    /// Packs that came in at these times.
    came: Vec<(Duration, u64)>,
    /// Shards that were found wrong, and until when that is believed.
    wrong: BTreeMap<(DeviceId, ShardOf), Duration>,
    /// Since when each pack lacks shards.
    lacking: BTreeMap<u8, Duration>,
}

/// What a group is judged against.
pub(super) struct View<'a> {
    pub(super) me: DeviceId,
    pub(super) now: Duration,
    pub(super) config: &'a Config,
    pub(super) anchors: &'a Anchors,
    pub(super) standing: &'a dyn Fn(&DeviceId) -> Standing,
}

/// A shard that is missing.
#[derive(Clone)]
pub(super) struct Lack {
    pub(super) code: Code,
    pub(super) what: ShardOf,
    /// Shards that are there beyond k.
    pub(super) spare: usize,
    /// How many were drawn before this node to make it.
    pub(super) turn: usize,
    /// All shards that are there.
    pub(super) from: Vec<(DeviceId, u8)>,
    /// Everybody who has something of the pack and still counts.
    pub(super) holders: BTreeSet<DeviceId>,
    /// Those of them without whom as many shards would count: left over from repairs of holders that came back.
    pub(super) surplus: BTreeSet<DeviceId>,
    /// Bytes read and written.
    pub(super) cost: u64,
}

/// A shard of a pack at a node.
struct Held {
    node: DeviceId,
    shard: u8,
    standing: Standing,
    /// Whether the pack is safer for it: its node is an anchor, and it was not found wrong.
    counts: bool,
    is_wrong: bool,
}

/// Who has what of one pack.
#[derive(Default)]
struct OfPack {
    all: Vec<Held>,
}

impl OfPack {
    fn up_to(&self, worst: Standing) -> Vec<(DeviceId, u8)> {
        let counting = self.all.iter().filter(|held| held.counts && held.standing <= worst);
        counting.map(|held| (held.node, held.shard)).collect()
    }

    /// Shards that count; of each node one, or a node that says it has all of them would make a pack whole.
    fn counting(&self, worst: Standing) -> BTreeMap<u8, DeviceId> {
        count_one_each(&self.up_to(worst))
    }

    /// What can be read now, from whoever has it.
    fn sources(&self) -> Vec<(DeviceId, u8)> {
        let here = self.all.iter().filter(|held| held.standing == Standing::Here && !held.is_wrong);
        here.map(|held| (held.node, held.shard)).collect()
    }

    fn readable(&self) -> usize {
        self.sources().into_iter().map(|(_, shard)| shard).collect::<BTreeSet<_>>().len()
    }

    /// Everybody who is not to get another shard: also who has a wrong one.
    fn holders(&self) -> BTreeSet<DeviceId> {
        let expected = self.all.iter().filter(|held| held.standing < Standing::Overdue);
        expected.map(|held| held.node).collect()
    }
}

impl Group {
    pub(super) fn new(facts: GroupFacts, now: Duration) -> Self {
        let (held, wrong, lacking) = Default::default();
        Group { came: vec![(now, facts.packs)], facts, held, wrong, lacking }
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

    pub(super) fn found_wrong(&mut self, node: DeviceId, what: ShardOf, until: Duration) {
        // Only what it says it has: so there are no more of these than shards.
        if self
            .held
            .get(&(node, what.shard))
            .is_some_and(|packs| packs.checked_shr(what.pack.into()).unwrap_or(0) & 1 == 1)
        {
            self.wrong.insert((node, what), until);
        }
    }

    pub(super) fn proved(&mut self, node: DeviceId, what: ShardOf) {
        self.wrong.remove(&(node, what));
    }

    pub(super) fn forget(&mut self, node: &DeviceId) {
        self.held.retain(|(holder, _), _| holder != node);
    }

    /// What is missing of each pack, as far as it can be made and it is this node's turn.
    pub(super) fn lacks(&mut self, id: &GroupId, view: &View<'_>, health: &mut Health) -> Vec<Lack> {
        self.wrong.retain(|_, until| *until > view.now);
        let unsettled = self.unsettled(view.now, view.config.settle);
        let held = self.of_packs(view);
        let (packs, k) = (self.facts.packs, self.facts.code.data());
        self.lacking.retain(|pack, _| packs >> pack & 1 == 1);
        let mut lacks = Vec::new();
        for pack in (0..64_u8).filter(|pack| packs >> pack & 1 == 1) {
            let held = &held[usize::from(pack)];
            let left = held.counting(Standing::Here).len();
            // An hour is all that they get where one more loss would be one too many; else a day.
            let worst = if left <= k { Standing::Late } else { Standing::LateForUrgent };
            let expected = held.counting(worst);
            let missing: Vec<u8> =
                (0..self.facts.code.shards()).filter(|shard| !expected.contains_key(shard)).collect();
            if unsettled >> pack & 1 == 1 || missing.is_empty() {
                health.whole += 1;
                self.lacking.remove(&pack);
            } else if held.readable() < k {
                health.unreadable += 1;
            } else {
                health.degraded += 1;
                let since = *self.lacking.entry(pack).or_insert(view.now);
                lacks.extend(self.lacks_of(id, pack, &missing, left, held, since, view));
            }
        }
        lacks
    }

    /// For each pack who has what.
    fn of_packs(&self, view: &View<'_>) -> Vec<OfPack> {
        let mut of_packs: Vec<OfPack> = (0..64).map(|_| OfPack::default()).collect();
        for ((node, shard), packs) in &self.held {
            let (standing, is_anchor) = ((view.standing)(node), view.anchors.get(node).is_some());
            for (pack, of_pack) in (0..64_u8).zip(&mut of_packs).filter(|(pack, _)| packs >> pack & 1 == 1) {
                let is_wrong = self.wrong.contains_key(&(*node, ShardOf { pack, shard: *shard }));
                of_pack.all.push(Held {
                    node: *node,
                    shard: *shard,
                    standing,
                    counts: is_anchor && !is_wrong,
                    is_wrong,
                });
            }
        }
        of_packs
    }

    #[expect(clippy::too_many_arguments, reason = "one pack, as it was looked at")]
    fn lacks_of(
        &self,
        id: &GroupId,
        pack: u8,
        missing: &[u8],
        left: usize,
        held: &OfPack,
        since: Duration,
        view: &View<'_>,
    ) -> Vec<Lack> {
        let from = held.sources();
        // Who left the anchors makes shards only where nobody else can.
        let mut makers: Vec<DeviceId> = from.iter().map(|(node, _)| *node).collect();
        if makers.iter().any(|node| view.anchors.get(node).is_some()) {
            makers.retain(|node| view.anchors.get(node).is_some());
        }
        makers.sort_by_cached_key(|node| self.draw(id, pack, node));
        makers.dedup();
        let Some(turn) = makers.iter().position(|node| *node == view.me) else {
            return Vec::new();
        };
        if view.now.saturating_sub(since) < view.config.turn * u32::try_from(turn).unwrap_or(u32::MAX) {
            return Vec::new();
        }
        let counting = held.up_to(Standing::LateForUrgent);
        let all = count_one_each(&counting).len();
        let without = |node: &DeviceId| counting.iter().filter(|(other, _)| other != node).copied().collect::<Vec<_>>();
        let nodes: BTreeSet<DeviceId> = counting.iter().map(|(node, _)| *node).collect();
        let surplus = nodes.into_iter().filter(|node| count_one_each(&without(node)).len() == all).collect();
        let (code, k) = (self.facts.code, self.facts.code.data());
        let lack = Lack {
            code,
            what: ShardOf { pack, shard: 0 },
            spare: left.saturating_sub(k),
            turn,
            from,
            holders: held.holders(),
            surplus,
            cost: self.facts.shard_bytes.saturating_mul(k as u64 + 1),
        };
        missing.iter().map(|shard| Lack { what: ShardOf { pack, shard: *shard }, ..lack.clone() }).collect()
    }

    /// Draws lots between the holders of a pack; all of them draw the same.
    fn draw(&self, id: &GroupId, pack: u8, node: &DeviceId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(self.facts.key.as_bytes());
        hasher.update(b"maker").update(&id.number.to_le_bytes()).update(&[pack]).update(node.as_bytes());
        *hasher.finalize().as_bytes()
    }
}
