//! The volume and the reference side by side.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_block::Head;
use cairn_fs::read_root;

use super::backing::Backing;
use super::fork;
use super::op::{Op, Path};
use super::rig::{Rig, names};
use super::tree::Tree;

/// Named snapshots that are kept at most.
const SNAPSHOTS_MAX: usize = 4;

/// A snapshot, and what the volume was then.
struct Kept {
    label: String,
    head: Head,
    tree: Tree,
}

pub(super) struct Play {
    backing: Box<dyn Backing>,
    rig: Option<Rig>,
    tree: Tree,
    /// What a crash may leave: the states since the last that is known to be durable.
    past: Vec<Tree>,
    snapshots: Vec<Kept>,
    labels: u32,
}

impl Play {
    pub(super) fn new(backing: Box<dyn Backing>) -> Play {
        let rig = Rig::open(backing.store(), [3; 32]);
        let tree = Tree::new();
        Play { backing, rig: Some(rig), past: vec![tree.clone()], tree, snapshots: Vec::new(), labels: 0 }
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().expect("the volume is open")
    }

    pub(super) fn step(&mut self, op: &Op) {
        match op {
            Op::Compare => self.compare("now", true),
            Op::Collect => {
                let store = self.backing.store();
                // What is only in memory is kept, and is as little durable as before.
                self.rig().collect(&*store);
            }
            Op::Snapshot => self.snapshot(),
            Op::ReadSnapshot(n) => self.read_snapshot(*n),
            Op::DropSnapshot(n) => self.drop_snapshot(*n),
            Op::Restore(n) => self.restore(*n),
            Op::RestorePart(n, source, target) => self.restore_part(*n, source, target),
            Op::Fork(here, there) => self.fork(here, there),
            Op::Reopen => self.reopen(),
            Op::Crash(luck) => self.crash(*luck),
            _ => {
                apply(self.rig.as_mut().expect("open"), &mut self.tree, op);
                if matches!(op, Op::Sync | Op::Flush) {
                    self.durable();
                }
            }
        }
        self.past.push(self.tree.clone());
    }

    pub(super) fn end(mut self) {
        self.compare("at the end", true);
        self.reopen();
        for n in 0..self.snapshots.len() as u8 {
            self.read_snapshot(n);
        }
    }

    /// Everything up to now survives whatever comes.
    fn durable(&mut self) {
        self.past.clear();
        self.past.push(self.tree.clone());
    }

    fn compare(&mut self, when: &str, with_numbers: bool) {
        let found = self.rig().dump();
        if let Some(difference) = self.tree.difference(&found, with_numbers) {
            panic!("{when}: {difference}");
        }
    }

    /// Goes on from what the volume shows: numbers may be others, and times are known now.
    fn relearn(&mut self) {
        let found = self.rig().dump();
        self.tree = Tree { highest: found.highest.max(self.tree.highest), ..found };
        self.durable();
    }

    fn reopen(&mut self) {
        let rig = self.rig.take().expect("open");
        rig.volume.close().expect("a clean close");
        self.begin(rig, |backing| backing.reopen());
        self.tree.close_all();
        self.durable();
        self.compare("after a restart", true);
    }

    /// Opens again, after something happened to the store while nobody used it.
    fn begin(&mut self, rig: Rig, meanwhile: impl FnOnce(&mut dyn Backing)) {
        let device = rig.device;
        rig.end();
        meanwhile(&mut *self.backing);
        self.rig = Some(Rig::open(self.backing.store(), device));
    }

    fn crash(&mut self, luck: u64) {
        let rig = self.rig.take().expect("open");
        self.begin(rig, |backing| backing.crash(luck));
        let found = self.rig().dump();
        self.past.push(self.tree.clone());
        let is_found = |tree: &Tree| tree.difference(&found, true).is_none();
        let Some(at) = self.past.iter().position(is_found) else {
            let last = self.past.len() - 1;
            let nearest = [0, last].map(|n| self.past[n].difference(&found, true));
            panic!("no state of the last {last} steps is left; first and last of them differ so: {nearest:?}");
        };
        self.tree = self.past.swap_remove(at);
        self.tree.close_all();
        self.durable();
    }

    fn snapshot(&mut self) {
        if self.snapshots.len() >= SNAPSHOTS_MAX {
            return;
        }
        self.labels += 1;
        let label = format!("snapshot-{}", self.labels);
        let head = self.rig().volume.snapshot(Some(&label)).expect("a snapshot");
        self.durable();
        self.snapshots.push(Kept { label, head, tree: self.tree.clone() });
    }

    fn nth(&self, n: u8) -> Option<usize> {
        (!self.snapshots.is_empty()).then(|| usize::from(n) % self.snapshots.len())
    }

    fn read_snapshot(&mut self, n: u8) {
        let Some(n) = self.nth(n) else { return };
        let found = self.rig.as_ref().expect("open").dump_snapshot(&self.snapshots[n].label);
        if let Some(difference) = self.snapshots[n].tree.difference(&found, false) {
            panic!("a snapshot shows something else: {difference}");
        }
    }

