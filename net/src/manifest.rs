//! When a holder may drop a pack: never by the clock, always by what every device of the volume has said.
//!
//! A device publishes, for each of its generations, a manifest of the packs that its tree needs. What it uploads carries the
//! generation it was uploaded for, and so does a hold: its wish to use a pack that somebody else uploaded. A manifest may
//! have been made just before such an upload, so one manifest without a pack says nothing yet; two do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cairn_block::DeviceId;

/// The packs that a device needs as of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest<P> {
    /// Counts the device's manifests, from 1.
    pub generation: u64,
    /// The packs.
    pub packs: BTreeSet<P>,
}

/// A device needs a pack: it uploaded it, or asked to keep it, for this generation or the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hold {
    /// The device.
    pub device: DeviceId,
    /// The first of its generations that may list the pack.
    pub generation: u64,
}

/// Adds holds to those known of a pack. Of each device the newest counts for all of its older ones.
///
/// A hold is asked of the holders that are there at the time. So holders tell each other theirs with every report, and one
/// that was away drops nothing until it has heard the others: it may have missed one.
pub fn merge_holds(known: &mut Vec<Hold>, more: &[Hold]) {
    let covers = |known: &Hold, hold: &Hold| known.device == hold.device && known.generation >= hold.generation;
    if more.iter().all(|hold| known.iter().any(|known| covers(known, hold))) {
        return;
    }
    known.extend(more);
    // Newest first for each device; the first of each stays.
    known.sort_by(|a, b| a.device.cmp(&b.device).then(b.generation.cmp(&a.generation)));
    known.dedup_by_key(|hold| hold.device);
}

/// Whether a pack may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays.
    Keep(Reason),
    /// No device needs it.
    Drop,
}

/// Why a pack stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No device of the volume is known: nobody has said anything.
    NoDevice,
    /// This device has not published two manifests, or they are not known here.
    Missing(DeviceId),
    /// One of this device's two newest manifests lists it.
    Listed(DeviceId),
    /// This device asked for it, and has not published enough since.
    Recent(Hold),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoDevice => f.write_str("no device of the volume is known"),
            Reason::Missing(device) => write!(f, "two manifests of device {} are missing", device.short()),
            Reason::Listed(device) => write!(f, "device {} needs it", device.short()),
            Reason::Recent(hold) => {
                write!(f, "device {} asked for it in generation {}", hold.device.short(), hold.generation)
            }
        }
    }
}

/// The two newest manifests of every device that a volume has certified.
#[derive(Debug, Clone)]
pub struct Manifests<P> {
    /// Newest last, at most two.
    of: BTreeMap<DeviceId, Vec<Manifest<P>>>,
}

impl<P> Default for Manifests<P> {
    fn default() -> Self {
        Manifests { of: BTreeMap::new() }
    }
}

impl<P: Ord> Manifests<P> {
    /// A device was certified: from now on nothing goes without its word.
    pub fn certify(&mut self, device: DeviceId) {
        self.of.entry(device).or_default();
    }

    /// The volume's owner withdrew a device: what it needed counts no more.
    pub fn withdraw(&mut self, device: &DeviceId) {
        self.of.remove(device);
    }

    /// Takes a manifest whose signature was verified. False if the device is unknown or the manifest is none of its two newest.
    pub fn accept(&mut self, device: &DeviceId, manifest: Manifest<P>) -> bool {
        let Some(known) = self.of.get_mut(device) else {
            return false;
        };
        let Err(at) = known.binary_search_by_key(&manifest.generation, |known| known.generation) else {
            return false;
        };
        if known.len() == 2 && at == 0 {
            return false;
        }
        known.insert(at, manifest);
        if known.len() > 2 {
            known.remove(0);
        }
        true
    }

    /// The newest generation known of a device; 0 if there is none.
    pub fn newest(&self, device: &DeviceId) -> u64 {
        self.of.get(device).and_then(|known| known.last()).map_or(0, |manifest| manifest.generation)
    }

    /// Whether the newest manifest known of a device lists a pack.
    pub fn newest_lists(&self, device: &DeviceId, pack: &P) -> bool {
        self.of.get(device).and_then(|known| known.last()).is_some_and(|manifest| manifest.packs.contains(pack))
    }

    /// Holds for a shard that a repair made: as if every device had just asked for the pack, since some may have done so where
    /// the new holder could not hear it.
    pub fn holds_of_a_repair(&self) -> Vec<Hold> {
        let hold = |device: &DeviceId| Hold { device: *device, generation: self.newest(device).saturating_add(1) };
        self.of.keys().map(hold).collect()
    }

