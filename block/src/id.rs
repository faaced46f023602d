//! Ids: each its own type, printed and parsed in one way.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// CIDv1, raw bytes, BLAKE3, 32 bytes: what precedes the hash in a printed [`BlockId`].
const CID_PREFIX: [u8; 4] = [0x01, 0x55, 0x1e, 0x20];
const CID_BYTES: usize = CID_PREFIX.len() + 32;
/// `b` for base32 and 5 bits per letter.
const CID_LETTERS: usize = 1 + (CID_BYTES * 8).div_ceil(5);
/// The letters that every [`BlockId`] starts with: `bafkr4i`.
const CID_LETTERS_COMMON: usize = 7;
const SHORT_LETTERS: usize = 8;

/// Text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a {kind}: {reason}")]
pub struct ParseIdError {
    kind: &'static str,
    text: String,
    reason: &'static str,
}

impl ParseIdError {
    fn new(kind: &'static str, text: &str, reason: &'static str) -> Self {
        // A hostile text can be long; its start is enough to recognise it.
        let text = text.chars().take(80).collect();
        ParseIdError { kind, text, reason }
    }
}

/// Serialises an id as the text it is printed as.
macro_rules! serde_as_text {
    ($id:ident) => {
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

/// What every id printed in hexadecimal has.
macro_rules! hex_id {
    ($id:ident, $bytes:literal, $kind:literal) => {
        impl $id {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                $id(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The first eight letters: they tell ids apart in a log line.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..SHORT_LETTERS / 2])
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $id {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let refuse = |reason| ParseIdError::new($kind, text, reason);
                if text.len() != 2 * $bytes {
                    return Err(refuse(concat!("it is not ", stringify!($bytes), " bytes in hexadecimal")));
                }
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| refuse("it is not lower-case hexadecimal"))?;
                Ok($id(bytes.try_into().map_err(|_| refuse("the length is wrong"))?))
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($id), self.short())
            }
        }

        serde_as_text!($id);
    };
}

/// The address of a block: BLAKE3 of exactly its sealed bytes.
///
/// Printed as a CIDv1 (`bafkr4i…`), so that IPFS tools verify our blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId([u8; 32]);

impl BlockId {
    /// The id of sealed bytes.
    pub fn of(sealed: &[u8]) -> Self {
        BlockId(*blake3::hash(sealed).as_bytes())
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        BlockId(bytes)
    }

    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Eight letters that tell ids apart in a log line; a substring of the whole id.
    pub fn short(&self) -> String {
        self.to_string()[CID_LETTERS_COMMON..][..SHORT_LETTERS].to_owned()
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cid = [0; CID_BYTES];
        cid[..CID_PREFIX.len()].copy_from_slice(&CID_PREFIX);
        cid[CID_PREFIX.len()..].copy_from_slice(&self.0);
        let mut text = String::with_capacity(CID_LETTERS);
        text.push('b');
        BASE32_NOPAD.encode_append(&cid, &mut text);
        text.make_ascii_lowercase();
        f.pad(&text)
    }
}

impl FromStr for BlockId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let refuse = |reason| ParseIdError::new("block id", text, reason);
        if text.len() != CID_LETTERS {
            return Err(refuse("the length is not 59 letters"));
        }
        if text.bytes().any(|letter| letter.is_ascii_uppercase()) {
            return Err(refuse("letters must be lower case"));
        }
        let letters = text.strip_prefix('b').ok_or_else(|| refuse("it does not start with b"))?;
        let cid =
            BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).map_err(|_| refuse("it is not base32"))?;
        let hash = cid.strip_prefix(&CID_PREFIX).ok_or_else(|| refuse("it is not a raw BLAKE3 CIDv1"))?;
        let bytes = hash.try_into().map_err(|_| refuse("the hash is not 32 bytes"))?;
        Ok(BlockId(bytes))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockId({})", self.short())
    }
}

serde_as_text!(BlockId);

/// A volume: the hash of the public key that its heads and certificates are verified with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId([u8; 16]);

hex_id!(VolumeId, 16, "volume id");

/// A device: its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId([u8; 32]);

hex_id!(DeviceId, 32, "device id");

/// A pack: BLAKE3 of its body, whatever its shards are coded with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId([u8; 32]);

hex_id!(PackId, 32, "pack id");

impl PackId {
    /// The id of a body.
    pub fn of(body: &[u8]) -> Self {
        PackId(*blake3::hash(body).as_bytes())
    }
}

/// A shard: BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId([u8; 32]);

hex_id!(ShardId, 32, "shard id");

impl ShardId {
    /// The id of a shard's bytes.
    pub fn of(shard: &[u8]) -> Self {
        ShardId(*blake3::hash(shard).as_bytes())
    }
}

/// A descriptor: BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DescriptorId([u8; 32]);

hex_id!(DescriptorId, 32, "descriptor id");

impl DescriptorId {
    /// The id of a descriptor's bytes.
    pub fn of(descriptor: &[u8]) -> Self {
        DescriptorId(*blake3::hash(descriptor).as_bytes())
    }
}

/// A circle: the hash of its founder's device id and a nonce, so that nobody else can found it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircleId([u8; 16]);

hex_id!(CircleId, 16, "circle id");

/// The number of an inode: stable for as long as the file lives, unique in its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ino(u64);

impl Ino {
    /// The root directory.
    pub const ROOT: Ino = Ino(1);

    /// The inode with this number.
    pub const fn new(number: u64) -> Self {
        Ino(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Ino {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse().map(Ino).map_err(|_| ParseIdError::new("inode number", text, "it is not a 64-bit number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_id_prints_as_a_cid_and_parses_back() {
        let id = BlockId::of(b"");
        let text = id.to_string();
        assert!(text.starts_with("bafkr4i"), "{text}");
        assert_eq!(text.len(), CID_LETTERS);
        assert_eq!(text.parse::<BlockId>().unwrap(), id);
        assert!(text.contains(&id.short()));
    }

    #[test]
    fn a_cid_of_another_codec_or_case_is_refused() {
        let text = BlockId::of(b"x").to_string();
        assert!(text.to_ascii_uppercase().parse::<BlockId>().is_err());
        assert!(text.replacen("bafkr4i", "bafyr4i", 1).parse::<BlockId>().is_err());
        assert!(text[1..].parse::<BlockId>().is_err());
        assert!("".parse::<BlockId>().is_err());
        assert!("é".repeat(59).parse::<BlockId>().is_err());
    }

    #[test]
    fn one_text_is_one_id_trailing_bits_are_refused() {
        let mut text = BlockId::from_bytes([0; 32]).to_string();
        assert_eq!(text.pop(), Some('a'));
        text.push('b');
        assert!(text.parse::<BlockId>().is_err());
    }

    #[test]
    fn hex_ids_print_and_parse() {
        let id = DeviceId::from_bytes([0xab; 32]);
        assert_eq!(id.to_string().parse::<DeviceId>().unwrap(), id);
        assert_eq!(id.short(), "abababab");
        assert!(id.to_string().to_uppercase().parse::<DeviceId>().is_err());
        assert!("ab".parse::<VolumeId>().is_err());
    }

    #[test]
    fn ids_serialise_as_text() {
        let id = VolumeId::from_bytes([1; 16]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<VolumeId>(&json).unwrap(), id);
        assert_eq!(serde_json::to_string(&Ino::ROOT).unwrap(), "1");
    }
}
