//! Which epochs count: those that this node signs, and those that members have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::circle::{Chain, Epoch, Fork, Offer, Role, UntrustedEpoch};

use super::Keeper;
use super::orders::Adopts;
use crate::circle::addresses::{Addresses, Source};
use crate::circle::runs::Next;
use crate::circle::{Change, CircleError, OutOfReach, SavedCircle, Standing, chain_of};
use crate::driver::Driver;
use crate::join::Request;
use crate::lane::Lane;
use crate::node_id::NodeId;
use crate::talk::Heard;
use crate::wire::Message;
use crate::wire::circle::CircleMessage;

/// Rival branches that are kept as evidence.
const FORKS_MAX: usize = 8;
/// How long a node that was removed has to take what says so; the driver waits as long before it disconnects.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often the same node is told that it was removed.
const FAREWELL_EVERY: Duration = Duration::from_secs(60);

impl Keeper {
    pub(super) async fn found(&mut self, request: Request) -> Result<Arc<Epoch>, CircleError> {
        self.check_free()?;
        let first = Epoch::found(&self.key, vec![request.member(self.me, Role::Owner)])?;
        let first = UntrustedEpoch::new(first)?;
        let chain = Chain::new(first.verify_first(first.circle())?);
        self.begin(chain, Addresses::default()).await
    }

    pub(super) async fn adopt(&mut self, adopts: Adopts) -> Result<(), CircleError> {
        self.check_free()?;
        let chain = chain_of(&adopts.epochs)?;
        let newest = chain.newest();
        if newest.member(&self.me).is_none() || !newest.is_owner(&adopts.inviter.device()) {
            return Err(CircleError::NotOurs);
        }
        let mut addresses = Addresses::default();
        let is_other = |node: &cairn_block::DeviceId| *node != self.me && newest.member(node).is_some();
        for (node, known) in adopts.whereabouts.iter().filter(|(node, _)| is_other(node)) {
            addresses.note(*node, known, Source::Hearsay);
        }
        addresses.note(adopts.inviter.device(), &[adopts.address], Source::Worked);
        self.begin(chain, addresses).await.map(drop)
    }

    pub(super) fn check_free(&self) -> Result<(), CircleError> {
        // Who was removed may begin anew.
        let is_in = self.chain.as_ref().is_some_and(|chain| Standing::of(chain, &self.me).is_member());
        if is_in { Err(CircleError::InCircle) } else { Ok(()) }
    }

    pub(super) async fn begin(&mut self, chain: Chain, addresses: Addresses) -> Result<Arc<Epoch>, CircleError> {
        let newest = Arc::clone(chain.newest());
        self.save(SavedCircle::of(&chain, addresses.all())).await.map_err(CircleError::NotSaved)?;
        (self.chain, self.addresses) = (Some(chain), addresses);
        (self.forks, self.out_of_reach) = (Vec::new(), None);
        self.act(None).await;
        Ok(newest)
    }

    pub(super) async fn propose(&mut self, change: Change) -> Result<Arc<Epoch>, CircleError> {
        let mut chain = self.chain.clone().ok_or(CircleError::NoCircle)?;
        let newest = Arc::clone(chain.newest());
        if !newest.is_owner(&self.me) {
            return Err(CircleError::NotOwner);
        }
        let (members, revoked) = change.apply(&newest)?;
        let signed = UntrustedEpoch::new(newest.next(members, revoked, &self.key)?)?;
        let offer = chain.offer(&[signed])?;
        debug_assert_eq!(offer, Offer::Accepted(1), "it follows the newest");
        let signed = Arc::clone(chain.newest());
        self.go_on(chain).await.map_err(CircleError::NotSaved)?;
        Ok(signed)
    }

