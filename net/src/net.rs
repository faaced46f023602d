//! A node among others: what the rest of the program holds.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use cairn_block::{DeviceId, DeviceKey};
use cairn_store::BlockStore;
use tokio::task::JoinHandle;

use crate::driver::{Driver, NetError, NetOptions, PeerState};
use crate::fetch::Fetcher;
use crate::lanes::Doorman;
use crate::node_id::NodeId;
use crate::router::Router;
use crate::serve::Server;
use crate::strikes::{Strike, Strikes};
use crate::wire::Message;
use crate::wire::blocks::BlocksMessage;

/// A node that talks to others. Ends when it is dropped; [`Net::end`] waits until it has.
pub struct Net {
    driver: Driver,
    strikes: Arc<Strikes>,
    fetcher: Arc<Fetcher>,
    talking: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Net {
    /// Starts to listen, and to serve the blocks of `store` to members. Has to be called in a tokio runtime.
    pub fn start(key: &DeviceKey, options: &NetOptions, store: Arc<dyn BlockStore>) -> Result<Net, NetError> {
        // A router blocks the thread that asks it: there have to be others that go on.
        if tokio::runtime::Handle::current().runtime_flavor() != tokio::runtime::RuntimeFlavor::MultiThread {
            return Err(NetError::Transport("it takes a runtime with several threads".into()));
        }
        let mut doorman = Doorman::default();
        let arrivals = doorman.for_members(BlocksMessage::PROTOCOL);
        let (driver, talking) = Driver::start(key, options, doorman)?;
        let strikes = Arc::<Strikes>::default();
        let fetcher = Arc::new(Fetcher::new(driver.clone(), Arc::clone(&strikes)));
        let server = Server::new(store, Arc::clone(&strikes));
        let serving = tokio::spawn(server.run(arrivals));
        Ok(Net { driver, strikes, fetcher, talking, serving })
    }

    /// Who this node is.
    pub fn me(&self) -> NodeId {
        self.driver.me()
    }

    /// Where it listens: waits until each address that it was given is.
    pub async fn listening(&self, count: usize) -> Result<Vec<SocketAddr>, NetError> {
        self.driver.listening(count).await
    }

    /// Says where a node may be found; it is connected with from now on.
    pub async fn know(&self, node: NodeId, addresses: Vec<SocketAddr>) {
        self.driver.know(node, addresses).await;
    }

    /// Says who the members are: they may ask this node for blocks, and are asked. Keys that are none are passed over.
    pub async fn set_members(&self, members: impl IntoIterator<Item = DeviceId>) {
        let members: HashSet<NodeId> = members.into_iter().filter_map(NodeId::new).collect();
        self.driver.set_members(members).await;
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

    /// Ends all connections.
    pub async fn end(mut self) {
        self.driver.end().await;
        let _ = (&mut self.talking).await;
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.talking.abort();
        self.serving.abort();
    }
}
