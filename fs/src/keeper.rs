//! The volume's own thread: writes the journal, folds it into trees, thins heads, gives memory back.
//!
//! It sleeps until something changes. Then it looks in steps until the volume is quiet again: the journal
//! is written when enough has gathered or a second has passed, synced after five; a tree is made once a tenth
//! of a second goes by without a close or a sync, every two seconds, or when changes take much memory. A flush
//! that took long makes the next one wait ten times as long, so that flushing never takes more than a tenth
//! of the time. Where the volume builds on what another device made, and nothing changes here, a head says so after ten seconds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::FsError;
use crate::volume::{Bell, Trouble, UNWRITTEN_BYTES_AIM, Volume, now};
use cairn_store::StoreError;

const STEP: Duration = Duration::from_millis(50);
const WRITE_EVERY: Duration = Duration::from_secs(1);
const SYNC_EVERY: Duration = Duration::from_secs(5);
const FLUSH_AFTER_SETTLED: Duration = Duration::from_millis(100);
const FLUSH_EVERY: Duration = Duration::from_secs(2);
const FLUSH_SHARE: u32 = 10;
const FLUSH_PAUSE_MAX: Duration = Duration::from_secs(30);
const THIN_EVERY: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const ROOM_EVERY: Duration = Duration::from_millis(200);
/// With less than this free the store counts as full.
const ROOM_BYTES_MIN: u64 = 1 << 20;
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// How long the state builds on another device's tree before a head says so. Others keep what a head names; what none names is
/// thinned after a minute, and is missed where it turns out to be the ancestor.
const SAY_AFTER: Duration = Duration::from_secs(10);
/// Changed inodes, and bytes in memory or parked in the journal, at which a flush does not wait for quiet.
const DIRTY_NODES_AIM: usize = 64 << 10;
const MEMORY_BYTES_AIM: u64 = 16 << 20;
const JOURNAL_BYTES_AIM: u64 = 32 << 20;

/// Starts the keeper of a volume. It ends when the volume is closed or gone.
pub(crate) fn start(volume: &Arc<Volume>) -> Result<std::thread::JoinHandle<()>, FsError> {
    let bell = Arc::clone(&volume.bell);
    let volume = Arc::downgrade(volume);
    let started = std::thread::Builder::new().name("cairn-keeper".into()).spawn(move || {
        let mut keeper = Keeper::new();
        while keeper.wait(&bell)
            && let Some(volume) = Weak::upgrade(&volume)
        {
            if catch_unwind(AssertUnwindSafe(|| keeper.turn(&volume))).is_err() {
                tracing::error!("the keeper panicked; it goes on");
                std::thread::sleep(RETRY_AFTER);
            }
        }
    });
    started.map_err(|source| FsError::Io { op: "start the keeper", source })
}

struct Keeper {
    written: Instant,
    synced: Instant,
    flushed: Instant,
    thinned: Instant,
    flush_took: Duration,
    looked: Instant,
    settled_at: Option<Instant>,
    retry_at: Option<Instant>,
    adrift_since: Option<Instant>,
    pace: Pace,
    /// Somebody rang since the last turn.
    woken: bool,
}

/// How often to look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Something is to be written.
    Busy,
    /// Nothing is; caches are kept for a while.
    Quiet,
    /// Caches were given back.
    Idle,
}

impl Keeper {
    fn new() -> Keeper {
        let now = Instant::now();
        Keeper {
            written: now,
            synced: now,
            flushed: now,
            thinned: now,
            flush_took: Duration::ZERO,
            looked: now,
            settled_at: None,
            retry_at: None,
            adrift_since: None,
            pace: Pace::Quiet,
            woken: false,
        }
    }

    /// Waits for something to do. False when the volume is being closed. Holds no reference to it meanwhile.
    fn wait(&mut self, bell: &Bell) -> bool {
        let mut signals = bell.signals.lock();
        if !signals.wake && !signals.closing {
            match self.pace {
                Pace::Busy => drop(bell.rung.wait_for(&mut signals, STEP)),
                Pace::Quiet => drop(bell.rung.wait_for(&mut signals, IDLE_AFTER)),
                Pace::Idle => bell.rung.wait(&mut signals),
            }
        }
        self.woken = std::mem::take(&mut signals.wake);
        if std::mem::take(&mut signals.settled) {
            self.settled_at = Some(Instant::now());
        }
        !signals.closing
    }

