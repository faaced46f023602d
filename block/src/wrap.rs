//! Wrapping: secrets sealed under a long-lived key.
//!
//! `nonce ‖ commitment ‖ ciphertext ‖ tag`. From the key, the random nonce, the purpose and the associated data follow a
//! key for this message alone and a commitment to all four. The commitment is compared first, in constant time: a wrapped
//! secret opens under one key, for one purpose and one owner, or not at all, and a cipher that would accept two keys is
//! never asked.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::keys::random;
use crate::limits::TAG_BYTES;

const CONTEXT: &str = "cairn 2026-11 wrap";
const NONCE_BYTES: usize = 24;
const COMMITMENT_BYTES: usize = 32;

/// How much longer a wrapped secret is.
pub const WRAP_BYTES: usize = NONCE_BYTES + COMMITMENT_BYTES + TAG_BYTES;

/// Why a wrapped secret doesn't open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnwrapError {
    /// Shorter than what wrapping adds.
    #[error("{len} bytes are no wrapped secret, it has at least {WRAP_BYTES}")]
    TooShort {
        /// The length given.
        len: usize,
    },
    /// It was wrapped with another key, for another purpose or owner, or its first bytes were altered.
    #[error("wrapped with another key, or for another purpose or owner")]
    WrongKey,
    /// The key is right, the contents were altered.
    #[error("the wrapped secret was altered")]
    Damaged,
}

/// Seals `plain` under `key`. `purpose` is a fixed text per kind of secret; `aad` says whose it is and which version.
pub fn wrap(key: &[u8; 32], purpose: &str, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    wrap_with_nonce(key, purpose, aad, plain, &random())
}

/// Opens what [`wrap`] sealed with the same key, purpose and associated data.
pub fn unwrap(key: &[u8; 32], purpose: &str, aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
    let too_short = UnwrapError::TooShort { len: wrapped.len() };
    let (nonce, rest) = wrapped.split_first_chunk::<NONCE_BYTES>().ok_or(too_short)?;
    let (commitment, rest) = rest.split_first_chunk::<COMMITMENT_BYTES>().ok_or(too_short)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(too_short)?;
    let keys = MessageKeys::derive(key, purpose, aad, nonce);
    if !bool::from(keys.commitment.ct_eq(commitment)) {
        return Err(UnwrapError::WrongKey);
    }
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    keys.cipher
        .decrypt_inout_detached(&XNonce::from(*nonce), &[], plain.as_mut_slice().into(), &Tag::from(*tag))
        .map_err(|_| UnwrapError::Damaged)?;
    Ok(plain)
}

/// The nonce must be random and used once; only vectors, which must come out the same each time, bring their own.
pub(crate) fn wrap_with_nonce(
    key: &[u8; 32],
    purpose: &str,
    aad: &[u8],
    plain: &[u8],
    nonce: &[u8; NONCE_BYTES],
) -> Vec<u8> {
    let keys = MessageKeys::derive(key, purpose, aad, nonce);
    let mut wrapped = Vec::with_capacity(plain.len() + WRAP_BYTES);
    wrapped.extend_from_slice(nonce);
    wrapped.extend_from_slice(&keys.commitment);
    wrapped.extend_from_slice(plain);
    let body = &mut wrapped[NONCE_BYTES + COMMITMENT_BYTES..];
    let tag = keys
        .cipher
        .encrypt_inout_detached(&XNonce::from(*nonce), &[], body.into())
        .expect("a wrapped secret is shorter than the cipher's 256 GiB");
    wrapped.extend_from_slice(&tag);
    wrapped
}

/// What follows from key, purpose, associated data and nonce.
struct MessageKeys {
    cipher: XChaCha20Poly1305,
    commitment: [u8; COMMITMENT_BYTES],
}

impl MessageKeys {
    fn derive(key: &[u8; 32], purpose: &str, aad: &[u8], nonce: &[u8; NONCE_BYTES]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(key).update(nonce);
        // The length keeps the purpose apart from what follows it.
        hasher.update(&(purpose.len() as u64).to_le_bytes()).update(purpose.as_bytes());
        hasher.update(aad);
        let mut output = Zeroizing::new([0; 32 + COMMITMENT_BYTES]);
        hasher.finalize_xof().fill(output.as_mut_slice());
        hasher.zeroize();
        let (cipher_key, commitment) = output.split_at(32);
        MessageKeys {
            cipher: XChaCha20Poly1305::new_from_slice(cipher_key).expect("the key is 32 bytes"),
            commitment: commitment.try_into().expect("the rest is the commitment"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [5; 32];

    #[test]
    fn a_wrapped_secret_opens() {
        for plain in [&b""[..], b"x", &[9; 1000]] {
            let wrapped = wrap(&KEY, "test", b"owner", plain);
            assert_eq!(wrapped.len(), plain.len() + WRAP_BYTES);
            assert_eq!(unwrap(&KEY, "test", b"owner", &wrapped).unwrap().as_slice(), plain);
        }
    }

    #[test]
    fn another_key_purpose_or_owner_is_refused() {
        let wrapped = wrap(&KEY, "test", b"owner", b"secret");
        let wrong = Err(UnwrapError::WrongKey);
        assert_eq!(unwrap(&[6; 32], "test", b"owner", &wrapped), wrong);
        assert_eq!(unwrap(&KEY, "tes", b"towner", &wrapped), wrong);
        assert_eq!(unwrap(&KEY, "test", b"other", &wrapped), wrong);
    }

    #[test]
    fn any_flipped_bit_and_any_shorter_length_is_refused() {
        let wrapped = wrap(&KEY, "test", b"owner", b"secret");
        for bit in 0..wrapped.len() * 8 {
            let mut altered = wrapped.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(&KEY, "test", b"owner", &altered).is_err(), "bit {bit}");
        }
        for len in 0..wrapped.len() {
            assert!(unwrap(&KEY, "test", b"owner", &wrapped[..len]).is_err(), "length {len}");
        }
    }

    #[test]
    fn the_same_secret_wraps_differently_each_time() {
        assert_ne!(wrap(&KEY, "test", b"", b"secret"), wrap(&KEY, "test", b"", b"secret"));
    }
}
