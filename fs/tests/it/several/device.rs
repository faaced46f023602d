//! Devices, and what connects them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{Block, BlockId, DeviceId, DeviceKey, FileType, Ino, MasterKey, VolumeKeys};
use cairn_fs::ops::{Caller, KillPriv, NewNode, Operations, RenameFlags, SetAttr, Wait};
use cairn_fs::{Absorbed, FsError, ReceiveError, Touched, Volume, VolumeConfig, VolumeOptions};
use cairn_store::{Ask, BlockStore, HeadStore, MemoryStore, Put, StoreError};
use parking_lot::Mutex;

pub(super) fn wait() -> Wait {
    Wait::Until(Instant::now() + Duration::from_secs(60))
}

pub(super) fn keys() -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"several")
}

/// Stores that give each other blocks, as far as they are connected.
#[derive(Default)]
pub(super) struct Net {
    stores: Mutex<Vec<MemoryStore>>,
    /// Which side of a split each device is on. Those of one side are connected.
    sides: Mutex<Vec<u8>>,
}

impl Net {
    pub(super) fn split(&self, sides: impl Fn(usize) -> u8) {
        let mut all = self.sides.lock();
        let count = all.len();
        *all = (0..count).map(sides).collect();
    }

    pub(super) fn is_whole(&self) -> bool {
        let sides = self.sides.lock();
        sides.iter().all(|side| *side == sides[0])
    }

    pub(super) fn connects(&self, a: usize, b: usize) -> bool {
        let sides = self.sides.lock();
        sides[a] == sides[b]
    }
}

/// A store that is asked first, and keeps what others give.
struct Fetching {
    own: MemoryStore,
    at: usize,
    net: Arc<Net>,
    trouble: Arc<Trouble>,
}

/// What goes wrong in a device's store.
#[derive(Default)]
pub(super) struct Trouble {
    /// From this number of a head of its own on, nothing can be made durable.
    syncs_fail_from: AtomicU64,
    /// The newest head of its own that no crash takes back.
    synced: AtomicU64,
}

impl Trouble {
    /// No sync succeeds once the store has this head of the device; from 0 on, none at all.
    pub(super) fn fail_syncs_from(&self, seq: u64) {
        self.syncs_fail_from.store(seq + 1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.syncs_fail_from.store(0, Ordering::Relaxed);
    }
}

impl BlockStore for Fetching {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        if let Some(block) = self.own.get(id, ask)? {
            return Ok(Some(block));
        }
        let others = self.net.stores.lock().clone();
        for (at, other) in others.iter().enumerate() {
            if at != self.at
                && self.net.connects(self.at, at)
                && let Some(block) = other.get(id, ask)?
            {
                self.own.put(&block)?;
                return Ok(Some(block));
            }
        }
        let source = "nobody who is connected has it".into();
        Err(StoreError::NotFetched { id: *id, source })
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        self.own.put(block)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.own.has(id)
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.own.claim(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        // Looked at before: what is put meanwhile isn't in it.
        let newest = newest_own(&self.own, self.at);
        if let Some(from) = self.trouble.syncs_fail_from.load(Ordering::Relaxed).checked_sub(1)
            && newest >= from
        {
            return Err(StoreError::Io { op: "sync", path: "log".into(), source: std::io::ErrorKind::Other.into() });
        }
        self.own.sync()?;
        self.trouble.synced.fetch_max(newest, Ordering::Relaxed);
        Ok(())
    }
}

/// A device with the volume open.
pub(super) struct Device {
    pub(super) volume: Arc<Volume>,
    pub(super) store: MemoryStore,
    pub(super) trouble: Arc<Trouble>,
    at: usize,
    net: Arc<Net>,
}

impl Device {
    /// A new device.
    pub(super) fn new(net: &Arc<Net>) -> Device {
        let store = MemoryStore::new();
        let at = {
            let mut stores = net.stores.lock();
            stores.push(store.clone());
            net.sides.lock().push(0);
            stores.len() - 1
        };
        let trouble = Arc::default();
        Device { volume: open(&store, at, net, &trouble).expect("opens"), store, trouble, at, net: Arc::clone(net) }
    }

