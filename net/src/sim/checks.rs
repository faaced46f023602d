//! What must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::node::Node;
use super::{HOUR, Pack, Time};
use crate::code::{Code, Numbers};

/// Something that should never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A pack that was acknowledged and is needed has fewer than k shards left on all disks.
    Lost {
        /// The pack.
        pack: u64,
        /// Shards left.
        left: usize,
        /// The hour.
        hour: u64,
    },
    /// A node lost what it had acknowledged, in a crash that left its disk whole.
    Forgotten {
        /// The pack.
        pack: u64,
        /// The shard.
        shard: u8,
        /// The node.
        node: usize,
        /// The hour.
        hour: u64,
    },
    /// A node dropped the last copy of a shard of a pack that is needed.
    DroppedLive {
        /// The pack.
        pack: u64,
        /// The shard.
        shard: u8,
        /// The node.
        node: usize,
        /// The hour.
        hour: u64,
    },
    /// At the end, long after the last fault, a pack that is needed lacks shards.
    NotWhole {
        /// The pack.
        pack: u64,
        /// Shards there are.
        there: usize,
        /// Shards there should be.
        wanted: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lost { pack, left, hour } => {
                write!(f, "hour {hour}: pack {pack} is lost, {left} shards are left")
            }
            Violation::Forgotten { pack, shard, node, hour } => {
                write!(f, "hour {hour}: node {node} forgot shard {shard} of pack {pack}, which it had acknowledged")
            }
            Violation::DroppedLive { pack, shard, node, hour } => {
                write!(f, "hour {hour}: node {node} dropped shard {shard} of pack {pack}, which is needed")
            }
            Violation::NotWhole { pack, there, wanted } => {
                write!(f, "at the end pack {pack} has {there} of {wanted} shards")
            }
        }
    }
}

/// What was promised, seen from above.
pub(super) struct Checks {
    code: Code,
    /// Packs that every holder acknowledged.
    acknowledged: BTreeSet<Pack>,
    /// For each node what it acknowledged.
    said: BTreeMap<usize, BTreeSet<(Pack, u8)>>,
    lost: BTreeSet<Pack>,
    pub(super) violations: Vec<Violation>,
}

impl Checks {
    pub(super) fn new(code: Code) -> Self {
        let (acknowledged, said, lost) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        Checks { code, acknowledged, said, lost, violations: Vec::new() }
    }

    pub(super) fn acknowledged(&mut self, pack: Pack) {
        self.acknowledged.insert(pack);
    }

    pub(super) fn count(&self) -> usize {
        self.acknowledged.len()
    }

    /// A node sends an acknowledgement.
    pub(super) fn said(&mut self, node: usize, pack: Pack, shard: u8) {
        self.said.entry(node).or_default().insert((pack, shard));
    }

    pub(super) fn wiped(&mut self, node: usize) {
        self.said.remove(&node);
    }

    /// A node crashed with its disk whole.
    pub(super) fn crashed(&mut self, at: usize, node: &Node, now: Time) {
        let Some(said) = self.said.get_mut(&at) else {
            return;
        };
        let forgotten: Vec<_> = said.iter().filter(|shard| !node.disk.contains_key(shard)).copied().collect();
        for (pack, shard) in forgotten {
            said.remove(&(pack, shard));
            self.violations.push(Violation::Forgotten { pack, shard, node: at, hour: now / HOUR });
        }
    }

    /// A node dropped a shard. `needed`: by a device's tree, after it was acknowledged.
    pub(super) fn dropped(&mut self, at: usize, what: (Pack, u8), needed: &BTreeSet<Pack>, nodes: &[Node], now: Time) {
        let (pack, shard) = what;
        if let Some(said) = self.said.get_mut(&at) {
            said.remove(&what);
        }
        let is_needed = needed.contains(&pack) && self.acknowledged.contains(&pack);
        if is_needed && !nodes.iter().any(|node| node.disk.contains_key(&what)) {
            self.violations.push(Violation::DroppedLive { pack, shard, node: at, hour: now / HOUR });
        }
    }

    /// Nothing that is needed has fewer than k shards.
    pub(super) fn nothing_is_lost(&mut self, needed: &BTreeSet<Pack>, nodes: &[Node], now: Time) {
        for pack in needed.intersection(&self.acknowledged) {
            let left = shards(*pack, nodes).len();
            if left < self.code.data() && self.lost.insert(*pack) {
                self.violations.push(Violation::Lost { pack: *pack, left, hour: now / HOUR });
            }
        }
    }

    /// Everything that is needed has all shards.
    pub(super) fn everything_is_whole(&mut self, needed: &BTreeSet<Pack>, nodes: &[Node]) {
        let wanted = self.code.total();
        for pack in needed.intersection(&self.acknowledged) {
            let there = shards(*pack, nodes).len();
            if there < wanted {
                self.violations.push(Violation::NotWhole { pack: *pack, there, wanted });
            }
        }
    }
}

/// The shards of a pack that lie on any disk.
fn shards(pack: Pack, nodes: &[Node]) -> BTreeSet<u8> {
    let on_disk =
        |node: &Node| node.disk.range((pack, 0)..=(pack, u8::MAX)).map(|((_, shard), _)| *shard).collect::<Vec<_>>();
    nodes.iter().flat_map(on_disk).collect()
}
