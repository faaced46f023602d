//! Segments: the files that the log is cut into.
//!
//! A segment starts with a header that repeats what the format file says (version, store id), so that either can be
//! lost, and that closes the segment before it: what lies behind `previous_len` there is void. That is how records
//! after a failed sync are disowned without touching the file that failed.

use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::device::{Device, sync_dir};
use super::record::{RECORD_VERSION, StoreId, array_at, u32_at, u64_at};
use crate::StoreError;

/// The header's bytes; the first record follows.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 72;

/// Offsets in the index have 32 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// More than any disk holds; a file that claims a higher number is none of ours.
pub(crate) const SEGMENT_NUMBER_MAX: u32 = i32::MAX as u32;

/// The version of the whole format: what this release writes, and the newest it reads.
pub(crate) const FORMAT_VERSION: u32 = RECORD_VERSION as u32;

const MAGIC: [u8; 8] = *b"CAIRNSEG";
const SUFFIX: &str = ".seg";
const CRC_AT: usize = 64;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) version: u32,
    pub(crate) store: StoreId,
    pub(crate) number: u32,
    /// The number of the first record.
    pub(crate) first_seq: u64,
    /// The segment before, 0 if this is the first.
    pub(crate) previous: u32,
    /// How much of that one counts.
    pub(crate) previous_len: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store);
        bytes[32..40].copy_from_slice(&u64::from(self.number).to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[48..56].copy_from_slice(&u64::from(self.previous).to_le_bytes());
        bytes[56..64].copy_from_slice(&self.previous_len.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < SEGMENT_HEADER_BYTES as usize || bytes[..8] != MAGIC {
            return None;
        }
        if crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(bytes, CRC_AT) || u32_at(bytes, CRC_AT + 4) != 0 {
            return None;
        }
        Some(Self {
            version: u32_at(bytes, 8),
            store: array_at(bytes, 16)?,
            number: u32::try_from(u64_at(bytes, 32)).ok().filter(|number| *number <= SEGMENT_NUMBER_MAX)?,
            first_seq: u64_at(bytes, 40),
            previous: u32::try_from(u64_at(bytes, 48)).ok()?,
            previous_len: u64_at(bytes, 56),
        })
    }
}

/// The name of a segment's file. The header is the truth; the name finds it.
pub(crate) fn file_name(number: u32) -> String {
    format!("{number:08x}{SUFFIX}")
}

/// The number that a file's name claims, if it is a segment's name.
pub(crate) fn number_of(path: &Path) -> Option<u32> {
    let digits = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    let is_plain = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    let number = if is_plain { u32::from_str_radix(digits, 16).ok() } else { None };
    number.filter(|number| *number <= SEGMENT_NUMBER_MAX)
}

/// Creates a segment: exclusive, header, sync, sync of the directory. Only then may a record go in. A file that could
/// not be finished is removed again, as far as that is possible.
pub(crate) fn create(device: &Device, dir: &Path, header: &SegmentHeader) -> Result<(File, PathBuf), StoreError> {
    let path = dir.join(file_name(header.number));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| StoreError::io("create", &path, source))?;
    let finish = || {
        device.write_all(&file, &path, &mut [IoSlice::new(&header.encode())], 0)?;
        device.sync_data(&file, &path)?;
        sync_dir(dir)
    };
    match finish() {
        Ok(()) => Ok((file, path)),
        Err(error) => {
            // It holds no record yet, but says where the one before it ends: if its name came back after a crash, what that
            // one takes from now on would count as void. The descriptor goes first: it may be the last there was.
            drop(file);
            let removed = std::fs::remove_file(&path).map_err(|source| StoreError::io("remove", &path, source));
            if let Err(error) = removed.and_then(|()| sync_dir(dir)) {
                tracing::error!(%error, "a segment that could not be made may come back");
            }
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader { version: 1, store: [3; 16], number: 5, first_seq: 70, previous: 4, previous_len: 1000 }
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn only_our_own_names_are_segments() {
        assert_eq!(number_of(Path::new(&format!("/a/{}", file_name(0xabc)))), Some(0xabc));
        for other in ["abc.seg", "0000ABCD.seg", "0000abcd.seg~", "+000abcd.seg", "0000abcd"] {
            assert_eq!(number_of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_segment_is_never_created_over_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let device = Device::default();
        create(&device, dir.path(), &header()).expect("created");
        assert!(create(&device, dir.path(), &header()).is_err());
    }
}
