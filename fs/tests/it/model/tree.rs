//! The reference: inodes by number, directories as maps. Inode numbers are the volume's own, since they are a promise too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_fs::ops::{Allocate, SetXattr};

use super::content::{Content, fill};
use super::op::{Kind, Op, Rename, Which};

pub(super) const ROOT: u64 = 1;
pub(super) const TARGET: &[u8] = b"target";
pub(super) const DEVICE: u32 = 0x0103;

/// What the reference knows of an inode.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// `d`, `f`, `l`, `p`, `c`.
    pub(super) kind: char,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) rdev: u32,
    /// The seconds of mtime, if somebody set them and nothing changed since.
    pub(super) mtime: Option<i64>,
    pub(super) data: Content,
    pub(super) names: u32,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    pub(super) children: BTreeMap<String, u64>,
}

impl Node {
    pub(super) fn new(kind: char, mode: u16) -> Node {
        Node {
            kind,
            mode,
            uid: 0,
            rdev: 0,
            mtime: None,
            data: Content::default(),
            names: 1,
            xattrs: BTreeMap::new(),
            children: BTreeMap::new(),
        }
    }

    /// What differs but for children, whose numbers may be others.
    fn difference(&self, found: &Node) -> Option<&'static str> {
        let time_differs = self.mtime.is_some() && self.mtime != found.mtime;
        let checks = [
            (self.kind != found.kind, "kind"),
            (self.mode != found.mode, "mode"),
            (self.uid != found.uid, "owner"),
            (self.rdev != found.rdev, "device number"),
            (self.names != found.names, "number of names"),
            (time_differs, "mtime"),
            (self.data != found.data, "content"),
            (self.xattrs != found.xattrs, "extended attributes"),
            (!self.children.keys().eq(found.children.keys()), "names"),
        ];
        checks.into_iter().find_map(|(differs, what)| differs.then_some(what))
    }
}

/// A volume at one moment. A clone shares everything.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: BTreeMap<u64, Arc<Node>>,
    /// The highest number that was given to an inode.
    pub(super) highest: u64,
    /// Files that are open, once for each handle.
    pub(super) open: Vec<u64>,
}

