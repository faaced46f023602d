//! Reading a segment from one end to the other, whatever is in it.
//!
//! The scan verifies every record and never stops at a bad one: after bytes that make no sense it looks for the next
//! place where a header of this store, this segment and exactly this offset stands, and calls what it passed a hole.

use std::fs::File;

use super::device::Device;
use super::record::{
    HEADER_BYTES_MAX, Header, PAYLOAD_BYTES_MAX, RECORD_ALIGN, RECORD_BYTES_MIN, StoreId, header_bytes, record_bytes,
};
use super::segment::SEGMENT_BYTES_MAX;
use cairn_block::BlockId;

/// Read at once: large enough to stream, and any record fits.
const WINDOW_BYTES: usize = 2 << 20;

/// What cannot be read is stepped over in units of this.
const SECTOR_BYTES: usize = 4096;

const _: () = assert!(WINDOW_BYTES as u64 >= record_bytes(56, PAYLOAD_BYTES_MAX));

/// What the scan met.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A record whose header holds.
    Record {
        header: Header,
        payload: &'a [u8],
        /// Whether its payload is the one that its id names.
        is_intact: bool,
        /// Whether its end holds as well.
        is_sound: bool,
    },
    /// Bytes that are no record, up to the next record or the end.
    Hole { from: u64, to: u64 },
}

/// A scan of one segment.
pub(crate) struct Scan<'a> {
    device: &'a Device,
    file: &'a File,
    store: &'a StoreId,
    segment: u32,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    has_read_errors: bool,
}

impl<'a> Scan<'a> {
    /// Scans `file` from offset `from` up to `end` or the end of the file.
    pub(crate) fn new(
        device: &'a Device,
        file: &'a File,
        store: &'a StoreId,
        segment: u32,
        from: u64,
        end: u64,
    ) -> Self {
        let at = from.next_multiple_of(RECORD_ALIGN);
        let end = file.metadata().map_or(0, |metadata| metadata.len()).min(end).min(SEGMENT_BYTES_MAX);
        Self { device, file, store, segment, at, end, window: Vec::new(), window_at: at, has_read_errors: false }
    }

    /// The next record or hole; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Found<'_>> {
        if self.at >= self.end {
            return None;
        }
        if let Some(next) = self.header_at(self.at) {
            return Some(self.record(next));
        }
        let from = self.at;
        self.resynchronise();
        Some(Found::Hole { from, to: self.at })
    }

    /// Whether something could not be read, and was passed over like a hole.
    pub(crate) fn has_read_errors(&self) -> bool {
        self.has_read_errors
    }

    fn record(&mut self, (header, crc): (Header, u32)) -> Found<'_> {
        let start = (self.at - self.window_at) as usize;
        self.at = header.end();
        let rest = &self.window[start + header_bytes(header.subject.key_len())..];
        let payload = rest.get(..header.len as usize).unwrap_or_default();
        let is_intact = BlockId::of(payload) == header.id;
        let is_sound = is_intact && header.is_closed_by(rest, crc);
        Found::Record { header, payload, is_intact, is_sound }
    }

    /// A header at `at` whose whole record lies before the end; the window then holds all of it.
    fn header_at(&mut self, at: u64) -> Option<(Header, u32)> {
        self.fill(at, HEADER_BYTES_MAX);
        let start = (at - self.window_at) as usize;
        let (header, crc) = Header::decode(self.window.get(start..)?, self.store, self.segment, at)?;
        self.fill(at, header.record_bytes() as usize);
        let held = self.window_at + self.window.len() as u64;
        (header.end() <= held).then_some((header, crc))
    }

    /// Moves on to the next record, or to the end.
    fn resynchronise(&mut self) {
        loop {
            self.at += RECORD_ALIGN;
            if self.at + RECORD_BYTES_MIN > self.end {
                self.at = self.end;
                return;
            }
            if self.header_at(self.at).is_some() {
                return;
            }
        }
    }

    /// Makes the window hold `len` bytes from `at` on, or all up to the end.
    fn fill(&mut self, at: u64, len: usize) {
        let held = self.window_at + self.window.len() as u64;
        let is_enough = at + len as u64 <= held || held >= self.end;
        if at >= self.window_at && at <= held && is_enough {
            return;
        }
        let want = WINDOW_BYTES.min(self.end.saturating_sub(at) as usize);
        self.window_at = at;
        self.window = match self.device.read(self.file, at, want) {
            Ok(bytes) => bytes,
            Err(_) => self.read_what_can_be_read(at, want),
        };
    }

    /// Reads sector by sector. What cannot be read becomes zeros here, which are no record: it is never served.
    fn read_what_can_be_read(&mut self, at: u64, want: usize) -> Vec<u8> {
        self.has_read_errors = true;
        let mut window = Vec::with_capacity(want);
        while window.len() < want {
            let len = SECTOR_BYTES.min(want - window.len());
            match self.device.read(self.file, at + window.len() as u64, len) {
                Ok(bytes) => {
                    let is_short = bytes.len() < len;
                    window.extend_from_slice(&bytes);
                    if is_short {
                        break;
                    }
                }
                Err(_) => window.resize(window.len() + len, 0),
            }
        }
        window
    }
}
