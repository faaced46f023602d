//! How many shards a pack is cut into, and how many of them may be lost.

use std::fmt;

/// Most shards of a pack: beyond that a circle gains nothing that more parity would not give it cheaper, and a group's
/// state stays small.
pub const SHARDS_MAX: usize = 24;

/// Most parity shards.
pub const PARITY_MAX: u8 = 16;

/// `k` data shards and `m` parity shards; any `k` of them give the pack back. `k` = 1 is copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    k: u8,
    m: u8,
}

impl Code {
    /// The numbers of data shards there are: a pack's sixteen slots divide by them, so no block crosses a shard.
    pub const DATA: [u8; 4] = [1, 2, 4, 8];

    /// The code with these numbers; none if there is no such code.
    pub fn new(k: u8, m: u8) -> Option<Self> {
        let is_code = Self::DATA.contains(&k) && m <= PARITY_MAX;
        (is_code && usize::from(k) + usize::from(m) <= SHARDS_MAX).then_some(Code { k, m })
    }

    /// That many whole copies; none if they are none or too many.
    pub fn copies(n: u8) -> Option<Self> {
        Self::new(1, n.checked_sub(1)?)
    }

    /// Data shards: as many shards as give the pack back.
    pub fn k(self) -> usize {
        self.k.into()
    }

    /// Parity shards: as many as may be lost.
    pub fn m(self) -> usize {
        self.m.into()
    }

    /// All shards.
    pub fn shards(self) -> usize {
        self.k() + self.m()
    }

    /// Bytes stored for each byte of a pack.
    pub fn overhead(self) -> f64 {
        self.shards() as f64 / self.k() as f64
    }
}

impl fmt::Display for Code {
    /// As a policy is written: `copies=3` or `4+2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.k {
            1 => write!(f, "copies={}", self.shards()),
            k => write!(f, "{k}+{}", self.m),
        }
    }
}
