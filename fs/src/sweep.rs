//! A garbage collection over volumes that are in use.
//!
//! The store protects what is put or claimed while a collection runs. What was put *before* it began has to be reachable
//! from something that the collection knows, and at that very moment: a flush that lands a little later makes trees of refs
//! that were only in memory then, and lets go of the memory. So the beginning, and only that, happens while no volume
//! flushes or writes its journal, and what each refers to beside its heads is noted in the same moment. Marking and sweeping
//! go on beside all other work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_block::entry::{FileRoot, VolumeRoot};
use cairn_block::{BlockId, Head, Ref, includes};
use cairn_store::{Collector, Progress, SweepOptions, SweepReport};
use parking_lot::MutexGuard;

use crate::collect::{CollectError, Marked, Marker};
use crate::error::FsError;
use crate::heads::Heads;
use crate::known::HeadId;
use crate::volume::{Journal, Volume};

/// Why a collection of volumes was given up. Nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The heads of a volume can't be read.
    #[error(transparent)]
    Heads(#[from] FsError),
    /// A tree can't be walked, or the store failed.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A volume came that the collection doesn't know.
    #[error("a volume was made while the collection began")]
    Joined,
}

/// Neither a flush nor a journal write is under way while this is held.
struct Still<'a> {
    volume: &'a Volume,
    heads: MutexGuard<'a, Heads>,
    journal: MutexGuard<'a, Journal>,
}

/// What a volume needs beside its heads.
#[derive(Debug, Default)]
pub struct InMemory {
    /// Blocks of changes that no tree holds yet, on their way through memory and the journal.
    pub unsettled: Vec<BlockId>,
    /// Files that are open and have no name.
    pub files: Vec<FileRoot>,
    /// The tree that the state builds on, where no head of this device has it.
    pub tree: Option<VolumeRoot>,
}

impl Still<'_> {
    fn in_memory(&self) -> InMemory {
        let live = self.volume.state.lock().live();
        let journal = self.journal.blocks.iter().map(|(_, id)| *id);
        let adrift = self.volume.adrift.load(Ordering::Acquire);
        let tree = self.heads.root.clone().filter(|_| adrift);
        InMemory { unsettled: live.blocks.into_iter().chain(journal).collect(), files: live.files, tree }
    }
}

/// Removes what no head, no open file and no snapshot of those that `in_use` names needs. `volumes` has to be all
/// volumes of the store, each once: what another one needs would be taken for garbage. `in_use` is asked once the
/// collection has begun, and answers `None` if there are other volumes by then.
pub fn sweep(
    volumes: &[Arc<Volume>],
    collector: &dyn Collector,
    in_use: &dyn Fn() -> Option<Vec<Ref>>,
    options: SweepOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Marked, SweepReport), SweepError> {
    let Some(first) = volumes.first() else { return Ok(Default::default()) };
    let (collection, in_memory) = {
        let still: Vec<Still<'_>> = volumes.iter().map(|volume| volume.still()).collect();
        let collection = collector.begin_collection().map_err(CollectError::from)?;
        (collection, still.iter().map(Still::in_memory).collect::<Vec<_>>())
    };
    let mut marker = Marker::new(first.reader(), collection);
    for InMemory { unsettled, files, tree } in &in_memory {
        unsettled.iter().for_each(|id| marker.leaf(id));
        files.iter().try_for_each(|root| marker.file(root))?;
        tree.iter().try_for_each(|root| marker.volume_root(root))?;
    }
    for root in in_use().ok_or(SweepError::Joined)? {
        marker.head(&root)?;
    }
    let mut optional = Vec::new();
    for volume in volumes {
        let (heads, untrusted) = volume.kept_heads()?;
        if untrusted > 0 {
            // What a damaged head needs can't be told from garbage, and the head may come back whole.
            return Err(CollectError::Incomplete.into());
        }
        let needed = volume.needs_whole(&heads);
        for head in heads {
            if needed.contains(&(head.device, head.seq)) {
                marker.head(&head.root)?;
            } else {
                optional.push(head);
            }
        }
    }
    // Last: what others made and nobody here builds on is kept as far as it can be read, and keeps nothing else from being
    // removed. A tree of theirs may be nowhere any more.
    for head in optional {
        let passed_over = marker.head_as_far_as_it_goes(&head.root)?;
        if passed_over > 0 {
            tracing::warn!(device = %head.device, seq = head.seq, passed_over, "a head of another device can't be read to its end; what is below is not kept for it");
        }
    }
    let marked = marker.marked();
    Ok((marked, marker.sweep(options, progress)?))
}

impl Volume {
    /// What a collection keeps though no head needs it, and the journal's own records.
    pub fn in_memory(&self) -> Result<InMemory, FsError> {
        let mut found = self.still().in_memory();
        found.unsettled.extend(self.heads_store.deltas(&self.id(), 0)?.into_iter().map(|(_, id)| id));
        Ok(found)
    }

    /// The heads whose trees have to be read to their ends before anything is removed: this device's own, and of each other
    /// device the newest that the state includes.
    fn needs_whole(&self, heads: &[Head]) -> BTreeSet<HeadId> {
        let (own, vector) = (self.device.id(), self.heads.lock().vector.clone());
        let mut newest = BTreeMap::new();
        let mut needed = BTreeSet::new();
        for head in heads {
            if head.device == own {
                needed.insert((own, head.seq));
            } else if includes(&vector, &head.vector) {
                let seq = newest.entry(head.device).or_insert(head.seq);
                *seq = head.seq.max(*seq);
            }
        }
        needed.extend(newest);
        needed
    }

    fn still(&self) -> Still<'_> {
        Still { volume: self, heads: self.heads.lock(), journal: self.journal.lock() }
    }
}
