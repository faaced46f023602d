use serde_json::{Value, json};

use super::{compare, hex, refused, volume};
use crate::block::Block;
use crate::chunk::{Codec, Header, Kind};
use crate::chunker;
use crate::id::BlockId;
use crate::keys::BlockKey;
use crate::limits::{CDC_BYTES_MAX, CHUNK_HEADER_BYTES};
use crate::reference::Ref;
use crate::seal::{Compression, Sealed, open, seal, seal_chunk};

/// 96 times `cairn `, as zstd 1.5.7 compressed it at level 1. Another zstd may do otherwise; this must stay readable.
const FRAME: &str = "28b52ffd6040016d000030636169726e20010037529522";
const FRAME_HOLDS: &[u8] = b"cairn ";
const FRAME_REPEATS: usize = 96;

#[test]
fn sealed_chunks() {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let long = all_bytes.repeat(20);
    let raw: [(&str, Kind, &[u8]); 5] = [
        ("empty", Kind::Data, b""),
        ("one byte", Kind::Data, b"x"),
        ("every byte", Kind::Data, &all_bytes),
        ("extended attributes", Kind::Xattrs, b"\x04user\x01\0\0\0v"),
        ("longer than one BLAKE3 chunk", Kind::Data, &long),
    ];
    let mut valid: Vec<Value> = Vec::new();
    for (name, kind, raw) in raw {
        let sealed = seal(volume().convergence(), kind, raw, Compression::Never).unwrap();
        valid.push(opened(name, kind, raw, &sealed));
    }
    let (sealed, raw) = forge_zstd();
    valid.push(opened("zstd", Kind::Data, &raw, &sealed));
    compare(
        "sealed.json",
        "Sealed chunks under the convergence key of `keys.json`'s first volume.",
        valid,
        malformed(),
    );
}

/// A chunk with a payload that doesn't depend on the zstd at hand, and what it holds.
pub(super) fn forge_zstd() -> (Sealed, Vec<u8>) {
    let raw = FRAME_HOLDS.repeat(FRAME_REPEATS);
    let header = Header { kind: Kind::Data, codec: Codec::Zstd, raw_len: frame_len() };
    (forge(header.to_bytes(), &frame(), raw.len()), raw)
}

/// The case of a chunk that opens; asserts that it does.
fn opened(name: &str, kind: Kind, raw: &[u8], sealed: &Sealed) -> Value {
    assert_eq!(open(&sealed.reference, &sealed.block, kind).unwrap(), raw);
    let mut case = case(name, kind, &sealed.reference, &sealed.block);
    case["convergence"] = hex(volume().convergence().as_bytes()).into();
    case["raw"] = hex(raw).into();
    case
}

fn case(name: &str, kind: Kind, reference: &Ref, block: &Block) -> Value {
    json!({ "name": name, "kind": kind as u8, "ref": hex(reference.to_bytes()), "block": hex(block.bytes()) })
}

/// Seals any header and payload, under a ref that claims `len` bytes.
fn forge(header: [u8; CHUNK_HEADER_BYTES], payload: &[u8], len: usize) -> Sealed {
    seal_chunk(volume().convergence(), [&header, payload].concat(), len as u32)
}

fn malformed() -> Vec<Value> {
    let mut all = forged_chunks();
    all.extend(wrong_refs());
    all
}

fn forged_chunks() -> Vec<Value> {
    let header = |codec, raw_len| Header { kind: Kind::Data, codec, raw_len }.to_bytes();
    let altered = |at: usize, value: u8| {
        let mut header = header(Codec::Raw, 3);
        header[at] = value;
        header
    };
    let frame = frame();
    let longer = frame_len() + 1;
    let forged = [
        ("a newer version", forge(altered(0, 2), b"abc", 3), "Header/Version"),
        ("an unknown kind", forge(altered(1, 9), b"abc", 3), "Header/Invalid"),
        ("an unknown codec", forge(altered(2, 2), b"abc", 3), "Header/Invalid"),
        ("a reserved bit", forge(altered(3, 1), b"abc", 3), "Header/Invalid"),
        ("longer than a chunk", forge(altered(6, 0x10), b"abc", 3), "Header/AboveBound"),
        ("another kind", forge(altered(1, Kind::Root as u8), b"abc", 3), "Kind"),
        ("a payload too short", forge(header(Codec::Raw, 3), b"ab", 3), "RawLength"),
        ("a payload too long", forge(header(Codec::Raw, 3), b"abcd", 3), "RawLength"),
        ("a header that is not its ref's", forge(header(Codec::Raw, 3), b"abc", 4), "RawLength"),
        ("no zstd frame", forge(header(Codec::Zstd, 3), b"abc", 3), "Payload"),
        ("a frame that holds more", forge(header(Codec::Zstd, 9), &frame, 9), "Payload"),
        ("a frame that holds less", forge(header(Codec::Zstd, longer), &frame, longer as usize), "Payload"),
    ];
    let refuse = |(name, sealed, expected): (&str, Sealed, &str)| {
        let mut case = case(name, Kind::Data, &sealed.reference, &sealed.block);
        case["error"] = refused(open(&sealed.reference, &sealed.block, Kind::Data), expected);
        case
    };
    forged.map(refuse).to_vec()
}

fn wrong_refs() -> Vec<Value> {
    let good = seal(volume().convergence(), Kind::Data, b"abc", Compression::Never).unwrap();
    let mut flipped = good.block.bytes().to_vec();
    flipped[3] ^= 1;
    let flipped = Block::seal_bytes(flipped);
    let short = Block::seal_bytes(vec![0; 23]);
    let with_id = |block: &Block| Ref { id: block.id(), ..good.reference.clone() };
    let wrong = [
        ("another block", Ref { id: BlockId::of(b""), ..good.reference.clone() }, good.block.clone(), "OtherBlock"),
        (
            "another key",
            Ref { key: BlockKey::from_bytes([0; 32]), ..good.reference.clone() },
            good.block.clone(),
            "Key",
        ),
        ("an altered block with its own id", with_id(&flipped), flipped, "Key"),
        ("shorter than header and tag", with_id(&short), short, "Length"),
    ];
    let refuse = |(name, reference, block, expected): (&str, Ref, Block, &str)| {
        let mut case = case(name, Kind::Data, &reference, &block);
        case["error"] = refused(open(&reference, &block, Kind::Data), expected);
        case
    };
    wrong.map(refuse).to_vec()
}

fn frame() -> Vec<u8> {
    data_encoding::HEXLOWER.decode(FRAME.as_bytes()).unwrap()
}

fn frame_len() -> u32 {
    (FRAME_HOLDS.len() * FRAME_REPEATS) as u32
}

#[test]
fn cuts() {
    let streams =
        [("random", 7, 0, 2_000_000), ("random after zeros", 8, CDC_BYTES_MAX, 300_000), ("short", 9, 0, 60_000)];
    let valid = streams.map(|(name, seed, zeros, random)| {
        let data = [vec![0; zeros], split_mix(seed, random)].concat();
        let lens: Vec<_> = chunker::cut(&data).map(|chunk| chunk.len()).collect();
        json!({ "name": name, "zeros": zeros, "seed": seed, "random": random, "chunks": lens })
    });
    let about = "Where content is cut: `zeros` zero bytes, then `random` bytes of SplitMix64 outputs, little-endian.";
    compare("cuts.json", about, valid.to_vec(), Vec::new());
}

/// The bytes of a generator that is a few lines in any language.
pub(super) fn split_mix(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    });
    words.flat_map(u64::to_le_bytes).take(len).collect()
}
