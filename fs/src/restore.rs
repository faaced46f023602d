//! Bringing back what a head holds: contents by reference, so that it costs what differs, not what there is.
//!
//! Restoring is ordinary work on the live volume, done by its own operations: it is journaled, can be
//! read in the middle, and ends with a head of its own. Inode numbers that are in use elsewhere by now get
//! new ones; a file that is still at its place keeps its number, so that programs which have it open see
//! the old contents come back.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;
use cairn_block::entry::{Attr, Content, Entry, Record, VolumeRoot, Xattrs};
use cairn_block::{BlockId, FileType, Ino, file_tree};
use cairn_store::Ask;

use crate::error::FsError;
use crate::nodes::InodeNodes;
use crate::ops::{Caller, Listing, NewNode, Operations, Wait};
use crate::state::State;
use crate::tree::{self, PathError};
use crate::volume::{FLUSH_TIMEOUT, Volume, now};

/// Entries handled at a time.
const WINDOW: usize = 256;

/// What a kernel that caches has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// A name came, went, or leads elsewhere.
    Name {
        /// The directory.
        parent: Ino,
        /// The name.
        name: Bytes,
    },
    /// Contents or attributes changed.
    Inode(Ino),
}

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Inodes that were made or changed.
    pub changed: u64,
    /// Names that went because the head does not have them.
    pub removed: u64,
}

/// A restore under way.
struct Restore<'a> {
    volume: &'a Volume,
    root: &'a VolumeRoot,
    /// Where inodes of the link table have been restored to.
    links: HashMap<Ino, Ino>,
    /// Directories of the tree that were met. Each has one place; a tree that says otherwise may have no end.
    dirs: HashSet<Ino>,
    /// Directories that are there and wait for their names. Each holds a reference.
    pending: Vec<(Ino, Record)>,
    done: Restored,
    tell: &'a mut dyn FnMut(Touched),
}

impl Volume {
    /// Makes `target` what `source` was in the tree `root`; both are paths, and the empty one is the root. The
    /// directories above the target have to be there.
    pub fn restore(
        &self,
        root: &VolumeRoot,
        source: &[u8],
        target: &[u8],
        tell: &mut dyn FnMut(Touched),
    ) -> Result<Restored, FsError> {
        let mut nodes = InodeNodes { reader: self.reader(), ino: Ino::ROOT, ask: ask() };
        let entry = tree::resolve(&mut nodes, self.keys.names(), root, source).map_err(|error| match error {
            PathError::NotFound => FsError::NotFound,
            PathError::NotDirectory => FsError::NotDirectory,
            PathError::Read(error) => error,
        })?;
        let mut restore = Restore {
            volume: self,
            root,
            links: HashMap::new(),
            dirs: HashSet::new(),
            pending: Vec::new(),
            done: Restored::default(),
            tell,
        };
        let names: Vec<&[u8]> = tree::components(target).collect();
        match (entry, names.split_last()) {
            (None, None) => restore.fill(Ino::ROOT, &root.root)?,
            (None, Some(_)) => restore.at(&names, &Entry::Own(root.root.clone()))?,
            (Some(_), None) => return Err(FsError::Exists),
            (Some(entry), Some(_)) => restore.at(&names, &entry)?,
        }
        restore.run_pending()?;
        let done = restore.done;
        self.flush()?;
        Ok(done)
    }
}

