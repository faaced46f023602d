//! What a path consists of: its entry, the blocks of it, and which of them are where.

use std::time::Duration;

use cairn_block::{
    BlockId, Content, Descend, Entry, FileRoot, MapRoot, NameKey, Nodes, Record, Ref, VolumeRoot, Xattrs, file_tree,
    map_tree,
};
use cairn_store::{BlockStore, Priority, StoreError};

use crate::reader::{Patience, ReadError, ReaderNodes, TreeReader};
use crate::tree::{PathError, record_of, resolve};
use crate::verify::Seen;

/// Blocks that are named one by one; the rest is counted. Enough to look into a file of a few hundred MiB.
pub const BLOCKS_NAMED_MAX: usize = 1024;

/// How long one block may take.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// Nothing is at this path.
    #[error(transparent)]
    Path(#[from] PathError<ReadError>),
    /// A store can't say what it has.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a block is to the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Content.
    Chunk,
    /// A node of the file's tree, by level; leaves have 0.
    FileNode(u8),
    /// A node of the directory's tree, by level.
    DirNode(u8),
    /// Extended attributes.
    Xattrs,
}

/// A block of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockUse {
    /// Its address.
    pub id: BlockId,
    /// What it is.
    pub role: Role,
    /// Bytes of the chunk, before compression.
    pub len: u32,
    /// For each store that was asked, whether it has the block.
    pub is_in: Vec<bool>,
}

/// What a path consists of. Of a directory, itself without what is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// All there is to know of the inode.
    pub record: Record,
    /// Its record is in the table of linked inodes, because it has or had several names.
    pub is_linked: bool,
    /// The first blocks, in the order of the tree, each once.
    pub blocks: Vec<BlockUse>,
    /// How many blocks there are, each counted once.
    pub blocks_count: u64,
    /// Their bytes, before compression.
    pub blocks_bytes: u64,
    /// For each store that was asked, how many of them it has.
    pub blocks_in: Vec<u64>,
    /// Extents that refer to chunks; more than chunks where the file repeats itself.
    pub extents: u64,
    /// Holes.
    pub holes: u64,
    /// Nodes that can't be read: what is below them is not counted.
    pub unreadable: Vec<BlockId>,
}

impl Why {
    /// Whether the store with this index has every block.
    #[must_use]
    pub fn is_whole_in(&self, store: usize) -> bool {
        self.unreadable.is_empty() && self.blocks_in.get(store).is_some_and(|count| *count == self.blocks_count)
    }
}

/// Tells what is at `path` in the tree of `root`, and which of `stores` have what of it.
pub fn why(
    reader: &TreeReader,
    names: &NameKey,
    root: &VolumeRoot,
    path: &[u8],
    stores: &[&dyn BlockStore],
) -> Result<Why, WhyError> {
    let mut nodes = reader.patient_nodes(PATIENCE);
    let entry = resolve(&mut nodes, names, root, path)?;
    let is_linked = matches!(entry, Some(Entry::Link { .. }));
    let record = match entry {
        None => root.root.clone(),
        Some(entry) => record_of(&mut nodes, root, entry).map_err(PathError::Read)?.ok_or(PathError::NotFound)?,
    };
    let mut look = Look { reader, stores, met: Seen::default(), why: empty(record, is_linked, stores.len()) };
    look.inode()?;
    Ok(look.why)
}

const PATIENCE: Patience = Patience::Each(Priority::Background, BLOCK_TIMEOUT);

fn empty(record: Record, is_linked: bool, stores: usize) -> Why {
    Why {
        record,
        is_linked,
        blocks: Vec::new(),
        blocks_count: 0,
        blocks_bytes: 0,
        blocks_in: vec![0; stores],
        extents: 0,
        holes: 0,
        unreadable: Vec::new(),
    }
}

struct Look<'a> {
    reader: &'a TreeReader,
    stores: &'a [&'a dyn BlockStore],
    met: Seen,
    why: Why,
}

