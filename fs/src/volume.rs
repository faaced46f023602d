//! A volume: the owner of the state, its journal, its trees and its heads.
//!
//! Who owns what. [`State`] under one mutex holds what changed; it is locked for microseconds and
//! never over I/O: an operation that lacks a tree node gives the lock back, reads it, and starts again.
//! The journal's mutex orders cuts of the state into the store's log; many fsyncs share one. The
//! flush's mutex makes new trees one after the other. Locks are taken in the order flush, journal,
//! state, and none is held while a lower one waits for the store, but the journal's own.
//!
//! What survives a crash: the last head, and every cut of the journal that is whole. A cut is the
//! state at one moment, so what comes back is a prefix of history.
//!
//! One thread per volume, the [keeper](crate::keeper), writes the journal when enough has gathered,
//! folds it into trees, thins old heads and gives memory back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cairn_block::entry::{Attr, Content, MapRoot, Record, Timestamp, VolumeRoot, Xattrs};
use cairn_block::{BlockId, DeviceCert, DeviceKey, FileType, Ino, Rights, VolumeId, VolumeKeys, ino_range};
use cairn_store::{Ask, BlockStore, HeadStore, HintStore, Priority};
use parking_lot::{Condvar, Mutex};

use crate::activity::Counters;
use crate::commit::store_data;
use crate::error::FsError;
use crate::heads::{Heads, JournalBase, LOST_NUMBERS};
use crate::journal;
use crate::known::Known;
use crate::ops::{Handle, Wait};
use crate::reader::{ReaderOptions, TreeReader};
use crate::sealer::{Purpose, Sealer};
use crate::state::{Cut, Need, Pinned, State, Step, Stop};

/// What a volume is made of.
pub struct VolumeConfig {
    /// The keys of the volume.
    pub keys: VolumeKeys,
    /// The key of this device.
    pub device: DeviceKey,
    /// Where its blocks are.
    pub store: Arc<dyn BlockStore>,
    /// Where its heads and its journal are.
    pub heads: Arc<dyn HeadStore>,
    /// Where it finds known chunks.
    pub hints: Arc<dyn HintStore>,
    /// How it behaves.
    pub options: VolumeOptions,
}

/// How a volume behaves.
#[derive(Clone)]
pub struct VolumeOptions {
    /// Sizes of the caches.
    pub reader: ReaderOptions,
    /// Whether reads change access times (relatime), or nothing does.
    pub access_times: bool,
    /// Owner and group of the root directory of a new volume.
    pub owner: (u32, u32),
    /// How much room the store has; none if nobody knows.
    pub space: Arc<dyn Fn() -> Option<Space> + Send + Sync>,
}

impl Default for VolumeOptions {
    fn default() -> VolumeOptions {
        VolumeOptions { reader: ReaderOptions::default(), access_times: true, owner: (0, 0), space: Arc::new(|| None) }
    }
}

/// Room in the store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Quota, or size of the disk.
    pub total: u64,
    /// Free for writing.
    pub free: u64,
}

/// Bytes that wait for the journal before it is written without being asked.
pub(crate) const UNWRITTEN_BYTES_AIM: u64 = 8 << 20;
/// Bytes of file data in memory at which writers wait.
const MEMORY_BYTES_MAX: u64 = 32 << 20;
/// A waiter looks again this often, should it have missed the signal.
const MEMORY_POLL: Duration = Duration::from_millis(50);
/// Inodes that differ from the tree at which changes wait for a flush.
const DIRTY_NODES_MAX: usize = 400_000;
/// How often blocks that are claimed may turn out to be swept just before, or changes to be held off.
const ADOPT_ROUNDS_MAX: usize = 64;
/// Nodes read for one operation before it is given up; deeper is no tree of ours.
const NEEDS_MAX: usize = 4096;
/// How long a flush may wait for one block.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// The journal's position.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Number of the last delta.
    pub(crate) seq: u64,
    /// The state's changes up to this one are in the store's log.
    pub(crate) written: u64,
    /// Deltas since the last flush, in bytes.
    pub(crate) bytes: u64,
    /// Blocks that deltas refer to, each with the last delta of its cut. A replay needs them until the journal is trimmed,
    /// whatever memory holds by then.
    pub(crate) blocks: Vec<(u64, BlockId)>,
}

