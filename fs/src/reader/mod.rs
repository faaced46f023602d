//! Reading trees: from a ref to a decoded node or a plaintext chunk, through memory first.
//!
//! ```text
//! cached? ──> somebody loading it already? ──> store.get ──> open (key, kind, length) ──> decode ──> cache
//! ```
//! [`TreeReader`] owns two caches, both bounded in bytes: decoded nodes, and plaintext chunks. A block that several
//! threads want at once is fetched and opened once ([`flight`]). What is asked for in the background (collection, checks)
//! uses what is cached and leaves the caches as they are.
//!
//! Nothing here is truth: dropping every byte costs time only.

mod flight;
mod lru;

use std::sync::Arc;

use bytes::Bytes;
use cairn_block::{
    BlockId, DecodeError, FileNode, Kind, MapNode, Nodes, OpenError, Ref, decode_xattrs, open,
};
use cairn_store::{Ask, BlockStore, Priority, StoreError};
use parking_lot::Mutex;

use flight::{Flights, Seat};
use lru::ByteLru;

/// Decoded nodes kept by default: the upper levels of large volumes and the directories in use.
pub const NODES_BYTES_MAX: usize = 32 << 20;

/// Plaintext chunks kept by default. Small, because the kernel caches file pages itself; what counts here is that the
/// requests of one read-ahead window open each chunk once.
pub const CHUNKS_BYTES_MAX: usize = 48 << 20;

/// What each cache keeps through an idle time.
pub const IDLE_BYTES_MAX: usize = 4 << 20;

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
        Self {
            nodes_bytes_max: NODES_BYTES_MAX,
            chunks_bytes_max: CHUNKS_BYTES_MAX,
            idle_bytes_max: IDLE_BYTES_MAX,
        }
    }
}

/// Why a node or chunk could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It isn't in memory, and the caller asked for memory only.
    #[error("block {id} is not in memory")]
    WouldWait {
        /// The block that would have to be fetched.
        id: BlockId,
    },
    /// No store that was asked has the block.
    #[error("block {id} is missing")]
    Missing {
        /// The block.
        id: BlockId,
    },
    /// The block is there and can't be trusted or understood.
    #[error("block {id} is damaged")]
    Damaged {
        /// The block.
        id: BlockId,
        /// What is wrong with it.
        source: Flaw,
    },
    /// The store failed to answer: nothing is known about the block.
    #[error(transparent)]
    Store(StoreError),
}

/// What is wrong with a damaged block.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// The stored bytes are not those that the id names.
    #[error(transparent)]
    Stored(StoreError),
    /// The bytes are right, but the ref does not open them.
    #[error(transparent)]
    Sealed(#[from] OpenError),
    /// The plaintext is not what it should be.
    #[error(transparent)]
    Content(#[from] DecodeError),
}

impl ReadError {
    /// The block it is about, unless the store as a whole failed.
    #[must_use]
    pub fn block(&self) -> Option<BlockId> {
        match self {
            Self::WouldWait { id } | Self::Missing { id } | Self::Damaged { id, .. } => Some(*id),
            Self::Store(_) => None,
        }
    }

    /// Whether data is lost, as far as this store knows: asking again won't help.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Damaged { .. })
    }

    fn damaged(id: BlockId, flaw: impl Into<Flaw>) -> Self {
        Self::Damaged { id, source: flaw.into() }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged { id, .. } => Self::Damaged { id, source: Flaw::Stored(error) },
            other => Self::Store(other),
        }
    }
}

/// A node's place in the cache: a ref may be read as one shape and level only, so both belong to the key.
#[derive(Clone, PartialEq, Eq, Hash)]
struct NodeKey {
    reference: Ref,
    level: u8,
}

/// Reads nodes and chunks of trees from a store, through bounded caches. Shared by reference between threads.
pub struct TreeReader {
    store: Arc<dyn BlockStore>,
    options: ReaderOptions,
    map_nodes: Mutex<ByteLru<NodeKey, Arc<MapNode>>>,
    file_nodes: Mutex<ByteLru<NodeKey, Arc<FileNode>>>,
    chunks: Mutex<ByteLru<Ref, Bytes>>,
    flights: Flights,
}