impl Restore<'_> {
    /// Restores an entry under a path of the live volume.
    fn at(&mut self, names: &[&[u8]], entry: &Entry) -> Result<(), FsError> {
        let Some((name, above)) = names.split_last() else { return Err(FsError::Invalid) };
        let mut held = Vec::new();
        let mut parent = Ino::ROOT;
        let mut result = Ok(());
        for name in above {
            match self.volume.lookup(wait(), parent, name) {
                Ok(attr) => {
                    held.push(attr.ino);
                    parent = attr.ino;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let result = result.and_then(|()| self.entry(parent, name, entry));
        held.into_iter().for_each(|ino| self.volume.forget(ino, 1));
        result
    }

    /// Makes one name what an entry says.
    fn entry(&mut self, parent: Ino, name: &[u8], entry: &Entry) -> Result<(), FsError> {
        let record = self.record(entry)?;
        let linked = matches!(entry, Entry::Link { .. });
        let live = match self.volume.lookup(wait(), parent, name) {
            Ok(attr) => Some(attr),
            Err(FsError::NotFound) => None,
            Err(error) => return Err(error),
        };
        let result = self.entry_over(parent, name, &record, linked, live.as_ref());
        if let Some(attr) = live {
            self.volume.forget(attr.ino, 1);
        }
        result
    }

    fn entry_over(
        &mut self,
        parent: Ino,
        name: &[u8],
        record: &Record,
        linked: bool,
        live: Option<&Attr>,
    ) -> Result<(), FsError> {
        if let Some(first) = self.links.get(&record.attr.ino).copied().filter(|_| linked) {
            if live.is_some_and(|attr| attr.ino == first) {
                return Ok(());
            }
            self.remove_if(parent, name, live)?;
            let attr = self.volume.link(wait(), &Caller::NODE, first, parent, name)?;
            self.volume.forget(attr.ino, 1);
            self.named(parent, name);
            return Ok(());
        }
        let ino = match live.filter(|attr| fits(attr, record, linked)) {
            Some(attr) => {
                if !self.may_hold_links(record) && self.equals(attr.ino, record)? {
                    self.links.insert(record.attr.ino, attr.ino);
                    return Ok(());
                }
                attr.ino
            }
            None => {
                self.remove_if(parent, name, live)?;
                self.make(parent, name, record)?
            }
        };
        if linked {
            self.links.insert(record.attr.ino, ino);
        }
        let result = self.fill(ino, record);
        if live.is_none_or(|attr| attr.ino != ino) {
            self.volume.forget(ino, 1);
        }
        result
    }

    /// Whether files with several names may be below a directory. They are in the link table: they change, and get or
    /// lose names elsewhere, and the directory stays the same.
    fn may_hold_links(&self, record: &Record) -> bool {
        record.attr.kind == FileType::Directory && self.root.links.count > 0
    }

    fn equals(&self, ino: Ino, record: &Record) -> Result<bool, FsError> {
        self.volume.run(wait(), |state| state.equals(ino, record))
    }

    /// Makes a node without its content; the caller gives the reference back.
    fn make(&mut self, parent: Ino, name: &[u8], record: &Record) -> Result<Ino, FsError> {
        let target = match &record.content {
            Content::Symlink(target) => target.clone(),
            _ => Bytes::new(),
        };
        let Attr { kind, mode, rdev, .. } = record.attr;
        let node = NewNode { kind, mode, umask: 0, rdev, target };
        let attr = self.volume.create(wait(), &Caller::NODE, parent, name, node)?;
        self.named(parent, name);
        Ok(attr.ino)
    }

    /// Gives an inode the content and the attributes of a record; a directory's turn comes later.
    fn fill(&mut self, ino: Ino, record: &Record) -> Result<(), FsError> {
        match &record.content {
            Content::Dir(root) => {
                if !self.dirs.insert(record.attr.ino) {
                    let id = root.root.as_ref().map_or(BlockId::from_bytes([0; 32]), |root| root.id);
                    return Err(FsError::Damaged { id, ino: record.attr.ino });
                }
                self.volume.lookup(wait(), ino, b".")?;
                self.pending.push((ino, record.clone()));
                return Ok(());
            }
            Content::Empty | Content::Inline(_) | Content::File(_) => self.content(ino, record)?,
            Content::Symlink(_) | Content::None => {}
        }
        self.attributes(ino, record)
    }

    /// Fills directories one after the other: trees may be deep, and a stack is not.
    fn run_pending(&mut self) -> Result<(), FsError> {
        let mut result = Ok(());
        while let Some((ino, record)) = self.pending.pop() {
            if result.is_ok() {
                // Its own attributes come last: filling it changes its times.
                result = self.fill_dir(ino, &record);
            }
            self.volume.forget(ino, 1);
        }
        result
    }

    fn fill_dir(&mut self, ino: Ino, record: &Record) -> Result<(), FsError> {
        self.dir(ino, tree::dir_root(record))?;
        if self.equals(ino, record)? { Ok(()) } else { self.attributes(ino, record) }
    }

    fn attributes(&mut self, ino: Ino, record: &Record) -> Result<(), FsError> {
        let list = match &record.xattrs {
            Xattrs::Inline(list) => list.clone(),
            Xattrs::Sealed(reference) => self.volume.reader().xattrs(reference, ask()).map_err(|e| e.into_fs(ino))?,
        };
        self.volume.change(wait(), |state| state.adopt_attributes(ino, &record.attr, list.clone(), now()))?;
        self.done.changed += 1;
        (self.tell)(Touched::Inode(ino));
        Ok(())
    }

    fn content(&self, ino: Ino, record: &Record) -> Result<(), FsError> {
        let Attr { size, allocated, .. } = record.attr;
        let blocks = match &record.content {
            Content::File(root) => self.blocks(ino, root)?,
            _ => HashSet::new(),
        };
        let adopt = |state: &mut State| state.adopt_content(ino, record.content.clone(), size, allocated);
        self.volume.adopt(wait(), ino, blocks.into_iter(), adopt)
    }

    /// All blocks of a file, nodes and chunks, each once: a file may repeat what it has without end.
    fn blocks(&self, ino: Ino, root: &cairn_block::FileRoot) -> Result<HashSet<BlockId>, FsError> {
        let mut nodes = InodeNodes { reader: self.volume.reader(), ino, ask: ask() };
        let mut ids = HashSet::new();
        file_tree::walk(&mut nodes, root, |visit| {
            let is_new = match visit {
                file_tree::Visit::Node { reference, .. } => ids.insert(reference.id),
                file_tree::Visit::Extent { extent: file_tree::Extent::Chunk { chunk, .. }, .. } => ids.insert(chunk.id),
                file_tree::Visit::Extent { .. } => true,
            };
            Ok::<_, FsError>(if is_new { cairn_block::Descend::Yes } else { cairn_block::Descend::No })
        })?;
        Ok(ids)
    }

    /// Makes the names of a directory those of a tree.
    fn dir(&mut self, ino: Ino, root: &cairn_block::DirRoot) -> Result<(), FsError> {
        self.remove_others(ino, root)?;
        let mut from = Bound::Unbounded;
        loop {
            let mut nodes = InodeNodes { reader: self.volume.reader(), ino, ask: ask() };
            let bound = from.as_ref().map(|key: &Bytes| &key[..]);
            let window = tree::list(&mut nodes, root, bound, WINDOW)?;
            let Some((last, _)) = window.last() else { return Ok(()) };
            from = Bound::Excluded(last.encoded().clone());
            for (key, value) in &window {
                self.entry(ino, key.name(), &Entry::decode(value)?)?;
            }
        }
    }

    /// Removes the names that a tree does not have.
    fn remove_others(&mut self, ino: Ino, root: &cairn_block::DirRoot) -> Result<(), FsError> {
        let mut cookie = 0;
        loop {
            let items = self.volume.readdir(wait(), ino, cookie, WINDOW, Listing::Names)?;
            let Some(last) = items.last() else { return Ok(()) };
            cookie = last.cookie;
            for item in items {
                let key = cairn_block::DirKey::new(self.volume.keys.names(), &item.name)?;
                let mut nodes = InodeNodes { reader: self.volume.reader(), ino, ask: ask() };
                if tree::entry(&mut nodes, root, &key)?.is_none() {
                    self.remove(ino, &item.name, item.kind)?;
                }
            }
        }
    }

    fn remove_if(&mut self, parent: Ino, name: &[u8], live: Option<&Attr>) -> Result<(), FsError> {
        live.map_or(Ok(()), |attr| self.remove(parent, name, attr.kind))
    }

    /// Removes a name and everything below it, without recursion: trees may be deep.
    fn remove(&mut self, parent: Ino, name: &[u8], kind: FileType) -> Result<(), FsError> {
        let mut path = vec![(parent, Bytes::copy_from_slice(name), kind)];
        let mut held = Vec::new();
        while let Some((parent, name, kind)) = path.last().cloned() {
            if kind != FileType::Directory {
                self.volume.unlink(wait(), &Caller::NODE, parent, &name)?;
                self.named(parent, &name);
                self.done.removed += 1;
                path.pop();
                continue;
            }
            let ino = self.volume.lookup(wait(), parent, &name)?.ino;
            held.push(ino);
            let items = self.volume.readdir(wait(), ino, 0, WINDOW, Listing::Names)?;
            if items.is_empty() {
                self.volume.rmdir(wait(), &Caller::NODE, parent, &name)?;
                self.named(parent, &name);
                self.done.removed += 1;
                path.pop();
            }
            path.extend(items.into_iter().map(|item| (ino, item.name, item.kind)));
        }
        held.into_iter().for_each(|ino| self.volume.forget(ino, 1));
        Ok(())
    }

    fn record(&self, entry: &Entry) -> Result<Record, FsError> {
        let mut nodes = InodeNodes { reader: self.volume.reader(), ino: entry.ino(), ask: ask() };
        tree::record_of(&mut nodes, self.root, entry.clone())?.ok_or(FsError::Stale)
    }

    fn named(&mut self, parent: Ino, name: &[u8]) {
        (self.tell)(Touched::Name { parent, name: Bytes::copy_from_slice(name) });
    }
}

/// Whether a live inode can become what a record says: of one type, and not shared with names that stay as they are.
fn fits(live: &Attr, record: &Record, linked: bool) -> bool {
    let same_type = live.kind == record.attr.kind;
    let own = live.nlink == 1 || linked && live.ino == record.attr.ino;
    match live.kind {
        FileType::Directory => same_type,
        FileType::Regular => same_type && own,
        // What these hold can't change in place.
        _ => same_type && live.ino == record.attr.ino && live.rdev == record.attr.rdev,
    }
}

fn wait() -> Wait {
    Wait::Until(std::time::Instant::now() + FLUSH_TIMEOUT)
}

fn ask() -> Ask {
    Ask::background(FLUSH_TIMEOUT)
}
