//! Dialing an address whose peer isn't known yet, and why a dial failed, in words.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;

use libp2p::core::transport::TransportError;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError, Swarm};
use tokio::sync::oneshot;

use super::address::{quic, tcp};
use super::build::Behaviour;
use crate::node_id::NodeId;

/// The transport of one dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Quic,
    Tcp,
}

/// Dials to addresses whose peer isn't known.
#[derive(Default)]
pub(super) struct Dialing(HashMap<ConnectionId, oneshot::Sender<Result<NodeId, String>>>);

impl Dialing {
    pub(super) fn dial(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        address: SocketAddr,
        over: Over,
        answer: oneshot::Sender<Result<NodeId, String>>,
    ) {
        let address = match over {
            Over::Quic => quic(address),
            Over::Tcp => tcp(address),
        };
        let options = DialOpts::unknown_peer_id().address(address).build();
        let id = options.connection_id();
        match swarm.dial(options) {
            Ok(()) => drop(self.0.insert(id, answer)),
            // No event follows.
            // It leaves out where it listens itself, and is left with nothing.
            Err(DialError::NoAddresses) => drop(answer.send(Err("that is this node itself".into()))),
            Err(error) => drop(answer.send(Err(why(&error)))),
        }
    }

    /// What became of a dial, if it was one of these.
    pub(super) fn answered(&mut self, id: ConnectionId, result: Result<NodeId, String>) {
        if let Some(answer) = self.0.remove(&id) {
            let _ = answer.send(result);
        }
    }
}

/// Why a dial failed, for people: what the system said last, without the layers around it.
pub(super) fn why(error: &DialError) -> String {
    let reason = match error {
        DialError::LocalPeerId { .. } => return "that is this node itself".into(),
        DialError::WrongPeerId { .. } => return "another node is there now".into(),
        DialError::NoAddresses => return "no address is known".into(),
        DialError::Denied { cause } => return cause.to_string(),
        DialError::Transport(errors) => errors,
        other => return other.to_string(),
    };
    let mut reasons: Vec<String> = Vec::new();
    for (_, error) in reason {
        let told = match error {
            TransportError::MultiaddrNotSupported(_) => "this transport is turned off".into(),
            TransportError::Other(error) => innermost(error),
        };
        if !reasons.contains(&told) {
            reasons.push(told);
        }
    }
    reasons.join(", ")
}

/// The cause behind all others: libp2p wraps what the system said several times, in types that keep only its text.
fn innermost(error: &io::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        // What an io::Error wraps is not its source, but the source of that is.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source()) {
            Some(next) => cause = next,
            None => break,
        }
    }
    let text = cause.to_string();
    let number = text.rsplit_once("(os error ").and_then(|(_, number)| number.strip_suffix(')')?.parse().ok());
    match number.map(|number| io::Error::from_raw_os_error(number).kind()) {
        Some(io::ErrorKind::ConnectionRefused) => "nothing listens there".into(),
        Some(io::ErrorKind::TimedOut) => "no answer".into(),
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => "there is no way to it".into(),
        _ => text.trim_end_matches('.').to_owned(),
    }
}
