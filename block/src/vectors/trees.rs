use bytes::Bytes;
use serde_json::{Value, json};

use super::{compare, hex, refused, volume};
use crate::codec::Writer;
use crate::entry::{Attr, Content, DirKey, Entry, FileRoot, FileType, MapRoot, Record, VolumeRoot, Xattrs};
use crate::file_tree::FileNode;
use crate::id::{BlockId, Ino};
use crate::keys::BlockKey;
use crate::limits::{CHUNK_BYTES_MAX, INO_LIMIT, NODE_BYTES_MAX};
use crate::map_tree::MapNode;
use crate::reference::Ref;
use crate::time::Timestamp;

/// A ref to nothing, of a node's length.
fn reference(byte: u8) -> Ref {
    Ref { id: BlockId::from_bytes([byte; 32]), key: BlockKey::from_bytes([byte ^ 0xff; 32]), len: 100 }
}

/// Attributes of a kind and size; the other fields are told apart by their values.
pub(super) fn attr(ino: u64, kind: FileType, size: u64) -> Attr {
    let time = |n: i64| Timestamp { secs: 1_790_000_000 + n, nanos: n as u32 };
    Attr {
        ino: Ino::new(ino),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 100,
        nlink: 1,
        size,
        allocated: size,
        rdev: 0,
        atime: time(1),
        mtime: time(2),
        ctime: time(3),
        btime: time(4),
    }
}

pub(super) fn record(attr: Attr, content: Content) -> Record {
    Record { attr, content, xattrs: Xattrs::NONE }
}

fn directory(ino: u64) -> Record {
    record(attr(ino, FileType::Directory, 0), Content::Dir(MapRoot::EMPTY))
}

fn record_json(record: &Record) -> Value {
    let attr = &record.attr;
    let times = [attr.atime, attr.mtime, attr.ctime, attr.btime].map(|time| json!([time.secs, time.nanos]));
    let content = match &record.content {
        Content::Empty => json!("empty"),
        Content::None => json!("none"),
        Content::Inline(bytes) => json!({ "inline": hex(bytes) }),
        Content::Symlink(target) => json!({ "symlink": hex(target) }),
        Content::File(file) => json!({ "file": [hex(file.root.to_bytes()), file.level, file.fixed] }),
        Content::Dir(map) => json!({ "dir": map_json(map) }),
    };
    let xattrs = match &record.xattrs {
        Xattrs::Inline(list) => list.iter().map(|(name, value)| json!([hex(name), hex(value)])).collect(),
        Xattrs::Sealed(reference) => json!({ "sealed": hex(reference.to_bytes()) }),
    };
    json!({
        "ino": attr.ino, "kind": attr.kind.code(), "mode": attr.mode, "uid": attr.uid, "gid": attr.gid,
        "nlink": attr.nlink, "size": attr.size, "allocated": attr.allocated, "rdev": attr.rdev,
        "times": times, "content": content, "xattrs": xattrs,
    })
}

fn map_json(map: &MapRoot) -> Value {
    json!([map.root.as_ref().map(|root| hex(root.to_bytes())), map.level, map.count])
}

fn entry_json(entry: &Entry) -> Value {
    match entry {
        Entry::Own(record) => json!({ "own": record_json(record) }),
        Entry::Link { ino, kind } => json!({ "link": [ino, kind.code()] }),
    }
}

#[test]
fn entries() {
    let regular = |size| attr(7, FileType::Regular, size);
    let file = FileRoot { root: reference(1), level: 2, fixed: true };
    let dir = MapRoot { root: Some(reference(2)), level: 1, count: 500 };
    let device = Attr { rdev: 0x0801, ..attr(8, FileType::Block, 0) };
    let labels =
        vec![(Bytes::from_static(b"user.a"), Bytes::new()), (Bytes::from_static(b"user.b"), vec![1, 2].into())];
    let own = [
        ("an empty file", record(regular(0), Content::Empty)),
        ("a hole", record(Attr { allocated: 0, ..regular(1 << 40) }, Content::Empty)),
        ("a small file", record(regular(5), Content::Inline(Bytes::from_static(b"bytes")))),
        ("a file in chunks", record(regular(1 << 30), Content::File(file))),
        ("an empty directory", directory(9)),
        ("a directory", record(Attr { nlink: 3, ..attr(9, FileType::Directory, 0) }, Content::Dir(dir))),
        ("a symbolic link", record(attr(10, FileType::Symlink, 2), Content::Symlink(Bytes::from_static(b"..")))),
        ("a block device", record(device, Content::None)),
        ("a socket", record(attr(11, FileType::Socket, 0), Content::None)),
        ("extended attributes", Record { xattrs: Xattrs::Inline(labels), ..record(regular(0), Content::Empty) }),
        (
            "many of them",
            Record { xattrs: Xattrs::Sealed(Ref { len: 2000, ..reference(3) }), ..record(regular(0), Content::Empty) },
        ),
    ];
    let mut entries: Vec<_> = own.map(|(name, record)| (name, Entry::Own(record))).into();
    entries.push(("one of several names", Entry::Link { ino: Ino::new(INO_LIMIT - 1), kind: FileType::Regular }));
    let names = volume();
    let valid = entries.iter().map(|(name, entry)| {
        let bytes = entry.encode().unwrap();
        assert_eq!(Entry::decode(&bytes).as_ref(), Ok(entry));
        let key = DirKey::new(names.names(), name.as_bytes()).unwrap();
        json!({
            "name": name, "names": hex(names.names().as_bytes()), "key": hex(key.encoded()),
            "value": hex(&bytes), "entry": entry_json(entry),
        })
    });
    compare("entries.json", "Entries of a directory: key and value.", valid.collect(), malformed_entries());
}

