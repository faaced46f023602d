//! Heads of other devices, taken in: verified, held against what is known of their history, and kept.
//!
//! Nothing of the tree that a head points to is looked at: see [`Volume::absorb`].

use bytes::Bytes;
use cairn_block::vector::seq_of;
use cairn_block::{DeviceId, Head, HeadError, VolumeId, VolumeKeys, head_hash};
use cairn_store::{BlockStore, HeadStore, StoreError, StoredHead};
use parking_lot::Mutex;

use crate::error::newer;
use crate::heads::verify;
use crate::known::{Known, Standing};
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

/// Takes a head of a volume that is not open here. It is durable in `heads`, which `blocks` syncs, when this returns.
pub fn receive_into(
    keys: &VolumeKeys,
    device: DeviceId,
    heads: &dyn HeadStore,
    blocks: &dyn BlockStore,
    head: Bytes,
) -> Result<Received, ReceiveError> {
    let (head, bytes) = (verify(keys, head.clone())?, head);
    let hash = head_hash(&bytes);
    let mut known = Known::default();
    for stored in heads_between(heads, &keys.volume(), head.device, 0..=u64::MAX)? {
        let hash = head_hash(&stored.bytes);
        if let Ok(head) = verify(keys, stored.bytes) {
            known.insert(head, hash);
        }
    }
    let received = keep(keys.volume(), &head, &hash, &bytes, device, &Mutex::new(known), heads)?;
    if received.is_new {
        blocks.sync()?;
    }
    Ok(received)
}

/// The number of the newest head that a store has of each device, by device: what two nodes tell each other first.
pub fn newest(heads: &dyn HeadStore, volume: &VolumeId) -> Result<Vec<(DeviceId, u64)>, StoreError> {
    let mut newest: Vec<(DeviceId, u64)> = Vec::new();
    for stored in heads.heads(volume)?.into_iter().filter(|stored| !stored.bytes.is_empty()) {
        match newest.last_mut().filter(|(device, _)| *device == stored.device) {
            Some(last) => last.1 = stored.seq,
            None => newest.push((stored.device, stored.seq)),
        }
    }
    Ok(newest)
}

/// The heads that a store has of one device in a range of numbers, oldest first.
pub fn heads_between(
    heads: &dyn HeadStore,
    volume: &VolumeId,
    device: DeviceId,
    numbers: std::ops::RangeInclusive<u64>,
) -> Result<Vec<StoredHead>, StoreError> {
    let mut found = heads.heads(volume)?;
    found.retain(|stored| stored.device == device && numbers.contains(&stored.seq) && !stored.bytes.is_empty());
    Ok(found)
}

impl Volume {
    /// Takes a head of another device: verifies it, and keeps it durably. The state stays as it is until
    /// [`absorb`](Self::absorb) is called.
    pub fn receive(&self, head: Bytes) -> Result<Received, ReceiveError> {
        let taken = self.take(head)?;
        if let Some(new) = taken.new {
            self.store.sync()?;
            self.learn([new]);
        }
        Ok(taken.received)
    }

    /// The same with many heads, which share one sync of the disk; those of one device best oldest first.
    pub fn receive_all(&self, heads: Vec<Bytes>) -> Result<Vec<Result<Received, ReceiveError>>, StoreError> {
        let mut results = Vec::with_capacity(heads.len());
        let mut new = Vec::new();
        for head in heads {
            let taken = self.take(head);
            results.push(taken.map(|taken| {
                new.extend(taken.new);
                taken.received
            }));
        }
        if !new.is_empty() {
            self.store.sync()?;
            self.learn(new);
        }
        Ok(results)
    }

    /// The number of the newest head of each device that is here and durable, by device.
    pub fn newest(&self) -> Vec<(DeviceId, u64)> {
        self.known.lock().durable()
    }

    fn take(&self, head: Bytes) -> Result<Taken, ReceiveError> {
        let (head, bytes) = (verify(&self.keys, head.clone())?, head);
        let hash = head_hash(&bytes);
        let volume = self.keys.volume();
        let received = keep(volume, &head, &hash, &bytes, self.device.id(), &self.known, &*self.heads_store)?;
        let named = seq_of(&head.vector, &self.device.id());
        let is_ours_missing =
            received.is_new && self.known.lock().of(&self.device.id()).next_back().map_or(0, |own| own.seq) < named;
        if is_ours_missing {
            tracing::error!(device = %head.device, named, "a head includes one of this device that is not here: its store was set back, or its key copied");
        }
        let new = received.is_new.then_some((head, hash));
        Ok(Taken { received, new })
    }

    /// Heads count from when they are durable: what a crash may take back is in nobody's history.
    fn learn(&self, new: impl IntoIterator<Item = (Head, [u8; 32])>) {
        let mut known = self.known.lock();
        for (head, hash) in new {
            // Once more: of two that came together each may have been the first.
            match known.standing(&head, &hash) {
                Standing::Forked => known.end_history(head.device),
                Standing::New | Standing::Known => known.insert(head, hash),
            }
        }
    }
}

/// A head that is in the store, and is not known before it is durable.
struct Taken {
    received: Received,
    new: Option<(Head, [u8; 32])>,
}

/// Judges a head, and puts one that is new into the store.
fn keep(
    volume: VolumeId,
    head: &Head,
    hash: &[u8; 32],
    bytes: &Bytes,
    own: DeviceId,
    known: &Mutex<Known>,
    store: &dyn HeadStore,
) -> Result<Received, ReceiveError> {
    let (device, seq) = (head.device, head.seq);
    let (standing, own_seq) = {
        let known = known.lock();
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
        Standing::Forked => return Err(forked(head, hash, known)),
    }
    match store.put_head(&volume, &device, seq, bytes) {
        Ok(()) => Ok(Received { device, seq, is_new: true }),
        // One that is not known: it came at the same time, or is damaged here.
        Err(StoreError::HeadConflict { .. }) => Err(forked(head, hash, known)),
        Err(error) => Err(error.into()),
    }
}

fn forked(head: &Head, hash: &[u8; 32], known: &Mutex<Known>) -> ReceiveError {
    let (device, seq) = (head.device, head.seq);
    known.lock().end_history(device);
    let hash = head_hash_text(hash);
    tracing::error!(%device, seq, refused = %hash, "a device signed two histories; the one that came first stays, and nothing more of it is taken");
    ReceiveError::Forked { device, seq }
}

fn head_hash_text(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
