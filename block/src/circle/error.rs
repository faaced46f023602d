//! Why an epoch is refused, or can't be signed.

use thiserror::Error;

use crate::codec::{DecodeError, TooLong};
use crate::id::{CircleId, DeviceId};
use crate::signature::SignatureError;

/// Why an epoch is refused, or can't be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EpochError {
    /// It doesn't keep to the format or its bounds.
    #[error("epoch: {0}")]
    Format(#[from] DecodeError),
    /// A field is too long to be written.
    #[error("epoch: {0}")]
    TooLong(#[from] TooLong),
    /// It is of another circle.
    #[error("the epoch is of circle {found}, not {wanted}")]
    OtherCircle {
        /// The circle asked for.
        wanted: CircleId,
        /// The circle it names.
        found: CircleId,
    },
    /// It doesn't follow the epoch it was held against.
    #[error("epoch {found} where epoch {wanted} should follow")]
    NotNext {
        /// The number that follows.
        wanted: u64,
        /// The number it has.
        found: u64,
    },
    /// It follows another epoch than the one it was held against.
    #[error("epoch {number} follows another past")]
    OtherPast {
        /// Its number.
        number: u64,
    },
    /// Its hash is not the one that was promised.
    #[error("epoch {number} is not the one whose hash was given")]
    OtherHash {
        /// Its number.
        number: u64,
    },
    /// Who signed it had no right to.
    #[error("node {signer} is no owner in the epoch before and can't sign epoch {number}")]
    NotOwner {
        /// Who signed.
        signer: DeviceId,
        /// The epoch's number.
        number: u64,
    },
    /// The signer didn't sign it.
    #[error("epoch of node {signer}: {source}")]
    Signature {
        /// Who is said to have signed.
        signer: DeviceId,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// A member is said to have joined at another time than it did.
    #[error("node {node} joined with epoch {wanted}, not {found}")]
    Joined {
        /// The member.
        node: DeviceId,
        /// When it joined.
        wanted: u64,
        /// When it is said to have joined.
        found: u64,
    },
    /// A node is revoked that is no member of the epoch before.
    #[error("node {node} is revoked and was no member")]
    NotMember {
        /// The node.
        node: DeviceId,
    },
    /// A node that was revoked no longer is.
    #[error("node {node} was revoked, and the epoch has forgotten it")]
    Forgotten {
        /// The node.
        node: DeviceId,
    },
}
