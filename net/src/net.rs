//! A node among others: what the rest of the program holds.

use std::net::SocketAddr;
use std::sync::Arc;

use cairn_block::circle::Epoch;
use cairn_block::{BlockId, DeviceKey};
use cairn_store::BlockStore;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::circle::{
    Change, CircleError, CircleShelf, CircleView, Invite, InviteOffer, JoinFailure, Joined, Keeper, Orders,
    SavedCircle, join, serve_guests,
};
use crate::driver::{Driver, NetError, NetOptions, PeerState};
use crate::fetch::Fetcher;
use crate::heads::{self, HeadsBell, HeadsBook};
use crate::holders;
use crate::join::{Code, Request};
use crate::lane::LaneError;
use crate::lanes::Doorman;
use crate::node_id::NodeId;
use crate::router::Router;
use crate::serve::Server;
use crate::strikes::{Strike, Strikes};
use crate::talk::Talk;
use crate::wire::Message;
use crate::wire::blocks::BlocksMessage;
use crate::wire::circle::CircleMessage;
use crate::wire::heads::HeadsMessage;
use crate::wire::join::JoinMessage;

/// A node that talks to others. Ends when it is dropped; [`Net::end`] waits until it has.
pub struct Net {
    key: DeviceKey,
    driver: Driver,
    strikes: Arc<Strikes>,
    fetcher: Arc<Fetcher>,
    orders: Orders,
    view: watch::Receiver<Option<Arc<CircleView>>>,
    bell: HeadsBell,
    /// The driver's first; the others end with it.
    tasks: Vec<JoinHandle<()>>,
}

