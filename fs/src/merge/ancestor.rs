//! The ancestor of a merge, read from its tree.

use std::ops::Bound;

use bytes::Bytes;
use cairn_block::{DirKey, DirRoot, Entry, FileType, Ino, NameKey, Record, VolumeRoot, Xattrs};

use super::{Ancestor, Trail};
use crate::changes::Place;
use crate::reader::{Patience, ReadError, TreeReader};
use crate::tree::{self, compact, dir_root};

/// Entries read at a time on a search.
const WINDOW: usize = 512;

/// A tree that a merge may ask.
pub struct TreeAncestor<'a> {
    /// Reads it.
    pub reader: &'a TreeReader,
    /// What it is.
    pub root: &'a VolumeRoot,
    /// The volume's key of names.
    pub names: &'a NameKey,
    /// How long to wait for each node.
    pub patience: Patience,
}

impl Ancestor for TreeAncestor<'_> {
    fn is_taken(&mut self, _: Ino, root: &DirRoot, name: &[u8]) -> Result<bool, ReadError> {
        let key = DirKey::new(self.names, name)?;
        Ok(tree::entry(&mut self.reader.patient_nodes(self.patience), root, &key)?.is_some())
    }

    /// Searches the whole tree: nothing leads from an inode to its names. Conflicts over linked files are rare.
    fn trail(&mut self, ino: Ino, wanted: &mut dyn FnMut(&Place) -> bool) -> Result<Option<Trail>, ReadError> {
        let mut search =
            Search { dirs: vec![Met { dir: compact(self.root.root.clone()), name: None }], waiting: vec![0] };
        while let Some(index) = search.waiting.pop() {
            if let Some(name) = self.search(&mut search, index, ino, wanted)? {
                return Ok(Some(search.trail(index, name)));
            }
        }
        Ok(None)
    }

    fn xattrs(&mut self, xattrs: &Xattrs) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        match xattrs {
            Xattrs::Inline(list) => Ok(list.clone()),
            Xattrs::Sealed(reference) => {
                let ask = self.patience.ask().ok_or(ReadError::WouldWait { id: reference.id })?;
                self.reader.xattrs(reference, ask)
            }
        }
    }
}

impl TreeAncestor<'_> {
    /// Looks for the inode in one directory, and takes note of those below it.
    fn search(
        &self,
        search: &mut Search,
        index: usize,
        ino: Ino,
        wanted: &mut dyn FnMut(&Place) -> bool,
    ) -> Result<Option<Bytes>, ReadError> {
        let dir = search.dirs[index].dir.clone();
        let mut nodes = self.reader.patient_nodes(self.patience);
        let mut from = Bound::Unbounded;
        loop {
            let entries = tree::list(&mut nodes, dir_root(&dir), from.as_ref().map(|key: &Bytes| &key[..]), WINDOW)?;
            let Some((last, _)) = entries.last() else { return Ok(None) };
            from = Bound::Excluded(last.encoded().clone());
            for (key, value) in entries {
                let name = Bytes::copy_from_slice(key.name());
                let entry = Entry::decode(&value)?;
                if entry.ino() == ino && wanted(&Place { parent: dir.attr.ino, name: name.clone() }) {
                    return Ok(Some(name));
                }
                if let Entry::Own(record) = entry
                    && record.attr.kind == FileType::Directory
                {
                    search.waiting.push(search.dirs.len());
                    search.dirs.push(Met { dir: compact(record), name: Some((index, name)) });
                }
            }
        }
    }
}

/// The directories met, each with the one above it and its name there.
struct Search {
    dirs: Vec<Met>,
    waiting: Vec<usize>,
}

struct Met {
    dir: Record,
    name: Option<(usize, Bytes)>,
}

impl Search {
    fn trail(&self, mut index: usize, name: Bytes) -> Trail {
        let mut trail = Trail { dirs: vec![self.dirs[index].dir.clone()], names: vec![name] };
        while let Some((above, name)) = &self.dirs[index].name {
            index = *above;
            trail.dirs.push(self.dirs[index].dir.clone());
            trail.names.push(name.clone());
        }
        trail.dirs.reverse();
        trail.names.reverse();
        trail
    }
}
