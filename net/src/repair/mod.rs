//! Repair: which shards have to be made again, by whom, where to, and when.
//!
//! Each holder runs one [`Repair`]. It is told who was heard of and what each holder has, and answers with the shards that
//! *this* node should make. All holders of a pack come to the same maker, so together they share the work. Where views differ,
//! two make the same shard: the bytes are the same, so that costs work and nothing else. Nothing has to be kept: after a
//! restart the reports of the holders are enough.

mod bucket;
mod group;
mod matching;
mod presence;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cairn_block::{DeviceId, PlacementKey, VolumeId};

use crate::code::Code;
use crate::placement::{Anchors, rank};
use bucket::Bucket;
use group::{Group, Lack, View};
use presence::Presence;
pub use presence::Standing;

/// The longest that a node is left alone that refused shards.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Times and rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// A pack that this node learns of, or all of them after a restart, is left alone for so long: the reports of its other
    /// holders have to come in first.
    pub settle: Duration,
    /// A node that was not heard of for so long is late: several heartbeats may get lost.
    pub late_after: Duration,
    /// A late holder's shards are made again after this time: a machine restarts, or travels for a day.
    pub grace: Duration,
    /// The same where no more shards are left than k, and one more loss would be one too many.
    pub grace_urgent: Duration,
    /// A holder away for so long is lost: its shards count no more even as a hope.
    pub lost_after: Duration,
    /// Most bytes a second that this node reads and writes for repair, so that a repair never feels like an outage.
    pub bytes_per_second: u64,
    /// Most bytes at once after a rest.
    pub burst_bytes: u64,
    /// When a shard that was to be made and was not reported is tried again. A node that refused a shard is sent none for so
    /// long; twice as long each time, up to a day.
    pub make_timeout: Duration,
    /// For each holder that was drawn before it, one waits so long from when a pack was first seen to lack shards: so one that is
    /// up and makes nothing does not hold up a repair.
    pub turn: Duration,
    /// A shard that was found wrong is neither used nor counted for so long, if no proof of it passes before.
    pub wrong_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Config {
            settle: Duration::from_secs(300),
            late_after: Duration::from_secs(120),
            grace: hours(24),
            grace_urgent: hours(1),
            lost_after: hours(7 * 24),
            bytes_per_second: 16 << 20,
            burst_bytes: 256 << 20,
            make_timeout: Duration::from_secs(600),
            turn: hours(6),
            wrong_for: hours(30 * 24),
        }
    }
}

/// A group of packs of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId {
    /// The volume.
    pub volume: VolumeId,
    /// The number of its first pack, divided by 64.
    pub number: u64,
}

/// What a node that holds shards of a group knows of it.
#[derive(Debug, Clone)]
pub struct GroupFacts {
    /// Ranks the nodes.
    pub key: Arc<PlacementKey>,
    /// How its packs are coded.
    pub code: Code,
    /// Bytes of one shard, to be charged against the rate.
    pub shard_bytes: u64,
    /// Which of its 64 packs are to be kept whole, by their bits: those that [`Manifests::needed`] names a device for. Not all
    /// that this node still stores: what others have dropped would be made again without end.
    ///
    /// [`Manifests::needed`]: crate::manifest::Manifests::needed
    pub packs: u64,
}

/// Something that this node learned.
#[derive(Debug, Clone)]
pub enum Event {
    /// A node gave a sign of life.
    Heard(DeviceId),
    /// A node will not come back, says an owner or an epoch that revokes it. It counts no more, whatever is heard of it.
    Lost(DeviceId),
    /// An owner says that a node that was given up counts again.
    Found(DeviceId),
    /// The circle changed.
    Anchors(Arc<Anchors>),
    /// What is to be kept of a group; without packs it is forgotten. With another code it begins anew.
    Group(GroupId, GroupFacts),
    /// All that a node holds of a group in this code: shards and the bits of their packs. Replaces what was known of it.
    Holds(DeviceId, GroupId, Code, Vec<(u8, u64)>),
    /// A node has made this shard of this pack durable.
    Made(DeviceId, GroupId, Code, ShardOf),
    /// A node has proved that it has this shard as it should be.
    Proved(DeviceId, GroupId, Code, ShardOf),
    /// A shard could not be made.
    Failed(GroupId, Code, ShardOf, Failure),
}