impl Net {
    /// Starts to listen, to serve the blocks of `store` to members, to follow the circle that was saved, and to exchange the heads
    /// of `book`. Has to be called in a tokio runtime.
    pub fn start(
        key: &DeviceKey,
        options: &NetOptions,
        store: Arc<dyn BlockStore>,
        saved: Option<SavedCircle>,
        shelf: Arc<dyn CircleShelf>,
        book: Option<Arc<dyn HeadsBook>>,
    ) -> Result<Net, NetError> {
        // A router blocks the thread that asks it: there have to be others that go on.
        if tokio::runtime::Handle::current().runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
            return Err(NetError::Transport("it takes a runtime with several threads".into()));
        }
        let saved = saved.map(|saved| saved.chain().map(|chain| (chain, saved.addresses))).transpose();
        let saved = saved.map_err(NetError::SavedCircle)?;
        let mut doorman = Doorman::default();
        let wants = doorman.for_members(BlocksMessage::PROTOCOL);
        let talkers = doorman.for_members(CircleMessage::PROTOCOL);
        let book = book.map(|book| (book, doorman.for_members(HeadsMessage::PROTOCOL)));
        let guests = doorman.for_guests(JoinMessage::PROTOCOL);
        let (driver, driving) = Driver::start(key, options, doorman)?;
        let strikes = Arc::<Strikes>::default();
        let fetcher = Arc::new(Fetcher::new(driver.clone(), Arc::clone(&strikes)));
        let server = Server::new(store, Arc::clone(&strikes));
        let serving = tokio::spawn(server.run(wants));
        let (talk, hears, talking) = Talk::start(driver.clone(), Arc::clone(&strikes), talkers);
        let (orders, taken) = Orders::new();
        let own_key = || DeviceKey::from_bytes(key.as_bytes());
        let (keeper, view) = Keeper::new(own_key(), driver.clone(), Arc::clone(&strikes), shelf, talk, saved);
        let keeping = tokio::spawn(keeper.run(taken, hears));
        let inviting = tokio::spawn(serve_guests(guests, orders.clone(), Arc::clone(&strikes), key.id()));
        let mut tasks = vec![driving, serving, talking, keeping, inviting];
        let bell = HeadsBell::default();
        if let Some((book, arrivals)) = book {
            let (talk, hears, talking) = Talk::start(driver.clone(), Arc::clone(&strikes), arrivals);
            let exchanging = heads::start(key.id(), book, Arc::clone(&strikes), talk, hears, bell.clone());
            tasks.extend([talking, exchanging]);
        }
        Ok(Net { key: own_key(), driver, strikes, fetcher, orders, view, bell, tasks })
    }

    /// Who this node is.
    pub fn me(&self) -> NodeId {
        self.driver.me()
    }

    /// Where it listens: waits until each address that it was given is.
    pub async fn listening(&self, count: usize) -> Result<Vec<SocketAddr>, NetError> {
        self.driver.listening(count).await
    }

    /// Where it listens by now.
    pub fn listening_now(&self) -> Vec<SocketAddr> {
        self.driver.listens().borrow().clone()
    }

    /// What tells the exchange of heads that there are new ones.
    pub fn heads_bell(&self) -> HeadsBell {
        self.bell.clone()
    }

    /// For each id, none twice, whether a member says that it has the block.
    pub async fn has(&self, member: NodeId, ids: &[BlockId]) -> Result<Vec<bool>, LaneError> {
        holders::has(&self.driver, member, ids).await
    }

    /// Says where a node may be found; it is connected with from now on.
    pub async fn know(&self, node: NodeId, addresses: Vec<SocketAddr>) {
        self.driver.know(node, addresses).await;
    }

    /// The circle as this node sees it; none before one was founded or joined.
    pub fn circle(&self) -> watch::Receiver<Option<Arc<CircleView>>> {
        self.view.clone()
    }

    /// Makes a circle with this node as its owner.
    pub async fn found(&self, request: Request) -> Result<Arc<Epoch>, CircleError> {
        self.orders.found(request).await
    }

    /// Signs the next epoch, as an owner. It is saved when this returns, and members are told.
    pub async fn propose(&self, change: Change) -> Result<Arc<Epoch>, CircleError> {
        self.orders.propose(change).await
    }

    /// Chooses an epoch by its hash, where rival branches can't be judged or a person judges otherwise.
    pub async fn choose(&self, epoch: [u8; 32]) -> Result<Arc<Epoch>, CircleError> {
        self.orders.choose(epoch).await
    }

    /// Opens an invitation, as an owner; one at a time.
    pub async fn invite(&self, offer: InviteOffer) -> Result<Invite, CircleError> {
        self.orders.invite(offer).await
    }

    /// Takes an open invitation back.
    pub async fn withdraw(&self) {
        self.orders.withdraw().await;
    }

    /// Joins the circle of whoever invites at one of the addresses, whose key isn't known yet or is the expected one. When it
    /// returns the circle is saved, and this node a member that acts as one.
    pub async fn join(
        &self,
        addresses: &[SocketAddr],
        expect: Option<NodeId>,
        code: &Code,
        request: Request,
    ) -> Result<Joined, JoinFailure> {
        join(&self.driver, &self.orders, &self.key, (addresses, expect), code, request).await
    }

    /// Says who the members are, beside any circle: for tests of what members do.
    #[cfg(test)]
    pub(crate) async fn set_members(&self, members: impl IntoIterator<Item = cairn_block::DeviceId>) {
        self.driver.set_members(members.into_iter().filter_map(NodeId::new).collect()).await;
    }

    /// Everybody that is known, and how the connection is.
    pub async fn peers(&self) -> Result<Vec<PeerState>, NetError> {
        self.driver.peers().await
    }

    /// What a peer did that no node of ours does.
    pub fn strikes_of(&self, peer: &NodeId) -> Vec<Strike> {
        self.strikes.of(peer)
    }

    /// A store that asks the members for what `own` lacks.
    pub fn router(&self, own: Arc<dyn BlockStore>) -> Router {
        Router::new(own, Arc::clone(&self.fetcher), tokio::runtime::Handle::current())
    }

    /// Saves what is unsaved, and ends all connections.
    pub async fn end(mut self) {
        self.orders.end().await;
        self.driver.end().await;
        let _ = (&mut self.tasks[0]).await;
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
