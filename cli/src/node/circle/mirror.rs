//! A device that keeps everything: what other devices put into a volume is fetched in the background, so that it is read
//! without them, and survives them.
//!
//! One thread for each volume that is open. It walks the newest head of every device, looking only into what it has not seen
//! before, and fetches the blocks that are not here, many at a time. Older snapshots stay where they were made.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use cairn_block::{BlockId, VolumeKeys};
use cairn_fs::Volume;
use cairn_fs::reader::TreeReader;
use cairn_fs::verify::{CheckError, CheckOptions, Checker, Event, Finding, Problem, Scope};
use cairn_store::disk::DiskStore;
use cairn_store::{Ask, BlockStore, StoreError};

use crate::node::blocks::Blocks;
use crate::node::open::{Node, lock};

/// Fetches at a time: the answers of a peer that is far away have to overlap.
const FETCHES: usize = 16;
/// Missing blocks that are gathered before they are fetched.
const WINDOW: usize = 1024;
/// How long one block may take.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// Changes come in bursts: each is waited out for so long.
const SETTLE: Duration = Duration::from_millis(200);
/// After a failure it is tried again, with a walk over everything: a member comes back, a disk is emptied.
const RETRY_FIRST: Duration = Duration::from_secs(10);
/// The longest wait, each being twice the one before.
const RETRY_MAX: Duration = Duration::from_secs(600);
/// With less free on the disk nothing more is fetched ahead: programs need it.
const FREE_BYTES_MIN: u64 = 2 << 30;
/// The part of a quota, in percent, that is left to what this device writes itself.
const QUOTA_LEFT_PERCENT: u64 = 10;

/// How far a copy is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::node) struct Progress {
    /// Whether the newest heads that are known here are whole here.
    pub(in crate::node) is_whole: bool,
    /// Blocks fetched since the start.
    pub(in crate::node) fetched: u64,
    /// What keeps it from going on.
    pub(in crate::node) trouble: Option<String>,
}

/// Wakes the thread of a volume. The thread ends with [`Mirror::end`].
#[derive(Clone)]
pub(in crate::node) struct Mirror(Arc<Shared>);

#[derive(Default)]
struct Shared {
    rung: Mutex<bool>,
    changed: Condvar,
    is_over: AtomicBool,
    /// What was seen may be gone: a collection ran.
    is_anew: AtomicBool,
    progress: Mutex<Progress>,
}

impl Mirror {
    /// Starts the thread of a volume.
    pub(in crate::node) fn start(node: &Node, name: &str, volume: &Arc<Volume>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { rung: Mutex::new(true), ..Shared::default() });
        let task = Task {
            blocks: node.blocks.clone(),
            directory: node.data_dir.store(),
            store: node.store.clone(),
            quota: node.quota,
            keys: node.volume_keys(name),
            reader: volume.reader().clone(),
            volume: Arc::downgrade(volume),
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new().name("mirror".into()).spawn(move || task.run())?;
        Ok(Mirror(shared))
    }

    /// The volume may have changed.
    pub(in crate::node) fn ring(&self) {
        *lock(&self.0.rung) = true;
        self.0.changed.notify_all();
    }

