//! Names: finding, making, removing, moving and linking them.

use super::slots::hash_of;
use super::*;
use crate::ops::{Caller, NewNode, RenameFlags};
use cairn_block::entry::{Attr, Content, FileType, MapRoot};
use cairn_block::limits::{LINK_COUNT_MAX, SYMLINK_BYTES_MAX};

const SET_GID: u16 = 0o2000;

/// A node to make, with everything that the caller decides.
pub(crate) struct Birth<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) node: &'a NewNode,
    pub(crate) now: Timestamp,
}

impl State {
    /// The inode that `name` leads to, with one more reference.
    pub(crate) fn lookup(&mut self, parent: Ino, name: &[u8]) -> Step<Attr> {
        let ino = match name {
            b"." => parent,
            b".." => self.parent_of(parent)?,
            _ => {
                let key = self.key(name)?;
                self.child(parent, &key)?.ok_or(FsError::NotFound)?
            }
        };
        let attr = self.loaded(ino)?.stat();
        self.refer(ino);
        Ok(attr)
    }

    /// The directory that holds a directory; the root's is the root.
    pub(crate) fn parent_of(&mut self, ino: Ino) -> Step<Ino> {
        match self.slots.get(&ino).ok_or(FsError::Stale)?.place {
            Place::Root => Ok(ino),
            Place::Child { parent, .. } => Ok(parent),
            Place::Linked | Place::Orphan => Err(FsError::NotFound.into()),
        }
    }

    /// The inode under an encoded key, brought into memory.
    pub(super) fn child(&mut self, parent: Ino, key: &Bytes) -> Step<Option<Ino>> {
        let dir = self.loaded_dir(parent)?;
        let base = dir.base.clone();
        let change = dir.changes.get(key).or_else(|| dir.flushing.as_ref()?.get(key)).copied();
        match change {
            Some(Change::Gone) => Ok(None),
            Some(Change::Own(ino)) => self.load(ino).map(|()| Some(ino)),
            Some(Change::Link(ino, _)) => self.linked(ino).map(|()| Some(ino)),
            None => match self.base_entry(parent, &base, key)? {
                None => Ok(None),
                Some(Entry::Link { ino, kind }) => {
                    self.linked(ino)?;
                    match self.node(ino) {
                        Some(node) if node.attr.kind != kind => Err(damaged(ino, base.root.as_ref())),
                        _ => Ok(Some(ino)),
                    }
                }
                Some(Entry::Own(record)) => {
                    let ino = record.attr.ino;
                    let place = Place::Child { parent, hash: hash_of(key) };
                    let known = self.slots.get(&ino).map(|slot| (slot.node.is_some(), slot.place == place));
                    let node = node_of(record, key.clone());
                    match known {
                        // The number is that of another entry: two inodes, or a directory within itself.
                        Some((_, false)) => return Err(damaged(ino, base.root.as_ref())),
                        Some((true, true)) => {}
                        Some((false, true)) => self.install(ino, node),
                        None => self.admit(ino, place, Some(node)),
                    }
                    Ok(Some(ino))
                }
            },
        }
    }

    fn base_entry(&self, parent: Ino, base: &MapRoot, key: &[u8]) -> Step<Option<Entry>> {
        let value = map_tree::get(&mut self.resident_nodes(), base, key)?;
        value.map(|v| decode_entry(parent, &v, base.root.as_ref())).transpose()
    }

    /// Brings an inode of the link table into memory.
    pub(super) fn linked(&mut self, ino: Ino) -> Step<()> {
        if let Some(slot) = self.slots.get(&ino) {
            // A link to an inode that has its one place in a directory, or is the root, is a lie.
            return if slot.place == Place::Linked { self.load(ino) } else { Err(damaged(ino, None)) };
        }
        let record = self.linked_record(ino)?;
        self.admit(ino, Place::Linked, Some(node_of(record, Bytes::new())));
        Ok(())
    }

