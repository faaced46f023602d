//! Nodes in memory, with every load and store counted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_block::{BlockId, BlockKey, DecodeError, FileNode, Kind, MapNode, Nodes, Ref, Sink, TreeError};

/// Why a test's tree could not be read.
#[derive(Debug, PartialEq)]
pub enum Failure {
    Missing(BlockId),
    Bytes(DecodeError),
    Tree(TreeError),
}

impl From<TreeError> for Failure {
    fn from(error: TreeError) -> Self {
        Failure::Tree(error)
    }
}

/// Payloads by the hash of kind and payload. Both [`Nodes`] and [`Sink`], by shared reference.
#[derive(Default)]
pub struct Memory {
    payloads: RefCell<HashMap<(BlockId, u8), Bytes>>,
    pub reads: Cell<usize>,
    pub writes: Cell<usize>,
}

impl Memory {
    pub fn reset_counts(&self) {
        self.reads.set(0);
        self.writes.set(0);
    }

    /// Stores a payload without asking whether it is a good one.
    pub fn insert(&self, kind: Kind, payload: &[u8]) -> Ref {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind as u8]).update(payload);
        let id = BlockId::from_bytes(*hasher.finalize().as_bytes());
        self.payloads.borrow_mut().insert((id, kind as u8), Bytes::copy_from_slice(payload));
        Ref { id, key: BlockKey::from_bytes(*id.as_bytes()), len: payload.len() as u32 }
    }

    pub fn payload(&self, kind: Kind, reference: &Ref) -> Result<Bytes, Failure> {
        self.reads.set(self.reads.get() + 1);
        let payloads = self.payloads.borrow();
        payloads.get(&(reference.id, kind as u8)).cloned().ok_or(Failure::Missing(reference.id))
    }
}

impl Nodes for &Memory {
    type Error = Failure;

    fn map(&mut self, reference: &Ref, level: u8) -> Result<Arc<MapNode>, Failure> {
        let payload = self.payload(Kind::MapNode, reference)?;
        MapNode::decode(level, payload).map(Arc::new).map_err(Failure::Bytes)
    }

    fn file(&mut self, reference: &Ref, level: u8) -> Result<Arc<FileNode>, Failure> {
        let payload = self.payload(Kind::FileNode, reference)?;
        FileNode::decode(level, payload).map(Arc::new).map_err(Failure::Bytes)
    }
}

impl Sink for &Memory {
    type Error = Failure;

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, Failure> {
        assert!(payload.len() <= cairn_block::limits::NODE_BYTES_MAX, "a node of {} bytes", payload.len());
        self.writes.set(self.writes.get() + 1);
        Ok(self.insert(kind, payload))
    }
}
