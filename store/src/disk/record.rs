//! The bytes of one log record.
//!
//! ```text
//! header: magic, version, kind, key length, store id, seq, segment, offset, durable, payload length, id, key, crc32c
//! payload
//! trailer: payload length, the header's crc32c; zeros up to a multiple of 8
//! ```
//! The header says where it belongs, so that stale and misdirected bytes are told apart from a record. The payload is
//! proved by its id, which is the BLAKE3 of exactly these bytes for every kind; the trailer only says that the end
//! was written too. Nothing is allocated from a length before the header's checksum holds.

use cairn_block::limits::{SEALED_BLOCK_BYTES_MAX, SEQ_LIMIT};
use cairn_block::{BlockId, DeviceId, VolumeId};

/// Random, one per store: makes a record of another store, or one forged inside a block, no record of ours.
pub(crate) type StoreId = [u8; 16];

/// The version that every record and every segment header carries.
pub(crate) const RECORD_VERSION: u8 = 1;

/// Record numbers are below this, so that there always is a next one. No store lives to see it.
pub(crate) const RECORD_SEQ_LIMIT: u64 = 1 << 62;

/// Records start at multiples of this, so that resynchronising tries one place in eight.
pub(crate) const RECORD_ALIGN: u64 = 8;

/// Largest payload: one sealed block.
pub(crate) const PAYLOAD_BYTES_MAX: usize = SEALED_BLOCK_BYTES_MAX;

/// Largest header: the fixed part, the longest key, the checksum.
pub(crate) const HEADER_BYTES_MAX: usize = FIXED_BYTES + KEY_BYTES_MAX + CRC_BYTES;

/// Smallest record: no key, no payload.
pub(crate) const RECORD_BYTES_MIN: u64 = record_bytes(0, 0);

const MAGIC: [u8; 4] = *b"CRNr";
const FIXED_BYTES: usize = 80;
const KEY_BYTES_MAX: usize = 56;
const CRC_BYTES: usize = 4;
const TRAILER_BYTES: usize = 8;

/// Where a payload lies. What the index keeps for each block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    /// Of the payload, not of its record: a read is one `pread`.
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Location {
    pub(crate) const BYTES: usize = 12;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::BYTES {
            return None;
        }
        let at = Self { segment: u32_at(bytes, 0), offset: u32_at(bytes, 4), len: u32_at(bytes, 8) };
        // A length decides how much is asked for at once.
        (at.len as usize <= PAYLOAD_BYTES_MAX).then_some(at)
    }
}

/// What a record is about: its kind with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A sealed block.
    Block,
    /// A sealed block that is also a volume's journal record.
    Delta { volume: VolumeId, seq: u64 },
    /// A signed head.
    Head { volume: VolumeId, device: DeviceId, seq: u64 },
    /// Blocks that were collected: a list of ids with the places that died.
    Dead,
    /// A head that was dropped; the payload is the place that died.
    DropHead { volume: VolumeId, device: DeviceId, seq: u64 },
    /// A journal that was trimmed.
    Trim { volume: VolumeId, upto: u64 },
    /// Fills a place where a crash left records that were never durable.
    Void,
}

impl Subject {
    fn kind(&self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Delta { .. } => 3,
            Self::Head { .. } => 4,
            Self::Dead => 5,
            Self::DropHead { .. } => 6,
            Self::Trim { .. } => 7,
            Self::Void => 8,
        }
    }

    pub(crate) fn key_len(&self) -> usize {
        match self {
            Self::Block | Self::Dead | Self::Void => 0,
            Self::Delta { .. } | Self::Trim { .. } => 24,
            Self::Head { .. } | Self::DropHead { .. } => KEY_BYTES_MAX,
        }
    }

    /// Whether the payload is a sealed block that can be asked for by its id.
    pub(crate) fn is_block(&self) -> bool {
        matches!(self, Self::Block | Self::Delta { .. })
    }

    fn write_key(&self, out: &mut Vec<u8>) {
        match self {
            Self::Block | Self::Dead | Self::Void => {}
            Self::Delta { volume, seq } | Self::Trim { volume, upto: seq } => {
                out.extend_from_slice(volume.as_bytes());
                out.extend_from_slice(&seq.to_le_bytes());
            }
            Self::Head { volume, device, seq } | Self::DropHead { volume, device, seq } => {
                out.extend_from_slice(volume.as_bytes());
                out.extend_from_slice(device.as_bytes());
                out.extend_from_slice(&seq.to_le_bytes());
            }
        }
    }

    fn read(kind: u8, key: &[u8]) -> Option<Self> {
        // A number without a next one would end a journal, or a device's history, for good.
        let number = |at| array_at(key, at).map(u64::from_le_bytes).filter(|number| *number < SEQ_LIMIT);
        let short = || Some((VolumeId::from_bytes(array_at(key, 0)?), number(16)?));
        let long = || {
            let volume = VolumeId::from_bytes(array_at(key, 0)?);
            let device = DeviceId::from_bytes(array_at(key, 16)?);
            Some((volume, device, number(48)?))
        };
        let subject = match kind {
            1 => Self::Block,
            3 => short().map(|(volume, seq)| Self::Delta { volume, seq })?,
            4 => long().map(|(volume, device, seq)| Self::Head { volume, device, seq })?,
            5 => Self::Dead,
            6 => long().map(|(volume, device, seq)| Self::DropHead { volume, device, seq })?,
            7 => short().map(|(volume, upto)| Self::Trim { volume, upto })?,
            8 => Self::Void,
            _ => return None,
        };
        (subject.key_len() == key.len()).then_some(subject)
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) subject: Subject,
    pub(crate) segment: u32,
    /// Counts the records of a store. A record that is moved, or written again, gets the place of its copy and keeps
    /// nothing of the old one; only a failed sync's records keep their number.
    pub(crate) seq: u64,
    /// Of the record in its segment.
    pub(crate) offset: u32,
    /// Up to here its segment was durable when the record was written: what is bad before this place was good once.
    pub(crate) durable: u32,
    pub(crate) len: u32,
    pub(crate) id: BlockId,
}

