//! What a newer release wrote is sound, and not ours to pass over: the volume doesn't open, and nothing is written.

use cairn_block::{Block, DeviceKey, wrap};
use cairn_fs::FsError;
use cairn_store::HeadStore;

use super::author::{Author, EMPTY, Inode};

/// Everything that a store in memory holds.
fn contents(author: &Author) -> (Vec<cairn_block::BlockId>, usize, usize) {
    let volume = author.keys.volume();
    let heads = author.store.heads(&volume).expect("heads").len();
    (author.store.block_ids(), heads, author.store.deltas(&volume, 0).expect("deltas").len())
}

#[track_caller]
fn refused(author: &Author, what: &str) {
    let before = contents(author);
    let opened = author.open().map(drop);
    assert!(matches!(opened, Err(FsError::Newer { found: 2, .. })), "{what}: {opened:?}");
    assert_eq!(contents(author), before, "{what}: something was written");
}

fn author() -> Author {
    let author = Author::new();
    author.publish(&author.names(&[(b"file", Inode::file(21, b"kept").entry())]), &EMPTY, 1000);
    author.open().expect("what this release knows opens").close().expect("closes");
    author
}

#[test]
fn a_newer_head_is_refused_without_writing() {
    let author = author();
    let heads = author.store.heads(&author.keys.volume()).expect("heads");
    let mut newer = heads[0].bytes.to_vec();
    newer[0] = 2;
    let device = DeviceKey::from_bytes(&[9; 32]).id();
    author.store.put_head(&author.keys.volume(), &device, 99, &newer.into()).expect("put");
    refused(&author, "a head");
}

#[test]
fn a_newer_root_is_refused_without_writing() {
    let author = author();
    author.publish_root(&[2, 1, 2, 3]);
    refused(&author, "a volume root");
}

#[test]
fn a_newer_journal_record_is_refused_without_writing() {
    let author = author();
    let keys = &author.keys;
    let seq = 7;
    // Above everything that the head covers.
    author.store.trim_deltas(&keys.volume(), 0).expect("trimmed");
    let place = [&keys.volume().as_bytes()[..], &u64::to_le_bytes(seq)].concat();
    let delta = Block::seal_bytes(wrap(keys.read().as_bytes(), "cairn journal delta", &place, &[2, 3, 0, 0]));
    for gap in 1..seq {
        let place = [&keys.volume().as_bytes()[..], &u64::to_le_bytes(gap)].concat();
        let empty = [&[1, 3][..], &1000_u64.to_le_bytes()].concat();
        let sound = Block::seal_bytes(wrap(keys.read().as_bytes(), "cairn journal delta", &place, &empty));
        // Those that the head covers can't be appended again.
        let _ = author.store.append_delta(&keys.volume(), gap, &sound);
    }
    author.store.append_delta(&keys.volume(), seq, &delta).expect("appended");
    refused(&author, "a delta");
}
