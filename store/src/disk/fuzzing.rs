//! Entries to the reader of the log, for the fuzz targets in `fuzz/`. Nothing is opened: a file of arbitrary bytes is
//! scanned as a segment, and what it says is taken into a catalog as recovery does it, with a map in the place of the index.

use std::collections::HashMap;
use std::fs::File;

use cairn_block::{Block, BlockId, DeviceId, VolumeId};

use super::catalog::{Catalog, Change, Position, Queued, change_of};
use super::device::Device;
use super::record::{Header, Location, StoreId, Subject};
use super::scan::{Found, Scan};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::{index, writer};

/// The store that [`segment`] reads, and the number of the segment.
const STORE: StoreId = [7; 16];
const SEGMENT: u32 = 3;

/// What an input says about a record that [`record`] is to make: everything a header holds but its own place.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// Chooses the kind.
    pub kind: u8,
    /// The record's number.
    pub seq: u64,
    /// The number in its key.
    pub number: u64,
    /// Up to where the segment says it is durable.
    pub durable: u32,
    /// Whether the id is that of the payload.
    pub is_true: bool,
}

/// A segment's header: its checksum holds.
#[must_use]
pub fn header(first_seq: u64, previous: u32, previous_len: u64) -> Vec<u8> {
    SegmentHeader { version: 1, store: STORE, number: SEGMENT, first_seq, previous, previous_len }.encode().to_vec()
}

/// A record at `offset` whose checksum holds, whatever its fields say: what somebody makes who writes to the disk.
pub fn record(fields: Fields, offset: u32, payload: &[u8], out: &mut Vec<u8>) {
    let (volume, device) = (VolumeId::from_bytes([fields.kind >> 4; 16]), DeviceId::from_bytes([1; 32]));
    let seq = fields.number;
    let subject = match fields.kind % 7 {
        0 => Subject::Block,
        1 => Subject::Delta { volume, seq },
        2 => Subject::Head { volume, device, seq },
        3 => Subject::Dead,
        4 => Subject::DropHead { volume, device, seq },
        5 => Subject::Trim { volume, upto: seq },
        _ => Subject::Void,
    };
    let id = if fields.is_true { BlockId::of(payload) } else { BlockId::from_bytes([fields.kind; 32]) };
    let (seq, durable, len) = (fields.seq, fields.durable, payload.len() as u32);
    writer::encode(&Header { subject, segment: SEGMENT, seq, offset, durable, len, id }, payload, &STORE, out);
}

/// Scans a file as a segment and takes what it says into a catalog. Panics where the scan misses a byte, or where it
/// calls bytes sound that are not those of their id.
pub fn segment(file: &File) {
    let len = file.metadata().expect("of an open file").len();
    let device = Device::default();
    let mut scan = Scan::new(&device, file, &STORE, SEGMENT, SEGMENT_HEADER_BYTES, len);
    let (mut catalog, mut blocks) = (Catalog::default(), HashMap::new());
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(found) = scan.next() {
        match found {
            Found::Hole { from, to } => {
                assert!(from == at && to > from, "a hole {from}..{to} at {at}");
                at = to;
            }
            Found::Record { header, payload, is_sound, .. } => {
                assert_eq!(u64::from(header.offset), at);
                at = header.end();
                if is_sound {
                    assert_eq!(BlockId::of(payload), header.id, "wrong bytes called sound");
                    take(&mut catalog, &mut blocks, &header, payload);
                }
            }
        }
    }
    assert!(at >= len, "the scan ended at {at} of {len}");
    let _ = catalog.pending_totals();
    let batch = catalog.batch(u64::MAX, usize::MAX);
    catalog.settle(&batch);
    assert_eq!(catalog.queued(), 0);
    catalog.journals.values().for_each(|journal| assert!(journal.last() >= journal.trimmed));
}

fn take(catalog: &mut Catalog, blocks: &mut HashMap<BlockId, Location>, header: &Header, payload: &[u8]) {
    let change = change_of(header, payload, &|id| blocks.get(id).copied(), &|key| catalog.heads.get(key).copied());
    match &change {
        Change::Block { id, at, .. } | Change::Delta { id, at, .. } => {
            blocks.insert(*id, *at);
        }
        Change::Dead { blocks: dead } => dead.iter().for_each(|(id, _)| {
            blocks.remove(id);
        }),
        _ => {}
    }
    let upto = Position { segment: header.segment, offset: header.end() as u32 };
    let block = header.subject.is_block().then(|| Block::seal_bytes(payload.to_vec()));
    catalog.apply(Queued { seq: header.seq, upto, change }, block);
}

/// Reads bytes as the header of a segment, and as a key and value of the index.
pub fn values(bytes: &[u8]) {
    if let Some(header) = SegmentHeader::decode(bytes) {
        assert_eq!(header.number, SegmentHeader::decode(&header.encode()).expect("its own bytes").number);
    }
    let (key, value) = bytes.split_at(bytes.len() / 2);
    index::read_any(key, value);
}
