//! The heads of this node's volumes, as the exchange with other devices sees them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use cairn_block::{DeviceId, UntrustedHead, VolumeId, VolumeKeys};
use cairn_net::wire::heads::HeadTag;
use cairn_net::{HeadsBook, Taken};
use cairn_store::StoredHead;

use crate::node::open::{Node, lock};

/// See the module.
pub(super) struct Book {
    node: Weak<Node>,
    /// The keys of the volumes that are known, by name: deriving them takes longer than what is done with them.
    keys: Mutex<BTreeMap<String, Arc<VolumeKeys>>>,
}

impl Book {
    pub(super) fn of(node: &Arc<Node>) -> Self {
        Book { node: Arc::downgrade(node), keys: Mutex::default() }
    }

    fn volumes(&self) -> Vec<(String, Arc<VolumeKeys>)> {
        let Some(node) = self.node.upgrade() else { return Vec::new() };
        let mut known = lock(&self.keys);
        for name in node.volume_names() {
            known.entry(name).or_insert_with_key(|name| Arc::new(node.volume_keys(name)));
        }
        known.iter().map(|(name, keys)| (name.clone(), Arc::clone(keys))).collect()
    }
}

impl HeadsBook for Book {
    fn tags(&self, sender: &DeviceId, receiver: &DeviceId) -> Vec<(VolumeId, HeadTag)> {
        let tag = |keys: &VolumeKeys| HeadTag::of(&keys.read().keep().locate(), sender, receiver);
        self.volumes().iter().map(|(_, keys)| (keys.volume(), tag(keys))).collect()
    }

    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, String> {
        let node = self.node.upgrade().ok_or("the node is ending")?;
        node.blocks.durable_heads(volume).map_err(|error| error.to_string())
    }

    fn take(&self, volume: &VolumeId, head: &UntrustedHead) -> Taken {
        let Some(node) = self.node.upgrade() else { return Taken::Failed("the node is ending".to_owned()) };
        let Some((name, _)) = self.volumes().into_iter().find(|(_, keys)| keys.volume() == *volume) else {
            return Taken::Failed("the volume is not known here".to_owned());
        };
        // A volume that somebody writes to is followed, whether it is mounted or not.
        let received = match node.volume(&name) {
            Ok(open) => open.volume.receive(head.as_sent().clone()),
            Err(failure) => return Taken::Failed(failure.to_string()),
        };
        match received {
            Ok(received) if received.is_new => {
                node.follow(&name);
                Taken::New { device: received.device, seq: received.seq }
            }
            Ok(received) => Taken::Known { device: received.device, seq: received.seq },
            Err(error) if error.is_senders_fault() => Taken::Refused(error.to_string()),
            Err(error) => Taken::Failed(error.to_string()),
        }
    }
}
