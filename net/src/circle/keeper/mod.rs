//! The one task that owns the circle: orders of the program and messages of members, one after the other.

mod epochs;
mod guests;
mod orders;
mod whereabouts;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::circle::{Chain, Epoch, Fork};
use cairn_block::{DeviceId, DeviceKey};
use tokio::sync::{mpsc, watch};

use super::addresses::{Addresses, Source};
use super::inviting::{InviteState, Open};
use super::runs::Runs;
use super::view::{CircleView, OutOfReach, Standing};
use super::{CircleShelf, SavedCircle};
use crate::driver::Driver;
use crate::node_id::NodeId;
use crate::strikes::Strikes;
use crate::talk::{Heard, Talk};
use crate::wire::circle::{CircleMessage, Whereabouts};
use orders::Order;

pub(super) use orders::{Adopts, Asks, Reply};
pub(crate) use orders::{Orders, Taken};

/// How often it looks what is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The shortest time between two tellings of whereabouts to all.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long addresses may be unsaved. They are worth little; epochs don't wait.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// How often everything is told again, should anything have gone wrong: some bytes.
const REPEAT_EVERY: Duration = Duration::from_secs(300);

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
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close_invitation(InviteState::Withdrawn);
    }
}
