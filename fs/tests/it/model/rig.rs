//! The volume under test: what a step asks of it, and everything it shows as a tree.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_block::{Attr, DeviceKey, FileType, Head, Ino, MasterKey, Timestamp, VolumeKeys};
use cairn_fs::ops::{
    Caller, Handle, KillPriv, Listing, NewNode, OpenFlags, Operations, Place, RenameFlags, Seek, SetAttr, TimeOrNow,
    Wait,
};
use cairn_fs::snapshots::{Browsable, SNAPSHOTS_NAME, Snapshots};
use cairn_fs::{FsError, Volume, VolumeConfig, VolumeOptions};
use cairn_store::{Store, SweepOptions};

use super::content::{Content, fill};
use super::op::{Kind, NAMES, Op, Path, Rename, Which};
use super::tree::{DEVICE, Made, Node, ROOT, TARGET, Tree};

pub(super) const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0 };

pub(super) fn wait() -> Wait {
    Wait::Until(Instant::now() + Duration::from_secs(60))
}

pub(super) fn names(path: &[u8]) -> Vec<String> {
    path.iter().map(|n| NAMES[usize::from(*n)].to_owned()).collect()
}

pub(super) fn keys() -> VolumeKeys {
    VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"model")
}

/// A device with the volume open.
pub(super) struct Rig {
    pub(super) volume: Arc<Volume>,
    pub(super) device: [u8; 32],
    handles: Vec<(Handle, Ino)>,
    /// Lookup references of the operation under way.
    held: RefCell<Vec<Ino>>,
}

impl Rig {
    pub(super) fn open(store: Arc<dyn Store>, device: [u8; 32]) -> Rig {
        let volume = Volume::open(VolumeConfig {
            keys: keys(),
            device: DeviceKey::from_bytes(&device),
            store: store.clone(),
            heads: store.clone(),
            hints: store,
            options: VolumeOptions::default(),
        });
        Rig { volume: volume.expect("the volume opens"), device, handles: Vec::new(), held: RefCell::default() }
    }

