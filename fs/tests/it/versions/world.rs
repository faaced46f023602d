//! A store in memory with the keys of one volume: whatever a test needs to make trees and to read them.

use std::sync::Arc;
use std::time::Duration;

use cairn_block::file_tree::{self, Extent};
use cairn_block::{Block, BlockId, Compression, FileRoot, Kind, MasterKey, Ref, Sink, VolumeKeys, VolumeRoot, seal};
use cairn_fs::reader::{Patience, ReadError, ReaderNodes, ReaderOptions, TreeReader};
use cairn_store::{Ask, BlockStore, MemoryStore, Priority, Put, StoreError};
use parking_lot::Mutex;

pub(crate) struct World {
    pub(crate) keys: Arc<VolumeKeys>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) reader: Arc<TreeReader>,
    /// What was put, each block once.
    pub(crate) put: Mutex<Vec<BlockId>>,
    data: Mutex<Vec<BlockId>>,
}

impl World {
    pub(crate) fn new() -> World {
        let keys = VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"versions");
        let store = Arc::new(MemoryStore::new());
        let reader = TreeReader::new(Arc::clone(&store) as Arc<dyn BlockStore>, ReaderOptions::default());
        World { keys: Arc::new(keys), store, reader: Arc::new(reader), put: Mutex::default(), data: Mutex::default() }
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask::now(Duration::from_secs(60))
    }

    pub(crate) fn nodes(&self) -> ReaderNodes<'_> {
        self.reader.patient_nodes(Patience::Each(Priority::Now, Duration::from_secs(60)))
    }

    pub(crate) fn sink(&self) -> Sealing<'_> {
        Sealing { world: self }
    }

    /// A reader of its own over the same store, without the blocks in `lost`.
    pub(crate) fn reader_without(&self, lost: &[BlockId]) -> TreeReader {
        let store = Lossy { inner: Arc::clone(&self.store), lost: lost.to_vec() };
        TreeReader::new(Arc::new(store), ReaderOptions::default())
    }

    /// The same, with a reader that has read nothing yet.
    pub(crate) fn with_empty_caches(self) -> World {
        World { reader: Arc::new(self.reader_without(&[])), ..self }
    }

    /// A file's content as a tree of `chunks` chunks with a hole after each.
    pub(crate) fn file(&self, chunks: u8) -> (FileRoot, u64, u64) {
        let mut extents = Vec::new();
        for index in 0..chunks {
            let chunk = self.sink().put(Kind::Data, &[index; 5000]).unwrap();
            extents.push(Extent::whole(chunk));
            extents.push(Extent::Hole { len: 1000 });
        }
        let tree = file_tree::build(&mut self.sink(), extents, false).unwrap();
        (tree.root.unwrap(), u64::from(chunks) * 6000, tree.allocated)
    }

    /// The blocks that hold content of files.
    pub(crate) fn chunks(&self) -> Vec<BlockId> {
        self.data.lock().clone()
    }

    pub(crate) fn seal_root(&self, root: &VolumeRoot) -> Ref {
        self.sink().put(Kind::Root, &root.encode().unwrap()).unwrap()
    }
}

/// Seals what it is given into the world's store.
pub(crate) struct Sealing<'a> {
    world: &'a World,
}

impl Sink for Sealing<'_> {
    type Error = ReadError;

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, ReadError> {
        let sealed = seal(self.world.keys.convergence(), kind, payload, Compression::Probe).unwrap();
        if self.world.store.put(&sealed.block)? == Put::New {
            self.world.put.lock().push(sealed.reference.id);
            if kind == Kind::Data {
                self.world.data.lock().push(sealed.reference.id);
            }
        }
        Ok(sealed.reference)
    }
}

/// A store that lacks some blocks.
pub(crate) struct Lossy {
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) lost: Vec<BlockId>,
}

impl BlockStore for Lossy {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        if self.lost.contains(id) { Ok(None) } else { self.inner.get(id, ask) }
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        self.inner.put(block)
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        Ok(!self.lost.contains(id) && self.inner.has(id)?)
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.inner.claim(id)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.inner.sync()
    }
}
