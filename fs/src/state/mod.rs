//! The overlay: what changed in a volume since its last tree, as a machine without I/O.
//!
//! [`State`] owns every inode that memory holds. An operation is a method that either changes the
//! state completely or stops before it changed anything: with an error for the caller, or with a
//! [`Need`]: a tree node that has to be read first. The owner ([`crate::volume`]) reads it *without* holding
//! the state's lock and asks again. So no operation waits for a disk under a lock, and the whole
//! machine can be driven by tests.
//!
//! Changes are layered. `changes` and `layer` hold what happened since the last freeze;
//! `flushing` holds what a flush is folding into the tree; below them is the tree. [`Batch`] names
//! what changed since the journal was last written, whichever layer it is in.
//!
//! Invariants, which the methods keep:
//! - a slot with `kids` has its node in memory, and so has every dirty or open inode;
//! - a dirty inode with a `Child` place has an `Own` change in its parent, which is dirty too.

mod acl;
mod attributes;
mod batch;
mod data;
mod freeze;
pub(crate) mod layer;
mod listing;
mod names;
pub(crate) mod node;
mod rebase;
mod replay;
mod slots;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::entry::{Entry, FileType, MapRoot, Record, Timestamp, VolumeRoot};
use cairn_block::file_tree::FileNode;
use cairn_block::id::{BlockId, Ino};
use cairn_block::map_tree::MapNode;
use cairn_block::{Nodes, Ref, VolumeKeys, map_tree};

use crate::error::FsError;
use crate::reader::TreeReader;

pub(crate) use batch::{Batch, Cut, FileCut, Load, NameItem, NodeItem};
pub(crate) use data::{Part, ReadPlan};
pub(crate) use freeze::{Folded, Frozen, FrozenBody};
pub(crate) use names::Birth;
use node::{Attributes, Body, Change, Changes, Dir, File, Node, Place, Slot};

/// Why an operation did not happen.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It can't.
    Fs(FsError),
    /// It can, once this was read.
    Need(Need),
}

/// What has to be read before an operation can go on.
#[derive(Clone, Debug)]
pub(crate) enum Need {
    /// A node of a directory or of the link table.
    Map(Ref, u8),
    /// The extended attributes of an inode, too large for its record.
    Attributes(Ino, Ref),
}

impl<E: Into<FsError>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Fs(error.into())
    }
}

/// What an operation on the state ends with.
pub(crate) type Step<T> = Result<T, Stop>;

/// Nodes that were read for the operation under way; they can't be evicted before it ends.
#[derive(Debug, Default)]
pub(crate) struct Pinned {
    nodes: HashMap<BlockId, Arc<MapNode>>,
    attributes: HashMap<BlockId, Vec<(Bytes, Bytes)>>,
}

impl Pinned {
    /// Keeps a node.
    pub(crate) fn node(&mut self, id: BlockId, node: Arc<MapNode>) {
        self.nodes.insert(id, node);
    }

    /// Keeps a list of extended attributes.
    pub(crate) fn attributes(&mut self, id: BlockId, list: Vec<(Bytes, Bytes)>) {
        self.attributes.insert(id, list);
    }
}

/// Tree nodes that are in memory; anything else is a [`Need`].
struct Resident<'a> {
    reader: &'a TreeReader,
    pinned: &'a Pinned,
}

impl Nodes for Resident<'_> {
    type Error = Stop;

    fn map(&mut self, reference: &Ref, level: u8) -> Step<Arc<MapNode>> {
        if let Some(node) = self.pinned.nodes.get(&reference.id) {
            return Ok(Arc::clone(node));
        }
        self.reader.cached_map_node(reference).ok_or_else(|| Stop::Need(Need::Map(reference.clone(), level)))
    }

    fn file(&mut self, _: &Ref, _: u8) -> Step<Arc<FileNode>> {
        // File trees are read outside of the lock, by plan; see `ReadPlan`.
        Err(Stop::Fs(FsError::Invalid))
    }
}

/// The link table: records of inodes that have, or had, several names.
#[derive(Debug)]
struct Links {
    base: MapRoot,
    flushing: Option<HashMap<Ino, bool>>,
    /// Whether an inode is in the table now, for those that changed.
    changes: HashMap<Ino, bool>,
}

/// Everything that memory holds of a volume.
pub(crate) struct State {
    reader: Arc<TreeReader>,
    keys: Arc<VolumeKeys>,
    /// Nodes read for the operation under way.
    pub(crate) pinned: Pinned,
    slots: HashMap<Ino, Slot>,
    links: Links,
    next_ino: u64,
    /// The numbers that this device may give out.
    numbers: Range<u64>,
    dirty: HashSet<Ino>,
    /// Inodes that differ in nothing but their access time; they go into the next tree that something else makes.
    accessed: HashSet<Ino>,
    batch: Batch,
    /// Bytes of file data that only memory holds.
    memory_bytes: u64,
    /// Bytes written since the last cut.
    unwritten_bytes: u64,
    /// Counts changes; what a sync waits for.
    sequence: u64,
    /// Changes wait.
    held: bool,
    /// Nodes in memory.
    resident: usize,
}

/// Access times that wait for a tree; more of them make one.
const ACCESSED_MAX: usize = 16 << 10;

/// Nodes kept in memory though nobody uses them; about 500 bytes each.
const RESIDENT_NODES_MAX: usize = 32 << 10;

