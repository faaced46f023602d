//! A store in memory with the keys of one volume: whatever a test needs to make trees and to read them.

use std::sync::Arc;
use std::time::Duration;

use cairn_block::{Compression, Kind, MasterKey, Ref, Sink, VolumeKeys, VolumeRoot, seal};
use cairn_fs::reader::{Patience, ReadError, ReaderNodes, ReaderOptions, TreeReader};
use cairn_store::{Ask, BlockStore, MemoryStore, Priority};

pub(crate) struct World {
    pub(crate) keys: Arc<VolumeKeys>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) reader: Arc<TreeReader>,
}

impl World {
    pub(crate) fn new() -> World {
        let keys = VolumeKeys::derive(&MasterKey::from_bytes([7; 32]), b"versions");
        let store = Arc::new(MemoryStore::new());
        let reader = TreeReader::new(Arc::clone(&store) as Arc<dyn BlockStore>, ReaderOptions::default());
        World { keys: Arc::new(keys), store, reader: Arc::new(reader) }
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
        self.world.store.put(&sealed.block)?;
        Ok(sealed.reference)
    }
}
