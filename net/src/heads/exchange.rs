//! Who lacks which heads: a machine without I/O of its own, but for what it asks of the book.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::{DeviceId, UntrustedHead, VolumeId};
use cairn_store::StoredHead;

use super::{HeadsBook, Taken};
use crate::node_id::NodeId;
use crate::wire::heads::{HeadTag, HeadsMessage};

/// Heads of one device that somebody who has none is told of: the newest ones. With what else it can reach its history begins.
const HEADS_TOLD_MAX: usize = 1024;

/// What is to be done after something happened.
#[derive(Debug, Default)]
pub(super) struct Todo {
    /// What is to be sent, in order.
    pub(super) send: Vec<(NodeId, HeadsMessage)>,
    /// What the peer did that no node of ours does.
    pub(super) strike: Option<String>,
    /// This node could not keep what it was given: it has to ask for it again, a while later.
    pub(super) is_short: bool,
}

/// What is known of one peer.
#[derive(Default)]
struct Peer {
    /// The volumes that it may mean, by the names that it uses.
    theirs: HashMap<HeadTag, VolumeId>,
    /// Its newest head of each device, in each volume that it told of: it takes heads of those.
    has: HashMap<VolumeId, HashMap<DeviceId, u64>>,
}

pub(super) struct Exchange {
    me: DeviceId,
    book: Arc<dyn HeadsBook>,
    peers: HashMap<NodeId, Peer>,
}

impl Exchange {
    pub(super) fn new(me: DeviceId, book: Arc<dyn HeadsBook>) -> Self {
        Exchange { me, book, peers: HashMap::new() }
    }

    /// A peer can be talked with: it is told what is here.
    pub(super) fn connected(&mut self, peer: NodeId) -> Todo {
        self.peers.insert(peer, Peer::default());
        Todo { send: self.greet(peer), ..Todo::default() }
    }

    /// Learns how a peer calls the volumes, and tells it what is here of each.
    fn greet(&mut self, node: NodeId) -> Vec<(NodeId, HeadsMessage)> {
        let Some(peer) = self.peers.get_mut(&node) else { return Vec::new() };
        let theirs = self.book.tags(&node.device(), &self.me);
        peer.theirs = theirs.into_iter().map(|(volume, tag)| (tag, volume)).collect();
        let ours = self.book.tags(&self.me, &node.device());
        ours.into_iter().filter_map(|(volume, tag)| Some((node, self.have(&volume, tag)?))).collect()
    }

    /// It can't any more.
    pub(super) fn gone(&mut self, peer: &NodeId) {
        self.peers.remove(peer);
    }

    /// This node knows other volumes than before: everybody is told of them, and says what it has of those.
    pub(super) fn renamed(&mut self) -> Todo {
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        Todo { send: peers.into_iter().flat_map(|peer| self.greet(peer)).collect(), ..Todo::default() }
    }

    /// This node made new heads of a volume: whoever takes them is sent what it lacks.
    pub(super) fn grown(&mut self, volume: &VolumeId) -> Todo {
        let mut todo = Todo::default();
        if !self.peers.values().any(|peer| peer.has.contains_key(volume)) {
            return todo;
        }
        let heads = self.heads(volume);
        for (node, peer) in &mut self.peers {
            if let Some(has) = peer.has.get_mut(volume)
                && let Some(tag) = tag_for(&*self.book, &self.me, node, volume)
            {
                todo.send.extend(lacking(has, &heads, tag).map(|message| (*node, message)));
            }
        }
        todo
    }

    /// A peer said something.
    pub(super) fn heard(&mut self, from: NodeId, message: HeadsMessage) -> Todo {
        match message {
            HeadsMessage::Have { tag, newest } => self.told(from, tag, newest),
            HeadsMessage::Head { tag, head } => self.given(from, tag, &head),
        }
    }