impl State {
    /// The state of a volume whose tree is `root`, without changes, on a device that gives out `numbers`.
    pub(crate) fn new(root: VolumeRoot, numbers: Range<u64>, keys: Arc<VolumeKeys>, reader: Arc<TreeReader>) -> State {
        let VolumeRoot { root, links, next_ino, .. } = root;
        // A head from before there were ranges counts elsewhere.
        let next_ino = if numbers.contains(&next_ino) || next_ino == numbers.end { next_ino } else { numbers.start };
        let mut state = State {
            reader,
            keys,
            pinned: Pinned::default(),
            slots: HashMap::new(),
            links: Links { base: links, flushing: None, changes: HashMap::new() },
            next_ino,
            numbers,
            dirty: HashSet::new(),
            accessed: HashSet::new(),
            batch: Batch::default(),
            memory_bytes: 0,
            unwritten_bytes: 0,
            sequence: 0,
            held: false,
            resident: 0,
        };
        let node = node_of(root, Bytes::new());
        state.slots.insert(Ino::ROOT, Slot { refs: 1, kids: 0, place: Place::Root, node: Some(Box::new(node)) });
        state.resident = 1;
        state
    }

    /// The number that the next new inode gets.
    pub(crate) fn next_ino(&self) -> u64 {
        self.next_ino
    }

    /// Whether changes have to wait.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Has changes wait, or not any more.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Passes over numbers that may have been given out and are not known any more.
    pub(crate) fn skip_numbers(&mut self, count: u64) {
        self.next_ino = self.next_ino.saturating_add(count).min(self.numbers.end);
    }

    /// Number of changes so far.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Bytes of file data that only memory holds.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Bytes written since the last cut.
    pub(crate) fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// Inodes that differ from the tree.
    pub(crate) fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// Whether the journal lacks something.
    pub(crate) fn has_batch(&self) -> bool {
        !self.batch.is_empty()
    }

    fn resident_nodes(&self) -> Resident<'_> {
        Resident { reader: &self.reader, pinned: &self.pinned }
    }

    /// A record from the link table.
    fn linked_record(&self, ino: Ino) -> Step<Record> {
        let key = ino.get().to_be_bytes();
        let value = map_tree::get(&mut self.resident_nodes(), &self.links.base, &key)?;
        let value = value.ok_or(FsError::Stale)?;
        let record = Record::decode(&value).ok();
        // The key says whose record it is; and a directory has one name.
        let sound = record.filter(|record| record.attr.ino == ino && record.attr.kind != FileType::Directory);
        sound.ok_or_else(|| damaged(ino, self.links.base.root.as_ref()))
    }

    /// Has the access times that wait written with the next tree.
    pub(crate) fn touch_accessed(&mut self) {
        for ino in std::mem::take(&mut self.accessed) {
            self.touch(ino);
        }
    }

    /// Notes that an inode differs from the tree, and with it every directory above.
    fn touch(&mut self, ino: Ino) {
        self.sequence += 1;
        self.batch.nodes.insert(ino);
        self.accessed.remove(&ino);
        let mut at = ino;
        let mut loads = Vec::new();
        while self.dirty.insert(at) {
            let Some(slot) = self.slots.get(&at) else { break };
            let Some(node) = slot.node.as_ref() else { break };
            match slot.place {
                Place::Child { parent, .. } => {
                    let key = node.key.clone();
                    loads.push(Load::Child { ino: at, parent, key: key.clone() });
                    let Some(dir) = self.dir_mut(parent) else { break };
                    dir.changes.entry(key).or_insert(Change::Own(at));
                    at = parent;
                }
                Place::Linked => {
                    loads.push(Load::Linked { ino: at });
                    self.links.changes.entry(at).or_insert(true);
                    break;
                }
                Place::Root | Place::Orphan => break,
            }
        }
        // Parents first: a replay finds a child through its parent.
        self.batch.loads.extend(loads.into_iter().rev());
    }
}

/// The node that a record describes, in memory of its own: as they are decoded, a key or a few inline bytes
/// would keep a whole tree node alive.
fn node_of(record: Record, key: Bytes) -> Node {
    use cairn_block::entry::{Content, Xattrs};
    let Record { attr, content, xattrs } = record;
    let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
    let body = match content {
        Content::Dir(root) => Body::Dir(Box::new(Dir::new(root))),
        Content::Symlink(target) => Body::Symlink(own(target)),
        Content::None => Body::Special,
        Content::Inline(bytes) => {
            Body::File(Box::new(File::new(Content::Inline(own(bytes)), attr.size, attr.allocated)))
        }
        content => Body::File(Box::new(File::new(content, attr.size, attr.allocated))),
    };
    let xattrs = match xattrs {
        Xattrs::Inline(list) => {
            Attributes::Loaded(list.into_iter().map(|(name, value)| (own(name), own(value))).collect())
        }
        Xattrs::Sealed(reference) => Attributes::Sealed(reference),
    };
    Node { attr, xattrs, key: own(key), opens: 0, flushing: false, body }
}

/// The error for bytes that verified as a block but are no valid entry.
fn damaged(ino: Ino, root: Option<&Ref>) -> Stop {
    let id = root.map_or(BlockId::from_bytes([0; 32]), |r| r.id);
    Stop::Fs(FsError::Damaged { id, ino })
}

/// Decodes a directory entry.
fn decode_entry(dir: Ino, value: &Bytes, root: Option<&Ref>) -> Step<Entry> {
    Entry::decode(value).map_err(|_| damaged(dir, root))
}
