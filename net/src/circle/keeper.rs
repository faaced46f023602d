//! The one task that owns the circle: orders of the program and messages of members, one after the other.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::circle::{Chain, Epoch, Fork, Offer, UntrustedEpoch};
use cairn_block::{DeviceId, DeviceKey};
use tokio::sync::{mpsc, oneshot, watch};

use super::addresses::{Addresses, Source, own};
use super::change::Change;
use super::inviting::{Invite, InviteOffer, InviteState, Open};
use super::runs::{Next, Runs};
use super::view::{CircleView, OutOfReach, Standing};
use super::{CircleError, CircleShelf, SavedCircle, chain_of};
use crate::driver::Driver;
use crate::join::{Asked, Code, Ends, Grant, Invitation, JoinError, Request};
use crate::lane::Lane;
use crate::lanes::Ties;
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::talk::{Heard, Talk};
use crate::wire::Message;
use crate::wire::circle::{CircleMessage, Whereabouts};
use crate::wire::join::{CONFIRMATION_BYTES, PAKE_BYTES, SECRET_BYTES_MAX, Welcome};

/// Orders that wait for the keeper; it saves between two of them, which takes a moment.
const ORDERS_MAX: usize = 64;
/// How often it looks what is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The shortest time between two tellings of whereabouts to all.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long addresses may be unsaved. They are worth little; epochs don't wait.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// How often everything is told again, should anything have gone wrong: some bytes.
const REPEAT_EVERY: Duration = Duration::from_secs(300);
/// Rival branches that are kept as evidence.
const FORKS_MAX: usize = 8;
/// How long a node that was removed has to take what says so; the driver waits as long before it disconnects.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often the same node is told that it was removed.
const FAREWELL_EVERY: Duration = Duration::from_secs(60);
/// Lists of whereabouts that one peer is listened to in [`WORD_EVERY`]: twelve come of themselves, the others with new lanes.
const WORDS_MAX: u32 = 30;
const WORD_EVERY: Duration = Duration::from_secs(60);

type Answer<T> = oneshot::Sender<T>;
pub(super) type Replied = Result<Reply, JoinError>;

/// What answers a *hello*.
pub(super) struct Reply {
    pub(super) pake: [u8; PAKE_BYTES],
    pub(super) confirmation: [u8; CONFIRMATION_BYTES],
    pub(super) begun: Begun,
}

/// An exchange that was begun, waiting for the *ask*.
pub(super) struct Begun {
    asked: Asked,
    /// The invitation that it is of: what was begun under one is nothing to the next.
    pub(super) round: u64,
}

enum Order {
    Found(Request, Answer<Result<Arc<Epoch>, CircleError>>),
    Propose(Change, Answer<Result<Arc<Epoch>, CircleError>>),
    Choose([u8; 32], Answer<Result<Arc<Epoch>, CircleError>>),
    Invite(InviteOffer, Answer<Result<Invite, CircleError>>),
    Withdraw,
    Hello(Ends, [u8; PAKE_BYTES], Answer<Replied>),
    Ask(Asks, Answer<Option<Welcome>>),
    ExchangeEnded(u64),
    Adopt(Adopts, Answer<Result<(), CircleError>>),
    End(Answer<()>),
}

/// An *ask* as it came.
pub(super) struct Asks {
    pub(super) ends: Ends,
    pub(super) begun: Begun,
    pub(super) confirmation: [u8; CONFIRMATION_BYTES],
    pub(super) sealed: Bytes,
}

/// A circle that this node was taken into.
pub(super) struct Adopts {
    pub(super) epochs: Vec<Bytes>,
    pub(super) whereabouts: Whereabouts,
    pub(super) inviter: NodeId,
    pub(super) address: SocketAddr,
}

/// What the keeper is told by the program.
#[derive(Clone)]
pub(crate) struct Orders(mpsc::Sender<Order>);

/// What comes of orders, for [`Keeper::run`].
pub(crate) struct Taken(mpsc::Receiver<Order>);

