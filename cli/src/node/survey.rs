//! Walking a tree to see whether every block it needs is there: what `check` and `why` have in common.
//!
//! Damage in one place doesn't end the walk: the file or directory is named and the rest is looked at. What several heads
//! share is walked once.

use std::collections::HashSet;
use std::ops::Bound;
use std::time::Duration;

use cairn_block::{
    BlockId, Content, Descend, DirRoot, Entry, FileRoot, Record, VolumeRoot, Xattrs, file_tree, map_tree,
};
use cairn_fs::reader::{ReadError, TreeReader};
use cairn_fs::tree;
use cairn_store::{Ask, BlockStore};

use crate::errors::Outcome;

/// How long one node may take.
const NODE_TIMEOUT: Duration = Duration::from_secs(60);
/// Entries of a directory that are looked at together.
const WINDOW: usize = 512;

/// What was seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Files, directories and the rest.
    pub(super) entries: u64,
    /// Blocks that are needed, each counted once per file.
    pub(super) blocks: u64,
    /// Of those, in the store.
    pub(super) blocks_here: u64,
}

/// Something that is wrong with one path.
pub(super) struct Wrong {
    /// The path from the root of its volume.
    pub(super) path: Vec<u8>,
    /// The block it is about, where one is known.
    pub(super) block: Option<BlockId>,
    /// What is wrong, in words.
    pub(super) what: String,
}

/// A walk over one or more trees of one store.
pub(super) struct Survey<'a> {
    reader: &'a TreeReader,
    store: &'a dyn BlockStore,
    /// Roots of files and directories that were walked.
    walked: HashSet<BlockId>,
    pub(super) seen: Seen,
    on_wrong: &'a mut dyn FnMut(Wrong) -> Outcome<()>,
    on_progress: &'a mut dyn FnMut(&Seen) -> Outcome<()>,
}

impl<'a> Survey<'a> {
    /// A walk that reads through `reader`, asks `store` for blocks and tells what it comes to.
    pub(super) fn new(
        reader: &'a TreeReader,
        store: &'a dyn BlockStore,
        on_wrong: &'a mut dyn FnMut(Wrong) -> Outcome<()>,
        on_progress: &'a mut dyn FnMut(&Seen) -> Outcome<()>,
    ) -> Self {
        Self { reader, store, walked: HashSet::new(), seen: Seen::default(), on_wrong, on_progress }
    }

    /// Walks everything at and below `record`, which is at `path` in the tree of `root`.
    pub(super) fn walk(&mut self, root: &VolumeRoot, path: &[u8], record: &Record) -> Outcome<()> {
        let mut directories = Vec::new();
        self.record(path.to_vec(), record, &mut directories)?;
        while let Some((path, directory)) = directories.pop() {
            self.directory(root, &path, &directory, &mut directories)?;
        }
        Ok(())
    }

    /// Checks the blocks of the link table itself.
    pub(super) fn links(&mut self, root: &VolumeRoot) -> Outcome<()> {
        let mut ids = Vec::new();
        let walked = map_tree::walk(&mut self.reader.nodes(ask()), &root.links, |visit| {
            if let map_tree::Visit::Node { reference, .. } = visit {
                ids.push(reference.id);
            }
            Ok(Descend::Yes)
        });
        self.blocks(b"/ (the table of hard links)", &ids)?;
        self.unless_read(b"/ (the table of hard links)", walked)
    }

    fn record(&mut self, path: Vec<u8>, record: &Record, directories: &mut Vec<(Vec<u8>, DirRoot)>) -> Outcome<()> {
        self.seen.entries += 1;
        if let Xattrs::Sealed(reference) = &record.xattrs {
            self.blocks(&path, &[reference.id])?;
        }
        match &record.content {
            Content::File(root) => self.file(&path, root),
            Content::Dir(root) => {
                if root.root.as_ref().is_none_or(|root| self.walked.insert(root.id)) {
                    directories.push((path, root.clone()));
                }
                Ok(())
            }
            Content::Empty | Content::Inline(_) | Content::Symlink(_) | Content::None => Ok(()),
        }
    }

    fn file(&mut self, path: &[u8], root: &FileRoot) -> Outcome<()> {
        if !self.walked.insert(root.root.id) {
            return Ok(());
        }
        let mut ids = Vec::new();
        let walked = file_tree::walk(&mut self.reader.nodes(ask()), root, |visit| {
            match visit {
                file_tree::Visit::Node { reference, .. } => ids.push(reference.id),
                file_tree::Visit::Extent { extent: file_tree::Extent::Chunk { chunk, .. }, .. } => ids.push(chunk.id),
                file_tree::Visit::Extent { .. } => {}
            }
            Ok(Descend::Yes)
        });
        self.blocks(path, &ids)?;
        self.unless_read(path, walked)
    }

    fn directory(
        &mut self,
        root: &VolumeRoot,
        path: &[u8],
        directory: &DirRoot,
        directories: &mut Vec<(Vec<u8>, DirRoot)>,
    ) -> Outcome<()> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let nodes = &mut self.reader.nodes(ask());
            let listed = match tree::list(nodes, directory, from, WINDOW) {
                Ok(listed) => listed,
                Err(error) => return self.unless_read(path, Err(error)),
            };
            let Some((key, _)) = listed.last() else { return Ok(()) };
            last = Some(key.as_ref().to_vec());
            for (key, value) in listed {
                let below = [path.strip_suffix(b"/").unwrap_or(path), b"/", key.name()].concat();
                let nodes = &mut self.reader.nodes(ask());
                let found = Entry::decode(&value)
                    .map_err(ReadError::from)
                    .and_then(|entry| tree::record_of(nodes, root, entry));
                match found {
                    Ok(Some(record)) => self.record(below, &record, directories)?,
                    Ok(None) => self.wrong(&below, None, "the table of hard links has no such inode".to_owned())?,
                    Err(error) => self.unless_read(&below, Err(error))?,
                }
            }
            (self.on_progress)(&self.seen)?;
        }
    }

    /// Counts blocks, and names those that are not in the store.
    fn blocks(&mut self, path: &[u8], ids: &[BlockId]) -> Outcome<()> {
        for id in ids {
            self.seen.blocks += 1;
            match self.store.has(id) {
                Ok(true) => self.seen.blocks_here += 1,
                Ok(false) => self.wrong(path, Some(*id), "a block is missing or damaged".to_owned())?,
                Err(error) => self.wrong(path, Some(*id), error.to_string())?,
            }
        }
        (self.on_progress)(&self.seen)
    }

    fn unless_read(&mut self, path: &[u8], read: Result<(), ReadError>) -> Outcome<()> {
        match read {
            Ok(_) => Ok(()),
            // Named already, as a block that isn't there.
            Err(ReadError::Missing { .. }) => Ok(()),
            Err(ReadError::Damaged { id, source }) => {
                self.wrong(path, Some(id), format!("a block is damaged: {source}"))
            }
            Err(error) => self.wrong(path, error.block(), format!("it can't be read, as if damaged: {error}")),
        }
    }

    fn wrong(&mut self, path: &[u8], block: Option<BlockId>, what: String) -> Outcome<()> {
        (self.on_wrong)(Wrong { path: path.to_vec(), block, what })
    }
}

/// Patient, and out of the way of people.
pub(super) fn ask() -> Ask {
    Ask::background(NODE_TIMEOUT)
}
