//! A volume as plain maps, with the operations that change one: the model that trees are held against.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_block::{
    Attr, Content, DirRoot, Entry, FileRoot, FileType, Ino, MapRoot, Record, Timestamp, VolumeRoot, Xattrs, map_tree,
};
use cairn_fs::changes::{Changes, Child, Home, InodeChange, NameChange, Place};
use cairn_fs::tree::{dir_root, list};
use proptest::prelude::*;

use super::world::World;

const ROOT: u64 = 1;

/// One operation. Numbers choose among what there is, so that every operation of every history means something.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create { dir: usize, name: u8, text: u8 },
    Mkdir { dir: usize, name: u8 },
    Write { file: usize, text: u8 },
    Chmod { any: usize, mode: u8 },
    Label { any: usize, key: u8, value: u8 },
    Remove { entry: usize },
    Rename { entry: usize, dir: usize, name: u8 },
    Link { file: usize, dir: usize, name: u8 },
}

pub(crate) fn ops(count: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (any::<usize>(), 0..6_u8, 0..4_u8).prop_map(|(dir, name, text)| Op::Create { dir, name, text }),
        3 => (any::<usize>(), 0..6_u8).prop_map(|(dir, name)| Op::Mkdir { dir, name }),
        3 => (any::<usize>(), any::<u8>()).prop_map(|(file, text)| Op::Write { file, text }),
        1 => (any::<usize>(), 0..4_u8).prop_map(|(any, mode)| Op::Chmod { any, mode }),
        1 => (any::<usize>(), 0..3_u8, 0..3_u8).prop_map(|(any, key, value)| Op::Label { any, key, value }),
        3 => any::<usize>().prop_map(|entry| Op::Remove { entry }),
        4 => (any::<usize>(), any::<usize>(), 0..6_u8).prop_map(|(entry, dir, name)| Op::Rename { entry, dir, name }),
        1 => (any::<usize>(), any::<usize>(), 0..6_u8).prop_map(|(file, dir, name)| Op::Link { file, dir, name }),
    ];
    prop::collection::vec(op, 0..count)
}

/// A volume: records without their directories' trees, and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sketch {
    pub(crate) records: BTreeMap<u64, Record>,
    pub(crate) dirs: BTreeMap<u64, BTreeMap<Bytes, u64>>,
    pub(crate) linked: BTreeSet<u64>,
    pub(crate) next_ino: u64,
    clock: i64,
}

impl Sketch {
    pub(crate) fn new() -> Sketch {
        let root = record(ROOT, FileType::Directory, Content::Dir(DirRoot::EMPTY), 0);
        Sketch {
            records: BTreeMap::from([(ROOT, root)]),
            dirs: BTreeMap::from([(ROOT, BTreeMap::new())]),
            linked: BTreeSet::new(),
            next_ino: 2,
            clock: 1,
        }
    }

    /// Sets the clock, so that two sides never do anything at the same time.
    pub(crate) fn at(mut self, clock: i64) -> Sketch {
        self.clock = clock;
        self
    }

