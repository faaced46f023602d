//! Where members are: what is heard of it, and what is told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cairn_block::DeviceId;

use super::Keeper;
use crate::circle::addresses::{Source, own};
use crate::lanes::Ties;
use crate::node_id::NodeId;
use crate::wire::circle::{CircleMessage, Whereabouts};

/// Lists of whereabouts that one peer is listened to in [`WORD_EVERY`]: twelve come of themselves, the others with new lanes.
const WORDS_MAX: u32 = 30;
const WORD_EVERY: Duration = Duration::from_secs(60);

impl Keeper {
    /// A member tells where members are; of itself it knows best.
    pub(super) async fn told(&mut self, peer: NodeId, whereabouts: &Whereabouts) {
        let now = Instant::now();
        self.words.retain(|_, (since, _)| since.elapsed() < WORD_EVERY);
        let (_, count) = self.words.entry(peer).or_insert((now, 0));
        *count += 1;
        if *count > WORDS_MAX {
            return tracing::debug!(%peer, "it tells of whereabouts too often");
        }
        for (node, known) in whereabouts {
            let source = if *node == peer.device() { Source::Itself } else { Source::Hearsay };
            self.note(*node, known, source).await;
        }
    }

    pub(super) async fn note(&mut self, node: DeviceId, known: &[SocketAddr], source: Source) {
        let is_member = self.chain.as_ref().is_some_and(|chain| chain.newest().member(&node).is_some());
        if node == self.me || !is_member || !self.addresses.note(node, known, source) {
            return;
        }
        self.unsaved_since.get_or_insert_with(Instant::now);
        self.is_to_tell |= source >= Source::Itself;
        if let Some(member) = NodeId::new(node) {
            self.driver.may_be(member, self.addresses.of(&node)).await;
        }
    }

    pub(super) fn whereabouts(&self) -> Whereabouts {
        let mut told = self.addresses.told();
        let own = own(&self.driver.listens().borrow());
        if !own.is_empty() {
            told.insert(self.me, own);
        }
        told
    }

    pub(super) fn tell_whereabouts(&self, peer: &NodeId) {
        if self.chain.is_some() {
            let mut told = self.whereabouts();
            told.remove(&peer.device());
            self.talk.say(peer, CircleMessage::Whereabouts(told));
        }
    }

    /// Who is connected has changed.
    pub(super) fn tied(&mut self, ties: &Ties) {
        let Some(chain) = &self.chain else { return };
        let mut reached = Vec::new();
        for (peer, tie) in ties.iter().filter(|(_, tie)| tie.is_member) {
            reached.extend(tie.dialed.map(|address| (peer.device(), address)));
        }
        // Somebody who was removed and doesn't know: this is how it can.
        let is_in = chain.newest().member(&self.me).is_some();
        let was_in = |peer: &NodeId| {
            chain.newest().member(&peer.device()).is_none()
                && (chain.run(chain.oldest().number).any(|epoch| epoch.member(&peer.device()).is_some())
                    || self
                        .forks
                        .iter()
                        .flat_map(|fork| &fork.ours)
                        .any(|epoch| epoch.member(&peer.device()).is_some()))
        };
        let removed: Vec<NodeId> =
            ties.iter().filter(|(peer, tie)| is_in && !tie.is_member && was_in(peer)).map(|(peer, _)| *peer).collect();
        for (node, address) in reached {
            if self.addresses.note(node, &[address], Source::Worked) {
                self.unsaved_since.get_or_insert_with(Instant::now);
                self.is_to_tell = true;
            }
        }
        removed.into_iter().for_each(|node| self.farewell(node));
    }
}
