//! A whole volume, from its head to the bytes of its files, and the shapes of larger trees.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::sealed::{forge_zstd, split_mix};
use super::trees::{attr, record};
use super::{compare, device, hex, volume};
use crate::block::Block;
use crate::chunk::Kind;
use crate::device::Rights;
use crate::entry::{Attr, Content, DirKey, Entry, FileType, MapRoot, Record, VolumeRoot, Xattrs};
use crate::file_tree::{self, Extent, FileNode};
use crate::head::{self, HeadFields, HeadKind};
use crate::id::{BlockId, Ino};
use crate::map_tree::{self, MapNode};
use crate::reference::Ref;
use crate::seal::{Compression, open, seal};
use crate::time::Timestamp;
use crate::tree::{Nodes, Sink, TreeError};

/// Enough that the root directory's tree has two levels.
const SMALL_FILES: usize = 200;

/// Every block that was sealed.
#[derive(Default)]
struct Blocks(RefCell<BTreeMap<BlockId, Block>>);

impl Blocks {
    fn seal(&self, kind: Kind, raw: &[u8]) -> Ref {
        let sealed = seal(volume().convergence(), kind, raw, Compression::Never).unwrap();
        self.keep(sealed.reference, sealed.block)
    }

    fn keep(&self, reference: Ref, block: Block) -> Ref {
        self.0.borrow_mut().insert(block.id(), block);
        reference
    }

    fn open(&self, reference: &Ref, kind: Kind) -> Bytes {
        open(reference, &self.0.borrow()[&reference.id], kind).unwrap()
    }
}

