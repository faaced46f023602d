//! Sealing: a chunk of plaintext to a block, and back.
//!
//! One buffer takes the header and the payload, is hashed into the chunk's key, encrypted in place and hashed into the
//! block's id. The key follows from the exact bytes that are enciphered, so the nonce can be constant: two plaintexts
//! never share a keystream, not even when a new zstd compresses the same chunk in another way.

use bytes::Bytes;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use thiserror::Error;

use crate::block::Block;
use crate::chunk::{Codec, Header, Kind};
use crate::codec::{DecodeError, Reader};
use crate::compress;
use crate::id::BlockId;
use crate::keys::{BlockKey, ConvergenceKey};
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, SEALED_BLOCK_BYTES_MAX, TAG_BYTES};
use crate::reference::Ref;

/// Whether a chunk may be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// No: the bytes are known not to shrink.
    Never,
    /// Where a probe says it pays.
    Probe,
}

/// A block and what opens it.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// For the tree.
    pub reference: Ref,
    /// For the store.
    pub block: Block,
}

/// Why a chunk can't be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// It is longer than a chunk may be.
    #[error("a chunk of {len} bytes is too long to seal, at most {CHUNK_BYTES_MAX} are")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// Why a block can't be opened. The block's own bytes were verified before, so none of these is damage on the way:
/// either the ref is not of this block or whoever wrote it didn't keep to the format.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The ref is of another block.
    #[error("block {found} is not {wanted}")]
    OtherBlock {
        /// The block of the ref.
        wanted: BlockId,
        /// The block given.
        found: BlockId,
    },
    /// Shorter than a header and a tag, or longer than a block may be.
    #[error("block {id}: {len} bytes are no sealed chunk")]
    Length {
        /// The block.
        id: BlockId,
        /// Its length.
        len: usize,
    },
    /// The ref's key doesn't open it.
    #[error("block {id} does not open with the key of its ref")]
    Key {
        /// The block.
        id: BlockId,
    },
    /// The header inside is none of ours.
    #[error("block {id}: {source}")]
    Header {
        /// The block.
        id: BlockId,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// It is a piece of something else.
    #[error("block {id} is of kind {found:?}, not {wanted:?}")]
    Kind {
        /// The block.
        id: BlockId,
        /// The kind asked for.
        wanted: Kind,
        /// Its kind.
        found: Kind,
    },
    /// The ref, the header and the payload disagree about the length.
    #[error("block {id} holds {found} bytes where its ref says {wanted}")]
    RawLength {
        /// The block.
        id: BlockId,
        /// The length in the ref.
        wanted: u32,
        /// The length in the header, or of the payload.
        found: u32,
    },
    /// The compressed payload is not one of as many bytes as the header says.
    #[error("block {id} does not decompress to the {wanted} bytes it promises")]
    Payload {
        /// The block.
        id: BlockId,
        /// The length in the header.
        wanted: u32,
    },
}

/// Seals a chunk. Equal chunks under one key give equal blocks.
pub fn seal(key: &ConvergenceKey, kind: Kind, raw: &[u8], compression: Compression) -> Result<Sealed, SealError> {
    if raw.len() > CHUNK_BYTES_MAX {
        return Err(SealError::TooLong { len: raw.len() });
    }
    let mut buffer = Vec::with_capacity(CHUNK_HEADER_BYTES + raw.len() + TAG_BYTES);
    write_chunk(&mut buffer, kind, raw, compression);
    Ok(seal_chunk(key, buffer, raw.len() as u32))
}

/// Seals header and payload. They go through the caches once more for each step, but through memory only once.
pub(crate) fn seal_chunk(key: &ConvergenceKey, mut chunk: Vec<u8>, len: u32) -> Sealed {
    let key = BlockKey::from_bytes(*blake3::keyed_hash(key.as_bytes(), &chunk).as_bytes());
    encrypt(&key, &mut chunk);
    let block = Block::seal_bytes(chunk);
    Sealed { reference: Ref { id: block.id(), key, len }, block }
}

