//! The one task that owns the swarm: commands in, events out. It never touches the bytes of a stream.

mod book;
mod build;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::DeviceKey;
use futures::StreamExt;
use futures::channel::oneshot as stream_oneshot;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, Stream, StreamProtocol, Swarm, SwarmEvent};
use libp2p::{Multiaddr, ping};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::lanes::{Arrived, Doorman, OpenError};
use crate::node_id::NodeId;
use book::Book;
use build::{Behaviour, BehaviourEvent};

pub use build::Transports;

/// Commands that wait for the driver. It does nothing that takes time, so few ever do.
const COMMANDS_MAX: usize = 256;
/// How often members that aren't connected are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a node talks to others.
#[derive(Debug, Clone)]
pub struct NetOptions {
    /// Where it listens; port 0 takes a free one, the same for TCP and UDP.
    pub listen: Vec<SocketAddr>,
    /// Over what.
    pub transports: Transports,
}

/// Why a node can't talk.
#[derive(Debug, Error)]
pub enum NetError {
    /// The transports can't be set up.
    #[error("the transports can't be set up: {0}")]
    Transport(String),
    /// The address can't be listened on.
    #[error("can't listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// It has ended.
    #[error("the node no longer talks to others")]
    Ended,
}

/// What is known of a peer's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// The peer.
    pub node: NodeId,
    /// Whether there is a connection.
    pub is_connected: bool,
    /// The time a ping took last.
    pub round_trip: Option<Duration>,
    /// Where it was reached or is looked for.
    pub addresses: Vec<SocketAddr>,
    /// Why it couldn't be reached last.
    pub trouble: Option<String>,
}

enum Command {
    Open(NodeId, StreamProtocol, stream_oneshot::Sender<Result<Stream, OpenError>>),
    Know(NodeId, Vec<SocketAddr>),
    Members,
    Peers(oneshot::Sender<Vec<PeerState>>),
    End,
}

/// A handle to the driver. It ends with [`Driver::end`], or when the last handle is gone.
#[derive(Clone)]
pub(crate) struct Driver {
    me: NodeId,
    doorman: Arc<Doorman>,
    commands: mpsc::Sender<Command>,
    listening: watch::Receiver<Vec<SocketAddr>>,
    pings: Pings,
}

/// Listeners for TCP that QUIC is to follow on their port, with the address that was asked for: one that stands for all stays so.
type Companions = HashMap<ListenerId, IpAddr>;

/// Round trips that were measured since somebody looked.
type Pings = Arc<Mutex<HashMap<NodeId, Duration>>>;

impl Driver {
    /// Starts talking. Has to be called in a tokio runtime.
    pub(crate) fn start(
        key: &DeviceKey,
        options: &NetOptions,
        doorman: Doorman,
    ) -> Result<(Driver, JoinHandle<()>), NetError> {
        let me = NodeId::new(key.id()).expect("a signing key's public half is a key");
        let doorman = Arc::new(doorman);
        let mut swarm = build::swarm(key, Arc::clone(&doorman))?;
        let mut companions = HashMap::new();
        for address in &options.listen {
            listen(&mut swarm, *address, options.transports, &mut companions)?;
        }
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let (told, listening) = watch::channel(Vec::new());
        let task = Task {
            swarm,
            doorman: Arc::clone(&doorman),
            transports: options.transports,
            orders,
            told,
            companions,
            book: Book::default(),
            pings: Pings::default(),
        };
        let pings = Arc::clone(&task.pings);
        let task = tokio::spawn(task.run());
        Ok((Driver { me, doorman, commands, listening, pings }, task))
    }

    pub(crate) fn me(&self) -> NodeId {
        self.me
    }

    pub(crate) fn doorman(&self) -> &Doorman {
        &self.doorman
    }

    /// Opens a stream to a peer that is connected.
    pub(crate) async fn open(&self, peer: NodeId, protocol: &'static str) -> Result<Stream, OpenError> {
        let (answer, opened) = stream_oneshot::channel();
        let gone = || OpenError::Broken("the node has ended".into());
        self.commands.send(Command::Open(peer, StreamProtocol::new(protocol), answer)).await.map_err(|_| gone())?;
        opened.await.map_err(|_| gone())?
    }

    /// Where a peer may be found.
    pub(crate) async fn know(&self, peer: NodeId, addresses: Vec<SocketAddr>) {
        let _ = self.commands.send(Command::Know(peer, addresses)).await;
    }

    /// Who the members are now; this node itself may be among them.
    pub(crate) async fn set_members(&self, mut members: HashSet<NodeId>) {
        members.remove(&self.me);
        self.doorman.set_members(members);
        let _ = self.commands.send(Command::Members).await;
    }

    pub(crate) async fn peers(&self) -> Result<Vec<PeerState>, NetError> {
        let (answer, peers) = oneshot::channel();
        self.commands.send(Command::Peers(answer)).await.map_err(|_| NetError::Ended)?;
        peers.await.map_err(|_| NetError::Ended)
    }

    /// Round trips that were measured since the last call.
    pub(crate) fn pings(&self) -> HashMap<NodeId, Duration> {
        std::mem::take(&mut *self.pings.lock())
    }