/// Where the fields of an entry that owns its record begin.
const ENTRY_MODE_AT: usize = 1;
const ENTRY_INO_AT: usize = 3;
const ENTRY_RDEV_AT: usize = 23;
const ENTRY_SIZE_AT: usize = 27;
const ENTRY_NANOS_AT: usize = 51;
const ENTRY_CONTENT_AT: usize = 91;

fn malformed_entries() -> Vec<Value> {
    let small = record(attr(7, FileType::Regular, 5), Content::Inline(Bytes::from_static(b"bytes")));
    let good = Entry::Own(small).encode().unwrap();
    let altered = |at: usize, bytes: &[u8]| {
        let mut value = good.to_vec();
        value[at..at + bytes.len()].copy_from_slice(bytes);
        value
    };
    let with_xattrs = |list: &[u8]| [&good[..], list].concat();
    let link = |kind: u8, ino: u64| [&[1, kind][..], &ino.to_le_bytes()].concat();
    let values = [
        ("an unknown tag", altered(0, &[2]), "Tag"),
        ("an unknown kind", altered(ENTRY_MODE_AT + 1, &[0x30]), "Kind"),
        ("inode zero", altered(ENTRY_INO_AT, &[0; 8]), "Ino"),
        ("an inode above the limit", altered(ENTRY_INO_AT, &INO_LIMIT.to_le_bytes()), "Ino"),
        ("a device number on a file", altered(ENTRY_RDEV_AT, &[1]), "DeviceNumber"),
        ("a size above any file's", altered(ENTRY_SIZE_AT + 7, &[0x80]), "Bytes/Truncated"),
        ("a size that is not the content's", altered(ENTRY_SIZE_AT, &[4]), "Tag"),
        ("a second of nanoseconds", altered(ENTRY_NANOS_AT, &[0xff; 4]), "Bytes/AboveBound"),
        ("a directory's content in a file", altered(ENTRY_CONTENT_AT, &[9]), "Tag"),
        ("unsorted attributes", with_xattrs(b"\x01b\0\0\0\0\x01a\0\0\0\0"), "Xattr"),
        ("an attribute without a name", with_xattrs(b"\0\0\0\0\0"), "Xattr"),
        ("an attribute's value beyond the end", with_xattrs(b"\x01a\x09\0\0\0"), "Bytes/Truncated"),
        ("a byte short", good[..good.len() - 1].to_vec(), "Bytes/Truncated"),
        ("empty", Vec::new(), "Bytes/Truncated"),
        ("a linked directory", link(FileType::Directory.code(), 7), "LinkedDirectory"),
        ("a link to inode zero", link(FileType::Regular.code(), 0), "Ino"),
        ("a byte after a link", [link(8, 7), vec![0]].concat(), "Bytes/Trailing"),
    ];
    let values = values.map(|(name, value, expected)| {
        let error = refused(Entry::decode(&Bytes::from(value.clone())), expected);
        json!({ "name": name, "value": hex(value), "error": error })
    });
    let names: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("dot", b"."),
        ("dot dot", b".."),
        ("a slash", b"a/b"),
        ("a NUL", b"a\0"),
        ("long", &[b'x'; 256]),
    ];
    let keys = names.map(|(name, bytes)| {
        let key = [&[0x5a; 7][..], bytes].concat();
        let error = refused(DirKey::from_encoded(Bytes::from(key.clone())), "Name");
        json!({ "name": name, "key": hex(key), "error": error })
    });
    values.into_iter().chain(keys).collect()
}

/// A node: level, count, items.
fn node(level: u8, items: &[Vec<u8>]) -> Vec<u8> {
    [&[level][..], &(items.len() as u16).to_le_bytes(), &items.concat()].concat()
}