    pub(crate) fn after(mut self, ops: &[Op]) -> Sketch {
        for op in ops {
            self.clock += 1;
            self.apply(op);
        }
        self
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Create { dir, name, text } => {
                let content = Content::Inline(Bytes::from(format!("shared {text}")));
                self.create(self.dir(dir), name, FileType::Regular, content);
            }
            Op::Mkdir { dir, name } => {
                self.create(self.dir(dir), name, FileType::Directory, Content::Dir(DirRoot::EMPTY));
            }
            Op::Write { file, text } => {
                let text = Bytes::from(format!("written {text} at {}", self.clock));
                self.touch(self.file(file), |record, now| {
                    record.attr.size = text.len() as u64;
                    record.attr.allocated = record.attr.size;
                    record.attr.mtime = now;
                    record.content = Content::Inline(text);
                });
            }
            Op::Chmod { any, mode } => {
                self.touch(pick(self.records.keys(), any), |record, _| record.attr.mode = 0o700 + u16::from(mode));
            }
            Op::Label { any, key, value } => {
                self.touch(pick(self.records.keys(), any), |record, _| label(record, key, value));
            }
            Op::Remove { entry } => self.remove(entry),
            Op::Rename { entry, dir, name } => self.rename(entry, self.dir(dir), name),
            Op::Link { file, dir, name } => self.link(self.file(file), self.dir(dir), name),
        }
        self.count_links();
    }

    fn create(&mut self, dir: u64, name: u8, kind: FileType, content: Content) {
        let name = name_of(name);
        if self.dirs[&dir].contains_key(&name) {
            return;
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        let mut record = record(ino, kind, content, self.clock);
        if let Content::Inline(text) = &record.content {
            record.attr.size = text.len() as u64;
            record.attr.allocated = record.attr.size;
        }
        self.records.insert(ino, record);
        if kind == FileType::Directory {
            self.dirs.insert(ino, BTreeMap::new());
        }
        self.bind(dir, name, ino);
    }

    fn touch(&mut self, ino: Option<u64>, change: impl FnOnce(&mut Record, Timestamp)) {
        let now = time(self.clock);
        if let Some(record) = ino.and_then(|ino| self.records.get_mut(&ino)) {
            change(record, now);
            record.attr.ctime = now;
        }
    }

    fn remove(&mut self, entry: usize) {
        if let Some((dir, name)) = self.entry(entry) {
            self.unbind(dir, &name);
            self.sweep();
        }
    }

    fn rename(&mut self, entry: usize, dir: u64, name: u8) {
        let Some((old_dir, old_name)) = self.entry(entry) else { return };
        let ino = self.dirs[&old_dir][&old_name];
        let name = name_of(name);
        let target = self.dirs[&dir].get(&name).copied();
        let is_dir = self.dirs.contains_key(&ino);
        let replaces = match target {
            Some(target) if target == ino => return,
            Some(target) => {
                is_dir == self.dirs.contains_key(&target) && self.dirs.get(&target).is_none_or(BTreeMap::is_empty)
            }
            None => true,
        };
        if !replaces || self.is_below(dir, ino) {
            return;
        }
        self.unbind(old_dir, &old_name);
        if target.is_some() {
            self.unbind(dir, &name);
        }
        self.bind(dir, name, ino);
        self.touch(Some(ino), |_, _| {});
        self.sweep();
    }

    fn link(&mut self, file: Option<u64>, dir: u64, name: u8) {
        let name = name_of(name);
        let Some(ino) = file else { return };
        if !self.dirs[&dir].contains_key(&name) {
            self.bind(dir, name, ino);
            self.linked.insert(ino);
            self.touch(Some(ino), |_, _| {});
        }
    }

    fn bind(&mut self, dir: u64, name: Bytes, ino: u64) {
        self.dirs.get_mut(&dir).unwrap().insert(name, ino);
        let now = time(self.clock);
        self.records.get_mut(&dir).unwrap().attr.mtime = now;
    }

    fn unbind(&mut self, dir: u64, name: &Bytes) {
        self.dirs.get_mut(&dir).unwrap().remove(name);
        let now = time(self.clock);
        self.records.get_mut(&dir).unwrap().attr.mtime = now;
    }

    /// Forgets what no name leads to.
    fn sweep(&mut self) {
        let mut reached = BTreeSet::new();
        let mut queue = vec![ROOT];
        while let Some(ino) = queue.pop() {
            if reached.insert(ino) {
                queue.extend(self.dirs.get(&ino).into_iter().flat_map(|dir| dir.values()));
            }
        }
        self.records.retain(|ino, _| reached.contains(ino));
        self.dirs.retain(|ino, _| reached.contains(ino));
        self.linked.retain(|ino| reached.contains(ino));
    }

    pub(crate) fn count_links(&mut self) {
        let mut counts: BTreeMap<u64, u32> = self.dirs.keys().map(|dir| (*dir, 2)).collect();
        for (dir, children) in &self.dirs {
            for child in children.values() {
                let counted = if self.dirs.contains_key(child) { dir } else { child };
                *counts.entry(*counted).or_default() += 1;
            }
        }
        for (ino, record) in &mut self.records {
            record.attr.nlink = counts[ino];
        }
    }

    fn is_below(&self, mut dir: u64, above: u64) -> bool {
        loop {
            if dir == above {
                return true;
            }
            match self.dirs.iter().find(|(_, children)| children.values().any(|child| *child == dir)) {
                Some((parent, _)) => dir = *parent,
                None => return false,
            }
        }
    }

    fn dir(&self, index: usize) -> u64 {
        pick(self.dirs.keys(), index).unwrap_or(ROOT)
    }

    fn file(&self, index: usize) -> Option<u64> {
        pick(self.records.keys().filter(|ino| !self.dirs.contains_key(ino)), index)
    }

    fn entry(&self, index: usize) -> Option<(u64, Bytes)> {
        let entries: Vec<_> =
            self.dirs.iter().flat_map(|(dir, names)| names.keys().map(|name| (*dir, name.clone()))).collect();
        (!entries.is_empty()).then(|| entries[index % entries.len()].clone())
    }

    /// The contents of all files, once for each inode.
    pub(crate) fn contents(&self) -> Vec<Content> {
        let files = self.records.iter().filter(|(ino, _)| !self.dirs.contains_key(ino));
        files.map(|(_, record)| record.content.clone()).collect()
    }

    pub(crate) fn home(&self, ino: u64) -> Option<Place> {
        self.dirs.iter().find_map(|(dir, names)| {
            let name = names.iter().find(|(_, child)| **child == ino)?.0;
            Some(Place { parent: Ino::new(*dir), name: name.clone() })
        })
    }

    fn child(&self, ino: u64) -> Child {
        Child { ino: Ino::new(ino), kind: self.records[&ino].attr.kind }
    }

    /// Gives a file content that is kept in blocks.
    pub(crate) fn fill(&mut self, ino: u64, (root, size, allocated): (FileRoot, u64, u64)) {
        let record = self.records.get_mut(&ino).unwrap();
        record.attr.size = size;
        record.attr.allocated = allocated;
        record.content = Content::File(root);
    }

    /// Every path, with the inode it leads to.
    pub(crate) fn paths(&self) -> BTreeMap<String, u64> {
        let mut paths = BTreeMap::from([("/".to_owned(), ROOT)]);
        let mut queue = vec![(String::new(), ROOT)];
        while let Some((path, dir)) = queue.pop() {
            for (name, ino) in self.dirs.get(&dir).into_iter().flatten() {
                let path = format!("{path}/{}", String::from_utf8_lossy(name));
                paths.insert(path.clone(), *ino);
                queue.push((path, *ino));
            }
        }
        paths
    }

    /// What leads from the empty volume to this one.
    pub(crate) fn changes_from_nothing(&self) -> Changes {
        let mut changes = Changes { next_ino: self.next_ino, ..Changes::default() };
        for (dir, names) in &self.dirs {
            for (name, ino) in names {
                let place = Place { parent: Ino::new(*dir), name: name.clone() };
                changes.names.insert(place, NameChange { old: None, new: Some(self.child(*ino)) });
            }
        }
        for (ino, record) in &self.records {
            let change = InodeChange { old: None, new: Some(record.clone()) };
            changes.inodes.insert(Ino::new(*ino), change);
            if *ino != ROOT && !self.linked.contains(ino) {
                changes.homes.insert(Ino::new(*ino), Home { old: None, new: self.home(*ino) });
            }
        }
        changes.linked_new = self.linked.iter().map(|ino| Ino::new(*ino)).collect();
        changes
    }

    /// The tree of this volume.
    pub(crate) fn plant(&self, world: &World) -> VolumeRoot {
        let changes = self.changes_from_nothing();
        changes.apply(&mut world.nodes(), &mut world.sink(), world.keys.names(), &bare()).unwrap()
    }

    /// The volume of a tree. Panics at whatever makes it none.
    pub(crate) fn read(world: &World, root: &VolumeRoot) -> Sketch {
        let mut sketch = Sketch::new();
        sketch.next_ino = root.next_ino;
        let mut nodes = world.nodes();
        let links = map_tree::range(&mut nodes, &root.links, std::ops::Bound::Unbounded, usize::MAX).unwrap();
        for (_, value) in links {
            let record = plain(world, &Record::decode(&value).unwrap());
            sketch.linked.insert(record.attr.ino.get());
            assert!(sketch.records.insert(record.attr.ino.get(), record).is_none());
        }
        sketch.records.insert(ROOT, plain(world, &root.root));
        let mut queue = vec![(ROOT, dir_root(&root.root).clone())];
        while let Some((dir, tree)) = queue.pop() {
            for (key, value) in list(&mut nodes, &tree, std::ops::Bound::Unbounded, usize::MAX).unwrap() {
                key.verify(world.keys.names()).unwrap();
                let entry = Entry::decode(&value).unwrap();
                let ino = entry.ino().get();
                let is_given = ino < root.next_ino || !cairn_block::is_same_ino_range(ino, root.next_ino);
                assert!(is_given, "inode {ino} was never given out");
                sketch.dirs.get_mut(&dir).unwrap().insert(key.name_bytes(), ino);
                match entry {
                    Entry::Link { kind, .. } => {
                        assert_eq!(sketch.records[&ino].attr.kind, kind);
                        assert!(sketch.linked.contains(&ino));
                    }
                    Entry::Own(record) => {
                        if record.attr.kind == FileType::Directory {
                            queue.push((ino, dir_root(&record).clone()));
                            sketch.dirs.insert(ino, BTreeMap::new());
                        }
                        let before = sketch.records.insert(ino, plain(world, &record));
                        assert!(before.is_none(), "inode {ino} has two places");
                    }
                }
            }
        }
        sketch.check_links();
        sketch
    }

    fn check_links(&self) {
        let mut counted = self.clone();
        counted.count_links();
        for (ino, record) in &self.records {
            assert_eq!(record.attr.nlink, counted.records[ino].attr.nlink, "links of inode {ino}");
        }
    }
}