    fn drop_snapshot(&mut self, n: u8) {
        let Some(n) = self.nth(n) else { return };
        let head = self.snapshots[n].head.clone();
        // The current head stays: what is live builds on it.
        if self.rig().volume.drop_snapshot(&head).is_ok() {
            self.snapshots.remove(n);
        }
    }

    fn restore(&mut self, n: u8) {
        let Some(n) = self.nth(n) else { return };
        self.close_files();
        let (rig, kept) = (self.rig.as_ref().expect("open"), &self.snapshots[n]);
        let root = read_root(&kept.head, rig.volume.reader()).expect("the root of a kept head");
        rig.volume.restore(&root, b"", b"", &mut |_| {}).expect("a restore");
        self.tree = Tree { highest: self.tree.highest, ..self.snapshots[n].tree.clone() };
        self.tree.close_all();
        self.compare("after a restore", false);
        self.relearn();
    }

    /// Restores below a name, where no file has names both inside and outside.
    fn restore_part(&mut self, n: u8, source: &Path, target: &Path) {
        let Some(n) = self.nth(n) else { return };
        let (source, target) = (names(source), names(target));
        let kept = &self.snapshots[n].tree;
        let Some(from) = kept.at(&source).filter(|from| stands_alone(kept, *from)) else { return };
        let (name, above) = target.split_last().expect("a path has a name");
        let Some(parent) = self.tree.at(above).filter(|dir| self.tree.node(*dir).kind == 'd') else { return };
        if self.tree.at(&target).is_some_and(|live| !stands_alone(&self.tree, live)) {
            return;
        }
        self.close_files();
        let (rig, kept) = (self.rig.as_ref().expect("open"), &self.snapshots[n]);
        let root = read_root(&kept.head, rig.volume.reader()).expect("the root of a kept head");
        let (source, target) = (source.join("/"), target.join("/"));
        rig.volume.restore(&root, source.as_bytes(), target.as_bytes(), &mut |_| {}).expect("a restore");
        let highest = self.tree.highest;
        graft(&mut self.tree, parent, name, &self.snapshots[n].tree, from);
        self.compare("after a restore of a part", false);
        // The numbers of the reference's copies were never anybody's.
        self.tree.highest = highest;
        self.relearn();
    }

    fn close_files(&mut self) {
        while !self.tree.open.is_empty() {
            apply(self.rig.as_mut().expect("open"), &mut self.tree, &Op::Close(0));
        }
    }

    fn fork(&mut self, here: &[Op], there: &[Op]) {
        self.close_files();
        let rig = self.rig.take().expect("open");
        let forked = fork::fork(&rig, &*self.backing.store(), &self.tree);
        self.rig = Some(rig);
        let Some(mut forked) = forked else { return };
        here.iter().for_each(|op| apply(self.rig.as_mut().expect("open"), &mut self.tree, op));
        there.iter().for_each(|op| apply(&mut forked.rig, &mut forked.tree, op));
        self.close_files();
        let rig = self.rig.take().expect("open");
        rig.volume.close().expect("a clean close");
        let rules = forked.merge_into(&rig, &*self.backing.store(), &self.tree);
        self.begin(rig, |_| {});
        let merged = self.rig().dump();
        rules.check(&merged);
        self.relearn();
    }
}

/// One step on both sides: they agree on whether it can be done.
pub(super) fn apply(rig: &mut Rig, tree: &mut Tree, op: &Op) {
    let result = rig.apply(op, tree);
    let mut next = tree.clone();
    let can_be_done = next.apply(op, result.as_ref().copied().unwrap_or_default());
    assert_eq!(can_be_done, result.is_ok(), "{op:?} gave {result:?}");
    if can_be_done {
        *tree = next;
    }
}

/// Whether all names of everything below a place are below it.
fn stands_alone(tree: &Tree, at: u64) -> bool {
    let inside = tree.below(at);
    let mut names: BTreeMap<u64, u32> = BTreeMap::from([(at, 1)]);
    for child in inside.iter().flat_map(|ino| tree.node(*ino).children.values()) {
        *names.entry(*child).or_default() += 1;
    }
    inside.iter().all(|ino| tree.node(*ino).names == names[ino])
}

/// Puts a copy of what another tree has below a place under a name, in place of what is there.
fn graft(tree: &mut Tree, parent: u64, name: &str, from: &Tree, at: u64) {
    let before = tree.node(parent).children.get(name).copied();
    for gone in before.map(|before| tree.below(before)).unwrap_or_default() {
        tree.nodes.remove(&gone);
    }
    let mut copies = BTreeMap::new();
    for ino in from.below(at) {
        tree.highest += 1;
        copies.insert(ino, tree.highest);
    }
    for (ino, copy) in &copies {
        let mut node = from.node(*ino).clone();
        node.children.values_mut().for_each(|child| *child = copies[child]);
        tree.nodes.insert(*copy, Arc::new(node));
    }
    let dir = tree.change(parent);
    dir.mtime = None;
    dir.children.insert(name.to_owned(), copies[&at]);
}
