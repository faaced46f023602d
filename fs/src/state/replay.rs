//! Taking the journal's cuts back into the state after a start.
//!
//! Installing a cut never waits: [`State::replay_loads`] first brings in everything it builds on,
//! and can be repeated until all of it was read.

use super::slots::hash_of;
use super::*;
use cairn_block::entry::{Attr, Content, FileType};

impl State {
    /// Brings in the inodes that a cut builds on.
    pub(crate) fn replay_loads(&mut self, loads: &[Load]) -> Step<()> {
        for load in loads {
            match load {
                Load::Child { ino, parent, key } => self.replay_child(*ino, *parent, key)?,
                Load::Linked { ino } => {
                    if !self.slots.contains_key(ino) {
                        self.linked(*ino)?;
                        self.links.changes.entry(*ino).or_insert(true);
                        self.dirty.insert(*ino);
                    }
                }
            }
        }
        Ok(())
    }

    fn replay_child(&mut self, ino: Ino, parent: Ino, key: &Bytes) -> Step<()> {
        if self.slots.contains_key(&ino) {
            return Ok(());
        }
        let Some(base) = self.node(parent).and_then(Node::dir).map(|dir| dir.base.clone()) else { return Ok(()) };
        let value = map_tree::get(&mut self.resident_nodes(), &base, key)?;
        let entry = value.map(|v| decode_entry(parent, &v, base.root.as_ref())).transpose()?;
        if let Some(Entry::Own(record)) = entry
            && record.attr.ino == ino
        {
            let place = Place::Child { parent, hash: hash_of(key) };
            self.admit(ino, place, Some(node_of(record, key.clone())));
            self.dirty.insert(ino);
            if let Some(dir) = self.dir_mut(parent) {
                dir.changes.entry(key.clone()).or_insert(Change::Own(ino));
            }
        }
        Ok(())
    }

    /// Installs a cut whose loads are in memory.
    pub(crate) fn replay(&mut self, cut: Cut) {
        self.dirty.insert(Ino::ROOT);
        if self.numbers.contains(&cut.next_ino) {
            self.next_ino = self.next_ino.max(cut.next_ino);
        }
        self.sequence += 1;
        for item in cut.nodes {
            self.replay_node(item);
        }
        for (ino, present) in cut.links {
            self.links.changes.insert(ino, present);
        }
        let displaced = self.replay_names(&cut.names);
        for (ino, content, size, allocated) in cut.contents {
            if let Some(file) = self.node_mut(ino).and_then(Node::file_mut) {
                // As taken over: it is in no tree before the next flush.
                *file = File { generation: 1, ..File::new(content, size, allocated) };
            }
        }
        for cut in cut.files {
            let before = self.memory_in(cut.ino);
            let Some(file) = self.node_mut(cut.ino).and_then(Node::file_mut) else { continue };
            file.fixed |= cut.fixed;
            for (offset, piece) in cut.pieces {
                file.put(offset, piece);
            }
            self.memory_bytes = self.memory_bytes - before + self.memory_in(cut.ino);
        }
        for ino in displaced {
            self.drop_nameless(ino);
        }
        self.batch = Batch::default();
    }

    fn replay_node(&mut self, item: NodeItem) {
        let ino = item.attr.ino;
        let place = if item.linked { Place::Linked } else { Place::Orphan };
        if !self.slots.contains_key(&ino) {
            if !item.born {
                // What it builds on is not in the tree: nothing is better than an invented file.
                tracing::error!(%ino, "the journal changes an inode that the tree lacks; left out");
                return;
            }
            self.admit(ino, place, Some(new_node(&item)));
        }
        self.dirty.insert(ino);
        if item.linked && self.slots.get(&ino).is_some_and(|s| s.place != Place::Linked) {
            self.move_to(ino, Place::Linked, Bytes::new());
        }
        let Some(node) = self.node_mut(ino) else { return };
        if let Some(dir) = node.dir_mut() {
            dir.entries = item.attr.size;
        }
        node.attr = item.attr;
        if let Some(list) = item.xattrs {
            node.xattrs = Attributes::Loaded(list);
        }
    }

    /// Enters the names of a cut; returns inodes that lost one.
    fn replay_names(&mut self, names: &[NameItem]) -> Vec<Ino> {
        let mut displaced = Vec::new();
        for NameItem { parent, key, change } in names {
            let was = self.dir_mut(*parent).and_then(|dir| dir.changes.insert(key.clone(), *change));
            displaced.extend(was.and_then(|change| change.ino()));
        }
        for NameItem { parent, key, change } in names {
            if let Change::Own(ino) = change
                && self.slots.contains_key(ino)
            {
                self.move_to(*ino, Place::Child { parent: *parent, hash: hash_of(key) }, key.clone());
            }
        }
        displaced
    }

    /// Drops an inode whose last name went, and what was below it: nobody can have it open after a start.
    fn drop_nameless(&mut self, ino: Ino) {
        let mut nameless = vec![ino];
        while let Some(ino) = nameless.pop() {
            if self.has_name(ino) {
                continue;
            }
            self.dirty.remove(&ino);
            self.move_to(ino, Place::Orphan, Bytes::new());
            if let Some(dir) = self.node(ino).and_then(Node::dir) {
                nameless.extend(dir.changes.values().filter_map(Change::ino));
            }
            self.release_slot(ino);
        }
    }

    /// Whether the last change of its name still says that an inode is there.
    fn has_name(&self, ino: Ino) -> bool {
        let Some(slot) = self.slots.get(&ino) else { return true };
        match slot.place {
            Place::Root => true,
            Place::Orphan => false,
            Place::Linked => self.links.changes.get(&ino).copied().unwrap_or(true),
            Place::Child { parent, .. } => {
                let Some(above) = self.slots.get(&parent) else { return false };
                let dir = above.node.as_ref().and_then(|node| node.dir());
                let key = slot.node.as_ref().map(|node| &node.key);
                let change = dir.zip(key).and_then(|(dir, key)| dir.changes.get(key));
                above.place != Place::Orphan && change == Some(&Change::Own(ino))
            }
        }
    }
}

/// A node that is new since the tree; pieces, names and place follow.
fn new_node(item: &NodeItem) -> Node {
    let attr: Attr = item.attr.clone();
    let body = match attr.kind {
        FileType::Regular => Body::File(Box::new(File::new(Content::Empty, 0, 0))),
        FileType::Directory => Body::Dir(Box::new(Dir::new(cairn_block::entry::MapRoot::EMPTY))),
        FileType::Symlink => Body::Symlink(item.target.clone().unwrap_or_default()),
        _ => Body::Special,
    };
    Node { attr, xattrs: Attributes::Loaded(Vec::new()), key: Bytes::new(), opens: 0, flushing: false, body }
}