/// A volume without any entry.
pub(crate) fn bare() -> VolumeRoot {
    let root = Sketch::new().records.remove(&ROOT).unwrap();
    VolumeRoot { root, links: MapRoot::EMPTY, next_ino: 2 }
}

/// The record without what a sketch says elsewhere, or doesn't care about: trees, and where attributes are kept.
fn plain(world: &World, record: &Record) -> Record {
    let mut record = record.clone();
    if let Content::Dir(_) = record.content {
        record.content = Content::Dir(DirRoot::EMPTY);
    }
    if let Xattrs::Sealed(reference) = &record.xattrs {
        record.xattrs = Xattrs::Inline(world.reader.xattrs(reference, world.ask()).unwrap());
    }
    record
}

fn pick<'a>(mut all: impl Iterator<Item = &'a u64> + Clone, index: usize) -> Option<u64> {
    let count = all.clone().count();
    (count > 0).then(|| all.nth(index % count).copied()).flatten()
}

fn name_of(name: u8) -> Bytes {
    Bytes::from(["a", "b", "c.txt", "d.txt", "e", ".f"][usize::from(name) % 6])
}

fn time(clock: i64) -> Timestamp {
    Timestamp { secs: clock, nanos: 0 }
}

fn label(record: &mut Record, key: u8, value: u8) {
    let Xattrs::Inline(list) = &mut record.xattrs else { return };
    let name = Bytes::from(format!("user.{key}"));
    list.retain(|(other, _)| *other != name);
    if value > 0 {
        list.push((name, Bytes::from(vec![value; 400])));
        list.sort();
    }
}

fn record(ino: u64, kind: FileType, content: Content, clock: i64) -> Record {
    let now = time(clock);
    let attr = Attr {
        ino: Ino::new(ino),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        size: 0,
        allocated: 0,
        rdev: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
    };
    Record { attr, content, xattrs: Xattrs::NONE }
}
