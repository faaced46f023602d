//! A node that stores: a disk, what it knows of the others, and the crate's decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_block::{DeviceId, PlacementKey, VolumeId};

use super::{Guards, HOUR, MINUTE, Pack, Time, Who, duration};
use crate::code::Code;
use crate::manifest::{Hold, Holds, Manifests, Verdict};
use crate::placement::{Anchors, GROUP_PACKS};
use crate::repair::{Config, Event, GroupFacts, GroupId, Make, Repair};

/// What a node says of one pack that it has.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) pack: Pack,
    pub(super) shards: Vec<u8>,
    pub(super) holds: Vec<Hold>,
}

/// What is written and not synced yet.
pub(super) enum Pending {
    Shard { pack: Pack, shard: u8, holds: Holds },
    Hold { pack: Pack, hold: Hold },
}

/// What never changes for a node.
pub(super) struct Facts {
    pub(super) code: Code,
    pub(super) key: Arc<PlacementKey>,
    pub(super) anchors: Arc<Anchors>,
    pub(super) devices: Vec<DeviceId>,
    pub(super) guards: Guards,
}

pub(super) struct Node {
    pub(super) id: DeviceId,
    pub(super) up: bool,
    /// Counts starts: what was begun before a crash is not ended after it.
    pub(super) boot: u64,
    /// What is durable.
    pub(super) disk: BTreeMap<(Pack, u8), Holds>,
    pub(super) pending: Vec<(Pending, Who)>,
    pub(super) manifests: Manifests<Pack>,
    repair: Repair,
    started: Time,
    /// Groups that the repair was told of.
    told: BTreeSet<GroupId>,
}

/// Heartbeats come every half hour here, so the times are longer than in life.
fn config() -> Config {
    Config {
        settle: duration(2 * HOUR),
        late_after: duration(2 * HOUR),
        grace: duration(24 * HOUR),
        grace_urgent: duration(3 * HOUR),
        make_timeout: duration(10 * MINUTE),
        ..Config::default()
    }
}

pub(super) fn group(pack: Pack) -> GroupId {
    GroupId { volume: VolumeId::from_bytes([1; 16]), number: pack / GROUP_PACKS }
}

impl Node {
    pub(super) fn new(id: DeviceId, facts: &Facts) -> Self {
        let repair = Repair::new(id, config(), Arc::clone(&facts.anchors), duration(0));
        let (disk, pending) = (BTreeMap::new(), Vec::new());
        let mut node = Node {
            id,
            up: true,
            boot: 0,
            disk,
            pending,
            manifests: Manifests::default(),
            repair,
            started: 0,
            told: BTreeSet::new(),
        };
        node.certify(facts);
        node
    }

    fn certify(&mut self, facts: &Facts) {
        self.manifests = Manifests::default();
        for device in &facts.devices {
            self.manifests.certify(*device);
        }
    }

    /// The power goes: what wasn't synced is gone, with `wiped` all of it.
    pub(super) fn crash(&mut self, wiped: bool, facts: &Facts) {
        self.up = false;
        self.boot += 1;
        self.pending.clear();
        if wiped {
            self.disk.clear();
            self.certify(facts);
        }
    }

    pub(super) fn start(&mut self, facts: &Facts, now: Time) {
        self.up = true;
        self.boot += 1;
        self.repair = Repair::new(self.id, config(), Arc::clone(&facts.anchors), duration(now));
        self.told.clear();
        self.started = now;
    }

    /// Everything pending becomes durable; who waits for it, and for which shards.
    pub(super) fn sync(&mut self) -> Vec<(Who, Pending)> {
        let pending = std::mem::take(&mut self.pending);
        for (what, _) in &pending {
            match what {
                Pending::Shard { pack, shard, holds } => self.disk.entry((*pack, *shard)).or_default().merge(holds),
                Pending::Hold { pack, hold } => {
                    let of_pack = self.disk.range_mut((*pack, 0)..=(*pack, u8::MAX));
                    of_pack.for_each(|(_, holds)| self.manifests.asked(holds, *hold));
                }
            }
        }
        pending.into_iter().map(|(what, who)| (who, what)).collect()
    }

