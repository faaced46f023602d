//! Scrub: read everything, believe nothing.

use cairn_block::BlockId;

use crate::{Place, Progress, StoreError};

/// A store that can check all of its bytes.
pub trait Scrubber: Send + Sync {
    /// Reads and verifies every block. What is found damaged is quarantined, as by a get.
    fn scrub(&self, progress: &mut dyn FnMut(Progress)) -> Result<ScrubReport, StoreError>;
}

/// What a scrub found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Blocks read, damaged ones included.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was wrong.
    pub damaged: Vec<Damage>,
}

/// One damaged place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// The block that is lost there, unless its header is damaged as well.
    pub id: Option<BlockId>,
    /// Where.
    pub place: Place,
}
