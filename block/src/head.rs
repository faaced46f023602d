//! Heads: a device's signed pointer to its tree.
//!
//! What must be compared without a key is outside: volume, device, sequence, version vector. Where the tree is, when it
//! was made and what it is called is sealed for readers, with all that precedes it as associated data. The device's
//! signature covers everything, and the volume's certificate in it says that the device may sign.

use bytes::Bytes;
use thiserror::Error;

use crate::codec::{DecodeError, Reader, Writer, check_bound};
use crate::device::{DeviceCert, DeviceKey};
use crate::id::{DeviceId, VolumeId};
use crate::keys::{ReadKey, VolumeKeys, random, volume_id};
use crate::limits::{DEVICES_MAX, HEAD_BYTES_MAX, LABEL_BYTES_MAX, SEQ_LIMIT};
use crate::reference::Ref;
use crate::signature::{self, Purpose, SIGNATURE_BYTES, SignatureError};
use crate::time::Timestamp;
use crate::vector::{self, Vector, seq_of};
use crate::wrap::{UnwrapError, WRAP_BYTES, unwrap, wrap_with_nonce};

const VERSION: u8 = 1;
pub(crate) const PURPOSE: &str = "head";
/// The sealed part is padded to a multiple of this: its length then says little about a label.
const PADDING: usize = 64;
const PLAIN_BYTES_MAX: usize = (Ref::BYTES + Timestamp::BYTES + 8 + 1 + 1 + LABEL_BYTES_MAX).next_multiple_of(PADDING);
const SEALED_BYTES_MAX: usize = PLAIN_BYTES_MAX + WRAP_BYTES;

// The largest head that can be signed fits the bound of one.
const _: () = {
    let outside = 1 + 16 + DeviceCert::BYTES + 8 + 32 + 2 + DEVICES_MAX * (32 + 8);
    assert!(outside + 2 + SEALED_BYTES_MAX + SIGNATURE_BYTES <= HEAD_BYTES_MAX);
};

/// Why a head was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum HeadKind {
    /// By a flush; thinning may drop it.
    Automatic = 0,
    /// By someone who asked for a snapshot; only they drop it.
    Named = 1,
}

/// What a device says in a head, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFields {
    /// The device's own count of heads, from 1.
    pub seq: u64,
    /// [`head_hash`] of the device's head before this one; zero in its first.
    pub previous: [u8; 32],
    /// What is included of other devices. The signing device's own entry is set to `seq`.
    pub vector: Vector,
    /// When it was signed, by the device's clock. For people: nothing is ordered by it.
    pub time: Timestamp,
    /// The journal's sequence number up to which changes are in this tree.
    pub delta_upto: u64,
    /// The block of the volume's root.
    pub root: Ref,
    /// Why it was signed.
    pub kind: HeadKind,
    /// What its maker calls it.
    pub label: Option<String>,
}

/// A verified head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The volume.
    pub volume: VolumeId,
    /// The volume's certificate for the device.
    pub cert: DeviceCert,
    /// The device that signed it.
    pub device: DeviceId,
    /// The device's own count of heads, from 1.
    pub seq: u64,
    /// [`head_hash`] of the device's head before this one; zero in its first.
    pub previous: [u8; 32],
    /// What is included of each device, this one too.
    pub vector: Vector,
    /// When it was signed, by the device's clock.
    pub time: Timestamp,
    /// The journal's sequence number up to which changes are in this tree.
    pub delta_upto: u64,
    /// The block of the volume's root.
    pub root: Ref,
    /// Why it was signed.
    pub kind: HeadKind,
    /// What its maker calls it.
    pub label: Option<String>,
    /// The device's signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

/// What of a head can be known without the read key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadStamp {
    /// The volume.
    pub volume: VolumeId,
    /// The volume's certificate for the device.
    pub cert: DeviceCert,
    /// The device's own count of heads, from 1.
    pub seq: u64,
    /// [`head_hash`] of the device's head before this one; zero in its first.
    pub previous: [u8; 32],
    /// What is included of each device.
    pub vector: Vector,
}

