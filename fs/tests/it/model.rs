//! A volume against a reference that is a map, over random histories with flushes, restarts and crashes.
//!
//! After a crash the volume has to be some earlier state of the reference, and none before the last sync.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{DeviceKey, FileType, Head, Ino, MasterKey, VolumeKeys};
use cairn_fs::ops::{
    Allocate, Caller, KillPriv, Listing, NewNode, OpenFlags, Operations, Place, RenameFlags, SetAttr, SetXattr, Wait,
};
use cairn_fs::{FsError, Volume, VolumeConfig, VolumeOptions, read_root};
use cairn_store::MemoryStore;
use proptest::prelude::*;

const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0 };
const NAMES: [&str; 5] = ["a", "b", "c", "dir", "long-name-that-hashes-elsewhere"];

fn wait() -> Wait {
    Wait::Until(Instant::now() + Duration::from_secs(20))
}

#[derive(Clone, Debug)]
enum Op {
    Create(Path, u8),
    Write(Path, u32, u32, u8),
    Truncate(Path, u32),
    Punch(Path, u32, u32),
    Copy(Path, Path, u32, u32, u32),
    Rename(Path, Path, u8),
    Link(Path, Path),
    Remove(Path),
    Xattr(Path, u8, u32),
    Chmod(Path, u16),
    Sync,
    Flush,
    Restore,
    Reopen,
    Crash,
}

/// Up to three names deep.
type Path = Vec<usize>;

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![4 => prop::collection::vec(0..NAMES.len(), 1..2), 2 => prop::collection::vec(0..NAMES.len(), 2..4)]
}

fn op() -> impl Strategy<Value = Op> {
    let at = || prop_oneof![3 => 0u32..5_000, 2 => 0u32..600_000, 1 => Just(0u32)];
    let len = || prop_oneof![3 => 1u32..3_000, 2 => 1u32..400_000, 1 => Just(700_000u32)];
    prop_oneof![
        6 => (path(), 0u8..4).prop_map(|(p, k)| Op::Create(p, k)),
        8 => (path(), at(), len(), any::<u8>()).prop_map(|(p, o, l, b)| Op::Write(p, o, l, b)),
        3 => (path(), at()).prop_map(|(p, s)| Op::Truncate(p, s)),
        2 => (path(), at(), len()).prop_map(|(p, o, l)| Op::Punch(p, o, l)),
        3 => (path(), path(), at(), at(), len()).prop_map(|(a, b, o, t, l)| Op::Copy(a, b, o, t, l)),
        4 => (path(), path(), 0u8..4).prop_map(|(a, b, f)| Op::Rename(a, b, f)),
        3 => (path(), path()).prop_map(|(a, b)| Op::Link(a, b)),
        3 => path().prop_map(Op::Remove),
        2 => (path(), 0u8..3, 0u32..3_000).prop_map(|(p, n, l)| Op::Xattr(p, n, l)),
        1 => (path(), 0u16..0o1000).prop_map(|(p, m)| Op::Chmod(p, m)),
        2 => Just(Op::Sync),
        3 => Just(Op::Flush),
        2 => Just(Op::Restore),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ]
}

/// What the reference knows of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    kind: char,
    mode: u16,
    data: Bytes,
    links: u32,
    xattrs: BTreeMap<String, Bytes>,
}

/// The reference: names by path, inodes by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    names: BTreeMap<Vec<String>, u32>,
    files: BTreeMap<u32, File>,
    next: u32,
}

/// What both sides are compared as: path, and everything of the inode.
type Dump = BTreeMap<Vec<String>, File>;

fn names(path: &Path) -> Vec<String> {
    path.iter().map(|n| NAMES[*n].to_owned()).collect()
}

impl Model {
    fn dump(&self) -> Dump {
        self.names.iter().map(|(path, id)| (path.clone(), self.files[id].clone())).collect()
    }

    fn parent_is_dir(&self, path: &[String]) -> bool {
        path.len() == 1 || self.kind(&path[..path.len() - 1]) == Some('d')
    }

    fn kind(&self, path: &[String]) -> Option<char> {
        Some(self.files[self.names.get(path)?].kind)
    }

