//! Room that is kept back, as a file of allocated bytes and some empty ones, so that deleting, collecting and unmounting
//! work on a disk that is out of bytes or of inodes. Whatever makes room may cut a piece off; new blocks are refused until
//! it is whole again.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::plain;
use crate::StoreError;
use crate::sync::Mutex;

/// How often a reserve that is not whole looks whether the disk has room again.
const REFILL_INTERVAL: Duration = Duration::from_millis(500);

/// Cut off at least this much: every cut is a system call and a journal entry of the file system.
const CUT_BYTES_MIN: u64 = 4 << 20;

/// Empty files, for their inodes: a segment, and what the index makes when it is opened and flushed.
const SPARE_FILES: u32 = 16;

/// A small disk keeps back one part in this many.
const DISK_SHARE: u64 = 16;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    wanted: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<File>,
    held: u64,
    /// Some of the empty files are gone.
    is_short_of_files: bool,
    looked: Option<Instant>,
}

impl Reserve {
    /// Opens the reserve and fills it as far as the disk allows; a full disk is no reason not to open.
    pub(crate) fn open(path: PathBuf, wanted: u64) -> Self {
        let file = plain::open_or_replace(&path);
        if let Err(error) = &file {
            tracing::warn!(path = %path.display(), %error, "no reserve: deleting may fail when the disk is full");
        }
        let file = file.ok();
        let wanted = wanted.min(total_bytes(&path).map_or(wanted, |total| total / DISK_SHARE));
        // Only blocks that are allocated hold room; a copied store's reserve may be a hole.
        let held = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |m| m.len().min(m.blocks() * 512));
        let reserve =
            Self { path, wanted, state: Mutex::new(State { file, held, is_short_of_files: false, looked: None }) };
        reserve.refill();
        reserve
    }

    /// Bytes that are held back now.
    pub(crate) fn held(&self) -> u64 {
        self.state.lock().held
    }

    /// Whether nothing of it is in use.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.lock().is_whole(self.wanted)
    }

    /// Gives up at least `bytes`, if that much is left, for something that makes room. Says whether anything was.
    pub(crate) fn cut(&self, bytes: u64) -> bool {
        let mut state = self.state.lock();
        if self.is_out_of_inodes() && self.give_files(&mut state) {
            return true;
        }
        let left = state.held.saturating_sub(bytes.max(CUT_BYTES_MIN));
        let Some(file) = state.file.as_ref().filter(|_| left < state.held) else { return false };
        match file.set_len(left) {
            Ok(()) => {
                tracing::warn!(left, wanted = self.wanted, "the disk is full: using the reserve");
                state.held = left;
                state.looked = Some(Instant::now());
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the reserve cannot be cut");
                false
            }
        }
    }

    /// Makes sure that this much can be written beside the log, in files of its own, cutting if need be.
    pub(crate) fn make_room(&self, bytes: u64) {
        if self.is_out_of_inodes() {
            self.give_files(&mut self.state.lock());
        }
        if self.free_bytes().is_some_and(|free| free < bytes) {
            self.cut(bytes);
        }
    }

    /// Refuses new blocks while the reserve is not whole and the disk has no room to make it so.
    pub(crate) fn admit(&self) -> Result<(), StoreError> {
        {
            let mut state = self.state.lock();
            if state.is_whole(self.wanted) {
                return Ok(());
            }
            if state.looked.is_some_and(|looked| looked.elapsed() < REFILL_INTERVAL) {
                return Err(self.full());
            }
            state.looked = Some(Instant::now());
        }
        if self.refill() { Ok(()) } else { Err(self.full()) }
    }

    /// Takes back what is missing. Says whether it is whole.
    pub(crate) fn refill(&self) -> bool {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some(file) = &state.file else { return true };
        // A link is not followed and a pipe not waited for: this holds up everyone who needs room.
        let keep = plain::open_or_replace;
        // Something else in such a place is no want of inodes.
        let has_no_room = |path: PathBuf| keep(&path).is_err_and(|error| error.kind() == ErrorKind::StorageFull);
        state.is_short_of_files = self.spare_files().any(has_no_room);
        if state.held > self.wanted && file.set_len(self.wanted).is_ok() {
            state.held = self.wanted;
        }
        if state.held < self.wanted {
            match fallocate(file, FallocateFlags::empty(), 0, self.wanted) {
                Ok(()) => state.held = self.wanted,
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    // Nothing can be held back here; refusing every block for that would help nobody.
                    tracing::warn!(path = %self.path.display(), "this file system cannot keep a reserve");
                    state.file = None;
                    return true;
                }
                Err(_) => {
                    // A failed allocation may have grown the file part of the way.
                    let _ = file.set_len(state.held);
                }
            }
        }
        state.is_whole(self.wanted)
    }

    /// The empty files.
    fn spare_files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..SPARE_FILES).map(|n| self.path.with_extension(n.to_string()))
    }

    /// Removes the empty files. Says whether there was any.
    fn give_files(&self, state: &mut State) -> bool {
        let given = self.spare_files().filter(|path| std::fs::remove_file(path).is_ok()).count();
        if given > 0 {
            tracing::warn!(given, "the disk has no inodes left: using those of the reserve");
            state.looked = Some(Instant::now());
        }
        state.is_short_of_files = true;
        given > 0
    }

    /// Fewer are free than are kept back. A file system that makes inodes as it needs them counts none.
    fn is_out_of_inodes(&self) -> bool {
        statvfs(&self.path).is_ok_and(|stat| stat.f_files > 0 && stat.f_favail < SPARE_FILES.into())
    }

    fn full(&self) -> StoreError {
        StoreError::Full { limit: crate::Limit::Reserve { bytes: self.wanted }, source: None }
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = statvfs(&self.path).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl State {
    fn is_whole(&self, wanted: u64) -> bool {
        // Where nothing can be held back, nothing is missing.
        self.file.is_none() || self.held >= wanted && !self.is_short_of_files
    }
}

fn total_bytes(path: &Path) -> Option<u64> {
    let stat = statvfs(path).ok()?;
    Some(stat.f_blocks.saturating_mul(stat.f_frsize))
}
