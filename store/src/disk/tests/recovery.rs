//! Opening again: after a kill, with a torn end, without an index, by a second process, in another version.

use std::os::unix::fs::{FileExt, PermissionsExt};

use bytes::Bytes;

use super::rig::{DiskRig, files, get, options, put_all};
use crate::disk::segment::{SEGMENT_HEADER_BYTES, file_name};
use crate::disk::{DiskOptions, DiskStore};
use crate::testing::{Rig, block, device, volume};
use crate::{BlockStore, HeadStore, HintStore, StoreError};

#[test]
fn a_clean_close_leaves_nothing_to_replay() {
    let mut rig = DiskRig::new();
    let blocks: Vec<_> = (0..50).map(|n| block(n, 10_000)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().put_hint([1; 32], Bytes::from_static(b"hint"));
    rig.close();
    let store = rig.open();
    assert_eq!(store.open_report().records_replayed, 0);
    assert_eq!(store.stats().blocks, 50);
    assert_eq!(store.hint([1; 32].as_ref().try_into().expect("32 bytes")).as_deref(), Some(&b"hint"[..]));
    for block in &blocks {
        assert_eq!(get(store, block).as_ref(), Some(block));
    }
}

#[test]
fn a_kill_replays_only_what_the_index_has_not_heard_of() {
    let mut rig = DiskRig::with(DiskOptions { segment_bytes: 8 << 20, ..options() });
    put_all(rig.disk(), &(0..50).map(|n| block(n, 10_000)).collect::<Vec<_>>());
    rig.disk().checkpoint().expect("checkpoint");
    put_all(rig.disk(), &(50..60).map(|n| block(n, 10_000)).collect::<Vec<_>>());
    rig.disk().sync().expect("sync");
    let store = rig.kill();
    assert_eq!(store.open_report().records_replayed, 10);
    assert_eq!(store.stats().blocks, 60);
}

#[test]
fn recovery_is_idempotent_and_can_be_killed() {
    let mut rig = DiskRig::new();
    let blocks: Vec<_> = (0..30).map(|n| block(n, 10_000)).collect();
    put_all(rig.disk(), &blocks);
    rig.disk().sync().expect("sync");
    put_all(rig.disk(), &[block(100, 20_000), block(101, 20_000)]);
    rig.crash(0x5555_5555_5555_5555);
    let first = dump(rig.disk());
    for _ in 0..3 {
        assert_eq!(dump(rig.kill()), first);
    }
    rig.disk().rebuild_index().expect("rebuild");
    assert_eq!(dump(rig.disk()), first);
    for block in &blocks {
        assert_eq!(get(rig.disk(), block).as_ref(), Some(block));
    }
}

#[test]
fn a_segment_whose_creation_was_cut_short_is_no_damage() {
    let mut rig = DiskRig::new();
    let kept = block(1, 5_000);
    put_all(rig.disk(), std::slice::from_ref(&kept));
    rig.close();
    // A filesystem may have made the length durable and the bytes not yet, or only some of both.
    for len in [0, 40, SEGMENT_HEADER_BYTES as usize] {
        let newest = rig.path().join("log").join(file_name(1_000));
        std::fs::write(&newest, vec![0; len]).expect("a file");
        let store = rig.open();
        assert_eq!(store.damage(), [], "{len} bytes");
        assert_eq!(get(store, &kept).as_ref(), Some(&kept));
        put_all(store, &[block(len as u64 + 2, 5_000)]);
        store.sync().expect("sync");
        rig.close();
        assert!(!newest.exists(), "{len} bytes");
    }
}

/// Everything that can be seen of a store.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    blocks: u64,
    block_bytes: u64,
    has: Vec<bool>,
    deltas: Vec<(u64, cairn_block::BlockId)>,
    heads: usize,
    damage: usize,
}

fn dump(store: &DiskStore) -> Seen {
    let seen = (0..120).map(|n| [10_000, 20_000].map(|size| store.has(&block(n, size).id()).expect("has")));
    let stats = store.stats();
    Seen {
        blocks: stats.blocks,
        block_bytes: stats.block_bytes,
        has: seen.flatten().collect(),
        deltas: store.deltas(&volume(1), 0).expect("deltas"),
        heads: store.heads(&volume(1)).expect("heads").len(),
        damage: store.damage().len(),
    }
}

#[test]
fn a_log_that_ends_anywhere_in_its_last_record_opens_without_it() {
    let mut rig = DiskRig::with(DiskOptions { segment_bytes: 1 << 20, ..options() });
    let kept = block(1, 300);
    rig.disk().put(&kept).expect("put");
    rig.disk().checkpoint().expect("checkpoint");
    rig.disk().put(&block(2, 40)).expect("put");
    rig.disk().sync().expect("sync");
    let path = rig.segments()[0].clone();
    let whole = {
        rig.kill();
        std::fs::read(&path).expect("read")
    };
    let last = whole.len() - 136;
    // The index of each round is at the end that the round before left; it is made anew from the log.
    for end in last..whole.len() {
        drop_store_files(&mut rig, &path, &whole[..end]);
        let store = rig.open();
        assert_eq!(get(store, &kept).as_ref(), Some(&kept), "cut at {end}");
        assert!(!store.has(&block(2, 40).id()).expect("has"), "cut at {end}");
        assert_eq!(store.damage(), [], "cut at {end}");
    }
    drop_store_files(&mut rig, &path, &whole);
    assert!(rig.open().has(&block(2, 40).id()).expect("has"));
}