impl TreeReader {
    /// A reader over `store` with empty caches.
    #[must_use]
    pub fn new(store: Arc<dyn BlockStore>, options: ReaderOptions) -> Self {
        Self {
            store,
            // Directories are looked at far more often than extents: half and half would starve them.
            map_nodes: Mutex::new(ByteLru::new(options.nodes_bytes_max / 4 * 3)),
            file_nodes: Mutex::new(ByteLru::new(options.nodes_bytes_max / 4)),
            chunks: Mutex::new(ByteLru::new(options.chunks_bytes_max)),
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
        if let Some(node) = self.cached_map_node(reference, level) {
            return Ok(node);
        }
        let payload = self.load(reference, Kind::MapNode, ask)?;
        let node = MapNode::decode(level, payload).map_err(|error| ReadError::damaged(reference.id, error))?;
        let node = Arc::new(node);
        if keeps(ask) {
            let key = NodeKey { reference: reference.clone(), level };
            self.map_nodes.lock().put(key, Arc::clone(&node), node_bytes(reference));
        }
        Ok(node)
    }

    /// A node of a file tree, from memory or the store.
    pub fn file_node(&self, reference: &Ref, level: u8, ask: Ask) -> Result<Arc<FileNode>, ReadError> {
        if let Some(node) = self.cached_file_node(reference, level) {
            return Ok(node);
        }
        let payload = self.load(reference, Kind::FileNode, ask)?;
        let node = FileNode::decode(level, payload).map_err(|error| ReadError::damaged(reference.id, error))?;
        let node = Arc::new(node);
        if keeps(ask) {
            let key = NodeKey { reference: reference.clone(), level };
            self.file_nodes.lock().put(key, Arc::clone(&node), node_bytes(reference));
        }
        Ok(node)
    }

    /// The plaintext of a data chunk, from memory or the store.
    pub fn chunk(&self, reference: &Ref, ask: Ask) -> Result<Bytes, ReadError> {
        if let Some(chunk) = self.cached_chunk(reference) {
            return Ok(chunk);
        }
        self.load(reference, Kind::Data, ask)
    }

    /// Extended attributes that have a block of their own, sorted by name.
    pub fn xattrs(&self, reference: &Ref, ask: Ask) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let payload = self.load(reference, Kind::Xattrs, ask)?;
        decode_xattrs(&payload).map_err(|error| ReadError::damaged(reference.id, error))
    }

    /// The payload of a block of any kind, past the caches: for what is read once, as roots and journal records are.
    pub fn payload(&self, reference: &Ref, kind: Kind, ask: Ask) -> Result<Bytes, ReadError> {
        self.load(reference, kind, ask)
    }

    /// A node of a map tree if it is in memory. Never does I/O.
    #[must_use]
    pub fn cached_map_node(&self, reference: &Ref, level: u8) -> Option<Arc<MapNode>> {
        let key = NodeKey { reference: reference.clone(), level };
        self.map_nodes.lock().get(&key).cloned()
    }

    /// A node of a file tree if it is in memory. Never does I/O.
    #[must_use]
    pub fn cached_file_node(&self, reference: &Ref, level: u8) -> Option<Arc<FileNode>> {
        let key = NodeKey { reference: reference.clone(), level };
        self.file_nodes.lock().get(&key).cloned()
    }

    /// A chunk if it is in memory. Never does I/O.
    #[must_use]
    pub fn cached_chunk(&self, reference: &Ref) -> Option<Bytes> {
        self.chunks.lock().get(reference).cloned()
    }

    /// The nodes for the tree algorithms, loaded as `ask` says.
    #[must_use]
    pub fn nodes(&self, ask: Ask) -> ReaderNodes<'_> {
        ReaderNodes { reader: self, ask: Some(ask) }
    }

    /// The nodes that are in memory; any other is [`ReadError::WouldWait`]. Never does I/O.
    #[must_use]
    pub fn cached_nodes(&self) -> ReaderNodes<'_> {
        ReaderNodes { reader: self, ask: None }
    }

    /// Gives memory back, but for a floor that keeps the next access from starting cold. For idle times.
    pub fn shrink(&self) {
        let floor = self.options.idle_bytes_max;
        self.map_nodes.lock().shrink_to(floor / 4 * 3);
        self.file_nodes.lock().shrink_to(floor / 4);
        self.chunks.lock().shrink_to(floor);
    }

    /// Bytes in the caches.
    #[must_use]
    pub fn cached_bytes(&self) -> usize {
        self.map_nodes.lock().bytes() + self.file_nodes.lock().bytes() + self.chunks.lock().bytes()
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
        if let Some(chunk) = self.cached_chunk(reference) {
            return Ok(chunk);
        }
        let chunk = self.open(reference, kind, ask)?;
        if keeps(ask) {
            self.chunks.lock().put(reference.clone(), chunk.clone(), chunk.len());
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

/// What a decoded node weighs: its payload, and about as much again for the index over it.
fn node_bytes(reference: &Ref) -> usize {
    2 * reference.len as usize + size_of::<NodeKey>()
}

/// [`Nodes`] over a reader; see [`TreeReader::nodes`] and [`TreeReader::cached_nodes`].
pub struct ReaderNodes<'a> {
    reader: &'a TreeReader,
    ask: Option<Ask>,
}

impl Nodes for ReaderNodes<'_> {
    type Error = ReadError;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, ReadError> {
        match self.ask {
            Some(ask) => self.reader.map_node(reference, level, ask),
            None => self
                .reader
                .cached_map_node(reference, level)
                .ok_or(ReadError::WouldWait { id: reference.id }),
        }
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, ReadError> {
        match self.ask {
            Some(ask) => self.reader.file_node(reference, level, ask),
            None => self
                .reader
                .cached_file_node(reference, level)
                .ok_or(ReadError::WouldWait { id: reference.id }),
        }
    }
}