    /// What is on record of a shard that comes with these holds.
    pub(super) fn holds_of(&self, came: &[Hold], by_repair: bool) -> Holds {
        if by_repair {
            return self.manifests.made_by_repair(came);
        }
        let mut holds = Holds::default();
        came.iter().for_each(|hold| self.manifests.asked(&mut holds, *hold));
        holds
    }

    pub(super) fn shards_of(&self, pack: Pack) -> Vec<u8> {
        self.disk.range((pack, 0)..=(pack, u8::MAX)).map(|((_, shard), _)| *shard).collect()
    }

    pub(super) fn holdings(&self) -> Vec<Holding> {
        let mut holdings: Vec<Holding> = Vec::new();
        for ((pack, shard), holds) in &self.disk {
            match holdings.last_mut().filter(|last| last.pack == *pack) {
                Some(last) => last.shards.push(*shard),
                None => holdings.push(Holding { pack: *pack, shards: vec![*shard], holds: holds.asked().to_vec() }),
            }
        }
        holdings
    }

    /// Holds that came with a report, of packs that are here too.
    pub(super) fn share_holds(&mut self, holdings: &[Holding]) {
        for holding in holdings {
            let of_pack = self.disk.range_mut((holding.pack, 0)..=(holding.pack, u8::MAX));
            of_pack.for_each(|(_, holds)| holds.heard(&holding.holds));
        }
    }

    pub(super) fn learn(&mut self, now: Time, event: Event) {
        self.repair.learn(duration(now), event);
    }

    /// Takes in all that a node says it holds.
    pub(super) fn hear(&mut self, now: Time, from: DeviceId, holdings: &[Holding], groups: &[GroupId], code: Code) {
        self.learn(now, Event::Heard(from));
        let mut by_group: BTreeMap<GroupId, BTreeMap<u8, u64>> =
            groups.iter().map(|id| (*id, BTreeMap::new())).collect();
        for Holding { pack, shards, .. } in holdings {
            for shard in shards {
                *by_group.entry(group(*pack)).or_default().entry(*shard).or_insert(0) |= 1 << (pack % GROUP_PACKS);
            }
        }
        for (id, shards) in by_group {
            self.learn(now, Event::Holds(from, id, code, shards.into_iter().collect()));
        }
    }

    /// The shards that nobody needs any more.
    pub(super) fn to_drop(&self, facts: &Facts, now: Time) -> Vec<(Pack, u8)> {
        if facts.guards.share_holds && now < self.started + 2 * HOUR {
            return Vec::new();
        }
        let may_drop = |((pack, _), holds): &(&(Pack, u8), &Holds)| {
            if facts.guards.two_generations {
                return self.manifests.may_drop(pack, holds) == Verdict::Drop;
            }
            // Taken out: what no newest manifest lists goes at once.
            facts.devices.iter().all(|device| !self.manifests.newest_lists(device, pack))
        };
        self.disk.iter().filter(may_drop).map(|(what, _)| *what).collect()
    }

    /// Tells the repair what there is here, and asks it what to make.
    pub(super) fn tick(&mut self, facts: &Facts, now: Time) -> Vec<Make> {
        self.told.extend(self.groups());
        let mut wanted: BTreeMap<GroupId, u64> = self.told.iter().map(|id| (*id, 0)).collect();
        for ((pack, _), holds) in &self.disk {
            if self.manifests.needed(pack, holds).is_some() {
                *wanted.entry(group(*pack)).or_insert(0) |= 1 << (pack % GROUP_PACKS);
            }
        }
        for (id, packs) in wanted {
            let facts = GroupFacts { key: Arc::clone(&facts.key), code: facts.code, shard_bytes: 4 << 20, packs };
            self.learn(now, Event::Group(id, facts));
        }
        let (me, holdings, groups, code) = (self.id, self.holdings(), self.groups(), facts.code);
        self.hear(now, me, &holdings, &groups, code);
        if facts.guards.repair { self.repair.tick(duration(now)) } else { Vec::new() }
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<_> = self.disk.keys().map(|(pack, _)| group(*pack)).collect();
        groups.dedup();
        groups
    }
}
