//! What can go wrong in a volume, and the one table that turns it into an errno.

use cairn_block::{BlockId, DecodeError, Ino};
use cairn_store::StoreError;
use rustix::io::Errno;
use tracing::Level;

/// Every error an operation on a volume can end with.
///
/// The names speak of the volume, not of the kernel: [`FsError::errno`] is the only translation.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The answer isn't in memory and the caller asked with [`Wait::Never`](crate::ops::Wait::Never).
    #[error("the answer is not in memory")]
    WouldWait,
    /// No entry has this name, or the inode is gone.
    #[error("no such file or directory")]
    NotFound,
    /// The name is taken.
    #[error("the name exists already")]
    Exists,
    /// A directory is needed here.
    #[error("not a directory")]
    NotDirectory,
    /// A directory can't be used here.
    #[error("is a directory")]
    IsDirectory,
    /// The directory still has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A name that no entry can have: empty, `.`, `..`, or with a slash or a NUL in it.
    #[error("the name is not valid")]
    InvalidName,
    /// The name is longer than 255 bytes, or a link target longer than 4,095.
    #[error("the name is too long")]
    NameTooLong,
    /// The inode has as many links as it can have.
    #[error("too many links to one file")]
    TooManyLinks,
    /// The volume, the snapshot or the store can't be written.
    #[error("read-only")]
    ReadOnly,
    /// The store is full but for its reserve.
    #[error("no space left in the store")]
    NoSpace,
    /// A quota of the volume or of a directory is used up.
    #[error("the quota is used up")]
    Quota,
    /// The caller may not do this, whatever the mode bits say.
    #[error("not permitted")]
    NotPermitted,
    /// Something that isn't a stored block failed underneath.
    #[error("{op}: {source}")]
    Io {
        /// What was being done.
        op: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A block of this inode doesn't match its id, key or format, and no good copy was found.
    #[error("block {id} of inode {ino} is damaged")]
    Damaged {
        /// The block that can't be trusted.
        id: BlockId,
        /// The inode whose content or metadata it holds.
        ino: Ino,
    },
    /// A block of this inode is in no store that was asked.
    #[error("block {id} of inode {ino} is missing")]
    Missing {
        /// The block that wasn't found.
        id: BlockId,
        /// The inode whose content or metadata it holds.
        ino: Ino,
    },
    /// The deadline passed first. The operation may still take effect.
    #[error("the deadline passed")]
    TimedOut,
    /// Too much is under way to take this on; nothing was done.
    #[error("too many operations are under way")]
    Busy,
    /// The inode or handle belongs to something that no longer exists.
    #[error("stale inode or handle")]
    Stale,
    /// No such extended attribute, or no data after this offset.
    #[error("no data")]
    NoData,
    /// The answer doesn't fit the buffer the caller offered.
    #[error("the buffer is too small")]
    Range,
    /// An extended attribute is larger than one may be.
    #[error("the value is too large")]
    ValueTooLarge,
    /// This filesystem doesn't do that.
    #[error("not supported")]
    Unsupported,
    /// The arguments contradict each other.
    #[error("invalid argument")]
    Invalid,
    /// The file would be larger than 2^63 - 1 bytes.
    #[error("the file would be too large")]
    FileTooBig,
    /// The two names are on different sides of a border that links and renames can't cross.
    #[error("crosses into another volume or snapshot")]
    CrossDevice,
    /// A directory would become its own ancestor.
    #[error("a directory can't be moved into itself")]
    IntoItself,
    /// Too many symbolic links in the way.
    #[error("too many levels of links")]
    Loop,
    /// A newer release wrote this. It was not touched.
    #[error("{what} has version {found}, which this release can't read")]
    Newer {
        /// What has it.
        what: &'static str,
        /// The version found.
        found: u8,
    },
    /// Our own code panicked; the operation was abandoned and the panic was logged.
    #[error("internal failure in {op}")]
    Panicked {
        /// The operation that failed.
        op: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FsError {
    /// Whether a block is damaged or not there: nothing that waiting or trying again would mend.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Missing { .. } | Self::Store(StoreError::Damaged { .. }))
    }

    /// Whether a block may be somewhere, and could not be had in time: trying again may help.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Store(StoreError::NotFetched { .. } | StoreError::Timeout { .. }))
    }

    /// The errno table. Comments mark the lines where POSIX leaves, or we take, a choice.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            // Only the dispatcher asks with `Wait::Never`, and it asks again; if one ever leaks, "again" is the truth.
            Self::WouldWait => Errno::AGAIN,
            Self::NotFound => Errno::NOENT,
            Self::Exists => Errno::EXIST,
            Self::NotDirectory => Errno::NOTDIR,
            Self::IsDirectory => Errno::ISDIR,
            Self::NotEmpty => Errno::NOTEMPTY,
            Self::InvalidName => Errno::INVAL,
            Self::NameTooLong => Errno::NAMETOOLONG,
            Self::TooManyLinks => Errno::MLINK,
            Self::ReadOnly => Errno::ROFS,
            Self::NoSpace => Errno::NOSPC,
            Self::Quota => Errno::DQUOT,
            // EPERM, not EACCES: the mode bits are the kernel's to check, what is left is rules about rights.
            Self::NotPermitted => Errno::PERM,
            // The system's own number reaches the caller as itself; without one it is EIO.
            Self::Io { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
            // EIO and not EBADMSG: programs know how to report EIO, and the log names the block.
            Self::Damaged { .. } | Self::Missing { .. } => Errno::IO,
            // ETIMEDOUT tells "not yet" from "broken"; NFS soft mounts taught programs that it happens.
            Self::TimedOut => Errno::TIMEDOUT,
            // EAGAIN would make blocking readers spin or fail oddly; EBUSY says "later" without promising progress.
            Self::Busy => Errno::BUSY,
            Self::Stale => Errno::STALE,
            // getxattr wants ENODATA; the seek past the last data has its own answer, ENXIO, made where lseek is answered.
            Self::NoData => Errno::NODATA,
            Self::Range => Errno::RANGE,
            Self::ValueTooLarge => Errno::TOOBIG,
            // EOPNOTSUPP and never ENOSYS: the kernel takes ENOSYS as "never ask again", for fsync even as success.
            Self::Unsupported => Errno::OPNOTSUPP,
            Self::Invalid => Errno::INVAL,
            Self::FileTooBig => Errno::FBIG,
            Self::CrossDevice => Errno::XDEV,
            Self::IntoItself => Errno::INVAL,
            Self::Loop => Errno::LOOP,
            // Nothing is wrong with the bytes: this program is too old for them.
            Self::Newer { .. } => Errno::OPNOTSUPP,
            Self::Panicked { .. } => Errno::IO,
            Self::Store(error) => store_errno(error),
        }
    }

    /// Whether the same call may succeed a moment later without anyone repairing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::WouldWait | Self::TimedOut | Self::Busy => true,
            Self::Store(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// How loudly to log it where it is handled: an answer to the caller is no event, lost data is an error.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Damaged { .. } | Self::Missing { .. } | Self::Panicked { .. } | Self::Io { .. } => Level::ERROR,
            Self::Store(error) if !error.is_full() => Level::ERROR,
            Self::TimedOut | Self::Busy | Self::NoSpace | Self::Store(_) => Level::WARN,
            _ => Level::TRACE,
        }
    }
}

