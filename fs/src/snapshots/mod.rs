//! The kept heads of a volume as read-only directories: `.snapshots/<time>/`, and a link for each label.
//!
//! [`Snapshots`] answers for everything below `.snapshots`, in the words of [`Operations`](crate::ops::Operations);
//! [`Browsable`] is a volume with that directory in its root. Whatever is asked with `Wait::Never` is answered from memory.
//!
//! The directory can be looked up and listed, but is not listed in the root: a recursive walk of the volume must not wander
//! through its history. Nothing below it can change, so what the kernel caches of it never has to be invalidated; a head
//! that is thinned away stays readable through what is known of it as long as the store has its blocks.

mod content;
mod door;
mod listing;
mod names;
mod shelf;
mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::{
    Attr, Content, DirKey, Entry, FileType, Head, Ino, Kind, Record, Ref, Timestamp, VolumeKeys, VolumeRoot,
};
use cairn_store::{Ask, Priority};
use parking_lot::Mutex;

use crate::error::FsError;
use crate::ops::{Handle, Wait};
use crate::reader::{Patience, ReaderNodes, TreeReader};
use crate::tree::{self, compact, dir_root};

pub use door::{Browsable, SNAPSHOTS_NAME};
use names::{HeadKey, Named};
use shelf::Shelf;
use table::{SnapshotIno, Table, Trail};

/// How long the list of heads is good for. A lookup that doesn't find a name looks again at once.
const LIST_FOR: Duration = Duration::from_secs(1);
/// Handles of files in snapshots have this bit, those of the volume don't.
const HANDLE_BIT: u64 = 1 << 63;

/// Where the kept heads come from, oldest first.
pub type History = dyn Fn() -> Result<Vec<Head>, FsError> + Send + Sync;

/// Everything below `.snapshots`.
pub struct Snapshots {
    reader: Arc<TreeReader>,
    keys: Arc<VolumeKeys>,
    history: Box<History>,
    shelf: Mutex<Shelf>,
    table: Mutex<Table>,
    handles: Mutex<HashMap<Handle, (u16, Ino)>>,
    next_handle: AtomicU64,
}

