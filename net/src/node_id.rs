//! A node's name on the wire: its Ed25519 key, which is its device id and, spelled another way, its libp2p peer id.

use std::fmt;

use cairn_block::DeviceId;
use libp2p::PeerId;
use libp2p::identity::{PublicKey, ed25519};

/// A node: a device id that is known to be a key of the curve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(DeviceId);

impl NodeId {
    /// The node with this key, if it is one.
    pub fn new(device: DeviceId) -> Option<NodeId> {
        ed25519::PublicKey::try_from_bytes(device.as_bytes()).ok().map(|_| NodeId(device))
    }

    /// The device id.
    pub const fn device(&self) -> DeviceId {
        self.0
    }

    /// None of a key of another kind.
    pub(crate) fn of_peer(peer: &PeerId) -> Option<NodeId> {
        // Keys of this length are in the peer id itself.
        let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?.try_into_ed25519().ok()?;
        Some(NodeId(DeviceId::from_bytes(key.to_bytes())))
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        let key = ed25519::PublicKey::try_from_bytes(self.0.as_bytes()).expect("checked when it was made");
        PublicKey::from(key).to_peer_id()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.0.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_block::DeviceKey;

    #[test]
    fn a_node_is_its_peer_id_and_back() {
        let node = NodeId::new(DeviceKey::from_bytes(&[7; 32]).id()).expect("a key");
        assert_eq!(NodeId::of_peer(&node.peer_id()), Some(node));
        assert_eq!(NodeId::of_peer(&PeerId::random()), None);
        // About half of all numbers are no points of the curve.
        let points = (0..64).filter(|n| NodeId::new(DeviceId::from_bytes([*n; 32])).is_some()).count();
        assert!((8..56).contains(&points), "{points} of 64");
    }
}
