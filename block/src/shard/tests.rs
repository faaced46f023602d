//! What shards promise: the pack from any k, a name for each wrong one, and nothing from fewer.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::block::Block;
use crate::keys::KeepKey;
use crate::pack::{PackBuilder, SizeClass};

fn pack(class: SizeClass) -> Pack {
    let mut bytes = vec![0; 200_000];
    blake3::Hasher::new().update(&[class as u8]).finalize_xof().fill(&mut bytes);
    let mut builder = PackBuilder::new(class);
    builder.add(&Block::seal_bytes(bytes));
    builder.finish(&KeepKey::from_bytes([1; 32]))
}

fn code(text: &str) -> Code {
    text.parse().unwrap()
}

struct Coded {
    pack: Pack,
    descriptor: Descriptor,
    shards: Vec<Bytes>,
}

impl Coded {
    fn new(class: SizeClass, text: &str) -> Self {
        let pack = pack(class);
        let (descriptor, shards) = encode(&pack, code(text)).unwrap();
        Coded { pack, descriptor, shards }
    }

    fn without(&self, lost: &[u8]) -> Vec<Option<Bytes>> {
        (0..).zip(&self.shards).map(|(n, shard)| (!lost.contains(&n)).then(|| shard.clone())).collect()
    }
}

static FOUR_TWO: LazyLock<Coded> = LazyLock::new(|| Coded::new(SizeClass::M4, "4+2"));

/// All sets of `size` numbers below `count`.
fn subsets(count: u8, size: usize) -> Vec<Vec<u8>> {
    let sets = (0..1_u32 << count).filter(|set| set.count_ones() as usize == size);
    sets.map(|set| (0..count).filter(|n| set >> n & 1 == 1).collect()).collect()
}

/// Of each number of lost shards, every `step`-th set of them.
fn losses_are_made_good(coded: &Coded, step: usize) {
    let code = coded.descriptor.code();
    for size in 0..=usize::from(code.m()) {
        for lost in subsets(code.shards(), size).into_iter().step_by(step) {
            let rebuilt = reconstruct(&coded.descriptor, &coded.without(&lost)).unwrap();
            assert_eq!((rebuilt.made.id(), rebuilt.wrong), (coded.pack.id(), vec![]), "without {lost:?}");
        }
    }
    for lost in subsets(code.shards(), usize::from(code.m()) + 1).into_iter().step_by(step) {
        let refused = reconstruct(&coded.descriptor, &coded.without(&lost));
        let wanted = ShardError::TooFew { needed: code.k(), missing: lost, wrong: vec![] };
        assert_eq!(refused, Err(wanted));
    }
}

#[test]
fn four_and_four_survive_the_loss_of_any_four() {
    losses_are_made_good(&Coded::new(SizeClass::M4, "4+4"), 1);
}

#[test]
fn eight_and_four_survive_the_loss_of_any_four() {
    // Every set on shards of a few bytes, and every seventeenth on whole packs, which take a hundred times longer.
    let data: Vec<_> = (0..8).map(|shard| (shard, Bytes::from(vec![shard ^ 0x5a, 0, 255, shard * 31, 1]))).collect();
    let all: Vec<_> = (0..12).map(|shard| (shard, sum_for(&data, shard, 5))).collect();
    for size in 1..=4 {
        for lost in subsets(12, size) {
            let have: Vec<_> = all.iter().filter(|(shard, _)| !lost.contains(shard)).take(8).cloned().collect();
            assert!(all.iter().all(|(shard, bytes)| sum_for(&have, *shard, 5) == bytes), "without {lost:?}");
        }
    }
    losses_are_made_good(&Coded::new(SizeClass::M16, "8+4"), 17);
}

#[test]
fn one_copy_is_enough() {
    for text in ["copies=3", "1+2"] {
        losses_are_made_good(&Coded::new(SizeClass::K256, text), 1);
    }
}

#[test]
fn data_shards_are_the_body_and_copies_cost_nothing() {
    let coded = &*FOUR_TWO;
    assert_eq!(coded.shards[..4].concat(), coded.pack.body()[..]);
    assert_eq!(coded.shards[1].as_ptr(), coded.pack.body()[1 << 20..].as_ptr());
    let copies = Coded::new(SizeClass::K256, "copies=3");
    assert!(copies.shards.iter().all(|copy| copy.as_ptr() == copies.pack.body().as_ptr()));
    assert_eq!(copies.descriptor.shard_id(2).unwrap().as_bytes(), copies.pack.id().as_bytes());
    assert_eq!(copies.descriptor.shard_id(3), None);
}

