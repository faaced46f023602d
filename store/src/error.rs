//! What can go wrong in a store, and the few questions a caller asks about it.
//!
//! One enum for the family, because every implementation stands behind the same traits. The errno of
//! each variant is the business of `fs`, which owns that table.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cairn_block::{BlockId, DeviceId, VolumeId};

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused. Space and descriptors have variants of their own.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was being done, as a verb: "read", "sync".
        op: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// There is no room. Deleting, collecting and reading still work.
    #[error("no room: {limit}")]
    Full {
        /// Which limit was reached.
        limit: Limit,
        /// What the system said, if it was the system that said so.
        source: Option<io::Error>,
    },

    /// The process or the system is out of file descriptors.
    #[error("too many open files at {}", path.display())]
    TooManyFiles {
        /// The file that could not be opened.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The block is here, but its bytes are not the ones its id names. It is quarantined; a put repairs it.
    #[error("block {id} is damaged ({place})")]
    Damaged {
        /// The block.
        id: BlockId,
        /// Where the bad bytes lie.
        place: Place,
    },

    /// The store takes no writes. Reads still work.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// Why.
        reason: ReadOnlyReason,
    },

    /// Another process has the store open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },

    /// A newer release wrote this store. It was not touched.
    #[error("{} has format {found}; this release reads up to {supported}", path.display())]
    NewerVersion {
        /// The file that says so.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version this release reads.
        supported: u32,
    },

    /// The directory holds something else.
    #[error("{} is not a store", path.display())]
    NotAStore {
        /// The file or directory that was looked at.
        path: PathBuf,
    },

    /// The index failed. It can be rebuilt: the log is the truth.
    #[error("the index cannot {op}")]
    Index {
        /// What was being done, as a verb.
        op: &'static str,
        /// What the index said.
        source: Box<dyn Error + Send + Sync>,
    },

    /// The deadline passed first.
    #[error("{op} was not done after {waited:?}")]
    Timeout {
        /// The call that waited.
        op: &'static str,
        /// How long it waited.
        waited: Duration,
    },

    /// The block isn't here, and those who may have it didn't give it.
    #[error("block {id} is not here, and was not given")]
    NotFetched {
        /// The block.
        id: BlockId,
        /// Who was asked, and what each said.
        source: Box<dyn Error + Send + Sync>,
    },

    /// More bytes than the format allows.
    #[error("{what} of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// What was too large: "head", "block".
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The most that is allowed.
        max: u64,
    },

    /// A number of a head or of a journal record that no format allows.
    #[error("number {number} is not below {limit}")]
    NumberTooHigh {
        /// The number.
        number: u64,
        /// Numbers are below this.
        limit: u64,
    },

    /// A different head already has this number: the device's history has forked.
    #[error("volume {volume}: device {device} already has another head {seq}")]
    HeadConflict {
        /// The volume.
        volume: VolumeId,
        /// The device whose head it is.
        device: DeviceId,
        /// The number that is taken.
        seq: u64,
    },

    /// A journal record that does not come after the last one.
    #[error("volume {volume}: delta {seq} does not come after {last}")]
    DeltaOutOfOrder {
        /// The volume.
        volume: VolumeId,
        /// The number of the refused record.
        seq: u64,
        /// The highest number that was appended or trimmed.
        last: u64,
    },

    /// A collection is under way; a store runs one at a time.
    #[error("a collection is already running")]
    CollectionRunning,
}

impl StoreError {
    /// Sorts an operating system's error into the variant a caller can act on.
    pub fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { limit: Limit::Disk { path }, source: Some(source) }
            }
            _ if is_out_of_descriptors(&source) => Self::TooManyFiles { path, source },
            _ => Self::Io { op, path, source },
        }
    }

    /// Whether the same call can succeed later without anybody repairing anything.
    ///
    /// An `Io` is never retryable: after a failed sync a retry succeeds and the data is gone.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::TooManyFiles { .. } | Self::CollectionRunning)
    }

    /// Whether room has to be made first.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether stored bytes were found to be wrong: fetch the block elsewhere and put it again.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// `io::ErrorKind` has no name for these two.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let raw = error.raw_os_error();
    raw == Some(Errno::MFILE.raw_os_error()) || raw == Some(Errno::NFILE.raw_os_error())
}

/// The limit that a full store ran into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// The disk, or the system's quota on it.
    Disk {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The store's own quota.
    Quota {
        /// Its bytes.
        bytes: u64,
    },
    /// What is left is kept back so that deleting and collecting keep working.
    Reserve {
        /// The reserve's bytes.
        bytes: u64,
    },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { path } => write!(f, "the disk under {} is full", path.display()),
            Self::Quota { bytes } => write!(f, "the quota of {bytes} bytes is used up"),
            Self::Reserve { bytes } => write!(f, "only the reserve of {bytes} bytes is left"),
        }
    }
}

/// Where bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// A record of the log.
    Log {
        /// The segment's number.
        segment: u64,
        /// The record's offset in it.
        offset: u64,
    },
    /// This process's memory.
    Memory,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log { segment, offset } => write!(f, "segment {segment}, offset {offset}"),
            Self::Memory => f.write_str("in memory"),
        }
    }
}

/// Why a store takes no writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnlyReason {
    /// It was opened that way.
    Asked,
    /// A sync failed and its records could not be written elsewhere.
    SyncFailed {
        /// The segment that is dead.
        segment: u64,
    },
    /// No new segment could be made, for want of neither room nor descriptors.
    NoSegment,
    /// The index failed while it was being written.
    IndexFailed,
}

impl fmt::Display for ReadOnlyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("it was opened that way"),
            Self::SyncFailed { segment } => {
                write!(f, "segment {segment} could not be synced; check the disk")
            }
            Self::NoSegment => f.write_str("no new segment can be made; check the disk"),
            Self::IndexFailed => f.write_str("its index failed; check the disk"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn system(errno: Errno) -> StoreError {
        StoreError::io("write", "/s/log", io::Error::from(errno))
    }

    #[test]
    fn system_errors_reach_the_caller_as_themselves() {
        assert!(system(Errno::NOSPC).is_full());
        assert!(system(Errno::DQUOT).is_full());
        assert!(matches!(system(Errno::MFILE), StoreError::TooManyFiles { .. }));
        assert!(matches!(system(Errno::NFILE), StoreError::TooManyFiles { .. }));
        assert!(matches!(system(Errno::IO), StoreError::Io { .. }));
    }

    #[test]
    fn the_systems_words_are_kept_as_the_source() {
        for errno in [Errno::NOSPC, Errno::MFILE, Errno::IO] {
            let error = system(errno);
            let source = error.source().expect("a source");
            assert_eq!(source.to_string(), io::Error::from(errno).to_string());
        }
    }

    #[test]
    fn a_failed_write_is_never_retryable() {
        assert!(!system(Errno::IO).is_retryable());
        assert!(!system(Errno::NOSPC).is_retryable());
        assert!(system(Errno::MFILE).is_retryable());
    }

    #[test]
    fn messages_name_the_file() {
        assert_eq!(system(Errno::IO).to_string(), "cannot write /s/log");
        assert_eq!(system(Errno::NOSPC).to_string(), "no room: the disk under /s/log is full");
    }
}
