//! The parts of an open store, and the paths that all its traits share: finding a block, reading it, appending,
//! checkpoints, and healing the index.
//!
//! Locks, in the order they are taken: gate, checkpointing, turn, writer, rebuilding, catalog, and the index's own.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::{Block, BlockId, UnverifiedBlock};

use super::appender::{Appender, Nudge};
use super::catalog::{Catalog, Position, Recent};
use super::index::Index;
use super::marks::Marks;
use super::options::DiskOptions;
use super::quarantine::{Quarantine, Why, place};
use super::record::Location;
use super::recovery::{OpenReport, Opened};
use super::replay::{BATCH_CHANGES, Replay, Tail};
use super::worker::Signal;
use super::writer::{Log, Record};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock, RwLockReadGuard};
use crate::{Limit, ReadOnlyReason, StoreError};

/// Changes in the queue from which on a checkpoint in the background is worth it, and from which on it is waited for.
const QUEUED_NUDGE: usize = BATCH_CHANGES;
const QUEUED_MAX: usize = 16 * BATCH_CHANGES;

/// Log behind the index's durable checkpoint, at most: what a start after a crash has to read, at about a second a GiB.
/// Every flush makes a table that has to be merged, so they are not made for less.
const REPLAY_BYTES_MAX: u64 = 1 << 30;
const REPLAY_RECORDS_MAX: u64 = 1 << 18;

/// Records since then that are worth a table of their own when the store comes to rest: some two MiB of memory.
const REST_RECORDS_MIN: u64 = 1 << 13;

/// A read that races a collection finds its block at the copy's place on the second try. More tries are for luck
/// beyond reason.
const READ_TRIES: usize = 4;

/// What a running collection must not take.
pub(crate) type Gate = RwLock<Option<Mutex<Marks>>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) options: DiskOptions,
    pub(crate) log: Arc<Log>,
    pub(crate) catalog: Arc<RwLock<Catalog>>,
    pub(crate) appender: Appender,
    pub(crate) index: Index,
    pub(crate) quarantine: Quarantine,
    pub(crate) gate: Gate,
    pub(crate) signal: Signal,
    pub(crate) report: OpenReport,
    checkpointing: Mutex<()>,
    /// Held for writing while the index is made anew: nothing is missing then, only not known yet.
    rebuilding: RwLock<()>,
    /// Where the index's durable checkpoint is: bytes ever appended, record number.
    flushed: (AtomicU64, AtomicU64),
    appended_bytes: AtomicU64,
    /// Blocks given out, and their bytes.
    pub(crate) reads: (AtomicU64, AtomicU64),
    /// Released last.
    _lock: File,
}

/// What lies at a place.
#[derive(Debug)]
pub(crate) enum Lies {
    /// The block.
    Block(Block),
    Otherwise(Why),
}

/// Where a block was found.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// Its record is not durable yet.
    Memory(Block),
    At(Location),
}

impl Inner {
    pub(crate) fn new(root: PathBuf, options: DiskOptions, opened: Opened) -> Self {
        let catalog = Arc::new(RwLock::new(opened.catalog));
        let appender = Appender::new(Arc::clone(&opened.log), Arc::clone(&catalog), opened.writer);
        Self {
            root,
            options,
            log: opened.log,
            catalog,
            appender,
            index: opened.index,
            quarantine: opened.quarantine,
            gate: Gate::default(),
            signal: Signal::default(),
            report: opened.report,
            checkpointing: Mutex::new(()),
            rebuilding: RwLock::new(()),
            flushed: (AtomicU64::new(0), AtomicU64::new(0)),
            appended_bytes: AtomicU64::new(0),
            reads: Default::default(),
            _lock: opened.lock,
        }
    }

    /// Where a block is. An index that cannot tell is made anew first: that costs time, not data.
    pub(crate) fn find(&self, id: &BlockId) -> Result<Option<Place>, StoreError> {
        match self.find_once(id) {
            Err(StoreError::Index { op, source }) => {
                self.heal_index(&StoreError::Index { op, source })?;
                self.find_once(id)
            }
            found => found,
        }
    }

    /// As `find`, for callers that hold the writer.
    pub(crate) fn find_once(&self, id: &BlockId) -> Result<Option<Place>, StoreError> {
        let _complete = self.rebuilding.read();
        match self.catalog.read().recent(id) {
            Some(Recent::At { unsynced: Some(block), .. }) => return Ok(Some(Place::Memory(block.clone()))),
            Some(Recent::At { at, .. }) => return Ok(Some(Place::At(*at))),
            Some(Recent::Gone { .. }) => return Ok(None),
            None => {}
        }
        Ok(self.index.block(id)?.map(Place::At))
    }

