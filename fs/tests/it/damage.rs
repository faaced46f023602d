//! Damage in a store costs what lies on it: what is written beside it is kept, and a volume always opens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::entry::{Content, MapRoot};
use cairn_block::{BlockId, FileType, Head, Ino, Timestamp};
use cairn_fs::ops::{Caller, NewNode, Operations};
use cairn_fs::reader::{ReaderOptions, TreeReader};
use cairn_fs::{FsError, Trouble, read_root, tree};
use cairn_store::faulty::{Call, Fault, Rule};
use cairn_store::{Ask, BlockStore, FaultyStore, HeadStore, MemoryStore};

use crate::collecting::{create, keys, let_go, noise, open, read, wait, write};

#[test]
fn a_write_into_a_damaged_chunk_is_kept_and_stops_no_other() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let data = noise(300_000, "whole");
    let before = store.block_ids();
    let file = create(&volume, "torn");
    write(&volume, file.0, 0, &data);
    let_go(&volume, file);
    volume.sync_all().expect("sync");
    let chunks: Vec<_> = store.block_ids().into_iter().filter(|id| !before.contains(id)).collect();
    volume.close().expect("close");
    drop(volume);
    // The largest blocks are the file's chunks: none of it can be read any more.
    let bytes = |id: &BlockId| store.get(id, ask()).expect("get").map_or(0, |block| block.len());
    let chunks: Vec<_> = chunks.into_iter().filter(|id| bytes(id) > 60_000).collect();
    assert!(!chunks.is_empty());
    chunks.iter().for_each(|id| assert!(store.damage(id)));

    let volume = open(&store);
    let torn = volume.lookup(wait(), Ino::ROOT, b"torn").expect("its record is whole").ino;
    let patch = noise(5_000, "patch");
    write(&volume, torn, 100_000, &patch);
    let other = create(&volume, "other");
    write(&volume, other.0, 0, &data.slice(..50_000));
    let_go(&volume, other);
    volume.flush().expect("what can't be read is kept as it is");
    volume.close().expect("close");
    drop(volume);
    let again = open(&store);
    assert_eq!(read(&again, "other"), data.slice(..50_000));
    let torn = again.lookup(wait(), Ino::ROOT, b"torn").expect("still there").ino;
    let found = again.read(wait(), torn, 100_000, 5_000).expect("what was written can be read").into_bytes();
    assert_eq!(found, patch);
    assert!(matches!(again.read(wait(), torn, 200_000, 100), Err(FsError::Damaged { .. })), "no other bytes, no zeros");
}

#[test]
fn what_is_synced_after_a_flush_that_failed_behind_its_head_survives_a_crash() {
    let store = Arc::new(FaultyStore::new(MemoryStore::new(), 1));
    let volume = open(&store);
    let (early, late) = (noise(30_000, "early"), noise(30_000, "late"));
    let (ino, _handle) = create(&volume, "file");
    write(&volume, ino, 0, &early);
    volume.sync_all().expect("sync");
    // A flush syncs its tree, puts its head, and syncs that: the second one fails, whoever flushes.
    store.faults().add(Rule::nth(Call::Sync, 2, Fault::Full));
    while store.faults().struck() == 0 {
        write(&volume, ino, 0, &early);
        let _ = volume.flush();
    }
    store.faults().clear();
    write(&volume, ino, early.len(), &late);
    volume.sync_all().expect("sync");
    drop(volume);
    store.inner().crash();
    let volume = open(&store);
    assert_eq!(read(&volume, "file"), [early, late].concat());
    volume.flush().expect("its number is free");
}

#[test]
fn what_is_synced_after_a_gap_in_the_journal_survives_a_crash() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let_go(&volume, create(&volume, "in a head"));
    volume.flush().expect("flush");
    let_go(&volume, create(&volume, "in the journal"));
    volume.sync_all().expect("sync");
    let deltas = store.deltas(&volume.id(), 0).expect("deltas");
    let (_, lost) = *deltas.last().expect("a journal record");
    drop(volume);
    store.crash();
    assert!(store.lose(&lost));
    let volume = open(&store);
    assert!(volume.lookup(wait(), Ino::ROOT, b"in the journal").is_err(), "its record is lost");
    let_go(&volume, create(&volume, "after the gap"));
    volume.sync_all().expect("sync");
    drop(volume);
    store.crash();
    let again = open(&store);
    assert_eq!(read(&again, "after the gap"), Bytes::new());
}

#[test]
fn a_volume_that_cannot_close_a_gap_opens_for_reading() {
    let store = Arc::new(MemoryStore::new());
    let volume = open(&store);
    let kept = noise(50_000, "kept");
    let file = create(&volume, "kept");
    write(&volume, file.0, 0, &kept);
    let_go(&volume, file);
    let dir = volume.create(wait(), &Caller::NODE, Ino::ROOT, b"dir", node(FileType::Directory)).expect("mkdir").ino;
    volume.create(wait(), &Caller::NODE, dir, b"first", node(FileType::Regular)).expect("create");
    let head = volume.flush().expect("flush").expect("a head");
    for name in [b"second", b"third.", b"fourth"] {
        volume.create(wait(), &Caller::NODE, dir, name, node(FileType::Regular)).expect("create");
        volume.sync_all().expect("sync");
    }
    let (_, last) = *store.deltas(&volume.id(), head.delta_upto).expect("deltas").last().expect("a record");
    drop(volume);
    store.crash();
    // A gap in the journal; and the directory that the records before it change can't be read, so no tree can have them.
    assert!(store.lose(&last));
    assert!(store.damage(&dir_node(&store, &head, b"/dir")));

    let again = open(&store);
    assert_eq!(again.trouble(), Some(Trouble::ReadOnly));
    let refused = again.create(wait(), &Caller::NODE, Ino::ROOT, b"new", node(FileType::Regular));
    assert!(matches!(refused, Err(FsError::ReadOnly)), "{refused:?}");
    assert_eq!(read(&again, "kept"), kept);
    let later = Timestamp { secs: head.time.secs + 10 * 365 * 86_400, nanos: 0 };
    assert_eq!(again.thin(later).expect("nothing goes"), 0, "its history may be all that is whole");
    assert!(matches!(again.drop_snapshot(&head), Err(FsError::ReadOnly)));
    again.close().expect("nothing is left to write");
}

fn node(kind: FileType) -> NewNode {
    NewNode { kind, mode: 0o755, umask: 0, rdev: 0, target: Bytes::new() }
}

/// The block of a small directory of a head.
fn dir_node(store: &Arc<MemoryStore>, head: &Head, path: &[u8]) -> BlockId {
    let reader = TreeReader::new(store.clone(), ReaderOptions::default());
    let root = read_root(head, &reader).expect("its root");
    let record = tree::record_at(&mut reader.nodes(ask()), keys().names(), &root, path).expect("a record");
    match record.content {
        Content::Dir(MapRoot { root: Some(root), .. }) => root.id,
        other => panic!("{other:?}"),
    }
}

fn ask() -> Ask {
    Ask::now(Duration::from_secs(5))
}
