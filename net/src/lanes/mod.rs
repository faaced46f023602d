//! Lanes: our own streams beside libp2p's protocols, many at a time over each connection.
//!
//! Made after reading `libp2p-stream`, whose accept queue holds one stream and drops the rest, which picks any connection of
//! a peer, relayed ones too, and negotiates one stream at a time. Here a peer's direct connection comes first, streams are
//! negotiated side by side, and what can't be served is refused where its opener sees it: the stream ends at once.

mod behaviour;
mod handler;

use std::collections::HashSet;

use libp2p::swarm::{Stream, StreamProtocol};
use parking_lot::RwLock;
use thiserror::Error;
use tokio::sync::mpsc;

pub(crate) use behaviour::Lanes;
pub(crate) use handler::Want;

use crate::node_id::NodeId;

/// Streams that came and that nobody has taken yet. What comes on top ends at once: its opener asks again or elsewhere.
const ARRIVED_MAX: usize = 256;

/// A stream that a peer opened.
pub(crate) struct Arrived {
    pub(crate) peer: NodeId,
    pub(crate) protocol: StreamProtocol,
    pub(crate) stream: Stream,
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// There is no connection to the peer.
    #[error("not connected")]
    NotConnected,
    /// The peer doesn't offer the protocol to us: it runs another version, or we are no member to it.
    #[error("the peer doesn't speak this protocol with us")]
    NotSpoken,
    /// The peer said nothing.
    #[error("the peer didn't answer in time")]
    TimedOut,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// Decides who may open what, and takes what was opened.
#[derive(Debug)]
pub(crate) struct Doorman {
    members: RwLock<HashSet<NodeId>>,
    for_members: Vec<StreamProtocol>,
    arrived: mpsc::Sender<Arrived>,
}

impl Doorman {
    /// Streams that are let in come out of the receiver.
    pub(crate) fn new(for_members: Vec<StreamProtocol>) -> (Self, mpsc::Receiver<Arrived>) {
        let (arrived, receiver) = mpsc::channel(ARRIVED_MAX);
        let doorman = Doorman { members: RwLock::default(), for_members, arrived };
        (doorman, receiver)
    }

    pub(crate) fn set_members(&self, members: HashSet<NodeId>) {
        *self.members.write() = members;
    }

    pub(crate) fn members(&self) -> HashSet<NodeId> {
        self.members.read().clone()
    }

    pub(crate) fn is_member(&self, peer: &NodeId) -> bool {
        self.members.read().contains(peer)
    }

    /// What a peer may open now: looked at again for each stream, so that one that was revoked opens no more.
    fn offered(&self, peer: &NodeId) -> Vec<StreamProtocol> {
        if self.is_member(peer) { self.for_members.clone() } else { Vec::new() }
    }

    fn let_in(&self, arrived: Arrived) {
        // Membership may have ended while the stream was negotiated.
        if !self.offered(&arrived.peer).contains(&arrived.protocol) {
            return;
        }
        if let Err(error) = self.arrived.try_send(arrived) {
            tracing::warn!(%error, "a stream was refused: more came than can be served");
        }
    }
}