/// The version that a structure has beyond the ones this release knows, if that is what is wrong with it. Such a structure is
/// sound: whoever passed it over, and wrote, would lose what it holds.
pub(crate) fn newer(error: &DecodeError) -> Option<FsError> {
    match error {
        DecodeError::Version { what, found } if *found > 1 => Some(FsError::Newer { what, found: *found }),
        _ => None,
    }
}

/// What a store's failure means to a program that called read, write or fsync.
fn store_errno(error: &StoreError) -> Errno {
    match error {
        StoreError::Io { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
        // Disk, quota and reserve alike: "no space" is what programs know how to report, and all three end the same way.
        StoreError::Full { .. } => Errno::NOSPC,
        StoreError::TooManyFiles { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::NFILE),
        StoreError::Damaged { .. } => Errno::IO,
        // Nothing is broken: it is read once somebody who has it is back.
        StoreError::NotFetched { .. } => Errno::HOSTDOWN,
        // A store that went read-only after a failed sync must not look like a healthy read-only mount: EROFS is still
        // the truth about the next write, and the call that lost its sync got EIO.
        StoreError::ReadOnly { .. } => Errno::ROFS,
        StoreError::Timeout { .. } => Errno::TIMEDOUT,
        StoreError::CollectionRunning | StoreError::Locked { .. } => Errno::BUSY,
        // None of these can follow from what a program asked of a file; if one arrives here, it is our fault.
        StoreError::NewerVersion { .. }
        | StoreError::NotAStore { .. }
        | StoreError::Index { .. }
        | StoreError::TooLarge { .. }
        | StoreError::HeadConflict { .. }
        | StoreError::DeltaOutOfOrder { .. }
        | StoreError::NumberTooHigh { .. } => Errno::IO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn from_system(errno: Errno) -> FsError {
        StoreError::io("write", "/s/log", io::Error::from(errno)).into()
    }

    #[test]
    fn full_disks_and_descriptor_limits_reach_the_caller_as_themselves() {
        assert_eq!(from_system(Errno::NOSPC).errno(), Errno::NOSPC);
        assert_eq!(from_system(Errno::DQUOT).errno(), Errno::NOSPC);
        assert_eq!(from_system(Errno::MFILE).errno(), Errno::MFILE);
        assert_eq!(from_system(Errno::NFILE).errno(), Errno::NFILE);
        assert_eq!(from_system(Errno::IO).errno(), Errno::IO);
    }

    #[test]
    fn no_error_becomes_enosys_which_the_kernel_would_remember() {
        for error in [FsError::Unsupported, FsError::Invalid, FsError::NotPermitted] {
            assert_ne!(error.errno(), Errno::NOSYS);
        }
    }

    #[test]
    fn io_without_a_number_is_eio() {
        let source = io::Error::other("odd");
        assert_eq!(FsError::Io { op: "test", source }.errno(), Errno::IO);
    }

    #[test]
    fn lost_data_is_an_error_in_the_log_and_an_absent_name_is_nothing() {
        assert_eq!(FsError::NotFound.level(), Level::TRACE);
        assert_eq!(FsError::TimedOut.level(), Level::WARN);
        assert_eq!(from_system(Errno::NOSPC).level(), Level::WARN);
        assert_eq!(from_system(Errno::IO).level(), Level::ERROR);
    }
}
