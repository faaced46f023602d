//! What can go wrong in a volume, and the one table that turns it into an errno.

use cairn_block::id::{BlockId, Ino};
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
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::Panicked { .. }
            | Self::Io { .. } => Level::ERROR,
            Self::Store(error) if !error.is_full() => Level::ERROR,
            Self::TimedOut | Self::Busy | Self::NoSpace | Self::Store(_) => Level::WARN,
            _ => Level::TRACE,
        }
    }
}
