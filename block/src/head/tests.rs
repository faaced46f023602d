//! What a head promises, and what is refused.

use super::*;
use crate::device::Rights;
use crate::id::BlockId;
use crate::keys::{BlockKey, MasterKey};

fn keys() -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([1; 32]), b"home")
}

fn device() -> DeviceKey {
    DeviceKey::from_bytes(&[2; 32])
}

fn cert() -> DeviceCert {
    keys().certify(device().id(), Rights::OWNER)
}

fn fields() -> HeadFields {
    HeadFields {
        seq: 1,
        previous: [0; 32],
        vector: vec![(DeviceId::from_bytes([9; 32]), 4)],
        time: Timestamp { secs: 1_790_000_000, nanos: 5 },
        delta_upto: 17,
        root: Ref { id: BlockId::of(b"root"), key: BlockKey::from_bytes([3; 32]), len: 99 },
        kind: HeadKind::Named,
        label: Some("before the trip".to_owned()),
    }
}

fn signed(fields: HeadFields) -> Result<Bytes, HeadError> {
    Head::sign(fields, &keys(), &device(), &cert())
}

fn verified(bytes: Bytes) -> Result<Head, HeadError> {
    let keys = keys();
    UntrustedHead::new(bytes)?.verify(&keys.volume_public(), keys.read(), keys.volume())
}

#[test]
fn a_head_verifies_and_says_what_was_signed() {
    let head = verified(signed(fields()).unwrap()).unwrap();
    let wanted = fields();
    assert_eq!((head.seq, head.time, head.delta_upto), (1, wanted.time, 17));
    assert_eq!((head.root, head.kind, head.label), (wanted.root, wanted.kind, wanted.label));
    assert_eq!(head.device, device().id());
    assert_eq!(seq_of(&head.vector, &device().id()), 1);
    assert_eq!(seq_of(&head.vector, &DeviceId::from_bytes([9; 32])), 4);
}

#[test]
fn any_flipped_bit_is_refused() {
    let bytes = signed(fields()).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(verified(altered.into()).is_err(), "bit {bit}");
    }
}

#[test]
fn a_truncated_or_longer_head_is_refused() {
    let bytes = signed(fields()).unwrap();
    for len in 0..bytes.len() {
        assert!(verified(bytes.slice(..len)).is_err(), "length {len}");
    }
    assert!(verified([&bytes[..], &[0]].concat().into()).is_err());
    assert!(UntrustedHead::new(vec![0; HEAD_BYTES_MAX + 1]).is_err());
}

#[test]
fn a_head_of_another_volume_is_refused() {
    let other = VolumeKeys::derive(&MasterKey::from_bytes([1; 32]), b"work");
    let head = UntrustedHead::new(signed(fields()).unwrap()).unwrap();
    let refused = head.verify(&other.volume_public(), other.read(), other.volume());
    assert!(matches!(refused, Err(HeadError::OtherVolume { .. })));
    let swapped = head.verify(&keys().volume_public(), keys().read(), other.volume());
    assert!(matches!(swapped, Err(HeadError::OtherVolume { .. })));
    let unread = head.verify(&keys().volume_public(), other.read(), keys().volume());
    assert!(matches!(unread, Err(HeadError::Sealed { .. })));
}

#[test]
fn a_device_without_a_certificate_or_a_right_signs_nothing() {
    let stranger = DeviceKey::from_bytes(&[4; 32]);
    assert!(Head::sign(fields(), &keys(), &stranger, &cert()).is_err());
    let powerless = keys().certify(device().id(), Rights::DELETE_SNAPSHOTS);
    let refused = Head::sign(fields(), &keys(), &device(), &powerless);
    assert_eq!(refused, Err(HeadError::NoRight { device: device().id() }));
    let raised = DeviceCert { rights: Rights::WRITE, ..powerless };
    let refused = Head::sign(fields(), &keys(), &device(), &raised);
    assert!(matches!(refused, Err(HeadError::Certificate { .. })));
}

#[test]
fn a_signature_is_checked_without_the_read_key() {
    let bytes = signed(fields()).unwrap();
    let head = UntrustedHead::new(bytes).unwrap();
    let stamp = head.verify_signature(&keys().volume_public()).unwrap();
    assert_eq!((stamp.volume, stamp.seq), (keys().volume(), 1));
    assert!(head.verify_signature(device().id().as_bytes()).is_err());
}

#[test]
fn what_no_reader_would_take_is_not_signed() {
    let chained = head_hash(b"a head");
    let refused = [
        HeadFields { seq: 0, ..fields() },
        HeadFields { seq: SEQ_LIMIT, previous: chained, ..fields() },
        HeadFields { seq: 2, ..fields() },
        HeadFields { previous: chained, ..fields() },
        HeadFields { delta_upto: SEQ_LIMIT, ..fields() },
        HeadFields { label: Some("a\nb".to_owned()), ..fields() },
        HeadFields { label: Some(String::new()), ..fields() },
        HeadFields { label: Some("x".repeat(LABEL_BYTES_MAX + 1)), ..fields() },
        HeadFields { time: Timestamp { secs: 0, nanos: 1_000_000_000 }, ..fields() },
    ];
    for fields in refused {
        assert!(signed(fields.clone()).is_err(), "{fields:?}");
    }
    assert!(signed(HeadFields { seq: 2, previous: chained, ..fields() }).is_ok());
}

#[test]
fn a_full_vector_and_a_longest_label_fit() {
    let others = (0..DEVICES_MAX - 1).map(|n| {
        let mut id = [0; 32];
        id[0..2].copy_from_slice(&(n as u16).to_be_bytes());
        (DeviceId::from_bytes(id), SEQ_LIMIT - 1)
    });
    let label = Some("x".repeat(LABEL_BYTES_MAX));
    let bytes = signed(HeadFields { vector: others.collect(), label, ..fields() }).unwrap();
    assert_eq!(verified(bytes).unwrap().vector.len(), DEVICES_MAX);
}

#[test]
fn the_length_of_a_short_label_does_not_show() {
    let without = signed(HeadFields { label: None, ..fields() }).unwrap();
    assert_eq!(signed(fields()).unwrap().len(), without.len());
}
