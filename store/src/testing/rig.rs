//! A store that can crash.

use cairn_block::BlockId;

use super::op::Reopen;
use crate::{MemoryStore, Store};

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It takes so many bytes, and no more.
    Room(u64),
    /// The n-th sync from now fails, once.
    Sync(u64),
    /// Every sync fails.
    Syncs,
}

/// Holds a store and what it takes to crash, reopen and damage it. What a rig can't do it says, and nothing happened.
pub trait Rig {
    /// The store as it is now.
    fn store(&self) -> &dyn Store;

    /// The power goes out and the store is opened again. What was not synced may or may not be there;
    /// `luck` is for a rig that can choose.
    fn crash(&mut self, luck: u64);

    /// Makes everything durable and opens the store again.
    fn reopen(&mut self, how: Reopen);

    /// Changes the stored bytes of a synced block behind the store's back. `false` if this rig cannot.
    fn damage(&mut self, id: &BlockId) -> bool {
        let _ = id;
        false
    }

    /// The disk fails from now on, or works again. A crash ends a fault. `false` if this rig cannot.
    fn fail(&mut self, fault: Option<Fault>) -> bool {
        let _ = fault;
        false
    }

    /// Whether a put of a new block may be refused for want of room.
    fn has_quota(&self) -> bool {
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

    fn reopen(&mut self, _: Reopen) {
        self.store.crash_keeping(|_| true);
    }

    fn damage(&mut self, id: &BlockId) -> bool {
        self.store.damage(id)
    }
}
