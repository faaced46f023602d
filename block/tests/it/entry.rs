//! Entries, records and volume roots: what is written reads back, and nothing else reads.

use bytes::Bytes;
use cairn_block::limits::{
    INLINE_BYTES_MAX, INO_LIMIT, LINK_COUNT_MAX, MAP_VALUE_BYTES_MAX, SYMLINK_BYTES_MAX, XATTRS_INLINE_BYTES_MAX,
};
use cairn_block::{
    Attr, BlockId, BlockKey, Content, DirKey, Entry, EntryError, FileRoot, FileType, Ino, MapRoot, NameKey, Record,
    Ref, Timestamp, VolumeRoot, Xattrs,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const KINDS: [FileType; 7] = [
    FileType::Regular,
    FileType::Directory,
    FileType::Symlink,
    FileType::Fifo,
    FileType::Socket,
    FileType::Char,
    FileType::Block,
];

fn reference(len: std::ops::Range<u32>) -> impl Strategy<Value = Ref> {
    (any::<[u8; 32]>(), any::<[u8; 32]>(), len).prop_map(|(id, key, len)| Ref {
        id: BlockId::from_bytes(id),
        key: BlockKey::from_bytes(key),
        len,
    })
}

fn map_root() -> impl Strategy<Value = MapRoot> {
    let full = (reference(1..65_537), 0..12_u8, 1..u64::MAX).prop_map(|(root, level, count)| MapRoot {
        root: Some(root),
        level,
        count,
    });
    prop_oneof![1 => Just(MapRoot::EMPTY), 3 => full]
}

fn content(kind: FileType) -> BoxedStrategy<Content> {
    match kind {
        FileType::Regular => {
            prop_oneof![
                Just(Content::Empty),
                vec(any::<u8>(), 1..=INLINE_BYTES_MAX).prop_map(|bytes| Content::Inline(bytes.into())),
                (reference(1..65_537), 0..12_u8, any::<bool>())
                    .prop_map(|(root, level, fixed)| Content::File(FileRoot { root, level, fixed })),
            ]
            .boxed()
        }
        FileType::Directory => map_root().prop_map(Content::Dir).boxed(),
        FileType::Symlink => {
            vec(1..=255_u8, 1..=SYMLINK_BYTES_MAX).prop_map(|target| Content::Symlink(target.into())).boxed()
        }
        _ => Just(Content::None).boxed(),
    }
}

fn xattrs() -> impl Strategy<Value = Xattrs> {
    let list = btree_map(vec(1..=255_u8, 1..30), vec(any::<u8>(), 0..60), 0..10)
        .prop_map(|list| Xattrs::Inline(list.into_iter().map(|(name, value)| (name.into(), value.into())).collect()));
    prop_oneof![3 => list, 1 => reference(1_025..1 << 20).prop_map(Xattrs::Sealed)]
}

fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Timestamp { secs, nanos })
}