    /// Makes a node; the answer carries one reference.
    pub(crate) fn create(&mut self, parent: Ino, name: &[u8], birth: &Birth<'_>) -> Step<Attr> {
        let key = self.key(name)?;
        if self.child(parent, &key)?.is_some() {
            return Err(FsError::Exists.into());
        }
        if self.slots.get(&parent).is_some_and(|s| s.place == Place::Orphan) {
            return Err(FsError::NotFound.into());
        }
        if birth.node.target.len() > SYMLINK_BYTES_MAX {
            return Err(FsError::NameTooLong.into());
        }
        let inherited = self.inherited_acl(parent)?;
        if self.next_ino >= self.numbers.end {
            return Err(FsError::NoSpace.into());
        }
        let (attr, xattrs) = self.born(parent, birth, inherited.as_ref())?;
        let ino = attr.ino;
        self.next_ino = ino.get() + 1;
        let body = match birth.node.kind {
            FileType::Regular => Body::File(Box::new(File::new(Content::Empty, 0, 0))),
            FileType::Directory => Body::Dir(Box::new(Dir::new(MapRoot::EMPTY))),
            FileType::Symlink => Body::Symlink(birth.node.target.clone()),
            _ => Body::Special,
        };
        let node = Node { attr, xattrs: Attributes::Loaded(xattrs), key: key.clone(), opens: 0, flushing: false, body };
        let answer = node.stat();
        self.admit(ino, Place::Child { parent, hash: hash_of(&key) }, Some(node));
        self.touch(parent);
        self.dirty.insert(ino);
        self.batch.nodes.insert(ino);
        self.batch.born.insert(ino);
        self.add_name(parent, key, Change::Own(ino), birth.now);
        if birth.node.kind == FileType::Directory {
            self.add_links(parent, 1);
        }
        self.refer(ino);
        Ok(answer)
    }

    /// Attributes of a node that is born in `parent`.
    fn born(
        &mut self,
        parent: Ino,
        birth: &Birth<'_>,
        inherited: Option<&acl::Acl>,
    ) -> Step<(Attr, Vec<(Bytes, Bytes)>)> {
        let ino = Ino::new(self.next_ino);
        let kind = birth.node.kind;
        let above = &self.loaded(parent)?.attr;
        let handed_down = above.mode & SET_GID != 0;
        let gid = if handed_down { above.gid } else { birth.caller.gid };
        let mut mode = birth.node.mode & 0o7777;
        let mut xattrs = Vec::new();
        match (kind, inherited) {
            (FileType::Symlink, _) => mode = 0o777,
            (_, Some(default)) => {
                let (access, bits) = default.inherit(mode);
                mode = mode & !0o777 | bits;
                if !access.is_plain() {
                    xattrs.push((Bytes::from_static(acl::ACCESS), access.encode()));
                }
                if kind == FileType::Directory {
                    xattrs.push((Bytes::from_static(acl::DEFAULT), default.encode()));
                }
            }
            (_, None) => mode &= !birth.node.umask,
        }
        if handed_down && kind == FileType::Directory {
            mode |= SET_GID;
        }
        xattrs.sort();
        let now = birth.now;
        let attr = Attr {
            ino,
            kind,
            mode,
            uid: birth.caller.uid,
            gid,
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            size: birth.node.target.len() as u64,
            allocated: 0,
            rdev: birth.node.rdev,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
        };
        Ok((attr, xattrs))
    }

    /// Removes a name of something that is no directory.
    pub(crate) fn unlink(&mut self, parent: Ino, name: &[u8], now: Timestamp) -> Step<()> {
        let key = self.key(name)?;
        let ino = self.child(parent, &key)?.ok_or(FsError::NotFound)?;
        if self.loaded(ino)?.dir().is_some() {
            return Err(FsError::IsDirectory.into());
        }
        self.touch(parent);
        self.remove_name(parent, key, now);
        self.lose_name(ino, now);
        Ok(())
    }

    /// Removes an empty directory.
    pub(crate) fn rmdir(&mut self, parent: Ino, name: &[u8], now: Timestamp) -> Step<()> {
        let key = self.key(name)?;
        let ino = self.child(parent, &key)?.ok_or(FsError::NotFound)?;
        if self.loaded_dir(ino)?.entries > 0 {
            return Err(FsError::NotEmpty.into());
        }
        self.touch(parent);
        self.remove_name(parent, key, now);
        self.add_links(parent, -1);
        self.lose_name(ino, now);
        Ok(())
    }

