//! Heads: of strangers, and of a device that signs anything.

use bytes::Bytes;
use cairn_block::{DeviceCert, DeviceKey, Rights, UntrustedHead, VolumeKeys, Writer, wrap};
use ed25519_dalek::{Signer, SigningKey};

use super::blocks::keys;
use crate::input::Input;

const DEVICE: [u8; 32] = [0x22; 32];
/// Where the parts of a head are; see `FORMAT.md`.
const VOLUME_AT: usize = 1;
const CERTIFICATE_AT: usize = 17;

/// The certificate of the device that signs.
fn certificate(keys: &VolumeKeys) -> Vec<u8> {
    let cert: DeviceCert = keys.certify(DeviceKey::from_bytes(&DEVICE).id(), Rights::WRITE);
    let mut out = Writer::new();
    cert.encode(&mut out);
    out.into_vec()
}

/// Volume and certificate are put right; the rest is the input's.
fn signed(keys: &VolumeKeys, outside: &[u8], plain: &[u8]) -> Bytes {
    let mut head = outside.to_vec();
    head.resize(head.len().max(CERTIFICATE_AT + DeviceCert::BYTES), 0);
    head[VOLUME_AT..CERTIFICATE_AT].copy_from_slice(keys.volume().as_bytes());
    head[CERTIFICATE_AT..CERTIFICATE_AT + DeviceCert::BYTES].copy_from_slice(&certificate(keys));
    let key = blake3::derive_key("cairn 2026-11 head key", keys.read().as_bytes());
    let sealed = wrap(&key, "head", &head, plain);
    head.extend_from_slice(&(sealed.len() as u16).to_le_bytes());
    head.extend_from_slice(&sealed);
    let signature = SigningKey::from_bytes(&DEVICE).sign(&[&b"cairn 2026-11 sign head\0"[..], &head].concat());
    head.extend_from_slice(&signature.to_bytes());
    head.into()
}

/// A head.
pub(crate) fn head(data: &[u8]) {
    let keys = keys();
    let verify = |bytes: Bytes| {
        let head = UntrustedHead::new(bytes)?;
        let verified = head.verify(&keys.volume_public(), keys.read(), keys.volume())?;
        let stamp = head.verify_signature(&keys.volume_public()).expect("it was verified");
        assert_eq!((stamp.seq, stamp.vector), (verified.seq, verified.vector.clone()));
        Ok::<_, cairn_block::HeadError>(verified)
    };
    assert!(verify(Bytes::copy_from_slice(data)).is_err(), "a signature was guessed");
    let mut input = Input(data);
    let outside = input.piece();
    if let Ok(head) = verify(signed(&keys, outside, input.0)) {
        assert!(head.seq > 0 && head.seq < 1 << 53 && head.delta_upto < 1 << 53 && head.time.nanos < 1_000_000_000);
        assert!(head.label.is_none_or(|label| !label.chars().any(char::is_control)));
    }
}
