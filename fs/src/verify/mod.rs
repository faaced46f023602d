//! Checking trees: whether all that a head refers to is there, can be read and agrees with itself.
//!
//! [`Checker::head`] walks one head. Damage does not end it: what is lost is named by path, and the rest is looked at. What
//! heads share is looked at once, so that checking a hundred of them costs little more than one. Two depths:
//! - [`Scope::Whole`] also counts: links against names, inode numbers used twice, sizes against extents. It goes through
//!   every name, including those that an earlier head had.
//! - [`Scope::New`] looks at what no head before had.
//!
//! By default a chunk is taken to be there if the store says so; with `data` every one is read and opened.

mod finding;
mod inode;
mod memory;
mod probe;

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use cairn_block::{BlockId, Descend, DirRoot, FileType, Ino, Kind, NameKey, Record, Ref, VolumeRoot, map_tree};
use cairn_store::{Ask, Priority, StoreError};

use crate::reader::{Patience, ReadError, TreeReader};

pub use finding::{Finding, Problem};
use memory::{Inodes, Seen};
use probe::{Halt, Probe};

/// Things looked at between two reports of progress.
const REPORT_EVERY: u64 = 256;

/// How to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read and open every chunk, instead of asking the store whether it is there.
    pub data: bool,
    /// Tell of every block, the first time it is met.
    pub blocks: bool,
    /// How long one block may take.
    pub block_timeout: Duration,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { data: false, blocks: false, block_timeout: Duration::from_secs(60) }
    }
}

/// How much of a head to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every name, with all that is counted over them.
    Whole,
    /// What no head before had.
    New,
}

/// What was looked at so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files, directories and the rest, once for each name.
    pub entries: u64,
    /// Blocks, each once.
    pub blocks: u64,
    /// Of those, the ones that were read and opened.
    pub blocks_opened: u64,
    /// Bytes of the chunks, each once, before compression.
    pub bytes: u64,
    /// Things that are wrong.
    pub findings: u64,
}

/// What a block is to the tree it was met in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The root of the volume, which a head points to.
    Root,
    /// A node of a directory.
    Directory,
    /// A node of the table of inodes with several names.
    LinkTable,
    /// A node of a file.
    FileNode,
    /// A part of a file's bytes.
    Data,
    /// Extended attributes.
    Attributes,
    /// A part of a file that is open and has no name any more.
    OpenFile,
}

/// A block, and where it was met first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The block.
    pub id: BlockId,
    /// What it is.
    pub role: Role,
    /// The path of whom it belongs to; empty for the root, and for what the link table leads to.
    pub path: Bytes,
}

/// What a check tells while it runs.
#[derive(Debug)]
pub enum Event {
    /// Something is wrong.
    Finding(Finding),
    /// A block that is in use; see [`CheckOptions::blocks`].
    Block(Use),
    /// So much was looked at.
    Progress(Counts),
}

/// Why a check ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Whoever watched it had enough.
    #[error("the check was stopped")]
    Stopped,
    /// The store failed, so nothing can be said about the rest.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A check of one or more heads of a volume.
pub struct Checker<'a> {
    reader: &'a TreeReader,
    names: &'a NameKey,
    options: CheckOptions,
    watch: &'a mut dyn FnMut(Event) -> ControlFlow<()>,
    seen: Seen,
    counts: Counts,
    looked_at: u64,
}

/// A directory that waits to be looked at.
struct Waiting {
    path: Bytes,
    ino: Ino,
    nlink: u32,
    root: DirRoot,
}

/// One head under check.
struct Tree<'r> {
    root: &'r VolumeRoot,
    /// Counted in a whole check.
    inodes: Option<Inodes>,
    /// Something could not be read: what was counted is not all.
    is_partial: bool,
    waiting: Vec<Waiting>,
}

impl<'a> Checker<'a> {
    /// A check that reads through `reader` and tells `watch`, which can stop it.
    pub fn new(
        reader: &'a TreeReader,
        names: &'a NameKey,
        options: CheckOptions,
        watch: &'a mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Self {
        Self { reader, names, options, watch, seen: Seen::default(), counts: Counts::default(), looked_at: 0 }
    }

