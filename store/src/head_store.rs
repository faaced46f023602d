//! The second joint: each volume's signed heads, and the journal of changes since the last of them.

use bytes::Bytes;
use cairn_block::limits::SEQ_LIMIT;
use cairn_block::{Block, BlockId, DeviceId, VolumeId};

use crate::StoreError;

/// A head as it is kept: opaque signed bytes under its device and number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHead {
    /// The device that signed it.
    pub device: DeviceId,
    /// Its number in that device's history.
    pub seq: u64,
    /// The signed bytes.
    pub bytes: Bytes,
}

/// Refuses a number that has no next one: kept, it would end a history for good, so readers take it for none.
pub(crate) fn check_number(number: u64) -> Result<(), StoreError> {
    if number >= SEQ_LIMIT {
        return Err(StoreError::NumberTooHigh { number, limit: SEQ_LIMIT });
    }
    Ok(())
}

/// Heads and journals by volume. All numbers are below [`SEQ_LIMIT`], else it is [`StoreError::NumberTooHigh`]. Changes are visible at once and durable after
/// [`BlockStore::sync`](crate::BlockStore::sync).
///
/// A crash may keep any subset of what was not synced, so sync the blocks of a tree before putting
/// the head that points to them.
pub trait HeadStore: Send + Sync {
    /// Keeps a head of at most `HEAD_BYTES_MAX` bytes.
    ///
    /// The same bytes again change nothing; other bytes under a number that is taken are
    /// [`StoreError::HeadConflict`]. Numbers may arrive in any order.
    fn put_head(&self, volume: &VolumeId, device: &DeviceId, seq: u64, head: &Bytes) -> Result<(), StoreError>;

    /// All heads kept, sorted by device, then number. One that can't be read has no bytes.
    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, StoreError>;

    /// Forgets heads; those that are not here are passed over.
    fn drop_heads(&self, volume: &VolumeId, heads: &[(DeviceId, u64)]) -> Result<(), StoreError>;

    /// Appends a journal record. Its number is above all that were appended or trimmed before, else
    /// [`StoreError::DeltaOutOfOrder`]; numbers start at 1 and may skip.
    ///
    /// The block is also readable by id, and no collection takes it before it is trimmed.
    fn append_delta(&self, volume: &VolumeId, seq: u64, block: &Block) -> Result<(), StoreError>;

    /// The journal records above `after`, ascending. Damage shows as a gap: the reader stops there.
    fn deltas(&self, volume: &VolumeId, after: u64) -> Result<Vec<(u64, BlockId)>, StoreError>;

    /// The highest number that was appended or trimmed; 0 if there was none. The next one is above it.
    fn last_delta(&self, volume: &VolumeId) -> Result<u64, StoreError>;

    /// Forgets the journal up to and including `upto`: a durable head contains it.
    fn trim_deltas(&self, volume: &VolumeId, upto: u64) -> Result<(), StoreError>;

    /// The volumes that have a head or a journal record, sorted.
    fn volumes(&self) -> Result<Vec<VolumeId>, StoreError>;
}