/// Why a head is refused, or can't be signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeadError {
    /// It doesn't keep to the format or its bounds.
    #[error("head: {0}")]
    Format(#[from] DecodeError),
    /// It is of another volume.
    #[error("the head is of volume {found}, not {wanted}")]
    OtherVolume {
        /// The volume asked for.
        wanted: VolumeId,
        /// The volume it names.
        found: VolumeId,
    },
    /// The volume didn't sign the device's certificate.
    #[error("head of device {device}: certificate: {source}")]
    Certificate {
        /// The device.
        device: DeviceId,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// The certificate gives no right to sign heads.
    #[error("device {device} may not sign heads")]
    NoRight {
        /// The device.
        device: DeviceId,
    },
    /// The device didn't sign it.
    #[error("head of device {device}: {source}")]
    Signature {
        /// The device.
        device: DeviceId,
        /// What is wrong with it.
        source: SignatureError,
    },
    /// The sealed part doesn't open with the read key.
    #[error("head of device {device}: {source}")]
    Sealed {
        /// The device.
        device: DeviceId,
        /// What is wrong with it.
        source: UnwrapError,
    },
}

/// What the next head of the same device names as its `previous`.
pub fn head_hash(head: &[u8]) -> [u8; 32] {
    *blake3::hash(head).as_bytes()
}

impl Head {
    /// Signs a head. `cert` is the volume's certificate for `device`.
    pub fn sign(
        fields: HeadFields,
        keys: &VolumeKeys,
        device: &DeviceKey,
        cert: &DeviceCert,
    ) -> Result<Bytes, HeadError> {
        sign_with_nonce(fields, keys, device, cert, &random())
    }
}

/// As [`Head::sign`], with the nonce of the sealed part given; only vectors bring their own.
pub(crate) fn sign_with_nonce(
    mut fields: HeadFields,
    keys: &VolumeKeys,
    device: &DeviceKey,
    cert: &DeviceCert,
    nonce: &[u8; 24],
) -> Result<Bytes, HeadError> {
    check_certificate(cert, &keys.volume_public())?;
    if cert.device != device.id() {
        return Err(DecodeError::invalid("head", "the certificate is of another device").into());
    }
    set_own_entry(&mut fields.vector, cert.device, fields.seq);
    let stamp = HeadStamp {
        volume: keys.volume(),
        cert: cert.clone(),
        seq: fields.seq,
        previous: fields.previous,
        vector: fields.vector.clone(),
    };
    stamp.check()?;
    let mut out = Writer::with_capacity(1024);
    stamp.encode(&mut out);
    let plain = sealed_part(&fields)?;
    let sealed = wrap_with_nonce(keys.read().heads().as_bytes(), PURPOSE, out.as_slice(), &plain, nonce);
    out.u16(sealed.len() as u16).raw(&sealed);
    let signature = device.sign(Purpose::Head, out.as_slice());
    out.raw(&signature);
    Ok(out.into_bytes())
}

/// A head from outside.
#[derive(Debug, Clone)]
pub struct UntrustedHead(Bytes);

impl UntrustedHead {
    /// Takes bytes that are no longer than a head may be.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, HeadError> {
        let bytes = bytes.into();
        check_bound("head", bytes.len() as u64, HEAD_BYTES_MAX as u64)?;
        Ok(UntrustedHead(bytes))
    }

    /// The bytes as they came, or are to be sent.
    pub const fn as_sent(&self) -> &Bytes {
        &self.0
    }

    /// Verifies and opens the head.
    pub fn verify(&self, volume_public: &[u8; 32], read: &ReadKey, volume: VolumeId) -> Result<Head, HeadError> {
        let parts = Parts::verify(&self.0, volume_public)?;
        if parts.stamp.volume != volume {
            return Err(HeadError::OtherVolume { wanted: volume, found: parts.stamp.volume });
        }
        let device = parts.stamp.cert.device;
        let plain = unwrap(read.heads().as_bytes(), PURPOSE, parts.outside, parts.sealed)
            .map_err(|source| HeadError::Sealed { device, source })?;
        Ok(parts.into_head(&plain)?)
    }

    /// Verifies the head without opening it: for those who keep heads and can't read.
    pub fn verify_signature(&self, volume_public: &[u8; 32]) -> Result<HeadStamp, HeadError> {
        Ok(Parts::verify(&self.0, volume_public)?.stamp)
    }
}

/// A head taken apart, its signatures verified.
struct Parts<'a> {
    stamp: HeadStamp,
    outside: &'a [u8],
    sealed: &'a [u8],
    signature: [u8; SIGNATURE_BYTES],
}

impl<'a> Parts<'a> {
    fn verify(bytes: &'a [u8], volume_public: &[u8; 32]) -> Result<Self, HeadError> {
        let mut input = Reader::new(bytes);
        let stamp = HeadStamp::decode(&mut input)?;
        let outside = &bytes[..bytes.len() - input.left()];
        let sealed = input.bytes16("head sealed part", SEALED_BYTES_MAX)?;
        let signed = &bytes[..bytes.len() - input.left()];
        let signature = input.array("head signature")?;
        input.finish("head")?;
        let wanted = volume_id(volume_public);
        if stamp.volume != wanted {
            return Err(HeadError::OtherVolume { wanted, found: stamp.volume });
        }
        check_certificate(&stamp.cert, volume_public)?;
        let device = stamp.cert.device;
        signature::verify(device.as_bytes(), Purpose::Head, signed, &signature)
            .map_err(|source| HeadError::Signature { device, source })?;
        Ok(Parts { stamp, outside, sealed, signature })
    }

