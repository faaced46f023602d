//! What a pack promises: every block back from it, and nothing to be seen of them.

use proptest::prelude::*;

use super::*;
use crate::chunk::Kind;
use crate::keys::{ConvergenceKey, MasterKey, VolumeKeys};
use crate::limits::{CELL_BYTES, PACK_BLOCKS_MAX};
use crate::seal::{Compression, seal};

fn volume(name: &[u8]) -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([1; 32]), name)
}

fn keep() -> KeepKey {
    KeepKey::from_bytes(*volume(b"home").keep().as_bytes())
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn block(seed: u64, len: usize) -> Block {
    Block::seal_bytes(noise(seed, len))
}

/// A pack of blocks of these lengths, all of which fit.
fn packed(class: SizeClass, lens: &[usize]) -> (Pack, Vec<Block>) {
    let blocks: Vec<_> = (0..).zip(lens).map(|(seed, len)| block(seed, *len)).collect();
    let mut builder = PackBuilder::new(class);
    blocks.iter().for_each(|block| assert_eq!(builder.add(block), Added::Placed));
    (builder.finish(&keep()), blocks)
}

#[test]
fn every_block_comes_back_from_where_the_directory_says() {
    for (class, len) in
        [(SizeClass::K256, 9_000), (SizeClass::M1, 70_000), (SizeClass::M4, 333_333), (SizeClass::M16, 1 << 20)]
    {
        let (pack, blocks) = packed(class, &[len, 24, len, len / 3]);
        assert_eq!(pack.body().len(), class.bytes() as usize);
        let pack = UntrustedPack::new(pack.body().clone()).unwrap().verify(&pack.id()).unwrap();
        let directory = pack.directory(&keep()).unwrap();
        assert_eq!(directory.blocks().len(), blocks.len());
        for block in &blocks {
            let range = directory.find(&block.id()).unwrap();
            assert_eq!(&pack.body()[range.start as usize..range.end as usize], block.bytes());
        }
        for placed in directory.blocks() {
            assert_eq!(pack.block(placed).unwrap().id(), placed.id);
        }
    }
}

#[test]
fn a_pack_without_blocks_has_an_empty_directory() {
    let pack = PackBuilder::new(SizeClass::K256).finish(&keep());
    assert_eq!(pack.directory(&keep()).unwrap().blocks(), []);
}

#[test]
fn a_block_is_placed_once_and_one_without_room_says_so() {
    let mut builder = PackBuilder::new(SizeClass::K256);
    let (large, small) = (block(1, 200 << 10), block(2, 100 << 10));
    assert_eq!(builder.add(&large), Added::Placed);
    assert_eq!(builder.add(&large), Added::Present);
    assert_eq!(builder.add(&small), Added::Full);
    assert!(!builder.room_for(small.len()) && builder.room_for(1000));
    assert_eq!(builder.add(&block(3, 1000)), Added::Placed);
    assert_eq!(builder.add(&block(4, 256 << 10)), Added::Unfit);
    assert_eq!(builder.add(&block(5, 0)), Added::Unfit);
    assert_eq!((builder.len(), builder.is_empty()), (2, false));
}

#[test]
fn filling_takes_the_longest_first_and_leaves_the_rest() {
    let mut blocks: Vec<_> = [30, 90, 200, 60].map(|kib| block(kib, (kib as usize) << 10)).into();
    blocks.push(blocks[2].clone());
    let mut builder = PackBuilder::new(SizeClass::K256);
    builder.fill(&mut blocks);
    assert_eq!(blocks.iter().map(|block| block.len() >> 10).collect::<Vec<_>>(), [90, 60]);
    assert_eq!(builder.len(), 2);
}

#[test]
fn only_the_right_body_becomes_a_pack() {
    let (pack, _) = packed(SizeClass::K256, &[1000]);
    let mut altered = pack.body().to_vec();
    altered[77] ^= 1;
    let refused = UntrustedPack::new(altered).unwrap().verify(&pack.id());
    assert!(matches!(refused, Err(PackError::OtherPack { .. })));
    let short = UntrustedPack::new(pack.body().slice(1..));
    assert_eq!(short.unwrap_err(), PackError::Length { found: (256 << 10) - 1 });
}

#[test]
fn any_changed_byte_of_directory_or_footer_is_refused() {
    let (pack, _) = packed(SizeClass::K256, &[1000, 2000]);
    let from = pack.body().len() - end::bytes(2) as usize;
    let tail = pack.body().slice(CELL_BYTES as usize..);
    assert!(matches!(Tail::open(SizeClass::K256, &keep(), &tail), Ok(Tail::Directory(_))));
    for at in from..pack.body().len() {
        let mut altered = tail.to_vec();
        altered[at - CELL_BYTES as usize] ^= 0x20;
        assert!(Tail::open(SizeClass::K256, &keep(), &altered).is_err(), "byte {at}");
    }
}

#[test]
fn another_volume_or_class_opens_nothing() {
    let (pack, _) = packed(SizeClass::M1, &[1000]);
    let refused = PackError::Footer { source: UnwrapError::WrongKey };
    assert_eq!(pack.directory(volume(b"work").keep()).unwrap_err(), refused);
    let tail = pack.body().slice(pack.body().len() - CELL_BYTES as usize..);
    assert!(Tail::open(SizeClass::M1, &keep(), &tail).is_ok());
    assert_eq!(Tail::open(SizeClass::M4, &keep(), &tail).unwrap_err(), refused);
}

#[test]
fn the_footer_of_one_pack_opens_no_directory_of_another() {
    let ((one, _), (other, _)) = (packed(SizeClass::K256, &[1000]), packed(SizeClass::K256, &[1000, 2000]));
    let mut mixed = other.body().to_vec();
    let footer = mixed.len() - end::FOOTER_BYTES..;
    mixed[footer.clone()].copy_from_slice(&one.body()[footer]);
    let refused = Tail::open(SizeClass::K256, &keep(), &mixed);
    assert!(matches!(refused, Err(PackError::Directory { .. })));
}

#[test]
fn the_last_cell_is_enough_or_says_how_much_is_missing() {
    let small: Vec<_> = vec![24; 1_634];
    let (pack, _) = packed(SizeClass::M1, &small);
    let first = Tail::first(SizeClass::M1);
    let cell = |from: u32| pack.body().slice(from as usize..);
    assert!(matches!(Tail::open(SizeClass::M1, &keep(), &cell(first.start)), Ok(Tail::Directory(_))));
    assert_eq!(Tail::open(SizeClass::M1, &keep(), b""), Ok(Tail::NeedMore { from: first.start }));
    let (pack, _) = packed(SizeClass::M1, &[&small[..], &[24]].concat());
    let tail = Tail::open(SizeClass::M1, &keep(), &pack.body()[first.start as usize..]);
    assert_eq!(tail, Ok(Tail::NeedMore { from: first.start - CELL_BYTES }));
    let Ok(Tail::Directory(directory)) =
        Tail::open(SizeClass::M1, &keep(), &pack.body()[(first.start - CELL_BYTES) as usize..])
    else {
        panic!("two cells hold it");
    };
    assert_eq!(directory, pack.directory(&keep()).unwrap());
    let longer = [&pack.body()[..], &[0]].concat();
    assert_eq!(Tail::open(SizeClass::M1, &keep(), &longer), Err(PackError::Length { found: (1 << 20) + 1 }));
}

#[test]
fn a_pack_takes_as_many_blocks_as_its_directory_may_name() {
    let (pack, blocks) = packed(SizeClass::M16, &[24; PACK_BLOCKS_MAX]);
    let directory = pack.directory(&keep()).unwrap();
    assert!(blocks.iter().all(|block| directory.find(&block.id()).is_some()));
}

/// Blocks of a volume with one empty file, and of one with many large ones.
fn different_trees() -> [Vec<Block>; 2] {
    let key = ConvergenceKey::from_bytes([7; 32]);
    let sealed = |kind, raw: &[u8]| seal(&key, kind, raw, Compression::Probe).unwrap().block;
    let text = b"the same words again and again ".repeat(3_000);
    let small = vec![sealed(Kind::Root, b"root")];
    let large = (0..40).map(|seed| sealed(Kind::Data, &[&noise(seed, 5_000)[..], &text].concat()));
    [small, large.collect()]
}

#[test]
fn packs_of_very_different_trees_look_alike() {
    let packs = different_trees().map(|blocks| {
        let mut builder = PackBuilder::new(SizeClass::K256);
        blocks.iter().for_each(|block| _ = builder.add(block));
        assert_eq!(builder.len(), blocks.len());
        builder.finish(&keep())
    });
    for pack in &packs {
        assert_eq!(pack.body().len(), SizeClass::K256.bytes() as usize);
        // Every byte value is about as frequent, nothing repeats: chi-square of 255 degrees has a deviation of 23.
        let mut counts = [0_f64; 256];
        pack.body().iter().for_each(|byte| counts[*byte as usize] += 1.0);
        let chi_square: f64 = counts.iter().map(|count| (count - 1024.0).powi(2) / 1024.0).sum();
        assert!(chi_square < 255.0 + 9.0 * 23.0, "{chi_square}");
        assert!(zstd::bulk::compress(pack.body(), 3).unwrap().len() >= pack.body().len());
    }
    // And nothing marks a place that is the same in both.
    let equal = packs[0].body().iter().zip(packs[1].body()).filter(|(a, b)| a == b).count();
    assert!((600..1500).contains(&equal), "{equal} of {} by chance", SizeClass::K256.bytes());
}

#[test]
fn the_same_blocks_pack_differently_each_time() {
    let packs = [0, 1].map(|_| packed(SizeClass::K256, &[1000]).0);
    assert_ne!(packs[0].id(), packs[1].id());
    assert_ne!(packs[0].body()[1000..2000], packs[1].body()[1000..2000]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_placed_is_found_and_whatever_is_not_has_no_room(
        lens in prop::collection::vec(prop_oneof![24..3_000_usize, 24..300_000_usize, 24..=1_usize << 20], 0..60),
        class in 0..3_u8,
    ) {
        let mut builder = PackBuilder::new(SizeClass::from_u8(class).unwrap());
        let blocks: Vec<_> = (0..).zip(&lens).map(|(seed, len)| block(seed, *len)).collect();
        let added: Vec<_> = blocks.iter().map(|block| (builder.room_for(block.len()), builder.add(block))).collect();
        let pack = builder.finish(&keep());
        let directory = pack.directory(&keep()).unwrap();
        for (block, (had_room, added)) in blocks.iter().zip(added) {
            prop_assert_eq!(had_room, added == Added::Placed);
            let placed = directory.blocks().iter().find(|placed| placed.id == block.id());
            prop_assert_eq!(placed.is_some(), added == Added::Placed);
            if let Some(placed) = placed {
                prop_assert_eq!(&pack.block(placed).unwrap(), block);
            }
        }
    }

    #[test]
    fn strange_bytes_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3_000), class in 0..4_u8) {
        let class = SizeClass::from_u8(class).unwrap();
        match Tail::open(class, &keep(), &bytes) {
            Ok(Tail::NeedMore { .. }) => prop_assert!(bytes.len() < end::FOOTER_BYTES),
            opened => prop_assert!(opened.is_err()),
        }
        let _ = Directory::decode(class, class.bytes(), &bytes);
        prop_assert!(UntrustedPack::new(bytes).is_err());
    }
}
