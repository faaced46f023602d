//! A volume mounted on a directory, from the first request to the last.
//!
//! Threads, all named: `cairn-mount` waits for the library's two dispatch threads; `cairn-worker` and `cairn-deadline`
//! belong to the [`Desk`]; `cairn-notify` to the [`Invalidator`]. What survives a crash of this process: a dead mount point,
//! which the next start clears away (see `takeover`), and whatever the volume had made durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fuser::{Config, Session, SessionACL};
use parking_lot::{Condvar, Mutex};

use super::counts::Counts;
use super::desk::Desk;
use super::device::{self, Means};
use super::dispatch::Dispatcher;
use super::error::MountError;
use super::linger::Linger;
use super::mountinfo::{MountEntry, MountTable};
use super::notify::Invalidator;
use super::options::{MountOptions, READ_AHEAD_KIB};
use super::takeover::prepare;
use super::teardown::{self, Unmounted};
use crate::ops::Operations;

/// Threads that read the kernel's queue: a second one, so that copying a large write doesn't hold up a lookup. Measured,
/// more gain nothing.
const DISPATCH_THREADS: usize = 2;

/// Where a mount is, in the kernel's words.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) path: PathBuf,
    pub(super) means: Means,
    /// `None` if the mount table couldn't be read or doesn't show it: then there is nothing to tune or abort.
    pub(super) entry: Option<MountEntry>,
}

/// The end of the session, awaited by whoever likes.
#[derive(Default)]
pub(super) struct End {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl End {
    fn set(&self) {
        *self.ended.lock() = true;
        self.changed.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        *self.ended.lock()
    }

    /// Whether the end came within `limit`.
    pub(super) fn wait(&self, limit: Option<Duration>) -> bool {
        let until = limit.map(|limit| Instant::now() + limit);
        let mut ended = self.ended.lock();
        while !*ended {
            match until {
                None => self.changed.wait(&mut ended),
                Some(until) => {
                    if self.changed.wait_until(&mut ended, until).timed_out() {
                        break;
                    }
                }
            }
        }
        *ended
    }
}

/// A live mount. Dropping it unmounts, with the same bounds as [`Mount::unmount`] and the outcome in the log.
pub struct Mount {
    parts: Option<Parts>,
}

/// What teardown takes apart.
pub(super) struct Parts {
    pub(super) spot: Spot,
    pub(super) desk: Arc<Desk>,
    pub(super) end: Arc<End>,
    pub(super) invalidator: Invalidator,
    pub(super) session: JoinHandle<()>,
    pub(super) notifier: JoinHandle<()>,
}

impl Mount {
    /// Mounts `ops` on `path`. `guarded` are the directories of the store, which the mount must stay clear of.
    ///
    /// # Errors
    /// See [`MountError`]; nothing is mounted then.
    pub fn start(
        ops: Arc<dyn Operations>,
        path: &Path,
        guarded: &[PathBuf],
        options: &MountOptions,
    ) -> Result<Self, MountError> {
        options.check()?;
        let path = prepare(path, guarded)?;
        let desk = Desk::new(ops, options.deadline, options.workers_max)
            .map_err(MountError::io("start threads for", &path))?;
        let (device, means) = device::mount(&path, options)?;
        let spot = Spot::find(path, means);
        match serve(&desk, device, &spot) {
            Ok(parts) => Ok(Self { parts: Some(parts) }),
            Err(error) => {
                teardown::detach(&spot);
                Err(error)
            }
        }
    }

    fn parts(&self) -> &Parts {
        self.parts.as_ref().expect("present until unmount or drop takes it along with self")
    }

    /// The mount point, in canonical form.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.parts().spot.path
    }

    /// Tells the kernel of changes that it didn't make; to be given to whatever restores files.
    #[must_use]
    pub fn invalidator(&self) -> Invalidator {
        self.parts().invalidator.clone()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.parts().desk.counts()
    }

    /// Whether the kernel still sends requests. It stops when anyone unmounts.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.parts().end.is_set()
    }

    /// Waits until somebody has unmounted, at most for `limit`; returns whether that happened.
    #[must_use]
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        self.parts().end.wait(limit)
    }

    /// Syncs and unmounts. Always ends, and the mount point is free afterwards even if files in it are open; see
    /// [`Unmounted`] for what could not be done nicely.
    pub fn unmount(mut self) -> Unmounted {
        let parts = self.parts.take().expect("present until unmount or drop takes it along with self");
        teardown::unmount(parts)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            let outcome = teardown::unmount(parts);
            tracing::info!(?outcome, "unmounted as its owner was dropped");
        }
    }
}

impl Spot {
    /// Right after mounting, what lies on top at the path is ours.
    fn find(path: PathBuf, means: Means) -> Self {
        let entry =
            MountTable::read().ok().and_then(|table| table.top_at(&path).filter(|entry| entry.is_fuse()).cloned());
        Self { path, means, entry }
    }
}

/// Answers the kernel's greeting and starts the threads.
fn serve(desk: &Arc<Desk>, device: std::os::fd::OwnedFd, spot: &Spot) -> Result<Parts, MountError> {
    let path = &spot.path;
    let mut config = Config::default();
    config.n_threads = Some(DISPATCH_THREADS);
    // Its own descriptor for each thread, where the device's permissions allow to open one.
    config.clone_fd = device::can_open();
    desk.linger(Linger::on(device.try_clone().map_err(MountError::io("start a session on", path))?));
    let dispatcher = Dispatcher::new(Arc::clone(desk));
    // "All": whom to let in is the kernel's decision, by allow_other. The library's own check would refuse requests that
    // the kernel makes in its own name.
    let session = Session::from_fd(dispatcher, device, SessionACL::All, config)
        .map_err(MountError::io("start a session on", path))?;
    let (invalidator, notifier) =
        Invalidator::start(session.notifier()).map_err(MountError::io("start threads for", path))?;
    let end = Arc::new(End::default());
    let session = run(session, spot.clone(), Arc::clone(&end))
        .inspect_err(|_| invalidator.close())
        .map_err(MountError::io("start threads for", path))?;
    widen_read_ahead(spot);
    Ok(Parts { spot: spot.clone(), desk: Arc::clone(desk), end, invalidator, session, notifier })
}

/// Runs the library's loop until the kernel hangs up. If it ends in any other way no one would answer any more: then
/// everyone who waits must get an error rather than wait for ever.
fn run(session: Session<Dispatcher>, spot: Spot, end: Arc<End>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("cairn-mount".into()).spawn(move || {
        if let Err(error) = session.run() {
            tracing::error!(%error, path = %spot.path.display(), "the session failed");
            teardown::abort(&spot);
            teardown::detach(&spot);
        }
        end.set();
    })
}

/// Only root may, and only the kernel's default is lost otherwise.
fn widen_read_ahead(spot: &Spot) {
    let Some(entry) = &spot.entry else { return };
    let knob = format!("/sys/class/bdi/{}/read_ahead_kb", entry.device);
    if let Err(error) = std::fs::write(&knob, READ_AHEAD_KIB.to_string()) {
        tracing::debug!(%error, knob, "read-ahead stays at the kernel's default");
    }
}