impl<'a> Look<'a> {
    fn inode(&mut self) -> Result<(), WhyError> {
        if let Xattrs::Sealed(reference) = &self.why.record.xattrs {
            self.block(&reference.clone(), Role::Xattrs)?;
        }
        match self.why.record.content.clone() {
            Content::File(root) => self.file(&root),
            Content::Dir(root) => self.dir(&root),
            _ => Ok(()),
        }
    }

    fn file(&mut self, root: &FileRoot) -> Result<(), WhyError> {
        let mut failed = None;
        let walked = file_tree::walk(&mut self.nodes(), root, |visit| {
            let noted = match visit {
                file_tree::Visit::Node { reference, level } => {
                    let noted = self.block(reference, Role::FileNode(level));
                    return Ok(
                        self.descend(reference, noted, &mut failed, |nodes| nodes.file(reference, level).map(drop))
                    );
                }
                file_tree::Visit::Extent { extent: file_tree::Extent::Chunk { chunk, .. }, .. } => {
                    self.why.extents += 1;
                    self.block(&chunk, Role::Chunk)
                }
                file_tree::Visit::Extent { .. } => {
                    self.why.holes += 1;
                    Ok(())
                }
            };
            failed = failed.take().or(noted.err());
            Ok(Descend::Yes)
        });
        self.ended(walked, failed)
    }

    fn dir(&mut self, root: &MapRoot) -> Result<(), WhyError> {
        let mut failed = None;
        let walked = map_tree::walk(&mut self.nodes(), root, |visit| {
            let map_tree::Visit::Node { reference, level } = visit else { return Ok(Descend::Yes) };
            let noted = self.block(reference, Role::DirNode(level));
            Ok(self.descend(reference, noted, &mut failed, |nodes| nodes.map(reference, level).map(drop)))
        });
        self.ended(walked, failed)
    }

    /// Whether to go below a node: not if a store failed, and not if it can't be read, which is noted.
    fn descend(
        &mut self,
        reference: &Ref,
        noted: Result<(), StoreError>,
        failed: &mut Option<StoreError>,
        read: impl FnOnce(&mut ReaderNodes<'_>) -> Result<(), ReadError>,
    ) -> Descend {
        if let Err(error) = noted {
            failed.get_or_insert(error);
            return Descend::No;
        }
        match read(&mut self.nodes()) {
            Ok(()) => Descend::Yes,
            Err(_) => {
                self.why.unreadable.push(reference.id);
                Descend::No
            }
        }
    }

    fn ended(&mut self, walked: Result<(), ReadError>, failed: Option<StoreError>) -> Result<(), WhyError> {
        if let Some(error) = failed {
            return Err(error.into());
        }
        // What a walk still fails for is a node that its parent describes wrongly.
        match walked {
            Ok(()) => Ok(()),
            Err(ReadError::Store(error)) => Err(error.into()),
            Err(error) => {
                self.why.unreadable.extend(error.block());
                Ok(())
            }
        }
    }

    fn block(&mut self, reference: &Ref, role: Role) -> Result<(), StoreError> {
        if !self.met.insert(&reference.id) {
            return Ok(());
        }
        let is_in = self.stores.iter().map(|store| store.has(&reference.id)).collect::<Result<Vec<_>, _>>()?;
        for (count, is_in) in self.why.blocks_in.iter_mut().zip(&is_in) {
            *count += u64::from(*is_in);
        }
        self.why.blocks_count += 1;
        self.why.blocks_bytes += u64::from(reference.len);
        if self.why.blocks.len() < BLOCKS_NAMED_MAX {
            self.why.blocks.push(BlockUse { id: reference.id, role, len: reference.len, is_in });
        }
        Ok(())
    }

    fn nodes(&self) -> ReaderNodes<'a> {
        self.reader.patient_nodes(PATIENCE)
    }
}
