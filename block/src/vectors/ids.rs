use serde_json::{Value, json};

use super::{compare, hex, refused};
use crate::codec::DecodeError;
use crate::id::{BlockId, DeviceId, VolumeId};
use crate::keys::BlockKey;
use crate::limits::CHUNK_BYTES_MAX;
use crate::reference::Ref;

#[test]
fn ids_and_their_texts() {
    let sealed: [&[u8]; 3] = [b"", b"sealed", &[0xa5; 3000]];
    let valid = sealed.map(|bytes| {
        let id = BlockId::of(bytes);
        json!({ "sealed": hex(bytes), "id": hex(id.as_bytes()), "text": id.to_string() })
    });
    let text = BlockId::from_bytes([0; 32]).to_string();
    let malformed = [
        ("upper case", text.to_uppercase()),
        ("another multibase", text.replacen('b', "z", 1)),
        ("another codec", text.replacen("bafkr4i", "bafyr4i", 1)),
        ("a bit after the end", text[..58].to_owned() + "b"),
        ("too short", text[..58].to_owned()),
        ("empty", String::new()),
    ];
    let malformed = malformed.map(|(name, text)| {
        let error = refused(text.parse::<BlockId>(), "ParseIdError");
        json!({ "name": name, "kind": "block id", "text": text, "error": error })
    });
    let mut malformed = malformed.to_vec();
    malformed.push(bad_hex("volume id", "00".repeat(15), |text| text.parse::<VolumeId>().is_err()));
    malformed.push(bad_hex("device id", "AA".repeat(32), |text| text.parse::<DeviceId>().is_err()));
    compare("ids.json", "Block ids, printed as CIDs.", valid.to_vec(), malformed);
}

fn bad_hex(kind: &str, text: String, is_refused: impl FnOnce(&str) -> bool) -> Value {
    assert!(is_refused(&text));
    json!({ "name": "not its hexadecimal", "kind": kind, "text": text, "error": "ParseIdError" })
}

#[test]
fn refs() {
    let lens = [0, 1, CHUNK_BYTES_MAX as u32];
    let valid = lens.map(|len| {
        let reference = sample(len);
        assert_eq!(Ref::from_bytes(&reference.to_bytes()), Ok(reference.clone()));
        json!({
            "id": hex(reference.id.as_bytes()),
            "key": hex(reference.key.as_bytes()),
            "len": len,
            "ref": hex(reference.to_bytes()),
        })
    });
    let good = sample(9).to_bytes();
    let too_long = sample(CHUNK_BYTES_MAX as u32 + 1).to_bytes();
    let longer = [&good[..], &[0]].concat();
    let malformed = [
        ("longer than a chunk", &too_long[..], "AboveBound"),
        ("a byte short", &good[..67], "Truncated"),
        ("a byte more", &longer, "Trailing"),
        ("empty", &[], "Truncated"),
    ];
    let malformed = malformed.map(|(name, bytes, expected)| {
        let error: Result<Ref, DecodeError> = Ref::from_bytes(bytes);
        json!({ "name": name, "ref": hex(bytes), "error": refused(error, expected) })
    });
    compare("refs.json", "Refs.", valid.to_vec(), malformed.to_vec());
}

fn sample(len: u32) -> Ref {
    Ref { id: BlockId::of(b"sealed"), key: BlockKey::from_bytes([0x33; 32]), len }
}
