//! Real nodes of this crate on loopback, and peers that misbehave over the same transport.

mod circles;
mod circles_hostile;
mod hostile;
mod serving;
mod talking;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::{Block, BlockId, DeviceKey};
use cairn_store::{Ask, BlockStore, MemoryStore, StoreError};

use crate::{CircleShelf, Net, NetOptions, NodeId, Router, SavedCircle, Transports};

/// Long enough for a busy machine; nothing that works takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

fn options(transports: Transports) -> NetOptions {
    NetOptions { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], transports }
}

/// A shelf for nodes that are in no circle.
struct NoShelf;

impl CircleShelf for NoShelf {
    fn save(&self, _: &SavedCircle) -> Result<(), String> {
        Err("there is no shelf".into())
    }
}

/// A node with a store in memory.
struct Node {
    net: Net,
    store: Arc<MemoryStore>,
    address: SocketAddr,
}

impl Node {
    async fn start(seed: u8) -> Node {
        Node::over(seed, Transports::Both).await
    }

    async fn over(seed: u8, transports: Transports) -> Node {
        let store = Arc::new(MemoryStore::new());
        let key = DeviceKey::from_bytes(&[seed; 32]);
        let shelf = Arc::new(NoShelf);
        let net = Net::start(&key, &options(transports), store.clone(), None, shelf, None).expect("a node");
        let address = net.listening(1).await.expect("it listens")[0];
        Node { net, store, address }
    }

    fn id(&self) -> NodeId {
        self.net.me()
    }

    fn router(&self) -> Arc<Router> {
        Arc::new(self.net.router(self.store.clone()))
    }
}

/// Makes all nodes members, and waits until each is connected with each.
async fn join(nodes: &[&Node]) {
    for node in nodes {
        node.net.set_members(nodes.iter().map(|member| member.id().device())).await;
        for other in nodes.iter().filter(|other| other.id() < node.id()) {
            node.net.know(other.id(), vec![other.address]).await;
        }
    }
    for node in nodes {
        connected(&node.net, nodes.len() - 1).await;
    }
}

async fn connected(net: &Net, count: usize) {
    let start = Instant::now();
    loop {
        let peers = net.peers().await.expect("it runs");
        if peers.iter().filter(|peer| peer.is_connected).count() >= count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not connected: {peers:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn block(seed: u32, len: usize) -> Block {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    Block::seal_bytes(bytes)
}

/// Gets a block as a program would: from a thread that may wait.
async fn get(router: &Arc<Router>, id: BlockId, timeout: Duration) -> Result<Option<Block>, StoreError> {
    let router = Arc::clone(router);
    tokio::task::spawn_blocking(move || router.get(&id, Ask::now(timeout))).await.expect("no panic")
}
