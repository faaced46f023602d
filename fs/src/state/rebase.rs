//! Putting another tree under the state: what other devices did shows, and who has something open goes on.
//!
//! Only a state that differs from its tree in nothing is rebased, and in one step: an operation sees the tree before or the
//! tree after. Nothing is read. An inode that stays keeps its number, its references and its open handles, and is what the new
//! tree says; one that is gone lives on without a name for as long as somebody refers to it, as after an unlink.

use super::slots::hash_of;
use super::*;
use crate::changes::{self, Changes as TreeChanges};
use crate::restore::Touched;
use cairn_block::entry::DirKey;

impl State {
    /// Whether the tree and the journal have all there is.
    pub(crate) fn is_clean(&self) -> bool {
        let links = self.links.changes.is_empty() && self.links.flushing.is_none();
        self.dirty.is_empty() && self.batch.is_empty() && links
    }

    /// Goes over from the tree it builds on to `root`, which differs from it by `changes`. The state has to be clean. Says what
    /// a kernel has to forget: of what it can't have heard of, nothing.
    pub(crate) fn rebase(&mut self, root: &VolumeRoot, changes: &TreeChanges) -> Vec<Touched> {
        let named = changes.names.keys().filter(|place| self.slots.contains_key(&place.parent));
        let mut touched: Vec<Touched> =
            named.map(|place| Touched::Name { parent: place.parent, name: place.name.clone() }).collect();
        let known: Vec<Ino> = changes.inodes.keys().copied().filter(|ino| self.slots.contains_key(ino)).collect();
        // While they move from parent to parent, none of them is let go of.
        known.iter().for_each(|ino| self.refer(*ino));
        self.links.base = root.links.clone();
        for ino in &known {
            let Some(change) = changes.inodes.get(ino) else { continue };
            match &change.new {
                Some(record) => self.renew(*ino, record.clone()),
                None => self.lose_place(*ino),
            }
            if change.old != change.new {
                touched.push(Touched::Inode(*ino));
            }
        }
        for ino in &known {
            let lives = changes.inodes.get(ino).is_some_and(|change| change.new.is_some());
            if lives && !self.reseat(*ino, changes) {
                tracing::error!(%ino, "a new tree does not say where an inode is");
                self.lose_place(*ino);
            }
        }
        known.iter().for_each(|ino| self.forget(*ino, 1));
        self.shed();
        touched
    }

    /// Makes a node what the new tree says. One that is not in memory is loaded from there when it is asked for.
    fn renew(&mut self, ino: Ino, record: Record) {
        let before = self.memory_in(ino);
        let accessed = self.accessed.contains(&ino);
        let Some(node) = self.node_mut(ino) else { return };
        let mut new = node_of(record, node.key.clone());
        // Unchanged, and perhaps taken over from elsewhere, which a collection has to know.
        if let (Body::File(file), Body::File(other)) = (&node.body, &mut new.body)
            && file.base == other.base
            && file.base_size == other.base_size
            && file.layer.is_empty()
        {
            *other = file.clone();
        }
        if accessed {
            new.attr.atime = new.attr.atime.max(node.attr.atime);
        }
        new.opens = node.opens;
        *node = new;
        self.memory_bytes = self.memory_bytes - before + self.memory_in(ino);
    }

    /// What has no name in the new tree.
    fn lose_place(&mut self, ino: Ino) {
        self.accessed.remove(&ino);
        if let Some(node) = self.node_mut(ino) {
            node.attr.nlink = 0;
            if let Some(dir) = node.dir_mut() {
                *dir = Dir::new(MapRoot::EMPTY);
            }
        }
        self.move_to(ino, Place::Orphan, Bytes::new());
    }

    /// Puts an inode where the new tree has it. False if the changes don't say where.
    fn reseat(&mut self, ino: Ino, changes: &TreeChanges) -> bool {
        if ino == Ino::ROOT {
            return true;
        }
        if changes.linked_new.contains(&ino) {
            self.move_to(ino, Place::Linked, Bytes::new());
            return true;
        }
        let Some(home) = home(ino, changes) else { return false };
        let Ok(key) = DirKey::new(self.keys.names(), &home.name) else { return false };
        let key = key.into_encoded();
        if !self.admit_above(home.parent, changes) {
            return false;
        }
        let place = Place::Child { parent: home.parent, hash: hash_of(&key) };
        if self.slots.get(&ino).is_some_and(|slot| slot.place == place) {
            if let Some(node) = self.node_mut(ino) {
                node.key = key;
            }
        } else {
            self.move_to(ino, place, key);
        }
        true
    }

    /// Brings a directory into memory, and those above it: they are on the way to a change, so the changes have them.
    fn admit_above(&mut self, dir: Ino, changes: &TreeChanges) -> bool {
        let mut missing = Vec::new();
        let mut at = dir;
        while self.slots.get(&at).is_none_or(|slot| slot.node.is_none()) {
            let Some(record) = changes.record_after(at) else { return false };
            let Some(home) = home(at, changes) else { return false };
            let Ok(key) = DirKey::new(self.keys.names(), &home.name) else { return false };
            if record.attr.kind != FileType::Directory || missing.len() > changes.homes.len() {
                return false;
            }
            missing.push((at, home.parent, key.into_encoded(), record.clone()));
            at = home.parent;
        }
        for (ino, parent, key, record) in missing.into_iter().rev() {
            let node = node_of(record, key.clone());
            if self.slots.contains_key(&ino) {
                self.install(ino, node);
            } else {
                self.admit(ino, Place::Child { parent, hash: hash_of(&key) }, Some(node));
            }
        }
        true
    }
}

fn home(ino: Ino, changes: &TreeChanges) -> Option<&changes::Place> {
    changes.homes.get(&ino)?.new.as_ref()
}
