//! Plaintext into the store: known chunks are found by hint, others are sealed and put.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use cairn_block::{Compression, Kind, Ref, Sink, VolumeKeys, dedup_key, open_hint, seal, seal_hint};
use cairn_store::{BlockStore, HintStore, Put};

use crate::error::FsError;

/// What went through a sealer since the volume was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealStats {
    /// Plaintext of file data handed in, in bytes.
    pub data_bytes: u64,
    /// Of these, found to be stored already.
    pub known_bytes: u64,
    /// Sealed bytes of file data that were new.
    pub sealed_bytes: u64,
    /// Blocks sealed, data and tree nodes.
    pub blocks: u64,
}

#[derive(Default)]
struct Counters {
    data_bytes: AtomicU64,
    known_bytes: AtomicU64,
    sealed_bytes: AtomicU64,
    blocks: AtomicU64,
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
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SealStats {
            data_bytes: get(&self.counters.data_bytes),
            known_bytes: get(&self.counters.known_bytes),
            sealed_bytes: get(&self.counters.sealed_bytes),
            blocks: get(&self.counters.blocks),
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
        let reference = self.put_sealed(Kind::Data, raw, purpose)?;
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

    /// A block of any kind, without a hint.
    pub(crate) fn put_sealed(&self, kind: Kind, raw: &[u8], purpose: Purpose) -> Result<Ref, FsError> {
        let sealed = seal(self.keys.convergence(), kind, raw, Compression::Probe).map_err(|_| FsError::Invalid)?;
        self.counters.blocks.fetch_add(1, Ordering::Relaxed);
        let put = match purpose {
            Purpose::Growth => self.store.put(&sealed.block)?,
            Purpose::Flush => self.store.put_from_reserve(&sealed.block)?,
        };
        if kind == Kind::Data && put == Put::New {
            self.counters.sealed_bytes.fetch_add(sealed.block.len() as u64, Ordering::Relaxed);
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
        self.0.put_sealed(kind, payload, Purpose::Flush)
    }
}

/// Asked once: the answer comes from half a dozen files, which takes longer than sealing a small write.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, |n| n.get()));

/// Runs `work` over all items on as many threads as there are cores, keeping the order of results.
///
/// Stops early at the first error. For work of at least a hundred microseconds an item.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, FsError> + Sync,
) -> Result<Vec<R>, FsError> {
    let threads = items.len().min(*CORES);
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return Ok(done) };
            match work(item) {
                Ok(result) => done.push((at, result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let results: Vec<Result<Vec<(usize, R)>, FsError>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mine = run();
        let others = handles.into_iter().map(|h| h.join().unwrap_or(Err(FsError::Panicked { op: "seal" })));
        std::iter::once(mine).chain(others).collect()
    });
    let mut all = Vec::with_capacity(items.len());
    for result in results {
        all.extend(result?);
    }
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}