    fn is_empty_dir(&self, path: &[String]) -> bool {
        !self.names.keys().any(|p| p.len() > path.len() && p.starts_with(path))
    }

    fn regular(&mut self, path: &[String]) -> Option<&mut File> {
        let id = *self.names.get(path)?;
        self.files.get_mut(&id).filter(|file| file.kind == 'f')
    }

    fn drop_name(&mut self, path: &[String]) {
        if let Some(id) = self.names.remove(path) {
            let file = self.files.get_mut(&id).expect("names lead to files");
            file.links -= 1;
            if file.links == 0 {
                self.files.remove(&id);
            }
        }
    }

    fn move_tree(&mut self, from: &[String], to: &[String]) {
        let moved: Vec<Vec<String>> = self.names.keys().filter(|p| p.starts_with(from)).cloned().collect();
        let moved: Vec<(Vec<String>, u32)> = moved
            .into_iter()
            .map(|p| ([to, &p[from.len()..]].concat(), self.names.remove(&p).expect("listed")))
            .collect();
        self.names.extend(moved);
    }

    /// Applies an operation; false if it has to fail and change nothing.
    fn apply(&mut self, op: &Op) -> bool {
        match op {
            Op::Create(path, kind) => {
                let path = names(path);
                if !self.parent_is_dir(&path) || self.names.contains_key(&path) {
                    return false;
                }
                let kind = ['f', 'd', 'l', 'p'][*kind as usize];
                let data = if kind == 'l' { Bytes::from_static(b"target") } else { Bytes::new() };
                let mode = if kind == 'l' { 0o777 } else { 0o644 };
                self.files.insert(self.next, File { kind, mode, data, links: 1, xattrs: BTreeMap::new() });
                self.names.insert(path, self.next);
                self.next += 1;
                true
            }
            Op::Write(path, at, len, byte) => {
                let Some(file) = self.regular(&names(path)) else { return false };
                let mut data = file.data.to_vec();
                let end = (*at + *len) as usize;
                data.resize(data.len().max(end), 0);
                data[*at as usize..end].copy_from_slice(&fill(*len, *byte));
                file.data = data.into();
                true
            }
            Op::Truncate(path, size) => {
                let Some(file) = self.regular(&names(path)) else { return false };
                let mut data = file.data.to_vec();
                data.resize(*size as usize, 0);
                file.data = data.into();
                true
            }
            Op::Punch(path, at, len) => {
                let Some(file) = self.regular(&names(path)) else { return false };
                let mut data = file.data.to_vec();
                let end = ((*at + *len) as usize).min(data.len());
                if (*at as usize) < end {
                    data[*at as usize..end].fill(0);
                }
                file.data = data.into();
                true
            }
            Op::Copy(from, to, at, target, len) => {
                let (from, to) = (names(from), names(to));
                let Some(source) = self.regular(&from).map(|f| f.data.clone()) else { return false };
                if self.names.get(&from) == self.names.get(&to) {
                    return false;
                }
                let end = (*at as usize + *len as usize).min(source.len());
                let piece = source.get(*at as usize..end).unwrap_or(&[]);
                let Some(file) = self.regular(&to) else { return false };
                let mut data = file.data.to_vec();
                if !piece.is_empty() {
                    let end = *target as usize + piece.len();
                    data.resize(data.len().max(end), 0);
                    data[*target as usize..end].copy_from_slice(piece);
                }
                file.data = data.into();
                true
            }
            Op::Rename(from, to, flags) => self.rename(&names(from), &names(to), *flags),
            Op::Link(from, to) => {
                let (from, to) = (names(from), names(to));
                let Some(id) = self.names.get(&from).copied() else { return false };
                if self.files[&id].kind == 'd' || !self.parent_is_dir(&to) || self.names.contains_key(&to) {
                    return false;
                }
                self.files.get_mut(&id).expect("listed").links += 1;
                self.names.insert(to, id);
                true
            }
            Op::Remove(path) => {
                let path = names(path);
                match self.kind(&path) {
                    None => false,
                    Some('d') if !self.is_empty_dir(&path) => false,
                    Some(_) => {
                        self.drop_name(&path);
                        true
                    }
                }
            }
            Op::Xattr(path, name, len) => {
                let Some(id) = self.names.get(&names(path)).copied() else { return false };
                let file = self.files.get_mut(&id).expect("listed");
                file.xattrs.insert(format!("user.{name}"), fill(*len, *name).into());
                true
            }
            Op::Chmod(path, mode) => {
                let Some(id) = self.names.get(&names(path)).copied() else { return false };
                self.files.get_mut(&id).expect("listed").mode = *mode;
                true
            }
            Op::Sync | Op::Flush | Op::Restore | Op::Reopen | Op::Crash => true,
        }
    }