impl Header {
    /// Appends the header's bytes and returns its checksum.
    pub(crate) fn encode(&self, store: &StoreId, out: &mut Vec<u8>) -> u32 {
        let from = out.len();
        out.extend_from_slice(&MAGIC);
        out.push(RECORD_VERSION);
        out.push(self.subject.kind());
        out.extend_from_slice(&(self.subject.key_len() as u16).to_le_bytes());
        out.extend_from_slice(store);
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.segment.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.durable.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(self.id.as_bytes());
        self.subject.write_key(out);
        let crc = crc32c::crc32c(&out[from..]);
        out.extend_from_slice(&crc.to_le_bytes());
        crc
    }

    /// The header at the start of `bytes`, if there is one that belongs to this store and place.
    pub(crate) fn decode(bytes: &[u8], store: &StoreId, segment: u32, offset: u64) -> Option<(Self, u32)> {
        if bytes.len() < FIXED_BYTES + CRC_BYTES || bytes[..4] != MAGIC || bytes[4] != RECORD_VERSION {
            return None;
        }
        let key_len = usize::from(u16::from_le_bytes(array_at(bytes, 6)?));
        let crc_at = FIXED_BYTES + key_len;
        if key_len > KEY_BYTES_MAX || bytes.len() < crc_at + CRC_BYTES {
            return None;
        }
        let crc = u32_at(bytes, crc_at);
        let is_ours =
            bytes[8..24] == store[..] && u32_at(bytes, 32) == segment && u64::from(u32_at(bytes, 36)) == offset;
        if !is_ours || crc32c::crc32c(&bytes[..crc_at]) != crc {
            return None;
        }
        let len = u32_at(bytes, 44);
        if len as usize > PAYLOAD_BYTES_MAX || u64_at(bytes, 24) >= RECORD_SEQ_LIMIT {
            return None;
        }
        let header = Self {
            subject: Subject::read(bytes[5], &bytes[FIXED_BYTES..crc_at])?,
            segment,
            seq: u64_at(bytes, 24),
            offset: u32_at(bytes, 36),
            durable: u32_at(bytes, 40),
            len,
            id: BlockId::from_bytes(array_at(bytes, 48)?),
        };
        Some((header, crc))
    }

    /// Where the payload lies.
    pub(crate) fn location(&self) -> Location {
        Location {
            segment: self.segment,
            offset: self.offset + header_bytes(self.subject.key_len()) as u32,
            len: self.len,
        }
    }

    /// All of the record's bytes, padding included.
    pub(crate) fn record_bytes(&self) -> u64 {
        record_bytes(self.subject.key_len(), self.len as usize)
    }

    /// Where the next record starts.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + self.record_bytes()
    }

    /// Whether `rest`, all that follows the header, begins with a payload and this header's trailer, padding included.
    pub(crate) fn is_closed_by(&self, rest: &[u8], crc: u32) -> bool {
        let trailer = Trailer::new(self, crc);
        rest.get(self.len as usize..).is_some_and(|end| end.starts_with(trailer.bytes()))
    }
}

/// What follows a payload: the trailer, then zeros up to the alignment.
pub(crate) struct Trailer {
    bytes: [u8; TRAILER_BYTES + RECORD_ALIGN as usize],
    len: usize,
}

