//! Which inodes of snapshots the kernel knows, and the way back to each.
//!
//! An inode number of a snapshot holds the slot of its snapshot and the number it has in the volume, so it is the same
//! whenever it is looked up. There is no room for the range that such a number is from: ranges are counted as they are met, of
//! which a volume has as many as devices, and a few for merges. What is kept of an inode is where it is, not what it is: a record that was pushed out of the
//! cache is found again from its directory.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use cairn_block::{INO_COUNTER_BITS, Ino, Record, ino_counter};
use lru::LruCache;
use parking_lot::RwLock;

/// Marks an inode of a snapshot; those of the volume are below.
const SNAPSHOT_BIT: u64 = 1 << 62;
/// Bits for the number within the volume: those that a device counts, and which of the ranges that were met it is from.
const NUMBER_BITS: u32 = INO_COUNTER_BITS + 11;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;
/// Slots there are; 0 is `.snapshots` itself.
pub(super) const SLOTS_MAX: u16 = 1 << (62 - NUMBER_BITS);
/// Records kept to answer without reading a directory again; a few MiB.
const RECORDS_MAX: NonZeroUsize = NonZeroUsize::new(8192).expect("it is not zero");

/// The ranges that were met, in order; the first, of the numbers from before there were ranges, not counted. One list for all
/// volumes: numbers are turned around where no volume is at hand, and it stays short.
static RANGES: RwLock<Vec<u64>> = RwLock::new(Vec::new());

/// The number with its range's place in the list in the place of the range. `None` if the list is full.
fn shortened(ino: Ino) -> Option<u64> {
    let range = ino.get() >> INO_COUNTER_BITS;
    let count = |index: usize| u64::try_from(index + 1).ok();
    let index = match range {
        0 => Some(0),
        range => {
            let known = RANGES.read().iter().position(|known| *known == range);
            known.map_or_else(|| add_range(range), Some).and_then(count)
        }
    };
    Some(index? << INO_COUNTER_BITS | ino_counter(ino.get())).filter(|number| *number <= NUMBER_MASK)
}

fn add_range(range: u64) -> Option<usize> {
    let mut ranges = RANGES.write();
    if let Some(known) = ranges.iter().position(|known| *known == range) {
        return Some(known);
    }
    let has_room = ranges.len() < (NUMBER_MASK >> INO_COUNTER_BITS) as usize;
    has_room.then(|| {
        ranges.push(range);
        ranges.len() - 1
    })
}

/// The way back. Of a range that was never met, a number that no inode has.
fn lengthened(number: u64) -> Ino {
    let range = match (number >> INO_COUNTER_BITS) as usize {
        0 => Some(0),
        index => RANGES.read().get(index - 1).copied(),
    };
    range.map_or(Ino::new(u64::MAX), |range| Ino::new(range << INO_COUNTER_BITS | ino_counter(number)))
}

/// An inode below `.snapshots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SnapshotIno {
    /// `.snapshots`.
    Top,
    /// The link that a label is.
    Label(u16),
    /// An inode of the snapshot in this slot.
    In(u16, Ino),
}

impl SnapshotIno {
    /// The number that the kernel knows it by; `None` if it can't have one.
    pub(super) fn number(self) -> Option<Ino> {
        let (slot, number) = match self {
            SnapshotIno::Top => (0, 0),
            SnapshotIno::Label(slot) => (slot, 0),
            SnapshotIno::In(slot, ino) => (slot, shortened(ino)?),
        };
        (slot < SLOTS_MAX).then(|| Ino::new(SNAPSHOT_BIT | u64::from(slot) << NUMBER_BITS | number))
    }

    /// What a number means; `None` if it is the volume's own.
    pub(super) fn of(ino: Ino) -> Option<Self> {
        if ino.get() & SNAPSHOT_BIT == 0 || ino.get() >> 63 != 0 {
            return None;
        }
        let number = ino.get() & NUMBER_MASK;
        Some(match ((ino.get() & !SNAPSHOT_BIT) >> NUMBER_BITS, number) {
            (0, _) => SnapshotIno::Top,
            (slot, 0) => SnapshotIno::Label(slot as u16),
            (slot, _) => SnapshotIno::In(slot as u16, lengthened(number)),
        })
    }
}

/// How an inode is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trail {
    /// The directory it was found in. Of the root of a snapshot, itself.
    pub(super) parent: Ino,
    /// The hash of its name there; `None` if it is in the link table.
    pub(super) hash: Option<u64>,
}

struct Known {
    trail: Trail,
    /// Lookup references of the kernel.
    refs: u64,
    /// Open handles, and known inodes whose trail leads through this one.
    pins: u64,
}

