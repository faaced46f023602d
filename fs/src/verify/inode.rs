//! Checking one inode: its entry, its number, and what it holds.

use bytes::Bytes;
use cairn_block::{
    Content, Descend, DirKey, Entry, FileRoot, FileType, Ino, Record, Ref, VolumeRoot, Xattrs, file_tree,
    is_same_ino_range, map_tree,
};

use super::probe::{Halt, Probe};
use super::{CheckError, Checker, Problem, Role, Tree, Waiting, lost};
use crate::reader::ReadError;
use crate::tree::dir_root;

impl Checker<'_> {
    /// Looks at an entry of a directory. Its kind, if it has one.
    pub(super) fn entry(
        &mut self,
        tree: &mut Tree<'_>,
        dir: &Bytes,
        key: Bytes,
        value: &Bytes,
    ) -> Result<Option<FileType>, CheckError> {
        let key = DirKey::from_encoded(key).and_then(|key| key.verify(self.names).map(|()| key));
        let key = match key {
            Ok(key) => key,
            Err(error) => return self.found(dir, None, Problem::Entry(error)).map(|()| None),
        };
        let path = below(dir, key.name());
        match Entry::decode(value) {
            Ok(Entry::Own(record)) => {
                let kind = record.attr.kind;
                self.inode(tree, path, &record)?;
                Ok(Some(kind))
            }
            Ok(Entry::Link { ino, kind }) => {
                self.look()?;
                self.counts.entries += 1;
                if let Some(inodes) = &mut tree.inodes {
                    *inodes.links.entry(ino).or_default() += 1;
                }
                self.link(tree, &path, ino)?;
                Ok(Some(kind))
            }
            Err(error) => self.found(&path, None, Problem::Entry(error)).map(|()| None),
        }
    }

    /// Looks for the inode that a link leads to; what it holds is checked with the link table.
    fn link(&mut self, tree: &mut Tree<'_>, path: &Bytes, ino: Ino) -> Result<(), CheckError> {
        let mut nodes = self.reader.patient_nodes(self.patience());
        match map_tree::get(&mut nodes, &tree.root.links, &VolumeRoot::link_key(ino)) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.found(path, Some(ino), Problem::LinkToNothing),
            // Named once, where the table is walked.
            Err(error) => lost(error).map(drop),
        }
    }

    pub(super) fn inode(&mut self, tree: &mut Tree<'_>, path: Bytes, record: &Record) -> Result<(), CheckError> {
        let ino = record.attr.ino;
        self.look()?;
        self.counts.entries += 1;
        let is_new = self.number(tree, &path, ino)?;
        if let Xattrs::Sealed(reference) = &record.xattrs {
            self.xattrs(&path, ino, reference)?;
        }
        match &record.content {
            Content::File(root) => self.file(tree, &path, record, root),
            // What is below a directory is looked at where it was met first: under a second name it is the same, and names
            // for names would be work without end.
            Content::Dir(_) if !is_new => Ok(()),
            Content::Dir(_) => {
                let root = dir_root(record).clone();
                tree.waiting.push(Waiting { path, ino, nlink: record.attr.nlink, root });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes a number; says whether it was free.
    fn number(&mut self, tree: &mut Tree<'_>, path: &Bytes, ino: Ino) -> Result<bool, CheckError> {
        let next_ino = tree.root.next_ino;
        // Only of the range that the head's device counts in is it known what was given out.
        if ino.get() >= next_ino && is_same_ino_range(ino.get(), next_ino) {
            self.found(path, Some(ino), Problem::NeverGivenOut { next_ino })?;
        }
        let is_new = tree.inodes.as_mut().is_none_or(|inodes| inodes.numbers.insert(ino));
        if !is_new {
            self.found(path, Some(ino), Problem::TwoPlaces)?;
        }
        Ok(is_new)
    }

    fn xattrs(&mut self, path: &Bytes, ino: Ino, reference: &Ref) -> Result<(), CheckError> {
        if !self.seen.insert(&reference.id) {
            return Ok(());
        }
        self.block(reference, true, true, (Role::Attributes, path))?;
        match self.reader.xattrs(reference, self.ask()) {
            Ok(_) => Ok(()),
            Err(error) => self.found(path, Some(ino), Problem::Xattrs(lost(error)?)),
        }
    }

    fn file(&mut self, tree: &mut Tree<'_>, path: &Bytes, record: &Record, root: &FileRoot) -> Result<(), CheckError> {
        let ino = record.attr.ino;
        let probe = Probe::new(self.reader, self.patience());
        let mut is_root = true;
        let walked = file_tree::walk(&mut &probe, root, |visit| match visit {
            file_tree::Visit::Node { reference, level } => {
                let is_new = self.seen.insert(&reference.id);
                if !is_new && !is_root {
                    return Ok(Descend::No);
                }
                self.block(reference, is_new, true, (Role::FileNode, path))?;
                match probe.file(reference, level) {
                    Ok(node) if is_root => {
                        is_root = false;
                        self.sizes(path, record, node.file_bytes(), node.allocated())?;
                        Ok(if is_new { Descend::Yes } else { Descend::No })
                    }
                    Ok(_) => Ok(Descend::Yes),
                    Err(error) => {
                        tree.is_partial = true;
                        self.found(path, Some(ino), Problem::Node(lost(error)?))?;
                        Ok(Descend::No)
                    }
                }
            }
            file_tree::Visit::Extent { extent, .. } => {
                if let file_tree::Extent::Chunk { chunk, .. } = extent {
                    self.chunk(path, ino, &chunk)?;
                }
                Ok(Descend::Yes)
            }
        });
        self.walked(tree, walked, (path, ino))
    }

    /// Looks at the tree of an open file that no head may know.
    pub fn open_file(&mut self, root: &FileRoot) -> Result<(), CheckError> {
        let path = Bytes::new();
        let probe = Probe::new(self.reader, self.patience());
        let walked = file_tree::walk(&mut &probe, root, |visit| {
            let reference = match visit {
                file_tree::Visit::Extent { extent: file_tree::Extent::Hole { .. }, .. } => return Ok(Descend::Yes),
                file_tree::Visit::Extent { extent: file_tree::Extent::Chunk { chunk, .. }, .. } => chunk,
                file_tree::Visit::Node { reference, .. } => reference.clone(),
            };
            if !self.seen.insert(&reference.id) {
                return Ok(Descend::No);
            }
            self.block(&reference, true, false, (Role::OpenFile, &path))?;
            Ok(Descend::Yes)
        });
        match walked {
            Ok(()) => Ok(()),
            Err(Halt::Check(error)) => Err(error),
            Err(Halt::Read(error)) => self.found(&path, None, Problem::Node(lost(error)?)),
        }
    }

    /// Holds what the record of a file says of its size against its extents, which may end before the file does.
    fn sizes(&mut self, path: &Bytes, record: &Record, extents: u64, counted: u64) -> Result<(), CheckError> {
        let (ino, size, recorded) = (record.attr.ino, record.attr.size, record.attr.allocated);
        if extents > size {
            self.found(path, Some(ino), Problem::Size { size, extents })?;
        }
        if counted != recorded {
            self.found(path, Some(ino), Problem::Allocated { recorded, counted })?;
        }
        Ok(())
    }

    fn chunk(&mut self, path: &Bytes, ino: Ino, chunk: &Ref) -> Result<(), CheckError> {
        if !self.seen.insert(&chunk.id) {
            return Ok(());
        }
        self.block(chunk, true, self.options.data, (Role::Data, path))?;
        let result = if self.options.data {
            self.reader.chunk(chunk, self.ask()).map(drop)
        } else {
            self.reader
                .store()
                .has(&chunk.id)
                .map_err(ReadError::from)
                .and_then(|is_here| if is_here { Ok(()) } else { Err(ReadError::Missing { id: chunk.id }) })
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.found(path, Some(ino), Problem::Chunk(lost(error)?)),
        }
    }
}

fn below(dir: &[u8], name: &[u8]) -> Bytes {
    [dir.strip_suffix(b"/").unwrap_or(dir), b"/", name].concat().into()
}
