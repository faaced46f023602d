//! The author of a tree that somebody else opens: has the volume's keys, and keeps to nothing.
//!
//! Nodes and records are put together byte by byte, as docs/FORMAT.md lays them out, because our encoders refuse what is
//! tried here. Seals and the head are right: all of this passes every check of who wrote it.

use std::sync::Arc;

use cairn_block::{
    Compression, DeviceKey, Head, HeadFields, HeadKind, Kind, MasterKey, Ref, Rights, Timestamp, UntrustedHead,
    VolumeKeys, seal,
};
use cairn_fs::{FsError, Volume, VolumeConfig, VolumeOptions};
use cairn_store::{BlockStore, HeadStore, MemoryStore};

pub(super) const DIRECTORY: u16 = 4;
pub(super) const REGULAR: u16 = 8;
pub(super) const SYMLINK: u16 = 10;

/// The root of a map, as its author claims it.
#[derive(Clone)]
pub(super) struct Map {
    pub(super) count: u64,
    pub(super) level: u8,
    pub(super) root: Option<Ref>,
}

pub(super) const EMPTY: Map = Map { count: 0, level: 0, root: None };

impl Map {
    fn bytes(&self) -> Vec<u8> {
        let mut out = self.count.to_le_bytes().to_vec();
        if let Some(root) = &self.root {
            out.push(self.level);
            out.extend(root.to_bytes());
        }
        out
    }
}

/// A record, field by field.
#[derive(Clone)]
pub(super) struct Inode {
    pub(super) kind: u16,
    pub(super) ino: u64,
    pub(super) nlink: u32,
    pub(super) size: u64,
    pub(super) allocated: u64,
    /// Content tag and content.
    pub(super) content: Vec<u8>,
    /// Attributes tag and attributes.
    pub(super) xattrs: Vec<u8>,
}

impl Inode {
    pub(super) fn file(ino: u64, bytes: &[u8]) -> Inode {
        let content = if bytes.is_empty() { vec![0] } else { [&[1], bytes].concat() };
        let size = bytes.len() as u64;
        Inode { kind: REGULAR, ino, nlink: 1, size, allocated: size, content, xattrs: vec![0] }
    }

    pub(super) fn tree(ino: u64, size: u64, level: u8, root: &Ref) -> Inode {
        let content = [&[2, level][..], &root.to_bytes()].concat();
        Inode { content, size, allocated: size, ..Inode::file(ino, b"") }
    }

    pub(super) fn symlink(ino: u64, target: &[u8]) -> Inode {
        Inode { kind: SYMLINK, allocated: 0, ..Inode::file(ino, target) }
    }

    pub(super) fn dir(ino: u64, map: &Map) -> Inode {
        let content = [&[2][..], &map.bytes()].concat();
        Inode { kind: DIRECTORY, nlink: 2, content, ..Inode::file(ino, b"") }
    }

    pub(super) fn record(&self) -> Vec<u8> {
        let mut out = (self.kind << 12 | 0o755).to_le_bytes().to_vec();
        out.extend(self.ino.to_le_bytes());
        for number in [0_u32, 0, self.nlink, 0] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.size.to_le_bytes());
        out.extend(self.allocated.to_le_bytes());
        out.extend([[0_u8; 12]; 4].concat());
        out.extend(&self.content);
        out.extend(&self.xattrs);
        out
    }

    /// An entry that owns the record.
    pub(super) fn entry(&self) -> Vec<u8> {
        [&[0][..], &self.record()].concat()
    }
}

/// An entry that says its record is in the link table.
pub(super) fn link(ino: u64, kind: u16) -> Vec<u8> {
    [&[1, kind as u8][..], &ino.to_le_bytes()].concat()
}

/// See the module.
pub(super) struct Author {
    pub(super) keys: VolumeKeys,
    pub(super) store: Arc<MemoryStore>,
}

impl Author {
    pub(super) fn new() -> Author {
        Author { keys: keys(), store: Arc::new(MemoryStore::new()) }
    }

    pub(super) fn put(&self, kind: Kind, payload: &[u8]) -> Ref {
        let sealed = seal(self.keys.convergence(), kind, payload, Compression::Probe).expect("short enough");
        self.store.put(&sealed.block).expect("a store in memory");
        sealed.reference
    }

