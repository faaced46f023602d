//! Which epochs are fetched from whom. No I/O: it is told what peers say, and the time.
//!
//! One run is fetched at a time: it bounds the memory, whoever offers what, and epochs that all members have don't come from
//! all of them. Who doesn't give what it has told of goes behind the others.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use cairn_block::circle::{Chain, UntrustedEpoch};
use cairn_block::limits::EPOCHS_KEPT;

use crate::node_id::NodeId;
use crate::wire::circle::EPOCHS_WANTED_MAX;

/// How long a run may take: the largest, over a slow line, between members that have something better to do.
const RUN_PATIENCE: Duration = Duration::from_secs(20);
/// How often a peer is asked for the same tip. Then it has to tell another one.
const ASKED_MAX: u8 = 3;

/// What a peer told of.
#[derive(Debug)]
struct Tip {
    number: u64,
    hash: [u8; 32],
    /// Where the run should begin, if not behind our newest.
    from: Option<u64>,
    asked: u8,
    asked_at: Option<Instant>,
}

/// What is to be said to a peer: the first epoch that is wanted, and how many.
pub(super) type Wants = Vec<(u64, u16)>;

#[derive(Debug, Default)]
pub(super) struct Runs {
    tips: HashMap<NodeId, Tip>,
    /// Peers that can be asked.
    open: HashSet<NodeId>,
    current: Option<Run>,
}

#[derive(Debug)]
struct Run {
    peer: NodeId,
    until: u64,
    epochs: Vec<UntrustedEpoch>,
    ends: Instant,
}

/// What is wanted next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// These epochs of this peer.
    Want(NodeId, Wants),
    /// A peer has this epoch, and none of those that would lead there.
    OutOfReach(NodeId, u64),
}

impl Runs {
    /// A peer told of its newest epoch.
    pub(super) fn tip(&mut self, peer: NodeId, number: u64, hash: [u8; 32]) {
        let known = self.tips.get(&peer);
        if known.is_none_or(|tip| tip.hash != hash) {
            // When it was asked last counts on: a peer with ever new tips takes no other one's turn.
            let asked_at = known.and_then(|tip| tip.asked_at);
            self.tips.insert(peer, Tip { number, hash, from: None, asked: 0, asked_at });
        }
    }

    /// A peer can be asked; what it was asked before, it may not have heard.
    pub(super) fn opened(&mut self, peer: NodeId) {
        self.open.insert(peer);
        if let Some(tip) = self.tips.get_mut(&peer) {
            tip.asked = 0;
        }
    }

    /// A peer can't be asked any more. What it told of stays, and what it has begun to give: it speaks on another lane.
    pub(super) fn closed(&mut self, peer: &NodeId) {
        self.open.remove(peer);
        self.current = self.current.take().filter(|run| run.peer != *peer || !run.epochs.is_empty());
    }

    /// Forgets all who are no members.
    pub(super) fn keep(&mut self, is_member: impl Fn(&NodeId) -> bool) {
        self.tips.retain(|peer, _| is_member(peer));
    }

    /// Whom to ask for what now.
    pub(super) fn next(&mut self, chain: &Chain, now: Instant) -> Next {
        match &self.current {
            Some(run) if now < run.ends => return Next::Nothing,
            _ => self.current = None,
        }
        let newest = chain.newest().number;
        let is_new = |tip: &Tip| chain.get(tip.number).is_none_or(|known| *known.hash() != tip.hash);
        let oldest = chain.oldest().number;
        // Below what is kept nothing can be compared.
        let open = self.tips.iter_mut().filter(|(peer, tip)| {
            tip.asked < ASKED_MAX && tip.number > oldest && is_new(tip) && self.open.contains(*peer)
        });
        let Some((peer, tip)) = open.min_by_key(|(peer, tip)| (tip.asked_at, **peer)) else { return Next::Nothing };
        tip.asked += 1;
        tip.asked_at = Some(now);
        let default = if tip.number > newest { newest + 1 } else { oldest + 1 };
        let from = tip.from.unwrap_or(default);
        let count = tip.number + 1 - from.min(tip.number);
        if count > EPOCHS_KEPT as u64 {
            tip.asked = ASKED_MAX;
            return Next::OutOfReach(*peer, tip.number);
        }
        self.current = Some(Run { peer: *peer, until: tip.number, epochs: Vec::new(), ends: now + RUN_PATIENCE });
        let step = u64::from(EPOCHS_WANTED_MAX);
        let wants = (from..=tip.number).step_by(usize::from(EPOCHS_WANTED_MAX));
        let wants =
            wants.map(|from| (from, u16::try_from((tip.number + 1 - from).min(step)).unwrap_or(EPOCHS_WANTED_MAX)));
        Next::Want(*peer, wants.collect())
    }

    /// An epoch came; the run, if it is whole now. A peer may give what it told of without being asked, as one does that says
    /// farewell; but of two peers the one that gives something first is listened to, and what comes late is passed over.
    pub(super) fn epoch(&mut self, peer: &NodeId, epoch: UntrustedEpoch, now: Instant) -> Option<Vec<UntrustedEpoch>> {
        let is_other = |run: &Run| run.peer != *peer && run.epochs.is_empty();
        if self.current.as_ref().is_none_or(is_other) {
            let until = self.tips.get(peer)?.number;
            self.current = Some(Run { peer: *peer, until, epochs: Vec::new(), ends: now + RUN_PATIENCE });
        }
        let run = self.current.as_mut().filter(|run| run.peer == *peer)?;
        let follows = run.epochs.last().is_none_or(|last| last.number() + 1 == epoch.number());
        if !follows || run.epochs.len() >= EPOCHS_KEPT {
            run.epochs.clear();
        }
        let is_last = epoch.number() == run.until;
        run.epochs.push(epoch);
        is_last.then(|| self.current.take().map(|run| run.epochs)).flatten()
    }