    /// Gives a file one more name; the answer carries one reference.
    pub(crate) fn link(&mut self, ino: Ino, parent: Ino, name: &[u8], now: Timestamp) -> Step<Attr> {
        let key = self.key(name)?;
        let node = self.loaded(ino)?;
        let kind = node.attr.kind;
        match node.attr.nlink {
            _ if kind == FileType::Directory => return Err(FsError::NotPermitted.into()),
            0 => return Err(FsError::NotFound.into()),
            LINK_COUNT_MAX.. => return Err(FsError::TooManyLinks.into()),
            _ => {}
        }
        if self.child(parent, &key)?.is_some() {
            return Err(FsError::Exists.into());
        }
        if self.slots.get(&parent).is_some_and(|s| s.place == Place::Orphan) {
            return Err(FsError::NotFound.into());
        }
        self.touch(ino);
        self.touch(parent);
        self.enter_link_table(ino, kind);
        self.add_name(parent, key, Change::Link(ino, kind), now);
        let node = self.loaded(ino)?;
        node.attr.nlink += 1;
        node.attr.ctime = now;
        let attr = node.stat();
        self.refer(ino);
        Ok(attr)
    }

    /// Moves a record from its directory entry to the link table.
    pub(super) fn enter_link_table(&mut self, ino: Ino, kind: FileType) {
        let Some(slot) = self.slots.get(&ino) else { return };
        let Place::Child { parent, .. } = slot.place else { return };
        let Some(key) = slot.node.as_ref().map(|n| n.key.clone()) else { return };
        self.batch.names.insert((parent, key.clone()));
        if let Some(dir) = self.dir_mut(parent) {
            dir.changes.insert(key, Change::Link(ino, kind));
        }
        self.links.changes.insert(ino, true);
        self.batch.links.insert(ino);
        self.move_to(ino, Place::Linked, Bytes::new());
    }

    /// Moves a name, or swaps two.
    #[allow(clippy::too_many_arguments)] // Two ends of a move, as the system call has them.
    pub(crate) fn rename(
        &mut self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        flags: RenameFlags,
        caller: &Caller,
        now: Timestamp,
    ) -> Step<()> {
        let (key, new_key) = (self.key(name)?, self.key(new_name)?);
        let moved = self.child(parent, &key)?.ok_or(FsError::NotFound)?;
        let target = self.child(new_parent, &new_key)?;
        self.check_rename(parent, moved, new_parent, target, flags)?;
        if target == Some(moved) {
            return Ok(());
        }
        if flags.whiteout {
            // What is left behind inherits from the directory. That is read before anything changes.
            self.inherited_acl(parent)?;
        }
        for ino in [Some(moved), target, Some(parent), Some(new_parent)].into_iter().flatten() {
            self.touch(ino);
        }
        if let Some(target) = target {
            if flags.exchange {
                self.place_name(target, parent, key.clone(), now);
                self.place_name(moved, new_parent, new_key, now);
                self.exchange_links(parent, moved, new_parent, target);
                return Ok(());
            }
            let was_dir = self.loaded(target)?.dir().is_some();
            self.remove_name(new_parent, new_key.clone(), now);
            if was_dir {
                self.add_links(new_parent, -1);
            }
            self.lose_name(target, now);
        }
        self.remove_name(parent, key.clone(), now);
        if let Some(dir) = self.dir_mut(new_parent) {
            dir.entries += 1;
        }
        self.place_name(moved, new_parent, new_key, now);
        if self.loaded(moved)?.dir().is_some() {
            self.add_links(parent, -1);
            self.add_links(new_parent, 1);
        }
        if flags.whiteout {
            self.leave_whiteout(parent, name, caller, now)?;
        }
        Ok(())
    }

    fn leave_whiteout(&mut self, parent: Ino, name: &[u8], caller: &Caller, now: Timestamp) -> Step<()> {
        let node = NewNode { kind: FileType::Char, mode: 0, umask: 0, rdev: 0, target: Bytes::new() };
        let attr = self.create(parent, name, &Birth { caller, node: &node, now })?;
        self.forget(attr.ino, 1);
        Ok(())
    }

