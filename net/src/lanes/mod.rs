//! Lanes: our own streams beside libp2p's protocols, many at a time over each connection.
//!
//! Made after reading `libp2p-stream`, whose accept queue holds one stream and drops the rest, which picks any connection of
//! a peer, relayed ones too, and negotiates one stream at a time. Here a peer's direct connection comes first, streams are
//! negotiated side by side, and what can't be served is refused where its opener sees it: the stream ends at once.

mod behaviour;
mod handler;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use libp2p::swarm::{Stream, StreamProtocol};
use parking_lot::RwLock;
use thiserror::Error;
use tokio::sync::mpsc;

pub(crate) use behaviour::{Lanes, Ties};
pub(crate) use handler::Want;

use crate::node_id::NodeId;

/// Streams of one protocol that came and that nobody has taken yet. What comes on top ends at once: its opener asks again or
/// elsewhere.
const ARRIVED_MAX: usize = 256;

/// A stream that a peer opened.
pub(crate) struct Arrived {
    pub(crate) peer: NodeId,
    pub(crate) stream: Stream,
}

/// Streams of one protocol that peers opened come out of here.
pub(crate) type Arrivals = mpsc::Receiver<Arrived>;

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

/// Decides who may open what, and gives what was opened to who serves it.
#[derive(Debug, Default)]
pub(crate) struct Doorman {
    members: RwLock<HashSet<NodeId>>,
    doors: Vec<Door>,
    admits_guests: AtomicBool,
}

/// One protocol, and who serves it.
#[derive(Debug)]
struct Door {
    protocol: StreamProtocol,
    is_for_guests: bool,
    arrived: mpsc::Sender<Arrived>,
}

impl Doorman {
    /// A protocol that members may open. Its streams come out of the receiver.
    pub(crate) fn for_members(&mut self, protocol: &'static str) -> Arrivals {
        self.door(protocol, false)
    }

    /// A protocol that anybody may open, but only while guests are admitted.
    pub(crate) fn for_guests(&mut self, protocol: &'static str) -> Arrivals {
        self.door(protocol, true)
    }

    fn door(&mut self, protocol: &'static str, is_for_guests: bool) -> Arrivals {
        let (arrived, receiver) = mpsc::channel(ARRIVED_MAX);
        self.doors.push(Door { protocol: StreamProtocol::new(protocol), is_for_guests, arrived });
        receiver
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

    /// Whether those who are no members may ask to become some.
    pub(crate) fn admit_guests(&self, admits: bool) {
        self.admits_guests.store(admits, Ordering::Release);
    }

    /// What a peer may open now: looked at again for each stream, so that one that was revoked opens no more.
    fn offered(&self, peer: &NodeId) -> Vec<StreamProtocol> {
        let is_member = self.is_member(peer);
        self.doors.iter().filter(|door| self.is_open(door, is_member)).map(|door| door.protocol.clone()).collect()
    }

    fn is_open(&self, door: &Door, is_member: bool) -> bool {
        if door.is_for_guests { self.admits_guests.load(Ordering::Acquire) } else { is_member }
    }

    fn let_in(&self, protocol: &StreamProtocol, arrived: Arrived) {
        let Some(door) = self.doors.iter().find(|door| door.protocol == *protocol) else { return };
        // Membership may have ended while the stream was negotiated.
        if !self.is_open(door, self.is_member(&arrived.peer)) {
            return;
        }
        if let Err(error) = door.arrived.try_send(arrived) {
            tracing::warn!(%protocol, %error, "a stream was refused: more came than can be served");
        }
    }
}