    /// Ends the volume in the middle of whatever it does. Its keeper may be the last to let go of it.
    pub(super) fn end(self) {
        let volume = Arc::downgrade(&self.volume);
        drop(self);
        while volume.strong_count() > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
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

    fn which(&self, which: &Which) -> Result<Ino, FsError> {
        match which {
            Which::At(path) => self.find(&names(path)),
            Which::Open(_) if self.handles.is_empty() => Err(FsError::NotFound),
            Which::Open(n) => Ok(self.handles[usize::from(*n) % self.handles.len()].1),
        }
    }

    fn forget_all(&self) {
        for ino in self.held.borrow_mut().drain(..) {
            self.volume.forget(ino, 1);
        }
    }

    /// Does what a step says. What reads is compared with the reference as it was before.
    pub(super) fn apply(&mut self, op: &Op, tree: &Tree) -> Result<Made, FsError> {
        let result = self.try_apply(op, tree);
        self.forget_all();
        result
    }

    fn try_apply(&mut self, op: &Op, tree: &Tree) -> Result<Made, FsError> {
        let v = &self.volume;
        match op {
            Op::Create(path, kind) => return self.create(&names(path), *kind),
            Op::Write(which, at, len, seed) => {
                let ino = self.which(which)?;
                let data = Bytes::from(fill(*len, *seed));
                assert_eq!(v.write(wait(), ino, (*at).into(), data, KillPriv::Keep)?, *len);
            }
            Op::Truncate(which, size) => {
                let ino = self.which(which)?;
                v.setattr(wait(), &CALLER, ino, SetAttr { size: Some((*size).into()), ..SetAttr::NONE })?;
            }
            Op::Allocate(which, what, at, len) => {
                let ino = self.which(which)?;
                v.fallocate(wait(), ino, *what, (*at).into(), (*len).into(), KillPriv::Keep)?;
            }
            Op::Copy(from, to, at, target, len) => {
                let source = Place { ino: self.which(from)?, offset: (*at).into() };
                let target = Place { ino: self.which(to)?, offset: (*target).into() };
                v.copy_range(wait(), source, target, (*len).into(), KillPriv::Keep)?;
            }
            Op::Rename(from, to, how) => return self.rename(&names(from), &names(to), *how),
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
            Op::SetXattr(path, name, len, how) => {
                let ino = self.find(&names(path))?;
                let value = fill(*len, *len as u8).into();
                v.setxattr(wait(), ino, format!("user.{name}").as_bytes(), value, *how, KillPriv::Keep)?;
            }
            Op::RemoveXattr(path, name) => {
                let ino = self.find(&names(path))?;
                v.removexattr(wait(), ino, format!("user.{name}").as_bytes())?;
            }
            Op::Chmod(path, mode) => self.set(path, SetAttr { mode: Some(*mode), ..SetAttr::NONE })?,
            Op::Chown(path, uid) => self.set(path, SetAttr { uid: Some(*uid), ..SetAttr::NONE })?,
            Op::SetTime(path, secs) => {
                let time = TimeOrNow::Time(Timestamp { secs: *secs, nanos: 5 });
                self.set(path, SetAttr { mtime: Some(time), ..SetAttr::NONE })?;
            }
            Op::Open(path) => {
                let ino = self.find(&names(path))?;
                let attr = v.getattr(wait(), ino)?;
                if attr.kind != FileType::Regular {
                    return Err(FsError::Invalid);
                }
                let flags = OpenFlags { read: true, write: true, truncate: false, kill_priv: KillPriv::Keep };
                let handle = v.open(wait(), ino, flags)?;
                self.handles.push((handle, ino));
            }
            Op::Close(n) => {
                self.which(&Which::Open(*n))?;
                let (handle, _) = self.handles.remove(usize::from(*n) % self.handles.len());
                v.release(handle);
            }
            Op::Read(which, at, len) => {
                let ino = self.which(which)?;
                let found = v.read(wait(), ino, (*at).into(), *len)?.into_bytes();
                let wanted = tree.which(which).map(|ino| tree.node(ino).data.read((*at).into(), (*len).into()));
                assert!(wanted.is_some_and(|wanted| wanted == found), "other bytes were read");
            }
            Op::Seek(which, at) => {
                let ino = self.which(which)?;
                let wanted = tree.which(which).map(|ino| &tree.node(ino).data);
                self.seek(ino, (*at).into(), wanted)?;
            }
            Op::Sync => v.sync_all()?,
            Op::Flush => drop(v.flush()?),
            Op::Thin => drop(v.thin(Timestamp { secs: 1 << 40, nanos: 0 })?),
            _ => {}
        }
        Ok(Made::default())
    }

    fn create(&self, path: &[String], kind: Kind) -> Result<Made, FsError> {
        let (parent, name) = self.parent(path)?;
        let (kind, rdev) = match kind {
            Kind::File => (FileType::Regular, 0),
            Kind::Dir => (FileType::Directory, 0),
            Kind::Link => (FileType::Symlink, 0),
            Kind::Pipe => (FileType::Fifo, 0),
            Kind::Device => (FileType::Char, DEVICE),
        };
        let target = if kind == FileType::Symlink { Bytes::from_static(TARGET) } else { Bytes::new() };
        let node = NewNode { kind, mode: 0o644, umask: 0, rdev, target };
        let attr = self.volume.create(wait(), &CALLER, parent, name, node)?;
        self.volume.forget(attr.ino, 1);
        Ok(Made { ino: Some(attr.ino.get()) })
    }

    fn rename(&self, from: &[String], to: &[String], how: Rename) -> Result<Made, FsError> {
        let (parent, name) = self.parent(from)?;
        let (new_parent, new_name) = self.parent(to)?;
        let flags = RenameFlags {
            noreplace: how == Rename::NoReplace,
            exchange: how == Rename::Exchange,
            whiteout: how == Rename::Whiteout,
        };
        self.volume.rename(wait(), &CALLER, parent, name, new_parent, new_name, flags)?;
        if how != Rename::Whiteout {
            return Ok(Made::default());
        }
        let left = self.find(from).expect("a whiteout, or the file itself");
        Ok(Made { ino: Some(left.get()) })
    }

    fn set(&self, path: &Path, set: SetAttr) -> Result<(), FsError> {
        let ino = self.find(&names(path))?;
        self.volume.setattr(wait(), &CALLER, ino, set).map(drop)
    }

    /// Between where data was looked for and where it was found there are only zeros.
    fn seek(&self, ino: Ino, at: u64, wanted: Option<&Content>) -> Result<(), FsError> {
        let data = match self.volume.seek(wait(), ino, at, Seek::Data) {
            Err(FsError::NoData) => None,
            found => Some(found?),
        };
        let hole = match self.volume.seek(wait(), ino, at, Seek::Hole) {
            Err(FsError::NoData) => None,
            found => Some(found?),
        };
        let Some(wanted) = wanted else { return Ok(()) };
        let size = wanted.size;
        let skipped = data.unwrap_or(size);
        assert!(at >= size || (at..=size).contains(&skipped) && wanted.is_zero(at..skipped), "data was passed over");
        assert_eq!(hole.is_none(), at >= size, "a hole at the end of the file");
        assert!(hole.is_none_or(|hole| (at..=size).contains(&hole)), "a hole beyond the end");
        // One of them is where the search began.
        assert!(at >= size || data == Some(at) || hole == Some(at));
        Ok(())
    }

    /// Removes what nothing needs.
    pub(super) fn collect(&self, store: &dyn Store) {
        let volumes = [self.volume.clone()];
        cairn_fs::sweep(&volumes, store, &|| Some(Vec::new()), SweepOptions::default(), &mut |_| {})
            .expect("a collection");
    }

    /// Everything that the volume shows.
    pub(super) fn dump(&self) -> Tree {
        let mut tree = Dump { ops: &*self.volume, tree: Tree::new() }.below(Ino::ROOT);
        // Of those that this device gives out itself.
        let own = cairn_block::ino_range(&DeviceKey::from_bytes(&self.device).id());
        tree.highest = tree.nodes.range(own).next_back().map_or(ROOT, |(ino, _)| *ino);
        tree
    }

    /// Everything that a snapshot shows, through the folder that lists it by its label.
    pub(super) fn dump_snapshot(&self, label: &str) -> Tree {
        let volume = self.volume.clone();
        let history = move || volume.history();
        let snapshots = Snapshots::new(self.volume.reader().clone(), Arc::new(keys()), Box::new(history));
        let browsable = Browsable::new(self.volume.clone(), snapshots);
        let lookup = |dir: Ino, name: &[u8]| browsable.lookup(wait(), dir, name).expect("a snapshot").ino;
        let top = lookup(Ino::ROOT, SNAPSHOTS_NAME);
        let target = browsable.readlink(wait(), lookup(top, label.as_bytes())).expect("a label");
        let root = lookup(top, &target);
        Dump { ops: &browsable, tree: Tree::new() }.below(root)
    }

    pub(super) fn head(&self) -> Option<Head> {
        self.volume.flush().expect("a flush")
    }
}

/// Walks what something shows.
struct Dump<'a> {
    ops: &'a dyn Operations,
    tree: Tree,
}

