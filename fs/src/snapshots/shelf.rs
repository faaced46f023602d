//! The list of snapshots as it was last looked at, and which slot each has.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use cairn_block::{Head, VolumeRoot};
use parking_lot::Mutex;

use super::names::{HeadKey, SnapshotNames};
use super::table::{SLOTS_MAX, Table};

/// A snapshot that has a slot: it is listed, or the kernel still knows something of it.
pub(super) struct Snapshot {
    pub(super) head: Head,
    pub(super) root: Mutex<Option<Arc<VolumeRoot>>>,
}

/// The list of snapshots as it was last looked at.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) slots: HashMap<u16, Arc<Snapshot>>,
    pub(super) by_head: HashMap<HeadKey, u16>,
    pub(super) names: SnapshotNames,
    pub(super) listed_at: Option<Instant>,
    /// The slot that was given last. They go round, so that a number is not used again for something else while anyone may
    /// remember it.
    last_slot: u16,
}

impl Shelf {
    /// Takes a new list: new heads get slots, gone ones lose theirs unless something of them is in use.
    pub(super) fn update(&mut self, heads: Vec<Head>, table: &mut Table) {
        // The newest, if there should be more than there are slots.
        let skip = heads.len().saturating_sub(usize::from(SLOTS_MAX) / 2);
        let heads = &heads[skip..];
        self.names = SnapshotNames::new(heads.iter());
        self.by_head.clear();
        let known: HashMap<HeadKey, u16> =
            self.slots.iter().map(|(slot, snapshot)| ((snapshot.head.device, snapshot.head.seq), *slot)).collect();
        let listed: HashSet<HeadKey> = heads.iter().map(|head| (head.device, head.seq)).collect();
        self.slots.retain(|slot, snapshot| {
            let stays = listed.contains(&(snapshot.head.device, snapshot.head.seq)) || table.uses(*slot);
            if !stays {
                table.clear(*slot);
            }
            stays
        });
        for head in heads {
            let key = (head.device, head.seq);
            let slot = known.get(&key).copied().or_else(|| self.free_slot(table));
            let Some(slot) = slot else { continue };
            let snapshot = || Arc::new(Snapshot { head: head.clone(), root: Mutex::new(None) });
            self.slots.entry(slot).or_insert_with(snapshot);
            self.by_head.insert(key, slot);
        }
        self.listed_at = Some(Instant::now());
    }

    fn free_slot(&mut self, table: &Table) -> Option<u16> {
        for _ in 1..SLOTS_MAX {
            // 0 is not a snapshot's.
            self.last_slot = self.last_slot % (SLOTS_MAX - 1) + 1;
            if !self.slots.contains_key(&self.last_slot) && !table.uses(self.last_slot) {
                return Some(self.last_slot);
            }
        }
        None
    }
}