impl Orders {
    pub(crate) fn new() -> (Orders, Taken) {
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        (Orders(orders), Taken(taken))
    }

    async fn give<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.0.send(order(answer)).await.ok()?;
        answered.await.ok()
    }

    pub(crate) async fn found(&self, request: Request) -> Result<Arc<Epoch>, CircleError> {
        self.give(|answer| Order::Found(request, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn propose(&self, change: Change) -> Result<Arc<Epoch>, CircleError> {
        self.give(|answer| Order::Propose(change, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn choose(&self, hash: [u8; 32]) -> Result<Arc<Epoch>, CircleError> {
        self.give(|answer| Order::Choose(hash, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn invite(&self, offer: InviteOffer) -> Result<Invite, CircleError> {
        self.give(|answer| Order::Invite(offer, answer)).await.unwrap_or(Err(CircleError::Ended))
    }

    pub(crate) async fn withdraw(&self) {
        let _ = self.0.send(Order::Withdraw).await;
    }

    pub(crate) async fn end(&self) {
        let _ = self.give(Order::End).await;
    }

    pub(super) async fn hello(&self, ends: Ends, hello: [u8; PAKE_BYTES]) -> Replied {
        self.give(|answer| Order::Hello(ends, hello, answer)).await.unwrap_or(Err(JoinError::WrongCode))
    }

    /// The answer to an *ask*; none where it is what no node of ours sends. The exchange has ended with it.
    pub(super) async fn ask(&self, asks: Asks) -> Option<Welcome> {
        self.give(|answer| Order::Ask(asks, answer)).await.unwrap_or(Some(Welcome::Refused))
    }

    pub(super) async fn exchange_ended(&self, round: u64) {
        let _ = self.0.send(Order::ExchangeEnded(round)).await;
    }

    pub(super) async fn adopt(&self, adopts: Adopts) -> Result<(), CircleError> {
        self.give(|answer| Order::Adopt(adopts, answer)).await.unwrap_or(Err(CircleError::Ended))
    }
}

pub(crate) struct Keeper {
    key: DeviceKey,
    me: DeviceId,
    driver: Driver,
    strikes: Arc<Strikes>,
    shelf: Arc<dyn CircleShelf>,
    talk: Talk<CircleMessage>,
    chain: Option<Chain>,
    addresses: Addresses,
    runs: Runs,
    forks: Vec<Arc<Fork>>,
    out_of_reach: Option<OutOfReach>,
    open: Option<Open>,
    rounds: u64,
    view: watch::Sender<Option<Arc<CircleView>>>,
    /// When nodes that were removed were told so.
    farewells: HashMap<NodeId, Instant>,
    /// Since when each peer told how many lists of whereabouts.
    words: HashMap<NodeId, (Instant, u32)>,
    told_at: Option<Instant>,
    repeated_at: Instant,
    is_to_tell: bool,
    unsaved_since: Option<Instant>,
}

impl Keeper {
    /// Takes up what was saved. What is in it was verified by [`SavedCircle::chain`].
    pub(crate) fn new(
        key: DeviceKey,
        driver: Driver,
        strikes: Arc<Strikes>,
        shelf: Arc<dyn CircleShelf>,
        talk: Talk<CircleMessage>,
        saved: Option<(Chain, Whereabouts)>,
    ) -> (Keeper, watch::Receiver<Option<Arc<CircleView>>>) {
        let me = key.id();
        let mut addresses = Addresses::default();
        let chain = saved.map(|(chain, known)| {
            for (node, known) in known.iter().filter(|(node, _)| chain.newest().member(node).is_some()) {
                // The best first: the last one that is noted comes first.
                addresses.note(*node, &known.iter().rev().copied().collect::<Vec<_>>(), Source::Kept);
            }
            chain
        });
        let (view, seen) = watch::channel(None);
        let mut keeper = Keeper {
            key,
            me,
            driver,
            strikes,
            shelf,
            talk,
            chain,
            addresses,
            runs: Runs::default(),
            forks: Vec::new(),
            out_of_reach: None,
            open: None,
            rounds: 0,
            view,
            farewells: HashMap::new(),
            words: HashMap::new(),
            told_at: None,
            repeated_at: Instant::now(),
            is_to_tell: false,
            unsaved_since: None,
        };
        keeper.show();
        (keeper, seen)
    }

    /// Takes orders and messages until the program ends it. `hears` is what the conversation hears.
    pub(crate) async fn run(mut self, mut orders: Taken, mut hears: mpsc::Receiver<Heard<CircleMessage>>) {
        let (mut ties, mut listens) = (self.driver.ties(), self.driver.listens());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.follow().await;
        loop {
            tokio::select! {
                order = orders.0.recv() => match order {
                    Some(Order::End(answer)) => {
                        self.save_addresses().await;
                        let _ = answer.send(());
                        return;
                    }
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                heard = hears.recv() => match heard {
                    Some(heard) => self.hear(heard).await,
                    None => return,
                },
                Ok(()) = ties.changed() => {
                    let now = ties.borrow_and_update().clone();
                    self.tied(&now);
                }
                Ok(()) = listens.changed() => {
                    self.is_to_tell = true;
                }
                _ = look.tick() => self.look().await,
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Found(request, answer) => drop(answer.send(self.found(request).await)),
            Order::Propose(change, answer) => drop(answer.send(self.propose(change).await)),
            Order::Choose(hash, answer) => drop(answer.send(self.choose(&hash).await)),
            Order::Invite(offer, answer) => drop(answer.send(self.invite(offer))),
            Order::Withdraw => self.close_invitation(InviteState::Withdrawn),
            Order::Hello(ends, hello, answer) => drop(answer.send(self.hello(ends, &hello))),
            Order::Ask(asks, answer) => {
                let round = asks.begun.round;
                let _ = answer.send(self.ask(asks).await);
                self.exchange_ended(round);
            }
            Order::ExchangeEnded(round) => self.exchange_ended(round),
            Order::Adopt(adopts, answer) => drop(answer.send(self.adopt(adopts).await)),
            Order::End(_) => {}
        }
    }

    // --- what the circle is

    async fn found(&mut self, request: Request) -> Result<Arc<Epoch>, CircleError> {
        self.check_free()?;
        let first = Epoch::found(&self.key, vec![request.member(self.me, cairn_block::circle::Role::Owner)])?;
        let first = UntrustedEpoch::new(first)?;
        let chain = Chain::new(first.verify_first(first.circle())?);
        self.begin(chain, Addresses::default()).await
    }

    async fn adopt(&mut self, adopts: Adopts) -> Result<(), CircleError> {
        self.check_free()?;
        let chain = chain_of(&adopts.epochs)?;
        let newest = chain.newest();
        if newest.member(&self.me).is_none() || !newest.is_owner(&adopts.inviter.device()) {
            return Err(CircleError::NotOurs);
        }
        let mut addresses = Addresses::default();
        let is_other = |node: &DeviceId| *node != self.me && newest.member(node).is_some();
        for (node, known) in adopts.whereabouts.iter().filter(|(node, _)| is_other(node)) {
            addresses.note(*node, known, Source::Hearsay);
        }
        addresses.note(adopts.inviter.device(), &[adopts.address], Source::Worked);
        self.begin(chain, addresses).await.map(drop)
    }

    fn check_free(&self) -> Result<(), CircleError> {
        // Who was removed may begin anew.
        let is_in = self.chain.as_ref().is_some_and(|chain| Standing::of(chain, &self.me).is_member());
        if is_in { Err(CircleError::InCircle) } else { Ok(()) }
    }

    async fn begin(&mut self, chain: Chain, addresses: Addresses) -> Result<Arc<Epoch>, CircleError> {
        let newest = Arc::clone(chain.newest());
        self.save(SavedCircle::of(&chain, addresses.all())).await.map_err(CircleError::NotSaved)?;
        (self.chain, self.addresses) = (Some(chain), addresses);
        (self.forks, self.out_of_reach) = (Vec::new(), None);
        self.act(None).await;
        Ok(newest)
    }

    async fn propose(&mut self, change: Change) -> Result<Arc<Epoch>, CircleError> {
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
    async fn choose(&mut self, hash: &[u8; 32]) -> Result<Arc<Epoch>, CircleError> {
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
    async fn go_on(&mut self, chain: Chain) -> Result<(), String> {
        self.save(SavedCircle::of(&chain, self.addresses.all())).await?;
        let before = self.chain.replace(chain);
        self.runs.again();
        self.act(before.as_ref().map(|chain| &**chain.newest())).await;
        Ok(())
    }

    /// Does what the newest epoch says.
    async fn act(&mut self, before: Option<&Epoch>) {
        let Some(chain) = &self.chain else { return };
        let newest = Arc::clone(chain.newest());
        tracing::info!(number = newest.number, members = newest.members.len(), "the circle has a new epoch");
        self.addresses.keep(|node| newest.member(node).is_some());
        self.runs.keep(|peer| newest.member(&peer.device()).is_some());
        self.follow().await;
        let ties = self.driver.ties().borrow().clone();
        for gone in before.into_iter().flat_map(|before| &before.members).filter(|m| newest.member(&m.node).is_none()) {
            if let Some(node) = NodeId::new(gone.node).filter(|node| ties.contains_key(node)) {
                self.farewell(node);
            }
        }
        for peer in self.talk.peers() {
            self.tell_tip(&peer);
        }
        self.is_to_tell = true;
        self.show();
        if !newest.is_owner(&self.me) {
            self.close_invitation(InviteState::Withdrawn);
        }
    }

    /// Members are those of the newest epoch; none where this node is none of them.
    async fn follow(&mut self) {
        let Some(chain) = &self.chain else { return };
        let newest = chain.newest();
        let is_in = newest.member(&self.me).is_some();
        let members = newest.members.iter().filter(|_| is_in).filter_map(|member| NodeId::new(member.node));
        self.driver.set_members(members.collect::<HashSet<_>>()).await;
        for (node, known) in self.addresses.all() {
            if let Some(node) = NodeId::new(node).filter(|_| is_in && node != self.me) {
                self.driver.may_be(node, known).await;
            }
        }
    }

    fn show(&mut self) {
        let Some(chain) = &self.chain else { return };
        self.view.send_replace(Some(Arc::new(CircleView {
            newest: Arc::clone(chain.newest()),
            standing: Standing::of(chain, &self.me),
            forks: self.forks.clone(),
            choice: chain.choice().copied(),
            out_of_reach: self.out_of_reach,
        })));
    }

    /// In order: the next thing is done when this one is kept.
    async fn save(&mut self, saved: SavedCircle) -> Result<(), String> {
        let shelf = Arc::clone(&self.shelf);
        let kept = tokio::task::spawn_blocking(move || shelf.save(&saved)).await;
        kept.unwrap_or_else(|_| Err("saving ended halfway".into()))?;
        self.unsaved_since = None;
        Ok(())
    }

    async fn save_addresses(&mut self) {
        let Some(chain) = self.chain.as_ref().filter(|_| self.unsaved_since.is_some()) else { return };
        let saved = SavedCircle::of(chain, self.addresses.all());
        if let Err(error) = self.save(saved).await {
            tracing::warn!(error, "addresses of members can't be saved");
            self.unsaved_since = Some(Instant::now());
        }
    }

    // --- what members say

    async fn hear(&mut self, heard: Heard<CircleMessage>) {
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
    fn want(&mut self) {
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

    async fn offered(&mut self, peer: NodeId, run: &[UntrustedEpoch]) {
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
        let is_new = self.chain.as_ref().is_some_and(|known| known.newest().hash() != chain.newest().hash());
        if is_new && let Err(error) = self.go_on(chain).await {
            return tracing::error!(error, "a new epoch can't be saved, so it is not followed");
        }
        // After `go_on`, which forgets what was seen.
        self.runs.settled(&peer);
        if let Some(fork) = fork {
            self.note_fork(peer, fork);
        }
    }

    fn note_fork(&mut self, peer: NodeId, fork: Fork) {
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

    fn tell_tip(&self, peer: &NodeId) {
        if let Some(newest) = self.chain.as_ref().map(Chain::newest) {
            let tip = CircleMessage::Tip { circle: newest.circle, number: newest.number, hash: *newest.hash() };
            self.talk.say(peer, tip);
        }
    }

    // --- where members are

    /// A member tells where members are; of itself it knows best.
    async fn told(&mut self, peer: NodeId, whereabouts: &Whereabouts) {
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

    async fn note(&mut self, node: DeviceId, known: &[SocketAddr], source: Source) {
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

    fn whereabouts(&self) -> Whereabouts {
        let mut told = self.addresses.told();
        let own = own(&self.driver.listens().borrow());
        if !own.is_empty() {
            told.insert(self.me, own);
        }
        told
    }

    fn tell_whereabouts(&self, peer: &NodeId) {
        if self.chain.is_some() {
            let mut told = self.whereabouts();
            told.remove(&peer.device());
            self.talk.say(peer, CircleMessage::Whereabouts(told));
        }
    }

    /// Who is connected has changed.
    fn tied(&mut self, ties: &Ties) {
        let Some(chain) = &self.chain else { return };
        let mut reached = Vec::new();
        for (peer, tie) in ties.iter().filter(|(_, tie)| tie.is_member) {
            reached.extend(tie.dialed.map(|address| (peer.device(), address)));
        }
        // Somebody who was removed and doesn't know: this is how it can.
        let is_in = chain.newest().member(&self.me).is_some();
        let was_in = |peer: &NodeId| {
            chain.newest().member(&peer.device()).is_none()
                && chain.run(chain.oldest().number).any(|epoch| epoch.member(&peer.device()).is_some())
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

    /// Shows a node that it was removed, and disconnects it. It is shown the epochs up to the one that removed it and none
    /// after that: those of its own time it may know.
    fn farewell(&mut self, node: NodeId) {
        self.farewells.retain(|_, at| at.elapsed() < FAREWELL_EVERY);
        let Some(chain) = self.chain.as_ref().filter(|_| !self.farewells.contains_key(&node)) else { return };
        self.farewells.insert(node, Instant::now());
        let epochs: Vec<Arc<Epoch>> = chain.run(chain.oldest().number).cloned().collect();
        let with = |epoch: &Arc<Epoch>| epoch.member(&node.device()).is_some();
        let (Some(first), Some(last)) = (epochs.iter().position(with), epochs.iter().rposition(with)) else { return };
        let shown: Vec<Arc<Epoch>> = epochs[first..].iter().take(last + 2 - first).cloned().collect();
        let driver = self.driver.clone();
        tokio::spawn(async move {
            let shown = tokio::time::timeout(FAREWELL, show_removal(&driver, node, &shown)).await;
            tracing::debug!(peer = %node, ?shown, "a node that was removed was told so");
            driver.part(node).await;
        });
    }

    async fn look(&mut self) {
        let now = Instant::now();
        if let Some(ended) = self.open.as_ref().and_then(|open| open.ended(now)) {
            self.close_invitation(ended);
        }
        if self.is_to_tell && self.told_at.is_none_or(|at| now >= at + TELL_EVERY) {
            (self.is_to_tell, self.told_at) = (false, Some(now));
            self.talk.peers().iter().for_each(|peer| self.tell_whereabouts(peer));
        }
        if now >= self.repeated_at + REPEAT_EVERY {
            self.repeated_at = now;
            self.runs.again();
            self.talk.peers().iter().for_each(|peer| self.tell_tip(peer));
        }
        if self.unsaved_since.is_some_and(|since| now >= since + SAVE_EVERY) {
            self.save_addresses().await;
        }
        self.want();
    }

    // --- who comes

    fn invite(&mut self, offer: InviteOffer) -> Result<Invite, CircleError> {
        let chain = self.chain.as_ref().ok_or(CircleError::NoCircle)?;
        if !chain.newest().is_owner(&self.me) {
            return Err(CircleError::NotOwner);
        }
        match self.open.as_ref().map(|open| open.ended(Instant::now())) {
            Some(None) => return Err(CircleError::InvitationOpen),
            Some(Some(ended)) => self.close_invitation(ended),
            None => {}
        }
        if offer.secret.as_ref().is_some_and(|secret| secret.len() > SECRET_BYTES_MAX) {
            return Err(CircleError::SecretTooLong);
        }
        let code = Code::generate().map_err(|_| CircleError::NoRandomness)?;
        let invitation = Invitation::new(code.copy(), Instant::now(), offer.lasts);
        let expires = invitation.expires();
        let (told, state) = watch::channel(InviteState::Open { tries_left: invitation.tries_left() });
        self.rounds += 1;
        self.open = Some(Open { invitation, offer, told, under_way: 0, round: self.rounds });
        self.driver.doorman().admit_guests(true);
        Ok(Invite { code, expires, state })
    }

    fn close_invitation(&mut self, state: InviteState) {
        if let Some(mut open) = self.open.take() {
            open.invitation.close();
            open.told.send_replace(state);
        }
        self.driver.doorman().admit_guests(false);
    }

    fn hello(&mut self, ends: Ends, hello: &[u8; PAKE_BYTES]) -> Replied {
        let open = self.open.as_mut().ok_or(JoinError::WrongCode)?;
        let replied = open.invitation.hello(Instant::now(), ends, hello);
        open.under_way += usize::from(replied.is_ok());
        open.told.send_replace(InviteState::Open { tries_left: open.invitation.tries_left() });
        let round = open.round;
        replied.map(|(pake, confirmation, asked)| Reply { pake, confirmation, begun: Begun { asked, round } })
    }

    /// An exchange that a *hello* began is over.
    fn exchange_ended(&mut self, round: u64) {
        let Some(open) = self.open.as_mut().filter(|open| open.round == round) else { return };
        open.under_way = open.under_way.saturating_sub(1);
        open.told.send_replace(InviteState::Open { tries_left: open.invitation.tries_left() });
        if let Some(ended) = open.ended(Instant::now()) {
            self.close_invitation(ended);
        }
    }

    async fn ask(&mut self, asks: Asks) -> Option<Welcome> {
        let Asks { ends, begun: Begun { asked, round }, confirmation, sealed } = asks;
        let open = self.open.as_mut().filter(|open| open.round == round);
        let Some(open) = open else { return Some(Welcome::WrongCode) };
        let request = match open.invitation.ask(Instant::now(), &asked, &confirmation, &sealed) {
            Ok(request) => request,
            Err(JoinError::WrongCode) => return Some(Welcome::WrongCode),
            Err(JoinError::Expired) => return Some(Welcome::Expired),
            Err(JoinError::Protocol) => return None,
        };
        let role = open.offer.role;
        let node = ends.joiner;
        let mut name = request.name.clone();
        match self.propose(Change::Add { node, request, role }).await {
            Ok(_) => {}
            // It was taken before and didn't hear of it: it is what it was.
            Err(CircleError::AlreadyMember) => {
                let member = self.chain.as_ref().and_then(|chain| chain.newest().member(&node));
                name = member.map_or(name, |member| member.name.clone());
            }
            Err(error) => {
                tracing::warn!(%node, %error, "a node that knew the code was not taken");
                if let Some(open) = &mut self.open {
                    open.invitation.give_back();
                }
                return Some(match error {
                    CircleError::NameTaken(_) => Welcome::NameTaken,
                    CircleError::Revoked => Welcome::Revoked,
                    _ => Welcome::Refused,
                });
            }
        }
        let secret = self.open.as_mut().and_then(|open| open.offer.secret.take());
        self.close_invitation(InviteState::Joined { node, name });
        let chain = self.chain.as_ref()?;
        let epochs = chain.run(chain.oldest().number).map(|epoch| epoch.bytes().clone()).collect();
        Some(Welcome::In(asked.welcome(&Grant { epochs, secret, whereabouts: self.whereabouts() })))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close_invitation(InviteState::Withdrawn);
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