    fn check_rename(
        &mut self,
        parent: Ino,
        moved: Ino,
        new_parent: Ino,
        target: Option<Ino>,
        flags: RenameFlags,
    ) -> Step<()> {
        let orphan = |s: &State, ino| s.slots.get(&ino).is_some_and(|s| s.place == Place::Orphan);
        if orphan(self, new_parent) {
            return Err(FsError::NotFound.into());
        }
        let moved_dir = self.loaded(moved)?.dir().is_some();
        if moved_dir && self.is_within(new_parent, moved) {
            return Err(FsError::IntoItself.into());
        }
        let Some(target) = target else {
            return if flags.exchange { Err(FsError::NotFound.into()) } else { Ok(()) };
        };
        if flags.noreplace {
            return Err(FsError::Exists.into());
        }
        if target == moved {
            return Ok(());
        }
        let entries = self.loaded(target)?.dir().map(|d| d.entries);
        if flags.exchange {
            let swallowed = entries.is_some() && self.is_within(parent, target);
            return if swallowed { Err(FsError::IntoItself.into()) } else { Ok(()) };
        }
        match (moved_dir, entries) {
            (true, None) => Err(FsError::NotDirectory.into()),
            (false, Some(_)) => Err(FsError::IsDirectory.into()),
            (true, Some(1..)) => Err(FsError::NotEmpty.into()),
            _ => Ok(()),
        }
    }

    /// Whether `ino` is `ancestor` or below it.
    fn is_within(&self, ino: Ino, ancestor: Ino) -> bool {
        let mut at = ino;
        loop {
            if at == ancestor {
                return true;
            }
            match self.slots.get(&at).map(|s| &s.place) {
                Some(Place::Child { parent, .. }) => at = *parent,
                _ => return false,
            }
        }
    }

    /// Enters an inode that has a name elsewhere, or had, under a key. Counts no entry.
    fn place_name(&mut self, ino: Ino, parent: Ino, key: Bytes, now: Timestamp) {
        let Some(slot) = self.slots.get_mut(&ino) else { return };
        let linked = slot.place == Place::Linked;
        let Some(node) = slot.node.as_deref_mut() else { return };
        node.attr.ctime = now;
        let kind = node.attr.kind;
        let change = if linked { Change::Link(ino, kind) } else { Change::Own(ino) };
        if !linked {
            self.move_to(ino, Place::Child { parent, hash: hash_of(&key) }, key.clone());
        }
        self.set_name(parent, key, change, now);
    }

    fn exchange_links(&mut self, parent: Ino, moved: Ino, new_parent: Ino, target: Ino) {
        let is_dir = |s: &State, ino| i64::from(s.node(ino).is_some_and(|n| n.dir().is_some()));
        let shift = is_dir(self, target) - is_dir(self, moved);
        self.add_links(parent, shift);
        self.add_links(new_parent, -shift);
    }

    fn add_name(&mut self, parent: Ino, key: Bytes, change: Change, now: Timestamp) {
        if let Some(dir) = self.dir_mut(parent) {
            dir.entries += 1;
        }
        self.set_name(parent, key, change, now);
    }

    fn remove_name(&mut self, parent: Ino, key: Bytes, now: Timestamp) {
        if let Some(dir) = self.dir_mut(parent) {
            dir.entries -= 1;
        }
        self.set_name(parent, key, Change::Gone, now);
    }

    fn set_name(&mut self, parent: Ino, key: Bytes, change: Change, now: Timestamp) {
        self.batch.names.insert((parent, key.clone()));
        let Some(node) = self.node_mut(parent) else { return };
        node.attr.mtime = now;
        node.attr.ctime = now;
        if let Some(dir) = node.dir_mut() {
            dir.changes.insert(key, change);
        }
    }

    fn add_links(&mut self, ino: Ino, by: i64) {
        if let Some(node) = self.node_mut(ino) {
            node.attr.nlink = node.attr.nlink.saturating_add_signed(by as i32);
        }
    }

    /// What becomes of an inode that lost one name.
    fn lose_name(&mut self, ino: Ino, now: Timestamp) {
        let Some(slot) = self.slots.get_mut(&ino) else { return };
        let linked = slot.place == Place::Linked;
        let Some(node) = slot.node.as_deref_mut() else { return };
        node.attr.ctime = now;
        node.attr.nlink = match &node.body {
            Body::Dir(_) => 0,
            // A tree that was made elsewhere may count less than there are.
            _ => node.attr.nlink.saturating_sub(1),
        };
        if node.attr.nlink > 0 {
            self.touch(ino);
            return;
        }
        if linked {
            self.links.changes.insert(ino, false);
            self.batch.links.insert(ino);
            self.sequence += 1;
        }
        self.batch.orphan(ino);
        self.move_to(ino, Place::Orphan, Bytes::new());
        self.release_slot(ino);
    }
}