/// Opens a block with its ref. `kind` is what the caller will take the bytes for.
pub fn open(reference: &Ref, block: &Block, kind: Kind) -> Result<Bytes, OpenError> {
    let id = block.id();
    if id != reference.id {
        return Err(OpenError::OtherBlock { wanted: reference.id, found: id });
    }
    let chunk = decrypt(&reference.key, block)?;
    let mut input = Reader::new(&chunk);
    let header = Header::decode(&mut input).map_err(|source| OpenError::Header { id, source })?;
    if header.kind != kind {
        return Err(OpenError::Kind { id, wanted: kind, found: header.kind });
    }
    let wanted = reference.len;
    if header.raw_len != wanted {
        return Err(OpenError::RawLength { id, wanted, found: header.raw_len });
    }
    match header.codec {
        // A block is at most 1 MiB, so every length in it fits.
        Codec::Raw if input.left() != wanted as usize => {
            Err(OpenError::RawLength { id, wanted, found: input.left() as u32 })
        }
        Codec::Raw => Ok(Bytes::from(chunk).slice(CHUNK_HEADER_BYTES..)),
        Codec::Zstd => compress::decompress(input.rest(), wanted as usize)
            .map(Bytes::from)
            .ok_or(OpenError::Payload { id, wanted }),
    }
}

/// Appends header and payload to the empty `buffer`, which has room for the raw bytes and the tag.
fn write_chunk(buffer: &mut Vec<u8>, kind: Kind, raw: &[u8], compression: Compression) {
    let header = |codec| Header { kind, codec, raw_len: raw.len() as u32 }.to_bytes();
    buffer.extend_from_slice(&header(Codec::Zstd));
    if compression == Compression::Probe && compress::compress(raw, buffer) {
        // Give back what compression saved, less the tag's room: blocks are kept in caches.
        buffer.shrink_to(buffer.len() + TAG_BYTES);
        return;
    }
    buffer.clear();
    buffer.extend_from_slice(&header(Codec::Raw));
    buffer.extend_from_slice(raw);
}

fn encrypt(key: &BlockKey, buffer: &mut Vec<u8>) {
    let tag = cipher(key)
        .encrypt_inout_detached(&Nonce::default(), &[], buffer.as_mut_slice().into())
        .expect("a chunk is shorter than the cipher's 256 GiB");
    buffer.extend_from_slice(&tag);
}

fn decrypt(key: &BlockKey, block: &Block) -> Result<Vec<u8>, OpenError> {
    let id = block.id();
    let sealed = block.bytes().as_ref();
    let refuse = OpenError::Length { id, len: sealed.len() };
    if sealed.len() > SEALED_BLOCK_BYTES_MAX {
        return Err(refuse);
    }
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(refuse)?;
    if ciphertext.len() < CHUNK_HEADER_BYTES {
        return Err(OpenError::Length { id, len: sealed.len() });
    }
    let mut chunk = ciphertext.to_vec();
    cipher(key)
        .decrypt_inout_detached(&Nonce::default(), &[], chunk.as_mut_slice().into(), &Tag::from(*tag))
        .map_err(|_| OpenError::Key { id })?;
    Ok(chunk)
}