fn map_entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    out.u16(key.len() as u16).u16(value.len() as u16).raw(key).raw(value);
    out.into_vec()
}

fn map_child(key: &[u8], child: &Ref, count: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.u16(key.len() as u16).raw(key).raw(&child.to_bytes()).u64(count);
    out.into_vec()
}

#[test]
fn map_nodes() {
    let leaf = node(0, &[map_entry(b"a", b""), map_entry(b"b", b"value"), map_entry(b"ba", &[0; 300])]);
    let inner = node(1, &[map_child(b"f", &reference(1), 3), map_child(b"x", &reference(2), 1 << 40)]);
    let case = |name: &str, level: u8, payload: &[u8]| json!({ "name": name, "level": level, "node": hex(payload) });
    let mut valid = vec![case("a leaf", 0, &leaf), case("an inner node", 1, &inner)];
    let decoded = MapNode::decode(0, leaf.clone().into()).unwrap();
    valid[0]["entries"] = decoded.entries().map(|(key, value)| json!([hex(key), hex(value)])).collect();
    valid[0]["count"] = decoded.count().into();
    let decoded = MapNode::decode(1, inner.clone().into()).unwrap();
    valid[1]["children"] =
        json!([[hex("f"), hex(reference(1).to_bytes()), 3], [hex("x"), hex(reference(2).to_bytes()), 1_u64 << 40]]);
    valid[1]["count"] = decoded.count().into();
    let bad = [
        ("another level than asked for", 1, leaf.clone(), "Invalid"),
        ("a level above any", 12, node(12, &[map_child(b"f", &reference(1), 3)]), "Invalid"),
        ("no items", 0, node(0, &[]), "Invalid"),
        ("more items than bytes", 0, [&[0, 0xff, 0xff][..], &map_entry(b"a", b"")].concat(), "Truncated"),
        ("an empty key", 0, node(0, &[map_entry(b"", b"v")]), "Invalid"),
        ("keys that don't ascend", 0, node(0, &[map_entry(b"b", b""), map_entry(b"a", b"")]), "Invalid"),
        ("a key twice", 0, node(0, &[map_entry(b"a", b""), map_entry(b"a", b"")]), "Invalid"),
        ("a key above the bound", 0, node(0, &[map_entry(&[1; 263], b"")]), "AboveBound"),
        ("a value above the bound", 0, node(0, &[map_entry(b"a", &[0; 16_385])]), "AboveBound"),
        ("a byte short", 0, leaf[..leaf.len() - 1].to_vec(), "Truncated"),
        ("a byte more", 0, [&leaf[..], &[0]].concat(), "Trailing"),
        ("a child without entries", 1, node(1, &[map_child(b"f", &reference(1), 0)]), "Invalid"),
        (
            "counts that overflow",
            1,
            node(1, &[map_child(b"f", &reference(1), 1), map_child(b"g", &reference(1), 1 << 62)]),
            "AboveBound",
        ),
        ("a child longer than a node", 1, node(1, &[map_child(b"f", &too_long(), 1)]), "AboveBound"),
    ];
    let malformed = bad.map(|(name, level, payload, expected)| {
        let mut case = case(name, level, &payload);
        case["error"] = refused(MapNode::decode(level, payload.into()), expected);
        case
    });
    compare("map_nodes.json", "Nodes of map trees.", valid, malformed.to_vec());
}

fn too_long() -> Ref {
    Ref { len: NODE_BYTES_MAX as u32 + 1, ..reference(1) }
}

fn hole(len: u64) -> Vec<u8> {
    [&[0][..], &len.to_le_bytes()].concat()
}

fn extent(len: u32, chunk_off: u32, chunk: &Ref) -> Vec<u8> {
    [&[1][..], &len.to_le_bytes(), &chunk_off.to_le_bytes(), &chunk.to_bytes()].concat()
}

fn file_child(len: u64, allocated: u64, child: &Ref) -> Vec<u8> {
    [&len.to_le_bytes()[..], &allocated.to_le_bytes(), &child.to_bytes()].concat()
}

