//! A disk that fails by plan, for the tests of this module.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

/// What is to fail. Counters run down to the call that fails; zero is off.
#[derive(Debug)]
pub(crate) struct Faults {
    /// The n-th sync from now fails.
    pub(crate) sync_in: AtomicU64,
    /// Every sync fails.
    pub(crate) no_sync: AtomicBool,
    /// Every write fails.
    pub(crate) no_write: AtomicBool,
    /// Bytes that can be written before the disk is full.
    pub(crate) room: AtomicU64,
    /// The n-th read from now fails.
    pub(crate) read_in: AtomicU64,
    /// Every read fails.
    pub(crate) no_read: AtomicBool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            sync_in: AtomicU64::new(0),
            no_sync: AtomicBool::new(false),
            no_write: AtomicBool::new(false),
            room: AtomicU64::new(u64::MAX),
            read_in: AtomicU64::new(0),
            no_read: AtomicBool::new(false),
        }
    }
}

impl Faults {
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.no_sync.load(Ordering::SeqCst) || counts_down(&self.sync_in) {
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    pub(crate) fn write(&self, bytes: usize) -> io::Result<()> {
        if self.no_write.load(Ordering::SeqCst) {
            return Err(Errno::IO.into());
        }
        let room = self.room.load(Ordering::SeqCst);
        if room == u64::MAX {
            return Ok(());
        }
        match room.checked_sub(bytes as u64) {
            Some(left) => self.room.store(left, Ordering::SeqCst),
            None => return Err(Errno::NOSPC.into()),
        }
        Ok(())
    }

    pub(crate) fn read(&self) -> io::Result<()> {
        let fails = self.no_read.load(Ordering::SeqCst) || counts_down(&self.read_in);
        if fails { Err(Errno::IO.into()) } else { Ok(()) }
    }
}

fn counts_down(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) == Ok(1)
}
