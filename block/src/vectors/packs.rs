use serde_json::{Value, json};

use super::{compare, hex, refused, volume};
use crate::block::Block;
use crate::codec::Writer;
use crate::id::BlockId;
use crate::keys::VolumeKeys;
use crate::limits::PACK_BLOCKS_MAX;
use crate::pack::builder::Chance;
use crate::pack::end::{DIRECTORY_PURPOSE, FOOTER_BYTES, FOOTER_PURPOSE};
use crate::pack::{PackBuilder, SizeClass, Tail};
use crate::wrap::{WRAP_BYTES, wrap_with_nonce};

const NONCES: [[u8; 24]; 2] = [[0x99; 24], [0x9a; 24]];
const PADDING: [u8; 32] = [0x77; 32];

#[test]
fn packs() {
    let blocks: Vec<_> = [24, 300, 100].map(|len| Block::seal_bytes(vec![len as u8; len])).into();
    let valid = vec![
        whole(SizeClass::K256, &blocks),
        end("an empty pack of another class", SizeClass::M16, sealed(SizeClass::M16, &[])),
        end("blocks up to the directory", SizeClass::M4, sealed(SizeClass::M4, &[(1, 0, 1 << 20), (2, AT - 24, 24)])),
    ];
    let valid = valid.into_iter().map(opened).collect();
    compare("packs.json", "Directories and footers of packs, and one whole body.", valid, malformed());
}

/// Where a directory of two blocks begins in a pack of 4 MiB.
const AT: u32 = (4 << 20) - (WRAP_BYTES + 2 * 40 + FOOTER_BYTES) as u32;

fn end(name: &str, class: SizeClass, end: Vec<u8>) -> (SizeClass, Vec<u8>, Value) {
    let keep = hex(volume().keep().as_bytes());
    let case = json!({ "name": name, "keep": keep, "class": class as u8, "end": hex(&end) });
    (class, end, case)
}

/// The end of a pack, and all that it takes to make the rest.
fn whole(class: SizeClass, blocks: &[Block]) -> (SizeClass, Vec<u8>, Value) {
    let mut builder = PackBuilder::new(class);
    blocks.iter().for_each(|block| _ = builder.add(block));
    let pack = builder.finish_with(&volume().keep().packs(), &Chance { padding: PADDING, nonces: NONCES });
    let len = WRAP_BYTES + blocks.len() * 40 + FOOTER_BYTES;
    let (class, bytes, mut case) = end("a whole body", class, pack.body()[pack.body().len() - len..].to_vec());
    case["padding"] = hex(PADDING).into();
    case["blocks"] = blocks.iter().map(|block| hex(block.bytes())).collect();
    case["pack"] = pack.id().to_string().into();
    (class, bytes, case)
}

fn opened((class, end, mut case): (SizeClass, Vec<u8>, Value)) -> Value {
    let Tail::Directory(directory) = Tail::open(class, volume().keep(), &end).unwrap() else {
        panic!("the end is whole");
    };
    let placed = directory.blocks().iter();
    case["directory"] = placed.map(|block| json!([hex(block.id.as_bytes()), block.offset, block.len])).collect();
    case
}

/// Blocks of a directory: what the id is of, offset, length.
type Entries<'a> = &'a [(u8, u32, u32)];

/// What no writer of ours seals.
fn sealed(class: SizeClass, entries: Entries<'_>) -> Vec<u8> {
    let at = class.bytes() - (WRAP_BYTES + entries.len() * 40 + FOOTER_BYTES) as u32;
    [directory(class, at, entries), footer(class, 1, at)].concat()
}

fn directory(class: SizeClass, at: u32, entries: Entries<'_>) -> Vec<u8> {
    let mut plain = Writer::new();
    for (name, offset, len) in entries {
        plain.raw(BlockId::of(&[*name]).as_bytes()).u32(*offset).u32(*len);
    }
    let aad = [&[1, class as u8][..], &at.to_le_bytes()].concat();
    wrap_with_nonce(volume().keep().packs().as_bytes(), DIRECTORY_PURPOSE, &aad, plain.as_slice(), &NONCES[0])
}

