//! The heads that are kept here and can be trusted, in memory: what follows what is decided without reading a store.
//!
//! A head takes some 500 bytes, and thinning leaves a few hundred of each device.

use std::collections::{BTreeMap, BTreeSet};

use cairn_block::vector::seq_of;
use cairn_block::{DeviceId, Head, Vector, includes};

/// A device, and the number of one of its heads.
pub(crate) type HeadId = (DeviceId, u64);

/// A head and the hash by which the next one names it.
#[derive(Clone, Debug)]
struct Kept {
    head: Head,
    hash: [u8; 32],
}

/// The trusted heads of one volume.
#[derive(Debug, Default)]
pub(crate) struct Known {
    heads: BTreeMap<HeadId, Kept>,
    /// Devices of which two histories were seen. No more is taken of them.
    forked: BTreeSet<DeviceId>,
    /// Heads of this device that a crash may still take back. They count here all the same.
    unsynced: BTreeSet<HeadId>,
}

/// How a head that is offered stands to those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is not known and contradicts none.
    New,
    /// It is known.
    Known,
    /// It and a known one can't both be of one history.
    Forked,
}

impl Known {
    pub(crate) fn insert(&mut self, head: Head, hash: [u8; 32]) {
        self.heads.insert((head.device, head.seq), Kept { head, hash });
    }

    /// Takes a head that this device has just put into its store.
    pub(crate) fn insert_unsynced(&mut self, head: Head, hash: [u8; 32]) {
        self.unsynced.insert((head.device, head.seq));
        self.insert(head, hash);
    }

    /// This device's heads that a crash may still take back.
    pub(crate) fn unsynced(&self) -> BTreeSet<HeadId> {
        self.unsynced.clone()
    }

    /// These heads are durable.
    pub(crate) fn synced(&mut self, ids: &BTreeSet<HeadId>) {
        self.unsynced.retain(|id| !ids.contains(id));
    }

    pub(crate) fn remove(&mut self, ids: &[HeadId]) {
        for id in ids {
            self.heads.remove(id);
            self.unsynced.remove(id);
        }
    }

    /// Takes no more heads of a device.
    pub(crate) fn end_history(&mut self, device: DeviceId) {
        self.forked.insert(device);
    }

    /// All of them, by device and number.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Head> {
        self.heads.values().map(|kept| &kept.head)
    }

    /// The kept heads of one device, oldest first.
    pub(crate) fn of(&self, device: &DeviceId) -> impl DoubleEndedIterator<Item = &Head> {
        self.heads.range((*device, 0)..=(*device, u64::MAX)).map(|(_, kept)| &kept.head)
    }

    /// The newest head of each device, by device.
    pub(crate) fn newest(&self) -> Vec<&Head> {
        let mut newest: Vec<&Head> = Vec::new();
        for kept in self.heads.values() {
            match newest.last_mut().filter(|last| last.device == kept.head.device) {
                Some(last) => *last = &kept.head,
                None => newest.push(&kept.head),
            }
        }
        newest
    }

    /// Judges a head by its neighbours in the history of its device: each names the hash of the one before it, and includes
    /// what that one did.
    pub(crate) fn standing(&self, head: &Head, hash: &[u8; 32]) -> Standing {
        let id = (head.device, head.seq);
        if let Some(kept) = self.heads.get(&id) {
            return if kept.hash == *hash { Standing::Known } else { Standing::Forked };
        }
        if self.forked.contains(&head.device) {
            return Standing::Forked;
        }
        let before = self.heads.range((head.device, 0)..id).next_back().map(|(_, kept)| kept);
        let after = self.heads.range(id..=(head.device, u64::MAX)).next().map(|(_, kept)| kept);
        let follows = before.is_none_or(|before| {
            let is_next = before.head.seq + 1 == head.seq;
            (!is_next || head.previous == before.hash) && includes(&head.vector, &before.head.vector)
        });
        let leads = after.is_none_or(|after| {
            let is_next = head.seq + 1 == after.head.seq;
            (!is_next || after.head.previous == *hash) && includes(&after.head.vector, &head.vector)
        });
        if follows && leads { Standing::New } else { Standing::Forked }
    }

    /// The newest heads that no other one includes, by device; those in `without`, and what they did, are left out.
    pub(crate) fn frontier(&self, without: &BTreeSet<HeadId>) -> Vec<Head> {
        let newest = self.newest().into_iter().filter(|head| !without.contains(&(head.device, head.seq)));
        let newest: Vec<&Head> = newest.collect();
        let is_included = |head: &Head| {
            newest.iter().any(|other| other.device != head.device && includes(&other.vector, &head.vector))
        };
        newest.iter().filter(|head| !is_included(head)).map(|head| (*head).clone()).collect()
    }

    /// The heads that both histories include, the best ancestor first: what includes most, of equals that of the lowest
    /// device and number, so that every device takes the same one.
    pub(crate) fn ancestors(&self, a: &Vector, b: &Vector) -> Vec<Head> {
        let both = self.heads.values().map(|kept| &kept.head);
        let both = both.filter(|head| includes(a, &head.vector) && includes(b, &head.vector));
        let mut both: Vec<&Head> = both.collect();
        both.sort_by_key(|head| (std::cmp::Reverse(weight(&head.vector)), head.device, head.seq));
        both.into_iter().cloned().collect()
    }

    /// The heads that `a` includes and `b` doesn't, the oldest first, and so many at most.
    pub(crate) fn only_first(&self, a: &Vector, b: &Vector, max: usize) -> Vec<Head> {
        let only_a = self.heads.values().map(|kept| &kept.head);
        let mut only_a: Vec<&Head> =
            only_a.filter(|head| includes(a, &head.vector) && !includes(b, &head.vector)).collect();
        only_a.sort_by_key(|head| (weight(&head.vector), head.device, head.seq));
        only_a.into_iter().take(max).cloned().collect()
    }

    /// The heads that thinning leaves whatever their age: the newest of each device, and those that the newest ones, or
    /// `vector`, name. One of them is the ancestor when histories that part now meet again.
    pub(crate) fn needed(&self, vector: &Vector) -> BTreeSet<HeadId> {
        let newest = self.newest();
        let named = newest.iter().flat_map(|head| head.vector.iter()).chain(vector).copied();
        newest.iter().map(|head| (head.device, head.seq)).chain(named).collect()
    }

    /// The highest number of a device that any head speaks of.
    pub(crate) fn highest_named(&self, device: &DeviceId) -> u64 {
        self.newest().into_iter().map(|head| seq_of(&head.vector, device)).max().unwrap_or_default()
    }
}

/// How much a history includes.
pub(crate) fn weight(vector: &Vector) -> u128 {
    vector.iter().map(|(_, seq)| u128::from(*seq)).sum()
}