    pub(super) fn id(&self) -> DeviceId {
        key(self.at).id()
    }

    /// Ends it, has something happen to its store, and opens it again.
    pub(super) fn again(self, meanwhile: impl FnOnce(&MemoryStore)) -> Device {
        let Device { volume, store, trouble, at, net } = self;
        let weak = Arc::downgrade(&volume);
        drop(volume);
        // The keeper may be the last to let go of it.
        while weak.strong_count() > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        meanwhile(&store);
        Device { volume: open(&store, at, &net, &trouble).expect("opens again"), store, trouble, at, net }
    }

    /// The same store with another device key.
    pub(super) fn with_new_key(self) -> Device {
        let Device { volume, store, trouble, at, net } = self;
        let weak = Arc::downgrade(&volume);
        drop(volume);
        while weak.strong_count() > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        store.crash();
        let (stores, sides) = (net.stores.lock().len(), net.sides.lock().len());
        assert_eq!(stores, sides);
        net.stores.lock().push(store.clone());
        net.sides.lock().push(0);
        assert!(at < stores);
        Device { volume: open(&store, stores, &net, &trouble).expect("opens"), store, trouble, at: stores, net }
    }

    /// A clean end, as far as what that needs is within reach, and a new start.
    pub(super) fn restart(self) -> Device {
        within_reach(self.volume.close());
        self.again(|_| {})
    }

    /// The number of the newest head of its own in its store.
    pub(super) fn own_seq(&self) -> u64 {
        newest_own(&self.store, self.at)
    }

    /// The heads that it can give: none that a crash may take back.
    pub(super) fn heads(&self) -> Vec<(DeviceId, u64, Bytes)> {
        let kept = self.store.heads(&keys().volume()).expect("heads").into_iter();
        let synced = self.trouble.synced.load(Ordering::Relaxed);
        let durable = kept.filter(|head| head.device != self.id() || head.seq <= synced);
        durable.map(|head| (head.device, head.seq, head.bytes)).collect()
    }

    /// Takes all that another one has.
    pub(super) fn hear(&self, other: &Device) -> usize {
        let new = other.heads().into_iter().filter(|(.., bytes)| self.receive(bytes).expect("a sound head"));
        new.count()
    }

    pub(super) fn receive(&self, head: &Bytes) -> Result<bool, ReceiveError> {
        self.volume.receive(head.clone()).map(|received| received.is_new)
    }

    pub(super) fn absorb(&self) -> Absorbed {
        self.absorb_telling().0
    }

    /// Some of what that needs may be on the other side of a split.
    pub(super) fn try_to_absorb(&self) {
        within_reach(self.volume.absorb(&mut |_| {}));
    }

    pub(super) fn absorb_telling(&self) -> (Absorbed, Vec<Touched>) {
        let mut touched = Vec::new();
        let absorbed = self.volume.absorb(&mut |change| touched.push(change)).expect("an absorption");
        (absorbed, touched)
    }

    /// The inode at a path, with a reference.
    pub(super) fn find(&self, path: &str) -> Result<Ino, FsError> {
        let mut at = self.volume.lookup(wait(), Ino::ROOT, b".")?.ino;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let next = self.volume.lookup(wait(), at, name.as_bytes());
            self.volume.forget(at, 1);
            at = next?.ino;
        }
        Ok(at)
    }

