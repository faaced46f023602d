//! What nodes do when something reaches them, and by themselves.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_block::DeviceId;

use super::super::network::Message;
use super::super::node::{Pending, group};
use super::super::{MINUTE, Who};
use super::{BEAT, CRASH_ONE_IN, SYNC, Step, World};
use crate::code::Numbers;
use crate::placement::GROUP_PACKS;
use crate::repair::{Event, Failure, Make, ShardOf};

impl World {
    pub(super) fn at_node(&mut self, at: usize, from: Who, message: Message) {
        match message {
            Message::Put { pack, shard, holds, by_repair } => {
                let holds = self.nodes[at].holds_of(&holds, by_repair);
                self.write(at, Pending::Shard { pack, shard, holds }, from);
            }
            Message::AskHold { pack, hold } if !self.nodes[at].shards_of(pack).is_empty() => {
                self.write(at, Pending::Hold { pack, hold }, from);
            }
            Message::Report(holdings) => {
                let Who::Node(sender) = from else { return };
                let (id, groups) = (self.nodes[sender].id, self.nodes[at].groups());
                self.nodes[at].hear(self.now, id, &holdings, &groups, self.facts.code);
                if self.facts.guards.share_holds {
                    self.nodes[at].share_holds(&holdings);
                }
            }
            Message::Manifest(manifest) => {
                let Who::Device(sender) = from else { return };
                self.nodes[at].manifests.accept(&self.devices[sender].id, manifest);
            }
            Message::Stored { pack, shard } => {
                let Who::Node(sender) = from else { return };
                let id = self.nodes[sender].id;
                self.outcome.made += 1;
                let what = ShardOf { pack: (pack % GROUP_PACKS) as u8, shard };
                self.nodes[at].learn(self.now, Event::Made(id, group(pack), self.facts.code, what));
            }
            Message::AskHold { .. } | Message::HoldKept { .. } => {}
        }
    }

    fn write(&mut self, at: usize, what: Pending, from: Who) {
        if !self.facts.guards.sync_before_ack {
            self.acknowledge(at, &what, from);
        }
        self.nodes[at].pending.push((what, from));
        let (boot, delay) = (self.nodes[at].boot, self.rng.u64(1..SYNC));
        self.at(self.now + delay, Step::Sync { node: at, boot });
        if self.rng.u64(0..CRASH_ONE_IN) == 0 {
            let crash = self.rng.u64(0..SYNC);
            self.at(self.now + crash, Step::CrashAt(at));
        }
    }

    pub(super) fn sync(&mut self, at: usize) {
        for (who, what) in self.nodes[at].sync() {
            if self.facts.guards.sync_before_ack {
                self.acknowledge(at, &what, who);
            }
        }
    }

    fn acknowledge(&mut self, at: usize, what: &Pending, to: Who) {
        let message = match what {
            Pending::Shard { pack, shard, .. } => {
                self.checks.said(at, *pack, *shard);
                Message::Stored { pack: *pack, shard: *shard }
            }
            Pending::Hold { pack, .. } => Message::HoldKept { pack: *pack, shards: self.nodes[at].shards_of(*pack) },
        };
        self.send(Who::Node(at), to, message);
    }

    /// A node drops what nobody needs, reports, and repairs.
    pub(super) fn beat(&mut self, at: usize) {
        let jitter = self.rng.u64(0..MINUTE);
        self.at(self.now + BEAT + jitter, Step::Beat(at));
        if !self.nodes[at].up {
            return;
        }
        let needed = self.needed();
        for what in self.nodes[at].to_drop(&self.facts, self.now) {
            self.nodes[at].disk.remove(&what);
            self.outcome.dropped += 1;
            self.checks.dropped(at, what, &needed, &self.nodes, self.now);
            self.say(|_| format!("node {at}: drops shard {} of pack {}", what.1, what.0));
        }
        let holdings = Arc::new(self.nodes[at].holdings());
        for to in (0..self.nodes.len()).filter(|to| *to != at) {
            self.send(Who::Node(at), Who::Node(to), Message::Report(Arc::clone(&holdings)));
        }
        for make in self.nodes[at].tick(&self.facts, self.now) {
            let (boot, delay) = (self.nodes[at].boot, self.rng.u64(1000..20_000));
            self.at(self.now + delay, Step::Made { node: at, boot, make });
        }
    }

    /// A node has asked its sources, and sends the shard that it made of them.
    pub(super) fn make(&mut self, at: usize, make: &Make) {
        let pack = make.group.number * GROUP_PACKS + u64::from(make.what.pack);
        let index = |id: &DeviceId| self.nodes.iter().position(|node| node.id == *id);
        let gives = |(id, shard): &(DeviceId, u8)| {
            let source = index(id)?;
            let reaches = |from, to| self.network.is_open(Who::Node(from), Who::Node(to), self.now);
            let is_there = self.nodes[source].up && self.nodes[source].disk.contains_key(&(pack, *shard));
            (is_there && reaches(at, source) && reaches(source, at)).then_some(*shard)
        };
        let given: BTreeSet<u8> = make.from.iter().filter_map(gives).collect();
        let enough = given.len() >= make.code.data();
        let of_pack = self.nodes[at].disk.range((pack, 0)..=(pack, u8::MAX)).next();
        let own = of_pack.map(|(_, holds)| holds.asked().to_vec());
        let (true, Some(holds), Some(to)) = (enough, own, index(&make.to)) else {
            let nobodys = Event::Failed(make.group, make.code, make.what, Failure::default());
            self.nodes[at].learn(self.now, nobodys);
            return;
        };
        let shard = make.what.shard;
        self.say(|_| format!("node {at}: makes shard {shard} of pack {pack} for node {to}"));
        self.send(Who::Node(at), Who::Node(to), Message::Put { pack, shard, holds, by_repair: true });
    }

    pub(super) fn start(&mut self, node: usize) {
        if !self.nodes[node].up {
            self.nodes[node].start(&self.facts, self.now);
            self.say(|_| format!("node {node}: is back"));
        }
    }
}