/// Puts the store into the state that a crash with this log and no index leaves.
fn drop_store_files(rig: &mut DiskRig, path: &std::path::Path, log: &[u8]) {
    rig.close();
    std::fs::remove_dir_all(rig.path().join("index")).expect("remove");
    for segment in rig.segments() {
        std::fs::remove_file(segment).expect("remove");
    }
    std::fs::write(path, log).expect("write");
    std::fs::create_dir(rig.path().join("index")).expect("create");
}

#[test]
fn a_lost_index_costs_time_only() {
    let mut rig = DiskRig::new();
    let blocks: Vec<_> = (0..50).map(|n| block(n, 10_000)).collect();
    put_all(rig.disk(), &blocks);
    for seq in 1..5 {
        rig.disk().append_delta(&volume(1), seq, &block(500 + seq, 700)).expect("append_delta");
        rig.disk().put_head(&volume(1), &device(1), seq, &Bytes::from(vec![seq as u8; 200])).expect("put_head");
    }
    rig.disk().trim_deltas(&volume(1), 2).expect("trim_deltas");
    rig.disk().drop_heads(&volume(1), &[(device(1), 3)]).expect("drop_heads");
    let before = dump(rig.disk());
    rig.close();
    std::fs::remove_dir_all(rig.path().join("index")).expect("remove");
    let store = rig.open();
    assert!(store.open_report().index_rebuilt);
    assert_eq!(dump(store), before);
    for block in &blocks {
        assert_eq!(get(store, block).as_ref(), Some(block));
    }
    store.rebuild_index().expect("rebuild");
    assert_eq!(dump(store), before);
}

#[test]
fn a_second_opener_is_refused() {
    let rig = DiskRig::new();
    let error = DiskStore::open(rig.path(), options()).expect_err("locked");
    assert!(matches!(&error, StoreError::Locked { path } if path == rig.path()), "{error}");
    // Nor if somebody has given the lock a second name, as a copy by hard links does.
    std::fs::hard_link(rig.path().join("lock"), rig.path().join("lock.2")).expect("a second name");
    let error = DiskStore::open(rig.path(), options()).expect_err("locked");
    assert!(matches!(&error, StoreError::Locked { .. }), "{error}");
}

#[test]
fn a_newer_version_is_refused_without_a_byte_changed() {
    let mut rig = DiskRig::new();
    rig.disk().put(&block(1, 1000)).expect("put");
    rig.close();
    let path = rig.path().join("format");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).expect("write");
    let state =
        || rig.files().iter().map(|path| (path.clone(), std::fs::read(path).expect("read"))).collect::<Vec<_>>();
    let before = state();
    let error = DiskStore::open(rig.path(), options()).expect_err("newer");
    assert!(matches!(error, StoreError::NewerVersion { found: 9, supported: 1, .. }), "{error}");
    assert!(state() == before);
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("letter.txt"), "dear").expect("write");
    let error = DiskStore::open(dir.path(), options()).expect_err("not a store");
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn only_the_owner_can_look() {
    let rig = DiskRig::new();
    rig.disk().put(&block(1, 1000)).expect("put");
    rig.disk().sync().expect("sync");
    let mode = |path: &std::path::Path| path.metadata().expect("metadata").permissions().mode() & 0o777;
    for dir in ["log", "index"] {
        assert_eq!(mode(&rig.path().join(dir)), 0o700, "{dir}");
    }
    for path in rig.segments() {
        assert_eq!(mode(&path), 0o600);
    }
    assert_eq!(mode(&rig.path().join("format")), 0o600);
}

#[test]
fn a_record_of_another_place_is_no_record() {
    let mut rig = DiskRig::with(DiskOptions { segment_bytes: 1 << 20, ..options() });
    let (a, b) = (block(1, 1000), block(2, 1000));
    put_all(rig.disk(), &[a.clone(), b.clone()]);
    rig.close();
    // A misdirected write: the first record over the second.
    let path = &rig.segments()[0];
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut record = vec![0; 1096];
    file.read_exact_at(&mut record, 72).expect("read");
    file.write_all_at(&record, 72 + 1096).expect("write");
    std::fs::remove_dir_all(rig.path().join("index")).expect("remove");
    let store = rig.open();
    assert_eq!(get(store, &a), Some(a));
    assert!(!store.has(&b.id()).expect("has"));
}
