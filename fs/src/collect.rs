//! Marking: telling a store's collection what a volume still needs.
//!
//! The marker walks from roots down to every chunk and passes over what is marked already: subtrees that heads share are
//! walked once. A node is marked before what is below it, which is safe only because nothing unmarked is ever swept after a
//! walk that failed: [`Marker::sweep`] wants a marker, and a marker that met an error refuses. A tree with a hole in it
//! must not cost the blocks beyond the hole, which may come back with it.
//!
//! Memory is bounded by the depth of trees and the widest row of subdirectories on the way, not by what is marked: that is
//! the collection's to remember.

use std::time::Duration;

use cairn_block::{
    BlockId, Content, Descend, Entry, FileRoot, Kind, MapRoot, Record, Ref, VolumeRoot, Xattrs, file_tree, map_tree,
};
use cairn_store::{Ask, Collection, Priority, Progress, StoreError, SweepOptions, SweepReport};

use crate::reader::{Patience, ReadError, ReaderNodes, TreeReader};
use crate::tree::dir_root;

/// How long marking waits for one node before the collection is given up: it runs again later.
const NODE_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a node is waited for where a collection goes on without it.
const OPTIONAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Nodes in a collection that may turn out not to be had, each after that time. Then only what is here is walked.
const OPTIONAL_MISSES_MAX: u32 = 16;

/// Why a collection was given up. Nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A tree could not be walked to its end, so what it needs is not known.
    #[error("the tree at {root} can't be read, so nothing is removed")]
    Tree {
        /// The block at its root.
        root: BlockId,
        /// What is wrong with it.
        source: ReadError,
    },
    /// A sweep was asked for after a walk had failed.
    #[error("not everything was marked, so nothing is removed")]
    Incomplete,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was marked so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marked {
    /// Blocks marked for the first time.
    pub blocks: u64,
    /// Their chunks' bytes, before compression.
    pub bytes: u64,
}

/// Marks what is reachable into a collection. See the module for the rule that protects what it could not reach.
pub struct Marker<'a> {
    reader: &'a TreeReader,
    collection: Box<dyn Collection>,
    marked: Marked,
    has_failed: bool,
    /// Nodes that may still turn out not to be had before no more is waited for.
    misses_left: u32,
}

impl<'a> Marker<'a> {
    /// A marker into `collection`, which must have begun before the roots were asked for.
    #[must_use]
    pub fn new(reader: &'a TreeReader, collection: Box<dyn Collection>) -> Self {
        Self { reader, collection, marked: Marked::default(), has_failed: false, misses_left: OPTIONAL_MISSES_MAX }
    }

    /// What was marked so far.
    #[must_use]
    pub fn marked(&self) -> Marked {
        self.marked
    }

    /// Marks a head's tree: the block of its volume root and everything below.
    pub fn head(&mut self, root: &Ref) -> Result<(), CollectError> {
        self.walking(root.id, |walk| walk.head(root))
    }

    /// Marks a head's tree as far as it can be read, and gives how many of its nodes can't. Only after everything that has to
    /// be whole: what is below such a node is taken to be marked from then on.
    pub fn head_as_far_as_it_goes(&mut self, root: &Ref) -> Result<u64, CollectError> {
        let mut passed_over = 0;
        self.walking(root.id, |walk| {
            walk.is_optional = true;
            let walked = walk.head(root);
            let walked = walk.tolerate(walked);
            passed_over = walk.passed_over;
            walked
        })?;
        Ok(passed_over)
    }

    /// Marks a tree whose root is in memory.
    pub fn volume_root(&mut self, root: &VolumeRoot) -> Result<(), CollectError> {
        self.walking(root_id(dir_root(&root.root)), |walk| walk.volume_root(root))
    }

    /// Marks a file's tree and chunks.
    pub fn file(&mut self, root: &FileRoot) -> Result<(), CollectError> {
        self.walking(root.root.id, |walk| walk.file(root))
    }

    /// Marks a single block that refers to no other: a chunk, extended attributes, a journal record.
    ///
    /// Never a node of a tree: a marked node is taken to be marked with all below it.
    pub fn leaf(&mut self, id: &BlockId) {
        if !self.collection.is_marked(id) {
            self.collection.mark(id);
            self.marked.blocks += 1;
        }
    }

    /// Sweeps what was not marked, if everything could be.
    pub fn sweep(self, options: SweepOptions, progress: &mut dyn FnMut(Progress)) -> Result<SweepReport, CollectError> {
        if self.has_failed {
            return Err(CollectError::Incomplete);
        }
        Ok(self.collection.sweep(options, progress)?)
    }

    fn walking(
        &mut self,
        root: BlockId,
        walk: impl FnOnce(&mut Walk<'_, 'a>) -> Result<(), ReadError>,
    ) -> Result<(), CollectError> {
        walk(&mut Walk::new(self)).map_err(|source| {
            self.has_failed = true;
            CollectError::Tree { root, source }
        })
    }
}