impl Nodes for &Blocks {
    type Error = TreeError;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, TreeError> {
        Ok(Arc::new(MapNode::decode(level, self.open(reference, Kind::MapNode)).unwrap()))
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, TreeError> {
        Ok(Arc::new(FileNode::decode(level, self.open(reference, Kind::FileNode)).unwrap()))
    }
}

impl Sink for &Blocks {
    type Error = TreeError;

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, TreeError> {
        Ok(self.seal(kind, payload))
    }
}

/// Builds a map from unsorted entries.
fn map(blocks: &Blocks, entries: impl IntoIterator<Item = (Bytes, Bytes)>) -> MapRoot {
    let sorted: BTreeMap<_, _> = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let changes: Vec<_> = sorted.into_iter().collect();
    let (mut nodes, mut sink) = (blocks, blocks);
    map_tree::edit(&mut nodes, &mut sink, &MapRoot::EMPTY, &changes).unwrap()
}

fn directory(blocks: &Blocks, ino: u64, entries: Vec<(String, Entry)>) -> Record {
    let keys = volume();
    let encoded = entries.iter().map(|(name, entry)| {
        (DirKey::new(keys.names(), name.as_bytes()).unwrap().into_encoded(), entry.encode().unwrap())
    });
    record(attr(ino, FileType::Directory, 0), Content::Dir(map(blocks, encoded)))
}

fn small_file(ino: u64, text: &str) -> Record {
    record(attr(ino, FileType::Regular, text.len() as u64), Content::Inline(text.to_owned().into()))
}

/// A part of a chunk, a hole, a compressed chunk, the start of the first chunk again.
fn large_file(mut blocks: &Blocks, ino: u64) -> (Record, Vec<u8>) {
    let random = split_mix(1, 5000);
    let first = blocks.seal(Kind::Data, &random);
    let (zstd, text) = forge_zstd();
    let second = blocks.keep(zstd.reference, zstd.block);
    let extents = [
        Extent::Chunk { len: 4000, chunk_off: 1000, chunk: first.clone() },
        Extent::Hole { len: 3000 },
        Extent::whole(second),
        Extent::Chunk { len: 10, chunk_off: 0, chunk: first },
    ];
    let tree = file_tree::build(&mut blocks, extents, false).unwrap();
    let bytes = [&random[1000..], &[0; 3000], &text, &random[..10]].concat();
    let attr = Attr { allocated: tree.allocated, ..attr(ino, FileType::Regular, bytes.len() as u64) };
    (record(attr, Content::File(tree.root.unwrap())), bytes)
}

#[test]
fn a_whole_volume() {
    let blocks = Blocks::default();
    let mut files = serde_json::Map::new();
    let mut entries = Vec::new();
    for n in 0..SMALL_FILES {
        let (name, text) = (format!("file {n}"), format!("the bytes of file {n}"));
        files.insert(format!("/{name}"), hex(&text).into());
        entries.push((name, Entry::Own(small_file(10 + n as u64, &text))));
    }
    let linked = small_file(2, "two names");
    let link = || Entry::Link { ino: Ino::new(2), kind: FileType::Regular };
    let (large, bytes) = large_file(&blocks, 3);
    let symlink = record(attr(5, FileType::Symlink, 9), Content::Symlink(Bytes::from_static(b"../file 1")));
    let inner = vec![("linked".to_owned(), link()), ("symlink".to_owned(), Entry::Own(symlink))];
    let mut sub = directory(&blocks, 4, inner);
    let long_value = Bytes::from(split_mix(2, 1500));
    let xattrs = Xattrs::encode_list(&[(Bytes::from_static(b"user.long"), long_value)]).unwrap();
    sub.xattrs = Xattrs::Sealed(blocks.seal(Kind::Xattrs, &xattrs));
    for (path, bytes) in [("/linked", &b"two names"[..]), ("/sub/linked", b"two names"), ("/large", &bytes)] {
        files.insert(path.to_owned(), hex(bytes).into());
    }
    files.insert("/sub/symlink".to_owned(), hex("../file 1").into());
    entries.extend([
        ("linked".to_owned(), link()),
        ("large".to_owned(), Entry::Own(large)),
        ("sub".to_owned(), Entry::Own(sub)),
    ]);

    let root = directory(&blocks, 1, entries);
    let link_key = Bytes::copy_from_slice(&VolumeRoot::link_key(Ino::new(2)));
    let linked = Record { attr: Attr { nlink: 2, ..linked.attr }, ..linked };
    let links = map(&blocks, [(link_key, linked.encode().unwrap())]);
    let root = VolumeRoot { root, links, next_ino: 10 + SMALL_FILES as u64 };
    let root = blocks.seal(Kind::Root, &root.encode().unwrap());
    let sealed: Vec<Value> = blocks.0.borrow().values().map(|block| hex(block.bytes()).into()).collect();
    let case = json!({
        "read": hex(volume().read().as_bytes()),
        "volume_public": hex(volume().volume_public()),
        "head": hex(sign(root)),
        "blocks": sealed,
        "files": files,
    });
    compare("volume.json", "A volume, from its head to the bytes of its files.", vec![case], Vec::new());
}

fn sign(root: Ref) -> Bytes {
    let fields = HeadFields {
        seq: 1,
        previous: [0; 32],
        vector: Vec::new(),
        time: Timestamp::default(),
        delta_upto: 0,
        root,
        kind: HeadKind::Automatic,
        label: None,
    };
    let cert = volume().certify(device().id(), Rights::WRITE);
    head::sign_with_nonce(fields, &volume(), &device(), &cert, &[0xaa; 24]).unwrap()
}

#[test]
fn shapes_of_larger_trees() {
    const MAP_ITEMS: usize = 5000;
    const FILE_ITEMS: usize = 2000;
    let blocks = Blocks::default();
    let keys = split_mix(3, 16 * MAP_ITEMS);
    let entries = keys.chunks_exact(16).map(|key| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(&key[..8])));
    let root = map(&blocks, entries);
    let mut map_case = shape(Kind::MapNode, root.root.unwrap(), root.level, &blocks);
    map_case["name"] = "a map of pieces of the stream, the first 8 bytes of each as value".into();
    (map_case["seed"], map_case["items"], map_case["item_bytes"]) = (3.into(), MAP_ITEMS.into(), 16.into());

    let blocks = Blocks::default();
    let ids = split_mix(4, 64 * FILE_ITEMS);
    let extents = ids.chunks_exact(64).map(|bytes| {
        let mut chunk = [0; Ref::BYTES];
        chunk[..64].copy_from_slice(bytes);
        chunk[64..].copy_from_slice(&1000_u32.to_le_bytes());
        Extent::whole(Ref::from_bytes(&chunk).unwrap())
    });
    let root = file_tree::build(&mut &blocks, extents, false).unwrap().root.unwrap();
    let mut file_case = shape(Kind::FileNode, root.root, root.level, &blocks);
    file_case["name"] = "a file of chunks of 1000 bytes, pieces of the stream as id and key".into();
    (file_case["seed"], file_case["items"], file_case["item_bytes"]) = (4.into(), FILE_ITEMS.into(), 64.into());
    let about = "Roots of larger trees, from pieces of a stream of SplitMix64 outputs.";
    compare("shapes.json", about, vec![map_case, file_case], Vec::new());
}

fn shape(kind: Kind, root: Ref, level: u8, blocks: &Blocks) -> Value {
    json!({
        "convergence": hex(volume().convergence().as_bytes()),
        "kind": kind as u8,
        "root": hex(root.to_bytes()),
        "level": level,
        "nodes": blocks.0.borrow().len(),
    })
}