    /// What was looked at so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Checks the tree of a head, by its sealed root.
    pub fn head(&mut self, root: &Ref, scope: Scope) -> Result<(), CheckError> {
        let is_new = self.seen.insert(&root.id);
        if !is_new && scope == Scope::New {
            return Ok(());
        }
        self.block(root, is_new, true, (Role::Root, &Bytes::new()))?;
        let payload = self.reader.payload(root, Kind::Root, self.ask());
        match payload.and_then(|payload| Ok(VolumeRoot::decode(&payload)?)) {
            Ok(root) => self.volume_root(&root, scope),
            Err(error) => self.found(&Bytes::new(), None, Problem::Node(lost(error)?)),
        }
    }

    /// Checks a tree whose root is in memory.
    pub fn volume_root(&mut self, root: &VolumeRoot, scope: Scope) -> Result<(), CheckError> {
        let inodes = (scope == Scope::Whole).then(Inodes::default);
        let mut tree = Tree { root, inodes, is_partial: false, waiting: Vec::new() };
        self.inode(&mut tree, Bytes::from_static(b"/"), &root.root)?;
        self.directories(&mut tree)?;
        self.links(&mut tree)?;
        self.tell(Event::Progress(self.counts))
    }

    /// Checks what is at and below one inode of a tree: the blocks, not the counts.
    pub fn record(&mut self, root: &VolumeRoot, path: Bytes, record: &Record) -> Result<(), CheckError> {
        let mut tree = Tree { root, inodes: None, is_partial: false, waiting: Vec::new() };
        self.inode(&mut tree, path, record)?;
        self.directories(&mut tree)
    }

    fn directories(&mut self, tree: &mut Tree<'_>) -> Result<(), CheckError> {
        while let Some(dir) = tree.waiting.pop() {
            self.directory(tree, &dir)?;
        }
        Ok(())
    }

    fn directory(&mut self, tree: &mut Tree<'_>, dir: &Waiting) -> Result<(), CheckError> {
        let probe = Probe::new(self.reader, self.patience());
        let mut subdirs = 0;
        let mut is_whole = true;
        let walked = map_tree::walk(&mut &probe, &dir.root, |visit| match visit {
            map_tree::Visit::Node { reference, level } => {
                let descend = self.map_node(&probe, tree, reference, level, (&dir.path, dir.ino))?;
                is_whole &= descend == Descend::Yes;
                Ok(descend)
            }
            map_tree::Visit::Entry { key, value } => {
                subdirs += u64::from(self.entry(tree, &dir.path, key, &value)? == Some(FileType::Directory));
                Ok(Descend::Yes)
            }
        });
        self.walked(tree, walked, (&dir.path, dir.ino))?;
        let counted = 2 + subdirs;
        if is_whole && tree.inodes.is_some() && !tree.is_partial && counted != u64::from(dir.nlink) {
            let problem = Problem::LinkCount { recorded: dir.nlink, counted };
            self.found(&dir.path, Some(dir.ino), problem)?;
        }
        Ok(())
    }

    /// Looks at a node before the walk does: whether it can be read, and whether it has to be.
    fn map_node(
        &mut self,
        probe: &Probe<'_>,
        tree: &mut Tree<'_>,
        reference: &Ref,
        level: u8,
        (path, ino): (&Bytes, Ino),
    ) -> Result<Descend, CheckError> {
        let is_new = self.seen.insert(&reference.id);
        if !is_new && tree.inodes.is_none() {
            return Ok(Descend::No);
        }
        let role = if path.is_empty() { Role::LinkTable } else { Role::Directory };
        self.block(reference, is_new, true, (role, path))?;
        match probe.map(reference, level) {
            Ok(()) => Ok(Descend::Yes),
            Err(error) => {
                tree.is_partial = true;
                self.found(path, Some(ino), Problem::Node(lost(error)?))?;
                Ok(Descend::No)
            }
        }
    }

