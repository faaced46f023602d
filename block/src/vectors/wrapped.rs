use serde_json::{Value, json};

use super::{compare, hex, refused, volume};
use crate::chunk::Kind;
use crate::hint::{self, dedup_key, open_hint};
use crate::id::BlockId;
use crate::keys::BlockKey;
use crate::reference::Ref;
use crate::wrap::{unwrap, wrap_with_nonce};

const KEY: [u8; 32] = [0x44; 32];
const NONCE: [u8; 24] = [0x55; 24];
const PURPOSE: &str = "vector";

#[test]
fn wrapped_secrets() {
    let secrets: [(&str, &[u8], &[u8]); 4] = [
        (PURPOSE, b"", b""),
        (PURPOSE, b"owner, version 1", b"a secret"),
        ("", b"vector", &[0x66; 200]),
        ("caf\u{e9}", &[0x77; 100], &[0x88; 64]),
    ];
    let valid = secrets.map(|(purpose, aad, secret)| {
        let wrapped = wrap_with_nonce(&KEY, purpose, aad, secret, &NONCE);
        assert_eq!(unwrap(&KEY, purpose, aad, &wrapped).unwrap().as_slice(), secret);
        let mut case = case("", &KEY, purpose, aad, &wrapped);
        case["secret"] = hex(secret).into();
        case
    });
    let aad: &[u8] = b"owner, version 1";
    let good = wrap_with_nonce(&KEY, PURPOSE, aad, b"a secret", &NONCE);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let last = good.len() - 1;
    let bad = [
        ("another key", [0; 32], PURPOSE, aad, good.clone(), "WrongKey"),
        ("another purpose", KEY, "vectors", aad, good.clone(), "WrongKey"),
        ("another owner", KEY, PURPOSE, &b"owner, version 2"[..], good.clone(), "WrongKey"),
        ("a byte moved from owner to purpose", KEY, "vectoro", b"wner, version 1", good.clone(), "WrongKey"),
        ("an altered nonce", KEY, PURPOSE, aad, flipped(0), "WrongKey"),
        ("an altered commitment", KEY, PURPOSE, aad, flipped(24), "WrongKey"),
        ("an altered secret", KEY, PURPOSE, aad, flipped(56), "Damaged"),
        ("an altered tag", KEY, PURPOSE, aad, flipped(last), "Damaged"),
        ("a byte short", KEY, PURPOSE, aad, good[..last].to_vec(), "Damaged"),
        ("shorter than any", KEY, PURPOSE, aad, good[..71].to_vec(), "TooShort"),
    ];
    let malformed = bad.map(|(name, key, purpose, aad, bytes, expected)| {
        let mut case = case(name, &key, purpose, aad, &bytes);
        case["error"] = refused(unwrap(&key, purpose, aad, &bytes), expected);
        case
    });
    compare("wrapped.json", "Secrets under long-lived keys.", valid.to_vec(), malformed.to_vec());
}

fn case(name: &str, key: &[u8], purpose: &str, aad: &[u8], wrapped: &[u8]) -> Value {
    json!({ "name": name, "key": hex(key), "purpose": purpose, "aad": hex(aad), "wrapped": hex(wrapped) })
}

#[test]
fn dedup_hints() {
    let keys = volume();
    let dedup = keys.dedup();
    let reference = Ref { id: BlockId::of(b"sealed"), key: BlockKey::from_bytes([0x33; 32]), len: 5 };
    let valid = [(Kind::Data, &b"chunk"[..]), (Kind::Xattrs, b"chunk"), (Kind::Data, b"")].map(|(kind, raw)| {
        let key = dedup_key(dedup, kind, raw);
        let sealed = seal(dedup.as_bytes(), &key, &reference.to_bytes());
        assert_eq!(open_hint(dedup, &key, &sealed), Ok(reference.clone()));
        json!({
            "dedup": hex(dedup.as_bytes()),
            "kind": kind as u8,
            "raw": hex(raw),
            "key": hex(key),
            "hint": hex(sealed),
            "ref": hex(reference.to_bytes()),
        })
    });
    let key = dedup_key(dedup, Kind::Data, b"chunk");
    let other = dedup_key(dedup, Kind::Data, b"other");
    let bad = [
        ("of another chunk", seal(dedup.as_bytes(), &other, &reference.to_bytes()), "Sealed/WrongKey"),
        ("not a ref", seal(dedup.as_bytes(), &key, b"short"), "Ref/Truncated"),
    ];
    let malformed = bad.map(|(name, hint, expected)| {
        let error = refused(open_hint(dedup, &key, &hint), expected);
        json!({ "name": name, "dedup": hex(dedup.as_bytes()), "key": hex(key), "hint": hex(hint), "error": error })
    });
    compare("hints.json", "Dedup hints: where a known chunk was sealed to.", valid.to_vec(), malformed.to_vec());
}

fn seal(dedup: &[u8; 32], key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
    wrap_with_nonce(dedup, hint::PURPOSE, key, plain, &NONCE)
}
