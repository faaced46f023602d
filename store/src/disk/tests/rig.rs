//! A disk store that can lose power, and be damaged, in one process.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use cairn_block::{Block, BlockId};
use tempfile::TempDir;

use crate::Store;
use crate::disk::inner::Place;
use crate::disk::{DiskOptions, DiskStore};
use crate::testing::model::Reopen;
use crate::testing::{Fault, Rig, ask};

/// Whether the long forms were asked for.
pub(super) fn is_full() -> bool {
    std::env::var("CAIRN_SCALE").is_ok_and(|scale| scale == "full")
}

/// Repeatable luck: `CAIRN_SEED`, or a fixed seed, so that a gate never fails by chance alone.
pub(super) struct Luck {
    seed: u64,
    stream: blake3::OutputReader,
}

impl Luck {
    pub(super) fn of_this_run(purpose: &str) -> Self {
        let seed = std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&u64::to_le_bytes(seed));
        Self { seed, stream: hasher.finalize_xof() }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// A number in `0..end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.stream.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }
}

/// Segments so small that every test meets several.
pub(super) fn options() -> DiskOptions {
    DiskOptions { segment_bytes: 96 << 10, reserve_bytes: 0, index_cache_bytes: 1 << 20, ..DiskOptions::default() }
}

/// A store in a directory of its own.
pub(super) struct DiskRig {
    dir: TempDir,
    store: Option<DiskStore>,
    options: DiskOptions,
}

impl DiskRig {
    pub(super) fn new() -> Self {
        Self::with(options())
    }

    pub(super) fn with(options: DiskOptions) -> Self {
        Self::within(directory(), options)
    }

    /// On the disk of temporary files, where a sync takes time.
    pub(super) fn on_disk(options: DiskOptions) -> Self {
        Self::within(tempfile::tempdir().expect("a directory"), options)
    }

    fn within(dir: TempDir, options: DiskOptions) -> Self {
        let store = DiskStore::open(dir.path(), options.clone()).expect("a new store");
        Self { dir, store: Some(store), options }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn disk(&self) -> &DiskStore {
        self.store.as_ref().expect("open")
    }

    /// Closes in order.
    pub(super) fn close(&mut self) {
        self.store.take().expect("open").close().expect("close");
    }

    pub(super) fn open(&mut self) -> &DiskStore {
        drop(self.store.take());
        self.store.insert(DiskStore::open(self.dir.path(), self.options.clone()).expect("reopened"))
    }

    /// The process is killed: what reached the kernel stays.
    pub(super) fn kill(&mut self) -> &DiskStore {
        self.store.take().expect("open").kill();
        self.open()
    }

    /// All files of the store, in order.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        files(self.path())
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        files(&self.path().join("log"))
    }
}

/// In memory if the system has such a place: power fails in these tests by what they do to files, not to a disk.
pub(super) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Copies a store that is closed.
pub(super) fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("create");
        std::fs::copy(path, target).expect("copy");
    }
}

pub(super) fn get(store: &dyn Store, block: &Block) -> Option<Block> {
    store.get(&block.id(), ask()).expect("get")
}

pub(super) fn put_all(store: &dyn Store, blocks: &[Block]) {
    for block in blocks {
        store.put(block).expect("put");
    }
}

/// Flips one bit of a file.
pub(super) fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    file.write_all_at(&[byte[0] ^ 1], offset).expect("write");
}

impl Rig for DiskRig {
    fn store(&self) -> &dyn Store {
        self.disk()
    }

    /// Power fails: of what was written since the last sync, the kernel has written back some sectors, in any order.
    /// So it is with the tail of a segment that could not be synced.
    fn crash(&mut self, luck: u64) {
        let store = self.store.take().expect("open");
        let mut tails = vec![store.inner.appender.unsynced_range()];
        let segments = &store.inner.log.segments;
        for (number, len) in segments.list().into_iter().filter(|(number, _)| !is_active(&store, *number)) {
            let path = segments.path(number);
            let written = path.metadata().expect("a segment").len();
            tails.push((path, len, written));
        }
        store.kill();
        for (path, synced, written) in tails {
            lose(&path, synced, written, luck);
        }
        self.open();
    }

    fn reopen(&mut self, how: Reopen) {
        match how {
            Reopen::Rebuilt => return self.disk().rebuild_index().expect("rebuilt"),
            Reopen::Closed => self.close(),
            Reopen::WithoutIndex => {
                self.close();
                std::fs::remove_dir_all(self.path().join("index")).expect("removed");
            }
        }
        self.open();
    }

    fn fail(&mut self, fault: Option<Fault>) -> bool {
        let faults = self.disk().faults();
        faults.room.store(u64::MAX, Ordering::SeqCst);
        faults.sync_in.store(0, Ordering::SeqCst);
        match fault {
            Some(Fault::Room(bytes)) => faults.room.store(bytes, Ordering::SeqCst),
            Some(Fault::Sync(nth)) => faults.sync_in.store(nth, Ordering::SeqCst),
            _ => {}
        }
        faults.no_sync.store(fault == Some(Fault::Syncs), Ordering::SeqCst);
        true
    }

    fn has_quota(&self) -> bool {
        self.options.quota_bytes.is_some()
    }

    fn damage(&mut self, id: &BlockId) -> bool {
        let inner = &self.disk().inner;
        let Ok(Some(Place::At(at))) = inner.find(id) else { return false };
        flip(&inner.log.segments.path(at.segment), u64::from(at.offset + at.len / 2));
        true
    }
}

fn is_active(store: &DiskStore, number: u32) -> bool {
    store.inner.appender.active_number() == number
}

/// Each sector is written back or not, by a bit of `luck`; those that are not are zeros, or not there at all.
fn lose(path: &Path, synced: u64, written: u64, luck: u64) {
    const SECTOR: u64 = 4096;
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("open");
    let kept = |sector: u64| luck >> (sector % 64) & 1 == 1;
    let mut end = synced;
    for sector in synced / SECTOR..written.div_ceil(SECTOR) {
        let from = synced.max(sector * SECTOR);
        let to = written.min((sector + 1) * SECTOR);
        if kept(sector) {
            end = to;
        } else {
            file.write_all_at(&vec![0; (to - from) as usize], from).expect("write");
        }
    }
    file.set_len(end.max(synced)).expect("cut");
}
