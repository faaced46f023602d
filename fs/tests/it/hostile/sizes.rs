//! Sizes that are lies: of files, of chunks, of attributes, of link counts.

use cairn_block::{Attr, Content, FileType, Ino, Kind, MapRoot, Record, Ref, Timestamp, Xattrs};

use super::author::{Author, EMPTY, Inode};
use super::names::{with_dir, with_dir_unchanged};

/// The root of a volume that holds nothing.
pub(super) fn empty_directory() -> Record {
    let now = Timestamp { secs: 0, nanos: 0 };
    let attr = Attr {
        ino: Ino::ROOT,
        kind: FileType::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        nlink: 2,
        size: 0,
        allocated: 0,
        rdev: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
    };
    Record { attr, content: Content::Dir(MapRoot::EMPTY), xattrs: Xattrs::NONE }
}

fn extent(chunk: &Ref, len: u32, offset: u32) -> Vec<u8> {
    [&[1][..], &len.to_le_bytes(), &offset.to_le_bytes(), &chunk.to_bytes()].concat()
}

fn hole(len: u64) -> Vec<u8> {
    [&[0][..], &len.to_le_bytes()].concat()
}

fn inner(len: u64, allocated: u64, child: &Ref) -> Vec<u8> {
    [&len.to_le_bytes()[..], &allocated.to_le_bytes(), &child.to_bytes()].concat()
}

#[test]
fn a_file_of_exabytes_in_a_few_nodes_is_read_checked_and_collected_in_no_time() {
    let author = Author::new();
    let chunk = author.put(Kind::Data, &vec![b'x'; 1 << 19]);
    // Two chunks by turns, so that no extent continues the one before.
    let other = author.put(Kind::Data, &vec![b'y'; 1 << 19]);
    let extents: Vec<_> = (0..512).map(|n| extent(if n % 2 == 0 { &chunk } else { &other }, 1 << 19, 0)).collect();
    let (mut node, mut len) = (author.file_node(0, &extents), 512_u64 << 19);
    let mut level = 0;
    while len <= (1 << 62) / 512 {
        node = author.file_node(level + 1, &vec![inner(len, len, &node); 512]);
        (len, level) = (len * 512, level + 1);
    }
    let times = (1 << 61) / len;
    node = author.file_node(level + 1, &vec![inner(len, len, &node); times as usize]);
    (len, level) = (len * times, level + 1);
    let dir = author.names(&[(b"huge", Inode::tree(30, len, level, &node).entry())]);
    let seen = with_dir(&author, &dir, &EMPTY);
    assert!(seen.failed.is_empty(), "{:?}", seen.failed);
    assert!(seen.entries.iter().any(|(path, attr)| path == "/dir/huge" && attr.size == 1 << 61), "{seen:?}");
}

#[test]
fn a_file_whose_size_and_tree_disagree_is_an_error_of_that_file() {
    let author = Author::new();
    let chunk = author.put(Kind::Data, &[b'x'; 5000]);
    let small = author.put(Kind::Data, b"small");
    let lying = Ref { len: 5000, ..small.clone() };
    let missing = Ref { id: cairn_block::BlockId::from_bytes([3; 32]), ..chunk.clone() };
    let one = |item: Vec<u8>| author.file_node(0, &[item]);
    let sound = one(extent(&chunk, 5000, 0));
    let files = [
        ("size above the tree", Inode::tree(30, 6000, 0, &sound)),
        ("size below the tree", Inode::tree(31, 4000, 0, &sound)),
        ("size beyond all", Inode::tree(32, i64::MAX as u64, 0, &sound)),
        ("another level", Inode::tree(33, 5000, 1, &sound)),
        ("a level above any", Inode::tree(34, 5000, 0x7f, &sound)),
        ("an extent behind its chunk", Inode::tree(35, 5000, 0, &one(extent(&chunk, 5000, 1)))),
        ("a chunk that is shorter", Inode::tree(36, 5000, 0, &one(extent(&lying, 5000, 0)))),
        ("a chunk that is not there", Inode::tree(37, 5000, 0, &one(extent(&missing, 5000, 0)))),
        ("a node for a chunk", Inode::tree(38, 3, 0, &one(extent(&sound, 3, 0)))),
        ("a chunk for a node", Inode::tree(39, 5000, 0, &small)),
        (
            "a child of another length",
            Inode::tree(40, 9000, 1, &author.file_node(1, &[inner(4500, 4500, &sound), inner(4500, 4500, &sound)])),
        ),
        ("a node that is its own child", Inode::tree(41, 5000, 1, &author.file_node(1, &[inner(5000, 5000, &sound)]))),
        (
            "lengths beyond 2⁶³",
            Inode::tree(42, 1, 1, &author.file_node(1, &[inner(1 << 62, 0, &sound), inner(1 << 63, 0, &sound)])),
        ),
        ("a hole of nothing", Inode::tree(43, 5000, 0, &author.file_node(0, &[hole(0), extent(&chunk, 5000, 0)]))),
        ("a hole beyond all", Inode::tree(44, 5000, 0, &author.file_node(0, &[hole(u64::MAX)]))),
        ("more room than bytes", Inode { allocated: 1 << 60, ..Inode::tree(45, 5000, 0, &sound) }),
        ("no names though it has one", Inode { nlink: 0, ..Inode::tree(46, 5000, 0, &sound) }),
    ];
    for (lie, inode) in files {
        let author = Author { keys: Author::new().keys, store: author.store.clone() };
        let dir = author.names(&[(b"lie", inode.entry()), (b"good", Inode::file(60, b"x").entry())]);
        println!("{lie}");
        let seen = with_dir_unchanged(&author, &dir);
        assert!(seen.has("/fine"), "{lie}");
    }
}

#[test]
fn attributes_that_are_none_are_an_error_of_their_inode() {
    let author = Author::new();
    let list = author.put(Kind::Xattrs, &[&[6][..], b"user.a", &[0, 9, 0, 0], &[b'x'; 1200]].concat());
    let data = author.put(Kind::Data, &[b'd'; 1200]);
    for reference in [list, data] {
        let xattrs = [&[1][..], &reference.to_bytes()].concat();
        let dir = author.names(&[(b"lie", Inode { xattrs, ..Inode::file(30, b"x") }.entry())]);
        let seen = with_dir(&author, &dir, &EMPTY);
        seen.error_at("/dir/lie");
    }
}

#[test]
fn a_volume_that_has_no_number_left_refuses_new_files() {
    let author = Author::new();
    let root = author.names(&[(b"fine", Inode::file(21, b"fine").entry())]);
    author.publish(&root, &EMPTY, cairn_block::ino_range(&super::author::device().id()).end);
    let volume = author.open().expect("opens");
    use cairn_fs::ops::{Caller, NewNode, Operations};
    let node = NewNode { kind: FileType::Regular, mode: 0o644, umask: 0, rdev: 0, target: bytes::Bytes::new() };
    let refused = volume.create(super::reader::wait(), &Caller::NODE, Ino::ROOT, b"new", node);
    assert!(matches!(refused, Err(cairn_fs::FsError::NoSpace)), "{refused:?}");
    volume.close().expect("closes");
}
