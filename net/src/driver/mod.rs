//! The one task that owns the swarm: commands in, events out. It never touches the bytes of a stream.

pub(crate) mod address;
mod book;
mod build;
mod dialing;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_block::DeviceKey;
use cairn_block::circle::EpochError;
use futures::StreamExt;
use futures::channel::oneshot as stream_oneshot;
use libp2p::core::transport::ListenerId;
use libp2p::ping;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{DialError, Stream, StreamProtocol, Swarm, SwarmEvent};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::lanes::{Doorman, OpenError, Ties};
use crate::node_id::NodeId;
use address::{quic, socket, tcp};
use book::Book;
use build::{Behaviour, BehaviourEvent};
use dialing::{Dialing, why};

pub use build::Transports;
pub(crate) use dialing::Over;

/// Commands that wait for the driver. It does nothing that takes time, so few ever do.
const COMMANDS_MAX: usize = 256;
/// How often members that aren't connected are looked at, and who should go.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long somebody who is no member stays connected: time for the four messages of joining, each at its slowest.
const STRANGERS_LAST: Duration = Duration::from_secs(60);
/// How long a connection outlives the membership of its peer, so that it can be told why. It opens no stream meanwhile.
const FAREWELL: Duration = Duration::from_secs(1);

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
    /// The circle that was saved isn't one.
    #[error("the saved circle can't be used: {0}")]
    SavedCircle(#[from] EpochError),
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
    MayBe(NodeId, Vec<SocketAddr>),
    Dial(SocketAddr, Over, oneshot::Sender<Result<NodeId, String>>),
    Part(NodeId),
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
    ties: watch::Receiver<Ties>,
    transports: Transports,
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
        let (tied, ties) = watch::channel(Ties::default());
        let task = Task {
            swarm,
            doorman: Arc::clone(&doorman),
            transports: options.transports,
            orders,
            told,
            tied,
            companions,
            book: Book::default(),
            dialing: Dialing::default(),
            leaving: HashMap::new(),
            pings: Pings::default(),
        };
        let pings = Arc::clone(&task.pings);
        let task = tokio::spawn(task.run());
        Ok((Driver { me, doorman, commands, listening, ties, transports: options.transports, pings }, task))
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

    /// Who is connected. Changes with connections and with members.
    pub(crate) fn ties(&self) -> watch::Receiver<Ties> {
        let mut ties = self.ties.clone();
        // What is there already is news to whoever asks.
        ties.mark_changed();
        ties
    }

    /// What travels over which transports.
    pub(crate) fn transports(&self) -> Transports {
        self.transports
    }

    /// Connects with whoever is at an address; the error is for people.
    pub(crate) async fn dial(&self, address: SocketAddr, over: Over) -> Result<NodeId, String> {
        let (answer, dialed) = oneshot::channel();
        let gone = || "this node has ended".to_owned();
        self.commands.send(Command::Dial(address, over, answer)).await.map_err(|_| gone())?;
        dialed.await.map_err(|_| gone())?
    }

    /// Ends the connections of a peer that is no member: everything was said.
    pub(crate) async fn part(&self, peer: NodeId) {
        let _ = self.commands.send(Command::Part(peer)).await;
    }

    /// Where a member was told to be, the best address first. It is sought there at its own pace.
    pub(crate) async fn may_be(&self, peer: NodeId, addresses: Vec<SocketAddr>) {
        let _ = self.commands.send(Command::MayBe(peer, addresses)).await;
    }

    /// Where a person says that a peer may be found.
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

    /// Where the node listens now, and in future.
    pub(crate) fn listens(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.listening.clone()
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

struct Task {
    swarm: Swarm<Behaviour>,
    doorman: Arc<Doorman>,
    transports: Transports,
    orders: mpsc::Receiver<Command>,
    told: watch::Sender<Vec<SocketAddr>>,
    tied: watch::Sender<Ties>,
    companions: Companions,
    book: Book,
    dialing: Dialing,
    /// Who is no member and goes at this time at the latest.
    leaving: HashMap<NodeId, Instant>,
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
                _ = look.tick() => {
                    self.let_go();
                    self.dial();
                }
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
            Command::MayBe(peer, addresses) => {
                self.book.may_be(peer, addresses, Instant::now());
                self.dial();
            }
            Command::Dial(address, over, answer) => self.dialing.dial(&mut self.swarm, address, over, answer),
            Command::Part(peer) => {
                if !self.doorman.is_member(&peer) {
                    let _ = self.swarm.disconnect_peer_id(peer.peer_id());
                }
            }
            Command::Members => {
                // What the doorman says now: of two changes at once the last one counts in both places.
                let members = self.doorman.members();
                let connected: Vec<NodeId> = self.swarm.behaviour().lanes.connected().copied().collect();
                let now = Instant::now();
                for peer in connected {
                    match members.contains(&peer) {
                        true => drop(self.leaving.remove(&peer)),
                        // A member that is none any more: what it has open ends with the connection.
                        false if self.book.is_member(&peer) => drop(self.leaving.insert(peer, now + FAREWELL)),
                        false => {}
                    }
                }
                self.book.set_members(members);
                self.tell_ties();
                self.dial();
            }
            Command::Peers(answer) => {
                let connected: HashSet<NodeId> = self.swarm.behaviour().lanes.connected().copied().collect();
                let _ = answer.send(self.book.states(&connected));
            }
            Command::End => {}
        }
    }

    fn tell_ties(&self) {
        self.tied.send_replace(self.swarm.behaviour().lanes.ties());
    }

    /// Ends the connections of those who are no members and have had their time.
    fn let_go(&mut self) {
        let now = Instant::now();
        let due: Vec<NodeId> = self.leaving.iter().filter(|(_, at)| **at <= now).map(|(peer, _)| *peer).collect();
        for peer in due {
            self.leaving.remove(&peer);
            if !self.doorman.is_member(&peer) {
                let _ = self.swarm.disconnect_peer_id(peer.peer_id());
            }
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
                Err(error) => self.book.failed(peer, why(&error), Instant::now()),
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
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                let Some(socket) = socket(&address) else { return };
                self.told.send_modify(|told| told.retain(|known| *known != socket));
            }
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => {
                tracing::warn!(%error, "an address is no longer listened on");
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let Some(peer) = NodeId::of_peer(&peer_id) else { return };
                tracing::debug!(%peer, ?endpoint, "connected");
                let dialed = endpoint.is_dialer().then(|| socket(endpoint.get_remote_address())).flatten();
                let now = Instant::now();
                self.book.reached(peer, dialed, now);
                self.dialing.answered(connection_id, Ok(peer));
                if !self.doorman.is_member(&peer) {
                    self.leaving.entry(peer).or_insert(now + STRANGERS_LAST);
                }
                self.tell_ties();
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                let Some(peer) = NodeId::of_peer(&peer_id) else { return };
                tracing::debug!(%peer, ?cause, "disconnected");
                self.leaving.remove(&peer);
                self.book.lost(peer, Instant::now());
                self.tell_ties();
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                tracing::debug!(?peer_id, %error, "not reached");
                self.dialing.answered(connection_id, Err(why(&error)));
                // A dial to an address alone knows the peer only where it was reached and sent away.
                if let Some(peer) = peer_id.and_then(|peer| NodeId::of_peer(&peer)) {
                    self.book.failed(peer, why(&error), Instant::now());
                }
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