    /// Whether a pack may go. `holds` are its uploads and all who asked for it.
    pub fn may_drop(&self, pack: &P, holds: &[Hold]) -> Verdict {
        if self.of.is_empty() {
            return Verdict::Keep(Reason::NoDevice);
        }
        for (device, known) in &self.of {
            if known.len() < 2 {
                return Verdict::Keep(Reason::Missing(*device));
            }
            if known.iter().any(|manifest| manifest.packs.contains(pack)) {
                return Verdict::Keep(Reason::Listed(*device));
            }
        }
        // A device that was withdrawn needs nothing.
        let counts = |hold: &&Hold| self.of.contains_key(&hold.device);
        let is_recent = |hold: &&Hold| self.newest(&hold.device) < hold.generation.saturating_add(2);
        match holds.iter().filter(counts).find(is_recent) {
            Some(hold) => Verdict::Keep(Reason::Recent(*hold)),
            None => Verdict::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DeviceId = DeviceId::from_bytes([1; 32]);
    const B: DeviceId = DeviceId::from_bytes([2; 32]);

    fn book(devices: &[DeviceId]) -> Manifests<u8> {
        let mut book = Manifests::default();
        devices.iter().for_each(|device| book.certify(*device));
        book
    }

    fn publish(book: &mut Manifests<u8>, device: DeviceId, generation: u64, packs: &[u8]) -> bool {
        book.accept(&device, Manifest { generation, packs: packs.iter().copied().collect() })
    }

    fn hold(device: DeviceId, generation: u64) -> Hold {
        Hold { device, generation }
    }

    #[test]
    fn a_pack_goes_when_two_manifests_of_every_device_lack_it() {
        let mut book = book(&[A, B]);
        publish(&mut book, A, 1, &[7]);
        publish(&mut book, A, 2, &[]);
        publish(&mut book, B, 1, &[]);
        publish(&mut book, B, 2, &[]);
        let upload = [hold(A, 1)];
        assert_eq!(book.may_drop(&7, &upload), Verdict::Keep(Reason::Listed(A)));
        publish(&mut book, A, 3, &[]);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Drop);
    }

    #[test]
    fn missing_manifests_mean_keep() {
        assert_eq!(book(&[]).may_drop(&7, &[]), Verdict::Keep(Reason::NoDevice));
        let mut book = book(&[A, B]);
        publish(&mut book, A, 1, &[]);
        publish(&mut book, A, 2, &[]);
        assert_eq!(book.may_drop(&7, &[]), Verdict::Keep(Reason::Missing(B)));
        publish(&mut book, B, 9, &[]);
        assert_eq!(book.may_drop(&7, &[]), Verdict::Keep(Reason::Missing(B)));
        // Only the owner can say that a device is gone for good.
        book.withdraw(&B);
        assert_eq!(book.may_drop(&7, &[hold(B, 9)]), Verdict::Drop);
    }

    #[test]
    fn what_was_uploaded_or_asked_for_stays_until_two_manifests_could_have_listed_it() {
        let mut book = book(&[A, B]);
        for device in [A, B] {
            publish(&mut book, device, 4, &[]);
            publish(&mut book, device, 5, &[]);
        }
        assert_eq!(book.may_drop(&7, &[hold(A, 3)]), Verdict::Drop);
        for generation in [4, 5, 6] {
            let asked = hold(B, generation);
            assert_eq!(book.may_drop(&7, &[hold(A, 1), asked]), Verdict::Keep(Reason::Recent(asked)));
        }
        assert_eq!(book.may_drop(&7, &[hold(A, u64::MAX)]), Verdict::Keep(Reason::Recent(hold(A, u64::MAX))));
    }

    #[test]
    fn of_many_holds_the_newest_of_each_device_counts() {
        let mut known = vec![hold(B, 2), hold(A, 1)];
        merge_holds(&mut known, &[hold(A, 5), hold(B, 1), hold(A, 3)]);
        assert_eq!(known, [hold(A, 5), hold(B, 2)]);
    }

    #[test]
    fn a_device_that_is_away_keeps_what_it_needed() {
        let mut book = book(&[A, B]);
        publish(&mut book, B, 1, &[7]);
        publish(&mut book, B, 2, &[7]);
        for generation in 1..100 {
            publish(&mut book, A, generation, &[]);
        }
        assert_eq!(book.may_drop(&7, &[hold(A, 1)]), Verdict::Keep(Reason::Listed(B)));
    }

    #[test]
    fn manifests_come_in_any_order_and_old_ones_change_nothing() {
        let mut book = book(&[A]);
        assert!(publish(&mut book, A, 5, &[5]));
        assert!(publish(&mut book, A, 3, &[3]));
        assert!(publish(&mut book, A, 4, &[4]));
        for (device, generation) in [(A, 3), (A, 4), (A, 5), (B, 9)] {
            assert!(!publish(&mut book, device, generation, &[9]));
        }
        assert_eq!(book.newest(&A), 5);
        assert_eq!(book.may_drop(&3, &[]), Verdict::Drop);
        assert_eq!(book.may_drop(&4, &[]), Verdict::Keep(Reason::Listed(A)));
    }

    #[test]
    fn what_a_repair_made_waits_for_three_more_manifests_of_everybody() {
        let mut book = book(&[A, B]);
        for device in [A, B] {
            publish(&mut book, device, 1, &[]);
            publish(&mut book, device, 2, &[]);
        }
        let made = book.holds_of_a_repair();
        for generation in 3..6 {
            assert!(matches!(book.may_drop(&7, &made), Verdict::Keep(Reason::Recent(_))));
            publish(&mut book, A, generation, &[]);
            publish(&mut book, B, generation, &[]);
        }
        assert_eq!(book.may_drop(&7, &made), Verdict::Drop);
    }
}