    fn rename(&mut self, from: &[String], to: &[String], flags: u8) -> bool {
        let (noreplace, exchange) = (flags == 1, flags == 2);
        let Some(moved) = self.kind(from) else { return false };
        if !self.parent_is_dir(to) || moved == 'd' && to.len() > from.len() && to.starts_with(from) {
            return false;
        }
        let target = self.kind(to);
        match target {
            None => {
                if exchange {
                    return false;
                }
                self.move_tree(from, to);
                return true;
            }
            Some(_) if noreplace => return false,
            Some(_) if self.names[from] == self.names[to] => return true,
            Some(target) if exchange => {
                if target == 'd' && from.len() > to.len() && from.starts_with(to) {
                    return false;
                }
                let aside = vec!["\0aside".to_owned()];
                self.move_tree(from, &aside);
                self.move_tree(to, from);
                self.move_tree(&aside, to);
                return true;
            }
            Some(target) => {
                if (moved == 'd') != (target == 'd') || target == 'd' && !self.is_empty_dir(to) {
                    return false;
                }
            }
        }
        self.drop_name(to);
        self.move_tree(from, to);
        true
    }
}

/// Bytes that differ by place, so that shifted data shows.
fn fill(len: u32, seed: u8) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u8
        })
        .collect()
}

/// A volume over a store that can lose what was not synced.
struct Rig {
    store: Arc<MemoryStore>,
    volume: Arc<Volume>,
    device: [u8; 32],
    /// Lookup references of the operation under way.
    held: RefCell<Vec<Ino>>,
}

impl Rig {
    fn new() -> Rig {
        let store = Arc::new(MemoryStore::new());
        let device = *DeviceKey::generate().as_bytes();
        let volume = open(&store, &device);
        Rig { store, volume, device, held: RefCell::default() }
    }

    fn reopen(&mut self) {
        self.volume = open(&self.store, &self.device);
    }

    /// The reference that a dump describes; inode numbers tell links apart.
    fn rebuild(&self, dump: &Dump) -> Model {
        let mut model = Model::default();
        let mut ids: BTreeMap<Ino, u32> = BTreeMap::new();
        for (path, file) in dump {
            let ino = self.find(path).expect("a listed name");
            let id = *ids.entry(ino).or_insert_with(|| {
                model.next += 1;
                model.next - 1
            });
            model.names.insert(path.clone(), id);
            model.files.insert(id, file.clone());
        }
        self.forget_all();
        model
    }

    /// Ends the volume in the middle of whatever it does, and the store with it.
    fn crash(&mut self) {
        let elsewhere = open(&Arc::new(MemoryStore::new()), &self.device);
        drop(std::mem::replace(&mut self.volume, elsewhere));
        self.store.crash();
        self.reopen();
    }

    fn find(&self, path: &[String]) -> Result<Ino, FsError> {
        let mut at = Ino::ROOT;
        for name in path {
            let attr = self.volume.lookup(wait(), at, name.as_bytes())?;
            self.held.borrow_mut().push(attr.ino);
            at = attr.ino;
        }
        Ok(at)
    }

