//! Reading trees: from a ref to a decoded node or a plaintext chunk, through memory first.
//!
//! ```text
//! cached? ──> somebody loading it already? ──> store.get ──> open (key, kind, length) ──> decode ──> cache
//! ```
//! [`TreeReader`] owns two caches, both bounded in bytes: decoded nodes, and plaintext chunks. A block that several
//! threads want at once is fetched and opened once (`flight`). What is asked for in the background (collection, checks)
//! uses what is cached and leaves the caches as they are.
//!
//! Nothing here is truth: dropping every byte costs time only.

mod cache;
mod error;
mod flight;
mod nodes;
#[cfg(all(test, shuttle))]
mod schedules;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cache::Cache;
use cairn_block::limits::{CDC_BYTES_AVG, CHUNK_BYTES_MAX, NODE_BYTES_MAX};
use cairn_block::{FileNode, Kind, MapNode, Ref, Xattrs, open};
use cairn_store::{Ask, BlockStore, Priority};
pub use error::{Flaw, ReadError};
use flight::{Flights, Seat};
pub use nodes::{Lifted, Patience, ReaderNodes};

/// Decoded nodes kept by default: the upper levels of large volumes and the directories in use.
pub const NODES_BYTES_MAX: usize = 32 << 20;

/// Plaintext chunks kept by default. Small, because the kernel caches file pages itself; what counts here is that the
/// requests of one read-ahead window open each chunk once.
pub const CHUNKS_BYTES_MAX: usize = 48 << 20;

/// What each cache keeps through an idle time.
pub const IDLE_BYTES_MAX: usize = 4 << 20;

/// About what a decoded node weighs, and the most: see [`node_bytes`].
const NODE_BYTES_TYPICAL: usize = NODE_BYTES_MAX / 2;
const NODE_BYTES_LARGEST: usize = 2 * NODE_BYTES_MAX;

/// How much memory the caches of one reader may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderOptions {
    /// Bytes of decoded nodes.
    pub nodes_bytes_max: usize,
    /// Bytes of plaintext chunks.
    pub chunks_bytes_max: usize,
    /// Bytes that [`TreeReader::shrink`] leaves in each cache.
    pub idle_bytes_max: usize,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { nodes_bytes_max: NODES_BYTES_MAX, chunks_bytes_max: CHUNKS_BYTES_MAX, idle_bytes_max: IDLE_BYTES_MAX }
    }
}

/// Reads nodes and chunks of trees from a store, through bounded caches. Shared by reference between threads.
pub struct TreeReader {
    store: Arc<dyn BlockStore>,
    options: ReaderOptions,
    map_nodes: Cache<Ref, Arc<MapNode>>,
    file_nodes: Cache<Ref, Arc<FileNode>>,
    chunks: Cache<Ref, Bytes>,
    flights: Flights,
}

impl fmt::Debug for TreeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeReader").field("cached_bytes", &self.cached_bytes()).finish_non_exhaustive()
    }
}

impl TreeReader {
    /// A reader over `store` with empty caches.
    #[must_use]
    pub fn new(store: Arc<dyn BlockStore>, options: ReaderOptions) -> Self {
        Self {
            store,
            // Directories are looked at far more often than extents: half and half would starve them.
            map_nodes: Cache::new(options.nodes_bytes_max / 4 * 3, NODE_BYTES_TYPICAL, NODE_BYTES_LARGEST),
            file_nodes: Cache::new(options.nodes_bytes_max / 4, NODE_BYTES_TYPICAL, NODE_BYTES_LARGEST),
            chunks: Cache::new(options.chunks_bytes_max, CDC_BYTES_AVG, CHUNK_BYTES_MAX),
            options,
            flights: Flights::default(),
        }
    }