    fn into_head(self, plain: &[u8]) -> Result<Head, DecodeError> {
        let HeadStamp { volume, cert, seq, previous, vector } = self.stamp;
        let mut input = Reader::new(plain);
        let root = Ref::decode(&mut input)?;
        let time = Timestamp::decode(&mut input, "head time")?;
        let delta_upto = input.u64_max("head delta", SEQ_LIMIT - 1)?;
        let kind = match input.u8("head kind")? {
            0 => HeadKind::Automatic,
            1 => HeadKind::Named,
            _ => return Err(DecodeError::invalid("head kind", "not known")),
        };
        let label = decode_label(input.bytes8("head label", LABEL_BYTES_MAX)?)?;
        let padding = input.rest();
        let aligned = padding.len() < PADDING && plain.len().is_multiple_of(PADDING);
        if !aligned || padding.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::invalid("head padding", "not zeros up to the next multiple of 64"));
        }
        Ok(Head {
            volume,
            device: cert.device,
            cert,
            seq,
            previous,
            vector,
            time,
            delta_upto,
            root,
            kind,
            label,
            signature: self.signature,
        })
    }
}

impl HeadStamp {
    fn encode(&self, out: &mut Writer) {
        out.u8(VERSION).raw(self.volume.as_bytes());
        self.cert.encode(out);
        out.u64(self.seq).raw(&self.previous);
        vector::encode(&self.vector, out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.version("head", VERSION)?;
        let stamp = HeadStamp {
            volume: VolumeId::from_bytes(input.array("head volume")?),
            cert: DeviceCert::decode(input)?,
            seq: input.u64("head sequence")?,
            previous: input.array("head previous")?,
            vector: vector::decode(input)?,
        };
        stamp.check()?;
        Ok(stamp)
    }

    /// What holds for every head, made here or elsewhere.
    fn check(&self) -> Result<(), DecodeError> {
        check_bound("head sequence", self.seq, SEQ_LIMIT - 1)?;
        vector::check(&self.vector)?;
        if seq_of(&self.vector, &self.cert.device) != self.seq {
            return Err(DecodeError::invalid("head vector", "the device's own entry is not this head"));
        }
        if (self.seq == 1) != (self.previous == [0; 32]) {
            return Err(DecodeError::invalid("head previous", "zero in the first head and in no other"));
        }
        Ok(())
    }
}

fn check_certificate(cert: &DeviceCert, volume_public: &[u8; 32]) -> Result<(), HeadError> {
    let device = cert.device;
    cert.verify(volume_public).map_err(|source| HeadError::Certificate { device, source })?;
    if !cert.rights.may_sign_heads() {
        return Err(HeadError::NoRight { device });
    }
    Ok(())
}

fn set_own_entry(vector: &mut Vector, device: DeviceId, seq: u64) {
    match vector.binary_search_by_key(&device, |(device, _)| *device) {
        Ok(at) => vector[at].1 = seq,
        Err(at) => vector.insert(at, (device, seq)),
    }
}

/// What is sealed for readers, padded.
pub(crate) fn sealed_part(fields: &HeadFields) -> Result<Vec<u8>, DecodeError> {
    check_bound("head delta", fields.delta_upto, SEQ_LIMIT - 1)?;
    fields.time.check("head time")?;
    let label = fields.label.as_deref().unwrap_or_default();
    check_bound("head label", label.len() as u64, LABEL_BYTES_MAX as u64)?;
    if fields.label.is_some() && decode_label(label.as_bytes())?.is_none() {
        return Err(DecodeError::invalid("head label", "it is empty"));
    }
    let mut out = Writer::with_capacity(PLAIN_BYTES_MAX);
    fields.root.encode(&mut out);
    fields.time.encode(&mut out);
    out.u64(fields.delta_upto).u8(fields.kind as u8);
    out.u8(label.len() as u8).raw(label.as_bytes());
    let mut plain = out.into_vec();
    plain.resize(plain.len().next_multiple_of(PADDING), 0);
    Ok(plain)
}

/// A label is shown on terminals and used as a name, so it holds no control characters.
fn decode_label(bytes: &[u8]) -> Result<Option<String>, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::invalid("head label", "it is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(DecodeError::invalid("head label", "it holds a control character"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests;