/// Why a shard could not be made. If nobody is to blame it is tried again when its time is over, else at once without them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// The node that did not take it.
    pub refused: Option<DeviceId>,
    /// Sources that gave something other than their shard: node and shard.
    pub wrong: Vec<(DeviceId, u8)>,
}

/// A shard of a pack of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardOf {
    /// Which of the 64 packs.
    pub pack: u8,
    /// Which shard.
    pub shard: u8,
}

/// A shard that this node should make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Make {
    /// The group.
    pub group: GroupId,
    /// How it is coded.
    pub code: Code,
    /// Which shard of which pack.
    pub what: ShardOf,
    /// Where all other shards of the pack are that are here, node and shard: k different ones are enough.
    pub from: Vec<(DeviceId, u8)>,
    /// Who should hold it.
    pub to: DeviceId,
}

/// How the packs of all groups were at the last look, in numbers of packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Every shard was in place or its holder only late, or the pack is too new here to say.
    pub whole: usize,
    /// Shards were missing, and k or more were there.
    pub degraded: usize,
    /// Fewer than k shards were there.
    pub unreadable: usize,
    /// Shards that no anchor is left for.
    pub nowhere: usize,
}

/// What one node knows and does about repair.
pub struct Repair {
    me: DeviceId,
    config: Config,
    anchors: Arc<Anchors>,
    presence: Presence,
    groups: BTreeMap<GroupId, Group>,
    /// When each is tried again, and where it goes.
    in_flight: BTreeMap<(GroupId, ShardOf), (Duration, DeviceId)>,
    /// Nodes that refused a shard: until when they are left alone, and how often they did.
    refusals: BTreeMap<DeviceId, (Duration, u32)>,
    bucket: Bucket,
    health: Health,
}

impl Repair {
    /// A node that starts, or starts again, at `now`. Whoever it knows of is taken as heard of just now.
    pub fn new(me: DeviceId, config: Config, anchors: Arc<Anchors>, now: Duration) -> Self {
        let presence = Presence::new(now);
        let bucket = Bucket::new(config.bytes_per_second, config.burst_bytes, now);
        let (groups, in_flight, refusals, health) = Default::default();
        Repair { me, config, anchors, presence, groups, in_flight, refusals, bucket, health }
    }

    /// Takes in what happened.
    pub fn learn(&mut self, now: Duration, event: Event) {
        match event {
            Event::Heard(node) => self.presence.heard(node, now),
            Event::Lost(node) => {
                self.presence.lost(node);
                self.groups.values_mut().for_each(|group| group.forget(&node));
            }
            Event::Found(node) => self.presence.found(&node),
            Event::Anchors(anchors) => self.anchors = anchors,
            Event::Group(id, facts) if facts.packs == 0 => self.forget(&id),
            Event::Group(id, facts) => {
                // Shards of another code are other bytes: nothing that is known or under way is about them.
                if self.groups.get(&id).is_some_and(|group| group.facts.code != facts.code) {
                    self.forget(&id);
                }
                match self.groups.get_mut(&id) {
                    Some(group) => group.change(facts, now),
                    None => {
                        self.groups.insert(id, Group::new(facts, now));
                    }
                }
            }
            Event::Holds(node, id, code, shards) => {
                self.presence.heard(node, now);
                if let Some(group) = self.coded(&id, code) {
                    group.replace(node, &shards);
                }
            }
            Event::Made(node, id, code, what) => {
                self.refusals.remove(&node);
                if let Some(group) = self.coded(&id, code) {
                    group.add(node, what);
                    self.in_flight.remove(&(id, what));
                }
            }
            Event::Proved(node, id, code, what) => {
                if let Some(group) = self.coded(&id, code) {
                    group.proved(node, what);
                }
            }
            Event::Failed(id, code, what, failure) => self.failed(now, id, code, what, &failure),
        }
    }

    fn forget(&mut self, id: &GroupId) {
        self.groups.remove(id);
        self.in_flight.retain(|(group, _), _| group != id);
    }

    /// A group, if what is said is about its code.
    fn coded(&mut self, id: &GroupId, code: Code) -> Option<&mut Group> {
        self.groups.get_mut(id).filter(|group| group.facts.code == code)
    }