    /// A person says by its hash which epoch is right: one of a branch that was seen, or one of this chain.
    pub(super) async fn choose(&mut self, hash: &[u8; 32]) -> Result<Arc<Epoch>, CircleError> {
        let mut chain = self.chain.clone().ok_or(CircleError::NoCircle)?;
        let until = |branch: &[Arc<Epoch>]| {
            let at = branch.iter().position(|epoch| epoch.hash() == hash)?;
            Some(branch[..=at].iter().map(UntrustedEpoch::from).collect::<Vec<_>>())
        };
        let own: Vec<_> = chain.run(chain.oldest().number).cloned().collect();
        let branches = self.forks.iter().flat_map(|fork| [&fork.theirs, &fork.ours]);
        let run = until(&own).or_else(|| branches.rev().find_map(|branch| until(branch)));
        let run = run.ok_or(CircleError::NoSuchEpoch)?;
        chain.adopt(&run, hash)?;
        let newest = Arc::clone(chain.newest());
        self.go_on(chain).await.map_err(CircleError::NotSaved)?;
        Ok(newest)
    }

    /// Goes over to a chain with other epochs: saved first.
    pub(super) async fn go_on(&mut self, chain: Chain) -> Result<(), String> {
        self.save(SavedCircle::of(&chain, self.addresses.all())).await?;
        let before = self.chain.replace(chain);
        self.runs.again();
        self.act(before.as_ref().map(|chain| &**chain.newest())).await;
        Ok(())
    }

    pub(super) async fn hear(&mut self, heard: Heard<CircleMessage>) {
        match heard {
            Heard::Opened(peer) => {
                self.runs.opened(peer);
                self.tell_tip(&peer);
                self.tell_whereabouts(&peer);
            }
            Heard::Closed(peer) => self.runs.closed(&peer),
            Heard::Said(peer, CircleMessage::Tip { circle, number, hash }) => {
                if self.chain.as_ref().is_some_and(|chain| chain.newest().circle == circle) {
                    self.runs.tip(peer, number, hash);
                }
            }
            Heard::Said(peer, CircleMessage::Want { from, count }) => {
                let epochs = self.chain.iter().flat_map(|chain| chain.run(from)).take(count.into());
                for epoch in epochs {
                    self.talk.say(&peer, CircleMessage::Epoch(epoch.bytes().clone()));
                }
            }
            Heard::Said(peer, CircleMessage::Epoch(epoch)) => match UntrustedEpoch::new(epoch) {
                Ok(epoch) => {
                    if let Some(run) = self.runs.epoch(&peer, epoch, Instant::now()) {
                        self.offered(peer, &run).await;
                    }
                }
                Err(error) => self.strikes.strike(peer, error.to_string()),
            },
            Heard::Said(peer, CircleMessage::Whereabouts(whereabouts)) => self.told(peer, &whereabouts).await,
        }
        self.want();
    }

    /// Asks for what is missing, if anything is.
    pub(super) fn want(&mut self) {
        let Some(chain) = &self.chain else { return };
        match self.runs.next(chain, Instant::now()) {
            Next::Nothing => {}
            Next::Want(peer, wants) => {
                for (from, count) in wants {
                    if !self.talk.say(&peer, CircleMessage::Want { from, count }) {
                        // The next lane is told.
                        return self.runs.closed(&peer);
                    }
                }
            }
            Next::OutOfReach(peer, number) => {
                tracing::warn!(%peer, number, "a member has an epoch that can't be followed from here");
                self.out_of_reach = Some(OutOfReach { told_by: peer.device(), number });
                self.show();
            }
        }
    }

