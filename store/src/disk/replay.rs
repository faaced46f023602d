//! Reading the log into the index: from its checkpoint after a crash, from the beginning for a rebuild.

use std::fs::File;

use cairn_block::BlockId;

use super::catalog::{Catalog, Change, HeadAt, HeadKey, Position, Queued, Recent, change_of};
use super::index::Index;
use super::quarantine::{Quarantine, Why};
use super::record::{Header, Location};
use super::scan::{Found, Scan};
use super::segment::SEGMENT_HEADER_BYTES;
use super::writer::Log;
use crate::StoreError;

/// Changes of one write to the index: a few MiB of memory.
pub(crate) const BATCH_CHANGES: usize = 8192;

/// What the end of the log may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// A crash may have left records there that were never durable.
    Torn,
    /// All of it is durable.
    Durable,
}

/// What a replay met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The highest record number.
    pub(crate) seq: u64,
    /// Where the last sound record of the last segment ends.
    pub(crate) sound_end: u64,
    /// What is bad in the last segment and was never durable, as far as anything tells.
    pub(crate) torn: Vec<(u64, u64)>,
    /// In the last segment, something could not be read.
    pub(crate) has_read_errors: bool,
    /// From here on something could not be read, in whichever segment.
    pub(crate) unread: Option<Position>,
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
    pub(crate) fn run(&mut self, from: Position, tail: Tail) -> Result<Replayed, StoreError> {
        let mut replayed = Replayed { seq: self.index.checkpoint().seq, ..Replayed::default() };
        let segments = self.log.segments.list();
        let last = segments.last().map(|(number, _)| *number);
        for (number, len) in segments.into_iter().filter(|(number, _)| *number >= from.segment) {
            let start = if number == from.segment { from.offset.into() } else { SEGMENT_HEADER_BYTES };
            let tail = if last == Some(number) { tail } else { Tail::Durable };
            self.segment(number, start.max(SEGMENT_HEADER_BYTES), len, tail, &mut replayed)?;
        }
        self.drain()?;
        Ok(replayed)
    }

    fn segment(
        &mut self,
        number: u32,
        start: u64,
        len: u64,
        tail: Tail,
        replayed: &mut Replayed,
    ) -> Result<(), StoreError> {
        replayed.sound_end = start.min(len.max(SEGMENT_HEADER_BYTES));
        let Some(file) = self.log.segments.file(number)? else { return Ok(()) };
        let log = self.log;
        let mut scan = Scan::new(&log.device, &file, &log.store, number, start, len);
        let (mut bad, mut durable) = (Vec::new(), start);
        // Whether a record was durable: later ones say so. Looked for only where it matters.
        let is_witnessed = |header: &Header, durable: u64| {
            let from = u64::from(header.offset);
            tail == Tail::Durable || from < durable || from < durable_by(log, &file, number, header.end(), len)
        };
        while let Some(found) = scan.next() {
            match found {
                Found::Record { header, payload, is_sound: true, .. } => {
                    replayed.records += 1;
                    replayed.bytes += header.record_bytes();
                    replayed.seq = replayed.seq.max(header.seq);
                    replayed.sound_end = header.end();
                    durable = durable.max(header.durable.into());
                    self.sound(&header, payload)?;
                }
                Found::Record { header, payload, is_intact: true, .. } if is_witnessed(&header, durable) => {
                    // Damage, but not of what was kept.
                    replayed.seq = replayed.seq.max(header.seq);
                    self.quarantine.add_hole(number, header.offset.into(), header.end());
                    self.sound(&header, payload)?;
                }
                Found::Record { header, .. } => bad.push(Bad::Record(header)),
                Found::Hole { from, to } => bad.push(Bad::Hole { segment: number, from, to }),
            }
        }
        replayed.has_read_errors = scan.has_read_errors();
        if replayed.has_read_errors {
            replayed.unread.get_or_insert(Position { segment: number, offset: start as u32 });
        }
        let why = if replayed.has_read_errors { Why::Unread } else { Why::Wrong };
        for bad in bad {
            let (from, to) = bad.range();
            if tail == Tail::Torn && from >= durable && !replayed.has_read_errors {
                replayed.torn.push((from, to));
            } else {
                self.damaged(bad, why)?;
            }
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
    fn damaged(&mut self, damage: Bad, why: Why) -> Result<(), StoreError> {
        match damage {
            Bad::Hole { segment, from, to } => self.quarantine.add_hole(segment, from, to),
            Bad::Record(header) if header.subject.is_block() => {
                if self.before(&header.id).is_some() {
                    return Ok(());
                }
                let (id, at) = (header.id, header.location());
                self.quarantine.add(&id, at, why);
                if why == Why::Wrong {
                    self.index.set_quarantined(&id, Some(at))?;
                }
                self.apply(&header, Change::Block { id, at, is_new: true })?;
            }
            Bad::Record(header) => {
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

/// How far the sound records from an offset on say that their segment was durable.
fn durable_by(log: &Log, file: &File, number: u32, from: u64, len: u64) -> u64 {
    let mut scan = Scan::new(&log.device, file, &log.store, number, from, len);
    let mut durable = 0;
    while let Some(found) = scan.next() {
        if let Found::Record { header, is_sound: true, .. } = found {
            durable = durable.max(header.durable.into());
        }
    }
    durable
}

/// Bytes that are no sound record.
enum Bad {
    Record(Header),
    Hole { segment: u32, from: u64, to: u64 },
}

impl Bad {
    fn range(&self) -> (u64, u64) {
        match self {
            Self::Record(header) => (header.offset.into(), header.end()),
            Self::Hole { from, to, .. } => (*from, *to),
        }
    }
}
