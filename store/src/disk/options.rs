//! How a disk store is set up.

use super::segment::{SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES};

/// A segment holds at least one record of any size; smaller ones are for tests of rotation.
const SEGMENT_BYTES_MIN: u64 = SEGMENT_HEADER_BYTES + 4096;

/// The index rewrites its newest tables when it is flushed; this much is enough for that.
const INDEX_HEADROOM_BYTES: u64 = 64 << 20;

/// How a disk store is set up. The default suits a node with some tens of GiB.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// Most bytes the log may take with new blocks; `None` for what the disk has.
    pub quota_bytes: Option<u64>,
    /// Kept back so that deleting and collecting work on a full disk. A collection needs room for the live part of one
    /// segment, the index for its newest tables.
    pub reserve_bytes: u64,
    /// A segment is closed at this size: the unit of collection.
    pub segment_bytes: u64,
    /// Share of a segment, in percent, that has to be dead before a collection rewrites it. Lower gives space back
    /// sooner and copies more.
    pub dead_percent_min: u8,
    /// Memory for the index's tables, filters included.
    pub index_cache_bytes: usize,
}

impl Default for DiskOptions {
    fn default() -> Self {
        let segment_bytes = 256 << 20;
        Self {
            quota_bytes: None,
            reserve_bytes: segment_bytes + INDEX_HEADROOM_BYTES,
            segment_bytes,
            dead_percent_min: 20,
            index_cache_bytes: 32 << 20,
        }
    }
}

impl DiskOptions {
    /// For tests and small disks: small segments, a reserve to match.
    pub fn small() -> Self {
        let segment_bytes = 4 << 20;
        Self { reserve_bytes: 2 * segment_bytes, segment_bytes, ..Self::default() }
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX - (2 << 20))
    }

    /// Room that the index needs for a flush; less where the whole reserve is less.
    pub(crate) fn index_headroom_bytes(&self) -> u64 {
        INDEX_HEADROOM_BYTES.min(self.reserve_bytes / 2)
    }
}
