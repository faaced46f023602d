//! Appending from many threads, and group commit.
//!
//! Two locks, always taken in this order: the *turn*, held by the one thread that syncs, rotates or fails over; and the
//! *writer*, held while a record is put at the end. Records are appended while a sync runs. Whoever waits for the turn
//! and finds, when it has it, that another's sync has covered its records, is done: many waiters, one `fdatasync`.
//!
//! All syncs happen under the turn. The kernel reports a failed write-back to one of the callers only, so two at once
//! could take one failure for one success.

use std::sync::Arc;

use super::catalog::{Catalog, Change, Position, Queued};
use super::record::Location;
use super::writer::{Appended, Log, Record, Writer};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard, RwLock};
use crate::{ReadOnlyReason, StoreError};
use bytes::Bytes;
use cairn_block::{Block, BlockId};

/// Bytes since the last sync from which on a sync in the background is worth it.
const UNSYNCED_BYTES_NUDGE: u64 = 8 << 20;

/// Most bytes that may wait for a sync. They are referenced from memory; a writer that runs ahead of the disk waits.
const UNSYNCED_BYTES_MAX: u64 = 32 << 20;

/// What an append leaves to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nudge {
    pub(crate) wants_sync: bool,
    /// Changes that wait for a checkpoint.
    pub(crate) queued: usize,
}

/// The right to sync, rotate and fail over, given back when it is dropped.
struct Turn<'a> {
    of: &'a Appender,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.of.turn.lock() = false;
        self.of.turned.notify_all();
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Appender {
    log: Arc<Log>,
    catalog: Arc<RwLock<Catalog>>,
    /// Whether somebody has the turn.
    turn: Mutex<bool>,
    turned: Condvar,
    writer: Mutex<Writer>,
    /// The last record that was appended, and the last that is durable.
    appended: AtomicU64,
    synced: AtomicU64,
}

impl Appender {
    pub(crate) fn new(log: Arc<Log>, catalog: Arc<RwLock<Catalog>>, writer: Writer) -> Self {
        let seq = writer.seq();
        Self {
            log,
            catalog,
            turn: Mutex::new(false),
            turned: Condvar::new(),
            writer: Mutex::new(writer),
            appended: AtomicU64::new(seq),
            synced: AtomicU64::new(seq),
        }
    }