    fn failed(&mut self, now: Duration, id: GroupId, code: Code, what: ShardOf, failure: &Failure) {
        let until = now + self.config.wrong_for;
        let Some(group) = self.coded(&id, code) else {
            return;
        };
        failure
            .wrong
            .iter()
            .for_each(|(node, shard)| group.found_wrong(*node, ShardOf { shard: *shard, ..what }, until));
        if let Some(node) = failure.refused {
            let (left_alone, times) = self.refusals.entry(node).or_insert((now, 0));
            *left_alone = now + (self.config.make_timeout * (1 << (*times).min(16))).min(DAY);
            *times += 1;
        }
        if failure.refused.is_some() || !failure.wrong.is_empty() {
            self.in_flight.remove(&(id, what));
        }
    }

    /// How a node stands.
    pub fn standing(&self, node: &DeviceId, now: Duration) -> Standing {
        if *node == self.me && !self.presence.is_given_up(node) {
            Standing::Here
        } else {
            self.presence.standing(node, now, &self.config)
        }
    }

    /// How the packs were at the last [`Repair::tick`].
    pub const fn health(&self) -> Health {
        self.health
    }

    /// The shards that this node should make now: those of packs with the fewest shards left first, as far as the rate
    /// allows.
    pub fn tick(&mut self, now: Duration) -> Vec<Make> {
        self.in_flight.retain(|_, (again, _)| *again > now);
        self.bucket.fill(now);
        let mut lacks = self.lacks(now);
        lacks.sort_by_key(|(id, lack)| (lack.spare, lack.turn, *id, lack.what));
        let mut makes = Vec::new();
        for (id, lack) in lacks {
            let key = (id, lack.what);
            if self.in_flight.contains_key(&key) {
                continue;
            }
            if !self.bucket.has_some() {
                break;
            }
            let Some(to) = self.destination(now, id, &lack) else {
                self.health.nowhere += 1;
                continue;
            };
            self.bucket.take(lack.cost);
            self.in_flight.insert(key, (now + self.config.make_timeout, to));
            makes.push(Make { group: id, code: lack.code, what: lack.what, from: lack.from, to });
        }
        makes
    }

    /// Everything that is missing and this node's turn; counts the health on the way.
    fn lacks(&mut self, now: Duration) -> Vec<(GroupId, Lack)> {
        let mut health = Health::default();
        let mut lacks = Vec::new();
        let mut groups = std::mem::take(&mut self.groups);
        for (id, group) in &mut groups {
            let circle = View {
                me: self.me,
                now,
                config: &self.config,
                anchors: &self.anchors,
                standing: &|node| self.standing(node, now),
            };
            let found = group.lacks(id, &circle, &mut health);
            lacks.extend(found.into_iter().map(|lack| (*id, lack)));
        }
        self.groups = groups;
        self.health = health;
        lacks
    }

    /// The best anchor that is here and has nothing of the pack; one whose zone has room if there is one. Where all have
    /// something, one that would not be missed.
    fn destination(&self, now: Duration, id: GroupId, lack: &Lack) -> Option<DeviceId> {
        let facts = &self.groups.get(&id)?.facts;
        let of_pack = self.in_flight.iter().filter(|((group, what), _)| *group == id && what.pack == lack.what.pack);
        let promised: BTreeSet<DeviceId> = of_pack.map(|(_, (_, to))| *to).collect();
        let taken: BTreeSet<DeviceId> = lack.holders.union(&promised).copied().collect();
        let mut in_zones = vec![0; self.anchors.zones().len()];
        for anchor in taken.iter().filter_map(|node| self.anchors.get(node)) {
            in_zones[anchor.zone] += 1;
        }
        let cap = self.anchors.zone_cap(facts.code);
        let ranked = rank(&facts.key, id.number, facts.code, &self.anchors);
        let refuses = |node: &DeviceId| self.refusals.get(node).is_some_and(|(until, _)| *until > now);
        let is_here = |node: &DeviceId| self.standing(node, now) == Standing::Here && !refuses(node);
        let here = ranked.iter().filter(|anchor| is_here(&anchor.node));
        let free = || here.clone().filter(|anchor| !taken.contains(&anchor.node));
        let with_room = free().find(|anchor| in_zones[anchor.zone] < cap);
        let is_missed = |node: &DeviceId| !lack.surplus.contains(node) || promised.contains(node);
        let not_missed = || here.clone().find(|anchor| !is_missed(&anchor.node));
        with_room.or_else(|| free().next()).or_else(not_missed).map(|anchor| anchor.node)
    }
}
