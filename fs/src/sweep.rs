//! A garbage collection over volumes that are in use.
//!
//! The store protects what is put or claimed while a collection runs, so the only danger is a block that
//! was put *before* it began and that nothing refers to yet: one that a flush or a journal write has in hand.
//! So the beginning, and only that, happens while every volume stands still. Marking and sweeping
//! go on beside all other work.

use std::sync::Arc;

use cairn_block::entry::FileRoot;
use cairn_block::{BlockId, Ref};
use cairn_store::{Collector, Progress, SweepOptions, SweepReport};
use parking_lot::MutexGuard;

use crate::collect::{CollectError, Marked, Marker};
use crate::error::FsError;
use crate::flush::Heads;
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
}

/// Neither a flush nor a journal write is under way while this is held.
struct Still<'a> {
    _heads: MutexGuard<'a, Heads>,
    _journal: MutexGuard<'a, Journal>,
}

/// Removes what no head, no open file and no snapshot in `in_use` needs. `volumes` has to be all
/// volumes of the store, each once: what another one needs would be taken for garbage.
pub fn sweep(
    volumes: &[Arc<Volume>],
    collector: &dyn Collector,
    in_use: &[Ref],
    options: SweepOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Marked, SweepReport), SweepError> {
    let Some(first) = volumes.first() else { return Ok(Default::default()) };
    let collection = {
        let _still: Vec<Still<'_>> = volumes.iter().map(|volume| volume.still()).collect();
        collector.begin_collection().map_err(CollectError::from)?
    };
    let mut marker = Marker::new(first.reader(), collection);
    for volume in volumes {
        let (heads, untrusted) = volume.kept_heads()?;
        if untrusted > 0 {
            // What a damaged head needs can't be told from garbage, and the head may come back whole.
            return Err(CollectError::Incomplete.into());
        }
        for head in heads {
            marker.head(&head.root)?;
        }
        volume.mark_live(&mut marker)?;
    }
    for root in in_use {
        marker.head(root)?;
    }
    let marked = marker.marked();
    Ok((marked, marker.sweep(options, progress)?))
}

/// What memory keeps alive beside the heads.
#[derive(Debug, Default)]
pub struct InMemory {
    /// Blocks of changes that no tree holds yet, and of the journal that tells of them.
    pub unsettled: Vec<BlockId>,
    /// Files that are in use, among them those without a name.
    pub files: Vec<FileRoot>,
}

impl Volume {
    /// What a collection keeps though no head needs it.
    pub fn in_memory(&self) -> Result<InMemory, FsError> {
        let live = self.state.lock().live();
        let journal = self.heads_store.deltas(&self.id(), 0)?.into_iter().map(|(_, id)| id);
        Ok(InMemory { unsettled: live.blocks.into_iter().chain(journal).collect(), files: live.files })
    }

    fn still(&self) -> Still<'_> {
        Still { _heads: self.heads.lock(), _journal: self.journal.lock() }
    }

    fn mark_live(&self, marker: &mut Marker<'_>) -> Result<(), CollectError> {
        let live = self.state.lock().live();
        for id in &live.blocks {
            marker.leaf(id);
        }
        for root in &live.files {
            marker.file(root)?;
        }
        for dir in &live.dirs {
            marker.dir(dir)?;
        }
        marker.links(&live.links)
    }
}