    /// Whether a block that was found can be served, as far as is known without reading it.
    pub(crate) fn is_sound(&self, id: &BlockId, found: &Option<Place>) -> bool {
        match found {
            None => false,
            Some(Place::Memory(_)) => true,
            Some(Place::At(at)) => !self.quarantine.is_damaged(id, at),
        }
    }

    /// The verified block.
    pub(crate) fn read(&self, id: &BlockId) -> Result<Option<Block>, StoreError> {
        let mut tried = None;
        for _ in 0..READ_TRIES {
            let at = match self.find(id)? {
                None => return Ok(None),
                Some(Place::Memory(block)) => return Ok(Some(block)),
                Some(Place::At(at)) => at,
            };
            let listed = self.quarantine.why(id, &at);
            if listed == Some(Why::Wrong) {
                return Err(damaged(id, &at));
            }
            let why = match self.read_at(id, at)? {
                Lies::Block(block) => {
                    if listed.is_some() {
                        self.heal(id);
                    }
                    return Ok(Some(block));
                }
                Lies::Otherwise(why) => why,
            };
            // Once more at the same place, in case it was the way and not the disk; then it is damaged.
            if tried.replace(at) == Some(at) {
                self.quarantine(id, at, why);
                return Err(damaged(id, &at));
            }
        }
        Err(StoreError::Timeout { op: "get", waited: std::time::Duration::ZERO })
    }

    /// The block at a place, or why it is not there.
    pub(crate) fn read_at(&self, id: &BlockId, at: Location) -> Result<Lies, StoreError> {
        let bytes = match self.log.segments.read(&self.log.device, at) {
            Ok(Some(bytes)) if bytes.len() == at.len as usize => bytes,
            Ok(_) => return Ok(Lies::Otherwise(Why::Wrong)),
            Err(error @ StoreError::TooManyFiles { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%id, %error, "a block cannot be read");
                return Ok(Lies::Otherwise(Why::Unread));
            }
        };
        let block = UnverifiedBlock::new(Bytes::from(bytes)).ok().and_then(|bytes| bytes.verify(id).ok());
        Ok(block.map_or(Lies::Otherwise(Why::Wrong), Lies::Block))
    }

    /// Remembers that a block is damaged, if it still lies there.
    pub(crate) fn quarantine(&self, id: &BlockId, at: Location, why: Why) {
        if !matches!(self.find_once(id), Ok(Some(Place::At(now))) if now == at) {
            return;
        }
        if self.quarantine.add(id, at, why) {
            tracing::error!(%id, place = %place(&at), ?why, "a block is damaged");
            if why == Why::Wrong
                && let Err(error) = self.index.set_quarantined(id, Some(at))
            {
                tracing::warn!(%error, "the damage is not remembered beyond this process");
            }
        }
    }

    /// A sound copy was put.
    pub(crate) fn heal(&self, id: &BlockId) {
        if self.quarantine.remove(id)
            && let Err(error) = self.index.set_quarantined(id, None)
        {
            tracing::debug!(%error, "a healed block stays on the index's list, under its old place");
        }
    }

