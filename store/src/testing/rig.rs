//! A store that can crash.

use cairn_block::BlockId;

use crate::{MemoryStore, Store};

/// Holds a store and what it takes to crash, reopen and damage it.
pub trait Rig {
    /// The store as it is now.
    fn store(&self) -> &dyn Store;

    /// The power goes out and the store is opened again. What was not synced may or may not be there;
    /// `luck` is for a rig that can choose.
    fn crash(&mut self, luck: u64);

    /// Changes the stored bytes of a synced block behind the store's back. `false` if this rig cannot.
    fn damage(&mut self, id: &BlockId) -> bool {
        let _ = id;
        false
    }
}

/// The model in its rig. A crash keeps any subset of what was not synced.
#[derive(Default)]
pub struct MemoryRig {
    store: MemoryStore,
}

impl MemoryRig {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses a block without a trace; see [`MemoryStore::lose`].
    pub fn lose(&self, id: &BlockId) -> bool {
        self.store.lose(id)
    }
}

impl Rig for MemoryRig {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    fn crash(&mut self, luck: u64) {
        self.store.crash_keeping(|change| luck >> (change % 64) & 1 == 1);
    }

    fn damage(&mut self, id: &BlockId) -> bool {
        self.store.damage(id)
    }
}
