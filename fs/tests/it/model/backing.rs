//! What a volume lies on, and how that crashes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_store::disk::{DiskOptions, DiskStore};
use cairn_store::{MemoryStore, Store};
use tempfile::TempDir;

pub(super) trait Backing {
    fn store(&self) -> Arc<dyn Store>;

    /// Ends in order and begins again. Nobody uses the store.
    fn reopen(&mut self);

    /// The same without any order. `luck` is for a store that can choose what survives.
    fn crash(&mut self, luck: u64);
}

/// Keeps any part of what was not synced.
pub(super) struct MemoryBacking {
    store: Arc<MemoryStore>,
}

impl MemoryBacking {
    pub(super) fn new() -> MemoryBacking {
        MemoryBacking { store: Arc::new(MemoryStore::new()) }
    }
}

impl Backing for MemoryBacking {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn reopen(&mut self) {}

    fn crash(&mut self, luck: u64) {
        // Half of all crashes keep nothing, as the page cache of a machine that lost its power.
        let keeps_some = luck & 1 == 1;
        self.store.crash_keeping(|change| keeps_some && luck >> (1 + change % 63) & 1 == 1);
    }
}

/// A store that is killed: what its process had not written is gone.
pub(super) struct DiskBacking {
    dir: TempDir,
    lives: u32,
    store: Option<Arc<DiskStore>>,
}

impl DiskBacking {
    pub(super) fn new() -> DiskBacking {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
        let mut backing = DiskBacking { dir, lives: 0, store: None };
        backing.open();
        backing
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(self.lives.to_string())
    }

    fn open(&mut self) {
        let options = DiskOptions { segment_bytes: 1 << 20, reserve_bytes: 0, ..DiskOptions::small() };
        self.store = Some(Arc::new(DiskStore::open(self.path(), options).expect("a store")));
    }

    /// The only reference to the store: whoever used it is gone.
    fn take(&mut self) -> DiskStore {
        let mut store = self.store.take().expect("open");
        loop {
            // A volume that ends in its keeper's thread takes a moment to let go.
            match Arc::try_unwrap(store) {
                Ok(store) => return store,
                Err(shared) => store = shared,
            }
            std::thread::yield_now();
        }
    }
}

impl Backing for DiskBacking {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone().expect("open")
    }

    fn reopen(&mut self) {
        self.take().close().expect("closed");
        self.open();
    }

    fn crash(&mut self, _: u64) {
        let store = self.take();
        let before = self.path();
        self.lives += 1;
        copy(&before, &self.path());
        drop(store);
        std::fs::remove_dir_all(before).expect("removed");
        self.open();
    }
}

/// What the kernel has of a directory's files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else if let Err(error) = std::fs::copy(entry.path(), target) {
            // The index removes files of its own at any time.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}