    /// The store underneath.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn BlockStore> {
        &self.store
    }

    /// A node of a map tree, from memory or the store.
    pub fn map_node(&self, reference: &Ref, level: u8, ask: Ask) -> Result<Arc<MapNode>, ReadError> {
        let cached = self.map_nodes.get(reference, ask.priority);
        if let Some(node) = cached.filter(|node| node.level() == level) {
            return Ok(node);
        }
        let payload = self.load(reference, Kind::MapNode, ask)?;
        let node = MapNode::decode(level, payload).map_err(|error| ReadError::damaged(reference.id, error))?;
        let node = Arc::new(node);
        if keeps(ask) {
            let bytes = node_bytes(reference, node.len());
            self.map_nodes.put(reference.clone(), Arc::clone(&node), bytes);
        }
        Ok(node)
    }

    /// A node of a file tree, from memory or the store.
    pub fn file_node(&self, reference: &Ref, level: u8, ask: Ask) -> Result<Arc<FileNode>, ReadError> {
        let cached = self.file_nodes.get(reference, ask.priority);
        if let Some(node) = cached.filter(|node| node.level() == level) {
            return Ok(node);
        }
        let payload = self.load(reference, Kind::FileNode, ask)?;
        let node = FileNode::decode(level, payload).map_err(|error| ReadError::damaged(reference.id, error))?;
        let node = Arc::new(node);
        if keeps(ask) {
            let bytes = node_bytes(reference, node.len());
            self.file_nodes.put(reference.clone(), Arc::clone(&node), bytes);
        }
        Ok(node)
    }

    /// The plaintext of a data chunk, from memory or the store.
    pub fn chunk(&self, reference: &Ref, ask: Ask) -> Result<Bytes, ReadError> {
        if let Some(chunk) = self.chunks.get(reference, ask.priority) {
            return Ok(chunk);
        }
        self.load(reference, Kind::Data, ask)
    }

    /// Extended attributes that have a block of their own, sorted by name.
    pub fn xattrs(&self, reference: &Ref, ask: Ask) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let payload = self.load(reference, Kind::Xattrs, ask)?;
        Xattrs::decode_list(&payload).map_err(|error| ReadError::damaged(reference.id, error))
    }

    /// The payload of a block of any kind, past the caches: for what is read once, as roots and journal records are.
    pub fn payload(&self, reference: &Ref, kind: Kind, ask: Ask) -> Result<Bytes, ReadError> {
        self.load(reference, kind, ask)
    }

    /// A node of a map tree if it is in memory. Never does I/O.
    #[must_use]
    pub fn cached_map_node(&self, reference: &Ref) -> Option<Arc<MapNode>> {
        self.map_nodes.get(reference, Priority::Now)
    }

    /// A node of a file tree if it is in memory. Never does I/O.
    #[must_use]
    pub fn cached_file_node(&self, reference: &Ref) -> Option<Arc<FileNode>> {
        self.file_nodes.get(reference, Priority::Now)
    }

    /// A chunk if it is in memory. Never does I/O.
    #[must_use]
    pub fn cached_chunk(&self, reference: &Ref) -> Option<Bytes> {
        self.chunks.get(reference, Priority::Now)
    }

    /// The nodes for the tree algorithms, loaded as `ask` says.
    #[must_use]
    pub fn nodes(&self, ask: Ask) -> ReaderNodes<'_> {
        ReaderNodes::new(self, Patience::Until(ask))
    }

    /// The nodes that are in memory; any other is [`ReadError::WouldWait`]. Never does I/O.
    #[must_use]
    pub fn cached_nodes(&self) -> ReaderNodes<'_> {
        ReaderNodes::new(self, Patience::None)
    }

    /// The nodes for a walk that takes as long as it takes, each with a deadline of its own.
    #[must_use]
    pub fn patient_nodes(&self, patience: Patience) -> ReaderNodes<'_> {
        ReaderNodes::new(self, patience)
    }

    /// Gives memory back, but for a floor that keeps the next access from starting cold. For idle times.
    pub fn shrink(&self) {
        let floor = self.options.idle_bytes_max;
        self.map_nodes.shrink_to(floor / 4 * 3);
        self.file_nodes.shrink_to(floor / 4);
        self.chunks.shrink_to(floor);
    }

    /// Bytes in the caches.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.map_nodes.bytes() + self.file_nodes.bytes() + self.chunks.bytes()
    }

    /// The payload, fetched and opened by whoever comes first and shared with those who come meanwhile.
    fn load(&self, reference: &Ref, kind: Kind, ask: Ask) -> Result<Bytes, ReadError> {
        loop {
            match self.flights.board(reference, kind) {
                Seat::Leader(leader) => {
                    let result = self.fetch(reference, kind, ask);
                    leader.land(&result);
                    return result;
                }
                Seat::Follower(flight) => {
                    if let Some(result) = flight.wait(reference.id, ask)? {
                        return Ok(result);
                    }
                    // The leader failed for a reason of its own, such as an earlier deadline: try again.
                }
            }
        }
    }

    fn fetch(&self, reference: &Ref, kind: Kind, ask: Ask) -> Result<Bytes, ReadError> {
        if kind != Kind::Data {
            return self.open(reference, kind, ask);
        }
        // Looked for again, and kept, while this thread leads: between its first look and here another may have landed.
        if let Some(chunk) = self.chunks.get(reference, Priority::Background) {
            return Ok(chunk);
        }
        let chunk = self.open(reference, kind, ask)?;
        if keeps(ask) {
            self.chunks.put(reference.clone(), chunk.clone(), chunk.len());
        }
        Ok(chunk)
    }

    fn open(&self, reference: &Ref, kind: Kind, ask: Ask) -> Result<Bytes, ReadError> {
        let block = self.store.get(&reference.id, ask)?.ok_or(ReadError::Missing { id: reference.id })?;
        open(reference, &block, kind).map_err(|error| ReadError::damaged(reference.id, error))
    }
}

/// Whether what was read stays in memory: background work must not push out what programs use.
fn keeps(ask: Ask) -> bool {
    ask.priority != Priority::Background
}

/// What a decoded node weighs: its payload, and an index with two bytes for each item.
fn node_bytes(reference: &Ref, items: usize) -> usize {
    reference.len as usize + 2 * items
}