    /// The run that a peer gave doesn't reach what is known here: it should begin with this number.
    pub(super) fn behind(&mut self, peer: &NodeId, from: u64) {
        if let Some(tip) = self.tips.get_mut(peer) {
            tip.from = Some(from);
        }
    }

    /// What a peer told of was seen: it is not wanted again.
    pub(super) fn settled(&mut self, peer: &NodeId) {
        if let Some(tip) = self.tips.get_mut(peer) {
            tip.asked = ASKED_MAX;
        }
    }

    /// What was seen may look otherwise now: a rival that lost may have won since.
    pub(super) fn again(&mut self) {
        self.tips.values_mut().for_each(|tip| (tip.asked, tip.from) = (0, None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_block::DeviceKey;
    use cairn_block::circle::{Class, Epoch, Member, Role};

    fn node(seed: u8) -> NodeId {
        NodeId::new(DeviceKey::from_bytes(&[seed; 32]).id()).expect("a key")
    }

    /// A chain of as many epochs, and its epochs.
    fn chain(length: u64) -> (Chain, Vec<UntrustedEpoch>) {
        let key = DeviceKey::from_bytes(&[1; 32]);
        let member = Member {
            node: key.id(),
            name: "a".into(),
            zone: "z".into(),
            capacity: 0,
            role: Role::Owner,
            class: Class::Anchor,
            joined: 1,
        };
        let first = UntrustedEpoch::new(Epoch::found(&key, vec![member]).expect("signed")).expect("an epoch");
        let mut chain = Chain::new(first.verify_first(first.circle()).expect("a first one"));
        let mut epochs = vec![first];
        while chain.newest().number < length {
            let newest = chain.newest();
            let mut members = newest.members.clone();
            members[0].capacity = newest.number;
            let next = UntrustedEpoch::new(newest.next(members, vec![], &key).expect("signed")).expect("an epoch");
            chain.offer(std::slice::from_ref(&next)).expect("it follows");
            epochs.push(next);
        }
        (chain, epochs)
    }

    #[test]
    fn one_run_at_a_time_in_wants_that_may_be_sent_and_the_next_peer_when_it_takes_too_long() {
        let ((chain, _), (mut runs, now)) = (chain(2), (Runs::default(), Instant::now()));
        for peer in [1, 2] {
            runs.tip(node(peer), 22, [peer; 32]);
            assert_eq!(runs.next(&chain, now), Next::Nothing, "there is no lane to it");
        }
        [1, 2].into_iter().for_each(|peer| runs.opened(node(peer)));
        let Next::Want(first, wants) = runs.next(&chain, now) else { panic!("something is missing") };
        assert_eq!(wants, [(3, 16), (19, 4)]);
        assert_eq!(runs.next(&chain, now), Next::Nothing);
        let late = now + RUN_PATIENCE;
        assert!(matches!(runs.next(&chain, late), Next::Want(second, _) if second != first));
        // After some turns nobody is asked any more who gave nothing.
        let asked = (2..20).filter(|n| runs.next(&chain, now + RUN_PATIENCE * *n) != Next::Nothing).count();
        assert_eq!(asked, 2 * usize::from(ASKED_MAX) - 2);
    }

    #[test]
    fn what_is_too_far_away_is_told_and_what_is_known_is_not_wanted() {
        let ((chain, epochs), (mut runs, now)) = (chain(5), (Runs::default(), Instant::now()));
        runs.opened(node(1));
        runs.tip(node(1), 5 + EPOCHS_KEPT as u64 + 1, [9; 32]);
        assert_eq!(runs.next(&chain, now), Next::OutOfReach(node(1), 5 + EPOCHS_KEPT as u64 + 1));
        let known = chain.get(3).expect("kept");
        runs.tip(node(1), 3, *known.hash());
        assert_eq!(runs.next(&chain, now), Next::Nothing);
        // A rival: everything from the lowest that can be compared.
        runs.tip(node(1), 4, [9; 32]);
        assert_eq!(runs.next(&chain, now), Next::Want(node(1), vec![(2, 3)]));
        assert!(runs.epoch(&node(2), epochs[0].clone(), now).is_none(), "it told of nothing");
    }

    #[test]
    fn a_run_is_whole_with_what_was_told_of_and_begins_anew_where_it_does_not_follow() {
        let ((chain, _), (_, epochs)) = (chain(1), chain(6));
        let (mut runs, now) = (Runs::default(), Instant::now());
        runs.tip(node(1), 4, [9; 32]);
        // Without being asked, in disorder.
        for number in [5, 1, 2, 3] {
            assert!(runs.epoch(&node(1), epochs[number - 1].clone(), now).is_none());
        }
        assert!(runs.epoch(&node(2), epochs[3].clone(), now).is_none(), "somebody else");
        runs.closed(&node(1));
        let run = runs.epoch(&node(1), epochs[3].clone(), now).expect("it is whole");
        assert_eq!(run.iter().map(UntrustedEpoch::number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        runs.settled(&node(1));
        runs.opened(node(2));
        assert_eq!(runs.next(&chain, now), Next::Nothing);
    }
}
