//! Codes, as decisions count with them.

use cairn_block::limits::{DATA_SHARDS_MAX, PARITY_SHARDS_MAX};
pub use cairn_block::{Code, CodeError};

/// Most shards of a pack.
pub const SHARDS_MAX: usize = DATA_SHARDS_MAX as usize + PARITY_SHARDS_MAX as usize;

/// The numbers of data shards there are: a pack's sixteen slots divide by them, so no block crosses a shard.
pub const DATA: [u8; 4] = [1, 2, 4, 8];

/// The code with `k` data shards and `m` parity shards; with one data shard it is copies.
pub const fn of(k: u8, m: u8) -> Result<Code, CodeError> {
    match k {
        1 => Code::copies(m.saturating_add(1)),
        k => Code::reed_solomon(k, m),
    }
}

/// A code's numbers, to count and index with.
pub trait Numbers {
    /// Data shards: as many shards as give the pack back.
    fn data(self) -> usize;
    /// Parity shards: as many as may be lost.
    fn parity(self) -> usize;
    /// All shards.
    fn total(self) -> usize;
    /// Bytes stored for each byte of a pack.
    fn overhead(self) -> f64;
}

impl Numbers for Code {
    fn data(self) -> usize {
        self.k().into()
    }

    fn parity(self) -> usize {
        self.m().into()
    }

    fn total(self) -> usize {
        self.shards().into()
    }

    fn overhead(self) -> f64 {
        f64::from(self.shards()) / f64::from(self.k())
    }
}
