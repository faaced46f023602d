use serde_json::{Value, json};

use super::{compare, device, hex, refused, volume};
use crate::device::{DeviceCert, Rights};
use crate::head::{self, Head, HeadError, HeadFields, HeadKind, UntrustedHead, head_hash};
use crate::id::{BlockId, DeviceId};
use crate::keys::BlockKey;
use crate::limits::SEQ_LIMIT;
use crate::reference::Ref;
use crate::signature::Purpose;
use crate::time::Timestamp;
use crate::wrap::wrap_with_nonce;

const NONCE: [u8; 24] = [0x99; 24];
/// Where the fields of a head begin, as FORMAT.md has it.
const RIGHTS_AT: usize = 49;
const SEQ_AT: usize = 114;
const PREVIOUS_AT: usize = 122;
const VECTOR_AT: usize = 154;

#[test]
fn heads() {
    let first = sign(first());
    let second = HeadFields {
        seq: 2,
        previous: head_hash(&first),
        vector: vec![(DeviceId::from_bytes([0xee; 32]), 4), (DeviceId::from_bytes([0xff; 32]), SEQ_LIMIT - 1)],
        time: Timestamp { secs: -1, nanos: 999_999_999 },
        kind: HeadKind::Named,
        label: Some("before the trip \u{2708}".to_owned()),
        ..self::first()
    };
    let valid = vec![case("the first of a device", &first), case("named, after others", &sign(second))];
    compare("heads.json", "Heads.", valid, malformed(&first));
}

fn first() -> HeadFields {
    HeadFields {
        seq: 1,
        previous: [0; 32],
        vector: Vec::new(),
        time: Timestamp { secs: 1_790_000_000, nanos: 1 },
        delta_upto: 17,
        root: Ref { id: BlockId::of(b"root"), key: BlockKey::from_bytes([0x33; 32]), len: 321 },
        kind: HeadKind::Automatic,
        label: None,
    }
}

fn cert() -> DeviceCert {
    volume().certify(device().id(), Rights::OWNER)
}

fn sign(fields: HeadFields) -> Vec<u8> {
    head::sign_with_nonce(fields, &volume(), &device(), &cert(), &NONCE).unwrap().to_vec()
}

fn verified(bytes: &[u8]) -> Result<Head, HeadError> {
    let keys = volume();
    UntrustedHead::new(bytes.to_vec())?.verify(&keys.volume_public(), keys.read(), keys.volume())
}

fn given(name: &str, bytes: &[u8]) -> Value {
    json!({
        "name": name,
        "volume_public": hex(volume().volume_public()),
        "read": hex(volume().read().as_bytes()),
        "head": hex(bytes),
    })
}

fn case(name: &str, bytes: &[u8]) -> Value {
    let head = verified(bytes).unwrap();
    let mut case = given(name, bytes);
    let vector: Vec<_> = head.vector.iter().map(|(device, seq)| json!([device, seq])).collect();
    case["hash"] = hex(head_hash(bytes)).into();
    case["volume"] = head.volume.to_string().into();
    case["device"] = head.device.to_string().into();
    case["seq"] = head.seq.into();
    case["previous"] = hex(head.previous).into();
    case["vector"] = vector.into();
    case["root"] = hex(head.root.to_bytes()).into();
    case["time"] = json!([head.time.secs, head.time.nanos]);
    case["delta_upto"] = head.delta_upto.into();
    case["kind"] = (head.kind as u8).into();
    case["label"] = head.label.into();
    case
}

/// Alters the outside of a head and signs it again.
fn resigned(head: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut head = head[..head.len() - 64].to_vec();
    head[at..at + bytes.len()].copy_from_slice(bytes);
    let signature = device().sign(Purpose::Head, &head);
    [&head[..], &signature].concat()
}

/// Seals another inside into a head and signs it again.
fn resealed(head: &[u8], plain: &[u8]) -> Vec<u8> {
    // One entry in the vector; then the length of the sealed part.
    let outside = &head[..VECTOR_AT + 2 + 40];
    let sealed = wrap_with_nonce(volume().read().heads().as_bytes(), head::PURPOSE, outside, plain, &NONCE);
    let signed = [outside, &(sealed.len() as u16).to_le_bytes(), &sealed].concat();
    let signature = device().sign(Purpose::Head, &signed);
    [&signed[..], &signature].concat()
}

fn malformed(head: &[u8]) -> Vec<Value> {
    let last = head.len() - 1;
    let flipped = |at: usize| {
        let mut bytes = head.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let mut powerless = head.to_vec();
    let mut cert = crate::codec::Writer::new();
    volume().certify(device().id(), Rights::DELETE_SNAPSHOTS).encode(&mut cert);
    powerless[17..SEQ_AT].copy_from_slice(cert.as_slice());
    let longer = [head, &[0]].concat();
    let outside = [
        ("a newer version", resigned(head, 0, &[2]), "Format/Version"),
        ("another volume", resigned(head, 1, &[0]), "OtherVolume"),
        ("raised rights", resigned(head, RIGHTS_AT, &[7]), "Certificate/BadSignature"),
        ("no right to sign heads", resigned(&powerless, 0, &[1]), "NoRight"),
        ("sequence zero", resigned(head, SEQ_AT, &[0]), "Format/Invalid"),
        ("a sequence that leaves no next", resigned(head, SEQ_AT, &u64::MAX.to_le_bytes()), "Format/AboveBound"),
        ("a first head with a previous", resigned(head, PREVIOUS_AT, &[1]), "Format/Invalid"),
        ("more devices than bytes", resigned(head, VECTOR_AT, &[200]), "Format/Truncated"),
        ("more devices than any volume", resigned(head, VECTOR_AT, &[1, 1]), "Format/AboveBound"),
        ("an own entry that is not this head", resigned(head, VECTOR_AT + 34, &[2]), "Format/Invalid"),
        ("an altered signature", flipped(last - 40), "Signature/BadSignature"),
        ("an altered sealed part", flipped(last - 70), "Signature/BadSignature"),
        ("a signed, altered sealed part", resigned(head, last - 70, &[0]), "Sealed/Damaged"),
        ("a byte short", head[..last].to_vec(), "Format/Truncated"),
        ("a byte more", longer, "Format/Trailing"),
        ("empty", Vec::new(), "Format/Truncated"),
    ];
    outside
        .into_iter()
        .chain(malformed_inside(head))
        .map(|(name, bytes, expected)| {
            let mut case = given(name, &bytes);
            case["error"] = refused(verified(&bytes), expected);
            case
        })
        .collect()
}

fn malformed_inside(head: &[u8]) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = head::sealed_part(&first()).unwrap();
    let altered = |at: usize, value: u8| {
        let mut plain = good.clone();
        plain[at] = value;
        resealed(head, &plain)
    };
    let labelled = |label: &[u8]| {
        let mut plain = good.clone();
        plain[89] = label.len() as u8;
        plain[90..90 + label.len()].copy_from_slice(label);
        resealed(head, &plain)
    };
    vec![
        ("an unknown kind", altered(88, 2), "Format/Invalid"),
        ("a second of nanoseconds", altered(79, 0xff), "Format/AboveBound"),
        ("a label that is not UTF-8", labelled(b"\xff"), "Format/Invalid"),
        ("a label with a control character", labelled(b"\x1b[2J"), "Format/Invalid"),
        ("padding that is not zero", altered(127, 1), "Format/Invalid"),
        ("too much padding", resealed(head, &[&good[..], &[0; 64]].concat()), "Format/Invalid"),
        ("no padding", resealed(head, &good[..90]), "Format/Invalid"),
    ]
}