/// What a volume answered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    /// The number of what was made.
    pub(super) ino: Option<u64>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        let nodes = BTreeMap::from([(ROOT, Arc::new(Node::new('d', 0o755)))]);
        Tree { nodes, highest: ROOT, open: Vec::new() }
    }

    pub(super) fn at(&self, path: &[String]) -> Option<u64> {
        path.iter().try_fold(ROOT, |dir, name| self.nodes[&dir].children.get(name).copied())
    }

    pub(super) fn which(&self, which: &Which) -> Option<u64> {
        match which {
            Which::At(path) => self.at(&super::rig::names(path)),
            Which::Open(_) if self.open.is_empty() => None,
            Which::Open(n) => Some(self.open[usize::from(*n) % self.open.len()]),
        }
    }

    pub(super) fn node(&self, ino: u64) -> &Node {
        &self.nodes[&ino]
    }

    pub(super) fn change(&mut self, ino: u64) -> &mut Node {
        Arc::make_mut(self.nodes.get_mut(&ino).expect("an inode"))
    }

    fn dir(&self, path: &[String]) -> Option<u64> {
        self.at(path).filter(|ino| self.node(*ino).kind == 'd')
    }

    /// The directory of a name, and the name.
    fn parent<'a>(&self, path: &'a [String]) -> Option<(u64, &'a String)> {
        let (name, above) = path.split_last()?;
        Some((self.dir(above)?, name))
    }

    fn set_name(&mut self, dir: u64, name: &str, ino: Option<u64>) {
        let node = self.change(dir);
        node.mtime = None;
        match ino {
            Some(ino) => drop(node.children.insert(name.to_owned(), ino)),
            None => drop(node.children.remove(name)),
        }
    }

    fn lose_name(&mut self, ino: u64) {
        self.change(ino).names -= 1;
        self.let_go(ino);
    }

    /// Without a name and not open, it is gone.
    fn let_go(&mut self, ino: u64) {
        if self.node(ino).names == 0 && !self.open.contains(&ino) {
            self.nodes.remove(&ino);
        }
    }

    pub(super) fn close_all(&mut self) {
        for ino in std::mem::take(&mut self.open) {
            if self.nodes.contains_key(&ino) {
                self.let_go(ino);
            }
        }
    }

    fn is_within(&self, dir: u64, above: u64) -> bool {
        dir == above || self.node(above).children.values().any(|child| self.is_within(dir, *child))
    }

    fn regular(&mut self, which: &Which) -> Option<u64> {
        self.which(which).filter(|ino| self.node(*ino).kind == 'f')
    }

    fn data(&mut self, which: &Which) -> Option<&mut Content> {
        let ino = self.regular(which)?;
        let node = self.change(ino);
        node.mtime = None;
        Some(&mut node.data)
    }

    fn named(&mut self, path: &[u8]) -> Option<&mut Node> {
        let ino = self.at(&super::rig::names(path))?;
        Some(self.change(ino))
    }

    fn add(&mut self, ino: u64, node: Node) {
        assert!(ino > self.highest, "number {ino} was given before; the highest was {}", self.highest);
        self.highest = ino;
        self.nodes.insert(ino, Arc::new(node));
    }

    /// Whether an operation can be done; it is, if it can.
    pub(super) fn apply(&mut self, op: &Op, made: Made) -> bool {
        self.try_apply(op, made).is_some()
    }

    fn try_apply(&mut self, op: &Op, made: Made) -> Option<()> {
        match op {
            Op::Create(path, kind) => self.create(&super::rig::names(path), *kind, made),
            Op::Write(which, at, len, seed) => {
                self.data(which)?.write((*at).into(), &fill(*len, *seed));
                Some(())
            }
            Op::Truncate(which, size) => {
                self.data(which)?.resize((*size).into());
                Some(())
            }
            Op::Allocate(which, what, at, len) => {
                let (data, at, len) = (self.data(which)?, u64::from(*at), u64::from(*len));
                if matches!(what, Allocate::PunchHole | Allocate::Zero | Allocate::ZeroKeepSize) {
                    data.zero(at, len);
                }
                if matches!(what, Allocate::Reserve | Allocate::Zero) {
                    data.size = data.size.max(at + len);
                }
                Some(())
            }
            Op::Copy(from, to, at, target, len) => self.copy(from, to, (*at).into(), (*target).into(), (*len).into()),
            Op::Rename(from, to, how) => self.rename(&super::rig::names(from), &super::rig::names(to), *how, made),
            Op::Link(from, to) => self.link(&super::rig::names(from), &super::rig::names(to)),
            Op::Remove(path) => self.remove(&super::rig::names(path)),
            Op::SetXattr(path, name, len, how) => {
                let node = self.named(path)?;
                let name = format!("user.{name}");
                let is_there = node.xattrs.contains_key(&name);
                let is_wanted = match how {
                    SetXattr::Any => true,
                    SetXattr::Create => !is_there,
                    SetXattr::Replace => is_there,
                };
                is_wanted.then(|| drop(node.xattrs.insert(name, fill(*len, *len as u8))))
            }
            Op::RemoveXattr(path, name) => self.named(path)?.xattrs.remove(&format!("user.{name}")).map(drop),
            Op::Chmod(path, mode) => {
                self.named(path)?.mode = *mode;
                Some(())
            }
            Op::Chown(path, uid) => {
                self.named(path)?.uid = *uid;
                Some(())
            }
            Op::SetTime(path, secs) => {
                self.named(path)?.mtime = Some(*secs);
                Some(())
            }
            Op::Open(path) => {
                let ino = self.regular(&Which::At(path.clone()))?;
                self.open.push(ino);
                Some(())
            }
            Op::Close(n) => {
                let ino = self.which(&Which::Open(*n))?;
                self.open.remove(usize::from(*n) % self.open.len());
                self.let_go(ino);
                Some(())
            }
            Op::Read(which, ..) | Op::Seek(which, _) => self.regular(which).map(drop),
            _ => Some(()),
        }
    }

    fn create(&mut self, path: &[String], kind: Kind, made: Made) -> Option<()> {
        let (parent, name) = self.parent(path)?;
        if self.node(parent).children.contains_key(name) {
            return None;
        }
        let mut node = match kind {
            Kind::File => Node::new('f', 0o644),
            Kind::Dir => Node::new('d', 0o644),
            Kind::Link => Node::new('l', 0o777),
            Kind::Pipe => Node::new('p', 0o644),
            Kind::Device => Node { rdev: DEVICE, ..Node::new('c', 0o644) },
        };
        if kind == Kind::Link {
            node.data = Content::of(TARGET);
        }
        let ino = made.ino.unwrap_or(self.highest + 1);
        self.add(ino, node);
        self.set_name(parent, name, Some(ino));
        Some(())
    }

    fn copy(&mut self, from: &Which, to: &Which, at: u64, target: u64, len: u64) -> Option<()> {
        let (source, to) = (self.regular(from)?, self.regular(to)?);
        let piece = self.node(source).data.read(at, len);
        let len = piece.len() as u64;
        if source == to && len > 0 && at < target + len && target < at + len {
            return None;
        }
        if len > 0 {
            let node = self.change(to);
            node.mtime = None;
            node.data.write(target, &piece);
        }
        Some(())
    }

    fn link(&mut self, from: &[String], to: &[String]) -> Option<()> {
        let ino = self.at(from)?;
        let (parent, name) = self.parent(to)?;
        if self.node(ino).kind == 'd' || self.node(parent).children.contains_key(name) {
            return None;
        }
        self.change(ino).names += 1;
        self.set_name(parent, name, Some(ino));
        Some(())
    }

    fn remove(&mut self, path: &[String]) -> Option<()> {
        let (parent, name) = self.parent(path)?;
        let ino = *self.node(parent).children.get(name)?;
        if !self.node(ino).children.is_empty() {
            return None;
        }
        self.set_name(parent, name, None);
        self.lose_name(ino);
        Some(())
    }

    fn rename(&mut self, from: &[String], to: &[String], how: Rename, made: Made) -> Option<()> {
        let (parent, name) = self.parent(from)?;
        let (new_parent, new_name) = self.parent(to)?;
        let moved = *self.node(parent).children.get(name)?;
        let target = self.node(new_parent).children.get(new_name).copied();
        let is_dir = |tree: &Tree, ino: u64| tree.node(ino).kind == 'd';
        if is_dir(self, moved) && self.is_within(new_parent, moved) {
            return None;
        }
        match target {
            None if how == Rename::Exchange => return None,
            Some(_) if how == Rename::NoReplace => return None,
            Some(target) if target == moved => return Some(()),
            Some(target) if how == Rename::Exchange => {
                if is_dir(self, target) && self.is_within(parent, target) {
                    return None;
                }
                self.set_name(parent, name, Some(target));
                self.set_name(new_parent, new_name, Some(moved));
                return Some(());
            }
            Some(target) => {
                if is_dir(self, moved) != is_dir(self, target) || !self.node(target).children.is_empty() {
                    return None;
                }
                self.set_name(new_parent, new_name, None);
                self.lose_name(target);
            }
            None => {}
        }
        self.set_name(parent, name, None);
        self.set_name(new_parent, new_name, Some(moved));
        if how == Rename::Whiteout {
            let ino = made.ino.unwrap_or(self.highest + 1);
            self.add(ino, Node::new('c', 0));
            self.set_name(parent, name, Some(ino));
        }
        Some(())
    }

    /// The first difference to what was found, by path. `with_numbers`: the inode numbers have to be the same.
    pub(super) fn difference(&self, found: &Tree, with_numbers: bool) -> Option<String> {
        self.difference_below(ROOT, found, ROOT, with_numbers)
    }

    /// The same for what is below two places.
    pub(super) fn difference_below(&self, mine: u64, found: &Tree, theirs: u64, numbers: bool) -> Option<String> {
        let mut pairs = BTreeMap::from([(mine, theirs)]);
        let mut waiting = vec![(String::from("/"), mine, theirs)];
        while let Some((path, mine, theirs)) = waiting.pop() {
            let (node, other) = (self.node(mine), found.node(theirs));
            if numbers && mine != theirs {
                return Some(format!("{path}: number {theirs}, not {mine}"));
            }
            if let Some(what) = node.difference(other) {
                return Some(format!("{path}: another {what}: {}", both(node, other)));
            }
            for (name, child) in &node.children {
                let (path, other) = (format!("{path}{name}/"), other.children[name]);
                match pairs.insert(*child, other) {
                    Some(before) if before != other => return Some(format!("{path}: linked to something else")),
                    Some(_) => {}
                    None => waiting.push((path, *child, other)),
                }
            }
        }
        let partners: BTreeSet<_> = pairs.values().collect();
        (partners.len() != pairs.len()).then(|| "names of two inodes lead to one".to_owned())
    }

    /// The inodes below a place, itself included.
    pub(super) fn below(&self, ino: u64) -> BTreeSet<u64> {
        let mut all = BTreeSet::new();
        let mut waiting = vec![ino];
        while let Some(ino) = waiting.pop() {
            if all.insert(ino) {
                waiting.extend(self.node(ino).children.values());
            }
        }
        all
    }

    /// The contents of all regular files.
    pub(super) fn contents(&self) -> impl Iterator<Item = &Content> {
        let nodes = self.below(ROOT).into_iter().map(|ino| self.node(ino));
        nodes.filter(|node| node.kind == 'f').map(|node| &node.data)
    }
}

/// Both sides of a difference, without their contents.
fn both(mine: &Node, found: &Node) -> String {
    let short = |node: &Node| {
        let Node { kind, mode, uid, mtime, names, children, .. } = node;
        let (size, xattrs) = (node.data.size, node.xattrs.keys());
        format!("{kind} {mode:o} {uid} mtime {mtime:?} names {names} size {size} {xattrs:?} {:?}", children.keys())
    };
    format!("{} became {}", short(mine), short(found))
}
