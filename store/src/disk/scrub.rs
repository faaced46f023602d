//! Scrub: reads every byte of the log, then asks the index whether all it points to was seen.

use std::collections::BTreeMap;

use cairn_block::{Block, BlockId, VolumeId};

use super::catalog::Change;
use super::inner::{Inner, Lies, Place};
use super::quarantine::{Why, place};
use super::record::{Header, Location, Subject, header_bytes};
use super::scan::{Found, Scan};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::store::DiskStore;
use super::writer::{Class, Record};
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
            open_ended: Vec::new(),
            report: ScrubReport::default(),
        };
        for (number, len) in self.inner.log.segments.list() {
            scrub.segment_header(number)?;
            scrub.stretch(number, SEGMENT_HEADER_BYTES, len, progress)?;
        }
        scrub.index(progress)?;
        scrub.close_open_ended()?;
        Ok(scrub.report)
    }
}

struct Scrub<'a> {
    inner: &'a Inner,
    blocks_total: u64,
    /// Blocks of the index that were found, sound or damaged, by segment.
    seen: BTreeMap<u32, u64>,
    /// Blocks that are right, in records whose end is not.
    open_ended: Vec<(BlockId, Location)>,
    report: ScrubReport,
}

impl Scrub<'_> {
    /// A segment whose header is lost is still read, by its name; but nothing else says what it ends before it.
    fn segment_header(&mut self, number: u32) -> Result<(), StoreError> {
        let Some(file) = self.inner.log.segments.file(number)? else { return Ok(()) };
        let bytes = self.inner.log.device.read(&file, 0, SEGMENT_HEADER_BYTES as usize).unwrap_or_default();
        let header = SegmentHeader::decode(&bytes);
        if header.is_none_or(|header| header.number != number || header.store != self.inner.log.store) {
            self.hole(number, 0, SEGMENT_HEADER_BYTES);
        }
        Ok(())
    }

    /// From the log to the index.
    fn stretch(
        &mut self,
        number: u32,
        from: u64,
        to: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), StoreError> {
        // A collection may have removed it meanwhile.
        let Some(file) = self.inner.log.segments.file(number)? else { return Ok(()) };
        let log = &*self.inner.log;
        let mut scan = Scan::new(&log.device, &file, &log.store, number, from, to);
        while let Some(found) = scan.next() {
            match found {
                Found::Record { header, is_intact, is_sound, .. } if header.subject.is_block() => {
                    let why = if scan.has_read_errors() { Why::Unread } else { Why::Wrong };
                    self.block(&header, if is_intact { Ok(is_sound) } else { Err(why) })?;
                }
                Found::Record { is_sound: true, .. } => {}
                Found::Record { header, .. } => self.hole(number, header.offset.into(), header.end()),
                Found::Hole { from, to } => self.hole(number, from, to),
            }
            progress(self.progress());
        }
        Ok(())
    }

    /// A block's record: whether its end holds too, or why its payload doesn't.
    fn block(&mut self, header: &Header, state: Result<bool, Why>) -> Result<(), StoreError> {
        let (id, at) = (header.id, header.location());
        if !matches!(self.inner.find(&id)?, Some(Place::At(now)) if now == at) {
            return Ok(());
        }
        *self.seen.entry(at.segment).or_default() += 1;
        self.count(&id, at, state.err());
        if state == Ok(false) {
            self.hole(header.segment, header.offset.into(), header.end());
            self.open_ended.push((id, at));
        }
        Ok(())
    }

    /// A block whose record has a bad end is right, and gets a record that says so.
    fn close_open_ended(&mut self) -> Result<(), StoreError> {
        for (id, at) in std::mem::take(&mut self.open_ended) {
            if let Lies::Block(block) = self.inner.read_at(&id, at)? {
                self.inner.rewrite(&block, at)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, id: &BlockId, at: Location, wrong: Option<Why>) {
        self.report.blocks += 1;
        self.report.bytes += u64::from(at.len);
        if let Some(why) = wrong {
            self.inner.quarantine(id, at, why);
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
        let mut unseen = Vec::new();
        self.each_block(&mut |id, at| {
            if told.contains_key(&at.segment) && !self.inner.has_header(&id, at) {
                unseen.push((id, at));
            }
            Ok(())
        })?;
        for (id, at) in unseen {
            if matches!(self.inner.find(&id)?, Some(Place::At(now)) if now == at) {
                self.headless(&id, at)?;
                progress(self.progress());
            }
        }
        Ok(())
    }

    /// A block that only the index knows of: its record's header is gone. If it is sound itself it gets a new record.
    fn headless(&mut self, id: &BlockId, at: Location) -> Result<(), StoreError> {
        match self.inner.read_at(id, at)? {
            Lies::Block(block) => {
                self.count(id, at, None);
                self.inner.rewrite(&block, at)
            }
            Lies::Otherwise(why) => {
                self.count(id, at, Some(why));
                Ok(())
            }
        }
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

/// Looks at one stretch of a segment, or at its header, and mends nothing.
#[cfg(test)]
pub(crate) fn look_at(inner: &Inner, number: u32, from: u64, to: u64) -> Result<ScrubReport, StoreError> {
    let (seen, open_ended) = (BTreeMap::new(), Vec::new());
    let mut scrub = Scrub { inner, blocks_total: 0, seen, open_ended, report: ScrubReport::default() };
    if from == 0 {
        scrub.segment_header(number)?;
    } else {
        scrub.stretch(number, from, to, &mut |_| {})?;
    }
    Ok(scrub.report)
}

impl Inner {
    /// Whether a record's header stands before a payload.
    fn has_header(&self, id: &BlockId, at: Location) -> bool {
        let Ok(Some(file)) = self.log.segments.file(at.segment) else { return false };
        let subjects = [Subject::Block, Subject::Delta { volume: VolumeId::from_bytes([0; 16]), seq: 0 }];
        subjects.iter().any(|subject| {
            let len = header_bytes(subject.key_len());
            let Some(offset) = u64::from(at.offset).checked_sub(len as u64) else { return false };
            let Ok(bytes) = self.log.device.read(&file, offset, len) else { return false };
            let header = Header::decode(&bytes, &self.log.store, at.segment, offset);
            header.is_some_and(|(header, _)| header.id == *id && header.location() == at)
        })
    }

    /// Appends a block again, if it still lies at a place.
    fn rewrite(&self, block: &Block, from: Location) -> Result<(), StoreError> {
        let id = block.id();
        let record = Record { subject: Subject::Block, id, payload: block.bytes().clone(), class: Class::Keep };
        let mut writer = self.appender.writer(record.bytes())?;
        if !matches!(self.find_once(&id)?, Some(Place::At(at)) if at == from) {
            return Ok(());
        }
        let change = |at| Change::Block { id, at, is_new: false };
        let (_, nudge) = self.appender.append(&mut writer, &record, Some(block), change)?;
        drop(writer);
        self.nudge(nudge, record.bytes())
    }
}