impl Journal {
    /// A cut whose last delta is the newest is in the log.
    fn refers_to(&mut self, cut: &Cut) {
        let seq = self.seq;
        self.blocks.extend(cut.chunks().map(|id| (seq, id)));
    }

    /// Deltas up to this number are in a head.
    pub(crate) fn trimmed(&mut self, upto: u64) {
        self.blocks.retain(|(seq, _)| *seq > upto);
    }
}

/// What the keeper and those who wait for it tell each other.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// The keeper shall look at the volume.
    pub(crate) wake: bool,
    /// A file was closed or synced: a flush makes sense soon.
    pub(crate) settled: bool,
    /// The volume is being closed.
    pub(crate) closing: bool,
    /// Why the last attempt to write in the background failed.
    pub(crate) trouble: Option<Trouble>,
}

/// Where the keeper and the others meet. It outlives the volume by as long as the keeper needs to see that it is gone.
#[derive(Default)]
pub(crate) struct Bell {
    pub(crate) signals: Mutex<Signals>,
    /// For the keeper.
    pub(crate) rung: Condvar,
    /// For writers who wait for memory.
    pub(crate) drained: Condvar,
}

impl Bell {
    /// Changes the signals and wakes the keeper.
    pub(crate) fn ring(&self, change: impl FnOnce(&mut Signals)) {
        let mut signals = self.signals.lock();
        change(&mut signals);
        if !std::mem::replace(&mut signals.wake, true) || signals.closing {
            self.rung.notify_all();
        }
    }
}

/// Why changes can't be written at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The store is full.
    Full,
    /// The store takes no writes.
    ReadOnly,
    /// Something else; the keeper tries again.
    Failed(String),
}