    /// Where the node listens, once it does.
    pub(crate) async fn listening(&self, count: usize) -> Result<Vec<SocketAddr>, NetError> {
        let mut listening = self.listening.clone();
        let there = listening.wait_for(|addresses| addresses.len() >= count).await.map_err(|_| NetError::Ended)?;
        Ok(there.clone())
    }

    pub(crate) async fn end(&self) {
        let _ = self.commands.send(Command::End).await;
    }
}

/// Starts to listen. QUIC takes the port that TCP was given, which is known once TCP listens.
fn listen(
    swarm: &mut Swarm<Behaviour>,
    address: SocketAddr,
    transports: Transports,
    companions: &mut Companions,
) -> Result<(), NetError> {
    let first = if transports.has_tcp() { tcp(address) } else { quic(address) };
    let refused = |reason: String| NetError::Listen { address, reason };
    let id = swarm.listen_on(first).map_err(|error| refused(error.to_string()))?;
    let follows = transports.has_tcp() && transports.has_quic();
    companions.extend(follows.then_some((id, address.ip())));
    Ok(())
}

fn tcp(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

fn quic(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}

/// The socket address of a transport of ours; none of others.
fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => std::net::IpAddr::from(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

struct Task {
    swarm: Swarm<Behaviour>,
    doorman: Arc<Doorman>,
    transports: Transports,
    orders: mpsc::Receiver<Command>,
    told: watch::Sender<Vec<SocketAddr>>,
    companions: Companions,
    book: Book,
    pings: Pings,
}

impl Task {
    async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Command::End) | None => return,
                    Some(order) => self.obey(order),
                },
                event = self.swarm.select_next_some() => self.hear(event),
                _ = look.tick() => self.dial(),
            }
        }
    }

    fn obey(&mut self, order: Command) {
        match order {
            Command::Open(peer, protocol, answer) => self.swarm.behaviour_mut().lanes.open(&peer, protocol, answer),
            Command::Know(peer, addresses) => {
                self.book.know(peer, addresses, Instant::now());
                self.dial();
            }
            Command::Members => {
                // What the doorman says now: of two changes at once the last one counts in both places.
                let members = self.doorman.members();
                let connected: Vec<NodeId> = self.swarm.behaviour().lanes.connected().copied().collect();
                // A member that is none any more: what it has open ends with the connection.
                for peer in connected.into_iter().filter(|peer| self.book.is_member(peer) && !members.contains(peer)) {
                    let _ = self.swarm.disconnect_peer_id(peer.peer_id());
                }
                self.book.set_members(members);
                self.dial();
            }
            Command::Peers(answer) => {
                let connected: HashSet<NodeId> = self.swarm.behaviour().lanes.connected().copied().collect();
                let _ = answer.send(self.book.states(&connected));
            }
            Command::End => {}
        }
    }

    /// Dials whoever is to be connected and isn't, each at its own pace.
    fn dial(&mut self) {
        let connected: HashSet<NodeId> = self.swarm.behaviour().lanes.connected().copied().collect();
        for (peer, addresses) in self.book.due(&connected, Instant::now()) {
            let addresses = addresses.iter().flat_map(|address| {
                let quic = self.transports.has_quic().then(|| quic(*address));
                quic.into_iter().chain(self.transports.has_tcp().then(|| tcp(*address)))
            });
            let options = DialOpts::peer_id(peer.peer_id())
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses.collect())
                .build();
            match self.swarm.dial(options) {
                Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
                // No event follows.
                Err(error) => self.book.failed(peer, error.to_string(), Instant::now()),
            }
        }
    }

    fn hear(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                let Some(socket) = socket(&address) else { return };
                self.told.send_modify(|told| {
                    if !told.contains(&socket) {
                        told.push(socket);
                    }
                });
                if let Some(asked) = self.companions.remove(&listener_id)
                    && let Err(error) = self.swarm.listen_on(quic(SocketAddr::new(asked, socket.port())))
                {
                    tracing::warn!(%socket, %error, "no QUIC here: peers come over TCP");
                }
            }
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => {
                tracing::warn!(%error, "an address is no longer listened on");
            }
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                let Some(peer) = NodeId::of_peer(&peer_id) else { return };
                tracing::debug!(%peer, ?endpoint, "connected");
                let dialed = endpoint.is_dialer().then(|| socket(endpoint.get_remote_address())).flatten();
                self.book.reached(peer, dialed);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                let Some(peer) = NodeId::of_peer(&peer_id) else { return };
                tracing::debug!(%peer, ?cause, "disconnected");
                self.book.lost(peer, Instant::now());
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
                let Some(peer) = NodeId::of_peer(&peer_id) else { return };
                tracing::debug!(%peer, %error, "not reached");
                self.book.failed(peer, error.to_string(), Instant::now());
            }
            // libp2p leaves a line on which nothing comes back to us; over TCP nobody else would notice for many minutes.
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event {
                connection,
                result: Err(ping::Failure::Timeout),
                ..
            })) => {
                self.swarm.close_connection(connection);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, result: Ok(round_trip), .. })) => {
                // Strangers come in any number.
                if let Some(peer) = NodeId::of_peer(&peer).filter(|peer| self.doorman.is_member(peer)) {
                    self.book.measured(peer, round_trip);
                    self.pings.lock().insert(peer, round_trip);
                }
            }
            _ => {}
        }
    }
}

/// Streams that peers open come out of here.
pub(crate) type Arrivals = mpsc::Receiver<Arrived>;
