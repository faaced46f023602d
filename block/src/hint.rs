//! Dedup hints: where a chunk that is known already was sealed to, so that meeting it again costs one hash.
//!
//! A store keeps hints without a key: it sees neither chunks nor refs.

use thiserror::Error;

use crate::chunk::Kind;
use crate::codec::DecodeError;
use crate::keys::DedupKey;
use crate::reference::Ref;
use crate::wrap::{UnwrapError, unwrap, wrap};

pub(crate) const PURPOSE: &str = "dedup hint";

/// A hint that can't be used. Hints are lossy: the chunk is sealed as if there were none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HintError {
    /// It is not of this volume and chunk.
    #[error("the dedup hint does not open: {0}")]
    Sealed(#[from] UnwrapError),
    /// What was sealed is no ref.
    #[error("the dedup hint holds no ref: {0}")]
    Ref(#[from] DecodeError),
}

/// What a chunk is looked up by: a keyed hash of its raw bytes and its kind.
pub fn dedup_key(key: &DedupKey, kind: Kind, raw: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key.as_bytes());
    // The kind goes last: in front it would shift every piece that is hashed in parallel.
    hasher.update(raw).update(&[kind as u8]);
    *hasher.finalize().as_bytes()
}

/// Seals the ref of the chunk with this dedup key.
pub fn seal_hint(key: &DedupKey, dedup_key: &[u8; 32], reference: &Ref) -> Vec<u8> {
    wrap(key.as_bytes(), PURPOSE, dedup_key, &reference.to_bytes())
}

/// Opens the hint that was sealed for this dedup key.
pub fn open_hint(key: &DedupKey, dedup_key: &[u8; 32], sealed: &[u8]) -> Result<Ref, HintError> {
    let plain = unwrap(key.as_bytes(), PURPOSE, dedup_key, sealed)?;
    Ok(Ref::from_bytes(&plain)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlockId;
    use crate::keys::BlockKey;

    #[test]
    fn a_hint_opens_for_its_own_chunk_and_key_only() {
        let reference = Ref { id: BlockId::of(b"x"), key: BlockKey::from_bytes([1; 32]), len: 4 };
        let key = DedupKey::from_bytes([2; 32]);
        let chunk = dedup_key(&key, Kind::Data, b"chunk");
        let hint = seal_hint(&key, &chunk, &reference);
        assert_eq!(open_hint(&key, &chunk, &hint), Ok(reference));
        let other = dedup_key(&key, Kind::Data, b"other");
        assert!(open_hint(&key, &other, &hint).is_err());
        assert!(open_hint(&DedupKey::from_bytes([3; 32]), &chunk, &hint).is_err());
    }

    #[test]
    fn kind_key_and_chunk_all_tell_dedup_keys_apart() {
        let key = DedupKey::from_bytes([2; 32]);
        let base = dedup_key(&key, Kind::Data, b"chunk");
        assert_ne!(base, dedup_key(&key, Kind::Xattrs, b"chunk"));
        assert_ne!(base, dedup_key(&key, Kind::Data, b"chunk\x01"));
        assert_ne!(base, dedup_key(&DedupKey::from_bytes([3; 32]), Kind::Data, b"chunk"));
    }
}
