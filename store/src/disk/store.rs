//! The disk store: what its owner calls.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use cairn_block::{Block, BlockId};

use super::catalog::Change;
use super::inner::{Inner, Place};
use super::options::DiskOptions;
use super::record::Subject;
use super::recovery::{self, OpenReport};
use super::worker::Worker;
use super::writer::{Class, Record};
use crate::{Ask, BlockStore, Damage, HintStore, Put, ReadOnlyReason, StoreError};

/// A store on disk. One process at a time; any number of threads.
///
/// Dropping it syncs and closes in order, so that the next open has nothing to replay. Not being dropped costs that
/// time, nothing else.
#[derive(Debug)]
pub struct DiskStore {
    // Dropped first: the worker uses the rest.
    worker: Option<Worker>,
    pub(crate) inner: Arc<Inner>,
}

/// What a store holds and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Blocks that can be asked for, damaged ones included.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Bytes of the log: blocks, their records' headers, and what a collection will remove.
    pub log_bytes: u64,
    /// Files of the log.
    pub segments: u64,
    /// Bytes kept back for deleting.
    pub reserve_bytes: u64,
    /// How often the log was synced since it was opened.
    pub syncs: u64,
    /// Bytes appended to the log since it was opened: of records, with their headers.
    pub appended_bytes: u64,
    /// Blocks given out since it was opened.
    pub blocks_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Changes that the index has not heard of.
    pub unindexed: u64,
}

/// How a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Why it takes no writes, if it takes none.
    pub read_only: Option<ReadOnlyReason>,
    /// Blocks that are known to be damaged.
    pub damaged_blocks: u64,
    /// The reserve is whole; if not, the disk is full and only what makes room is accepted.
    pub is_reserve_whole: bool,
    /// The disk took what was written last. It may refuse though it has room: for a limit on one user, say.
    pub has_room: bool,
    /// Syncs and writes that failed and were done again in another segment, or refused. Any is a reason to look at the disk.
    pub failed_syncs: u64,
}

impl DiskStore {
    /// Opens the store in `dir`, or makes one in a directory that is empty or missing.
    ///
    /// Fails if another process has it, if a newer release wrote it, or if the directory is something else. Damage
    /// never makes it fail: see [`DiskStore::open_report`] and [`DiskStore::damage`].
    pub fn open(dir: impl AsRef<Path>, options: DiskOptions) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        let opened = recovery::open(dir, &options)?;
        let inner = Arc::new(Inner::new(dir.to_path_buf(), options, opened));
        // An index must not say durably what the log may lose: one that can't be synced is read again by the next open.
        let is_synced = inner.appender.read_only().is_none();
        if is_synced && (inner.report.index_rebuilt || inner.report.bytes_replayed > 0) {
            inner.checkpoint(true)?;
        }
        let worker = Some(Worker::start(&inner)?);
        Ok(Self { worker, inner })
    }

    /// What opening found and did.
    pub fn open_report(&self) -> &OpenReport {
        &self.inner.report
    }

    /// What it holds and takes.
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        let checkpoint = inner.index.checkpoint();
        let (unindexed, (blocks, bytes)) = {
            let catalog = inner.catalog.read();
            (catalog.queued() as u64, catalog.pending_totals())
        };
        Stats {
            blocks: checkpoint.blocks.saturating_add_signed(blocks),
            block_bytes: checkpoint.bytes.saturating_add_signed(bytes),
            log_bytes: inner.log.segments.bytes(),
            segments: inner.log.segments.count(),
            reserve_bytes: inner.log.reserve.held(),
            syncs: inner.log.device.syncs(),
            appended_bytes: inner.appended_bytes(),
            blocks_read: inner.reads.0.load(Ordering::Relaxed),
            bytes_read: inner.reads.1.load(Ordering::Relaxed),
            unindexed,
        }
    }

    /// How it is.
    pub fn health(&self) -> Health {
        Health {
            read_only: self.inner.appender.read_only(),
            damaged_blocks: self.inner.quarantine.count(),
            is_reserve_whole: self.inner.log.reserve.is_whole(),
            has_room: self.inner.appender.has_room(),
            failed_syncs: self.inner.appender.failures(),
        }
    }

    /// All damage that is known: blocks, and stretches of the log that are no record.
    pub fn damage(&self) -> Vec<Damage> {
        self.inner.quarantine.report()
    }

    /// The blocks that can be asked for and their bytes, in the order of their ids, `max` of them after one.
    pub fn page(&self, after: Option<&BlockId>, max: usize) -> Result<Vec<(BlockId, u32)>, StoreError> {
        if after.is_none() {
            // Only what the index knows is listed.
            self.inner.checkpoint(false)?;
        }
        let page = self.inner.page(after, max)?;
        Ok(page.into_iter().map(|(id, at)| (id, at.len)).collect())
    }

    /// Brings the index up to date, durably: an open after a crash then replays nothing before this.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.inner.checkpoint(true)
    }

    /// Throws the index away and reads it from the log again.
    pub fn rebuild_index(&self) -> Result<(), StoreError> {
        self.inner.rebuild_index()
    }

    /// Syncs, makes the index durable and closes. Dropping does the same and can only log what goes wrong.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.worker = None;
        self.inner.close()
    }

    #[cfg(test)]
    pub(crate) fn faults(&self) -> &super::faults::Faults {
        &self.inner.log.device.faults
    }

    /// Ends as a killed process would: nothing is synced, nothing is written.
    #[cfg(test)]
    pub(crate) fn kill(mut self) {
        self.inner.appender.set_read_only(ReadOnlyReason::Asked);
        self.worker = None;
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // Closed already if the worker is gone.
        if self.worker.take().is_some()
            && let Err(error) = self.inner.close()
        {
            tracing::error!(%error, "the store could not be closed in order");
        }
    }
}

