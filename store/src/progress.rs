//! How far a long run over a store has come.

/// Blocks done of those known to be there. Reported often enough to draw a bar, never held to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks looked at so far.
    pub blocks_done: u64,
    /// Blocks there are, as far as is known by now.
    pub blocks_total: u64,
    /// Bytes looked at so far.
    pub bytes_done: u64,
}
