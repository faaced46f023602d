//! What the index will say once it has caught up.
//!
//! Every record of the log is a [`Change`]. It takes effect here, in memory, when the record is appended, and waits in
//! a queue until the record is durable and a checkpoint carries it to the index in a batch. Heads and journals are
//! few, so they live here entirely; of the blocks only those that the index has not heard of.
//!
//! Recovery feeds the records it reads through the same changes, so that a rebuilt index cannot differ.

use std::collections::{BTreeMap, HashMap, VecDeque};

use cairn_block::{Block, BlockId, DeviceId, VolumeId};

use super::record::{DeadEntry, Header, Location, Subject, place_from};

/// A place in the log: everything before it is covered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// What one record did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A block is at a place; `is_new` if the store did not have it, sound or damaged.
    Block { id: BlockId, at: Location, is_new: bool },
    /// A journal record, and its block.
    Delta { volume: VolumeId, seq: u64, id: BlockId, at: Location, is_new: bool },
    /// A head; the id is that of its bytes.
    Head { volume: VolumeId, device: DeviceId, seq: u64, id: BlockId, at: Location },
    /// A head was dropped.
    DropHead { volume: VolumeId, device: DeviceId, seq: u64 },
    /// A journal was trimmed by a record at a place.
    Trim { volume: VolumeId, upto: u64, at: Location },
    /// Blocks are gone, with their lengths.
    Dead { blocks: Vec<(BlockId, u32)> },
    /// A collection moved a journal record whose block lies elsewhere.
    JournalMoved { volume: VolumeId, seq: u64, id: BlockId, at: Location },
    /// A record that no longer means anything.
    Nothing,
}

/// A change with the record that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) seq: u64,
    /// Where the record ends.
    pub(crate) upto: Position,
    pub(crate) change: Change,
}

/// A block that the index has not heard of yet.
#[derive(Debug, Clone)]
pub(crate) enum Recent {
    /// It is at a place. The block itself is kept until its record is durable, so that a read never depends on bytes
    /// that are still in a buffer, or on pages that a failed sync has left behind.
    At { at: Location, seq: u64, unsynced: Option<Block> },
    /// It is gone.
    Gone { seq: u64 },
}

impl Recent {
    fn seq(&self) -> u64 {
        match self {
            Self::At { seq, .. } | Self::Gone { seq } => *seq,
        }
    }
}

/// A kept head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadAt {
    pub(crate) at: Location,
    pub(crate) id: BlockId,
}

/// A volume's journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Journal {
    pub(crate) deltas: BTreeMap<u64, (Location, BlockId)>,
    pub(crate) trimmed: u64,
    /// The record that said so; `None` before the first trim.
    pub(crate) trimmed_at: Option<Location>,
}

impl Journal {
    /// The highest number that was appended or trimmed.
    pub(crate) fn last(&self) -> u64 {
        let appended = self.deltas.last_key_value().map_or(0, |(seq, _)| *seq);
        appended.max(self.trimmed)
    }
}

/// A head's key.
pub(crate) type HeadKey = (VolumeId, DeviceId, u64);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    recent: HashMap<BlockId, Recent>,
    pub(crate) heads: BTreeMap<HeadKey, HeadAt>,
    pub(crate) journals: BTreeMap<VolumeId, Journal>,
    queue: VecDeque<Queued>,
    /// Counts settled batches: whoever looked a block up in the index can tell whether one came in between.
    pub(crate) settled: u64,
}

impl Catalog {
    /// What is known of a block without the index.
    pub(crate) fn recent(&self, id: &BlockId) -> Option<&Recent> {
        self.recent.get(id)
    }

    /// Changes that wait for a checkpoint.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Blocks and their bytes that the queue will add to what the index counts.
    pub(crate) fn pending_totals(&self) -> (i64, i64) {
        let mut totals = (0, 0);
        for queued in &self.queue {
            match &queued.change {
                Change::Block { at, is_new: true, .. } | Change::Delta { at, is_new: true, .. } => {
                    totals = (totals.0 + 1, totals.1 + i64::from(at.len));
                }
                Change::Dead { blocks } => {
                    let bytes: i64 = blocks.iter().map(|(_, len)| i64::from(*len)).sum();
                    totals = (totals.0 - blocks.len() as i64, totals.1 - bytes);
                }
                _ => {}
            }
        }
        totals
    }

    /// Lets a record take effect. `block` is kept for reading until the record is durable.
    pub(crate) fn apply(&mut self, queued: Queued, block: Option<Block>) {
        let seq = queued.seq;
        match &queued.change {
            Change::Block { id, at, .. } => {
                self.recent.insert(*id, Recent::At { at: *at, seq, unsynced: block });
            }
            Change::Delta { volume, seq: number, id, at, .. } => {
                self.recent.insert(*id, Recent::At { at: *at, seq, unsynced: block });
                self.insert_delta(*volume, *number, *at, *id);
            }
            Change::JournalMoved { volume, seq: number, id, at } => self.insert_delta(*volume, *number, *at, *id),
            Change::Head { volume, device, seq: number, id, at } => {
                self.heads.insert((*volume, *device, *number), HeadAt { at: *at, id: *id });
            }
            Change::DropHead { volume, device, seq: number } => {
                self.heads.remove(&(*volume, *device, *number));
            }
            Change::Trim { volume, upto, at } => {
                let journal = self.journals.entry(*volume).or_default();
                if *upto >= journal.trimmed {
                    journal.trimmed = *upto;
                    journal.trimmed_at = Some(*at);
                    journal.deltas = journal.deltas.split_off(&upto.saturating_add(1));
                }
            }
            Change::Dead { blocks } => {
                for (id, _) in blocks {
                    self.recent.insert(*id, Recent::Gone { seq });
                }
            }
            Change::Nothing => {}
        }
        self.queue.push_back(queued);
    }