    /// Protects a block from a running collection; hold the guard until it is put or found.
    pub(crate) fn protect(&self, id: &BlockId) -> RwLockReadGuard<'_, Option<Mutex<Marks>>> {
        let gate = self.gate.read();
        if let Some(protected) = &*gate {
            protected.lock().insert(id);
        }
        gate
    }

    /// Whether there is room for a new block, by quota and reserve.
    pub(crate) fn admit(&self, record: &Record) -> Result<(), StoreError> {
        if let Some(bytes) = self.options.quota_bytes
            && self.log.segments.bytes() + record.bytes() > bytes
        {
            return Err(StoreError::Full { limit: Limit::Quota { bytes }, source: None });
        }
        self.log.reserve.admit()
    }

    /// Bytes ever appended.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// Passes on what an append left to be done.
    pub(crate) fn nudge(&self, nudge: Nudge, bytes: u64) -> Result<(), StoreError> {
        self.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
        if nudge.queued >= QUEUED_MAX {
            return self.checkpoint(false);
        }
        if nudge.queued >= QUEUED_NUDGE && nudge.queued.is_multiple_of(QUEUED_NUDGE) {
            self.signal.checkpoint();
        } else if nudge.wants_sync {
            self.signal.sync();
        }
        Ok(())
    }

    /// The same after a record that is accepted and counts, whatever fails behind it: the next sync says so.
    pub(crate) fn nudge_on(&self, nudge: Nudge, bytes: u64) {
        if let Err(error) = self.nudge(nudge, bytes) {
            tracing::warn!(%error, "what was accepted could not be carried on");
        }
    }

    /// Carries everything to the index; durably there too if asked.
    pub(crate) fn checkpoint(&self, is_durable: bool) -> Result<(), StoreError> {
        match self.checkpoint_once(is_durable) {
            Err(StoreError::Index { op, source }) => {
                self.heal_index(&StoreError::Index { op, source })?;
                self.checkpoint_once(is_durable).inspect_err(|error| {
                    tracing::error!(%error, "the index cannot be written: read-only");
                    self.appender.set_read_only(ReadOnlyReason::IndexFailed);
                })
            }
            result => result,
        }
    }

    /// A checkpoint, durable if the log behind the last durable one has grown long.
    pub(crate) fn checkpoint_in_background(&self) -> Result<(), StoreError> {
        let bytes = self.appended_bytes.load(Ordering::Relaxed) - self.flushed.0.load(Ordering::Relaxed);
        let records = self.appender.synced().saturating_sub(self.flushed.1.load(Ordering::Relaxed));
        self.checkpoint(bytes >= REPLAY_BYTES_MAX || records >= REPLAY_RECORDS_MAX)
    }

    /// After a burst of work: what the index holds in memory goes to its tables, if it is enough to be worth one.
    pub(crate) fn rest(&self) -> Result<(), StoreError> {
        let records = self.appender.synced().saturating_sub(self.flushed.1.load(Ordering::Relaxed));
        self.checkpoint(records >= REST_RECORDS_MIN)
    }

    fn checkpoint_once(&self, is_durable: bool) -> Result<(), StoreError> {
        let _one = self.checkpointing.lock();
        self.appender.sync()?;
        let (synced, bytes) = (self.appender.synced(), self.appended_bytes.load(Ordering::Relaxed));
        loop {
            let batch = self.catalog.read().batch(synced, BATCH_CHANGES);
            if batch.is_empty() {
                break;
            }
            self.index.apply(&batch)?;
            self.catalog.write().settle(&batch);
        }
        if is_durable {
            self.log.reserve.make_room(self.options.index_headroom_bytes());
            self.index.flush()?;
            self.flushed.0.store(bytes, Ordering::Relaxed);
            self.flushed.1.store(synced, Ordering::Relaxed);
        }
        Ok(())
    }

    fn heal_index(&self, error: &StoreError) -> Result<(), StoreError> {
        tracing::error!(%error, "the index failed: making it anew from the log");
        self.rebuild_index()
    }

    /// Makes the index anew from the log. Readers wait meanwhile.
    pub(crate) fn rebuild_index(&self) -> Result<(), StoreError> {
        let _one = self.checkpointing.lock();
        self.log.reserve.make_room(self.options.index_headroom_bytes());
        self.appender.paused(|| {
            let _nobody_asks = self.rebuilding.write();
            let rebuilt = self.read_log_into_index();
            if rebuilt.is_err() {
                // A part of an index must not be taken for all of it.
                self.index.shut();
            }
            rebuilt?;
            self.index.flush()
        })
    }

    fn read_log_into_index(&self) -> Result<(), StoreError> {
        self.index.reset()?;
        for (id, at, _) in self.quarantine.blocks().iter().filter(|(_, _, why)| *why == Why::Wrong) {
            self.index.set_quarantined(id, Some(*at))?;
        }
        let catalog = Catalog::default();
        let (log, index, quarantine) = (&*self.log, &self.index, &self.quarantine);
        let mut replay = Replay { log, index, quarantine, catalog };
        let replayed = replay.run(Position::default(), Tail::Durable)?;
        let unread = replayed.unread;
        let mut catalog = self.catalog.write();
        let settled = catalog.settled + 1;
        *catalog = replay.catalog;
        catalog.settled = settled;
        drop(catalog);
        self.index.set_unread(unread)
    }

    /// Ends in order: the next open has nothing to replay.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        if self.appender.read_only().is_some() {
            // Fine, unless something was accepted that never became durable.
            return self.appender.sync();
        }
        self.checkpoint(false)?;
        self.index.advance(self.appender.position())?;
        self.log.reserve.make_room(self.options.index_headroom_bytes());
        self.index.flush()
    }
}

pub(crate) fn damaged(id: &BlockId, at: &Location) -> StoreError {
    StoreError::Damaged { id: *id, place: place(at) }
}
