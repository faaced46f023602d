//! What a store holds, as maps, and the changes that lead from one state to the next.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use cairn_block::{BlockId, DeviceId, VolumeId};

/// One change, as a log would record it. Cloned bytes are shared.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put { id: BlockId, bytes: Bytes },
    Remove { id: BlockId },
    PutHead { volume: VolumeId, device: DeviceId, seq: u64, bytes: Bytes },
    DropHead { volume: VolumeId, device: DeviceId, seq: u64 },
    Append { volume: VolumeId, seq: u64, id: BlockId, bytes: Bytes },
    Trim { volume: VolumeId, upto: u64 },
}

/// A volume's journal.
#[derive(Debug, Clone, Default)]
pub(super) struct Journal {
    pub(super) deltas: BTreeMap<u64, BlockId>,
    trimmed: u64,
}

impl Journal {
    /// The highest number that was appended or trimmed.
    pub(super) fn last(&self) -> u64 {
        let appended = self.deltas.last_key_value().map_or(0, |(seq, _)| *seq);
        appended.max(self.trimmed)
    }

    fn trim(&mut self, upto: u64) {
        self.trimmed = self.trimmed.max(upto);
        self.deltas.retain(|seq, _| *seq > upto);
    }
}

/// Everything a store holds.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) blocks: HashMap<BlockId, Bytes>,
    pub(super) heads: BTreeMap<(VolumeId, DeviceId, u64), Bytes>,
    pub(super) journals: BTreeMap<VolumeId, Journal>,
}

impl State {
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Put { id, bytes } => {
                self.blocks.insert(id, bytes);
            }
            Change::Remove { id } => {
                self.blocks.remove(&id);
            }
            Change::PutHead { volume, device, seq, bytes } => {
                self.heads.insert((volume, device, seq), bytes);
            }
            Change::DropHead { volume, device, seq } => {
                self.heads.remove(&(volume, device, seq));
            }
            Change::Append { volume, seq, id, bytes } => {
                self.blocks.insert(id, bytes);
                self.journals.entry(volume).or_default().deltas.insert(seq, id);
            }
            Change::Trim { volume, upto } => {
                self.journals.entry(volume).or_default().trim(upto);
            }
        }
    }

    /// The blocks of all untrimmed journal records.
    pub(super) fn deltas(&self) -> impl Iterator<Item = BlockId> {
        self.journals.values().flat_map(|journal| journal.deltas.values().copied())
    }
}