    /// The writer, ready for a record of this size.
    pub(crate) fn writer(&self, bytes: u64) -> Result<MutexGuard<'_, Writer>, StoreError> {
        loop {
            let writer = self.writer.lock();
            writer.check_writable()?;
            if writer.must_rotate(&self.log, bytes) {
                drop(writer);
                self.rotate(bytes)?;
            } else if writer.unsynced_bytes() >= UNSYNCED_BYTES_MAX {
                drop(writer);
                self.sync()?;
            } else {
                return Ok(writer);
            }
        }
    }

    /// The writer, if a record of this size can be appended without waiting for the disk.
    pub(crate) fn writer_if_ready(&self, bytes: u64) -> Result<Option<MutexGuard<'_, Writer>>, StoreError> {
        let writer = self.writer.lock();
        writer.check_writable()?;
        let must_wait = writer.must_rotate(&self.log, bytes) || writer.unsynced_bytes() >= UNSYNCED_BYTES_MAX;
        Ok((!must_wait).then_some(writer))
    }

    /// Appends a record and lets it take effect. Says what would be good to do in the background.
    pub(crate) fn append(
        &self,
        writer: &mut Writer,
        record: &Record,
        block: Option<&Block>,
        change: impl FnOnce(Location) -> Change,
    ) -> Result<(Appended, Nudge), StoreError> {
        let appended = writer.append(&self.log, record)?;
        // Before anybody can see it: whoever finds the record there and syncs has to wait for it, too.
        self.appended.store(appended.seq, Ordering::Release);
        let queued = Queued { seq: appended.seq, upto: appended.upto, change: change(appended.at) };
        let queued = {
            let mut catalog = self.catalog.write();
            catalog.apply(queued, block.cloned());
            catalog.queued()
        };
        Ok((appended, Nudge { wants_sync: writer.unsynced_bytes() >= UNSYNCED_BYTES_NUDGE, queued }))
    }

    /// Returns once everything appended before the call is durable. Free if it is already.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let target = self.appended.load(Ordering::Acquire);
        if self.synced.load(Ordering::Acquire) >= target {
            return Ok(());
        }
        match self.take_turn(target) {
            Some(turn) => self.sync_in_turn(&turn),
            None => Ok(()),
        }
    }

    /// Waits for the turn, or until a record is durable without it. All waiters wake at once: one after the other each
    /// would pay for being scheduled.
    fn take_turn(&self, target: u64) -> Option<Turn<'_>> {
        let mut is_taken = self.turn.lock();
        loop {
            if self.synced.load(Ordering::Acquire) >= target {
                return None;
            }
            if !*is_taken {
                *is_taken = true;
                return Some(Turn { of: self });
            }
            self.turned.wait(&mut is_taken);
        }
    }

    /// Waits for the turn, whatever is durable by then.
    fn turn(&self) -> Turn<'_> {
        self.take_turn(u64::MAX).expect("no record has this number")
    }

    fn sync_in_turn(&self, turn: &Turn<'_>) -> Result<(), StoreError> {
        let pending = {
            let mut writer = self.writer.lock();
            writer.check_writable()?;
            match writer.pending(&self.log) {
                Ok(pending) => pending,
                Err(error) if writer.is_broken() => return self.fail_over(turn, &mut writer, &error),
                Err(error) => return Err(error),
            }
        };
        // The writer is free meanwhile.
        let result = self.log.device.sync_data(&pending.file, &pending.path);
        let mut writer = self.writer.lock();
        match result {
            Ok(()) => {
                let settled = writer.settle(&pending);
                drop(writer);
                let records = settled.iter().map(|record| (&record.id, record.seq));
                self.catalog.write().forget_bytes(records);
                self.synced.fetch_max(pending.seq, Ordering::AcqRel);
                Ok(())
            }
            Err(error) => self.fail_over(turn, &mut writer, &error),
        }
    }

    fn fail_over(&self, _turn: &Turn<'_>, writer: &mut Writer, error: &StoreError) -> Result<(), StoreError> {
        tracing::error!(%error, "the log cannot go on in its segment");
        let moved = writer.fail_over(&self.log)?;
        let mut catalog = self.catalog.write();
        for (seq, at, upto) in moved {
            catalog.relocate(seq, at, upto);
        }
        drop(catalog);
        self.synced.fetch_max(writer.seq(), Ordering::AcqRel);
        Ok(())
    }

    /// Goes on in a new segment if a record of this size asks for it. The old one is synced before the new one is
    /// used, so that only the last segment of a log can have holes that were never durable.
    pub(crate) fn rotate(&self, bytes: u64) -> Result<(), StoreError> {
        let turn = self.turn();
        // Most of it without the writer, which others may use meanwhile.
        self.sync_in_turn(&turn)?;
        let mut writer = self.writer.lock();
        if !writer.must_rotate(&self.log, bytes) {
            return Ok(());
        }
        let pending = match writer.pending(&self.log) {
            Ok(pending) => pending,
            Err(error) if writer.is_broken() => return self.fail_over(&turn, &mut writer, &error),
            Err(error) => return Err(error),
        };
        if let Err(error) = self.log.device.sync_data(&pending.file, &pending.path) {
            return self.fail_over(&turn, &mut writer, &error);
        }
        let settled = writer.settle(&pending);
        self.catalog.write().forget_bytes(settled.iter().map(|record| (&record.id, record.seq)));
        self.synced.fetch_max(pending.seq, Ordering::AcqRel);
        writer.rotate(&self.log)
    }

    /// The payload of a record that is not durable yet.
    pub(crate) fn unsynced(&self, id: &BlockId) -> Option<Bytes> {
        self.writer.lock().unsynced(id)
    }

    /// Runs something while nothing is appended or synced and everything is durable.
    pub(crate) fn paused<T>(&self, run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let turn = self.turn();
        loop {
            self.sync_in_turn(&turn)?;
            let _writer = self.writer.lock();
            if self.synced.load(Ordering::Acquire) >= self.appended.load(Ordering::Acquire) {
                return run();
            }
        }
    }

    /// The last record that is durable.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// See [`Writer::failures`].
    pub(crate) fn failures(&self) -> u64 {
        self.writer.lock().failures()
    }

    /// See [`Writer::has_room`].
    pub(crate) fn has_room(&self) -> bool {
        self.writer.lock().has_room()
    }

    pub(crate) fn active_number(&self) -> u32 {
        self.writer.lock().active_number()
    }

    pub(crate) fn position(&self) -> Position {
        self.writer.lock().position()
    }

    pub(crate) fn read_only(&self) -> Option<ReadOnlyReason> {
        self.writer.lock().read_only()
    }

    pub(crate) fn set_read_only(&self, reason: ReadOnlyReason) {
        self.writer.lock().set_read_only(reason);
    }

    /// The active segment's file, and the part of it that a power cut can take.
    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn unsynced_range(&self) -> (std::path::PathBuf, u64, u64) {
        self.writer.lock().unsynced_range()
    }
}
