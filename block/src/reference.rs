//! Refs: what lets its holder read a block.

use std::hash::{Hash, Hasher};

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::BlockId;
use crate::keys::BlockKey;
use crate::limits::CHUNK_BYTES_MAX;

/// Address, key and length of a sealed chunk. Whoever holds it can fetch, verify and open that block and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// The address: BLAKE3 of the sealed bytes.
    pub id: BlockId,
    /// The key the block is sealed with.
    pub key: BlockKey,
    /// Bytes of the chunk, raw.
    pub len: u32,
}

/// The id alone decides the hash: equal refs have equal ids, and it is uniform already.
impl Hash for Ref {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Ref {
    /// Encoded size.
    pub const BYTES: usize = 32 + 32 + 4;

    /// Appends the encoded form: id, key, length as `u32`.
    pub fn encode(&self, out: &mut Writer) {
        out.raw(self.id.as_bytes()).raw(self.key.as_bytes()).u32(self.len);
    }

    /// The encoded form alone.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(self.id.as_bytes());
        bytes[32..64].copy_from_slice(self.key.as_bytes());
        bytes[64..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Reads the encoded form.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = BlockId::from_bytes(input.array("ref id")?);
        let key = BlockKey::from_bytes(input.array("ref key")?);
        let len = input.u32_max("ref length", CHUNK_BYTES_MAX as u32)?;
        Ok(Ref { id, key, len })
    }

    /// Reads a ref that is all of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let reference = Ref::decode(&mut input)?;
        input.finish("ref")?;
        Ok(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Ref {
        Ref { id: BlockId::of(b"sealed"), key: BlockKey::from_bytes([7; 32]), len: 9 }
    }

    #[test]
    fn a_ref_reads_back() {
        let mut out = Writer::new();
        sample().encode(&mut out);
        assert_eq!(out.as_slice(), sample().to_bytes());
        assert_eq!(Ref::from_bytes(out.as_slice()).unwrap(), sample());
    }

    #[test]
    fn a_length_above_the_largest_chunk_is_refused() {
        let mut bytes = sample().to_bytes();
        bytes[64..].copy_from_slice(&(CHUNK_BYTES_MAX as u32 + 1).to_le_bytes());
        assert!(matches!(Ref::from_bytes(&bytes), Err(DecodeError::AboveBound { .. })));
    }

    #[test]
    fn debug_output_holds_no_key() {
        assert!(format!("{:?}", sample()).contains("BlockKey(..)"));
    }
}
