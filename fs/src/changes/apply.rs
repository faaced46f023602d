//! Writing changes into a tree.
//!
//! Every directory that holds a changed name, or a changed inode, is edited once, the deepest first: its parent's entry holds
//! its record, and with it the root of its tree.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_block::limits::XATTRS_INLINE_BYTES_MAX;
use cairn_block::{
    Content, DirKey, DirRoot, Entry, EntryError, FileType, Ino, Kind, NameKey, Nodes, Record, Sink, TreeError,
    VolumeRoot, Xattrs, map_tree,
};

use super::{Changes, Child, Place};
use crate::tree::dir_root;

/// Why changes could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError<E> {
    /// A node could not be read or stored.
    #[error(transparent)]
    Tree(E),
    /// The changes don't say what an inode is, or where.
    #[error("the changes leave open what becomes of inode {ino}")]
    Incomplete {
        /// The inode.
        ino: Ino,
    },
}

impl<E> From<E> for ApplyError<E> {
    fn from(error: E) -> Self {
        Self::Tree(error)
    }
}

/// A key of the link table, and what it is to lead to; `None` removes it.
type LinkEdit = ([u8; 8], Option<Bytes>);

/// What a name is to lead to; `None` removes it.
type Edits = BTreeMap<Bytes, Option<Child>>;

impl Changes {
    /// Writes the changes into the state they begin with. The result is the state they end with, down to the refs.
    pub fn apply<N, S, E>(
        &self,
        nodes: &mut N,
        sink: &mut S,
        names: &NameKey,
        before: &VolumeRoot,
    ) -> Result<VolumeRoot, ApplyError<E>>
    where
        N: Nodes<Error = E>,
        S: Sink<Error = E>,
        E: From<TreeError> + From<EntryError>,
    {
        let mut work = Work { changes: self, names, built: BTreeMap::new() };
        let edits = work.edits()?;
        for dir in work.deepest_first(&edits)? {
            let record = work.edit_dir(nodes, sink, dir, edits.get(&dir), &before.root)?;
            work.built.insert(dir, record);
        }
        let root = match work.built.remove(&Ino::ROOT) {
            Some(root) => root,
            None => before.root.clone(),
        };
        let links = work.link_edits(sink)?;
        let links = map_tree::edit(nodes, sink, &before.links, &links)?;
        Ok(VolumeRoot { root, links, next_ino: self.next_ino.max(before.next_ino) })
    }
}

struct Work<'a> {
    changes: &'a Changes,
    names: &'a NameKey,
    /// Directories that are edited already.
    built: BTreeMap<Ino, Record>,
}

