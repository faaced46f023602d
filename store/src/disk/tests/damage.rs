//! Any one file of a store can be damaged in any way: it opens, serves what is sound, and takes new blocks.

use std::path::Path;

use bytes::Bytes;
use cairn_block::Block;

use super::rig::{DiskRig, copy, directory, flip, get, options, put_all};
use crate::disk::{DiskOptions, DiskStore};
use crate::testing::{Rig, ask, block, device, volume};
use crate::{BlockStore, HeadStore, Put, Scrubber, StoreError};

const BLOCKS: u64 = 24;
const BLOCK_BYTES: usize = 9000;

/// Three segments, an index with tables, heads, a journal; closed.
fn sample() -> (DiskRig, Vec<Block>) {
    let mut rig = DiskRig::new();
    let blocks: Vec<_> = (0..BLOCKS).map(|n| block(n, BLOCK_BYTES)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().append_delta(&volume(1), 1, &block(900, 500)).expect("append_delta");
    rig.disk().put_head(&volume(1), &device(1), 1, &Bytes::from_static(b"head")).expect("put_head");
    rig.close();
    assert!(rig.segments().len() >= 3);
    (rig, blocks)
}

/// Opens a damaged copy and looks at everything. Returns how many blocks are not served.
fn check(dir: &Path, blocks: &[Block], what: &str) -> usize {
    let store = DiskStore::open(dir, options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut missing = 0;
    for block in blocks {
        match store.get(&block.id(), ask()) {
            Ok(Some(found)) => assert_eq!(&found, block),
            Ok(None) | Err(StoreError::Damaged { .. }) => {
                missing += 1;
                assert_eq!(store.put(block).unwrap_or_else(|e| panic!("{what}: {e}")), Put::New, "{what}");
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
    store.put(&block(7777, 300)).unwrap_or_else(|error| panic!("{what}: {error}"));
    store.sync().unwrap_or_else(|error| panic!("{what}: {error}"));
    store.heads(&volume(1)).unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(store);
    let store = DiskStore::open(dir, options()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    for block in blocks.iter().chain([&block(7777, 300)]) {
        assert_eq!(get(&store, block).as_ref(), Some(block), "{what}: not healed");
    }
    missing
}

#[test]
fn any_file_can_be_lost_cut_zeroed_or_filled_with_rubbish() {
    let (rig, blocks) = sample();
    for path in rig.files() {
        let name = path.strip_prefix(rig.path()).expect("below").to_owned();
        for damage in ["gone", "empty", "half", "zeroed", "longer", "ones", "a directory"] {
            let dir = directory();
            copy(rig.path(), dir.path());
            let target = dir.path().join(&name);
            let bytes = std::fs::read(&target).expect("read");
            let len = bytes.len();
            match damage {
                "gone" => std::fs::remove_file(&target).expect("remove"),
                "empty" => std::fs::write(&target, []).expect("write"),
                "half" => std::fs::write(&target, &bytes[..len / 2]).expect("write"),
                "zeroed" => std::fs::write(&target, vec![0; len]).expect("write"),
                "longer" => std::fs::write(&target, [&bytes[..], &[0xA5; 5000]].concat()).expect("write"),
                "ones" => std::fs::write(&target, vec![0xff; len]).expect("write"),
                _ if name == Path::new("lock") => continue,
                _ => {
                    std::fs::remove_file(&target).expect("remove");
                    std::fs::create_dir(&target).expect("create");
                }
            }
            let missing = check(dir.path(), &blocks, &format!("{} {damage}", name.display()));
            let is_log = name.starts_with("log");
            assert!(missing == 0 || is_log, "{} {damage}: {missing} blocks are gone", name.display());
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_one_block_at_most() {
    // Places spread over each file; odd, so that they meet every field in some record.
    const PLACES: u64 = 16;
    let (rig, blocks) = sample();
    for path in rig.files() {
        let name = path.strip_prefix(rig.path()).expect("below").to_owned();
        let len = path.metadata().expect("metadata").len();
        if len == 0 {
            continue;
        }
        for place in 0..PLACES {
            let dir = directory();
            copy(rig.path(), dir.path());
            let offset = (len * place / PLACES + place * 7) % len;
            flip(&dir.path().join(&name), offset);
            let missing = check(dir.path(), &blocks, &format!("{} at {offset}", name.display()));
            assert!(missing <= usize::from(name.starts_with("log")), "{} at {offset}: {missing}", name.display());
        }
    }
}

#[test]
fn two_segments_that_changed_names_are_still_themselves() {
    let (mut rig, blocks) = sample();
    let segments = rig.segments();
    let aside = rig.path().join("aside");
    std::fs::rename(&segments[0], &aside).expect("rename");
    std::fs::rename(&segments[1], &segments[0]).expect("rename");
    std::fs::rename(&aside, &segments[1]).expect("rename");
    let store = rig.open();
    for block in &blocks {
        assert_eq!(get(store, block).as_ref(), Some(block));
    }
}

#[test]
fn a_bad_record_with_good_ones_after_it_is_not_the_end() {
    let (mut rig, blocks) = sample();
    let first = rig.segments()[0].clone();
    // The header of the second record, and the payload of the fourth.
    let record = BLOCK_BYTES as u64 + 96;
    flip(&first, 72 + record + 20);
    flip(&first, 72 + 3 * record + 500);
    std::fs::remove_dir_all(rig.path().join("index")).expect("remove");
    let store = rig.open();
    assert_eq!(store.damage().len(), 2);
    let is_served: Vec<_> = blocks.iter().map(|b| matches!(store.get(&b.id(), ask()), Ok(Some(_)))).collect();
    assert_eq!(is_served.iter().filter(|is_served| !**is_served).count(), 2);
    assert!(!is_served[1] && !is_served[3]);
    // The header is gone, so nobody knows whose record it was; of the other one the id is known.
    assert!(matches!(store.get(&blocks[1].id(), ask()), Ok(None)));
    assert!(matches!(store.get(&blocks[3].id(), ask()), Err(StoreError::Damaged { .. })));
}

#[test]
fn damage_is_remembered_and_a_put_heals_it() {
    let mut rig = DiskRig::new();
    let blocks: Vec<_> = (0..10).map(|n| block(n, BLOCK_BYTES)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().checkpoint().expect("checkpoint");
    assert!(rig.damage(&blocks[4].id()));
    assert!(matches!(rig.disk().get(&blocks[4].id(), ask()), Err(StoreError::Damaged { .. })));
    rig.close();
    let store = rig.open();
    assert_eq!(store.health().damaged_blocks, 1);
    assert!(!store.has(&blocks[4].id()).expect("has"));
    assert_eq!(store.put(&blocks[4]).expect("put"), Put::New);
    assert_eq!(store.health().damaged_blocks, 0);
    assert_eq!(store.stats().blocks, 10);
    rig.close();
    let store = rig.open();
    assert_eq!(get(store, &blocks[4]).as_ref(), Some(&blocks[4]));
    assert_eq!(store.damage(), []);
}

#[test]
fn a_scrub_finds_what_reads_would() {
    let mut rig = DiskRig::with(DiskOptions { segment_bytes: 1 << 20, ..options() });
    let blocks: Vec<_> = (0..20).map(|n| block(n, BLOCK_BYTES)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().sync().expect("sync");
    assert!(rig.damage(&blocks[3].id()));
    // A header: the block is sound, but only the index knows that it is there.
    flip(&rig.segments()[0], 72 + 7 * (BLOCK_BYTES as u64 + 96) + 4);
    let report = rig.disk().scrub(&mut |_| {}).expect("scrub");
    assert_eq!((report.blocks, report.bytes), (20, 20 * BLOCK_BYTES as u64));
    let found: Vec<_> = report.damaged.iter().filter_map(|damage| damage.id).collect();
    assert_eq!(found, [blocks[3].id()]);
    assert_eq!(report.damaged.len(), 2);
    assert_eq!(rig.disk().health().damaged_blocks, 1);
    rig.disk().rebuild_index().expect("rebuild");
    assert_eq!(get(rig.disk(), &blocks[7]).as_ref(), Some(&blocks[7]), "it was given a new record");
}

#[test]
fn a_record_whose_end_alone_is_damaged_loses_nothing() {
    let mut rig = DiskRig::with(DiskOptions { segment_bytes: 1 << 20, ..options() });
    let blocks: Vec<_> = (0..20).map(|n| block(n, BLOCK_BYTES)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().sync().expect("sync");
    // The fourth record's trailer.
    let record = BLOCK_BYTES as u64 + 96;
    flip(&rig.segments()[0], 72 + 4 * record - 6);
    rig.disk().rebuild_index().expect("rebuild");
    assert_eq!(get(rig.disk(), &blocks[3]).as_ref(), Some(&blocks[3]));
    let report = rig.disk().scrub(&mut |_| {}).expect("scrub");
    assert_eq!((report.damaged.len(), report.damaged[0].id), (1, None));
    let store = rig.open();
    assert_eq!(get(store, &blocks[3]).as_ref(), Some(&blocks[3]));
    assert_eq!(store.scrub(&mut |_| {}).expect("scrub").damaged, [], "it was given a new record");
}
