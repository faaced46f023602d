//! Faults through the front door: a store that fails as scheduled, around one that doesn't.
//!
//! Whoever uses a store is tested against this wrapper with no change to either. [`Faults`] is the handle through which
//! a test adds rules while the store is in use; without rules the wrapper changes nothing.

mod schedule;

use bytes::{Bytes, BytesMut};
use cairn_block::{Block, BlockId, DeviceId, UnverifiedBlock, VolumeId};

use crate::cache::CacheBacking;
use crate::{
    Ask, BlockStore, Collection, Collector, HeadStore, HintStore, Place, Progress, Put, ScrubReport, Scrubber,
    StoreError, StoredHead, SweepOptions, SweepReport,
};
pub use schedule::{Call, Fault, Faults, Rule};

/// A store that fails by schedule.
pub struct FaultyStore<S> {
    inner: S,
    faults: Faults,
}

impl<S> FaultyStore<S> {
    /// Wraps `inner`. The seed decides what rules by chance strike.
    pub fn new(inner: S, seed: u64) -> Self {
        Self { inner, faults: Faults::new(seed) }
    }

    /// The handle that adds rules and counts calls.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What is wrapped: for looking behind the faults.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: BlockStore> BlockStore for FaultyStore<S> {
    fn get(&self, id: &BlockId, ask: Ask) -> Result<Option<Block>, StoreError> {
        let strike = self.faults.strike(Call::Get);
        let found = strike.around(Some(ask.deadline), || self.inner.get(id, ask))?;
        match found {
            Some(block) if strike.is(Fault::Damage) => verify_damaged(id, &block).map(Some),
            found => Ok(found),
        }
    }

    fn put(&self, block: &Block) -> Result<Put, StoreError> {
        self.faults.strike(Call::Put).around(None, || self.inner.put(block))
    }

    fn put_from_reserve(&self, block: &Block) -> Result<Put, StoreError> {
        self.faults.strike(Call::Put).around(None, || self.inner.put_from_reserve(block))
    }

    fn has(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.faults.strike(Call::Has).around(None, || self.inner.has(id))
    }

    fn claim(&self, id: &BlockId) -> Result<bool, StoreError> {
        self.faults.strike(Call::Claim).around(None, || self.inner.claim(id))
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.faults.strike(Call::Sync).around(None, || self.inner.sync())
    }
}

/// Flips a bit and lets verification find it: there is no way past it, not even for this wrapper.
fn verify_damaged(id: &BlockId, block: &Block) -> Result<Block, StoreError> {
    let mut bytes = BytesMut::from(&block.bytes()[..]);
    if let Some(byte) = bytes.last_mut() {
        *byte ^= 1;
    }
    UnverifiedBlock::new(bytes.freeze())
        .ok()
        .and_then(|unverified| unverified.verify(id).ok())
        .ok_or(StoreError::Damaged { id: *id, place: Place::Memory })
}

impl<S: HeadStore> HeadStore for FaultyStore<S> {
    fn put_head(&self, volume: &VolumeId, device: &DeviceId, seq: u64, head: &Bytes) -> Result<(), StoreError> {
        let strike = self.faults.strike(Call::PutHead);
        strike.around(None, || self.inner.put_head(volume, device, seq, head))
    }

    fn heads(&self, volume: &VolumeId) -> Result<Vec<StoredHead>, StoreError> {
        self.faults.strike(Call::Heads).around(None, || self.inner.heads(volume))
    }

    fn drop_heads(&self, volume: &VolumeId, heads: &[(DeviceId, u64)]) -> Result<(), StoreError> {
        let strike = self.faults.strike(Call::DropHeads);
        strike.around(None, || self.inner.drop_heads(volume, heads))
    }

    fn append_delta(&self, volume: &VolumeId, seq: u64, block: &Block) -> Result<(), StoreError> {
        let strike = self.faults.strike(Call::AppendDelta);
        strike.around(None, || self.inner.append_delta(volume, seq, block))
    }

    fn deltas(&self, volume: &VolumeId, after: u64) -> Result<Vec<(u64, BlockId)>, StoreError> {
        self.faults.strike(Call::Deltas).around(None, || self.inner.deltas(volume, after))
    }

    fn last_delta(&self, volume: &VolumeId) -> Result<u64, StoreError> {
        self.faults.strike(Call::Deltas).around(None, || self.inner.last_delta(volume))
    }

    fn trim_deltas(&self, volume: &VolumeId, upto: u64) -> Result<(), StoreError> {
        let strike = self.faults.strike(Call::TrimDeltas);
        strike.around(None, || self.inner.trim_deltas(volume, upto))
    }

    fn volumes(&self) -> Result<Vec<VolumeId>, StoreError> {
        self.faults.strike(Call::Volumes).around(None, || self.inner.volumes())
    }
}

/// Hints cannot fail, so any fault forgets.
impl<S: HintStore> HintStore for FaultyStore<S> {
    fn hint(&self, key: &[u8; 32]) -> Option<Bytes> {
        let strike = self.faults.strike(Call::Hint);
        strike.around(None, || Ok(self.inner.hint(key))).ok().flatten()
    }

    fn put_hint(&self, key: [u8; 32], value: Bytes) {
        let strike = self.faults.strike(Call::PutHint);
        // A hint that was not kept is a hint that was forgotten.
        let _ = strike.around(None, || {
            self.inner.put_hint(key, value);
            Ok(())
        });
    }
}

impl<S: Collector> Collector for FaultyStore<S> {
    fn begin_collection(&self) -> Result<Box<dyn Collection>, StoreError> {
        let strike = self.faults.strike(Call::BeginCollection);
        let inner = strike.around(None, || self.inner.begin_collection())?;
        Ok(Box::new(FaultyCollection { inner, faults: self.faults.clone() }))
    }
}

struct FaultyCollection {
    inner: Box<dyn Collection>,
    faults: Faults,
}

impl Collection for FaultyCollection {
    fn mark(&mut self, id: &BlockId) {
        self.inner.mark(id);
    }

    fn is_marked(&self, id: &BlockId) -> bool {
        self.inner.is_marked(id)
    }

    fn sweep(
        self: Box<Self>,
        options: SweepOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SweepReport, StoreError> {
        let Self { inner, faults } = *self;
        faults.strike(Call::Sweep).around(None, || inner.sweep(options, progress))
    }
}

impl<S: Scrubber> Scrubber for FaultyStore<S> {
    fn scrub(&self, progress: &mut dyn FnMut(Progress)) -> Result<ScrubReport, StoreError> {
        self.faults.strike(Call::Scrub).around(None, || self.inner.scrub(progress))
    }
}

impl<S: CacheBacking> CacheBacking for FaultyStore<S> {
    fn evict(&self, ids: &[BlockId]) -> Result<(), StoreError> {
        self.faults.strike(Call::Evict).around(None, || self.inner.evict(ids))
    }

    fn contents(&self) -> Result<Vec<(BlockId, u64)>, StoreError> {
        self.faults.strike(Call::Contents).around(None, || self.inner.contents())
    }
}