    /// The key of a name, whatever the name is.
    pub(super) fn key(&self, name: &[u8]) -> Vec<u8> {
        [&self.keys.names().hash(name)[..7], name].concat()
    }

    /// A leaf with these keys and values, in this order.
    pub(super) fn leaf(&self, items: &[(Vec<u8>, Vec<u8>)]) -> Ref {
        let mut out = vec![0];
        out.extend((items.len() as u16).to_le_bytes());
        for (key, value) in items {
            out.extend((key.len() as u16).to_le_bytes());
            out.extend((value.len() as u16).to_le_bytes());
            out.extend(key);
            out.extend(value);
        }
        self.put(Kind::MapNode, &out)
    }

    /// An inner node over children: last key, ref, count.
    pub(super) fn inner(&self, level: u8, children: &[(Vec<u8>, Ref, u64)]) -> Ref {
        let mut out = vec![level];
        out.extend((children.len() as u16).to_le_bytes());
        for (key, reference, count) in children {
            out.extend((key.len() as u16).to_le_bytes());
            out.extend(key);
            out.extend(reference.to_bytes());
            out.extend(count.to_le_bytes());
        }
        self.put(Kind::MapNode, &out)
    }

    /// A directory of names and entries, sorted as it should be.
    pub(super) fn names(&self, entries: &[(&[u8], Vec<u8>)]) -> Map {
        let mut items: Vec<_> = entries.iter().map(|(name, value)| (self.key(name), value.clone())).collect();
        items.sort();
        Map { count: items.len() as u64, level: 0, root: Some(self.leaf(&items)) }
    }

    /// A node of a file: children or extents as they are given, behind level and count.
    pub(super) fn file_node(&self, level: u8, items: &[Vec<u8>]) -> Ref {
        let mut out = vec![level];
        out.extend((items.len() as u16).to_le_bytes());
        items.iter().for_each(|item| out.extend(item));
        self.put(Kind::FileNode, &out)
    }

    /// A volume root with this root directory, signed into a head.
    pub(super) fn publish(&self, root: &Map, links: &Map, next_ino: u64) {
        let root = [&[1][..], &next_ino.to_le_bytes(), &links.bytes(), &Inode::dir(1, root).record()].concat();
        self.publish_root(&root);
    }

    pub(super) fn publish_root(&self, root: &[u8]) {
        let root = self.put(Kind::Root, root);
        let device = device();
        let cert = self.keys.certify(device.id(), Rights::WRITE);
        let heads = self.store.heads(&self.keys.volume()).expect("a store in memory");
        let last = heads.iter().max_by_key(|head| head.seq);
        let fields = HeadFields {
            seq: last.map_or(1, |head| head.seq + 1),
            previous: last.map_or([0; 32], |head| cairn_block::head_hash(&head.bytes)),
            vector: Vec::new(),
            time: Timestamp { secs: 1_795_250_400, nanos: 0 },
            // No record of the journal behind it: what comes next follows on it.
            delta_upto: heads.iter().map(|head| self.delta_upto(&head.bytes)).max().unwrap_or(0),
            root,
            kind: HeadKind::Automatic,
            label: None,
        };
        let seq = fields.seq;
        let head = Head::sign(fields, &self.keys, &device, &cert).expect("a head");
        self.store.put_head(&self.keys.volume(), &device.id(), seq, &head).expect("a store in memory");
    }

    fn delta_upto(&self, head: &bytes::Bytes) -> u64 {
        let head = UntrustedHead::new(head.clone()).expect("short enough");
        let verified = head.verify(&self.keys.volume_public(), self.keys.read(), self.keys.volume());
        verified.map_or(0, |head| head.delta_upto)
    }

    pub(super) fn open(&self) -> Result<Arc<Volume>, FsError> {
        Volume::open(VolumeConfig {
            keys: keys(),
            device: device(),
            store: self.store.clone(),
            heads: self.store.clone(),
            hints: self.store.clone(),
            options: VolumeOptions::default(),
        })
    }
}

fn keys() -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"hostile")
}

pub(super) fn device() -> DeviceKey {
    DeviceKey::from_bytes(&[9; 32])
}