/// What is known of the inodes of one snapshot or of many; keyed by slot and number.
pub(super) struct Table {
    known: HashMap<(u16, Ino), Known>,
    records: LruCache<(u16, Ino), Arc<Record>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new(), records: LruCache::new(RECORDS_MAX) }
    }

    /// The record, if it is in memory.
    pub(super) fn record(&mut self, slot: u16, ino: Ino) -> Option<Arc<Record>> {
        self.records.get(&(slot, ino)).cloned()
    }

    /// Keeps a record for a while.
    pub(super) fn keep(&mut self, slot: u16, ino: Ino, record: Arc<Record>) {
        self.records.put((slot, ino), record);
    }

    /// How to find a known inode again.
    pub(super) fn trail(&self, slot: u16, ino: Ino) -> Option<Trail> {
        self.known.get(&(slot, ino)).map(|known| known.trail)
    }

    /// Takes a lookup reference.
    pub(super) fn refer(&mut self, slot: u16, ino: Ino, trail: Trail) {
        if let Some(known) = self.known.get_mut(&(slot, ino)) {
            known.refs += 1;
            return;
        }
        if trail.parent != ino {
            self.pin(slot, trail.parent);
        }
        self.known.insert((slot, ino), Known { trail, refs: 1, pins: 0 });
    }

    /// Gives lookup references back.
    pub(super) fn forget(&mut self, slot: u16, ino: Ino, count: u64) {
        if let Some(known) = self.known.get_mut(&(slot, ino)) {
            known.refs = known.refs.saturating_sub(count);
            self.release(slot, ino);
        }
    }

    /// Keeps a known inode whatever the kernel forgets. `false` if it isn't known.
    pub(super) fn pin(&mut self, slot: u16, ino: Ino) -> bool {
        match self.known.get_mut(&(slot, ino)) {
            Some(known) => known.pins += 1,
            None => return false,
        }
        true
    }

    /// Undoes one [`pin`](Self::pin).
    pub(super) fn unpin(&mut self, slot: u16, ino: Ino) {
        if let Some(known) = self.known.get_mut(&(slot, ino)) {
            known.pins = known.pins.saturating_sub(1);
            self.release(slot, ino);
        }
    }

    /// Whether anything of a snapshot is known. All trails lead through its root.
    pub(super) fn uses(&self, slot: u16) -> bool {
        self.known.contains_key(&(slot, Ino::ROOT))
    }

    /// Drops the records of a snapshot that is no more.
    pub(super) fn clear(&mut self, slot: u16) {
        let stale: Vec<_> = self.records.iter().map(|(key, _)| *key).filter(|key| key.0 == slot).collect();
        for key in stale {
            self.records.pop(&key);
        }
    }

    /// Inodes the kernel knows.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Lets go of an inode that nothing holds any more, and so up the trail.
    fn release(&mut self, slot: u16, mut ino: Ino) {
        while let Some(known) = self.known.get(&(slot, ino)) {
            if known.refs > 0 || known.pins > 0 {
                return;
            }
            let parent = known.trail.parent;
            self.known.remove(&(slot, ino));
            match self.known.get_mut(&(slot, parent)) {
                Some(above) if parent != ino => above.pins = above.pins.saturating_sub(1),
                _ => return,
            }
            ino = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_block::{DeviceId, ino_range, merged_ino};

    use super::*;

    fn below(parent: u64) -> Trail {
        Trail { parent: Ino::new(parent), hash: Some(parent) }
    }

    #[test]
    fn numbers_read_back_and_stay_out_of_the_volumes_range() {
        let of_a_device = Ino::new(ino_range(&DeviceId::from_bytes([9; 32])).end - 1);
        for ino in [
            SnapshotIno::Top,
            SnapshotIno::Label(3),
            SnapshotIno::In(1, Ino::ROOT),
            SnapshotIno::In(SLOTS_MAX - 1, of_a_device),
            SnapshotIno::In(1, merged_ino(b"x", 0)),
        ] {
            let number = ino.number().unwrap();
            assert!(number.get() >= cairn_block::limits::INO_LIMIT && number.get() < 1 << 63);
            assert_eq!(SnapshotIno::of(number), Some(ino));
        }
        assert_eq!(SnapshotIno::In(SLOTS_MAX, Ino::ROOT).number(), None);
        assert_eq!(SnapshotIno::of(Ino::ROOT), None);
        assert_eq!(SnapshotIno::of(Ino::new(u64::MAX)), None);
    }

    #[test]
    fn an_inode_is_known_until_as_many_references_are_given_back_as_were_taken() {
        let mut table = Table::new();
        let root = Trail { parent: Ino::ROOT, hash: None };
        table.refer(1, Ino::ROOT, root);
        table.refer(1, Ino::new(2), below(1));
        table.refer(1, Ino::new(3), below(2));
        table.refer(1, Ino::new(3), below(2));
        // The kernel forgets from the top: the trail to what it still knows stays.
        table.forget(1, Ino::ROOT, 1);
        table.forget(1, Ino::new(2), 1);
        table.forget(1, Ino::new(3), 1);
        assert_eq!(table.len(), 3);
        assert!(table.uses(1));
        table.forget(1, Ino::new(3), 1);
        assert_eq!(table.len(), 0);
        assert!(!table.uses(1));
    }

    #[test]
    fn an_open_inode_stays_when_all_else_is_forgotten() {
        let mut table = Table::new();
        table.refer(1, Ino::ROOT, Trail { parent: Ino::ROOT, hash: None });
        table.refer(1, Ino::new(2), below(1));
        assert!(table.pin(1, Ino::new(2)));
        table.forget(1, Ino::new(2), 7);
        table.forget(1, Ino::ROOT, 7);
        assert_eq!(table.len(), 2);
        table.unpin(1, Ino::new(2));
        assert_eq!(table.len(), 0);
        assert!(!table.pin(1, Ino::new(2)));
    }
}
