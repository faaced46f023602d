//! Copies trees between this machine's disk and a volume, inside the node and past the kernel's mount.
//!
//! One thread walks the source and makes directories, names and links, in order; a bounded number of workers copy contents.
//! A directory gets its mode and times when the last thing below it is done: everything under way holds a share of it, and
//! the last one to let go finishes it ([`put::TargetDir`], [`get::TargetDir`]).
//!
//! Kept: contents with holes, modes, owners, times, extended attributes with ACLs, symbolic and hard links, special files.
//! A file that can't be copied is named and the rest goes on.

pub(crate) mod get;
pub(crate) mod put;
pub(crate) mod tree;
mod workers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::control::events::{Progress, Reporter, Unit};
use crate::errors::{Failure, Kind, Outcome};
use crate::text::Name;

/// One read and one write: what a volume takes in one piece, and large enough for a disk.
const PIECE_BYTES: usize = 1 << 20;

/// What a further name of a file is told that could not be copied.
fn not_whole() -> Failure {
    Failure::new(Kind::Io, "the file that this is another name of could not be copied")
}

/// Locks; what a panic left is whole, as every change under these locks is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CopyReport {
    /// Regular files, each counted once however many links it has.
    pub(crate) files: u64,
    /// Directories.
    pub(crate) directories: u64,
    /// Symbolic links, further hard links and special files.
    pub(crate) others: u64,
    /// Bytes of contents, holes left out.
    pub(crate) bytes: u64,
    /// Things that failed, each of them named.
    pub(crate) failed: u64,
    /// How long it took.
    pub(crate) milliseconds: u64,
}

/// What all threads of one copy count and report to.
pub(super) struct Tally<'a> {
    reporter: &'a Reporter,
    started: Instant,
    files: AtomicU64,
    directories: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
    failed: AtomicU64,
    total: AtomicU64,
}

impl<'a> Tally<'a> {
    fn new(reporter: &'a Reporter) -> Self {
        let zero = AtomicU64::default;
        Self {
            reporter,
            started: Instant::now(),
            files: zero(),
            directories: zero(),
            others: zero(),
            bytes: zero(),
            failed: zero(),
            total: zero(),
        }
    }

    fn file_done(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    fn directory_done(&self) {
        self.directories.fetch_add(1, Ordering::Relaxed);
    }

    fn other_done(&self) {
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that will be copied, as far as the walk has come.
    fn found_bytes(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts copied bytes and shows them; fails when nobody listens any more.
    fn copied(&self, bytes: u64) -> Outcome<()> {
        let done = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.total.load(Ordering::Relaxed).max(done);
        let files = Some(self.files.load(Ordering::Relaxed));
        self.reporter.progress(Progress { unit: Unit::Bytes, done, total: Some(total), files })
    }

    fn check(&self) -> Outcome<()> {
        self.reporter.check()
    }

    /// Names what failed; the copy goes on unless the client is gone.
    fn trouble(&self, path: impl Into<Name>, failure: impl Into<Failure>) -> Outcome<()> {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.reporter.trouble(path, failure.into())
    }

    fn report(&self) -> CopyReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CopyReport {
            files: read(&self.files),
            directories: read(&self.directories),
            others: read(&self.others),
            bytes: read(&self.bytes),
            failed: read(&self.failed),
            milliseconds: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
