//! Sealing, as anyone may use it, against whatever comes.

use cairn_block::keys::ConvergenceKey;
use cairn_block::limits::{CHUNK_BYTES_MAX, SEALED_BLOCK_BYTES_MAX};
use cairn_block::{BlockId, Compression, Kind, UnverifiedBlock, open, seal};
use proptest::prelude::*;

fn any_kind() -> impl Strategy<Value = Kind> {
    (1_u8..=5).prop_map(|number| Kind::from_u8(number).expect("kinds are 1 to 5"))
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::Never), Just(Compression::Probe)]
}

/// Random bytes, and random bytes repeated: what compresses and what doesn't, on both sides of the probe's threshold.
fn any_chunk() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..3000);
    (bytes, 1_usize..40).prop_map(|(bytes, times)| bytes.repeat(times))
}

fn key(byte: u8) -> ConvergenceKey {
    ConvergenceKey::from_bytes([byte; 32])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_sealed_chunk_opens_to_itself(raw in any_chunk(), kind in any_kind(), compression in any_compression()) {
        let sealed = seal(&key(1), kind, &raw, compression).unwrap();
        prop_assert_eq!(sealed.reference.len as usize, raw.len());
        prop_assert!(sealed.block.len() <= raw.len() + 24);
        let bytes = sealed.block.bytes().clone();
        let block = UnverifiedBlock::new(bytes).unwrap().verify(&sealed.reference.id).unwrap();
        prop_assert_eq!(open(&sealed.reference, &block, kind).unwrap(), raw);
    }

    #[test]
    fn any_bit_flip_is_refused(
        raw in any_chunk(),
        compression in any_compression(),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let sealed = seal(&key(1), Kind::Data, &raw, compression).unwrap();
        let mut bytes = sealed.block.bytes().to_vec();
        bytes[at.index(sealed.block.len())] ^= 1 << bit;
        let altered = UnverifiedBlock::new(bytes.clone()).unwrap();
        prop_assert!(altered.clone().verify(&sealed.reference.id).is_err());
        // Nor does it open under an id of its own.
        let own = BlockId::of(&bytes);
        let reference = cairn_block::Ref { id: own, ..sealed.reference };
        prop_assert!(open(&reference, &altered.verify(&own).unwrap(), Kind::Data).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), len in any::<u32>()) {
        let id = BlockId::of(&bytes);
        let block = UnverifiedBlock::new(bytes).unwrap().verify(&id).unwrap();
        let reference = cairn_block::Ref { id, key: cairn_block::BlockKey::from_bytes([0; 32]), len };
        prop_assert!(open(&reference, &block, Kind::Data).is_err());
    }
}

#[test]
fn the_largest_chunk_fills_the_largest_block() {
    let raw: Vec<u8> = (0..CHUNK_BYTES_MAX as u32).flat_map(u32::to_le_bytes).take(CHUNK_BYTES_MAX).collect();
    let sealed = seal(&key(1), Kind::Data, &raw, Compression::Never).unwrap();
    assert_eq!(sealed.block.len(), SEALED_BLOCK_BYTES_MAX);
    assert_eq!(open(&sealed.reference, &sealed.block, Kind::Data).unwrap(), raw);
}

#[test]
fn two_volumes_share_no_block_of_the_same_chunk() {
    let [one, other] = [1, 2].map(|n| seal(&key(n), Kind::Data, b"the same bytes", Compression::Probe).unwrap());
    assert_ne!(one.reference.id, other.reference.id);
    assert_ne!(one.reference.key, other.reference.key);
}

#[test]
fn text_is_stored_in_fewer_bytes_and_noise_in_no_more_than_a_header_and_a_tag() {
    let text = include_str!("../../src/seal.rs").repeat(8);
    let sealed = seal(&key(1), Kind::Data, text.as_bytes(), Compression::Probe).unwrap();
    assert!(sealed.block.len() < text.len() / 3);
    let mut noise = vec![0; 256 << 10];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let sealed = seal(&key(1), Kind::Data, &noise, Compression::Probe).unwrap();
    assert_eq!(sealed.block.len(), noise.len() + 24);
}
