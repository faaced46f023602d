//! Who misbehaved, how, and until when nobody listens to them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::node_id::NodeId;

/// One may be a fault of a cable or a disk; this many are not.
const STRIKES_MAX: usize = 3;
/// How long a strike counts.
const STRIKE_LASTS: Duration = Duration::from_secs(600);
/// Peers that are remembered: the newest strikes count.
const PEERS_MAX: usize = 1024;

/// Something a peer did that no node of ours does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strike {
    /// When.
    pub at: Instant,
    /// What.
    pub reason: String,
}

/// The strikes of all peers.
#[derive(Debug, Default)]
pub struct Strikes(Mutex<HashMap<NodeId, Vec<Strike>>>);

impl Strikes {
    /// Counts one.
    pub fn strike(&self, peer: NodeId, reason: String) {
        tracing::warn!(%peer, reason, "a peer misbehaves");
        let mut peers = self.0.lock();
        if peers.len() >= PEERS_MAX && !peers.contains_key(&peer) {
            let oldest = peers.iter().min_by_key(|(_, strikes)| strikes.last().map(|strike| strike.at));
            let oldest = oldest.map(|(peer, _)| *peer);
            oldest.map(|peer| peers.remove(&peer));
        }
        let strikes = peers.entry(peer).or_default();
        strikes.push(Strike { at: Instant::now(), reason });
        let excess = strikes.len().saturating_sub(STRIKES_MAX);
        strikes.drain(..excess);
    }

    /// Whether the peer has as many as end our patience.
    pub fn is_shunned(&self, peer: &NodeId) -> bool {
        let peers = self.0.lock();
        let Some(strikes) = peers.get(peer) else { return false };
        strikes.iter().filter(|strike| strike.at.elapsed() < STRIKE_LASTS).count() >= STRIKES_MAX
    }

    /// All that are remembered of a peer, the newest last.
    pub fn of(&self, peer: &NodeId) -> Vec<Strike> {
        self.0.lock().get(peer).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_block::DeviceKey;

    #[test]
    fn three_strikes_are_enough_and_the_number_of_peers_is_bounded() {
        let node = |n: u32| {
            let mut seed = [0; 32];
            seed[..4].copy_from_slice(&n.to_le_bytes());
            NodeId::new(DeviceKey::from_bytes(&seed).id()).expect("a key")
        };
        let strikes = Strikes::default();
        for count in 0..5 {
            assert_eq!(strikes.is_shunned(&node(0)), count >= STRIKES_MAX);
            strikes.strike(node(0), format!("reason {count}"));
        }
        assert_eq!(strikes.of(&node(0)).last().expect("one").reason, "reason 4");
        (1..=PEERS_MAX as u32).for_each(|n| strikes.strike(node(n), "wrong bytes".into()));
        assert_eq!(strikes.0.lock().len(), PEERS_MAX);
    }
}