impl BlockStore for DiskStore {
    fn get(&self, id: &BlockId, _ask: Ask) -> Result<Option<Block>, StoreError> {
        // A disk answers before any deadline worth setting; a late ask is served all the same.
        let block = self.inner.read(id)?;
        if let Some(block) = &block {
            self.inner.reads.0.fetch_add(1, Ordering::Relaxed);
            self.inner.reads.1.fetch_add(block.bytes().len() as u64, Ordering::Relaxed);
        }
        Ok(block)
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        self.inner.put_as(block, Class::Data)
    }

    fn put_from_reserve(&self, block: &Block) -> Result<Put, StoreError> {
        self.inner.put_as(block, Class::Keep)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        let found = self.inner.find(id)?;
        Ok(self.inner.is_sound(id, &found))
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        let _protected = self.inner.protect(id);
        self.has(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.appender.sync()
    }
}

impl HintStore for DiskStore {
    fn hint(&self, key: &[u8; 32]) -> Option<Bytes> {
        self.inner.index.hint(key)
    }

    fn put_hint(&self, key: [u8; 32], value: Bytes) {
        self.inner.index.put_hint(&key, &value);
    }
}

impl Inner {
    fn put_as(&self, block: &Block, class: Class) -> Result<Put, StoreError> {
        let id = block.id();
        let _protected = self.protect(&id);
        let settled = self.catalog.read().settled;
        let found = self.find(&id)?;
        if self.is_sound(&id, &found) {
            return Ok(Put::Known);
        }
        let record = Record { subject: Subject::Block, id, payload: block.bytes().clone(), class };
        if class == Class::Data {
            self.admit(&record)?;
        }
        let mut writer = self.appender.writer(record.bytes())?;
        // Somebody may have been faster.
        let found = self.find_again(&id, found, settled);
        if self.is_sound(&id, &found) {
            return Ok(Put::Known);
        }
        let is_new = found.is_none();
        let change = |at| Change::Block { id, at, is_new };
        let (_, nudge) = self.appender.append(&mut writer, &record, Some(block), change)?;
        drop(writer);
        self.heal(&id);
        self.nudge(nudge, record.bytes())?;
        Ok(Put::New)
    }

    /// What is known now of a block that was looked up before the writer was taken.
    pub(crate) fn find_again(&self, id: &BlockId, before: Option<Place>, settled: u64) -> Option<Place> {
        {
            let catalog = self.catalog.read();
            if catalog.recent(id).is_none() && catalog.settled == settled {
                return before;
            }
        }
        // An index that fails just now makes a second copy at worst.
        self.find_once(id).unwrap_or(before)
    }
}