    /// Does what there is to do.
    fn turn(&mut self, volume: &Volume) {
        let start = Instant::now();
        if self.retry_at.is_some_and(|at| at > start) {
            // Changes go on ringing; without a pause this would spin.
            std::thread::sleep(STEP);
            return;
        }
        self.look_for_room(volume, start);
        match self.work(volume, start) {
            Ok(()) => {
                if self.retry_at.take().is_some() {
                    volume.bell.signals.lock().trouble = None;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "changes could not be written; trying again");
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
                volume.bell.signals.lock().trouble = Some(Trouble::of(&error));
                volume.bell.drained.notify_all();
            }
        }
        self.set_pace(volume);
    }

    /// Journal and trees could go on into the reserve; growth has to stop before they use it up.
    fn look_for_room(&mut self, volume: &Volume, now: Instant) {
        if now - self.looked < ROOM_EVERY {
            return;
        }
        self.looked = now;
        let full = (volume.options.space)().is_some_and(|space| space.free < ROOM_BYTES_MIN);
        if volume.full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(full, "room in the store");
        }
    }

    fn set_pace(&mut self, volume: &Volume) {
        let busy = {
            let state = volume.state.lock();
            // A full store is looked at until it has room again.
            state.has_batch() || state.dirty_count() > 0 || volume.full.load(Ordering::Relaxed)
        };
        self.pace = match self.pace {
            _ if busy => Pace::Busy,
            Pace::Quiet if !self.woken && self.adrift_since.is_none() => {
                volume.reader.shrink();
                Pace::Idle
            }
            Pace::Idle if !self.woken => Pace::Idle,
            _ => Pace::Quiet,
        };
        if busy && self.woken {
            // Every change rings; look at most once a step unless much has gathered.
            let urgent = volume.state.lock().unwritten_bytes() >= UNWRITTEN_BYTES_AIM;
            if !urgent {
                std::thread::sleep(STEP / 10);
            }
        }
    }

    fn work(&mut self, volume: &Volume, now_at: Instant) -> Result<(), FsError> {
        let (batch, unwritten, memory, dirty) = {
            let state = volume.state.lock();
            (state.has_batch(), state.unwritten_bytes(), state.memory_bytes(), state.dirty_count())
        };
        if dirty > 0 && self.flush_is_due(volume, now_at, memory, dirty) {
            volume.flush()?;
            self.flushed = Instant::now();
            self.flush_took = self.flushed - now_at;
            self.settled_at = None;
            self.written = self.flushed;
            self.synced = self.flushed;
        } else if batch && (unwritten >= UNWRITTEN_BYTES_AIM || now_at - self.written >= WRITE_EVERY) {
            volume.commit()?;
            self.written = Instant::now();
        }
        if now_at - self.synced >= SYNC_EVERY {
            let sequence = volume.state.lock().sequence();
            volume.sync_through(sequence)?;
            self.synced = Instant::now();
        }
        self.say_where_it_stands(volume, now_at);
        if now_at - self.thinned >= THIN_EVERY {
            volume.thin(now())?;
            self.thinned = Instant::now();
        }
        Ok(())
    }

    /// No change waits for this, so a failure is no trouble of theirs.
    fn say_where_it_stands(&mut self, volume: &Volume, now: Instant) {
        if !volume.adrift.load(Ordering::Acquire) {
            self.adrift_since = None;
            return;
        }
        if now - *self.adrift_since.get_or_insert(now) >= SAY_AFTER {
            self.adrift_since = Some(now);
            match volume.say_where_it_stands() {
                Ok(()) => self.adrift_since = None,
                Err(error) => tracing::warn!(%error, "a head for what another device made could not be signed yet"),
            }
        }
    }

    fn flush_is_due(&self, volume: &Volume, now: Instant, memory: u64, dirty: usize) -> bool {
        let since = now - self.flushed;
        let journal = volume.journal.lock().bytes;
        let large = memory >= MEMORY_BYTES_AIM || dirty >= DIRTY_NODES_AIM || journal >= JOURNAL_BYTES_AIM;
        let pause = (self.flush_took * FLUSH_SHARE).min(FLUSH_PAUSE_MAX);
        let settled = self.settled_at.is_some_and(|at| now - at >= FLUSH_AFTER_SETTLED);
        // Memory is bounded whatever a flush costs; the rest waits its turn.
        memory >= 2 * MEMORY_BYTES_AIM - MEMORY_BYTES_AIM / 4
            || dirty >= 4 * DIRTY_NODES_AIM
            || since >= pause && (large || settled || since >= FLUSH_EVERY)
    }
}

impl Trouble {
    fn of(error: &FsError) -> Trouble {
        match error {
            FsError::NoSpace => Trouble::Full,
            FsError::Store(error) if error.is_full() => Trouble::Full,
            FsError::Store(StoreError::ReadOnly { .. }) => Trouble::ReadOnly,
            error => Trouble::Failed(error.to_string()),
        }
    }
}
