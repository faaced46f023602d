//! Collection: the sweep over the index, which decides, and the rewriting of segments, which gives space back.
//!
//! The sweep walks the index page by page. A page is decided on with the gate closed: whoever put or claimed a block
//! before has won, whoever comes after finds it gone and puts it again. What dies gets a tombstone in the log that
//! names the place that died, so that an index made from the log says the same. Nobody waits for the disk while the gate
//! is closed: puts wait behind it.
//!
//! See `compact` for how space returns.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::BlockId;

use super::appender::Nudge;
use super::catalog::Change;
use super::inner::Inner;
use super::marks::Marks;
use super::record::{DeadEntry, Location, Subject, record_bytes};
use super::store::DiskStore;
use super::writer::{Class, Record};
use crate::sync::Mutex;
use crate::{Collection, Collector, Progress, StoreError, SweepOptions, SweepReport};

/// Blocks decided on with the gate closed: a put waits for about a millisecond at most.
pub(super) const PAGE_BLOCKS: usize = 1024;

/// What of a segment is alive, by the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) blocks: u64,
    pub(crate) bytes: u64,
}

/// A collection under way.
struct DiskCollection {
    inner: Arc<Inner>,
    marked: Marks,
}

impl Collector for DiskStore {
    fn begin_collection(&self) -> Result<Box<dyn Collection>, StoreError> {
        let mut gate = self.inner.gate.write();
        if gate.is_some() {
            return Err(StoreError::CollectionRunning);
        }
        *gate = Some(Mutex::default());
        drop(gate);
        Ok(Box::new(DiskCollection { inner: Arc::clone(&self.inner), marked: Marks::default() }))
    }
}

impl Drop for DiskCollection {
    fn drop(&mut self) {
        *self.inner.gate.write() = None;
    }
}

impl Collection for DiskCollection {
    fn mark(&mut self, id: &BlockId) {
        self.marked.insert(id);
    }

    fn is_marked(&self, id: &BlockId) -> bool {
        self.marked.contains(id)
    }

    fn sweep(
        self: Box<Self>,
        options: SweepOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SweepReport, StoreError> {
        // What made blocks garbage is durable before they go, and the index knows all there is to decide on.
        self.inner.checkpoint(false)?;
        let blocks_total = self.inner.index.checkpoint().blocks;
        let mut report = SweepReport::default();
        let mut live = BTreeMap::new();
        let mut after = None;
        loop {
            let page = self.inner.page(after.as_ref(), PAGE_BLOCKS)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            self.decide(&page, options, &mut report, &mut live)?;
            progress(Progress {
                blocks_done: report.blocks_kept + report.blocks_removed,
                blocks_total,
                bytes_done: report.bytes_kept + report.bytes_removed,
            });
        }
        if !options.dry_run {
            self.inner.reclaim(&live)?;
        }
        Ok(report)
    }
}

impl DiskCollection {
    /// Decides on one page. The tombstones' place in the log is made ready before the gate closes; should others use it
    /// up first, the page is looked at again.
    fn decide(
        &self,
        page: &[(BlockId, Location)],
        options: SweepOptions,
        report: &mut SweepReport,
        live: &mut BTreeMap<u32, Live>,
    ) -> Result<(), StoreError> {
        let verdict = loop {
            drop(self.inner.appender.writer(record_bytes(0, PAGE_BLOCKS * DeadEntry::BYTES))?);
            if let Some(verdict) = self.judge(page, options)? {
                break verdict;
            }
        };
        report.blocks_kept += verdict.kept.len() as u64;
        for at in verdict.kept {
            report.bytes_kept += u64::from(at.len);
            let live = live.entry(at.segment).or_default();
            live.blocks += 1;
            live.bytes += record_bytes(0, at.len as usize);
        }
        report.blocks_removed += verdict.removed;
        report.bytes_removed += verdict.removed_bytes;
        match verdict.left {
            Some((nudge, bytes)) => self.inner.nudge(nudge, bytes),
            None => Ok(()),
        }
    }

    /// With the gate closed, finds out what of a page is dead, and buries it. `None` if that would have to wait.
    fn judge(&self, page: &[(BlockId, Location)], options: SweepOptions) -> Result<Option<Verdict>, StoreError> {
        let gate = self.inner.gate.write();
        let protected = gate.as_ref().map(Mutex::lock);
        let is_protected = |id: &BlockId| protected.as_ref().is_some_and(|protected| protected.contains(id));
        let in_journals = self.inner.journal_blocks();
        let is_live = |id: &BlockId| self.marked.contains(id) || is_protected(id) || in_journals.contains(id);
        let (live, dead): (Vec<_>, Vec<_>) = page.iter().copied().partition(|(id, _)| is_live(id));
        let left = match dead.is_empty() || options.dry_run {
            true => None,
            false => match self.inner.bury(&dead)? {
                Some(left) => Some(left),
                None => return Ok(None),
            },
        };
        Ok(Some(Verdict {
            kept: live.into_iter().map(|(_, at)| at).collect(),
            removed: dead.len() as u64,
            removed_bytes: dead.iter().map(|(_, at)| u64::from(at.len)).sum(),
            left,
        }))
    }
}

/// What became of a page.
struct Verdict {
    kept: Vec<Location>,
    removed: u64,
    removed_bytes: u64,
    /// What the tombstones' record leaves to be done, and its bytes.
    left: Option<(Nudge, u64)>,
}

impl Inner {
    /// A page of the index, healed if need be.
    pub(crate) fn page(&self, after: Option<&BlockId>, max: usize) -> Result<Vec<(BlockId, Location)>, StoreError> {
        match self.index.page(after, max) {
            Err(StoreError::Index { op, source }) => {
                tracing::error!(op, %source, "the index failed: making it anew from the log");
                self.rebuild_index()?;
                self.index.page(after, max)
            }
            page => page,
        }
    }

    /// The blocks of all untrimmed journal records.
    fn journal_blocks(&self) -> HashSet<BlockId> {
        let catalog = self.catalog.read();
        catalog.journals.values().flat_map(|journal| journal.deltas.values().map(|(_, id)| *id)).collect()
    }

    /// Appends tombstones, unless that would have to wait.
    fn bury(&self, dead: &[(BlockId, Location)]) -> Result<Option<(Nudge, u64)>, StoreError> {
        let entry = |(id, at): &(BlockId, Location)| DeadEntry { id: *id, segment: at.segment, offset: at.offset };
        let entries: Vec<_> = dead.iter().map(entry).collect();
        let payload = Bytes::from(DeadEntry::encode_all(&entries));
        let record = Record { subject: Subject::Dead, id: BlockId::of(&payload), payload, class: Class::Keep };
        let Some(mut writer) = self.appender.writer_if_ready(record.bytes())? else { return Ok(None) };
        dead.iter().for_each(|(id, _)| self.heal(id));
        let change = Change::Dead { blocks: dead.iter().map(|(id, at)| (*id, at.len)).collect() };
        let (_, nudge) = self.appender.append(&mut writer, &record, None, |_| change)?;
        Ok(Some((nudge, record.bytes())))
    }
}
