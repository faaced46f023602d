//! The swarm: transports, protocols and limits. Every default that is changed is changed for a reason given here.

use std::sync::Arc;
use std::time::Duration;

use cairn_block::DeviceKey;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::upgrade;
use libp2p::identity::Keypair;
use libp2p::swarm::{NetworkBehaviour, Swarm};
use libp2p::{SwarmBuilder, identify, noise, ping, tcp, yamux};

use super::NetError;
use crate::lanes::{Doorman, Lanes};

/// What travels over which transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transports {
    /// QUIC first, TCP where that doesn't get through.
    #[default]
    Both,
    /// QUIC alone.
    Quic,
    /// TCP alone, for networks that drop UDP.
    Tcp,
}

impl Transports {
    pub(crate) fn has_tcp(self) -> bool {
        self != Transports::Quic
    }

    pub(crate) fn has_quic(self) -> bool {
        self != Transports::Tcp
    }
}

/// Strangers that open nothing; members are kept anyway, and who joins has typed its code before it dials.
const IDLE: Duration = Duration::from_secs(10);
/// Streams that a peer may have open at a time, over both transports: wants are batched, so few are needed. libp2p's 256 and
/// 512 would let 64 peers hold 32,768 tasks.
const STREAMS_MAX: u32 = 128;
/// Two at once where both ends dial, and one more when a direct one takes over from a relayed one.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// A circle and its visitors. libp2p has no limit of its own.
const CONNECTIONS_MAX: u32 = 400;
/// Handshakes under way: each costs a key exchange, and strangers may begin as many as they like.
const HANDSHAKES_MAX: u32 = 64;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) lanes: Lanes,
}

pub(super) fn swarm(key: &DeviceKey, doorman: Arc<Doorman>) -> Result<Swarm<Behaviour>, NetError> {
    let failed = |error: &dyn std::fmt::Display| NetError::Transport(error.to_string());
    // libp2p wipes the copy that it is given.
    let keypair = Keypair::ed25519_from_bytes(*key.as_bytes()).map_err(|error| failed(&error))?;
    let behaviour = |keypair: &Keypair| {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(HANDSHAKES_MAX))
            .with_max_pending_outgoing(Some(HANDSHAKES_MAX))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
            .with_max_established(Some(CONNECTIONS_MAX));
        // No version of ours, no name and no addresses: what a stranger learns is that this is a node.
        let identify = identify::Config::new("/cairn/1".into(), keypair.public())
            .with_agent_version("cairn".into())
            .with_hide_listen_addrs(true);
        Behaviour {
            limits: connection_limits::Behaviour::new(limits),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::default(),
            lanes: Lanes::new(doorman),
        }
    };
    let multiplexer = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX as usize);
        config
    };
    let builder = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, multiplexer)
        .map_err(|error| failed(&error))?
        .with_quic_config(|mut config| {
            config.max_concurrent_stream_limit = STREAMS_MAX;
            config
        })
        .with_behaviour(behaviour)
        .map_err(|error| failed(&error))?;
    Ok(builder
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(IDLE)
                // QUIC before TCP, and one after the other instead of all at once.
                .with_smart_dial()
                // The name of the protocol travels with the first message: no round trip of its own.
                .with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)
        })
        .build())
}
