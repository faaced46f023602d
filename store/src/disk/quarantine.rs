//! What is known to be damaged. Such bytes are never returned; a put of the same block repairs it.
//!
//! A block is damaged *at a place*: once it lies somewhere else it is sound again, whoever put it there, and nothing
//! has to be undone. The list is kept in the index and found again by a rebuild.
//!
//! A block that the disk would not give is another matter: the next time it may. It is listed too, so that a put repairs
//! it and its owner learns of it, but not beyond this process, and every get tries again.

use std::collections::HashMap;

use cairn_block::BlockId;

use super::record::Location;
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{Damage, Place};

/// Blocks remembered. Beyond it a damaged block is found out again by every read.
const QUARANTINED_MAX: usize = 1 << 16;

/// Holes remembered, for the report.
const HOLES_MAX: usize = 1 << 10;

/// Why a block is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its bytes are wrong.
    Wrong,
    /// The disk did not give them.
    Unread,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    blocks: RwLock<HashMap<BlockId, (Location, Why)>>,
    /// Bytes of the log that are no record: segment, from, to.
    holes: RwLock<Vec<(u32, u64, u64)>>,
    /// How many blocks, so that the usual zero costs no lock.
    count: AtomicUsize,
}

impl Quarantine {
    pub(crate) fn is_damaged(&self, id: &BlockId, at: &Location) -> bool {
        self.why(id, at).is_some()
    }

    /// Why a block is listed at this place, if it is.
    pub(crate) fn why(&self, id: &BlockId, at: &Location) -> Option<Why> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.blocks.read().get(id).filter(|(listed, _)| listed == at).map(|(_, why)| *why)
    }

    /// Says whether it is remembered from now on, and was not before.
    pub(crate) fn add(&self, id: &BlockId, at: Location, why: Why) -> bool {
        let mut blocks = self.blocks.write();
        if blocks.len() >= QUARANTINED_MAX && !blocks.contains_key(id) {
            return false;
        }
        let is_news = blocks.insert(*id, (at, why)) != Some((at, why));
        self.count.store(blocks.len(), Ordering::Release);
        is_news
    }

    /// Says whether it was remembered.
    pub(crate) fn remove(&self, id: &BlockId) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut blocks = self.blocks.write();
        let was_there = blocks.remove(id).is_some();
        self.count.store(blocks.len(), Ordering::Release);
        was_there
    }

    pub(crate) fn blocks(&self) -> Vec<(BlockId, Location, Why)> {
        self.blocks.read().iter().map(|(id, (at, why))| (*id, *at, *why)).collect()
    }

    pub(crate) fn add_hole(&self, segment: u32, from: u64, to: u64) {
        let mut holes = self.holes.write();
        if holes.len() < HOLES_MAX && !holes.contains(&(segment, from, to)) {
            holes.push((segment, from, to));
        }
    }

    /// Segments that were unlinked have no holes any more.
    pub(crate) fn forget_segments(&self, numbers: &[u32]) {
        self.holes.write().retain(|(segment, _, _)| !numbers.contains(segment));
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire) as u64
    }

    pub(crate) fn report(&self) -> Vec<Damage> {
        let blocks = self.blocks();
        let blocks = blocks.iter().map(|(id, at, _)| Damage { id: Some(*id), place: place(at) });
        let holes = self.holes.read();
        let holes = holes.iter().map(|(segment, from, _)| Damage {
            id: None,
            place: Place::Log { segment: u64::from(*segment), offset: *from },
        });
        blocks.chain(holes).collect()
    }
}

/// A location, as errors name it.
pub(crate) fn place(at: &Location) -> Place {
    Place::Log { segment: u64::from(at.segment), offset: u64::from(at.offset) }
}