impl Snapshots {
    /// The snapshots that `history` lists, read through `reader`.
    #[must_use]
    pub fn new(reader: Arc<TreeReader>, keys: Arc<VolumeKeys>, history: Box<History>) -> Self {
        Self {
            reader,
            keys,
            history,
            shelf: Mutex::new(Shelf::default()),
            table: Mutex::new(Table::new()),
            handles: Mutex::new(HashMap::new()),
            next_handle: AtomicU64::new(1),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn top() -> Ino {
        SnapshotIno::Top.number().unwrap_or(Ino::ROOT)
    }

    /// Whether an inode is below `.snapshots`, or is it.
    #[must_use]
    pub fn holds(ino: Ino) -> bool {
        SnapshotIno::of(ino).is_some()
    }

    /// Whether a handle is of a file in a snapshot.
    #[must_use]
    pub fn opened(handle: Handle) -> bool {
        handle.0 & HANDLE_BIT != 0
    }

    /// The trees of snapshots with open files: a collection must not take them, listed or not.
    #[must_use]
    pub fn roots_in_use(&self) -> Vec<Ref> {
        let shelf = self.shelf.lock();
        let handles = self.handles.lock();
        let mut slots: Vec<u16> = handles.values().map(|(slot, _)| *slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.iter().filter_map(|slot| shelf.slots.get(slot)).map(|snapshot| snapshot.head.root.clone()).collect()
    }

    /// See [`Operations::lookup`](crate::ops::Operations::lookup). `..` of `.snapshots` is the volume's to answer.
    pub fn lookup(&self, wait: Wait, parent: Ino, name: &[u8]) -> Result<Attr, FsError> {
        match (known(parent)?, name) {
            (SnapshotIno::Top, b".") => self.top_attr(wait),
            (SnapshotIno::Top, name) => self.lookup_snapshot(wait, name),
            (label @ SnapshotIno::Label(_), b".") => self.label_attr(label),
            (SnapshotIno::Label(_), _) => Err(FsError::NotDirectory),
            (SnapshotIno::In(_, Ino::ROOT), b"..") => self.top_attr(wait),
            (SnapshotIno::In(slot, ino), b".") => self.lookup_again(wait, slot, ino),
            (SnapshotIno::In(slot, ino), b"..") => {
                let trail = self.table.lock().trail(slot, ino).ok_or(FsError::Stale)?;
                self.lookup_again(wait, slot, trail.parent)
            }
            (SnapshotIno::In(slot, dir), name) => self.lookup_entry(wait, slot, dir, name),
        }
    }

    /// See [`Operations::forget`](crate::ops::Operations::forget).
    pub fn forget(&self, ino: Ino, count: u64) {
        if let Some(SnapshotIno::In(slot, ino)) = SnapshotIno::of(ino) {
            self.table.lock().forget(slot, ino, count);
        }
    }

    /// See [`Operations::getattr`](crate::ops::Operations::getattr).
    pub fn getattr(&self, wait: Wait, ino: Ino) -> Result<Attr, FsError> {
        match known(ino)? {
            SnapshotIno::Top => self.top_attr(wait),
            label @ SnapshotIno::Label(_) => self.label_attr(label),
            SnapshotIno::In(slot, ino) => shown(slot, &*self.record(wait, slot, ino)?),
        }
    }

    /// See [`Operations::readlink`](crate::ops::Operations::readlink).
    pub fn readlink(&self, wait: Wait, ino: Ino) -> Result<Bytes, FsError> {
        match known(ino)? {
            SnapshotIno::Top => Err(FsError::Invalid),
            SnapshotIno::Label(slot) => self.label_target(slot),
            SnapshotIno::In(slot, ino) => match &self.record(wait, slot, ino)?.content {
                Content::Symlink(target) => Ok(target.clone()),
                _ => Err(FsError::Invalid),
            },
        }
    }

    fn lookup_snapshot(&self, wait: Wait, name: &[u8]) -> Result<Attr, FsError> {
        match self.named(wait, name)? {
            Named::Tree(key) => {
                let slot = self.slot(key)?;
                let record = self.record(wait, slot, Ino::ROOT)?;
                self.refer_root(slot);
                shown(slot, &record)
            }
            Named::Label(key) => self.label_attr(SnapshotIno::Label(self.slot(key)?)),
        }
    }

    fn refer_root(&self, slot: u16) {
        self.table.lock().refer(slot, Ino::ROOT, Trail { parent: Ino::ROOT, hash: None });
    }

    fn lookup_again(&self, wait: Wait, slot: u16, ino: Ino) -> Result<Attr, FsError> {
        let record = self.record(wait, slot, ino)?;
        let mut table = self.table.lock();
        let trail = table.trail(slot, ino).ok_or(FsError::Stale)?;
        table.refer(slot, ino, trail);
        shown(slot, &record)
    }

    fn lookup_entry(&self, wait: Wait, slot: u16, dir: Ino, name: &[u8]) -> Result<Attr, FsError> {
        let parent = self.record(wait, slot, dir)?;
        if parent.attr.kind != FileType::Directory {
            return Err(FsError::NotDirectory);
        }
        if name.len() > cairn_block::limits::NAME_BYTES_MAX {
            return Err(FsError::NameTooLong);
        }
        let key = DirKey::new(self.keys.names(), name).map_err(|_| FsError::InvalidName)?;
        let mut nodes = self.nodes(wait);
        let entry = tree::entry(&mut nodes, dir_root(&parent), &key).map_err(|error| error.into_fs(dir))?;
        let entry = entry.ok_or(FsError::NotFound)?;
        let trail = trail_of(dir, &key, &entry);
        let record = self.behind(wait, slot, entry)?;
        let attr = shown(slot, &record)?;
        self.admit(slot, trail, record);
        Ok(attr)
    }

    /// Takes a lookup reference on an inode that was just found.
    fn admit(&self, slot: u16, trail: Trail, record: Record) {
        let ino = record.attr.ino;
        let record = Arc::new(compact(record));
        let mut table = self.table.lock();
        table.refer(slot, ino, trail);
        table.keep(slot, ino, record);
    }

    /// The record behind an entry.
    fn behind(&self, wait: Wait, slot: u16, entry: Entry) -> Result<Record, FsError> {
        let ino = entry.ino();
        let root = self.root(wait, slot)?;
        let found = tree::record_of(&mut self.nodes(wait), &root, entry);
        found.map_err(|error| error.into_fs(ino))?.ok_or(FsError::Stale)
    }

    /// The record of a known inode: from memory, or found again along its trail.
    fn record(&self, wait: Wait, slot: u16, ino: Ino) -> Result<Arc<Record>, FsError> {
        let mut above = Vec::new();
        let mut next = ino;
        let mut record = loop {
            if let Some(record) = self.table.lock().record(slot, next) {
                break record;
            }
            if next == Ino::ROOT {
                break Arc::new(self.root(wait, slot)?.root.clone());
            }
            let trail = self.table.lock().trail(slot, next).ok_or(FsError::Stale)?;
            above.push((next, trail));
            next = if trail.hash.is_some() { trail.parent } else { Ino::ROOT };
        };
        while let Some((ino, trail)) = above.pop() {
            record = Arc::new(compact(self.find_again(wait, slot, &record, ino, trail)?));
            self.table.lock().keep(slot, ino, Arc::clone(&record));
        }
        Ok(record)
    }

    fn find_again(&self, wait: Wait, slot: u16, dir: &Record, ino: Ino, trail: Trail) -> Result<Record, FsError> {
        let Some(hash) = trail.hash else {
            // The kind is not looked at: the record behind a link says it.
            return self.behind(wait, slot, Entry::Link { ino, kind: FileType::Regular });
        };
        let found = listing::with_hash(&mut self.nodes(wait), dir_root(dir), hash, ino);
        match found.map_err(|error| error.into_fs(ino))? {
            Some(entry) => self.behind(wait, slot, entry),
            None => Err(FsError::Stale),
        }
    }

    /// The volume root of a snapshot.
    fn root(&self, wait: Wait, slot: u16) -> Result<Arc<VolumeRoot>, FsError> {
        let snapshot = self.shelf.lock().slots.get(&slot).cloned().ok_or(FsError::Stale)?;
        if let Some(root) = &*snapshot.root.lock() {
            return Ok(Arc::clone(root));
        }
        let ask = ask(wait).ok_or(FsError::WouldWait)?;
        let payload = self.reader.payload(&snapshot.head.root, Kind::Root, ask);
        let payload = payload.map_err(|error| error.into_fs(Ino::ROOT))?;
        let root = Arc::new(VolumeRoot::decode(&payload)?);
        *snapshot.root.lock() = Some(Arc::clone(&root));
        Ok(root)
    }

    fn nodes(&self, wait: Wait) -> ReaderNodes<'_> {
        self.reader.patient_nodes(ask(wait).map_or(Patience::None, Patience::Until))
    }

    /// What a name under `.snapshots` means. An unknown one is looked for in a fresh list: it may be a second old.
    fn named(&self, wait: Wait, name: &[u8]) -> Result<Named, FsError> {
        self.refresh(wait, LIST_FOR)?;
        if let Some(named) = self.shelf.lock().names.get(name) {
            return Ok(named);
        }
        self.refresh(wait, Duration::ZERO)?;
        self.shelf.lock().names.get(name).ok_or(FsError::NotFound)
    }

    fn slot(&self, key: HeadKey) -> Result<u16, FsError> {
        self.shelf.lock().by_head.get(&key).copied().ok_or(FsError::NotFound)
    }

    /// Reads the list of heads again if it is older than `age`.
    fn refresh(&self, wait: Wait, age: Duration) -> Result<(), FsError> {
        let is_fresh = |shelf: &Shelf| shelf.listed_at.is_some_and(|at| at.elapsed() < age);
        if is_fresh(&self.shelf.lock()) {
            return Ok(());
        }
        if wait == Wait::Never {
            return Err(FsError::WouldWait);
        }
        let heads = (self.history)()?;
        let mut shelf = self.shelf.lock();
        shelf.update(heads, &mut self.table.lock());
        Ok(())
    }

    fn top_attr(&self, wait: Wait) -> Result<Attr, FsError> {
        self.refresh(wait, LIST_FOR)?;
        let shelf = self.shelf.lock();
        let newest = shelf.slots.values().map(|snapshot| snapshot.head.time).max().unwrap_or_default();
        let mut attr = listing::attr(SnapshotIno::Top, FileType::Directory, 0o555, newest)?;
        attr.nlink = 2 + u32::try_from(shelf.by_head.len()).unwrap_or(u32::MAX - 2);
        attr.size = shelf.by_head.len() as u64;
        Ok(attr)
    }

    fn label_attr(&self, label: SnapshotIno) -> Result<Attr, FsError> {
        let SnapshotIno::Label(slot) = label else { return Err(FsError::Stale) };
        let mut attr = listing::attr(label, FileType::Symlink, 0o777, self.time(slot)?)?;
        attr.size = self.label_target(slot)?.len() as u64;
        Ok(attr)
    }

    fn time(&self, slot: u16) -> Result<Timestamp, FsError> {
        Ok(self.shelf.lock().slots.get(&slot).ok_or(FsError::Stale)?.head.time)
    }

    fn label_target(&self, slot: u16) -> Result<Bytes, FsError> {
        let shelf = self.shelf.lock();
        let snapshot = shelf.slots.get(&slot).ok_or(FsError::Stale)?;
        shelf.names.of((snapshot.head.device, snapshot.head.seq)).cloned().ok_or(FsError::Stale)
    }
}

fn known(ino: Ino) -> Result<SnapshotIno, FsError> {
    SnapshotIno::of(ino).ok_or(FsError::Stale)
}

fn ask(wait: Wait) -> Option<Ask> {
    match wait {
        Wait::Never => None,
        Wait::Until(deadline) => Some(Ask { deadline, priority: Priority::Now }),
    }
}

fn trail_of(parent: Ino, key: &DirKey, entry: &Entry) -> Trail {
    let hash = matches!(entry, Entry::Own(_)).then(|| key.hash56());
    Trail { parent, hash }
}

/// What stat shows of a record in a snapshot.
fn shown(slot: u16, record: &Record) -> Result<Attr, FsError> {
    let mut attr = record.attr.clone();
    attr.ino = SnapshotIno::In(slot, attr.ino).number().ok_or(FsError::Unsupported)?;
    if let Content::Dir(root) = &record.content {
        attr.size = root.count;
    }
    Ok(attr)
}