fn attr(kind: FileType) -> impl Strategy<Value = Attr> {
    let owners = (any::<u32>(), any::<u32>(), 0..=LINK_COUNT_MAX, any::<u32>());
    let sizes = (0..1_u64 << 63, 0..1_u64 << 63);
    (1..INO_LIMIT, 0..0o10000_u16, owners, sizes, [time(), time(), time(), time()]).prop_map(
        move |(ino, mode, (uid, gid, nlink, rdev), (size, allocated), [atime, mtime, ctime, btime])| Attr {
            ino: Ino::new(ino),
            kind,
            mode,
            uid,
            gid,
            nlink,
            size,
            allocated,
            rdev: if kind.is_device() { rdev } else { 0 },
            atime,
            mtime,
            ctime,
            btime,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    proptest::sample::select(&KINDS[..]).prop_flat_map(|kind| (attr(kind), content(kind), xattrs())).prop_map(
        |(mut attr, content, xattrs)| {
            match &content {
                Content::Inline(bytes) | Content::Symlink(bytes) => attr.size = bytes.len() as u64,
                Content::File(_) => attr.size = attr.size.max(1),
                _ => {}
            }
            Record { attr, content, xattrs }
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    let linkable: Vec<_> = KINDS.into_iter().filter(|kind| *kind != FileType::Directory).collect();
    let link = (1..INO_LIMIT, proptest::sample::select(linkable))
        .prop_map(|(ino, kind)| Entry::Link { ino: Ino::new(ino), kind });
    prop_oneof![4 => record().prop_map(Entry::Own), 1 => link]
}

fn plain_file() -> Record {
    Record {
        attr: Attr {
            ino: Ino::new(7),
            kind: FileType::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            nlink: 1,
            size: 0,
            allocated: 0,
            rdev: 0,
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            btime: Timestamp::default(),
        },
        content: Content::Empty,
        xattrs: Xattrs::NONE,
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(entry in entry()) {
        let bytes = entry.encode().unwrap();
        prop_assert!(bytes.len() <= MAP_VALUE_BYTES_MAX);
        prop_assert_eq!(Entry::peek(&bytes).unwrap(), (entry.ino(), entry.kind()));
        prop_assert_eq!(Entry::decode(&bytes).unwrap(), entry);
    }

    #[test]
    fn whatever_reads_is_written_with_the_same_bytes(
        entry in entry(), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let good = entry.encode().unwrap();
        let mut bytes = good.to_vec();
        for (place, value) in flips {
            // The front decides about everything else: aim there as often as anywhere.
            let place = if value % 2 == 0 { place.index(bytes.len()) } else { place.index(bytes.len().min(100)) };
            bytes[place] = value;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode().unwrap(), bytes);
        }
        let cut = good.slice(..cut.index(good.len()));
        if let Ok(shorter) = Entry::decode(&cut) {
            prop_assert_eq!(shorter.encode().unwrap(), cut);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in vec(any::<u8>(), 0..300)) {
        let bytes = Bytes::from(bytes);
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(entry.encode().unwrap(), bytes.clone());
        }
        if let Ok(root) = VolumeRoot::decode(&bytes) {
            prop_assert_eq!(root.encode().unwrap(), bytes.clone());
        }
        if let Ok(list) = Xattrs::decode_list(&bytes) {
            prop_assert_eq!(Xattrs::encode_list(&list).unwrap(), bytes);
        }
    }

    #[test]
    fn a_volume_root_reads_back(
        attr in attr(FileType::Directory), dir in map_root(), xattrs in xattrs(), links in map_root(), next_ino in 2..=INO_LIMIT,
    ) {
        let attr = Attr { ino: Ino::ROOT, ..attr };
        let root = VolumeRoot { root: Record { attr, content: Content::Dir(dir), xattrs }, links, next_ino };
        prop_assert_eq!(VolumeRoot::decode(&root.encode().unwrap()).unwrap(), root);
    }

    #[test]
    fn keys_sort_by_hash_and_hold_their_name(name in vec(1..=255_u8, 1..=255), key: [u8; 32]) {
        prop_assume!(!name.contains(&b'/') && name != b"." && name != b"..");
        let names = NameKey::from_bytes(key);
        let dir_key = DirKey::new(&names, &name).unwrap();
        prop_assert_eq!(dir_key.name(), &name[..]);
        let read = DirKey::from_encoded(dir_key.encoded().clone()).unwrap();
        prop_assert_eq!(read.verify(&names), Ok(()));
        prop_assert_eq!(&DirKey::first_with_hash(read.hash56())[..], &dir_key.encoded()[..7]);
        let mut forged = dir_key.into_encoded().to_vec();
        forged[3] ^= 1;
        prop_assert_eq!(DirKey::from_encoded(forged.into()).unwrap().verify(&names), Err(EntryError::KeyHash));
    }
}

#[test]
fn names_that_no_directory_can_hold_are_refused() {
    let names = NameKey::from_bytes([1; 32]);
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
        assert!(matches!(DirKey::new(&names, name), Err(EntryError::Name { .. })), "{name:?}");
    }
    for name in [&b"..."[..], b"\xff\xfe", b" ", &[b'x'; 255]] {
        DirKey::new(&names, name).unwrap();
    }
    for encoded in [&b""[..], b"1234567", b"1234567..", b"123456"] {
        DirKey::from_encoded(Bytes::copy_from_slice(encoded)).unwrap_err();
    }
}

#[test]
fn records_that_contradict_themselves_are_neither_written_nor_read() {
    type Spoil = fn(&mut Record);
    let spoilt: [(&str, Spoil); 16] = [
        ("inode 0", |r| r.attr.ino = Ino::new(0)),
        ("an inode number of a snapshot", |r| r.attr.ino = Ino::new(INO_LIMIT)),
        ("mode bits beyond 7777", |r| r.attr.mode = 0o10000),
        ("too large", |r| r.attr.size = 1 << 63),
        ("more allocated than any file", |r| r.attr.allocated = 1 << 63),
        ("too many links", |r| r.attr.nlink = LINK_COUNT_MAX + 1),
        ("a device number on a file", |r| r.attr.rdev = 1),
        ("a whole second of nanoseconds", |r| r.attr.mtime.nanos = 1_000_000_000),
        ("a tree of no bytes", |r| {
            let root = Ref { id: BlockId::of(b"node"), key: BlockKey::from_bytes([1; 32]), len: 100 };
            r.content = Content::File(FileRoot { root, level: 0, fixed: false });
        }),
        ("inline bytes of another length", |r| r.content = Content::Inline(Bytes::from_static(b"1"))),
        ("inline content of no bytes", |r| r.content = Content::Inline(Bytes::new())),
        ("a directory in a file", |r| r.content = Content::Dir(MapRoot::EMPTY)),
        ("a file that is nothing", |r| r.content = Content::None),
        ("a fifo with bytes", |r| {
            r.attr.kind = FileType::Fifo;
            r.content = Content::Empty;
        }),
        ("a directory without entries' root", |r| r.attr.kind = FileType::Directory),
        ("a target with a NUL", |r| {
            r.attr = Attr { kind: FileType::Symlink, size: 2, ..r.attr.clone() };
            r.content = Content::Symlink(Bytes::from_static(b"a\0"));
        }),
    ];
    plain_file().encode().unwrap();
    for (what, spoil) in spoilt {
        let mut record = plain_file();
        spoil(&mut record);
        assert!(record.encode().is_err(), "{what}");
    }
    let dir = Entry::Link { ino: Ino::new(5), kind: FileType::Directory };
    assert_eq!(dir.encode(), Err(EntryError::LinkedDirectory { ino: Ino::new(5) }));
}

#[test]
fn roots_that_contradict_themselves_are_refused() {
    let node = Ref { id: BlockId::of(b"node"), key: BlockKey::from_bytes([1; 32]), len: 100 };
    let with = |root, level, count| {
        let mut record = plain_file();
        record.attr.kind = FileType::Directory;
        record.content = Content::Dir(MapRoot { root, level, count });
        record.encode()
    };
    with(Some(node.clone()), 11, 1).unwrap();
    let long = Ref { len: 65_537, ..node.clone() };
    let empty = Ref { len: 0, ..node.clone() };
    let bad = [
        (None, 0, 1),
        (None, 1, 0),
        (Some(node.clone()), 0, 0),
        (Some(node), 12, 1),
        (Some(long), 0, 1),
        (Some(empty), 0, 1),
    ];
    for (root, level, count) in bad {
        assert_eq!(with(root, level, count), Err(EntryError::Root { what: "map tree" }), "{level} {count}");
    }
}

#[test]
fn attributes_are_where_their_size_says() {
    let list = |len: usize| vec![(Bytes::from_static(b"user.a"), Bytes::from(vec![1; len]))];
    let overhead = 1 + 6 + 4;
    let with = |xattrs| Record { xattrs, ..plain_file() }.encode();
    with(Xattrs::Inline(list(XATTRS_INLINE_BYTES_MAX - overhead))).unwrap();
    assert!(with(Xattrs::Inline(list(XATTRS_INLINE_BYTES_MAX - overhead + 1))).is_err());
    let block = |len| Ref { id: BlockId::of(b"list"), key: BlockKey::from_bytes([1; 32]), len };
    with(Xattrs::Sealed(block(1_025))).unwrap();
    assert!(with(Xattrs::Sealed(block(1_024))).is_err());
}

#[test]
fn lists_of_attributes_are_sorted_named_and_bounded() {
    let item = |name: &'static [u8], len: usize| (Bytes::from_static(name), Bytes::from(vec![0; len]));
    Xattrs::encode_list(&[item(b"a", 65_536), item(b"b", 0)]).unwrap();
    let many: Vec<_> = (0..17_u8).map(|n| (Bytes::from(vec![n + 1]), Bytes::from(vec![0; 65_536]))).collect();
    for bad in [
        &[item(b"b", 0), item(b"a", 0)][..],
        &[item(b"a", 0), item(b"a", 1)],
        &[item(b"", 0)],
        &[item(b"a\0", 0)],
        &[item(&[b'n'; 256], 0)],
        &[item(b"a", 65_537)],
        &many,
    ] {
        assert!(Xattrs::encode_list(bad).is_err());
    }
}
