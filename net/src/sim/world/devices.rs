//! What devices do when something reaches them, and by themselves.

use super::super::network::Message;
use super::super::{HOUR, PACK_STEP, Pack, Who};
use super::{ASK, DEVICES, Step, World};
use crate::code::Numbers;
use crate::manifest::Hold;
use crate::placement::{GROUP_PACKS, place};

impl World {
    pub(super) fn at_device(&mut self, at: usize, message: Message) {
        let shards = self.facts.code.total();
        match message {
            Message::Stored { pack, shard } if self.devices[at].stored(pack, shard, shards) => {
                self.checks.acknowledged(pack);
                self.say(|_| format!("device {at}: pack {pack} is acknowledged"));
            }
            Message::HoldKept { pack, shards } => self.devices[at].kept(pack, &shards),
            _ => {}
        }
    }

    pub(super) fn flush(&mut self, at: usize) {
        let next = self.rng.u64(3 * HOUR..8 * HOUR);
        self.at(self.now + next, Step::Flush(at));
        if !self.devices[at].up {
            return;
        }
        for _ in 0..self.rng.u64(1..3) {
            let pack = self.next_pack;
            self.next_pack += PACK_STEP;
            self.devices[at].upload(pack);
        }
        self.put_all(at);
        let live: Vec<Pack> = self.devices[at].live.iter().copied().collect();
        for pack in live {
            if self.rng.u8(0..8) == 0 && !self.devices[at].uploads.contains_key(&pack) {
                self.devices[at].live.remove(&pack);
                self.say(|_| format!("device {at}: needs pack {pack} no more"));
            }
        }
        self.adopt(at);
    }

    /// Asks for a pack of the other device: what a dedup hit, or a merge, does.
    fn adopt(&mut self, at: usize) {
        let other = &self.devices[(at + 1) % DEVICES];
        let mine = &self.devices[at];
        let fit: Vec<Pack> =
            other.live.difference(&mine.live).filter(|pack| !other.uploads.contains_key(pack)).copied().collect();
        let Some(pack) = self.rng.choice(fit) else {
            return;
        };
        self.devices[at].ask(pack);
        let hold = self.devices[at].hold();
        for node in 0..self.nodes.len() {
            self.send(Who::Device(at), Who::Node(node), Message::AskHold { pack, hold });
        }
        self.at(self.now + ASK, Step::Decide { device: at, pack });
    }

    pub(super) fn decide(&mut self, at: usize, pack: Pack) {
        if self.devices[at].up && self.devices[at].decide(pack, self.facts.code.total()) {
            self.outcome.adopted += 1;
            self.say(|_| format!("device {at}: uses pack {pack} too"));
        }
    }

    pub(super) fn publish(&mut self, at: usize) {
        let next = self.rng.u64(4 * HOUR..9 * HOUR);
        self.at(self.now + next, Step::Publish(at));
        if self.devices[at].up {
            self.devices[at].publish();
            self.show(at);
        }
    }

    pub(super) fn retry(&mut self, at: usize) {
        self.at(self.now + HOUR, Step::Retry(at));
        if self.devices[at].up {
            self.put_all(at);
            self.show(at);
        }
    }

    /// Sends what is not acknowledged yet.
    fn put_all(&mut self, at: usize) {
        let device = self.devices[at].id;
        for (pack, upload) in self.devices[at].uploads.clone() {
            let placed = place(&self.facts.key, pack / GROUP_PACKS, self.facts.code, &self.facts.anchors);
            for (shard, holder) in placed.holders.iter().enumerate() {
                let to = self.nodes.iter().position(|node| Some(node.id) == *holder);
                let (Some(to), false) = (to, upload.shards.contains(&(shard as u8))) else {
                    continue;
                };
                let holds = vec![Hold { device, generation: upload.generation }];
                let put = Message::Put { pack, shard: shard as u8, holds, by_repair: false };
                self.send(Who::Device(at), Who::Node(to), put);
            }
        }
    }

    fn show(&mut self, at: usize) {
        for manifest in self.devices[at].published.clone() {
            for node in 0..self.nodes.len() {
                self.send(Who::Device(at), Who::Node(node), Message::Manifest(manifest.clone()));
            }
        }
    }
}