impl Dump<'_> {
    fn below(mut self, root: Ino) -> Tree {
        let attr = self.ops.getattr(wait(), root).expect("the root's attributes");
        let mut waiting = vec![(ROOT, root, self.node(&attr))];
        self.tree.nodes.clear();
        let mut held = Vec::new();
        while let Some((number, ino, mut node)) = waiting.pop() {
            let mut dirs = 0;
            for item in self.list(ino) {
                let attr = item.1;
                node.children.insert(item.0, attr.ino.get());
                dirs += u32::from(attr.kind == FileType::Directory);
                let is_new = !self.tree.nodes.contains_key(&attr.ino.get())
                    && !waiting.iter().any(|(number, ..)| *number == attr.ino.get());
                if is_new {
                    waiting.push((attr.ino.get(), attr.ino, self.node(&attr)));
                }
                held.push(attr.ino);
            }
            if node.kind == 'd' {
                assert_eq!(node.names, 2 + dirs, "the link count of a folder");
                node.names = 1;
            }
            self.tree.nodes.insert(number, Arc::new(node));
        }
        held.into_iter().for_each(|ino| self.ops.forget(ino, 1));
        self.tree
    }

    /// The entries of a directory, a few at a time. Each holds a reference.
    fn list(&self, dir: Ino) -> Vec<(String, Attr)> {
        let mut entries = Vec::new();
        if self.ops.getattr(wait(), dir).expect("attributes").kind != FileType::Directory {
            return entries;
        }
        let mut cookie = 0;
        loop {
            let items = self.ops.readdir(wait(), dir, cookie, 3, Listing::Referenced).expect("a listing");
            let Some(last) = items.last() else { return entries };
            cookie = last.cookie;
            for item in items {
                let name = String::from_utf8(item.name.to_vec()).expect("our names");
                assert!(entries.iter().all(|(other, _)| *other != name), "{name} was listed twice");
                entries.push((name, item.attr.expect("attributes")));
            }
        }
    }

    fn node(&self, attr: &Attr) -> Node {
        let (ops, ino) = (self.ops, attr.ino);
        let (kind, data) = match attr.kind {
            FileType::Regular => {
                let bytes = ops.read(wait(), ino, 0, u32::MAX).expect("content").into_bytes();
                assert_eq!(bytes.len() as u64, attr.size, "bytes that can be read");
                ('f', Content::of(&bytes))
            }
            FileType::Directory => ('d', Content::default()),
            FileType::Symlink => ('l', Content::of(&ops.readlink(wait(), ino).expect("a target"))),
            FileType::Char => ('c', Content::default()),
            _ => ('p', Content::default()),
        };
        let list = ops.listxattr(wait(), ino).expect("attributes").into_iter().map(|name| {
            let value = ops.getxattr(wait(), ino, &name).expect("a value").to_vec();
            (String::from_utf8(name.to_vec()).expect("our names"), value)
        });
        Node {
            kind,
            mode: attr.mode,
            uid: attr.uid,
            rdev: attr.rdev,
            mtime: Some(attr.mtime.secs),
            data,
            names: attr.nlink,
            xattrs: list.collect(),
            children: BTreeMap::new(),
        }
    }
}
