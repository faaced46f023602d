//! Collection: mark what is wanted, sweep the rest. No lock is held in between.
//!
//! ```text
//! begin ──> ask every volume for its roots ──> mark all they reach ──> sweep
//!    └────── whatever is put, claimed or appended from here on stays ──────┘
//! ```
//! The order makes it safe: roots are asked for after `begin`, so a tree that is being written is either
//! named by its volume as in flight, or was claimed after `begin`, or is under a head by then.

use cairn_block::BlockId;

use crate::{Progress, StoreError};

/// A store whose unmarked blocks can be swept away.
pub trait Collector: Send + Sync {
    /// Begins a collection. From here on puts, claims and appended deltas protect their blocks.
    ///
    /// A store runs one at a time; a second one is [`StoreError::CollectionRunning`].
    fn begin_collection(&self) -> Result<Box<dyn Collection>, StoreError>;
}

/// A collection under way. Dropped without a sweep, it removes nothing.
pub trait Collection: Send {
    /// Keeps `id`. An id that is not here is remembered all the same.
    fn mark(&mut self, id: &BlockId);

    /// Whether `id` was marked: what lies below it need not be walked again.
    fn is_marked(&self, id: &BlockId) -> bool;

    /// Removes what was neither marked nor protected, nor is in a journal, and ends the collection.
    ///
    /// First it syncs: what made blocks garbage must be durable before they go. The removed are gone at
    /// once; after a crash some may be back, as garbage for the next collection.
    fn sweep(
        self: Box<Self>,
        options: SweepOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SweepReport, StoreError>;
}

/// How to sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepOptions {
    /// Only count: remove nothing.
    pub dry_run: bool,
}

/// What a sweep found; a dry run counts what it would have removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Blocks that stay.
    pub blocks_kept: u64,
    /// Their bytes.
    pub bytes_kept: u64,
    /// Blocks that went.
    pub blocks_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
}