    /// A collection ran: what was seen counts no more.
    pub(in crate::node) fn begin_anew(&self) {
        self.0.is_anew.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// Nothing more is fetched.
    pub(in crate::node) fn end(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// How far it is.
    pub(in crate::node) fn progress(&self) -> Progress {
        lock(&self.0.progress).clone()
    }
}

struct Task {
    blocks: Arc<Blocks>,
    directory: PathBuf,
    store: Arc<DiskStore>,
    quota: Option<u64>,
    keys: VolumeKeys,
    reader: Arc<TreeReader>,
    volume: Weak<Volume>,
    shared: Arc<Shared>,
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error("the node is ending")]
    Over,
    #[error("a collection ran")]
    Anew,
    #[error("less than {} of the disk is free", crate::text::size(FREE_BYTES_MIN))]
    NoRoom,
    #[error("the store's quota is nearly used up")]
    NoQuota,
    #[error("a block that the volume needs is nowhere to be had: {0}")]
    Nowhere(BlockId),
    #[error("a block that was fetched could not be kept: {0}")]
    NotKept(BlockId),
    #[error("{0}")]
    Broken(String),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Blocks that were met and are not here.
#[derive(Default)]
struct Missing {
    ids: Vec<BlockId>,
    /// Why they could not be fetched.
    halt: Option<Halt>,
}

impl Task {
    fn run(self) {
        let mut retry = RETRY_FIRST;
        loop {
            let halt = self.follow(&mut retry);
            match halt {
                Halt::Over => return,
                Halt::Anew => continue,
                halt => {
                    tracing::warn!(%halt, again_in = ?retry, "the copy of the volume is not whole");
                    let mut progress = lock(&self.shared.progress);
                    (progress.is_whole, progress.trouble) = (false, Some(halt.to_string()));
                }
            }
            // News may be what was missing, but not more often than this.
            self.pause(RETRY_FIRST, false);
            self.pause(retry - RETRY_FIRST, true);
            retry = (retry * 2).min(RETRY_MAX);
            *lock(&self.shared.rung) = true;
        }
    }

    /// Waits for some time; until there is news, if `for_news`; and no longer than the node runs.
    fn pause(&self, time: Duration, for_news: bool) {
        let rung = lock(&self.shared.rung);
        let waits = |rung: &mut bool| !(self.is_over() || for_news && *rung);
        drop(self.shared.changed.wait_timeout_while(rung, time, waits).unwrap_or_else(PoisonError::into_inner));
    }

    /// Keeps the copy whole until something fails. One checker remembers what was seen, so that a new head costs what is new
    /// in it; what failed has to be seen again, by another one.
    fn follow(&self, retry: &mut Duration) -> Halt {
        let missing = RefCell::new(Missing::default());
        let mut watch = |event| self.meet(&mut missing.borrow_mut(), event);
        let options = CheckOptions { blocks: true, block_timeout: BLOCK_TIMEOUT, ..CheckOptions::default() };
        let mut checker = Checker::new(&self.reader, self.keys.names(), options, &mut watch);
        loop {
            if !self.wait() {
                return Halt::Over;
            }
            if self.shared.is_anew.swap(false, Ordering::Relaxed) {
                self.ring();
                return Halt::Anew;
            }
            lock(&self.shared.progress).is_whole = false;
            let walked = self.walk(&mut checker);
            let mut missing = missing.borrow_mut();
            if let Some(halt) = missing.halt.take() {
                return halt;
            }
            if let Err(halt) = walked.and_then(|()| self.fetch(&mut missing.ids)) {
                return if self.is_over() { Halt::Over } else { halt };
            }
            if let Err(error) = self.blocks.sync() {
                return error.into();
            }
            let mut progress = lock(&self.shared.progress);
            (progress.is_whole, progress.trouble) = (true, None);
            *retry = RETRY_FIRST;
        }
    }

    /// Waits for news, and for a moment without any. False when it is over.
    fn wait(&self) -> bool {
        let mut rung = lock(&self.shared.rung);
        // Without a circle there is nobody to have anything from.
        while !(self.is_over() || *rung && self.blocks.router().is_some()) {
            rung = self.shared.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        *rung = false;
        drop(rung);
        if !self.is_over() {
            std::thread::sleep(SETTLE);
        }
        !self.is_over()
    }

    /// Walks the newest head of each device.
    fn walk(&self, checker: &mut Checker<'_>) -> Result<(), Halt> {
        let Some(volume) = self.volume.upgrade() else { return Err(Halt::Over) };
        let newest = volume.newest_heads();
        drop(volume);
        newest.iter().try_for_each(|head| Ok(checker.head(&head.root, Scope::New)?))
    }

    fn meet(&self, missing: &mut Missing, event: Event) -> ControlFlow<()> {
        if self.is_over() {
            missing.halt = Some(Halt::Over);
        } else if let Event::Finding(Finding {
            problem: problem @ (Problem::Node(_) | Problem::Entry(_)), path, ..
        }) = &event
        {
            // What is below was not looked at. A chunk that isn't here is no finding: it is fetched.
            missing.halt = Some(Halt::Broken(format!("{}: {problem}", crate::text::shown(path))));
        } else if let Event::Block(used) = event {
            match self.blocks.has(&used.id) {
                Ok(true) => {}
                Ok(false) => missing.ids.push(used.id),
                Err(error) => missing.halt = Some(error.into()),
            }
            if missing.ids.len() >= WINDOW
                && let Err(halt) = self.fetch(&mut missing.ids)
            {
                missing.halt = Some(halt);
            }
        }
        if missing.halt.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Fetches blocks, many at a time; the store keeps what was fetched.
    fn fetch(&self, ids: &mut Vec<BlockId>) -> Result<(), Halt> {
        if ids.is_empty() {
            return Ok(());
        }
        let disk = rustix::fs::statvfs(&self.directory)
            .map_err(|errno| StoreError::io("statvfs", &self.directory, errno.into()))?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN {
            return Err(Halt::NoRoom);
        }
        let used = self.store.stats().log_bytes;
        if self.quota.is_some_and(|quota| used > quota / 100 * (100 - QUOTA_LEFT_PERCENT)) {
            return Err(Halt::NoQuota);
        }
        let next = AtomicUsize::new(0);
        let one = || -> Result<(), Halt> {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.is_over() {
                    return Err(Halt::Over);
                }
                match self.blocks.get(id, Ask::background(BLOCK_TIMEOUT))? {
                    // The router hands out also what its store had no room for.
                    Some(_) if !self.blocks.has(id)? => return Err(Halt::NotKept(*id)),
                    Some(_) => lock(&self.shared.progress).fetched += 1,
                    None => return Err(Halt::Nowhere(*id)),
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let fetches: Vec<_> = (0..FETCHES.min(ids.len())).map(|_| scope.spawn(one)).collect();
            fetches.into_iter().map(|fetch| fetch.join().unwrap_or(Err(Halt::Over))).fold(Ok(()), Result::and)
        })?;
        ids.clear();
        Ok(())
    }

    fn ring(&self) {
        *lock(&self.shared.rung) = true;
    }

    fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Relaxed)
    }
}