    fn parent<'a>(&self, path: &'a [String]) -> Result<(Ino, &'a [u8]), FsError> {
        let (name, above) = path.split_last().expect("a path has a name");
        Ok((self.find(above)?, name.as_bytes()))
    }

    fn forget_all(&self) {
        for ino in self.held.borrow_mut().drain(..) {
            self.volume.forget(ino, 1);
        }
    }

    fn apply(&self, op: &Op) -> Result<(), FsError> {
        let result = self.try_apply(op);
        self.forget_all();
        result
    }

    fn try_apply(&self, op: &Op) -> Result<(), FsError> {
        let v = &self.volume;
        match op {
            Op::Create(path, kind) => {
                let path = names(path);
                let (parent, name) = self.parent(&path)?;
                let kinds = [FileType::Regular, FileType::Directory, FileType::Symlink, FileType::Fifo];
                let kind = kinds[*kind as usize];
                let target = if kind == FileType::Symlink { Bytes::from_static(b"target") } else { Bytes::new() };
                let node = NewNode { kind, mode: 0o644, umask: 0, rdev: 0, target };
                let attr = v.create(wait(), &CALLER, parent, name, node)?;
                v.forget(attr.ino, 1);
            }
            Op::Write(path, at, len, byte) => {
                let ino = self.find(&names(path))?;
                let flags = OpenFlags { read: true, write: true, truncate: false, kill_priv: KillPriv::Keep };
                let attr = v.getattr(wait(), ino)?;
                if attr.kind != FileType::Regular {
                    return Err(FsError::Invalid);
                }
                let handle = v.open(wait(), ino, flags)?;
                for (n, piece) in fill(*len, *byte).chunks(128 << 10).enumerate() {
                    let at = u64::from(*at) + (n as u64 * (128 << 10));
                    v.write(wait(), ino, at, Bytes::copy_from_slice(piece), KillPriv::Clear)?;
                }
                v.release(handle);
            }
            Op::Truncate(path, size) => {
                let ino = self.find(&names(path))?;
                v.setattr(wait(), &CALLER, ino, SetAttr { size: Some((*size).into()), ..SetAttr::NONE })?;
            }
            Op::Punch(path, at, len) => {
                let ino = self.find(&names(path))?;
                v.fallocate(wait(), ino, Allocate::PunchHole, (*at).into(), (*len).into(), KillPriv::Keep)?;
            }
            Op::Copy(from, to, at, target, len) => {
                let (source, to) = (self.find(&names(from))?, self.find(&names(to))?);
                if source == to {
                    return Err(FsError::Invalid);
                }
                let source = Place { ino: source, offset: (*at).into() };
                let target = Place { ino: to, offset: (*target).into() };
                v.copy_range(wait(), source, target, (*len).into(), KillPriv::Keep)?;
            }
            Op::Rename(from, to, flags) => {
                let (from, to) = (names(from), names(to));
                let (parent, name) = self.parent(&from)?;
                let (new_parent, new_name) = self.parent(&to)?;
                let flags = RenameFlags { noreplace: *flags == 1, exchange: *flags == 2, whiteout: false };
                v.rename(wait(), &CALLER, parent, name, new_parent, new_name, flags)?;
            }
            Op::Link(from, to) => {
                let ino = self.find(&names(from))?;
                let to = names(to);
                let (parent, name) = self.parent(&to)?;
                let attr = v.link(wait(), &CALLER, ino, parent, name)?;
                v.forget(attr.ino, 1);
            }
            Op::Remove(path) => {
                let path = names(path);
                let (parent, name) = self.parent(&path)?;
                match v.unlink(wait(), &CALLER, parent, name) {
                    Err(FsError::IsDirectory) => v.rmdir(wait(), &CALLER, parent, name)?,
                    result => result?,
                }
            }
            Op::Xattr(path, name, len) => {
                let ino = self.find(&names(path))?;
                let key = format!("user.{name}");
                let value = fill(*len, *name).into();
                v.setxattr(wait(), ino, key.as_bytes(), value, SetXattr::Any, KillPriv::Keep)?;
            }
            Op::Chmod(path, mode) => {
                let ino = self.find(&names(path))?;
                v.setattr(wait(), &CALLER, ino, SetAttr { mode: Some(*mode), ..SetAttr::NONE })?;
            }
            Op::Sync => v.sync_all()?,
            Op::Flush => drop(v.flush()?),
            Op::Restore | Op::Reopen | Op::Crash => {}
        }
        Ok(())
    }

    fn dump(&self) -> Dump {
        let mut dump = Dump::new();
        let mut waiting = vec![(Vec::new(), Ino::ROOT)];
        while let Some((path, dir)) = waiting.pop() {
            let mut cookie = 0;
            loop {
                let items = self.volume.readdir(wait(), dir, cookie, 2, Listing::Referenced).expect("a listing");
                let Some(last) = items.last() else { break };
                cookie = last.cookie;
                for item in items {
                    let name = String::from_utf8(item.name.to_vec()).expect("our names");
                    let path = [&path[..], &[name]].concat();
                    let file = self.file(item.ino);
                    if file.kind == 'd' {
                        waiting.push((path.clone(), item.ino));
                    }
                    self.held.borrow_mut().push(item.ino);
                    assert_eq!(
                        item.attr.map(|a| a.size),
                        Some(self.volume.getattr(wait(), item.ino).expect("attr").size)
                    );
                    assert!(dump.insert(path, file).is_none(), "a name listed twice");
                }
            }
        }
        self.forget_all();
        dump
    }

    fn file(&self, ino: Ino) -> File {
        let v = &self.volume;
        let attr = v.getattr(wait(), ino).expect("attributes");
        let (kind, data) = match attr.kind {
            FileType::Regular => {
                let pieces = v.read(wait(), ino, 0, u32::MAX).expect("content");
                assert_eq!(pieces.len() as u64, attr.size);
                ('f', pieces.into_bytes())
            }
            FileType::Directory => ('d', Bytes::new()),
            FileType::Symlink => ('l', v.readlink(wait(), ino).expect("a target")),
            _ => ('p', Bytes::new()),
        };
        let list = v.listxattr(wait(), ino).expect("attributes");
        let xattrs = list.into_iter().map(|name| {
            let value = v.getxattr(wait(), ino, &name).expect("a value");
            (String::from_utf8(name.to_vec()).expect("our names"), value)
        });
        let links = if kind == 'd' { 1 } else { attr.nlink };
        File { kind, mode: attr.mode, data, links, xattrs: xattrs.collect() }
    }
}