#[test]
fn file_nodes() {
    let chunk = Ref { len: CHUNK_BYTES_MAX as u32, ..reference(1) };
    let leaf =
        node(0, &[extent(1000, 24, &chunk), hole(1 << 40), extent(chunk.len, 0, &chunk), extent(1, 0, &reference(2))]);
    let inner = node(3, &[file_child(1 << 41, 1 << 20, &reference(1)), file_child(5, 0, &reference(2))]);
    let extents = json!([
        [1000, 24, hex(chunk.to_bytes())],
        [1_u64 << 40, 0, null],
        [chunk.len, 0, hex(chunk.to_bytes())],
        [1, 0, hex(reference(2).to_bytes())],
    ]);
    let children = json!([[1_u64 << 41, 1 << 20, hex(reference(1).to_bytes())], [5, 0, hex(reference(2).to_bytes())]]);
    let cases = [("a leaf", 0, &leaf, extents), ("an inner node", 3, &inner, children)];
    let valid = cases.map(|(name, level, payload, items)| {
        let decoded = FileNode::decode(level, payload.clone().into()).unwrap();
        assert_eq!(Some(decoded.len()), items.as_array().map(Vec::len));
        json!({
            "name": name, "level": level, "node": hex(payload), "items": items,
            "bytes": decoded.file_bytes(), "allocated": decoded.allocated(),
        })
    });
    let max = i64::MAX as u64;
    let bad = [
        ("another level than asked for", 1, leaf.clone(), "Invalid"),
        ("no items", 0, node(0, &[]), "Invalid"),
        ("an unknown tag", 0, node(0, &[[&[2][..], &[1; 8]].concat()]), "Invalid"),
        ("an empty hole", 0, node(0, &[hole(0)]), "Invalid"),
        ("two holes that touch", 0, node(0, &[hole(1), hole(1)]), "Invalid"),
        ("two extents that are one", 0, node(0, &[extent(4, 0, &chunk), extent(4, 4, &chunk)]), "Invalid"),
        ("an empty extent", 0, node(0, &[extent(0, 0, &chunk)]), "Invalid"),
        ("an extent beyond its chunk", 0, node(0, &[extent(2, chunk.len - 1, &chunk)]), "Invalid"),
        ("an extent whose end overflows", 0, node(0, &[extent(2, u32::MAX, &chunk)]), "Invalid"),
        ("more bytes than a file has", 0, node(0, &[hole(max), extent(1, 0, &chunk)]), "AboveBound"),
        ("a hole above any file", 0, node(0, &[hole(max + 1)]), "Invalid"),
        ("a child without bytes", 1, node(1, &[file_child(0, 0, &reference(1))]), "Invalid"),
        ("more allocated than there is", 1, node(1, &[file_child(1, 2, &reference(1))]), "AboveBound"),
        ("lengths that overflow", 1, node(1, &[file_child(max, 0, &chunk), file_child(max, 0, &chunk)]), "AboveBound"),
        ("a child longer than a node", 1, node(1, &[file_child(1, 1, &too_long())]), "AboveBound"),
        ("a byte short", 0, leaf[..leaf.len() - 1].to_vec(), "Truncated"),
        ("a byte more", 0, [&leaf[..], &[0]].concat(), "Trailing"),
    ];
    let malformed = bad.map(|(name, level, payload, expected)| {
        let error = refused(FileNode::decode(level, payload.clone().into()), expected);
        json!({ "name": name, "level": level, "node": hex(payload), "error": error })
    });
    compare("file_nodes.json", "Nodes of file trees.", valid.to_vec(), malformed.to_vec());
}

#[test]
fn volume_roots() {
    let links = MapRoot { root: Some(reference(5)), level: 0, count: 2 };
    let roots = [
        VolumeRoot { root: directory(1), links: MapRoot::EMPTY, next_ino: 2 },
        VolumeRoot { root: directory(1), links, next_ino: INO_LIMIT },
    ];
    let valid = roots.each_ref().map(|root| {
        let bytes = root.encode().unwrap();
        assert_eq!(VolumeRoot::decode(&bytes).as_ref(), Ok(root));
        let root =
            json!({ "record": record_json(&root.root), "links": map_json(&root.links), "next_ino": root.next_ino });
        json!({ "bytes": hex(bytes), "root": root })
    });
    let good = roots[0].encode().unwrap().to_vec();
    let altered = |at: usize, bytes: &[u8]| {
        let mut root = good.clone();
        root[at..at + bytes.len()].copy_from_slice(bytes);
        root
    };
    let bad = [
        ("a newer version", altered(0, &[2]), "Bytes/Version"),
        ("no inode number left below the next", altered(1, &[1]), "Ino"),
        ("a next inode number above the limit", altered(1, &(INO_LIMIT + 1).to_le_bytes()), "Ino"),
        ("a root that is not inode 1", altered(19, &[2]), "RootDirectory"),
        ("a link table with a count and no root", altered(9, &[1]), "Bytes/AboveBound"),
        ("a byte short", good[..good.len() - 1].to_vec(), "Bytes/Truncated"),
        ("empty", Vec::new(), "Bytes/Truncated"),
    ];
    let malformed = bad.map(|(name, bytes, expected)| {
        let error = refused(VolumeRoot::decode(&Bytes::from(bytes.clone())), expected);
        json!({ "name": name, "bytes": hex(bytes), "error": error })
    });
    compare("volume_roots.json", "What heads point to.", valid.to_vec(), malformed.to_vec());
}