    fn told(&mut self, from: NodeId, tag: HeadTag, newest: Vec<(DeviceId, u64)>) -> Todo {
        let mut todo = Todo::default();
        let Some((volume, peer)) = self.meant(&from, &tag) else { return todo };
        let is_first = peer.has.insert(volume, newest.into_iter().collect()).is_none();
        let Some(ours) = tag_for(&*self.book, &self.me, &from, &volume) else { return todo };
        // What was told when the peer didn't know the volume yet was lost on it.
        if is_first {
            todo.send.extend(self.have(&volume, ours).map(|have| (from, have)));
        }
        let heads = self.heads(&volume);
        if let Some(has) = self.peers.get_mut(&from).and_then(|peer| peer.has.get_mut(&volume)) {
            todo.send.extend(lacking(has, &heads, ours).map(|message| (from, message)));
        }
        todo
    }

    fn given(&mut self, from: NodeId, tag: HeadTag, head: &UntrustedHead) -> Todo {
        let Some((volume, _)) = self.meant(&from, &tag) else { return Todo::default() };
        let (device, seq, is_new) = match self.book.take(&volume, head) {
            Taken::New { device, seq } => (device, seq, true),
            Taken::Known { device, seq } => (device, seq, false),
            Taken::Refused(reason) => return Todo { strike: Some(reason), ..Todo::default() },
            Taken::Failed(reason) => {
                tracing::warn!(%volume, %reason, "a head of another device can't be kept");
                return Todo { is_short: true, ..Todo::default() };
            }
        };
        let mut todo = Todo::default();
        for (node, peer) in &mut self.peers {
            let Some(known) = peer.has.get_mut(&volume).map(|has| has.entry(device).or_default()) else { continue };
            if *known >= seq {
                continue;
            }
            if *node == from {
                *known = seq;
            } else if is_new && let Some(tag) = tag_for(&*self.book, &self.me, node, &volume) {
                // Peers that aren't connected with each other have it from here.
                todo.send.push((*node, HeadsMessage::Head { tag, head: head.clone() }));
                *known = seq;
            }
        }
        todo
    }

    /// The volume that a peer means, if it is one of ours.
    fn meant(&mut self, from: &NodeId, tag: &HeadTag) -> Option<(VolumeId, &mut Peer)> {
        let peer = self.peers.get_mut(from)?;
        Some((*peer.theirs.get(tag)?, peer))
    }

    fn have(&self, volume: &VolumeId, tag: HeadTag) -> Option<HeadsMessage> {
        let mut newest: HashMap<DeviceId, u64> = HashMap::new();
        for head in self.heads(volume) {
            let seq = newest.entry(head.device).or_default();
            *seq = head.seq.max(*seq);
        }
        let mut newest: Vec<_> = newest.into_iter().collect();
        newest.sort_unstable();
        (newest.len() <= cairn_block::limits::DEVICES_MAX).then_some(HeadsMessage::Have { tag, newest })
    }

    /// The heads that are here and can be read, the newest of each device.
    fn heads(&self, volume: &VolumeId) -> Vec<StoredHead> {
        let mut heads = self.book.heads(volume).unwrap_or_else(|reason| {
            tracing::warn!(%volume, %reason, "heads can't be told to others");
            Vec::new()
        });
        heads.retain(|head| !head.bytes.is_empty());
        let mut left: HashMap<DeviceId, usize> = HashMap::new();
        heads.iter().for_each(|head| *left.entry(head.device).or_default() += 1);
        heads.retain(|head| {
            let left = left.entry(head.device).or_default();
            *left = left.saturating_sub(1);
            *left < HEADS_TOLD_MAX
        });
        heads
    }
}

/// What this node calls a volume towards a peer; none if it doesn't know the volume any more.
fn tag_for(book: &dyn HeadsBook, me: &DeviceId, peer: &NodeId, volume: &VolumeId) -> Option<HeadTag> {
    book.tags(me, &peer.device()).into_iter().find(|(other, _)| other == volume).map(|(_, tag)| tag)
}

/// The heads that somebody lacks, oldest first; from now on it has them.
fn lacking<'a>(
    has: &'a mut HashMap<DeviceId, u64>,
    heads: &'a [StoredHead],
    tag: HeadTag,
) -> impl Iterator<Item = HeadsMessage> + 'a {
    heads.iter().filter_map(move |head| {
        let known = has.entry(head.device).or_default();
        if head.seq <= *known {
            return None;
        }
        let bytes: Bytes = head.bytes.clone();
        *known = head.seq;
        Some(HeadsMessage::Head { tag, head: UntrustedHead::new(bytes).ok()? })
    })
}
