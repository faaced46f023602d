//! Giving space back: segments with enough dead bytes are rewritten, the emptiest first.
//!
//! ```text
//! copy what is alive to the end of the log ──> sync ──> index durable ──> unlink ──> sync the directory
//! ```
//! A crash before the unlink leaves both copies, and the later one counts. Nothing is unlinked that the index still
//! points into: a segment whose live blocks were not all found, or that holds a damaged block, stays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{Block, BlockId};

use super::catalog::{Change, HeadKey, Journal};
use super::collect::{Live, PAGE_BLOCKS};
use super::inner::{Inner, Place};
use super::plain;
use super::quarantine::Why;
use super::record::{DeadEntry, Header, Location, Subject, place_from};
use super::scan::{Found, Scan};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::writer::{Class, Record};
use crate::StoreError;
use crate::sync::thread;

impl Inner {
    /// Rewrites segments. A full disk ends it early: what could be given back was.
    pub(crate) fn reclaim(&self, live: &BTreeMap<u32, Live>) -> Result<(), StoreError> {
        let result = self.compact_all(live);
        if let Err(error) = self.index.bound_hints() {
            tracing::debug!(%error, "hints were not bounded");
        }
        self.log.reserve.refill();
        match result {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "the collection stopped early");
                Ok(())
            }
            result => result,
        }
    }

    fn compact_all(&self, live: &BTreeMap<u32, Live>) -> Result<(), StoreError> {
        self.retire_active(live)?;
        let mut emptied = Vec::new();
        let mut copied = 0;
        for number in self.candidates(live) {
            let expected = live.get(&number).copied().unwrap_or_default();
            match self.compact(number, expected.blocks) {
                Ok(Some(bytes)) => {
                    emptied.push(number);
                    copied += bytes;
                }
                Ok(None) => {}
                Err(error) => {
                    self.unlink(&mut emptied)?;
                    return Err(error);
                }
            }
            // Empty ones go at once: they give the room that the next ones need.
            if copied == 0 || copied >= self.log.segment_bytes {
                self.unlink(&mut emptied)?;
                copied = 0;
            }
        }
        self.unlink(&mut emptied)
    }

    /// Closes the active segment if it has enough dead bytes, so that it can be rewritten as well.
    fn retire_active(&self, live: &BTreeMap<u32, Live>) -> Result<(), StoreError> {
        let number = self.appender.active_number();
        let len = self.log.segments.get(number).map_or(0, |segment| segment.len);
        if self.is_worth_it(len, live.get(&number).copied().unwrap_or_default()) {
            self.appender.rotate(self.log.segment_bytes)?;
        }
        Ok(())
    }

    fn is_worth_it(&self, len: u64, live: Live) -> bool {
        let content = len.saturating_sub(SEGMENT_HEADER_BYTES);
        let dead = content.saturating_sub(live.bytes);
        dead > 0 && dead * 100 >= content * u64::from(self.options.dead_percent_min)
    }

    /// Closed segments that are worth rewriting, those with the fewest live bytes first.
    fn candidates(&self, live: &BTreeMap<u32, Live>) -> Vec<u32> {
        let of = |number: &u32| live.get(number).copied().unwrap_or_default();
        // The list first: a segment that comes after it is not in it, and one that is in it and below the active one is closed.
        let mut candidates: Vec<_> = self.log.segments.list();
        let active = self.appender.active_number();
        candidates.retain(|(number, len)| *number < active && self.is_worth_it(*len, of(number)));
        candidates.sort_by_key(|(number, _)| of(number).bytes);
        candidates.into_iter().map(|(number, _)| number).collect()
    }

    /// Copies what is alive in a segment to the end of the log. Says how many bytes; `None` if the segment must stay.
    fn compact(&self, number: u32, blocks_expected: u64) -> Result<Option<u64>, StoreError> {
        if self.quarantine.blocks().iter().any(|(_, at, _)| at.segment == number) {
            return Ok(None);
        }
        if self.voids_another(number) {
            return Ok(None);
        }
        // From there on the index may not know what is alive: the disk would not give it when it was last read.
        if self.index.unread()?.is_some_and(|unread| number >= unread.segment) {
            return Ok(None);
        }
        let Some(segment) = self.log.segments.get(number) else { return Ok(None) };
        let Some(file) = self.log.segments.file(number)? else { return Ok(None) };
        let log = &*self.log;
        let mut scan = Scan::new(&log.device, &file, &log.store, number, SEGMENT_HEADER_BYTES, segment.len);
        let (mut blocks, mut bytes, mut has_holes) = (0, 0, false);
        let mut pace = Pace::new();
        while let Some(found) = scan.next() {
            let Found::Record { header, payload, is_intact, .. } = found else {
                has_holes = true;
                continue;
            };
            let Some(subject) = self.subject_now(&header, payload)? else { continue };
            if !is_intact {
                if header.subject.is_block() {
                    let why = if scan.has_read_errors() { Why::Unread } else { Why::Wrong };
                    self.quarantine(&header.id, header.location(), why);
                }
                return Ok(None);
            }
            blocks += u64::from(self.is_block_at(&header)?);
            let copied = self.copy(&header, subject, payload)?;
            bytes += copied;
            pace.step(copied, || self.appender.sync())?;
        }
        // Fewer than the index told of: some lie in a hole of this segment.
        let is_complete =
            blocks >= blocks_expected && !scan.has_read_errors() && !(has_holes && self.is_pointed_into(number)?);
        Ok(is_complete.then_some(bytes))
    }

    /// Whether a segment's header is what says that the end of the one before it counts for nothing. With the header gone, what
    /// was never durable there, or was moved and then removed, would count again when the index is made anew.
    fn voids_another(&self, number: u32) -> bool {
        let start = plain::read(&self.log.segments.path(number), SEGMENT_HEADER_BYTES as usize).ok();
        let Some(header) = start.as_deref().and_then(SegmentHeader::decode) else { return false };
        let before = std::fs::symlink_metadata(self.log.segments.path(header.previous));
        before.is_ok_and(|before| before.len() > header.previous_len)
    }

    /// Whether anything that is alive still lies in a segment, whose records were copied as far as they can be read.
    fn is_pointed_into(&self, number: u32) -> Result<bool, StoreError> {
        {
            let catalog = self.catalog.read();
            let mut heads = catalog.heads.values().map(|head| head.at);
            let deltas = |journal: &Journal| journal.deltas.values().any(|(at, _)| at.segment == number);
            let trims = |journal: &Journal| journal.trimmed_at.is_some_and(|at| at.segment == number);
            if heads.any(|at| at.segment == number) || catalog.journals.values().any(|j| deltas(j) || trims(j)) {
                return Ok(true);
            }
        }
        self.appender.sync()?;
        self.checkpoint(false)?;
        let mut after = None;
        loop {
            let page = self.page(after.as_ref(), PAGE_BLOCKS)?;
            let Some((last, _)) = page.last() else { return Ok(false) };
            if page.iter().any(|(_, at)| at.segment == number) {
                return Ok(true);
            }
            after = Some(*last);
        }
    }

    /// As what a record has to be kept; `None` if it is dead.
    fn subject_now(&self, header: &Header, payload: &[u8]) -> Result<Option<Subject>, StoreError> {
        let at = header.location();
        let segments = &self.log.segments;
        let is_alive = {
            let catalog = self.catalog.read();
            let journal = |volume| catalog.journals.get(volume);
            match &header.subject {
                Subject::Block | Subject::Void => false,
                Subject::Delta { volume, seq } => {
                    journal(volume).and_then(|j| j.deltas.get(seq)).is_some_and(|(place, _)| *place == at)
                }
                Subject::Head { volume, device, seq } => {
                    catalog.heads.get(&(*volume, *device, *seq)).is_some_and(|head| head.at == at)
                }
                Subject::Trim { volume, .. } => journal(volume).is_some_and(|j| j.trimmed_at == Some(at)),
                // A dropped head stays dropped while any copy of it can be left, which is never in a later segment.
                Subject::DropHead { .. } => {
                    place_from(payload).is_some_and(|(segment, _)| self.has_older(segment, header.segment))
                }
                Subject::Dead => DeadEntry::decode_all(payload).iter().any(|e| segments.has(e.segment)),
            }
        };
        if is_alive {
            return Ok(Some(header.subject));
        }
        // A journal record that was trimmed can still be a block that somebody wants.
        let is_wanted = header.subject.is_block() && self.is_block_at(header)?;
        Ok(is_wanted.then_some(Subject::Block))
    }

    /// Whether a segment up to `number` is left, other than the one that is being emptied.
    fn has_older(&self, number: u32, emptied: u32) -> bool {
        self.log.segments.list().iter().any(|(other, _)| *other <= number && *other != emptied)
    }

    /// Whether this record is where its block lies.
    fn is_block_at(&self, header: &Header) -> Result<bool, StoreError> {
        if !header.subject.is_block() {
            return Ok(false);
        }
        let found = self.find(&header.id)?;
        Ok(matches!(found, Some(Place::At(at)) if at == header.location()))
    }

    /// Appends a record again. It takes effect only where the old one still did.
    pub(crate) fn copy(&self, header: &Header, subject: Subject, payload: &[u8]) -> Result<u64, StoreError> {
        let payload = match subject {
            Subject::Dead => self.dead_still_needed(payload),
            _ => Bytes::copy_from_slice(payload),
        };
        let id = if subject == Subject::Dead { BlockId::of(&payload) } else { header.id };
        let mut record = Record { subject, id, payload, class: Class::Keep };
        let mut writer = self.appender.writer(record.bytes())?;
        let from = header.location();
        let is_block = matches!(self.find_once(&id), Ok(Some(Place::At(at))) if at == from);
        if !self.is_still(&subject, from, is_block) {
            if !is_block {
                return Ok(0);
            }
            // Trimmed since it was found alive: what is left of it is a block, which the index still knows here.
            record.subject = Subject::Block;
        }
        let subject = record.subject;
        let change = |at| moved(subject, id, at, is_block);
        // Readers get it from memory until it is durable; hashing it again is what making a block costs.
        let block = subject.is_block().then(|| Block::seal_bytes(record.payload.clone()));
        let (_, nudge) = self.appender.append(&mut writer, &record, block.as_ref(), change)?;
        drop(writer);
        self.nudge(nudge, record.bytes())?;
        Ok(record.bytes())
    }

    /// Whether nobody replaced the record since it was found alive. Asked with the writer held.
    fn is_still(&self, subject: &Subject, from: Location, is_block: bool) -> bool {
        let catalog = self.catalog.read();
        match subject {
            Subject::Block => is_block,
            Subject::Delta { volume, seq } => {
                let journal = catalog.journals.get(volume);
                journal.and_then(|journal| journal.deltas.get(seq)).is_some_and(|(at, _)| *at == from)
            }
            Subject::Head { volume, device, seq } => {
                let key: HeadKey = (*volume, *device, *seq);
                catalog.heads.get(&key).is_some_and(|head| head.at == from)
            }
            Subject::Trim { volume, .. } => {
                catalog.journals.get(volume).is_some_and(|journal| journal.trimmed_at == Some(from))
            }
            Subject::Dead | Subject::DropHead { .. } | Subject::Void => true,
        }
    }

    fn dead_still_needed(&self, payload: &[u8]) -> Bytes {
        let mut entries = DeadEntry::decode_all(payload);
        entries.retain(|entry| self.log.segments.has(entry.segment));
        Bytes::from(DeadEntry::encode_all(&entries))
    }

    /// Unlinks segments of which everything alive was copied.
    fn unlink(&self, emptied: &mut Vec<u32>) -> Result<(), StoreError> {
        if emptied.is_empty() {
            return Ok(());
        }
        self.checkpoint(true)?;
        self.log.segments.remove(emptied)?;
        self.quarantine.forget_segments(emptied);
        emptied.clear();
        Ok(())
    }
}