    pub(super) async fn offered(&mut self, peer: NodeId, run: &[UntrustedEpoch]) {
        let Some(mut chain) = self.chain.clone() else { return };
        // Signatures of many epochs take a while; what they are held against can't change meanwhile.
        let taken = tokio::task::spawn_blocking({
            let run = run.to_vec();
            move || chain.offer(&run).map(|offer| (offer, chain))
        });
        let (offer, chain) = match taken.await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => {
                self.runs.settled(&peer);
                return self.strikes.strike(peer, error.to_string());
            }
            Err(_) => return,
        };
        let fork = match offer {
            Offer::Known => return self.runs.settled(&peer),
            Offer::Behind { from } => return self.runs.behind(&peer, from),
            Offer::Below => {
                tracing::warn!(%peer, "a member has another past, which only a person can choose");
                return self.runs.settled(&peer);
            }
            Offer::Accepted(_) => None,
            Offer::Fork(fork) => Some(fork),
        };
        // Before it is acted on: who goes is shown why.
        if let Some(fork) = fork {
            self.note_fork(peer, fork);
        }
        let is_new = self.chain.as_ref().is_some_and(|known| known.newest().hash() != chain.newest().hash());
        if is_new && let Err(error) = self.go_on(chain).await {
            return tracing::error!(error, "a new epoch can't be saved, so it is not followed");
        }
        // After `go_on`, which forgets what was seen.
        self.runs.settled(&peer);
    }

    pub(super) fn note_fork(&mut self, peer: NodeId, fork: Fork) {
        let ends = |fork: &Fork| [&fork.ours, &fork.theirs].map(|branch| branch.last().map(|epoch| *epoch.hash()));
        if self.forks.iter().any(|known| ends(known) == ends(&fork)) {
            return;
        }
        let lost = fork.lost().len();
        tracing::warn!(%peer, verdict = ?fork.verdict, reason = ?fork.reason, lost, "the circle has rival epochs");
        self.forks.push(Arc::new(fork));
        if self.forks.len() > FORKS_MAX {
            self.forks.remove(0);
        }
        self.show();
    }

    pub(super) fn tell_tip(&self, peer: &NodeId) {
        if let Some(newest) = self.chain.as_ref().map(Chain::newest) {
            let tip = CircleMessage::Tip { circle: newest.circle, number: newest.number, hash: *newest.hash() };
            self.talk.say(peer, tip);
        }
    }

    /// Shows a node that it was removed, and disconnects it. It is shown the epochs up to the one that removed it and none
    /// after that: those of its own time it may know. None of its time are left where the branch that took it has lost.
    pub(super) fn farewell(&mut self, node: NodeId) {
        self.farewells.retain(|_, at| at.elapsed() < FAREWELL_EVERY);
        let Some(chain) = self.chain.as_ref().filter(|_| !self.farewells.contains_key(&node)) else { return };
        let epochs: Vec<Arc<Epoch>> = chain.run(chain.oldest().number).cloned().collect();
        let with = |epoch: &Arc<Epoch>| epoch.member(&node.device()).is_some();
        let shown: Vec<Arc<Epoch>> = match (epochs.iter().position(with), epochs.iter().rposition(with)) {
            (Some(first), Some(last)) => epochs[first..].iter().take(last + 2 - first).cloned().collect(),
            // It was taken on a branch that lost. What beat that branch is what convinces it, and nothing less.
            _ => match self.forks.iter().rev().find(|fork| fork.ours.iter().any(with)) {
                Some(fork) => fork.theirs.clone(),
                None => return,
            },
        };
        self.farewells.insert(node, Instant::now());
        let driver = self.driver.clone();
        tokio::spawn(async move {
            let shown = tokio::time::timeout(FAREWELL, show_removal(&driver, node, &shown)).await;
            tracing::debug!(peer = %node, ?shown, "a node that was removed was told so");
            driver.part(node).await;
        });
    }
}

/// Shows epochs to a node that takes this one for a member, on a lane of their own.
async fn show_removal(driver: &Driver, node: NodeId, epochs: &[Arc<Epoch>]) -> Option<()> {
    let stream = driver.open(node, CircleMessage::PROTOCOL).await.ok()?;
    let mut lane = Lane::<CircleMessage>::new(stream);
    let last = epochs.last()?;
    // It takes a run that ends with what it was told of.
    let tip = CircleMessage::Tip { circle: last.circle, number: last.number, hash: *last.hash() };
    lane.send(&tip).await.ok()?;
    for epoch in epochs {
        lane.send(&CircleMessage::Epoch(epoch.bytes().clone())).await.ok()?;
    }
    lane.finish().await.ok()?;
    // Until it has read all of it, and went or closed its side.
    lane.receive(FAREWELL, 0).await.ok().map(drop)
}