#[test]
fn another_code_leaves_the_pack_as_it_is() {
    let pack = pack(SizeClass::M4);
    let descriptors = ["copies=2", "copies=3", "2+1", "4+2"].map(|text| encode(&pack, code(text)).unwrap().0);
    assert!(descriptors.iter().all(|descriptor| descriptor.pack() == pack.id()));
    for (n, descriptor) in descriptors.iter().enumerate() {
        assert!(descriptors[..n].iter().all(|before| before.id() != descriptor.id()));
    }
    assert_eq!(encode(&pack, code("8+4")).unwrap_err(), CodeError::Slots { code: code("8+4"), class: SizeClass::M4 });
}

#[test]
fn any_lost_shard_is_rebuilt() {
    for text in ["4+2", "2+3"] {
        let coded = Coded::new(SizeClass::M4, text);
        for wanted in 0..coded.descriptor.code().shards() {
            for other in 0..coded.descriptor.code().shards() {
                let rebuilt = rebuild(&coded.descriptor, &coded.without(&[wanted, other]), wanted).unwrap();
                assert_eq!(rebuilt.made, coded.shards[usize::from(wanted)]);
            }
        }
        let refused = rebuild(&coded.descriptor, &coded.without(&[]), coded.descriptor.code().shards());
        assert!(matches!(refused, Err(ShardError::NoShard { .. })));
    }
}

#[test]
fn a_doctored_shard_is_named_and_not_used() {
    let coded = &*FOUR_TWO;
    for bad in 0..6 {
        let mut shards = coded.without(&[]);
        let mut bytes = coded.shards[usize::from(bad)].to_vec();
        bytes[4321] ^= 1;
        shards[usize::from(bad)] = Some(bytes.into());
        let rebuilt = reconstruct(&coded.descriptor, &shards).unwrap();
        assert_eq!((rebuilt.made.id(), rebuilt.wrong), (coded.pack.id(), vec![bad]));
        let rebuilt = rebuild(&coded.descriptor, &shards, bad).unwrap();
        assert_eq!((&rebuilt.made, rebuilt.wrong), (&coded.shards[usize::from(bad)], vec![bad]));
    }
}

#[test]
fn too_few_right_ones_name_the_wrong_and_the_missing() {
    let coded = &*FOUR_TWO;
    let mut shards = coded.without(&[5, 2]);
    shards[0] = Some(shards[0].as_ref().unwrap().slice(1..));
    let refused = reconstruct(&coded.descriptor, &shards);
    assert_eq!(refused, Err(ShardError::TooFew { needed: 4, missing: vec![2, 5], wrong: vec![0] }));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "4 shards are needed; missing [2, 5], wrong [0]",
        "an error says what to look for"
    );
}

#[test]
fn swapped_shards_are_both_named() {
    let coded = &*FOUR_TWO;
    let mut shards = coded.without(&[]);
    shards.swap(1, 4);
    let rebuilt = reconstruct(&coded.descriptor, &shards).unwrap();
    assert_eq!((rebuilt.made.id(), rebuilt.wrong), (coded.pack.id(), vec![1, 4]));
}

#[test]
fn as_many_places_as_shards_are_wanted() {
    let coded = &*FOUR_TWO;
    for given in [0, 5, 7] {
        let refused = reconstruct(&coded.descriptor, &vec![None; given]);
        assert_eq!(refused, Err(ShardError::Count { given, shards: 6 }));
    }
}

#[test]
fn a_descriptor_of_shards_that_are_no_code_is_found_out() {
    let coded = &*FOUR_TWO;
    let noise = Bytes::from(vec![7; 1 << 20]);
    let mut ids: Vec<_> = coded.shards.iter().map(|shard| ShardId::of(shard)).collect();
    ids[4] = ShardId::of(&noise);
    let lying = Descriptor::new(coded.pack.id(), SizeClass::M4, code("4+2"), ids).unwrap();
    let mut shards = coded.without(&[0]);
    shards[4] = Some(noise);
    shards[5] = None;
    assert_eq!(reconstruct(&lying, &shards), Err(ShardError::OtherPack { pack: coded.pack.id() }));
    let refused = rebuild(&lying, &shards, 0);
    assert_eq!(refused, Err(ShardError::OtherShard { shard: 0, pack: coded.pack.id() }));
}