    /// Looks at the linked inodes, and whether they have as many names as they say.
    fn links(&mut self, tree: &mut Tree<'_>) -> Result<(), CheckError> {
        let probe = Probe::new(self.reader, self.patience());
        let nowhere = Bytes::new();
        let links = tree.root.links.clone();
        let walked = map_tree::walk(&mut &probe, &links, |visit| match visit {
            map_tree::Visit::Node { reference, level } => {
                Ok(self.map_node(&probe, tree, reference, level, (&nowhere, Ino::ROOT))?)
            }
            map_tree::Visit::Entry { value, .. } => {
                match Record::decode(&value) {
                    Ok(record) => self.linked(tree, &record)?,
                    Err(error) => self.found(&nowhere, None, Problem::Entry(error))?,
                }
                Ok(Descend::Yes)
            }
        });
        self.walked(tree, walked, (&nowhere, Ino::ROOT))
    }

    fn linked(&mut self, tree: &mut Tree<'_>, record: &Record) -> Result<(), CheckError> {
        let (ino, recorded) = (record.attr.ino, record.attr.nlink);
        let path = Bytes::new();
        self.inode(tree, path.clone(), record)?;
        self.counts.entries -= 1;
        let Some(inodes) = tree.inodes.as_ref().filter(|_| !tree.is_partial) else { return Ok(()) };
        match inodes.links.get(&ino).copied().unwrap_or_default() {
            0 => self.found(&path, Some(ino), Problem::NoName),
            counted if counted != u64::from(recorded) => {
                self.found(&path, Some(ino), Problem::LinkCount { recorded, counted })
            }
            _ => Ok(()),
        }
    }

    /// The end of a walk. A tree that contradicts itself is a finding, and what follows in it was not looked at.
    fn walked(
        &mut self,
        tree: &mut Tree<'_>,
        result: Result<(), Halt>,
        (path, ino): (&Bytes, Ino),
    ) -> Result<(), CheckError> {
        match result {
            Ok(()) => Ok(()),
            Err(Halt::Check(error)) => Err(error),
            Err(Halt::Read(error)) => {
                tree.is_partial = true;
                self.found(path, Some(ino), Problem::Node(lost(error)?))
            }
        }
    }

    /// Counts a block, the first time it is met.
    fn block(
        &mut self,
        reference: &Ref,
        is_new: bool,
        is_opened: bool,
        (role, path): (Role, &Bytes),
    ) -> Result<(), CheckError> {
        if is_new {
            self.counts.blocks += 1;
            self.counts.blocks_opened += u64::from(is_opened);
            self.counts.bytes += u64::from(reference.len);
            if self.options.blocks {
                self.tell(Event::Block(Use { id: reference.id, role, path: path.clone() }))?;
            }
        }
        self.look()
    }

    fn look(&mut self) -> Result<(), CheckError> {
        self.looked_at += 1;
        if self.looked_at >= REPORT_EVERY {
            self.looked_at = 0;
            return self.tell(Event::Progress(self.counts));
        }
        Ok(())
    }

    fn found(&mut self, path: &Bytes, ino: Option<Ino>, problem: Problem) -> Result<(), CheckError> {
        self.counts.findings += 1;
        self.tell(Event::Finding(Finding { path: path.clone(), ino, problem }))
    }

    fn tell(&mut self, event: Event) -> Result<(), CheckError> {
        match (self.watch)(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CheckError::Stopped),
        }
    }

    fn patience(&self) -> Patience {
        Patience::Each(Priority::Background, self.options.block_timeout)
    }

    fn ask(&self) -> Ask {
        Ask::background(self.options.block_timeout)
    }
}

/// What a read that failed says of the block; or, if it says nothing, why the check can't go on.
fn lost(error: ReadError) -> Result<ReadError, CheckError> {
    match error {
        // Elsewhere, perhaps; that is worth knowing of this block, and says nothing about the store.
        ReadError::Store(StoreError::NotFetched { .. }) => Ok(error),
        ReadError::Store(error) => Err(error.into()),
        error => Ok(error),
    }
}
