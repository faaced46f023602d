//! The joint: blocks by id. The disk, the memory model, the cache and the network all stand behind it.

use std::time::{Duration, Instant};

use cairn_block::{Block, BlockId};

use crate::StoreError;

/// Who waits for a block. A store may serve the first before the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A program is blocked on it.
    Now,
    /// It will probably be wanted soon: read-ahead.
    Ahead,
    /// Nobody waits: scrub, repair, collection. Does not count as interest in the block.
    Background,
}

/// How long, and how urgently, a block is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// When the answer is of no more use.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
}

impl Ask {
    /// A program waits, for at most `timeout`.
    pub fn now(timeout: Duration) -> Self {
        Self::with(Priority::Now, timeout)
    }

    /// Read-ahead that is worth at most `timeout`.
    pub fn ahead(timeout: Duration) -> Self {
        Self::with(Priority::Ahead, timeout)
    }

    /// Background work that gives up after `timeout`.
    pub fn background(timeout: Duration) -> Self {
        Self::with(Priority::Background, timeout)
    }

    /// What is left; zero once the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn with(priority: Priority, timeout: Duration) -> Self {
        Self { deadline: Instant::now() + timeout, priority }
    }
}

/// What a put found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Put {
    /// The block was not here, or only damaged: now it is.
    New,
    /// The block was here already.
    Known,
}

/// Blocks by id. Every call may block on I/O: never call one on an async worker.
///
/// A crash may keep any subset of what was not synced. Whatever a store shows after it was opened again
/// is durable.
pub trait BlockStore: Send + Sync {
    /// The block, verified; `None` if it is not here.
    ///
    /// Wrong bytes never leave: they are [`StoreError::Damaged`] on this and every later get until a
    /// put repairs the block. An ask that is late already may be refused with
    /// [`StoreError::Timeout`]; lateness is never reported as `None`.
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError>;

    /// Keeps the block: visible at once, durable after [`sync`](Self::sync).
    fn put(&self, block: &Block) -> Result<Put, StoreError>;

    /// The same for work that makes room once it is done, such as folding a deletion into a tree: it may use what
    /// the store keeps back on a full disk.
    fn put_from_reserve(&self, block: &Block) -> Result<Put, StoreError> {
        self.put(block)
    }

    /// Whether a sound copy is here, as far as the store knows without reading it.
    fn has(&self, id: &BlockId) -> Result<bool, StoreError>;

    /// [`has`](Self::has) that also counts as a put for a collection that is running: what was
    /// claimed is not swept. Whoever refers to a block without putting it claims it first.
    fn claim(&self, id: &BlockId) -> Result<bool, StoreError>;

    /// Returns once everything that was put, claimed, appended, trimmed or dropped before the call is
    /// durable. Many waiters share one sync of the disk. After an error nothing since the last
    /// successful sync may be counted on.
    fn sync(&self) -> Result<(), StoreError>;
}
