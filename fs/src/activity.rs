//! What a volume wrote since it was opened, in counts: the same on any machine, so that the cost of a call can be tested.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sealer::SealStats;
use crate::volume::Volume;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Blocks.
    pub sealed: SealStats,
    /// Records of the journal.
    pub deltas: u64,
    /// Their bytes. File data is in blocks, not in here, but for files of a few bytes.
    pub delta_bytes: u64,
    /// Trees that were made, each with its head.
    pub flushes: u64,
}

/// What the sealer doesn't count.
#[derive(Default)]
pub(crate) struct Counters {
    deltas: AtomicU64,
    delta_bytes: AtomicU64,
    flushes: AtomicU64,
}

impl Counters {
    pub(crate) fn delta(&self, bytes: usize) {
        self.deltas.fetch_add(1, Ordering::Relaxed);
        self.delta_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn flush(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Volume {
    /// What was written since the volume was opened.
    pub fn activity(&self) -> Activity {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Activity {
            sealed: self.sealer.stats(),
            deltas: get(&self.counters.deltas),
            delta_bytes: get(&self.counters.delta_bytes),
            flushes: get(&self.counters.flushes),
        }
    }
}
