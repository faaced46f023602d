//! Placement: which nodes hold the shards of a group of packs.
//!
//! A pure function of the volume's placement key, the group's number and the anchors of an epoch, by weighted rendezvous
//! hashing. So every node of the circle computes the same without asking, outsiders can't compute it, and a change of the
//! circle moves little. The bytes are in `docs/FORMAT.md` under *Placement*.

use std::collections::BTreeMap;

use cairn_block::{DeviceId, Epoch, PlacementKey};

use crate::code::{Code, Numbers};

mod explain;

pub use explain::{Candidate, Explanation, explain};

/// Packs that share their holders: few enough that a lost holder's groups spread over many makers, and so many that a
/// node computes and keeps little.
pub const GROUP_PACKS: u64 = 64;

/// A node that carries redundancy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The node.
    pub node: DeviceId,
    /// What it fails together with: an index into [`Anchors::zones`].
    pub zone: usize,
    /// Bytes that it stores for others; its weight. Not 0.
    pub capacity: u64,
}

/// The nodes of a circle that carry redundancy, sorted by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anchors {
    list: Vec<Anchor>,
    zones: Vec<String>,
}

impl Anchors {
    /// Those of an epoch.
    pub fn of(epoch: &Epoch) -> Self {
        Self::new(epoch.anchors().map(|member| (member.node, member.zone.as_str(), member.capacity)))
    }

    /// Those given, each a node, its zone and its capacity. Nodes without capacity are left out, of equal ones the first stays.
    pub fn new<'a>(given: impl IntoIterator<Item = (DeviceId, &'a str, u64)>) -> Self {
        let mut by_node = BTreeMap::new();
        for (node, zone, capacity) in given.into_iter().filter(|(_, _, capacity)| *capacity > 0) {
            by_node.entry(node).or_insert((zone, capacity));
        }
        let mut zones: Vec<&str> = by_node.values().map(|(zone, _)| *zone).collect();
        zones.sort_unstable();
        zones.dedup();
        let list = by_node.into_iter().map(|(node, (name, capacity))| {
            let zone = zones.binary_search(&name).unwrap_or_else(|at| at);
            Anchor { node, zone, capacity }
        });
        Anchors { list: list.collect(), zones: zones.iter().map(|zone| (*zone).to_owned()).collect() }
    }

    /// All of them, sorted by node.
    pub fn list(&self) -> &[Anchor] {
        &self.list
    }

    /// The names of the zones, sorted.
    pub fn zones(&self) -> &[String] {
        &self.zones
    }

    /// One of them.
    pub fn get(&self, node: &DeviceId) -> Option<&Anchor> {
        self.list.binary_search_by_key(node, |anchor| anchor.node).ok().map(|at| &self.list[at])
    }

    /// The most shards of a group that one zone gets: as many as may be lost if the zones allow it, else as few as they do.
    /// With fewer anchors than shards there is no such number; then it is the number of anchors.
    pub fn zone_cap(&self, code: Code) -> usize {
        let mut sizes = vec![0_usize; self.zones.len()];
        for anchor in &self.list {
            sizes[anchor.zone] += 1;
        }
        let places = |cap: usize| sizes.iter().map(|size| (*size).min(cap)).sum::<usize>();
        (code.parity().max(1)..self.list.len()).find(|cap| places(*cap) >= code.total()).unwrap_or(self.list.len())
    }
}

/// Where the shards of a group belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The holder of each shard; none where there are fewer anchors than shards.
    pub holders: Vec<Option<DeviceId>>,
    /// The most shards that one zone was allowed.
    pub zone_cap: usize,
    /// Whether any one zone can be lost without losing the group: every shard has a holder, and no zone more than m.
    pub survives_a_zone: bool,
}

/// Where the shards of a group belong.
pub fn place(key: &PlacementKey, group: u64, code: Code, anchors: &Anchors) -> Placement {
    let ranking = Ranking::draw(key, group, code, anchors);
    let choice = ranking.choose(anchors, anchors.zone_cap(code), code.total());
    let holders = ranking.assign(&choice.taken, code).into_iter();
    let survives_a_zone = choice.taken.len() == code.total() && choice.fullest_zone <= code.parity();
    Placement {
        holders: holders.map(|at| at.map(|at| anchors.list[at].node)).collect(),
        zone_cap: choice.zone_cap,
        survives_a_zone,
    }
}

/// All anchors in the order in which a group asks for them, zones apart.
pub fn rank(key: &PlacementKey, group: u64, code: Code, anchors: &Anchors) -> Vec<Anchor> {
    let ranking = Ranking::draw(key, group, code, anchors);
    ranking.order.into_iter().map(|at| anchors.list[at]).collect()
}

/// What is drawn for each anchor of a group.
struct Ranking {
    /// Lower is better.
    scores: Vec<f64>,
    /// For each anchor and shard a number; the lowest gets the shard.
    slots: Vec<Vec<u64>>,
    /// Anchors by score; of equal scores the lower id first.
    order: Vec<usize>,
}

/// Who holds a group.
struct Choice {
    /// Anchors, in the order of their scores.
    taken: Vec<usize>,
    /// Those passed over because their zone was full.
    passed: Vec<usize>,
    zone_cap: usize,
    fullest_zone: usize,
}

impl Ranking {
    fn draw(key: &PlacementKey, group: u64, code: Code, anchors: &Anchors) -> Self {
        let mut scores = Vec::with_capacity(anchors.list.len());
        let mut slots = Vec::with_capacity(anchors.list.len());
        let mut bytes = vec![0; 8 * (1 + code.total())];
        for anchor in &anchors.list {
            let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
            hasher.update(&group.to_le_bytes()).update(anchor.node.as_bytes());
            hasher.finalize_xof().fill(&mut bytes);
            let (numbers, _) = bytes.as_chunks::<8>();
            let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
            scores.push(score(numbers.next().unwrap_or_default(), anchor.capacity));
            slots.push(numbers.collect());
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // A stable sort: anchors are in the order of their ids.
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        Ranking { scores, slots, order }
    }

    fn choose(&self, anchors: &Anchors, zone_cap: usize, shards: usize) -> Choice {
        let mut choice = Choice { taken: Vec::new(), passed: Vec::new(), zone_cap, fullest_zone: 0 };
        let mut in_zones = vec![0; anchors.zones.len()];
        for at in &self.order {
            let in_zone = &mut in_zones[anchors.list[*at].zone];
            if choice.taken.len() == shards {
                break;
            }
            if *in_zone >= zone_cap {
                choice.passed.push(*at);
                continue;
            }
            *in_zone += 1;
            choice.fullest_zone = choice.fullest_zone.max(*in_zone);
            choice.taken.push(*at);
        }
        choice
    }

    /// The anchor of each shard.
    fn assign(&self, taken: &[usize], code: Code) -> Vec<Option<usize>> {
        let mut free = taken.to_vec();
        free.sort_unstable();
        let mut give = |shard: usize| {
            let best = (0..free.len()).min_by_key(|at| self.slots[free[*at]][shard])?;
            Some(free.remove(best))
        };
        (0..code.total()).map(&mut give).collect()
    }
}

/// The logarithm in software: the same to the last bit on every machine. For the largest number u is rounded to 1, and the score
/// is −0, which sorts before all others.
fn score(number: u64, capacity: u64) -> f64 {
    let u = ((number >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -libm::log(u) / capacity as f64
}

#[cfg(test)]
mod tests;
