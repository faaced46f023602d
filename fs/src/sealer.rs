//! Plaintext into the store: known chunks are found by hint, others are sealed and put.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_block::{Compression, Kind, Ref, Sink, VolumeKeys, dedup_key, open_hint, seal, seal_hint};
use cairn_store::{BlockStore, HintStore, Put};
use rayon::prelude::*;

use crate::error::FsError;

/// What went through a sealer since the volume was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealStats {
    /// Plaintext of chunks handed in, in bytes.
    pub data_bytes: u64,
    /// Of these, found to be stored already by a hint.
    pub known_bytes: u64,
    /// Chunks of files that were sealed for a tree.
    pub chunks: Sealed,
    /// Short runs that were parked for the next flush, many in one block.
    pub parked: Sealed,
    /// Nodes, roots and lists of attributes.
    pub nodes: Sealed,
}

/// Blocks that were sealed and that the store didn't have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// How many.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Default)]
struct Counter {
    blocks: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn count(&self, bytes: usize) {
        self.blocks.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn read(&self) -> Sealed {
        Sealed { blocks: self.blocks.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

#[derive(Default)]
struct Counters {
    data_bytes: AtomicU64,
    known_bytes: AtomicU64,
    chunks: Counter,
    parked: Counter,
    nodes: Counter,
}

/// Seals chunks and nodes of one volume into its store.
pub(crate) struct Sealer {
    keys: Arc<VolumeKeys>,
    store: Arc<dyn BlockStore>,
    hints: Arc<dyn HintStore>,
    counters: Counters,
}

/// What a block is put for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// New data: refused on a full disk.
    Growth,
    /// A flush of what the journal has already. It may use the store's reserve: it is what makes deletions count.
    Flush,
}

impl Sealer {
    pub(crate) fn new(keys: Arc<VolumeKeys>, store: Arc<dyn BlockStore>, hints: Arc<dyn HintStore>) -> Sealer {
        Sealer { keys, store, hints, counters: Counters::default() }
    }

    /// What went through so far.
    pub(crate) fn stats(&self) -> SealStats {
        SealStats {
            data_bytes: self.counters.data_bytes.load(Ordering::Relaxed),
            known_bytes: self.counters.known_bytes.load(Ordering::Relaxed),
            chunks: self.counters.chunks.read(),
            parked: self.counters.parked.read(),
            nodes: self.counters.nodes.read(),
        }
    }

    /// A chunk of a file: one hash when it is known, else sealed and put.
    pub(crate) fn chunk(&self, raw: &[u8], purpose: Purpose) -> Result<Ref, FsError> {
        let len = raw.len() as u64;
        self.counters.data_bytes.fetch_add(len, Ordering::Relaxed);
        let key = dedup_key(self.keys.dedup(), Kind::Data, raw);
        if let Some(known) = self.known(&key, raw.len())? {
            self.counters.known_bytes.fetch_add(len, Ordering::Relaxed);
            return Ok(known);
        }
        let reference = self.put_counted(Kind::Data, raw, purpose, &self.counters.chunks)?;
        self.hints.put_hint(key, seal_hint(self.keys.dedup(), &key, &reference).into());
        Ok(reference)
    }

    fn known(&self, key: &[u8; 32], len: usize) -> Result<Option<Ref>, FsError> {
        let Some(hint) = self.hints.hint(key) else { return Ok(None) };
        // A hint that does not open, or points nowhere, is as good as none.
        let Ok(reference) = open_hint(self.keys.dedup(), key, &hint) else { return Ok(None) };
        let usable = reference.len as usize == len && self.store.claim(&reference.id)?;
        Ok(usable.then_some(reference))
    }

    /// Short runs of several files in one block, until the flush chunks them with their neighbours.
    pub(crate) fn park(&self, raw: &[u8], purpose: Purpose) -> Result<Ref, FsError> {
        self.put_counted(Kind::Data, raw, purpose, &self.counters.parked)
    }

    /// A block of a tree, without a hint.
    pub(crate) fn node(&self, kind: Kind, raw: &[u8]) -> Result<Ref, FsError> {
        self.put_counted(kind, raw, Purpose::Flush, &self.counters.nodes)
    }

    fn put_counted(&self, kind: Kind, raw: &[u8], purpose: Purpose, counter: &Counter) -> Result<Ref, FsError> {
        let sealed = seal(self.keys.convergence(), kind, raw, Compression::Probe).map_err(|_| FsError::Invalid)?;
        let put = match purpose {
            Purpose::Growth => self.store.put(&sealed.block)?,
            Purpose::Flush => self.store.put_from_reserve(&sealed.block)?,
        };
        if put == Put::New {
            counter.count(sealed.block.len());
        }
        Ok(sealed.reference)
    }

    /// Tree nodes, which only flushes make.
    pub(crate) fn sink(&self) -> NodeSink<'_> {
        NodeSink(self)
    }
}

/// Puts tree nodes.
pub(crate) struct NodeSink<'a>(&'a Sealer);

impl Sink for NodeSink<'_> {
    type Error = FsError;

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, FsError> {
        self.0.node(kind, payload)
    }
}

/// Runs `work` over all items on as many threads as there are cores, keeping the order of results.
///
/// Stops early at an error. For work of at least a hundred microseconds an item. The threads stay: what one of them
/// allocates lives on in the store, and an allocator can't use the pages around it again once its thread is gone.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, FsError> + Sync,
) -> Result<Vec<R>, FsError> {
    match items {
        [item] => Ok(vec![work(item)?]),
        items => items.par_iter().with_max_len(1).map(&work).collect(),
    }
}