    fn insert_delta(&mut self, volume: VolumeId, seq: u64, at: Location, id: BlockId) {
        let journal = self.journals.entry(volume).or_default();
        if seq > journal.trimmed {
            journal.deltas.insert(seq, (at, id));
        }
    }

    /// A record was written again, elsewhere, and is durable there: its block is read from the log from now on.
    pub(crate) fn relocate(&mut self, seq: u64, to: Location, upto: Position) {
        let Some(first) = self.queue.front().map(|queued| queued.seq) else { return };
        let Some(queued) = seq.checked_sub(first).and_then(|n| self.queue.get_mut(n as usize)) else { return };
        queued.upto = upto;
        match &mut queued.change {
            Change::Block { id, at, .. } => {
                *at = to;
                relocate_recent(&mut self.recent, id, seq, to);
            }
            Change::Delta { volume, seq: number, id, at, .. }
            | Change::JournalMoved { volume, seq: number, id, at } => {
                let from = std::mem::replace(at, to);
                relocate_recent(&mut self.recent, id, seq, to);
                let delta = self.journals.get_mut(volume).and_then(|journal| journal.deltas.get_mut(number));
                if let Some((place, _)) = delta.filter(|(place, _)| *place == from) {
                    *place = to;
                }
            }
            Change::Head { volume, device, seq: number, at, .. } => {
                let from = std::mem::replace(at, to);
                let head = self.heads.get_mut(&(*volume, *device, *number));
                if let Some(head) = head.filter(|head| head.at == from) {
                    head.at = to;
                }
            }
            Change::Trim { volume, at, .. } => {
                let from = std::mem::replace(at, to);
                let journal = self.journals.get_mut(volume);
                if let Some(journal) = journal.filter(|journal| journal.trimmed_at == Some(from)) {
                    journal.trimmed_at = Some(to);
                }
            }
            Change::DropHead { .. } | Change::Dead { .. } | Change::Nothing => {}
        }
    }

    /// These records are durable: their blocks are read from the log from now on.
    pub(crate) fn forget_bytes<'a>(&mut self, records: impl Iterator<Item = (&'a BlockId, u64)>) {
        for (id, seq) in records {
            if let Some(Recent::At { seq: current, unsynced, .. }) = self.recent.get_mut(id)
                && *current == seq
            {
                *unsynced = None;
            }
        }
    }

    /// The oldest changes, of durable records only.
    pub(crate) fn batch(&self, synced: u64, max: usize) -> Vec<Queued> {
        self.queue.iter().take(max).take_while(|queued| queued.seq <= synced).cloned().collect()
    }

    /// The index has these changes now.
    pub(crate) fn settle(&mut self, batch: &[Queued]) {
        self.settled += 1;
        for done in batch {
            self.queue.pop_front();
            match &done.change {
                Change::Block { id, .. } | Change::Delta { id, .. } => self.settle_block(id, done.seq),
                Change::Dead { blocks } => blocks.iter().for_each(|(id, _)| self.settle_block(id, done.seq)),
                _ => {}
            }
        }
    }

    fn settle_block(&mut self, id: &BlockId, seq: u64) {
        if self.recent.get(id).is_some_and(|recent| recent.seq() == seq) {
            self.recent.remove(id);
        }
    }
}

fn relocate_recent(recent: &mut HashMap<BlockId, Recent>, id: &BlockId, of: u64, to: Location) {
    if let Some(Recent::At { at, seq, unsynced }) = recent.get_mut(id)
        && *seq == of
    {
        *at = to;
        *unsynced = None;
    }
}

/// What a record that was read means, given where its block was before (`None`: not here).
pub(crate) fn change_of(
    header: &Header,
    payload: &[u8],
    before: &dyn Fn(&BlockId) -> Option<Location>,
    head: &dyn Fn(&HeadKey) -> Option<HeadAt>,
) -> Change {
    let (id, at) = (header.id, header.location());
    match header.subject {
        Subject::Block => Change::Block { id, at, is_new: before(&id).is_none() },
        Subject::Delta { volume, seq } => Change::Delta { volume, seq, id, at, is_new: before(&id).is_none() },
        Subject::Head { volume, device, seq } => Change::Head { volume, device, seq, id, at },
        Subject::DropHead { volume, device, seq } => {
            let place = head(&(volume, device, seq)).map(|head| (head.at.segment, head.at.offset));
            if place.is_some() && place == place_from(payload) {
                Change::DropHead { volume, device, seq }
            } else {
                Change::Nothing
            }
        }
        Subject::Trim { volume, upto } => Change::Trim { volume, upto, at },
        Subject::Void => Change::Nothing,
        Subject::Dead => {
            let is_current =
                |entry: &DeadEntry| before(&entry.id).filter(|at| entry.names(at)).map(|at| (entry.id, at.len));
            let blocks = DeadEntry::decode_all(payload).iter().filter_map(is_current).collect();
            Change::Dead { blocks }
        }
    }
}