#[test]
fn a_range_of_a_lost_shard_comes_from_the_same_range_of_any_others() {
    let coded = &*FOUR_TWO;
    let range = 2 * CELL_BYTES..5 * CELL_BYTES;
    let part = |shard: u8| coded.shards[usize::from(shard)].slice(range.start as usize..range.end as usize);
    for have in subsets(6, 4) {
        let parts: Vec<_> = have.iter().rev().map(|shard| (*shard, part(*shard))).collect();
        for wanted in 0..6 {
            assert_eq!(decode_range(&coded.descriptor, &range, &parts, wanted).unwrap(), part(wanted));
        }
    }
}

#[test]
fn ranges_that_are_not_the_same_cells_are_refused() {
    let descriptor = &FOUR_TWO.descriptor;
    let cell = |len: u32| Bytes::from(vec![0; len as usize]);
    let decode = |range: Range<u32>, parts: &[(u8, u32)], wanted| {
        let parts: Vec<_> = parts.iter().map(|(shard, len)| (*shard, cell(*len))).collect();
        decode_range(descriptor, &range, &parts, wanted).map(|bytes| bytes.len())
    };
    const C: u32 = CELL_BYTES;
    let good = [(0, C), (1, C), (2, C), (3, C)];
    assert_eq!(decode(0..C, &good, 5), Ok(C as usize));
    for range in [0..1, 1..C, 0..0, 0..C + 1, (1 << 20)..(1 << 20) + C, 0..u32::MAX] {
        assert!(matches!(decode(range, &good, 5), Err(ShardError::Range { .. })));
    }
    assert_eq!(decode(0..C, &[(0, C), (1, C), (2, C), (0, C)], 5), Err(ShardError::Part { shard: 0 }));
    assert_eq!(decode(0..C, &[(0, C), (1, C), (2, C), (6, C)], 5), Err(ShardError::Part { shard: 6 }));
    assert_eq!(decode(0..C, &[(0, C), (1, C), (2, C), (3, 2 * C)], 5), Err(ShardError::Part { shard: 3 }));
    assert_eq!(decode(0..C, &good, 6), Err(ShardError::NoShard { shard: 6 }));
    let refused = decode(0..C, &good[..3], 5);
    assert_eq!(refused, Err(ShardError::TooFew { needed: 4, missing: vec![3, 4, 5], wrong: vec![] }));
}

#[test]
fn a_descriptor_reads_back_and_any_changed_byte_is_refused_or_another_descriptor() {
    for descriptor in [&FOUR_TWO.descriptor, &Coded::new(SizeClass::K256, "copies=3").descriptor] {
        let bytes = descriptor.encode();
        assert_eq!(Descriptor::decode(&bytes).as_ref(), Ok(descriptor));
        for at in 0..bytes.len() {
            for change in 1..=255 {
                let mut altered = bytes.clone();
                altered[at] ^= change;
                if let Ok(other) = Descriptor::decode(&altered) {
                    assert_eq!(other.encode(), altered, "one encoding of each value");
                    assert_ne!(other.id(), descriptor.id());
                }
            }
        }
        for len in 0..bytes.len() {
            assert!(Descriptor::decode(&bytes[..len]).is_err());
        }
        assert!(Descriptor::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn descriptors_of_packs_look_alike_whatever_is_in_them() {
    let other = PackBuilder::new(SizeClass::M4).finish(&KeepKey::from_bytes([9; 32]));
    let (other, shards) = encode(&other, code("4+2")).unwrap();
    let (mine, theirs) = (FOUR_TWO.descriptor.encode(), other.encode());
    assert_eq!((mine.len(), &mine[33..37]), (theirs.len(), &theirs[33..37]));
    assert!(shards.iter().zip(&FOUR_TWO.shards).all(|(a, b)| a.len() == b.len()));
}

proptest! {
    #[test]
    fn strange_descriptors_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..900), numbers: [u8; 4]) {
        let mut named = [&[1][..], &bytes].concat();
        if named.len() > 36 {
            named[33..37].copy_from_slice(&numbers.map(|number| number % 20));
        }
        for bytes in [bytes, named] {
            if let Ok(descriptor) = Descriptor::decode(&bytes) {
                prop_assert_eq!(descriptor.encode(), bytes);
                let shards = vec![None; descriptor.code().shards().into()];
                prop_assert!(reconstruct(&descriptor, &shards).is_err(), "nothing comes of nothing");
            }
        }
    }
}
