//! Ed25519 signatures that name what they sign.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

/// Bytes of a signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;

/// What a signature is about. Its name precedes the signed bytes, so a signature of one kind is none of another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    DeviceCert,
    Head,
    Epoch,
}

impl Purpose {
    /// The name with a NUL: no name is a prefix of another one.
    const fn name(self) -> &'static [u8] {
        match self {
            Purpose::DeviceCert => b"cairn 2026-11 sign device certificate\0",
            Purpose::Head => b"cairn 2026-11 sign head\0",
            Purpose::Epoch => b"cairn 2026-11 sign circle epoch\0",
        }
    }
}

/// A signature that doesn't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The public key is not a point of the curve, or a weak one.
    #[error("the public key is not an Ed25519 key")]
    BadKey,
    /// The signature was not made by this key over these bytes.
    #[error("the signature is not of this key over these bytes")]
    BadSignature,
}

pub(crate) fn sign(key: &SigningKey, purpose: Purpose, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
    key.sign(&[purpose.name(), message].concat()).to_bytes()
}

pub(crate) fn verify(
    public: &[u8; 32],
    purpose: Purpose,
    message: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
) -> Result<(), SignatureError> {
    let key = VerifyingKey::from_bytes(public).map_err(|_| SignatureError::BadKey)?;
    // Strict: one message of one key has few valid signatures, and weak keys have none.
    key.verify_strict(&[purpose.name(), message].concat(), &Signature::from_bytes(signature))
        .map_err(|_| SignatureError::BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_one_purpose_is_none_of_another() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = sign(&key, Purpose::Head, b"message");
        assert_eq!(verify(&public, Purpose::Head, b"message", &signature), Ok(()));
        let other = verify(&public, Purpose::DeviceCert, b"message", &signature);
        assert_eq!(other, Err(SignatureError::BadSignature));
    }

    #[test]
    fn a_weak_key_verifies_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let verdict = verify(&identity, Purpose::Head, b"", &[0; 64]);
        assert_eq!(verdict, Err(SignatureError::BadSignature));
    }
}
