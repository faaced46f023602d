//! Chunks: what is inside a seal, a header and a payload.

use crate::codec::{DecodeError, Reader};
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES};

const VERSION: u8 = 1;

/// What a chunk is a piece of. It is inside the seal: holders can't tell kinds apart, and no kind passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of a file.
    Data = 1,
    /// A node of a file's tree.
    FileNode = 2,
    /// A node of a map's tree: directories and the link table.
    MapNode = 3,
    /// The root of a volume.
    Root = 4,
    /// The extended attributes of one inode.
    Xattrs = 5,
}

impl Kind {
    /// The kind with this number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Kind::Data,
            2 => Kind::FileNode,
            3 => Kind::MapNode,
            4 => Kind::Root,
            5 => Kind::Xattrs,
            _ => return None,
        })
    }
}

/// How the payload holds the raw bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// As one zstd frame.
    Zstd = 1,
}

impl Codec {
    /// The codec with this number.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Codec::Raw,
            1 => Codec::Zstd,
            _ => return None,
        })
    }
}

/// The first bytes inside a seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the chunk is a piece of.
    pub kind: Kind,
    /// How the payload holds it.
    pub codec: Codec,
    /// Bytes of the chunk, raw.
    pub raw_len: u32,
}

impl Header {
    /// The encoded form.
    pub fn to_bytes(&self) -> [u8; CHUNK_HEADER_BYTES] {
        let [a, b, c, d] = self.raw_len.to_le_bytes();
        [VERSION, self.kind as u8, self.codec as u8, 0, a, b, c, d]
    }

    /// Reads the encoded form; what follows in `input` is the payload.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.version("chunk", VERSION)?;
        let kind = Kind::from_u8(input.u8("chunk kind")?).ok_or(DecodeError::invalid("chunk kind", "not known"))?;
        let codec = Codec::from_u8(input.u8("chunk codec")?).ok_or(DecodeError::invalid("chunk codec", "not known"))?;
        if input.u8("chunk header")? != 0 {
            return Err(DecodeError::invalid("chunk header", "the reserved byte is not zero"));
        }
        let raw_len = input.u32_max("chunk length", CHUNK_BYTES_MAX as u32)?;
        Ok(Header { kind, codec, raw_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_reads_back_and_numbers_are_stable() {
        for number in 0..=u8::MAX {
            if let Some(kind) = Kind::from_u8(number) {
                assert_eq!(kind as u8, number);
                let header = Header { kind, codec: Codec::Zstd, raw_len: 77 };
                let bytes = header.to_bytes();
                assert_eq!(Header::decode(&mut Reader::new(&bytes)), Ok(header));
            }
            if let Some(codec) = Codec::from_u8(number) {
                assert_eq!(codec as u8, number);
            }
        }
    }

    #[test]
    fn unknown_versions_kinds_codecs_and_lengths_are_refused() {
        let good = Header { kind: Kind::Data, codec: Codec::Raw, raw_len: 1 }.to_bytes();
        for (at, value) in [(0, 2), (1, 0), (1, 6), (2, 2), (3, 1), (6, 0x10)] {
            let mut bytes = good;
            bytes[at] = value;
            assert!(Header::decode(&mut Reader::new(&bytes)).is_err(), "byte {at} = {value}");
        }
    }
}
