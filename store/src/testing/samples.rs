//! Small things to store, the same at every run.

use std::time::Duration;

use bytes::Bytes;
use cairn_block::{Block, DeviceId, VolumeId};

use crate::Ask;

/// Long enough for any store on any machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An ask that a sound store answers in time.
pub fn ask() -> Ask {
    Ask::now(PATIENCE)
}

/// The `n`th of a row of different blocks of `bytes` bytes, at least 8.
pub fn block(n: u64, bytes: usize) -> Block {
    let mut content = Vec::with_capacity(bytes.max(8));
    content.extend_from_slice(&n.to_le_bytes());
    // Not compressible and not repeating, so that no store can tell it from a sealed block.
    let mut hash = blake3::Hasher::new();
    hash.update(&n.to_le_bytes());
    content.resize(bytes.max(8), 0);
    hash.finalize_xof().fill(&mut content[8..]);
    Block::seal_bytes(Bytes::from(content))
}

/// The `n`th volume.
pub fn volume(n: u8) -> VolumeId {
    VolumeId::from_bytes([n; 16])
}

/// The `n`th device.
pub fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 32])
}
