//! Scrub: reads every byte of the log, then asks the index whether all it points to was seen.

use std::collections::BTreeMap;

use cairn_block::BlockId;

use super::inner::{Inner, Place};
use super::quarantine::place;
use super::record::{Header, Location};
use super::scan::{Found, Scan};
use super::segment::SEGMENT_HEADER_BYTES;
use super::store::DiskStore;
use crate::{Damage, Progress, ScrubReport, Scrubber, StoreError};

/// Index entries looked at in one go.
const PAGE_BLOCKS: usize = 4096;

impl Scrubber for DiskStore {
    fn scrub(&self, progress: &mut dyn FnMut(Progress)) -> Result<ScrubReport, StoreError> {
        self.inner.checkpoint(false)?;
        let mut scrub = Scrub {
            inner: &self.inner,
            blocks_total: self.inner.index.checkpoint().blocks,
            seen: BTreeMap::new(),
            report: ScrubReport::default(),
        };
        for (number, len) in self.inner.log.segments.list() {
            scrub.segment(number, len, progress)?;
        }
        scrub.index(progress)?;
        Ok(scrub.report)
    }
}

struct Scrub<'a> {
    inner: &'a Inner,
    blocks_total: u64,
    /// Blocks of the index that were found, sound or damaged, by segment.
    seen: BTreeMap<u32, u64>,
    report: ScrubReport,
}

impl Scrub<'_> {
    /// From the log to the index.
    fn segment(&mut self, number: u32, len: u64, progress: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
        // A collection may have removed it meanwhile.
        let Some(file) = self.inner.log.segments.file(number)? else { return Ok(()) };
        let log = &*self.inner.log;
        let mut scan = Scan::new(&log.device, &file, &log.store, number, SEGMENT_HEADER_BYTES, len);
        while let Some(found) = scan.next() {
            match found {
                Found::Record { header, is_sound, .. } if header.subject.is_block() => {
                    self.block(&header, is_sound)?;
                }
                Found::Record { is_sound: true, .. } => {}
                Found::Record { header, .. } => self.hole(number, header.offset.into(), header.end()),
                Found::Hole { from, to } => self.hole(number, from, to),
            }
            progress(self.progress());
        }
        Ok(())
    }

    fn block(&mut self, header: &Header, is_sound: bool) -> Result<(), StoreError> {
        let (id, at) = (header.id, header.location());
        if !matches!(self.inner.find(&id)?, Some(Place::At(now)) if now == at) {
            return Ok(());
        }
        *self.seen.entry(at.segment).or_default() += 1;
        self.count(&id, at, is_sound);
        Ok(())
    }

    fn count(&mut self, id: &BlockId, at: Location, is_sound: bool) {
        self.report.blocks += 1;
        self.report.bytes += u64::from(at.len);
        if !is_sound {
            self.inner.quarantine(id, at);
            self.report.damaged.push(Damage { id: Some(*id), place: place(&at) });
        } else if self.inner.quarantine.is_damaged(id, &at) {
            // It reads well after all.
            self.inner.heal(id);
        }
    }

    fn hole(&mut self, segment: u32, from: u64, to: u64) {
        self.inner.quarantine.add_hole(segment, from, to);
        let place = crate::Place::Log { segment: u64::from(segment), offset: from };
        self.report.damaged.push(Damage { id: None, place });
    }

    /// From the index to the log: whatever points into a segment of which not enough was seen is read by itself.
    fn index(&mut self, progress: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
        let mut told: BTreeMap<u32, u64> = BTreeMap::new();
        self.each_block(&mut |_, at| {
            *told.entry(at.segment).or_default() += 1;
            Ok(())
        })?;
        told.retain(|segment, count| self.seen.get(segment).copied().unwrap_or(0) < *count);
        if told.is_empty() {
            return Ok(());
        }
        let mut doubtful = Vec::new();
        self.each_block(&mut |id, at| {
            if told.contains_key(&at.segment) && self.inner.read_at(&id, at)?.is_none() {
                doubtful.push((id, at));
            }
            Ok(())
        })?;
        for (id, at) in doubtful {
            let is_current = matches!(self.inner.find(&id)?, Some(Place::At(now)) if now == at);
            let is_counted = self.report.damaged.iter().any(|damage| damage.id == Some(id));
            if is_current && !is_counted {
                self.count(&id, at, false);
                progress(self.progress());
            }
        }
        Ok(())
    }

    fn each_block(&self, visit: &mut dyn FnMut(BlockId, Location) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.inner.page(after.as_ref(), PAGE_BLOCKS)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            page.into_iter().try_for_each(|(id, at)| visit(id, at))?;
        }
    }

    fn progress(&self) -> Progress {
        Progress { blocks_done: self.report.blocks, blocks_total: self.blocks_total, bytes_done: self.report.bytes }
    }
}
