//! Attributes and times between our words and the library's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_block::{Attr, FileType, Ino, Timestamp};
use fuser::{FileAttr, INodeNo};

use crate::ops::TimeOrNow;

/// Inode numbers with this bit are of snapshots: they never change and can't be written.
const SNAPSHOT_BIT: u64 = 1 << 62;

/// We are the only writer and tell the kernel when something changes behind its back, so what it knows stays true. An hour
/// rather than for ever, so that no mistake of ours does.
const TTL: Duration = Duration::from_secs(3600);

/// Snapshots come and go by the clock, not by the kernel's doing, and nobody announces it.
const SNAPSHOT_TTL: Duration = Duration::from_secs(5);

/// What `stat` recommends for one read or write. Programs that buffer by it send requests of this size instead of 4 KiB.
const PREFERRED_IO_BYTES: u32 = 128 * 1024;

/// Unit of `st_blocks`, whatever the filesystem.
const STAT_BLOCK_BYTES: u64 = 512;

pub(super) fn is_snapshot(ino: Ino) -> bool {
    ino.get() & SNAPSHOT_BIT != 0
}

/// How long the kernel may believe what we say about an inode.
pub(super) fn ttl(ino: Ino) -> Duration {
    if is_snapshot(ino) { SNAPSHOT_TTL } else { TTL }
}

pub(super) fn to_kernel(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.get()),
        size: attr.size,
        blocks: attr.allocated.div_ceil(STAT_BLOCK_BYTES),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: kind_to_kernel(attr.kind),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: PREFERRED_IO_BYTES,
        flags: 0,
    }
}

/// "There is no such name", as something the kernel may remember: an entry without an inode.
pub(super) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: fuser::FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn kind_to_kernel(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Regular => fuser::FileType::RegularFile,
        FileType::Directory => fuser::FileType::Directory,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
        FileType::Char => fuser::FileType::CharDevice,
        FileType::Block => fuser::FileType::BlockDevice,
    }
}

/// The type in the upper bits of a mode, as `mknod` passes it; `None` for a type that can't be made so.
pub(super) fn kind_of_mode(mode: u32) -> Option<FileType> {
    use rustix::fs::FileType as Raw;
    match Raw::from_raw_mode(mode) {
        Raw::RegularFile => Some(FileType::Regular),
        Raw::Fifo => Some(FileType::Fifo),
        Raw::Socket => Some(FileType::Socket),
        Raw::CharacterDevice => Some(FileType::Char),
        Raw::BlockDevice => Some(FileType::Block),
        _ => None,
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(time.secs.unsigned_abs());
    let second = if time.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.and_then(|second| second.checked_add(Duration::from_nanos(time.nanos.into()))).unwrap_or(UNIX_EPOCH)
}

/// A time from a setattr request. The library computes a time before 1970 as `epoch - (-seconds) - nanoseconds` where the
/// nanoseconds should be added; as that loses nothing it is undone here, and the test fails when the library is corrected.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => {
            Timestamp { secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanos: after.subsec_nanos() }
        }
        Err(before) => Timestamp {
            secs: 0i64.saturating_sub_unsigned(before.duration().as_secs()),
            nanos: before.duration().subsec_nanos(),
        },
    }
}

pub(super) fn time_or_now(time: fuser::TimeOrNow) -> TimeOrNow {
    match time {
        fuser::TimeOrNow::Now => TimeOrNow::Now,
        fuser::TimeOrNow::SpecificTime(time) => TimeOrNow::Time(timestamp(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_reach_the_kernel_unchanged_on_both_sides_of_1970() {
        let half = Duration::from_millis(500);
        let at = |secs, nanos| system_time(Timestamp { secs, nanos });
        assert_eq!(at(1, 500_000_000), UNIX_EPOCH + Duration::from_secs(1) + half);
        assert_eq!(at(-1, 500_000_000), UNIX_EPOCH - half);
        assert_eq!(at(-2, 0), UNIX_EPOCH - Duration::from_secs(2));
        assert_eq!(at(i64::MAX, 999_999_999), UNIX_EPOCH + Duration::new(i64::MAX as u64, 999_999_999));
    }

    #[test]
    fn the_library_s_times_before_1970_are_corrected() {
        // What the library makes of seconds -2 and nanoseconds 800 million, that is of -1.2 seconds.
        let received = UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(timestamp(received), Timestamp { secs: -2, nanos: 800_000_000 });
        assert_eq!(timestamp(UNIX_EPOCH + Duration::new(3, 4)), Timestamp { secs: 3, nanos: 4 });
    }

    #[test]
    fn mknod_makes_every_type_but_directories_and_links() {
        assert_eq!(kind_of_mode(0o100_644), Some(FileType::Regular));
        assert_eq!(kind_of_mode(0o010_600), Some(FileType::Fifo));
        assert_eq!(kind_of_mode(0o020_600), Some(FileType::Char));
        assert_eq!(kind_of_mode(0o040_755), None);
    }
}
