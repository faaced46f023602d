//! The node's blocks and heads as its volumes see them: the own store, and behind it the circle once there is one.
//!
//! What this adds to the store: a block that isn't here is fetched from the members, and a head that a volume made is told
//! to them, not before it is durable. A head that was told and then lost in a crash would be a fork: its number is used again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use cairn_block::{Block, BlockId, DeviceId, VolumeId};
use cairn_net::Router;
use cairn_store::disk::DiskStore;
use cairn_store::{Ask, BlockStore, HeadStore, Put, StoreError, StoredHead};

use super::open::lock;

/// Called with a volume of which this device made a head, which is durable.
type Told = Box<dyn Fn(&VolumeId) + Send + Sync>;

/// See the module.
pub(super) struct Blocks {
    own: Arc<DiskStore>,
    /// This device. Whoever brings in another one's head passes it on.
    me: DeviceId,
    router: OnceLock<Router>,
    told: OnceLock<Told>,
    /// Heads that a crash may still take back, and whether each has reached the store. Nobody else may see them.
    fresh: Mutex<BTreeMap<(VolumeId, DeviceId, u64), bool>>,
}

impl Blocks {
    pub(super) fn new(own: Arc<DiskStore>, me: DeviceId) -> Self {
        Blocks { own, me, router: OnceLock::new(), told: OnceLock::new(), fresh: Mutex::default() }
    }

    /// From here on what is missing is asked of the circle, and new heads are told. A node does this once.
    pub(super) fn connect(&self, router: Router, told: impl Fn(&VolumeId) + Send + Sync + 'static) {
        // A second time the first one stays: both lead to the same circle.
        let _ = (self.router.set(router), self.told.set(Box::new(told)));
    }

    /// The heads that no crash takes back.
    pub(super) fn durable_heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, StoreError> {
        let mut heads = self.own.heads(volume)?;
        // Looked at afterwards: what is not fresh by now was synced, before or since.
        let fresh = lock(&self.fresh);
        heads.retain(|head| !fresh.contains_key(&(*volume, head.device, head.seq)));
        Ok(heads)
    }

    /// What was fetched so far.
    pub(super) fn router(&self) -> Option<&Router> {
        self.router.get()
    }
}

impl BlockStore for Blocks {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        match self.router.get() {
            Some(router) => router.get(id, ask),
            None => self.own.get(id, ask),
        }
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        self.own.put(block)
    }

    fn put_from_reserve(&self, block: &Block) -> Result<Put, StoreError> {
        self.own.put_from_reserve(block)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.own.has(id)
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.own.claim(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        // Those that are in the store before the sync begins: what is put meanwhile isn't in it.
        let covered: Vec<_> = lock(&self.fresh).iter().filter(|(_, is_put)| **is_put).map(|(head, _)| *head).collect();
        self.own.sync()?;
        if covered.is_empty() {
            return Ok(());
        }
        lock(&self.fresh).retain(|head, _| !covered.contains(head));
        if let Some(told) = self.told.get() {
            let made_here = covered.iter().filter(|(_, device, _)| *device == self.me);
            let volumes: BTreeSet<VolumeId> = made_here.map(|(volume, ..)| *volume).collect();
            volumes.iter().for_each(told);
        }
        Ok(())
    }
}

impl HeadStore for Blocks {
    fn put_head(&self, volume: &VolumeId, device: &DeviceId, seq: u64, head: &Bytes) -> Result<(), StoreError> {
        let name = (*volume, *device, seq);
        let before = lock(&self.fresh).insert(name, false);
        let put = self.own.put_head(volume, device, seq, head);
        let mut fresh = lock(&self.fresh);
        match (&put, before) {
            (Ok(()), _) => fresh.insert(name, true),
            (Err(_), Some(before)) => fresh.insert(name, before),
            (Err(_), None) => fresh.remove(&name),
        };
        put
    }

    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, StoreError> {
        self.own.heads(volume)
    }

    fn drop_heads(&self, volume: &VolumeId, heads: &[(DeviceId, u64)]) -> Result<(), StoreError> {
        self.own.drop_heads(volume, heads)
    }

    fn append_delta(&self, volume: &VolumeId, seq: u64, block: &Block) -> Result<(), StoreError> {
        self.own.append_delta(volume, seq, block)
    }

    fn deltas(&self, volume: &VolumeId, after: u64) -> Result<Vec<(u64, BlockId)>, StoreError> {
        self.own.deltas(volume, after)
    }

    fn last_delta(&self, volume: &VolumeId) -> Result<u64, StoreError> {
        self.own.last_delta(volume)
    }

    fn trim_deltas(&self, volume: &VolumeId, upto: u64) -> Result<(), StoreError> {
        self.own.trim_deltas(volume, upto)
    }

    fn volumes(&self) -> Result<Vec<VolumeId>, StoreError> {
        self.own.volumes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use cairn_store::disk::DiskOptions;

    use super::*;

    #[test]
    fn no_head_is_shown_to_others_before_it_is_durable() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = DiskStore::open(directory.path(), DiskOptions::default()).expect("a new store");
        let (volume, device) = (VolumeId::from_bytes([1; 16]), DeviceId::from_bytes([2; 32]));
        let blocks = Blocks::new(Arc::new(store), device);
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        let tell = move |_: &VolumeId| {
            count.fetch_add(1, Ordering::SeqCst);
        };
        assert!(blocks.told.set(Box::new(tell)).is_ok());
        let shown = |blocks: &Blocks| blocks.durable_heads(&volume).expect("heads").len();
        blocks.put_head(&volume, &device, 1, &Bytes::from_static(b"one")).expect("put");
        assert_eq!(blocks.heads(&volume).expect("heads").len(), 1, "the volume itself sees it");
        assert_eq!((shown(&blocks), told.load(Ordering::SeqCst)), (0, 0));
        blocks.sync().expect("sync");
        assert_eq!((shown(&blocks), told.load(Ordering::SeqCst)), (1, 1));
        blocks.sync().expect("sync");
        assert_eq!(told.load(Ordering::SeqCst), 1, "a head is told once");
        let conflict = blocks.put_head(&volume, &device, 1, &Bytes::from_static(b"other"));
        assert!(matches!(conflict, Err(StoreError::HeadConflict { .. })));
        assert_eq!(shown(&blocks), 1, "the first one stays, and stays shown");
    }
}
