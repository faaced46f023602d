//! The end of the log: one segment that grows, and what is not durable yet.
//!
//! A small record costs a copy into one buffer; the buffer reaches the file when it is full or somebody syncs. A large
//! one goes to the file directly, together with the buffer before it, from the block's own bytes. The payloads of all
//! records since the last sync stay referenced, so that a failed sync loses none: its segment is dead from then on, and
//! they are written again to a new one whose header declares the dead tail void.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::BlockId;

use super::catalog::Position;
use super::device::Device;
use super::record::{Header, Location, StoreId, Subject, Trailer, record_bytes};
use super::reserve::Reserve;
use super::segment::SEGMENT_HEADER_BYTES;
use super::segments::Segments;
use crate::{ReadOnlyReason, StoreError};

/// Small records gather up to here: one system call then covers hundreds of them.
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// From here on copying into the buffer costs more than a call of its own.
const DIRECT_BYTES_MIN: usize = 32 << 10;

/// What every part of a store shares about its log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) store: StoreId,
    pub(crate) device: Device,
    pub(crate) segments: Segments,
    pub(crate) reserve: Reserve,
    pub(crate) segment_bytes: u64,
}

/// Whether a record may use the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// New data: refused when the disk is full.
    Data,
    /// What makes room, and what finishes what was begun: journal, heads, tombstones, copies of a collection.
    Keep,
}

/// A record that is to be appended.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) subject: Subject,
    pub(crate) id: BlockId,
    pub(crate) payload: Bytes,
    pub(crate) class: Class,
}

impl Record {
    pub(crate) fn bytes(&self) -> u64 {
        record_bytes(self.subject.key_len(), self.payload.len())
    }
}

/// A record that was appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) seq: u64,
    pub(crate) at: Location,
    pub(crate) upto: Position,
}

/// A record that a sync has to cover yet.
#[derive(Debug)]
pub(crate) struct Unsynced {
    pub(crate) seq: u64,
    pub(crate) subject: Subject,
    pub(crate) id: BlockId,
    payload: Bytes,
}

/// What one sync will cover.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    pub(crate) seq: u64,
    written: u64,
}

/// The segment that grows.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) number: u32,
    pub(crate) file: Arc<File>,
    pub(crate) path: PathBuf,
    /// The file's length; the buffer follows.
    pub(crate) written: u64,
    pub(crate) synced: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    active: Active,
    buffer: Vec<u8>,
    unsynced: VecDeque<Unsynced>,
    unsynced_bytes: u64,
    seq: u64,
    /// The number of the next segment; one that could not be created is not tried again.
    next_number: u32,
    /// A write failed otherwise than for want of room: go on in a new segment.
    is_broken: bool,
    /// Writes and syncs that failed for another reason than want of room; what was in them goes to another segment.
    failures: u64,
    /// When the disk last had no room for a write, unless a later one found some.
    refused: Option<Instant>,
    read_only: Option<ReadOnlyReason>,
}

/// A disk that had no room this long ago, and was asked for none since, may have some again.
const REFUSAL_LASTS: Duration = Duration::from_secs(30);

