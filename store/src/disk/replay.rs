//! Reading the log into the index: from its checkpoint after a crash, from the beginning for a rebuild.

use cairn_block::BlockId;

use super::catalog::{Catalog, Change, HeadAt, HeadKey, Position, Queued, Recent, change_of};
use super::index::Index;
use super::quarantine::Quarantine;
use super::record::{Header, Location};
use super::scan::{Found, Scan};
use super::segment::SEGMENT_HEADER_BYTES;
use super::writer::Log;
use crate::StoreError;

/// Changes of one write to the index: a few MiB of memory.
pub(crate) const BATCH_CHANGES: usize = 8192;

/// What a replay met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The highest record number.
    pub(crate) seq: u64,
    /// Where the last sound record of the last segment ends.
    pub(crate) sound_end: u64,
    /// In the last segment, something could not be read.
    pub(crate) has_read_errors: bool,
}

/// Where changes go.
pub(crate) struct Replay<'a> {
    pub(crate) log: &'a Log,
    pub(crate) index: &'a Index,
    pub(crate) quarantine: &'a Quarantine,
    pub(crate) catalog: Catalog,
}

impl Replay<'_> {
    /// Replays all segments from a position on. Everything is in the index afterwards, though not durable there.
    ///
    /// What is wrong behind the last sound record of the last segment is not counted as damage: it was never durable.
    pub(crate) fn run(&mut self, from: Position) -> Result<Replayed, StoreError> {
        let mut replayed = Replayed { seq: self.index.checkpoint().seq, ..Replayed::default() };
        let segments = self.log.segments.list();
        let last = segments.last().map(|(number, _)| *number);
        for (number, len) in segments.into_iter().filter(|(number, _)| *number >= from.segment) {
            let start = if number == from.segment { from.offset.into() } else { SEGMENT_HEADER_BYTES };
            self.segment(number, start.max(SEGMENT_HEADER_BYTES), len, last == Some(number), &mut replayed)?;
        }
        self.drain()?;
        Ok(replayed)
    }

    fn segment(
        &mut self,
        number: u32,
        start: u64,
        len: u64,
        is_last: bool,
        replayed: &mut Replayed,
    ) -> Result<(), StoreError> {
        replayed.sound_end = start.min(len.max(SEGMENT_HEADER_BYTES));
        let Some(file) = self.log.segments.file(number)? else { return Ok(()) };
        let log = self.log;
        let mut scan = Scan::new(&log.device, &file, &log.store, number, start, len);
        // Damage with nothing sound behind it, so far.
        let mut suspect = Vec::new();
        while let Some(found) = scan.next() {
            match found {
                Found::Record { header, payload, is_sound: true } => {
                    suspect.drain(..).try_for_each(|damage| self.damaged(damage))?;
                    replayed.records += 1;
                    replayed.bytes += header.record_bytes();
                    replayed.seq = replayed.seq.max(header.seq);
                    replayed.sound_end = header.end();
                    self.sound(&header, payload)?;
                }
                Found::Record { header, .. } => suspect.push(Damaged::Record(header)),
                Found::Hole { from, to } => suspect.push(Damaged::Hole { segment: number, from, to }),
            }
        }
        replayed.has_read_errors = scan.has_read_errors();
        if !is_last || scan.has_read_errors() {
            suspect.drain(..).try_for_each(|damage| self.damaged(damage))?;
        }
        Ok(())
    }

    fn sound(&mut self, header: &Header, payload: &[u8]) -> Result<(), StoreError> {
        let change = change_of(header, payload, &|id| self.before(id), &|key| self.head(key));
        if header.subject.is_block() && self.quarantine.remove(&header.id) {
            self.index.set_quarantined(&header.id, None)?;
        }
        self.apply(header, change)
    }

    /// A block whose payload is bad is remembered under its id, unless a sound copy is known.
    fn damaged(&mut self, damage: Damaged) -> Result<(), StoreError> {
        match damage {
            Damaged::Hole { segment, from, to } => self.quarantine.add_hole(segment, from, to),
            Damaged::Record(header) if header.subject.is_block() => {
                if self.before(&header.id).is_some() {
                    return Ok(());
                }
                let (id, at) = (header.id, header.location());
                self.quarantine.add(&id, at);
                self.index.set_quarantined(&id, Some(at))?;
                self.apply(&header, Change::Block { id, at, is_new: true })?;
            }
            Damaged::Record(header) => {
                self.quarantine.add_hole(header.segment, header.offset.into(), header.end());
            }
        }
        Ok(())
    }

    fn apply(&mut self, header: &Header, change: Change) -> Result<(), StoreError> {
        let upto = Position { segment: header.segment, offset: header.end() as u32 };
        self.catalog.apply(Queued { seq: header.seq, upto, change }, None);
        if self.catalog.queued() >= BATCH_CHANGES { self.drain() } else { Ok(()) }
    }

    fn drain(&mut self) -> Result<(), StoreError> {
        let batch = self.catalog.batch(u64::MAX, usize::MAX);
        self.index.apply(&batch)?;
        self.catalog.settle(&batch);
        Ok(())
    }

    /// Where a block was before this record. An index that cannot tell fails at the next write.
    fn before(&self, id: &BlockId) -> Option<Location> {
        match self.catalog.recent(id) {
            Some(Recent::At { at, .. }) => Some(*at),
            Some(Recent::Gone { .. }) => None,
            None => self.index.block(id).ok().flatten(),
        }
    }

    fn head(&self, key: &HeadKey) -> Option<HeadAt> {
        self.catalog.heads.get(key).copied()
    }
}

enum Damaged {
    Record(Header),
    Hole { segment: u32, from: u64, to: u64 },
}