fn cipher(key: &BlockKey) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.as_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ConvergenceKey {
        ConvergenceKey::from_bytes([7; 32])
    }

    fn sealed(raw: &[u8]) -> Sealed {
        seal(&key(), Kind::Data, raw, Compression::Probe).unwrap()
    }

    /// Seals a header and a payload that `seal` would not make, under a ref that claims `len`.
    fn forged(header: [u8; CHUNK_HEADER_BYTES], payload: &[u8], len: u32) -> Result<Bytes, OpenError> {
        let sealed = seal_chunk(&key(), [&header, payload].concat(), len);
        open(&sealed.reference, &sealed.block, Kind::Data)
    }

    fn header(codec: Codec, raw_len: u32) -> [u8; CHUNK_HEADER_BYTES] {
        Header { kind: Kind::Data, codec, raw_len }.to_bytes()
    }

    #[test]
    fn equal_chunks_under_one_key_are_equal_blocks() {
        assert_eq!(sealed(b"chunk").reference, sealed(b"chunk").reference);
        let other = seal(&ConvergenceKey::from_bytes([8; 32]), Kind::Data, b"chunk", Compression::Never);
        assert_ne!(other.unwrap().reference.id, sealed(b"chunk").reference.id);
    }

    #[test]
    fn an_incompressible_chunk_grows_by_header_and_tag_and_copies_nothing_later() {
        let raw: Vec<u8> = (0..=255).collect();
        let sealed = seal(&key(), Kind::Data, &raw, Compression::Probe).unwrap();
        assert_eq!(sealed.block.len(), raw.len() + CHUNK_HEADER_BYTES + TAG_BYTES);
    }

    #[test]
    fn one_kind_does_not_open_as_another() {
        let sealed = sealed(b"chunk");
        let error = open(&sealed.reference, &sealed.block, Kind::Root).unwrap_err();
        assert!(matches!(error, OpenError::Kind { wanted: Kind::Root, found: Kind::Data, .. }));
    }

    #[test]
    fn a_ref_of_another_block_or_with_another_key_or_length_opens_nothing() {
        let (one, two) = (sealed(b"one"), sealed(b"two"));
        let other = open(&one.reference, &two.block, Kind::Data).unwrap_err();
        assert!(matches!(other, OpenError::OtherBlock { .. }));
        let wrong_key = Ref { key: two.reference.key.clone(), ..one.reference.clone() };
        assert!(matches!(open(&wrong_key, &one.block, Kind::Data), Err(OpenError::Key { .. })));
        let wrong_len = Ref { len: 4, ..one.reference };
        assert!(matches!(open(&wrong_len, &one.block, Kind::Data), Err(OpenError::RawLength { .. })));
    }

    #[test]
    fn a_chunk_above_the_largest_is_refused() {
        let raw = vec![0; CHUNK_BYTES_MAX + 1];
        let refused = seal(&key(), Kind::Data, &raw, Compression::Probe).unwrap_err();
        assert_eq!(refused, SealError::TooLong { len: raw.len() });
        let largest = seal(&key(), Kind::Data, &raw[1..], Compression::Never).unwrap();
        assert_eq!(largest.block.len(), SEALED_BLOCK_BYTES_MAX);
    }

    #[test]
    fn blocks_too_short_or_too_long_are_refused() {
        for len in [0, CHUNK_HEADER_BYTES + TAG_BYTES - 1, SEALED_BLOCK_BYTES_MAX + 1] {
            let block = Block::seal_bytes(vec![0; len]);
            let reference = Ref { id: block.id(), key: BlockKey::from_bytes([0; 32]), len: 0 };
            let error = open(&reference, &block, Kind::Data).unwrap_err();
            assert_eq!(error, OpenError::Length { id: block.id(), len });
        }
    }

    #[test]
    fn a_payload_of_another_length_than_promised_is_refused() {
        assert_eq!(forged(header(Codec::Raw, 3), b"abc", 3).unwrap(), &b"abc"[..]);
        for payload in [&b"ab"[..], b"abcd", b""] {
            let error = forged(header(Codec::Raw, 3), payload, 3).unwrap_err();
            assert!(matches!(error, OpenError::RawLength { .. }), "{payload:?}");
        }
    }

    #[test]
    fn a_compression_bomb_is_refused_at_the_promised_length() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let error = forged(header(Codec::Zstd, 1000), &bomb, 1000).unwrap_err();
        assert!(matches!(error, OpenError::Payload { wanted: 1000, .. }));
    }

    #[test]
    fn a_frame_shorter_than_promised_or_no_frame_is_refused() {
        let frame = zstd::bulk::compress(&[0; 999], 1).unwrap();
        assert!(matches!(forged(header(Codec::Zstd, 1000), &frame, 1000), Err(OpenError::Payload { .. })));
        assert!(matches!(forged(header(Codec::Zstd, 4), b"abcd", 4), Err(OpenError::Payload { .. })));
    }

    #[test]
    fn a_header_of_another_version_is_refused() {
        let mut newer = header(Codec::Raw, 3);
        newer[0] = 2;
        let error = forged(newer, b"abc", 3).unwrap_err();
        assert!(matches!(error, OpenError::Header { source: DecodeError::Version { found: 2, .. }, .. }));
    }
}