impl Writer {
    /// Goes on in a segment that is durable up to its end.
    pub(crate) fn new(active: Active, seq: u64) -> Self {
        let next_number = active.number + 1;
        Self {
            active,
            buffer: Vec::with_capacity(WRITE_BUFFER_BYTES),
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            seq,
            next_number,
            is_broken: false,
            failures: 0,
            refused: None,
            read_only: None,
        }
    }

    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        self.read_only.map_or(Ok(()), |reason| Err(StoreError::ReadOnly { reason }))
    }

    pub(crate) fn read_only(&self) -> Option<ReadOnlyReason> {
        self.read_only
    }

    pub(crate) fn set_read_only(&mut self, reason: ReadOnlyReason) {
        self.read_only.get_or_insert(reason);
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    /// Whether writes find room, as far as the last ones tell.
    pub(crate) fn has_room(&self) -> bool {
        self.refused.is_none_or(|refused| refused.elapsed() > REFUSAL_LASTS)
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    pub(crate) fn active_number(&self) -> u32 {
        self.active.number
    }

    /// Where the next record goes.
    pub(crate) fn end(&self) -> u64 {
        self.active.written + self.buffer.len() as u64
    }

    pub(crate) fn position(&self) -> Position {
        Position { segment: self.active.number, offset: self.end() as u32 }
    }

    /// Whether a record of this size belongs into the next segment.
    pub(crate) fn must_rotate(&self, log: &Log, bytes: u64) -> bool {
        let is_empty = self.end() == SEGMENT_HEADER_BYTES;
        self.is_broken || (!is_empty && self.end() + bytes > log.segment_bytes)
    }

    /// Appends a record to the active segment, whole or not at all.
    pub(crate) fn append(&mut self, log: &Log, record: &Record) -> Result<Appended, StoreError> {
        self.check_writable()?;
        let header = Header {
            subject: record.subject,
            segment: self.active.number,
            seq: self.seq + 1,
            offset: self.end() as u32,
            durable: self.active.synced as u32,
            len: record.payload.len() as u32,
            id: record.id,
        };
        if record.payload.len() >= DIRECT_BYTES_MIN {
            self.write_through(log, &header, record)?;
        } else {
            if self.buffer.len() as u64 + header.record_bytes() > WRITE_BUFFER_BYTES as u64 {
                self.flush(log)?;
            }
            encode(&header, &record.payload, &log.store, &mut self.buffer);
        }
        self.seq += 1;
        self.unsynced_bytes += header.record_bytes();
        self.unsynced.push_back(Unsynced {
            seq: header.seq,
            subject: record.subject,
            id: record.id,
            payload: record.payload.clone(),
        });
        Ok(Appended { seq: header.seq, at: header.location(), upto: self.position() })
    }

    /// Brings the buffer to the file. What is in it was accepted already, so it may use the reserve.
    fn flush(&mut self, log: &Log) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        let written = self.write(log, &[&buffer], Class::Keep);
        self.buffer = buffer;
        written?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the buffer and one record in one call.
    fn write_through(&mut self, log: &Log, header: &Header, record: &Record) -> Result<(), StoreError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let before = buffer.len();
        let crc = header.encode(&log.store, &mut buffer);
        let trailer = Trailer::new(header, crc);
        let written = self.write(log, &[&buffer, &record.payload, trailer.bytes()], record.class);
        buffer.truncate(if written.is_ok() { 0 } else { before });
        self.buffer = buffer;
        written
    }

    /// Writes at the end of the file. Nothing has changed if it fails: the same place is written again.
    fn write(&mut self, log: &Log, parts: &[&[u8]], class: Class) -> Result<(), StoreError> {
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let active = &self.active;
        let write = || {
            let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            log.device.write_all(&active.file, &active.path, &mut slices, active.written)
        };
        let result = match write() {
            Err(error) if error.is_full() && class == Class::Keep && log.reserve.cut(bytes) => write(),
            result => result,
        };
        if let Err(error) = result {
            if error.is_full() {
                self.refused = Some(Instant::now());
            } else {
                self.is_broken = true;
                self.failures += 1;
            }
            return Err(error);
        }
        self.refused = None;
        self.active.written += bytes;
        log.segments.set_len(self.active.number, self.active.written);
        Ok(())
    }

    /// Flushes, and says what a sync will cover.
    pub(crate) fn pending(&mut self, log: &Log) -> Result<Pending, StoreError> {
        self.flush(log)?;
        Ok(Pending {
            file: Arc::clone(&self.active.file),
            path: self.active.path.clone(),
            seq: self.seq,
            written: self.active.written,
        })
    }

    /// A sync has covered this much: returns the records that are durable now.
    pub(crate) fn settle(&mut self, pending: &Pending) -> Vec<Unsynced> {
        self.active.synced = pending.written;
        let count = self.unsynced.iter().take_while(|record| record.seq <= pending.seq).count();
        let settled: Vec<_> = self.unsynced.drain(..count).collect();
        let bytes: u64 = settled.iter().map(|r| record_bytes(r.subject.key_len(), r.payload.len())).sum();
        self.unsynced_bytes -= bytes;
        settled
    }

    /// Goes on in a new segment. The old one is durable to its end.
    pub(crate) fn rotate(&mut self, log: &Log) -> Result<(), StoreError> {
        let is_lasting = |error: &StoreError| !error.is_full() && !error.is_retryable();
        let created = match self.create_next(log, self.active.written) {
            // Once more, under another number: what failed may have been the one place on the disk.
            Err(error) if is_lasting(&error) => self.create_next(log, self.active.written),
            created => created,
        };
        // Nothing could be accepted from here on: that is said once, and not to each caller as an error of its own.
        if created.as_ref().is_err_and(is_lasting) {
            self.set_read_only(ReadOnlyReason::NoSegment);
        }
        let (number, file, path) = created?;
        let start = SEGMENT_HEADER_BYTES;
        self.active = Active { number, file, path, written: start, synced: start };
        self.is_broken = false;
        Ok(())
    }

    /// Creates the next segment, which declares the active one void from `previous_len` on.
    fn create_next(&mut self, log: &Log, previous_len: u64) -> Result<(u32, Arc<File>, PathBuf), StoreError> {
        let first_seq = self.seq + 1 - self.unsynced.len() as u64;
        let previous = (self.active.number, previous_len);
        let next = &mut self.next_number;
        let mut create = || log.segments.create_next(&log.device, log.store, next, first_seq, previous);
        let created = match create() {
            Err(error) if error.is_full() && log.reserve.cut(0) => create(),
            result => result,
        };
        if created.as_ref().is_err_and(StoreError::is_full) {
            self.refused = Some(Instant::now());
        }
        created
    }

    /// The active segment could not be written or synced: writes all that is not durable to a new one, and syncs that.
    /// If this fails too, the store is read-only. Returns where each record went.
    pub(crate) fn fail_over(&mut self, log: &Log) -> Result<Vec<(u64, Location, Position)>, StoreError> {
        self.check_writable()?;
        // A write that failed was counted then; a sync is here.
        self.failures += u64::from(!self.is_broken);
        let dead = self.active.number;
        tracing::error!(segment = dead, records = self.unsynced.len(), "a segment failed: writing its tail again");
        let result = self.rewrite_unsynced(log);
        if let Err(error) = &result {
            tracing::error!(segment = dead, %error, "the tail could not be written again: read-only from now on");
            self.set_read_only(ReadOnlyReason::SyncFailed { segment: dead.into() });
            self.check_writable()?;
        }
        result
    }

    fn rewrite_unsynced(&mut self, log: &Log) -> Result<Vec<(u64, Location, Position)>, StoreError> {
        let (number, file, path) = self.create_next(log, self.active.synced)?;
        let mut written = SEGMENT_HEADER_BYTES;
        let mut moved = Vec::with_capacity(self.unsynced.len());
        let mut chunk = Vec::new();
        for record in &self.unsynced {
            let header = Header {
                subject: record.subject,
                segment: number,
                seq: record.seq,
                offset: (written + chunk.len() as u64) as u32,
                durable: SEGMENT_HEADER_BYTES as u32,
                len: record.payload.len() as u32,
                id: record.id,
            };
            encode(&header, &record.payload, &log.store, &mut chunk);
            moved.push((record.seq, header.location(), Position { segment: number, offset: header.end() as u32 }));
            if chunk.len() >= WRITE_BUFFER_BYTES {
                write_chunk(log, &file, &path, &mut chunk, &mut written)?;
            }
        }
        write_chunk(log, &file, &path, &mut chunk, &mut written)?;
        log.device.sync_data(&file, &path)?;
        log.segments.set_len(number, written);
        self.active = Active { number, file, path, written, synced: written };
        self.buffer.clear();
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        self.is_broken = false;
        Ok(moved)
    }

    /// The payload of a record that is not durable yet.
    pub(crate) fn unsynced(&self, id: &BlockId) -> Option<Bytes> {
        let record = self.unsynced.iter().find(|record| record.id == *id);
        record.map(|record| record.payload.clone())
    }

    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    #[cfg(all(test, not(shuttle)))]
    pub(crate) fn unsynced_range(&self) -> (PathBuf, u64, u64) {
        (self.active.path.clone(), self.active.synced, self.active.written)
    }
}

fn write_chunk(
    log: &Log,
    file: &File,
    path: &std::path::Path,
    chunk: &mut Vec<u8>,
    written: &mut u64,
) -> Result<(), StoreError> {
    if chunk.is_empty() {
        return Ok(());
    }
    let write = || log.device.write_all(file, path, &mut [IoSlice::new(chunk)], *written);
    match write() {
        Err(error) if error.is_full() && log.reserve.cut(chunk.len() as u64) => write()?,
        result => result?,
    }
    *written += chunk.len() as u64;
    chunk.clear();
    Ok(())
}

/// A whole record, as one piece.
pub(crate) fn encode(header: &Header, payload: &[u8], store: &StoreId, out: &mut Vec<u8>) {
    let crc = header.encode(store, out);
    out.extend_from_slice(payload);
    out.extend_from_slice(Trailer::new(header, crc).bytes());
}
