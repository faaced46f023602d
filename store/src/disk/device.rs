//! The system calls of the log, in one place: loops over short writes, counts syncs, names the file in every error.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::StoreError;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The disk as the log sees it.
#[derive(Debug, Default)]
pub(crate) struct Device {
    syncs: AtomicU64,
    #[cfg(test)]
    pub(crate) faults: super::faults::Faults,
    #[cfg(all(test, shuttle))]
    pub(crate) witness: super::schedules::Witness,
}

impl Device {
    /// How often a segment was synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Writes all slices at `offset`. After an error the bytes there are undefined; writing again is allowed.
    pub(crate) fn write_all(
        &self,
        file: &File,
        path: &Path,
        mut slices: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults
            .write(slices.iter().map(|slice| slice.len()).sum())
            .map_err(|e| StoreError::io("write", path, e))?;
        while !slices.is_empty() {
            match rustix::io::pwritev(file, slices, offset) {
                Ok(0) => return Err(StoreError::io("write", path, io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(StoreError::io("write", path, errno.into())),
            }
        }
        Ok(())
    }

    /// Makes what was written to `file` durable. After an error the file is dead: a second try would succeed and
    /// prove nothing, since the kernel has marked the lost pages clean.
    pub(crate) fn sync_data(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        self.faults.sync().map_err(|e| StoreError::io("sync", path, e))?;
        #[cfg(all(test, shuttle))]
        self.witness.sync(file, path);
        file.sync_data().map_err(|source| StoreError::io("sync", path, source))
    }

    /// Up to `len` bytes at `offset`: fewer at the end of the file. Not zeroed first.
    pub(crate) fn read(&self, file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        #[cfg(test)]
        self.faults.read()?;
        // One byte more than asked for, so that there is always room to ask for.
        let mut bytes = Vec::with_capacity(len + 1);
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        bytes.truncate(len);
        Ok(bytes)
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let dir = File::open(path).map_err(|source| StoreError::io("open", path, source))?;
    dir.sync_all().map_err(|source| StoreError::io("sync", path, source))
}