impl Work<'_> {
    /// What is to be edited in each directory that lives on.
    fn edits<E>(&self) -> Result<BTreeMap<Ino, Edits>, ApplyError<E>> {
        let changes = self.changes;
        let mut edits: BTreeMap<Ino, Edits> = BTreeMap::new();
        for (place, change) in &changes.names {
            edits.entry(place.parent).or_default().insert(place.name.clone(), change.new);
        }
        for (&ino, change) in &changes.inodes {
            let Some(record) = &change.new else { continue };
            if record.attr.kind == FileType::Directory {
                // Even without a changed name: the tree in a directory's record is not to be relied on.
                edits.entry(ino).or_default();
            }
            for place in self.places(ino) {
                let child = Child { ino, kind: record.attr.kind };
                edits.entry(place.parent).or_default().entry(place.name.clone()).or_insert(Some(child));
            }
        }
        edits.retain(|dir, _| self.is_directory_after(*dir));
        self.add_ancestors(&mut edits)?;
        Ok(edits)
    }

    /// Whether a directory with changed names is one afterwards, too: those of one that is gone went with it.
    fn is_directory_after(&self, dir: Ino) -> bool {
        let change = self.changes.inodes.get(&dir);
        change.is_none_or(|change| change.new.as_ref().is_some_and(|record| record.attr.kind == FileType::Directory))
    }

    /// The places whose entries hold the record of an inode, or have to stop doing so because it is linked now.
    fn places(&self, ino: Ino) -> impl Iterator<Item = &Place> {
        let home = self.changes.homes.get(&ino);
        let is_linked = self.changes.linked_new.contains(&ino);
        let old = home.and_then(|home| home.old.as_ref()).filter(|_| is_linked);
        let new = home.and_then(|home| home.new.as_ref());
        // A name that changed is decided by its change; a home it is no longer must not come back.
        old.into_iter().chain(new).filter(|place| !self.changes.names.contains_key(place))
    }

    /// A directory that is edited gets a new record, and so its parent is edited.
    fn add_ancestors<E>(&self, edits: &mut BTreeMap<Ino, Edits>) -> Result<(), ApplyError<E>> {
        let mut queue: Vec<Ino> = edits.keys().copied().collect();
        while let Some(dir) = queue.pop() {
            if dir == Ino::ROOT {
                continue;
            }
            let home = self.home(dir)?;
            if !edits.contains_key(&home.parent) {
                queue.push(home.parent);
            }
            let child = Child { ino: dir, kind: FileType::Directory };
            edits.entry(home.parent).or_default().entry(home.name.clone()).or_insert(Some(child));
        }
        Ok(())
    }

    fn home<E>(&self, dir: Ino) -> Result<&Place, ApplyError<E>> {
        let home = self.changes.homes.get(&dir).and_then(|home| home.new.as_ref());
        home.ok_or(ApplyError::Incomplete { ino: dir })
    }

    /// The directories to edit, every one before its parent.
    fn deepest_first<E>(&self, edits: &BTreeMap<Ino, Edits>) -> Result<Vec<Ino>, ApplyError<E>> {
        let mut depths: BTreeMap<Ino, usize> = BTreeMap::from([(Ino::ROOT, 0)]);
        for &dir in edits.keys() {
            let mut path = Vec::new();
            let mut next = dir;
            let known = loop {
                if let Some(depth) = depths.get(&next) {
                    break *depth;
                }
                // More steps than directories: they go in a circle.
                if path.len() > edits.len() {
                    return Err(ApplyError::Incomplete { ino: dir });
                }
                path.push(next);
                next = self.home(next)?.parent;
            };
            for (step, ino) in path.into_iter().rev().enumerate() {
                depths.insert(ino, known + step + 1);
            }
        }
        let mut dirs: Vec<Ino> = edits.keys().copied().collect();
        dirs.sort_by_key(|dir| std::cmp::Reverse(depths.get(dir).copied().unwrap_or_default()));
        Ok(dirs)
    }

    fn edit_dir<N, S, E>(
        &self,
        nodes: &mut N,
        sink: &mut S,
        dir: Ino,
        edits: Option<&Edits>,
        root: &Record,
    ) -> Result<Record, ApplyError<E>>
    where
        N: Nodes<Error = E>,
        S: Sink<Error = E>,
        E: From<TreeError> + From<EntryError>,
    {
        let old = if dir == Ino::ROOT { Some(root) } else { self.changes.record_before(dir) };
        let new = self.changes.record_after(dir).or(old).ok_or(ApplyError::Incomplete { ino: dir })?;
        let mut values = Vec::new();
        for (name, child) in edits.into_iter().flatten() {
            let key = DirKey::new(self.names, name).map_err(E::from)?;
            let value = match child {
                Some(child) => Some(self.entry(sink, *child)?.encode().map_err(E::from)?),
                None => None,
            };
            values.push((key, value));
        }
        values.sort_by(|a, b| a.0.cmp(&b.0));
        let empty = DirRoot::EMPTY;
        let tree = map_tree::edit(nodes, sink, old.map_or(&empty, dir_root), &values)?;
        Ok(Record { content: Content::Dir(tree), ..sealed(sink, new)? })
    }

    fn entry<S, E>(&self, sink: &mut S, child: Child) -> Result<Entry, ApplyError<E>>
    where
        S: Sink<Error = E>,
        E: From<EntryError>,
    {
        let Child { ino, kind } = child;
        if self.changes.linked_new.contains(&ino) {
            return Ok(Entry::Link { ino, kind });
        }
        if let Some(record) = self.built.get(&ino) {
            return Ok(Entry::Own(record.clone()));
        }
        let record = self.changes.record_after(ino).ok_or(ApplyError::Incomplete { ino })?;
        Ok(Entry::Own(sealed(sink, record)?))
    }

    /// What changes in the link table.
    fn link_edits<S, E>(&self, sink: &mut S) -> Result<Vec<LinkEdit>, ApplyError<E>>
    where
        S: Sink<Error = E>,
        E: From<EntryError>,
    {
        let mut edits = Vec::new();
        for (&ino, change) in &self.changes.inodes {
            let is_linked = self.changes.linked_new.contains(&ino);
            match change.new.as_ref().filter(|_| is_linked) {
                Some(record) => {
                    let value = sealed(sink, record)?.encode().map_err(E::from)?;
                    edits.push((VolumeRoot::link_key(ino), Some(value)));
                }
                None if self.changes.linked_old.contains(&ino) => edits.push((VolumeRoot::link_key(ino), None)),
                None => {}
            }
        }
        Ok(edits)
    }
}

/// The record with its extended attributes where they belong: merged lists may have become too long for it.
fn sealed<S, E>(sink: &mut S, record: &Record) -> Result<Record, ApplyError<E>>
where
    S: Sink<Error = E>,
    E: From<EntryError>,
{
    let mut record = record.clone();
    if let Xattrs::Inline(list) = &record.xattrs {
        let bytes = Xattrs::encode_list(list).map_err(E::from)?;
        if bytes.len() > XATTRS_INLINE_BYTES_MAX {
            record.xattrs = Xattrs::Sealed(sink.put(Kind::Xattrs, &bytes)?);
        }
    }
    Ok(record)
}
