use bytes::Bytes;
use serde_json::{Value, json};

use super::{compare, hex, refused};
use crate::codec::DecodeError;
use crate::id::{PackId, ShardId};
use crate::limits::GROUP_BYTES;
use crate::pack::SizeClass;
use crate::proof::Proof;
use crate::shard::{Code, CodeKind, Descriptor, sum_for};

fn code(text: &str) -> Code {
    text.parse().unwrap()
}

fn expanded(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn shards_of_a_few_bytes() {
    let valid = [("1+2", 5), ("2+1", 64), ("4+2", 64), ("8+16", 16)].map(|(text, len)| {
        let code = code(text);
        let data: Vec<_> = (0..code.k()).map(|shard| (shard, Bytes::from(expanded(shard, len)))).collect();
        let parity = (code.k()..code.shards()).map(|shard| hex(sum_for(&data, shard, len)));
        json!({
            "code": text,
            "data": data.iter().map(|(_, bytes)| hex(bytes)).collect::<Vec<_>>(),
            "parity": parity.collect::<Vec<_>>(),
        })
    });
    let texts = ["", "3+2", "16+2", "4+0", "4+17", "04+2", "+4+2", "4+2 ", "copies=0", "copies=17", "copies=03"];
    let malformed = texts.map(|text| {
        let error = match text {
            "3+2" | "16+2" => "DataShards",
            "4+0" | "4+17" => "ParityShards",
            "copies=0" | "copies=17" => "Copies",
            _ => "Text",
        };
        json!({ "name": format!("the code {text:?}"), "code": text, "error": refused(text.parse::<Code>(), error) })
    });
    let about = "Data shards and the parity shards that follow; codes that there aren't.";
    compare("shards.json", about, valid.to_vec(), malformed.to_vec());
}

fn descriptor(class: SizeClass, text: &str) -> Descriptor {
    let ids = (0..code(text).shards()).map(|shard| ShardId::of(&[shard])).collect();
    Descriptor::new(PackId::of(b"pack"), class, code(text), ids).unwrap()
}

#[test]
fn descriptors() {
    let cases = [
        (SizeClass::K256, "copies=3"),
        (SizeClass::M1, "1+1"),
        (SizeClass::M4, "4+2"),
        (SizeClass::M16, "8+4"),
        (SizeClass::M16, "2+16"),
    ];
    let valid = cases.map(|(class, text)| {
        let descriptor = descriptor(class, text);
        let bytes = descriptor.encode();
        assert_eq!(Descriptor::decode(&bytes), Ok(descriptor.clone()));
        let code = descriptor.code();
        let ids = (0..code.shards()).map(|shard| hex(descriptor.shard_id(shard).unwrap().as_bytes()));
        json!({
            "descriptor": hex(&bytes),
            "id": descriptor.id().to_string(),
            "pack": descriptor.pack().to_string(),
            "class": class as u8,
            "code": text,
            "shard_bytes": descriptor.shard_bytes(),
            "shards": ids.collect::<Vec<_>>(),
        })
    });
    compare("descriptors.json", "Descriptors.", valid.to_vec(), malformed_descriptors());
}

fn malformed_descriptors() -> Vec<Value> {
    let good = descriptor(SizeClass::M4, "2+1").encode();
    let altered = |at: usize, bytes: &[u8]| {
        let mut altered = good.clone();
        altered[at..at + bytes.len()].copy_from_slice(bytes);
        altered
    };
    let copies = descriptor(SizeClass::M4, "copies=3");
    assert_eq!(copies.code().kind(), CodeKind::Copies);
    let listed = [&copies.encode()[..], &[7; 32]].concat();
    let bad = [
        ("a newer version", altered(0, &[2]), "Version"),
        ("a class that there isn't", altered(33, &[4]), "Invalid"),
        ("a code that there isn't", altered(34, &[2]), "Invalid"),
        ("three data shards", altered(35, &[3]), "Invalid"),
        ("more data shards than slots", altered(33, &[1]), "Invalid"),
        ("no parity", altered(36, &[0]), "Invalid"),
        ("more parity than bounds allow", altered(36, &[17]), "Invalid"),
        ("copies of two data shards", altered(34, &[0]), "Invalid"),
        ("more copies than bounds allow", altered(34, &[0, 1, 16]), "Invalid"),
        ("ids of copies", listed, "Trailing"),
        ("fewer ids than shards", altered(36, &[2]), "Truncated"),
        ("a byte short", good[..good.len() - 1].to_vec(), "Truncated"),
        ("a byte more", [&good[..], &[0]].concat(), "Trailing"),
        ("empty", Vec::new(), "Truncated"),
    ];
    bad.map(|(name, bytes, expected)| {
        let error: Result<Descriptor, DecodeError> = Descriptor::decode(&bytes);
        json!({ "name": name, "descriptor": hex(&bytes), "error": refused(error, expected) })
    })
    .to_vec()
}

const SEED: u8 = 0x5e;

/// A proof by what precedes the group, which is a part of the shard, which follows from its seed.
fn proof(name: &str, groups: usize, group: u32) -> Value {
    let shard = expanded(SEED, groups * GROUP_BYTES);
    let proof = Proof::make(&shard, group).unwrap();
    let id = ShardId::of(&shard);
    proof.verify(&id, shard.len(), group).unwrap();
    let bytes = proof.encode();
    let before = &bytes[..bytes.len() - GROUP_BYTES];
    assert_eq!(bytes[before.len()..], shard[group as usize * GROUP_BYTES..][..GROUP_BYTES]);
    json!({
        "name": name,
        "seed": SEED,
        "groups": groups,
        "group": group,
        "taken": group,
        "shard": id.to_string(),
        "proof": hex(before),
    })
}

/// Reads a case as it is in the file.
fn verified(case: &Value) -> Result<(), String> {
    let number = |name: &str| case[name].as_u64().unwrap() as usize;
    let shard = expanded(SEED, number("groups") * GROUP_BYTES);
    let mut bytes = data_encoding::HEXLOWER.decode(case["proof"].as_str().unwrap().as_bytes()).unwrap();
    bytes.extend_from_slice(&shard[number("taken") * GROUP_BYTES..][..GROUP_BYTES]);
    let id = case["shard"].as_str().unwrap().parse().unwrap();
    let proof = Proof::decode(&bytes).map_err(|error| format!("{error:?}"))?;
    let group = proof.verify(&id, shard.len(), number("group") as u32);
    group.map(|_| ()).map_err(|error| format!("{error:?}"))
}

#[test]
fn proofs() {
    let valid = vec![proof("a shard of one group", 1, 0), proof("deep", 5, 2), proof("the odd one", 5, 4)];
    let good = &valid[1];
    let altered = |name: &str, field: &str, value: Value| {
        let mut case = good.clone();
        case["name"] = name.into();
        case[field] = value;
        case
    };
    let text = good["proof"].as_str().unwrap();
    let bad = [
        (altered("the bytes of another group", "taken", 1.into()), "OtherShard"),
        (altered("the place of another group", "group", 3.into()), "OtherShard"),
        (altered("a place with a shorter path", "group", 4.into()), "Levels"),
        (altered("a group beyond the shard", "group", 5.into()), "Group"),
        (altered("another shard", "shard", valid[0]["shard"].clone()), "OtherShard"),
        (altered("a newer version", "proof", format!("02{}", &text[2..]).into()), "Version"),
        (
            altered("siblings swapped", "proof", format!("{}{}{}", &text[..4], &text[68..], &text[4..68]).into()),
            "OtherShard",
        ),
        (altered("a sibling short", "proof", format!("0102{}", &text[68..]).into()), "Levels"),
        (altered("more levels than any", "proof", format!("010b{}", &text[4..]).into()), "AboveBound"),
        (altered("more levels than bytes", "proof", format!("0104{}", &text[4..]).into()), "Truncated"),
        (altered("a byte more", "proof", format!("{text}00").into()), "Trailing"),
    ];
    let malformed = bad.map(|(mut case, expected)| {
        let found = verified(&case).expect_err(expected);
        assert!(found.starts_with(expected), "{found} is not {expected}");
        case["error"] = expected.into();
        case
    });
    compare("proofs.json", "Proofs of groups.", valid, malformed.to_vec());
}
