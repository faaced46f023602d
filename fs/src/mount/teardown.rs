//! Unmounting, which always ends and always frees the mount point.
//!
//! In order: what was acknowledged is made durable; nothing more is told to the kernel, as a notification that it handles
//! while it unmounts would never return; the mount leaves the tree, lazily if it is in use; programs that still have files
//! open get a moment, then the connection is aborted and they get errors; threads are joined; and what came in meanwhile
//! is made durable too. Each step has a bound, and a step that failed doesn't keep the next from happening.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::bounded::within;
use super::connection;
use super::desk::Desk;
use super::device::{Means, unmount_by_helper};
use super::error::MountError;
use super::mountinfo::MountTable;
use super::session::{End, Parts, Spot};
use super::takeover::is_dead;
use crate::error::FsError;

/// Making everything durable may take this long before the mount goes anyway; whoever owns the volume goes on with it. All
/// the bounds here together keep an unmount under five seconds when one thing hangs, and under ten when everything does.
const SYNC: Duration = Duration::from_secs(3);

/// Programs that keep files open get this long before their files are taken from them.
const GRACE: Duration = Duration::from_secs(1);

/// Threads get this long to end; all that can hold them up by then is a store that hangs.
const JOIN: Duration = Duration::from_secs(1);

/// How an unmount went.
#[derive(Debug)]
pub struct Unmounted {
    /// Files were open, so it was taken out of the tree while in use.
    pub busy: bool,
    /// Those files were still open after a moment, and every access to them fails now.
    pub aborted: bool,
    /// Operations that are still stuck in the store; their callers were answered long ago.
    pub stuck: usize,
    /// Whether everything that was acknowledged is durable. With [`FsError::TimedOut`] it is not yet: closing the volume,
    /// which has all the time it takes, will say.
    pub synced: Result<(), FsError>,
}

pub(super) fn unmount(parts: Parts) -> Unmounted {
    let Parts { spot, desk, end, invalidator, session, notifier } = parts;
    let first = sync(&desk);
    invalidator.close();
    let busy = detach_in_order(&spot, &end);
    let aborted = !end.wait(Some(GRACE)) && abort(&spot);
    if end.is_set() || (aborted && end.wait(Some(JOIN))) {
        join("session", session);
    } else {
        tracing::warn!("files are still open; they are served until this process ends");
    }
    join("notifier", notifier);
    let stuck = desk.close(JOIN);
    // A first sync that ran into its bound would only do so again.
    let synced = if matches!(first, Err(FsError::TimedOut)) { first } else { sync(&desk) };
    Unmounted { busy, aborted, stuck, synced }
}

/// Makes everything durable, or stops waiting for it.
fn sync(desk: &Desk) -> Result<(), FsError> {
    let ops = desk.ops_shared();
    within("cairn-sync", SYNC.min(desk.deadline()), move || ops.sync_all()).unwrap_or(Err(FsError::TimedOut))
}

/// Unmounts, and lazily when files are open; returns whether they were.
fn detach_in_order(spot: &Spot, end: &End) -> bool {
    if !is_on_top(spot, end.is_set()) {
        return false;
    }
    match take_out(spot, false) {
        Ok(()) => false,
        Err(error) => {
            tracing::info!(%error, path = %spot.path.display(), "in use; detaching");
            write_mapped(spot);
            detach(spot);
            true
        }
    }
}

/// Takes our mount out of the tree even if it is in use. For as long as the session lives.
pub(super) fn detach(spot: &Spot) {
    if !is_on_top(spot, false) {
        return;
    }
    if let Err(error) = take_out(spot, true) {
        tracing::warn!(%error, path = %spot.path.display(), "could not be detached");
    }
}

/// Leaving the tree is quick, but the last unmount also writes out what was changed through memory maps, which a store that
/// hangs would hold up; by then the mount point is free, and the abort ends the wait.
fn take_out(spot: &Spot, lazy: bool) -> Result<(), MountError> {
    let own = spot.clone();
    let done = within("cairn-umount", GRACE, move || match own.means {
        Means::Direct => unmount_directly(&own.path, lazy),
        Means::Helper => unmount_by_helper(&own.path, lazy),
    });
    done.unwrap_or(Ok(()))
}

fn unmount_directly(path: &Path, lazy: bool) -> Result<(), MountError> {
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, lazy);
    match rustix::mount::unmount(path, flags) {
        // Not a mount point any more: someone was faster, which is as good.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(errno) => Err(MountError::io("unmount", path)(errno)),
    }
}

/// Whether a path-based unmount would take away the mount that we made, and not one that someone else made there since.
/// Mount ids and device numbers are used again, but a device number not before its filesystem is gone, and with it our
/// session. After that only a dead mount can be ours: one whose connection was aborted.
fn is_on_top(spot: &Spot, session_ended: bool) -> bool {
    let Some(own) = &spot.entry else {
        return !session_ended; // We never saw it in the table; the call itself will say.
    };
    match MountTable::read() {
        Ok(table) => table.top_at(&spot.path) == Some(own) && (!session_ended || is_dead(&spot.path, own)),
        Err(error) => {
            tracing::warn!(%error, "the mount table can't be read");
            false
        }
    }
}

/// A plain unmount writes out what programs changed through memory maps, a lazy one leaves that for later, which an abort
/// would prevent.
fn write_mapped(spot: &Spot) {
    let path = spot.path.clone();
    let synced = within("cairn-syncfs", GRACE, move || {
        rustix::fs::syncfs(std::fs::File::open(path)?).map_err(std::io::Error::from)
    });
    if !matches!(synced, Some(Ok(()))) {
        tracing::warn!(?synced, "memory-mapped changes may not have been written");
    }
}

/// Ends the connection: every request, waiting or to come, fails. Returns whether that was possible: ordinary users can't
/// on machines where the control filesystem isn't mounted.
pub(super) fn abort(spot: &Spot) -> bool {
    let Some(entry) = &spot.entry else { return false };
    let path = spot.path.display();
    connection::abort(entry.minor)
        .inspect(|()| tracing::warn!(%path, "connection aborted; files still open fail from now on"))
        .inspect_err(|error| tracing::debug!(%path, %error, "the connection can't be aborted"))
        .is_ok()
}

/// Joins a thread that should be ending, if it does in time.
fn join(name: &'static str, thread: JoinHandle<()>) {
    let until = Instant::now() + JOIN;
    while !thread.is_finished() {
        if Instant::now() >= until {
            tracing::warn!(name, "a thread of the mount is stuck and left behind");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    if thread.join().is_err() {
        tracing::error!(name, "a thread of the mount panicked");
    }
}
