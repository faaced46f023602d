//! Which connections there are to each peer, and which of them a stream takes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::channel::oneshot;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, StreamProtocol, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::handler::Handler;
use super::{Doorman, OpenError, Want};
use crate::driver::address::socket;
use crate::node_id::NodeId;

/// Peers that are no members, connected at a time: enough to join, too few to take a member's place.
const STRANGERS_MAX: usize = 16;

pub(crate) struct Lanes {
    doorman: Arc<Doorman>,
    lines: HashMap<NodeId, Vec<Line>>,
    orders: VecDeque<ToSwarm<Infallible, Want>>,
    waker: Option<Waker>,
}

/// One connection.
#[derive(Debug, Clone, Copy)]
struct Line {
    id: ConnectionId,
    is_relayed: bool,
    /// Where this node dialed the peer; none where the peer dialed.
    dialed: Option<SocketAddr>,
}

/// How a peer is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tie {
    pub(crate) is_member: bool,
    /// Where this node reached it.
    pub(crate) dialed: Option<SocketAddr>,
}

/// All peers that are connected.
pub(crate) type Ties = Arc<BTreeMap<NodeId, Tie>>;

impl Lanes {
    pub(crate) fn new(doorman: Arc<Doorman>) -> Self {
        Lanes { doorman, lines: HashMap::new(), orders: VecDeque::new(), waker: None }
    }

    /// Orders a stream; the answer comes when it is open, or can't be.
    pub(crate) fn open(
        &mut self,
        peer: &NodeId,
        protocol: StreamProtocol,
        answer: oneshot::Sender<Result<Stream, OpenError>>,
    ) {
        // The newest of the direct ones: an older one may be dead already and not know it.
        let lines = self.lines.get(peer).map(Vec::as_slice).unwrap_or_default();
        let Some(line) = lines.iter().rev().min_by_key(|line| line.is_relayed) else {
            let _ = answer.send(Err(OpenError::NotConnected));
            return;
        };
        self.orders.push_back(ToSwarm::NotifyHandler {
            peer_id: peer.peer_id(),
            handler: NotifyHandler::One(line.id),
            event: Want { protocol, answer },
        });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Peers with a connection.
    pub(crate) fn connected(&self) -> impl Iterator<Item = &NodeId> {
        self.lines.keys()
    }

    /// How each of them is connected.
    pub(crate) fn ties(&self) -> Ties {
        let tie = |(peer, lines): (&NodeId, &Vec<Line>)| {
            let dialed = lines.iter().rev().find_map(|line| line.dialed);
            (*peer, Tie { is_member: self.doorman.is_member(peer), dialed })
        };
        Arc::new(self.lines.iter().map(tie).collect())
    }

    fn handler(&self, peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        let peer =
            NodeId::of_peer(peer).ok_or_else(|| ConnectionDenied::new("the peer's key is not an Ed25519 key"))?;
        Ok(Handler::new(peer, Arc::clone(&self.doorman)))
    }
}

impl NetworkBehaviour for Lanes {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let is_member = |peer: &NodeId| self.doorman.is_member(peer);
        let strangers = self.lines.keys().filter(|peer| !is_member(peer)).count();
        if strangers >= STRANGERS_MAX && !NodeId::of_peer(&peer).is_some_and(|peer| is_member(&peer)) {
            return Err(ConnectionDenied::new("too many who are no members"));
        }
        self.handler(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                if let Some(peer) = NodeId::of_peer(&peer_id) {
                    let is_relayed = endpoint.is_relayed();
                    let is_direct = endpoint.is_dialer() && !is_relayed;
                    let dialed = is_direct.then(|| socket(endpoint.get_remote_address())).flatten();
                    let line = Line { id: connection_id, is_relayed, dialed };
                    self.lines.entry(peer).or_default().push(line);
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                let Some(peer) = NodeId::of_peer(&peer_id) else { return };
                if let Some(lines) = self.lines.get_mut(&peer) {
                    lines.retain(|line| line.id != connection_id);
                    if lines.is_empty() {
                        self.lines.remove(&peer);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.orders.pop_front() {
            Some(order) => Poll::Ready(order),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
