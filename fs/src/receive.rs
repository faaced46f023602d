//! Heads of other devices, taken in: verified, held against what is known of their history, and kept.
//!
//! Nothing of the tree that a head points to is looked at: see [`Volume::absorb`].

use bytes::Bytes;
use cairn_block::vector::seq_of;
use cairn_block::{DeviceId, Head, HeadError, head_hash};
use cairn_store::StoreError;

use crate::error::newer;
use crate::heads::verify;
use crate::known::Standing;
use crate::volume::Volume;

/// A head that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The device that signed it.
    pub device: DeviceId,
    /// Its number.
    pub seq: u64,
    /// It was not known before.
    pub is_new: bool,
}

/// Why a head was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is not what a device with a certificate of this volume signs.
    #[error(transparent)]
    Untrusted(#[from] HeadError),
    /// It contradicts a head of the same device that came before: there are two histories. The first one stays, and no more of
    /// that device is taken.
    #[error(
        "device {device} signed two histories, which part at head {seq} or before: its key was copied, or its store set back"
    )]
    Forked {
        /// The device.
        device: DeviceId,
        /// The number of the head that was refused.
        seq: u64,
    },
    /// It carries this device's signature, and this device never made it.
    #[error("head {seq} is signed by this device, which did not make it: its key was copied, or its store set back")]
    NotOurs {
        /// The number of the head.
        seq: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReceiveError {
    /// Whether whoever sent it should have known better: no node of ours passes such a head on.
    #[must_use]
    pub fn is_senders_fault(&self) -> bool {
        match self {
            // A newer release may say what this one can't read.
            Self::Untrusted(HeadError::Format(error)) => newer(error).is_none(),
            Self::Untrusted(_) => true,
            Self::Forked { .. } | Self::NotOurs { .. } | Self::Store(_) => false,
        }
    }
}

impl Volume {
    /// Takes a head of another device: verifies it, and keeps it durably. The state stays as it is until
    /// [`absorb`](Self::absorb) is called.
    pub fn receive(&self, bytes: Bytes) -> Result<Received, ReceiveError> {
        let hash = head_hash(&bytes);
        let head = verify(&self.keys, bytes.clone())?;
        let received = self.keep(&head, &hash, &bytes)?;
        if received.is_new {
            self.tell_of_lost(&head);
            self.store.sync()?;
            self.learn(head, hash);
        }
        Ok(received)
    }

    /// The newest head that is kept of each device, by device.
    pub fn newest_heads(&self) -> Vec<Head> {
        self.known.lock().newest().into_iter().cloned().collect()
    }

    /// Judges a head, and puts one that is new into the store.
    fn keep(&self, head: &Head, hash: &[u8; 32], bytes: &Bytes) -> Result<Received, ReceiveError> {
        let (own, device, seq) = (self.device.id(), head.device, head.seq);
        let (standing, own_seq) = {
            let known = self.known.lock();
            (known.standing(head, hash), known.of(&own).next_back().map_or(0, |own| own.seq))
        };
        if device == own {
            // One of ours that was thinned out may come back from others; there is no need to keep it again.
            let is_ours = standing == Standing::Known || standing == Standing::New && seq <= own_seq;
            if is_ours {
                return Ok(Received { device, seq, is_new: false });
            }
            tracing::error!(
                seq,
                "a head is signed by this device, which did not make it: its key was copied, or its store set back"
            );
            return Err(ReceiveError::NotOurs { seq });
        }
        match standing {
            Standing::Known => return Ok(Received { device, seq, is_new: false }),
            Standing::New => {}
            Standing::Forked => return Err(self.forked(head, hash)),
        }
        match self.heads_store.put_head(&self.keys.volume(), &device, seq, bytes) {
            Ok(()) => Ok(Received { device, seq, is_new: true }),
            // One that is not known: it came at the same time, or is damaged here.
            Err(StoreError::HeadConflict { .. }) => Err(self.forked(head, hash)),
            Err(error) => Err(error.into()),
        }
    }

    /// A head counts from when it is durable: what a crash may take back is in nobody's history.
    fn learn(&self, head: Head, hash: [u8; 32]) {
        let mut known = self.known.lock();
        // Once more: of two that came together each may have been the first.
        match known.standing(&head, &hash) {
            Standing::Forked => known.end_history(head.device),
            Standing::New | Standing::Known => known.insert(head, hash),
        }
    }

    fn tell_of_lost(&self, head: &Head) {
        let own = self.device.id();
        let named = seq_of(&head.vector, &own);
        if self.known.lock().of(&own).next_back().map_or(0, |own| own.seq) < named {
            tracing::error!(device = %head.device, named, "a head includes one of this device that is not here: its store was set back, or its key copied");
        }
    }

    fn forked(&self, head: &Head, hash: &[u8; 32]) -> ReceiveError {
        let (device, seq) = (head.device, head.seq);
        self.known.lock().end_history(device);
        let refused: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        tracing::error!(%device, seq, refused, "a device signed two histories; the one that came first stays, and nothing more of it is taken");
        ReceiveError::Forked { device, seq }
    }
}