    /// Does something with the directory that holds a path, and its name there.
    fn within<R>(&self, path: &str, work: impl FnOnce(Ino, &[u8]) -> Result<R, FsError>) -> Result<R, FsError> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.find(above)?;
        let result = work(parent, name.as_bytes());
        self.volume.forget(parent, 1);
        result
    }

    pub(super) fn make(&self, path: &str, kind: FileType) -> Result<(), FsError> {
        self.within(path, |parent, name| {
            let node = NewNode { kind, mode: 0o755, umask: 0, rdev: 0, target: Bytes::new() };
            let attr = self.volume.create(wait(), &Caller::NODE, parent, name, node)?;
            self.volume.forget(attr.ino, 1);
            Ok(())
        })
    }

    /// Makes a file what `text` says.
    pub(super) fn write(&self, path: &str, text: &[u8]) -> Result<(), FsError> {
        match self.make(path, FileType::Regular) {
            Err(FsError::Exists) => {}
            made => made?,
        }
        let ino = self.find(path)?;
        let size = SetAttr { size: Some(text.len() as u64), ..SetAttr::NONE };
        let written = self
            .volume
            .write(wait(), ino, 0, Bytes::copy_from_slice(text), KillPriv::Keep)
            .and_then(|_| self.volume.setattr(wait(), &Caller::NODE, ino, size));
        self.volume.forget(ino, 1);
        written.map(drop)
    }

    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, FsError> {
        let ino = self.find(path)?;
        let found = self.volume.read(wait(), ino, 0, 1 << 20).map(|pieces| pieces.into_bytes().to_vec());
        self.volume.forget(ino, 1);
        found
    }

    pub(super) fn remove(&self, path: &str) -> Result<(), FsError> {
        self.within(path, |parent, name| match self.volume.unlink(wait(), &Caller::NODE, parent, name) {
            Err(FsError::IsDirectory) => self.volume.rmdir(wait(), &Caller::NODE, parent, name),
            result => result,
        })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), FsError> {
        let flags = RenameFlags { noreplace: false, exchange: false, whiteout: false };
        self.within(from, |parent, name| {
            self.within(to, |new_parent, new_name| {
                self.volume.rename(wait(), &Caller::NODE, parent, name, new_parent, new_name, flags)
            })
        })
    }

    pub(super) fn link(&self, from: &str, to: &str) -> Result<(), FsError> {
        let ino = self.find(from)?;
        let linked = self.within(to, |parent, name| self.volume.link(wait(), &Caller::NODE, ino, parent, name));
        self.volume.forget(ino, 1);
        linked.map(|attr| self.volume.forget(attr.ino, 1))
    }
}

fn key(at: usize) -> DeviceKey {
    DeviceKey::from_bytes(&[at as u8 + 1; 32])
}

/// The number of the newest head of its own in a device's store.
fn newest_own(store: &MemoryStore, at: usize) -> u64 {
    let heads = store.heads(&keys().volume()).expect("heads").into_iter();
    heads.filter(|head| head.device == key(at).id()).map(|head| head.seq).max().unwrap_or_default()
}

fn open(store: &MemoryStore, at: usize, net: &Arc<Net>, trouble: &Arc<Trouble>) -> Result<Arc<Volume>, FsError> {
    // What a store shows when it is opened is durable.
    trouble.synced.store(newest_own(store, at), Ordering::Relaxed);
    let blocks = Fetching { own: store.clone(), at, net: Arc::clone(net), trouble: Arc::clone(trouble) };
    Volume::open(VolumeConfig {
        keys: keys(),
        device: key(at),
        store: Arc::new(blocks),
        heads: Arc::new(store.clone()),
        hints: Arc::new(store.clone()),
        options: VolumeOptions::default(),
    })
}

/// Whether it was done. Only what is out of reach may keep it from being.
pub(super) fn within_reach<T>(result: Result<T, FsError>) -> bool {
    match result {
        Ok(_) => true,
        Err(FsError::Store(StoreError::NotFetched { .. })) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Devices that are connected, with the same volume.
pub(super) fn devices<const N: usize>() -> (Arc<Net>, [Device; N]) {
    let net = Arc::new(Net::default());
    let devices = std::array::from_fn(|_| Device::new(&net));
    (net, devices)
}
