//! The model's collection. The sweep lets go of the lock between blocks, so that puts and claims race it as they
//! race a disk's.

use std::collections::HashSet;
use std::sync::Arc;

use cairn_block::BlockId;

use super::state::Change;
use super::{Inner, Shared};
use crate::{Collection, Progress, StoreError, SweepOptions, SweepReport};

pub(super) struct MemoryCollection {
    shared: Arc<Shared>,
    marked: HashSet<BlockId>,
    crashes: u64,
}

impl MemoryCollection {
    pub(super) fn begin(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let mut inner = shared.inner.lock();
        if inner.protected.is_some() {
            return Err(StoreError::CollectionRunning);
        }
        inner.protected = Some(HashSet::new());
        Ok(Self { shared: Arc::clone(shared), marked: HashSet::new(), crashes: inner.crashes })
    }

    /// Decides on one block, under the lock: whoever put or claimed it before now has won.
    fn decide(&self, id: &BlockId, options: SweepOptions, report: &mut SweepReport) {
        let mut inner = self.shared.inner.lock();
        let Some(bytes) = inner.visible.blocks.get(id).map(|bytes| bytes.len() as u64) else {
            return;
        };
        if self.is_ended_by_crash(&inner) || self.is_wanted(&inner, id) {
            report.blocks_kept += 1;
            report.bytes_kept += bytes;
            return;
        }
        report.blocks_removed += 1;
        report.bytes_removed += bytes;
        if !options.dry_run {
            inner.quarantine.remove(id);
            inner.change(Change::Remove { id: *id });
        }
    }

    fn is_wanted(&self, inner: &Inner, id: &BlockId) -> bool {
        let is_protected = inner.protected.as_ref().is_some_and(|protected| protected.contains(id));
        is_protected || self.marked.contains(id)
    }

    fn is_ended_by_crash(&self, inner: &Inner) -> bool {
        inner.crashes != self.crashes
    }
}

impl Collection for MemoryCollection {
    fn mark(&mut self, id: &BlockId) {
        self.marked.insert(*id);
    }

    fn is_marked(&self, id: &BlockId) -> bool {
        self.marked.contains(id)
    }

    fn sweep(
        mut self: Box<Self>,
        options: SweepOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SweepReport, StoreError> {
        let ids: Vec<BlockId> = {
            let mut inner = self.shared.inner.lock();
            inner.sync();
            self.marked.extend(inner.visible.deltas());
            inner.visible.blocks.keys().copied().collect()
        };
        let mut report = SweepReport::default();
        for (done, id) in (1..).zip(&ids) {
            self.decide(id, options, &mut report);
            progress(Progress {
                blocks_done: done,
                blocks_total: ids.len() as u64,
                bytes_done: report.bytes_kept + report.bytes_removed,
            });
        }
        Ok(report)
    }
}

impl Drop for MemoryCollection {
    fn drop(&mut self) {
        let mut inner = self.shared.inner.lock();
        if !self.is_ended_by_crash(&inner) {
            inner.protected = None;
        }
    }
}