impl Trailer {
    pub(crate) fn new(header: &Header, crc: u32) -> Self {
        let mut bytes = [0; TRAILER_BYTES + RECORD_ALIGN as usize];
        bytes[..4].copy_from_slice(&header.len.to_le_bytes());
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        let before = header_bytes(header.subject.key_len()) + header.len as usize;
        Self { bytes, len: header.record_bytes() as usize - before }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The header's bytes for a key of this length.
pub(crate) const fn header_bytes(key_len: usize) -> usize {
    FIXED_BYTES + key_len + CRC_BYTES
}

/// A whole record's bytes, padding included.
pub(crate) const fn record_bytes(key_len: usize, payload_len: usize) -> u64 {
    let bytes = header_bytes(key_len) + payload_len + TRAILER_BYTES;
    (bytes as u64).next_multiple_of(RECORD_ALIGN)
}

/// One entry of a `Dead` record: a block, and the place of it that died. Only that place: the block may have been put
/// again since, and a record that is copied must not kill the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeadEntry {
    pub(crate) id: BlockId,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl DeadEntry {
    pub(crate) const BYTES: usize = 40;

    pub(crate) fn names(&self, at: &Location) -> bool {
        (self.segment, self.offset) == (at.segment, at.offset)
    }

    pub(crate) fn encode_all(entries: &[Self]) -> Vec<u8> {
        let mut out = Vec::with_capacity(entries.len() * Self::BYTES);
        for entry in entries {
            out.extend_from_slice(entry.id.as_bytes());
            out.extend_from_slice(&place_bytes(entry.segment, entry.offset));
        }
        out
    }

    pub(crate) fn decode_all(payload: &[u8]) -> Vec<Self> {
        let entry = |bytes: &[u8]| {
            let (segment, offset) = place_from(&bytes[32..])?;
            Some(Self { id: BlockId::from_bytes(array_at(bytes, 0)?), segment, offset })
        };
        payload.chunks_exact(Self::BYTES).filter_map(entry).collect()
    }
}

/// The payload of a `DropHead` record: the place that died.
pub(crate) fn place_bytes(segment: u32, offset: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&segment.to_le_bytes());
    bytes[4..].copy_from_slice(&offset.to_le_bytes());
    bytes
}

pub(crate) fn place_from(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.len() == 8).then(|| (u32_at(bytes, 0), u32_at(bytes, 4)))
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Callers have checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STORE: StoreId = [7; 16];

    fn header(subject: Subject, len: u32) -> Header {
        Header { subject, segment: 3, seq: 99, offset: 72, durable: 72, len, id: BlockId::from_bytes([5; 32]) }
    }

    fn subjects() -> [Subject; 7] {
        let volume = VolumeId::from_bytes([1; 16]);
        let device = DeviceId::from_bytes([2; 32]);
        [
            Subject::Block,
            Subject::Delta { volume, seq: 8 },
            Subject::Head { volume, device, seq: 9 },
            Subject::Dead,
            Subject::DropHead { volume, device, seq: 10 },
            Subject::Trim { volume, upto: 11 },
            Subject::Void,
        ]
    }

    #[test]
    fn every_kind_of_header_reads_back() {
        for subject in subjects() {
            let header = header(subject, 1000);
            let mut bytes = Vec::new();
            let crc = header.encode(&STORE, &mut bytes);
            assert_eq!(bytes.len(), header_bytes(subject.key_len()));
            assert_eq!(Header::decode(&bytes, &STORE, 3, 72), Some((header, crc)));
        }
    }

    #[test]
    fn a_header_of_another_store_segment_or_offset_is_refused() {
        let mut bytes = Vec::new();
        header(Subject::Block, 10).encode(&STORE, &mut bytes);
        assert!(Header::decode(&bytes, &[8; 16], 3, 72).is_none());
        assert!(Header::decode(&bytes, &STORE, 4, 72).is_none());
        assert!(Header::decode(&bytes, &STORE, 3, 80).is_none());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        for subject in subjects() {
            let mut bytes = Vec::new();
            header(subject, 10).encode(&STORE, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Header::decode(&flipped, &STORE, 3, 72).is_none(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_though_its_checksum_holds() {
        let mut bytes = Vec::new();
        header(Subject::Block, PAYLOAD_BYTES_MAX as u32 + 1).encode(&STORE, &mut bytes);
        assert!(Header::decode(&bytes, &STORE, 3, 72).is_none());
    }

    #[test]
    fn records_end_aligned_and_closed() {
        for len in 0..40_u32 {
            let header = header(Subject::Block, len);
            let trailer = Trailer::new(&header, 77);
            let mut rest = vec![1; len as usize];
            rest.extend_from_slice(trailer.bytes());
            assert!(header.is_closed_by(&rest, 77));
            assert!(!header.is_closed_by(&rest, 78));
            assert!(!header.is_closed_by(&rest[..len as usize + 7], 77));
            assert_eq!((header_bytes(0) + rest.len()) as u64, header.record_bytes());
            assert_eq!(header.end() % RECORD_ALIGN, 0);
        }
    }

    #[test]
    fn dead_entries_read_back() {
        let entry = |n: u8| DeadEntry { id: BlockId::from_bytes([n; 32]), segment: n.into(), offset: 9 };
        let entries = [entry(1), entry(2), entry(3)];
        assert_eq!(DeadEntry::decode_all(&DeadEntry::encode_all(&entries)), entries);
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(&bytes, &STORE, 3, 72);
            let _ = DeadEntry::decode_all(&bytes);
            let _ = Location::from_bytes(&bytes);
        }
    }
}