/// The block that a walk of a tree begins with; an empty tree has none and can't fail.
fn root_id(root: &MapRoot) -> BlockId {
    root.root.as_ref().map_or(BlockId::from_bytes([0; 32]), |root| root.id)
}

/// One walk: what it still has to descend into. Directories wait here instead of on the stack, so that no depth of
/// directories can exhaust it.
struct Walk<'m, 'a> {
    reader: &'a TreeReader,
    marker: &'m mut Marker<'a>,
    dirs: Vec<MapRoot>,
    /// What can't be read is passed over.
    is_optional: bool,
    passed_over: u64,
}

impl<'m, 'a> Walk<'m, 'a> {
    fn new(marker: &'m mut Marker<'a>) -> Self {
        Self { reader: marker.reader, marker, dirs: Vec::new(), is_optional: false, passed_over: 0 }
    }

    fn patience(&self) -> Patience {
        Patience::Each(Priority::Background, NODE_TIMEOUT)
    }

    fn nodes(&self) -> ReaderNodes<'a> {
        self.reader.patient_nodes(self.patience())
    }

    /// Marks a block. `true` if it was marked before: then so is, or will be, all that is below it.
    fn is_known(&mut self, reference: &Ref) -> bool {
        if self.marker.collection.is_marked(&reference.id) {
            return true;
        }
        self.marker.collection.mark(&reference.id);
        self.marker.marked.blocks += 1;
        self.marker.marked.bytes += u64::from(reference.len);
        false
    }

    fn descend(&mut self, reference: &Ref) -> Result<Descend, ReadError> {
        let descends = !self.is_known(reference) && self.is_to_be_had(reference)?;
        Ok(if descends { Descend::Yes } else { Descend::No })
    }

    /// Whether a walk can go on below a node. Where it has to, it tries.
    fn is_to_be_had(&mut self, reference: &Ref) -> Result<bool, ReadError> {
        let store = self.reader.store();
        if !self.is_optional || store.has(&reference.id)? {
            return Ok(true);
        }
        if self.marker.misses_left > 0 {
            if matches!(store.get(&reference.id, Ask::background(OPTIONAL_TIMEOUT)), Ok(Some(_))) {
                return Ok(true);
            }
            self.marker.misses_left -= 1;
        }
        self.passed_over += 1;
        Ok(false)
    }

    /// Passes over what is lost or out of reach, where that may be. What a newer release wrote is neither.
    fn tolerate(&mut self, walked: Result<(), ReadError>) -> Result<(), ReadError> {
        match walked {
            Err(error)
                if self.is_optional && error.newer().is_none() && (error.is_loss() || error.is_out_of_reach()) =>
            {
                self.passed_over += 1;
                Ok(())
            }
            walked => walked,
        }
    }

    fn head(&mut self, root: &Ref) -> Result<(), ReadError> {
        if matches!(self.descend(root)?, Descend::No) {
            return Ok(());
        }
        let ask = self.patience().ask().ok_or(ReadError::WouldWait { id: root.id })?;
        let payload = self.reader.payload(root, Kind::Root, ask)?;
        self.volume_root(&VolumeRoot::decode(&payload)?)
    }

    fn volume_root(&mut self, root: &VolumeRoot) -> Result<(), ReadError> {
        self.record(&root.root)?;
        self.links(&root.links)?;
        self.pending()
    }

    fn links(&mut self, links: &MapRoot) -> Result<(), ReadError> {
        let walked = map_tree::walk(&mut self.nodes(), links, |visit| match visit {
            map_tree::Visit::Node { reference, .. } => self.descend(reference),
            map_tree::Visit::Entry { value, .. } => {
                self.record(&Record::decode(&value)?)?;
                Ok(Descend::Yes)
            }
        });
        self.tolerate(walked)
    }

    /// Walks the directories that were come across.
    fn pending(&mut self) -> Result<(), ReadError> {
        while let Some(dir) = self.dirs.pop() {
            let walked = map_tree::walk(&mut self.nodes(), &dir, |visit| match visit {
                map_tree::Visit::Node { reference, .. } => self.descend(reference),
                map_tree::Visit::Entry { value, .. } => {
                    if let Entry::Own(record) = Entry::decode(&value)? {
                        self.record(&record)?;
                    }
                    Ok(Descend::Yes)
                }
            });
            self.tolerate(walked)?;
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> Result<(), ReadError> {
        if let Xattrs::Sealed(reference) = &record.xattrs {
            self.is_known(reference);
        }
        match &record.content {
            Content::File(root) => self.file(root),
            Content::Dir(root) => {
                self.dirs.push(root.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, root: &FileRoot) -> Result<(), ReadError> {
        let walked = file_tree::walk(&mut self.nodes(), root, |visit| match visit {
            file_tree::Visit::Node { reference, .. } => self.descend(reference),
            file_tree::Visit::Extent { extent, .. } => {
                if let file_tree::Extent::Chunk { chunk, .. } = extent {
                    self.is_known(&chunk);
                }
                Ok(Descend::Yes)
            }
        });
        self.tolerate(walked)
    }
}
