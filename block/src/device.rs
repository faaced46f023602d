//! Devices: keys that may write to volumes, and the certificates that say so.

use std::fmt;
use std::ops::BitOr;

use ed25519_dalek::SigningKey;

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::DeviceId;
use crate::keys::{random, volume_id};
use crate::signature::{self, Purpose, SIGNATURE_BYTES, SignatureError};

/// A device's signing key. It is made on the device and never leaves it.
pub struct DeviceKey(SigningKey);

impl DeviceKey {
    /// A new random key.
    pub fn generate() -> Self {
        Self::from_bytes(&random())
    }

    /// The key with this seed.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        DeviceKey(SigningKey::from_bytes(seed))
    }

    /// The seed. Handle it as what it is.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public half: the device's name.
    pub fn id(&self) -> DeviceId {
        DeviceId::from_bytes(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, purpose: Purpose, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        signature::sign(&self.0, purpose, message)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({}, ..)", self.id().short())
    }
}

/// What a device may do to a volume.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// Sign heads with any change.
    pub const WRITE: Rights = Rights(1);
    /// Sign heads that only add: a backup that can't be made to forget.
    pub const APPEND_ONLY: Rights = Rights(2);
    /// Drop heads that were kept as snapshots.
    pub const DELETE_SNAPSHOTS: Rights = Rights(4);
    /// All that an owner's own device may do.
    pub const OWNER: Rights = Rights(Self::WRITE.0 | Self::DELETE_SNAPSHOTS.0);

    const KNOWN: u8 = Self::WRITE.0 | Self::APPEND_ONLY.0 | Self::DELETE_SNAPSHOTS.0;

    /// The rights with these bits; none if a bit is not known.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::KNOWN == 0 { Some(Rights(bits)) } else { None }
    }

    /// The bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `other` is included.
    pub const fn contains(self, other: Rights) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a head signed under these rights counts.
    pub const fn may_sign_heads(self) -> bool {
        self.contains(Self::WRITE) || self.contains(Self::APPEND_ONLY)
    }
}

impl BitOr for Rights {
    type Output = Rights;

    fn bitor(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            [(Self::WRITE, "write"), (Self::APPEND_ONLY, "append-only"), (Self::DELETE_SNAPSHOTS, "delete-snapshots")];
        let held = names.iter().filter(|(right, _)| self.contains(*right));
        f.debug_set().entries(held.map(|(_, name)| name)).finish()
    }
}

/// A volume's statement that a device may write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCert {
    /// The device.
    pub device: DeviceId,
    /// What it may do.
    pub rights: Rights,
    /// The volume's signature over its id and the two fields above.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl DeviceCert {
    /// Encoded size.
    pub const BYTES: usize = 32 + 1 + SIGNATURE_BYTES;

    pub(crate) fn sign(volume: &SigningKey, device: DeviceId, rights: Rights) -> Self {
        let message = signed_bytes(&volume.verifying_key().to_bytes(), device, rights);
        let signature = signature::sign(volume, Purpose::DeviceCert, &message);
        DeviceCert { device, rights, signature }
    }

    /// Whether the volume with this public key said so.
    pub fn verify(&self, volume_public: &[u8; 32]) -> Result<(), SignatureError> {
        let message = signed_bytes(volume_public, self.device, self.rights);
        signature::verify(volume_public, Purpose::DeviceCert, &message, &self.signature)
    }

    /// Appends the encoded form: device, rights, signature.
    pub fn encode(&self, out: &mut Writer) {
        out.raw(self.device.as_bytes()).u8(self.rights.bits()).raw(&self.signature);
    }

    /// Reads the encoded form. The signature is not looked at: that is [`DeviceCert::verify`]'s part.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let device = DeviceId::from_bytes(input.array("certificate device")?);
        let rights = Rights::from_bits(input.u8("certificate rights")?)
            .ok_or(DecodeError::invalid("certificate rights", "a bit is not known"))?;
        let signature = input.array("certificate signature")?;
        Ok(DeviceCert { device, rights, signature })
    }
}

fn signed_bytes(volume_public: &[u8; 32], device: DeviceId, rights: Rights) -> Vec<u8> {
    let mut out = Writer::with_capacity(16 + 32 + 1);
    out.raw(volume_id(volume_public).as_bytes()).raw(device.as_bytes()).u8(rights.bits());
    out.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{MasterKey, VolumeKeys};

    fn keys(seed: u8) -> VolumeKeys {
        VolumeKeys::derive(&MasterKey::from_bytes([seed; 32]), b"home")
    }

    #[test]
    fn a_certificate_holds_for_its_volume_only() {
        let cert = keys(1).certify(DeviceKey::from_bytes(&[3; 32]).id(), Rights::WRITE);
        assert_eq!(cert.verify(&keys(1).volume_public()), Ok(()));
        assert!(cert.verify(&keys(2).volume_public()).is_err());
    }

    #[test]
    fn rights_cannot_be_raised_and_devices_not_exchanged() {
        let public = keys(1).volume_public();
        let cert = keys(1).certify(DeviceKey::from_bytes(&[3; 32]).id(), Rights::APPEND_ONLY);
        let raised = DeviceCert { rights: Rights::OWNER, ..cert.clone() };
        assert_eq!(raised.verify(&public), Err(SignatureError::BadSignature));
        let moved = DeviceCert { device: DeviceKey::from_bytes(&[4; 32]).id(), ..cert };
        assert_eq!(moved.verify(&public), Err(SignatureError::BadSignature));
    }

    #[test]
    fn a_certificate_reads_back_and_unknown_rights_are_refused() {
        let cert = keys(1).certify(DeviceKey::generate().id(), Rights::OWNER);
        let mut out = Writer::new();
        cert.encode(&mut out);
        let mut bytes = out.into_vec();
        assert_eq!(bytes.len(), DeviceCert::BYTES);
        assert_eq!(DeviceCert::decode(&mut Reader::new(&bytes)).unwrap(), cert);
        bytes[32] = 0x80;
        assert!(DeviceCert::decode(&mut Reader::new(&bytes)).is_err());
    }

    #[test]
    fn rights_without_write_or_append_sign_no_heads() {
        assert!(Rights::OWNER.may_sign_heads() && Rights::APPEND_ONLY.may_sign_heads());
        assert!(!Rights::DELETE_SNAPSHOTS.may_sign_heads());
        assert_eq!(format!("{:?}", Rights::OWNER), r#"{"write", "delete-snapshots"}"#);
    }
}