/// Copied between two syncs: whoever writes or syncs meanwhile waits for no more than this.
const STEP_BYTES: u64 = 4 << 20;

/// A pause after a step is no longer than this, however slow the disk is.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Keeps the copying from taking the disk for itself: it syncs its own bytes in steps, and rests for as long as each took.
struct Pace {
    bytes: u64,
    since: Instant,
}

impl Pace {
    fn new() -> Self {
        Self { bytes: 0, since: Instant::now() }
    }

    fn step(&mut self, copied: u64, sync: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.bytes += copied;
        if self.bytes >= STEP_BYTES {
            sync()?;
            thread::sleep(self.since.elapsed().min(PAUSE_MAX));
            *self = Self::new();
        }
        Ok(())
    }
}

/// What a copy changes: places, and nothing else.
fn moved(subject: Subject, id: BlockId, at: Location, is_block: bool) -> Change {
    match subject {
        Subject::Block => Change::Block { id, at, is_new: false },
        Subject::Delta { volume, seq } if is_block => Change::Delta { volume, seq, id, at, is_new: false },
        Subject::Delta { volume, seq } => Change::JournalMoved { volume, seq, id, at },
        Subject::Head { volume, device, seq } => Change::Head { volume, device, seq, id, at },
        Subject::Trim { volume, upto } => Change::Trim { volume, upto, at },
        Subject::Dead | Subject::DropHead { .. } | Subject::Void => Change::Nothing,
    }
}