/// A mutable directory tree with its history.
pub struct Volume {
    pub(crate) keys: Arc<VolumeKeys>,
    pub(crate) device: DeviceKey,
    pub(crate) cert: DeviceCert,
    pub(crate) store: Arc<dyn BlockStore>,
    pub(crate) heads_store: Arc<dyn HeadStore>,
    pub(crate) reader: Arc<TreeReader>,
    pub(crate) sealer: Sealer,
    pub(crate) options: VolumeOptions,
    pub(crate) state: Mutex<State>,
    pub(crate) journal: Mutex<Journal>,
    /// The highest change that is durable.
    pub(crate) durable: AtomicU64,
    pub(crate) heads: Mutex<Heads>,
    /// The heads that are kept, this device's and others'.
    pub(crate) known: Mutex<Known>,
    /// One absorption at a time.
    pub(crate) absorbing: Mutex<()>,
    /// The state builds on a tree that no head of this device has. Changes only while the journal is locked.
    pub(crate) adrift: AtomicBool,
    pub(crate) bell: Arc<Bell>,
    /// The store has no room; what makes room is still done.
    pub(crate) full: AtomicBool,
    /// A gap in the journal could not be closed; see [`Volume::close_gap`].
    sealed_off: AtomicBool,
    pub(crate) counters: Counters,
    handles: Mutex<HashMap<Handle, Ino>>,
    next_handle: AtomicU64,
    keeper: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Volume {
    /// Opens a volume as its last head and its journal have it; makes an empty one if there is neither.
    pub fn open(config: VolumeConfig) -> Result<Arc<Volume>, FsError> {
        let VolumeConfig { keys, device, store, heads, hints, options } = config;
        let keys = Arc::new(keys);
        let cert = keys.certify(device.id(), Rights::WRITE | Rights::DELETE_SNAPSHOTS);
        let reader = Arc::new(TreeReader::new(Arc::clone(&store), options.reader));
        let sealer = Sealer::new(Arc::clone(&keys), Arc::clone(&store), hints);
        let found = Heads::find(&keys, device.id(), heads.as_ref(), &reader)?;
        let numbers_lost = found.numbers_lost();
        let mut heads_found = found.heads;
        // The tree is another device's, and nothing of this one is on top of it so far.
        let is_anothers = heads_found.current.is_some() && found.journal == JournalBase::Empty;
        let adrift = is_anothers || found.journal == JournalBase::Lost;
        let root = heads_found.root.get_or_insert_with(|| empty_root(options.owner, now())).clone();
        let numbers = ino_range(&device.id());
        let next_ino = found.next_ino.unwrap_or(numbers.start).saturating_add(numbers_lost);
        let state = State::new(VolumeRoot { next_ino, ..root }, numbers, Arc::clone(&keys), Arc::clone(&reader));
        let volume = Volume {
            cert,
            device,
            store,
            heads_store: heads,
            reader,
            sealer,
            options,
            state: Mutex::new(state),
            journal: Mutex::new(Journal { seq: found.journal.upto(), ..Journal::default() }),
            durable: AtomicU64::new(0),
            heads: Mutex::new(heads_found),
            known: Mutex::new(found.known),
            absorbing: Mutex::new(()),
            adrift: AtomicBool::new(adrift),
            bell: Arc::default(),
            full: AtomicBool::new(false),
            sealed_off: AtomicBool::new(false),
            counters: Counters::default(),
            handles: Mutex::new(HashMap::new()),
            next_handle: AtomicU64::new(1),
            keeper: Mutex::new(None),
            keys,
        };
        let whole = volume.replay(found.journal != JournalBase::Lost)?;
        if !whole {
            volume.state.lock().skip_numbers(LOST_NUMBERS);
        }
        let volume = Arc::new(volume);
        if !whole || found.fell_back {
            volume.close_gap()?;
        }
        if !volume.is_sealed_off() {
            *volume.keeper.lock() = Some(crate::keeper::start(&volume)?);
        }
        Ok(volume)
    }

    /// What follows a gap in the journal can't be read back, so nothing new may stand behind one: a new head does away with
    /// it. Where damage keeps that from being made, the volume is for reading only.
    fn close_gap(&self) -> Result<(), FsError> {
        match self.flush_anew() {
            Err(error) if error.is_loss() => {
                tracing::error!(%error, "the volume is damaged where it would have to be written: read-only");
                self.sealed_off.store(true, Ordering::Relaxed);
                self.bell.signals.lock().trouble = Some(Trouble::ReadOnly);
                Ok(())
            }
            flushed => flushed.map(drop),
        }
    }

    /// Whether the volume takes no changes, whatever the store does.
    pub(crate) fn is_sealed_off(&self) -> bool {
        self.sealed_off.load(Ordering::Relaxed)
    }

    /// The volume's id.
    pub fn id(&self) -> VolumeId {
        self.keys.volume()
    }

    /// Why changes can't be written at present.
    pub fn trouble(&self) -> Option<Trouble> {
        self.bell.signals.lock().trouble.clone()
    }

    /// The reader of its trees.
    pub fn reader(&self) -> &Arc<TreeReader> {
        &self.reader
    }

    /// Writes everything, makes a last head and stops the keeper. Operations that follow still read.
    pub fn close(&self) -> Result<(), FsError> {
        self.stop_keeper();
        let flushed = self.flush().map(|_| ());
        let sequence = self.state.lock().sequence();
        let synced = self.sync_through(sequence);
        flushed.and(synced)
    }

    fn stop_keeper(&self) {
        self.bell.ring(|signals| signals.closing = true);
        let keeper = self.keeper.lock().take();
        // The keeper itself may hold the last reference to the volume; it then ends by itself.
        if let Some(keeper) = keeper.filter(|keeper| keeper.thread().id() != std::thread::current().id()) {
            // It catches its own panics; a join error has been logged there.
            let _ = keeper.join();
        }
    }

    /// Runs an operation on the state, reading what it needs until the deadline.
    pub(crate) fn run<R>(&self, wait: Wait, mut op: impl FnMut(&mut State) -> Step<R>) -> Result<R, FsError> {
        self.run_unless_held(wait, |state| op(state).map(Some))?.ok_or(FsError::Busy)
    }

    /// The same for one that changes something, if changes are not held off.
    fn run_change<R>(&self, wait: Wait, mut op: impl FnMut(&mut State) -> Step<R>) -> Result<Option<R>, FsError> {
        self.run_unless_held(wait, |state| if state.is_held() { Ok(None) } else { op(state).map(Some) })
    }

    fn run_unless_held<R>(
        &self,
        wait: Wait,
        mut op: impl FnMut(&mut State) -> Step<Option<R>>,
    ) -> Result<Option<R>, FsError> {
        let mut pinned = Pinned::default();
        for _ in 0..NEEDS_MAX {
            let need = {
                let mut state = self.state.lock();
                std::mem::swap(&mut state.pinned, &mut pinned);
                let result = op(&mut state);
                std::mem::swap(&mut state.pinned, &mut pinned);
                match result {
                    Ok(done) => return Ok(done),
                    Err(Stop::Fs(error)) => return Err(error),
                    Err(Stop::Need(need)) => need,
                }
            };
            let Wait::Until(deadline) = wait else { return Err(FsError::WouldWait) };
            self.supply(need, deadline, &mut pinned)?;
        }
        Err(FsError::TimedOut)
    }

    fn supply(&self, need: Need, deadline: Instant, pinned: &mut Pinned) -> Result<(), FsError> {
        let ask = Ask { deadline, priority: Priority::Now };
        match need {
            Need::Map(reference, level) => {
                let node = self.reader.map_node(&reference, level, ask).map_err(|e| e.into_fs(Ino::ROOT))?;
                pinned.node(reference.id, node);
            }
            Need::Attributes(ino, reference) => {
                let list = self.reader.xattrs(&reference, ask).map_err(|e| e.into_fs(ino))?;
                pinned.attributes(reference.id, list);
            }
        }
        Ok(())
    }

    /// Runs an operation that needs room.
    pub(crate) fn grow<R>(&self, wait: Wait, op: impl FnMut(&mut State) -> Step<R>) -> Result<R, FsError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(FsError::NoSpace);
        }
        self.change(wait, op)
    }

    /// Runs an operation that places refs which so far are only in the caller's hands: no collection begins between
    /// their blocks being claimed and the state holding them.
    pub(crate) fn adopt<R>(
        &self,
        wait: Wait,
        ino: Ino,
        blocks: impl Iterator<Item = BlockId>,
        mut op: impl FnMut(&mut State) -> Step<R>,
    ) -> Result<R, FsError> {
        let blocks: Vec<BlockId> = blocks.collect();
        for _ in 0..ADOPT_ROUNDS_MAX {
            // Before the lock: what makes room needs it too, and a block that is elsewhere has to come here first.
            self.wait_for_memory(wait)?;
            self.bring(wait, ino, &blocks)?;
            let _still = self.journal.lock();
            if !blocks
                .iter()
                .map(|id| self.store.claim(id))
                .try_fold(true, |all, is_here| Ok::<_, FsError>(all & is_here?))?
            {
                continue;
            }
            if let Some(done) = self.run_change(wait, &mut op)? {
                self.nudge();
                return Ok(done);
            }
        }
        Err(FsError::Busy)
    }

    /// Fetches the blocks that are not in the own store: what the journal refers to has to be found at the next start, also
    /// without a network.
    fn bring(&self, wait: Wait, ino: Ino, blocks: &[BlockId]) -> Result<(), FsError> {
        for id in blocks {
            if self.store.has(id)? {
                continue;
            }
            let Wait::Until(deadline) = wait else { return Err(FsError::WouldWait) };
            let block = self.store.get(id, Ask { deadline, priority: Priority::Now })?;
            self.store.put(&block.ok_or(FsError::Missing { id: *id, ino })?)?;
        }
        Ok(())
    }

    /// Runs an operation that changes something.
    pub(crate) fn change<R>(&self, wait: Wait, mut op: impl FnMut(&mut State) -> Step<R>) -> Result<R, FsError> {
        loop {
            self.wait_for_memory(wait)?;
            let result = self.run_change(wait, &mut op);
            self.nudge();
            if let Some(done) = result? {
                return Ok(done);
            }
        }
    }

    /// Lets the keeper know that there is something to do.
    fn nudge(&self) {
        let state = self.state.lock();
        let changed = state.has_batch();
        drop(state);
        if changed {
            self.bell.ring(|_| {});
        }
    }

    /// A change waits while memory is full of changes that the store has not taken yet, and while changes are held off.
    fn wait_for_memory(&self, wait: Wait) -> Result<(), FsError> {
        if self.is_sealed_off() {
            return Err(FsError::ReadOnly);
        }
        let full = || {
            let state = self.state.lock();
            state.is_held() || state.memory_bytes() >= MEMORY_BYTES_MAX || state.dirty_count() >= DIRTY_NODES_MAX
        };
        while full() {
            match self.trouble() {
                Some(Trouble::Full) => return Err(FsError::NoSpace),
                Some(Trouble::ReadOnly) => return Err(FsError::ReadOnly),
                _ => {}
            }
            let Wait::Until(deadline) = wait else { return Err(FsError::WouldWait) };
            if Instant::now() >= deadline {
                return Err(FsError::TimedOut);
            }
            self.bell.ring(|_| {});
            let mut signals = self.bell.signals.lock();
            self.bell.drained.wait_until(&mut signals, deadline.min(Instant::now() + MEMORY_POLL));
        }
        Ok(())
    }

    /// Writes everything that the journal lacks into the store's log.
    pub(crate) fn commit(&self) -> Result<(), FsError> {
        loop {
            let mut journal = self.journal.lock();
            let cut = {
                let mut state = self.state.lock();
                if !state.has_batch() {
                    journal.written = state.sequence();
                    return Ok(());
                }
                // In the lock of the cut: no record may stand on a tree that no head of this device has.
                (!self.adrift.load(Ordering::Acquire)).then(|| state.cut())
            };
            if let Some(cut) = cut {
                return self.write_cut(&mut journal, cut, Purpose::Growth, |_| {});
            }
            // The flush's lock comes before the journal's.
            drop(journal);
            let mut heads = self.heads.lock();
            let mut journal = self.journal.lock();
            self.stand_firm(&mut heads, &mut journal)?;
        }
    }

    /// Writes one cut. On failure the state takes it back. `stored` sees where the data went.
    pub(crate) fn write_cut(
        &self,
        journal: &mut Journal,
        mut cut: Cut,
        purpose: Purpose,
        stored: impl FnOnce(&crate::commit::Stored),
    ) -> Result<(), FsError> {
        let result = self.try_write_cut(journal, &mut cut, purpose);
        let mut state = self.state.lock();
        match result {
            Err(error) => {
                state.put_back(cut);
                Err(error)
            }
            Ok(done) => {
                for item in &done.settled {
                    state.settle(item.ino, item.offset, &item.was, &item.now);
                }
                for (ino, range) in &done.carried {
                    state.carry(*ino, range.clone());
                }
                stored(&done);
                journal.written = cut.sequence;
                drop(state);
                self.bell.drained.notify_all();
                Ok(())
            }
        }
    }

    fn try_write_cut(
        &self,
        journal: &mut Journal,
        cut: &mut Cut,
        purpose: Purpose,
    ) -> Result<crate::commit::Stored, FsError> {
        let stored = store_data(&self.sealer, cut, purpose)?;
        let deltas = journal::encode(cut, &self.keys, journal.seq + 1)?;
        for delta in deltas {
            self.heads_store.append_delta(&self.keys.volume(), journal.seq + 1, &delta)?;
            journal.seq += 1;
            journal.bytes += delta.len() as u64;
            self.counters.delta(delta.len());
        }
        journal.refers_to(cut);
        Ok(stored)
    }

    /// Returns when every change up to `sequence` is durable. Many callers share one sync of the disk.
    pub(crate) fn sync_through(&self, sequence: u64) -> Result<(), FsError> {
        if self.durable.load(Ordering::Acquire) >= sequence {
            return Ok(());
        }
        self.commit()?;
        let written = self.journal.lock().written;
        self.store.sync()?;
        self.durable.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// Takes the journal's cuts back. Stops at the first that is not whole: what follows was never acknowledged,
    /// or the log is damaged there, which the store reports.
    ///
    /// `usable` says whether the tree is here that they build on.
    fn replay(&self, mut usable: bool) -> Result<bool, FsError> {
        let mut journal = self.journal.lock();
        let volume = self.keys.volume();
        let after = journal.seq;
        let mut replay = journal::Replay::default();
        let mut cuts = 0;
        for (seq, id) in self.heads_store.deltas(&volume, after)? {
            // Numbers are never used twice, whatever becomes of the record.
            let follows = seq == journal.seq + 1;
            journal.seq = seq;
            usable &= follows;
            if !usable {
                continue;
            }
            match self.replay_delta(&mut journal, &mut replay, &id) {
                Ok(whole) => cuts += u64::from(whole),
                Err(error) => {
                    if let ReplayError::Journal(error) = &error
                        && let Some(newer) = error.newer()
                    {
                        return Err(newer);
                    }
                    tracing::error!(%seq, %error, "the journal ends early: a record can't be used");
                    usable = false;
                }
            }
        }
        if !usable {
            tracing::error!(last = journal.seq, "journal records after a gap were left out");
        }
        journal.seq = journal.seq.max(self.heads.lock().delta_floor);
        let sequence = self.state.lock().sequence();
        journal.written = sequence;
        self.durable.store(sequence, Ordering::Release);
        if cuts > 0 {
            tracing::info!(cuts, "journal replayed");
        }
        Ok(usable)
    }

    /// Takes the delta that the journal's number has come to.
    fn replay_delta(
        &self,
        journal: &mut Journal,
        replay: &mut journal::Replay,
        id: &BlockId,
    ) -> Result<bool, ReplayError> {
        let ask = Ask::now(FLUSH_TIMEOUT);
        let block = self.store.get(id, ask).map_err(FsError::from)?;
        let block = block.ok_or(FsError::Missing { id: *id, ino: Ino::ROOT })?;
        let Some(cut) = replay.take(&block, &self.keys, journal.seq)? else { return Ok(false) };
        for chunk in cut.chunks() {
            if !self.store.has(&chunk).map_err(FsError::from)? {
                return Err(FsError::Missing { id: chunk, ino: Ino::ROOT }.into());
            }
        }
        for (ino, content, ..) in &cut.contents {
            if let Content::File(root) = content
                && !self.store.has(&root.root.id).map_err(FsError::from)?
            {
                return Err(FsError::Missing { id: root.root.id, ino: *ino }.into());
            }
        }
        let wait = Wait::Until(ask.deadline);
        self.run(wait, |state| state.replay_loads(&cut.loads))?;
        journal.refers_to(&cut);
        self.state.lock().replay(cut);
        Ok(true)
    }

    /// A handle for an open file.
    pub(crate) fn new_handle(&self, ino: Ino) -> Handle {
        let handle = Handle(self.next_handle.fetch_add(1, Ordering::Relaxed));
        self.handles.lock().insert(handle, ino);
        handle
    }

    /// The file of a handle, which is gone then.
    pub(crate) fn take_handle(&self, handle: Handle) -> Option<Ino> {
        self.handles.lock().remove(&handle)
    }

    /// A flush makes sense soon.
    pub(crate) fn settle_soon(&self) {
        self.bell.ring(|signals| signals.settled = true);
    }
}

/// Without [`Volume::close`] this is a crash: what was not synced is lost.
impl Drop for Volume {
    fn drop(&mut self) {
        self.stop_keeper();
    }
}

/// Why a delta could not be replayed.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error(transparent)]
    Journal(#[from] journal::JournalError),
}

/// The root of a volume that holds nothing.
pub(crate) fn empty_root((uid, gid): (u32, u32), time: Timestamp) -> VolumeRoot {
    let attr = Attr {
        ino: Ino::ROOT,
        kind: FileType::Directory,
        mode: 0o755,
        uid,
        gid,
        nlink: 2,
        size: 0,
        allocated: 0,
        rdev: 0,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
    };
    let root = Record { attr, content: Content::Dir(MapRoot::EMPTY), xattrs: Xattrs::NONE };
    VolumeRoot { root, links: MapRoot::EMPTY, next_ino: FIRST_INO }
}

/// Numbers below are the root's and reserved.
const FIRST_INO: u64 = 16;

/// The time that files are stamped with: the kernel's coarse clock, which it stamps cached inodes with itself. With
/// another clock, of two changes in a row the later could look like the earlier.
pub(crate) fn now() -> Timestamp {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Timestamp { secs: time.tv_sec, nanos: time.tv_nsec as u32 }
}
