//! A device: what its tree needs, what it uploads, adopts and publishes.

use std::collections::{BTreeMap, BTreeSet};

use cairn_block::DeviceId;

use super::{Pack, Time};
use crate::manifest::{Hold, Manifest};

/// Shards that were acknowledged, for something that a device wants.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// The generation that was being made when it began.
    pub(super) generation: u64,
    pub(super) shards: BTreeSet<u8>,
}

pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) up: bool,
    /// The generation of the next manifest.
    pub(super) generation: u64,
    /// What its tree needs.
    pub(super) live: BTreeSet<Pack>,
    /// Uploads that are not acknowledged whole.
    pub(super) uploads: BTreeMap<Pack, Wish>,
    /// Packs of others that it would like to use.
    pub(super) asks: BTreeMap<Pack, Wish>,
    /// Its two newest manifests.
    pub(super) published: Vec<Manifest<Pack>>,
    /// When it is back.
    pub(super) back: Time,
}

impl Device {
    pub(super) fn new(id: DeviceId) -> Self {
        let (live, uploads, asks) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Device { id, up: true, generation: 1, live, uploads, asks, published: Vec::new(), back: 0 }
    }

    pub(super) fn hold(&self) -> Hold {
        Hold { device: self.id, generation: self.generation }
    }

    fn wish(&self) -> Wish {
        Wish { generation: self.generation, shards: BTreeSet::new() }
    }

    /// Its tree needs a new pack from now on.
    pub(super) fn upload(&mut self, pack: Pack) {
        self.live.insert(pack);
        self.uploads.insert(pack, self.wish());
    }

    pub(super) fn ask(&mut self, pack: Pack) {
        self.asks.insert(pack, self.wish());
    }

    /// A shard was stored. Whether that made an upload whole.
    pub(super) fn stored(&mut self, pack: Pack, shard: u8, shards: usize) -> bool {
        let Some(upload) = self.uploads.get_mut(&pack) else {
            return false;
        };
        upload.shards.insert(shard);
        let is_whole = upload.shards.len() == shards;
        if is_whole {
            self.uploads.remove(&pack);
        }
        is_whole
    }

    pub(super) fn kept(&mut self, pack: Pack, shards: &[u8]) {
        if let Some(ask) = self.asks.get_mut(&pack) {
            ask.shards.extend(shards);
        }
    }

    /// The time to answer is over: the pack is used if every shard is held for it and the next manifest comes soon enough to say
    /// so. Else the device would upload the data anew.
    pub(super) fn decide(&mut self, pack: Pack, shards: usize) -> bool {
        let Some(ask) = self.asks.remove(&pack) else {
            return false;
        };
        let may = ask.shards.len() == shards && self.generation <= ask.generation + 1;
        if may {
            self.live.insert(pack);
        }
        may
    }

    pub(super) fn publish(&mut self) {
        self.published.push(Manifest { generation: self.generation, packs: self.live.clone() });
        if self.published.len() > 2 {
            self.published.remove(0);
        }
        self.generation += 1;
    }
}