fn footer(class: SizeClass, version: u8, at: u32) -> Vec<u8> {
    let plain = [&[version][..], &at.to_le_bytes()].concat();
    wrap_with_nonce(volume().keep().packs().as_bytes(), FOOTER_PURPOSE, &[class as u8], &plain, &NONCES[1])
}

fn malformed() -> Vec<Value> {
    let good = sealed(SizeClass::M4, &[(1, 0, 24), (2, 24, 24)]);
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let last = good.len() - 1;
    let of_two = |entries: Entries<'_>| sealed(SizeClass::M4, entries);
    let at = |at: u32| [&good[..good.len() - FOOTER_BYTES], &footer(SizeClass::M4, 1, at)].concat();
    let newer = [&good[..good.len() - FOOTER_BYTES], &footer(SizeClass::M4, 2, AT)].concat();
    let elsewhere =
        [directory(SizeClass::M4, AT - 40, &[(1, 0, 24), (2, 24, 24)]), footer(SizeClass::M4, 1, AT)].concat();
    let too_many = (4 << 20) - (WRAP_BYTES + (PACK_BLOCKS_MAX + 1) * 40 + FOOTER_BYTES) as u32;
    let bad = [
        ("an altered footer", flipped(last), "Footer/Damaged"),
        ("an altered directory", flipped(60), "Directory/Damaged"),
        ("a newer version", newer, "Format/Version"),
        ("a directory of another place", elsewhere, "Directory/WrongKey"),
        ("a directory before the last slot", at((3 << 20) - 1), "Format/Invalid"),
        ("a directory beyond the body", at(4 << 20), "Format/Invalid"),
        ("a directory inside the footer", at((4 << 20) - 100), "Format/Invalid"),
        ("a part of an entry", at(AT - 1), "Format/Invalid"),
        ("more blocks than a pack has", at(too_many), "Format/Invalid"),
        ("blocks that overlap", of_two(&[(1, 0, 25), (2, 24, 24)]), "Format/Invalid"),
        ("blocks out of order", of_two(&[(1, 24, 24), (2, 0, 24)]), "Format/Invalid"),
        ("a block that is there twice", of_two(&[(1, 0, 24), (1, 24, 24)]), "Format/Invalid"),
        ("a block that crosses a slot", of_two(&[(1, 0, 24), (2, (1 << 20) - 1, 24)]), "Format/Invalid"),
        ("a block that is too short", of_two(&[(1, 0, 24), (2, 24, 23)]), "Format/Invalid"),
        ("a block that is too long", of_two(&[(1, 0, 24), (2, 1 << 20, (1 << 20) + 1)]), "Format/AboveBound"),
        ("a block that reaches into the directory", of_two(&[(1, 0, 24), (2, AT - 23, 24)]), "Format/AboveBound"),
        ("a block beyond all bodies", of_two(&[(1, 0, 24), (2, u32::MAX, 24)]), "Format/AboveBound"),
    ];
    let mut cases: Vec<_> = bad
        .into_iter()
        .map(|(name, bytes, expected)| {
            let (class, bytes, mut case) = end(name, SizeClass::M4, bytes);
            case["error"] = refused(Tail::open(class, volume().keep(), &bytes), expected);
            case
        })
        .collect();
    let (_, bytes, mut case) = end("another class", SizeClass::M1, good.clone());
    case["error"] = refused(Tail::open(SizeClass::M1, volume().keep(), &bytes), "Footer/WrongKey");
    cases.push(case);
    let other = VolumeKeys::derive(&crate::keys::MasterKey::from_bytes([0x11; 32]), b"other");
    let (_, bytes, mut case) = end("another volume", SizeClass::M4, good);
    case["keep"] = hex(other.keep().as_bytes()).into();
    case["error"] = refused(Tail::open(SizeClass::M4, other.keep(), &bytes), "Footer/WrongKey");
    cases.push(case);
    cases
}