fn open(store: &Arc<MemoryStore>, device: &[u8; 32]) -> Arc<Volume> {
    Volume::open(VolumeConfig {
        keys: VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"model"),
        device: DeviceKey::from_bytes(device),
        store: store.clone(),
        heads: store.clone(),
        hints: store.clone(),
        options: VolumeOptions::default(),
    })
    .expect("the volume opens")
}

fn run(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut rig = Rig::new();
    let mut model = Model::default();
    let mut history = vec![model.dump()];
    let mut saved: Option<(Head, Model)> = None;
    for op in &ops {
        let mut next = model.clone();
        let expected = next.apply(op);
        let result = rig.apply(op);
        prop_assert_eq!(expected, result.is_ok(), "{:?} gave {:?}", op, result);
        if expected {
            model = next;
        }
        match op {
            Op::Sync => history.clear(),
            Op::Flush => {
                history.clear();
                saved = rig.volume.flush().expect("a head").map(|head| (head, model.clone()));
            }
            Op::Restore => {
                if let Some((head, was)) = &saved {
                    let root = read_root(head, rig.volume.reader()).expect("the root of a kept head");
                    rig.volume.restore(&root, b"", b"", &mut |_| {}).expect("a restore");
                    model = Model { next: model.next.max(was.next), ..was.clone() };
                    history.clear();
                    prop_assert_eq!(rig.dump(), model.dump());
                }
            }
            Op::Reopen => {
                rig.volume.close().expect("a clean close");
                rig.reopen();
                history.clear();
                prop_assert_eq!(rig.dump(), model.dump());
            }
            Op::Crash => {
                rig.crash();
                let found = rig.dump();
                prop_assert!(
                    history.contains(&found) || found == model.dump(),
                    "not a state of history: {:?}",
                    found.keys()
                );
                // The reference goes on from what was found.
                model = rig.rebuild(&found);
                history.clear();
            }
            _ => {}
        }
        history.push(model.dump());
    }
    prop_assert_eq!(rig.dump(), model.dump());
    rig.volume.close().expect("a clean close");
    rig.reopen();
    prop_assert_eq!(rig.dump(), model.dump());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_volume_is_a_map_whatever_happens(ops in prop::collection::vec(op(), 1..80)) {
        run(ops)?;
    }
}
