//! When a holder may drop a pack: never by the clock, always by what every device of the volume has said.
//!
//! A device publishes, for each of its generations, a manifest of the packs that its tree needs. What it uploads carries the
//! generation it was uploaded for, and so does a hold: its wish to use a pack that somebody else uploaded. A manifest may
//! have been made just before such an upload, so one manifest without a pack says nothing yet; two do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cairn_block::DeviceId;
use cairn_block::limits::SEQ_LIMIT;

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

impl Hold {
    /// No generation is beyond the last one that there can be, whoever says so.
    fn bounded(self) -> Self {
        Hold { generation: self.generation.min(SEQ_LIMIT - 1), ..self }
    }
}

/// The holds on record of one pack. They get in by [`Manifests::asked`], [`Holds::heard`] and [`Manifests::made_by_repair`]
/// only, so none is kept as a device sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holds {
    /// Uploads, and devices that asked; of each device the newest.
    asked: Vec<Hold>,
    /// What the pack got when a repair made its shard.
    by_repair: Vec<Hold>,
}

impl Holds {
    /// Takes in holds that another holder has on record: it took them in when they were asked, so they stay as they are. Raised
    /// anew with every report, no pack would ever go.
    ///
    /// A hold is asked of the holders that are there at the time. So holders tell each other theirs with every report, and one
    /// that was away drops nothing until it has heard the others: it may have missed one.
    pub fn heard(&mut self, others: &[Hold]) {
        merge(&mut self.asked, others.iter().map(|hold| hold.bounded()));
    }

    /// Takes in all of another record of the same pack.
    pub fn merge(&mut self, other: &Holds) {
        self.heard(&other.asked);
        merge(&mut self.by_repair, other.by_repair.iter().copied());
    }

    /// Uploads and those who asked: what other holders are told.
    pub fn asked(&self) -> &[Hold] {
        &self.asked
    }
}

/// Of each device the newest counts for all of its older ones.
fn merge(known: &mut Vec<Hold>, more: impl Iterator<Item = Hold>) {
    known.extend(more);
    // Newest first for each device; the first of each stays.
    known.sort_by(|a, b| a.device.cmp(&b.device).then(b.generation.cmp(&a.generation)));
    known.dedup_by_key(|hold| hold.device);
}

/// What became of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is the device's newest.
    Newest,
    /// It is the one before the newest. If the device has just made it, it goes on after the newest.
    Older {
        /// The newest generation known.
        newest: u64,
    },
    /// It was known before, with the same packs.
    Known,
    /// It is older than both that are kept, or other than the one known of its generation. A device that has just made it was
    /// restored from a backup: it goes on after the newest.
    Stale {
        /// The newest generation known.
        newest: u64,
    },
    /// The device is not certified here.
    UnknownDevice,
    /// There is no such generation.
    OutOfBounds,
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
    /// No hold of the pack is on record: whose it is nobody knows.
    NoHold,
    /// This device uploaded it or asked for it, and its certificate has not come here.
    Unknown(DeviceId),
    /// Two manifests of this device, one right after the other, are not known here.
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
            Reason::NoHold => f.write_str("nobody's hold of it is on record"),
            Reason::Unknown(device) => write!(f, "device {} needs it and is not known here", device.short()),
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
    /// Only the owner's word gets a device in here, and nothing gets it out.
    withdrawn: BTreeSet<DeviceId>,
}

impl<P> Default for Manifests<P> {
    fn default() -> Self {
        Manifests { of: BTreeMap::new(), withdrawn: BTreeSet::new() }
    }
}

impl<P: Ord> Manifests<P> {
    /// A device was certified: from now on nothing goes without its word. False if it was withdrawn: an old certificate that
    /// comes late changes nothing.
    pub fn certify(&mut self, device: DeviceId) -> bool {
        let may = !self.withdrawn.contains(&device);
        if may {
            self.of.entry(device).or_default();
        }
        may
    }

    /// The volume's owner withdrew a device: what it needed counts no more.
    pub fn withdraw(&mut self, device: &DeviceId) {
        self.of.remove(device);
        self.withdrawn.insert(*device);
    }

    /// Takes a manifest whose signature was verified.
    pub fn accept(&mut self, device: &DeviceId, manifest: Manifest<P>) -> Accepted {
        if manifest.generation == 0 || manifest.generation >= SEQ_LIMIT {
            return Accepted::OutOfBounds;
        }
        let newest = self.newest(device);
        let Some(known) = self.of.get_mut(device) else {
            return Accepted::UnknownDevice;
        };
        match known.binary_search_by_key(&manifest.generation, |known| known.generation) {
            Ok(at) if known[at] == manifest => Accepted::Known,
            Ok(_) => Accepted::Stale { newest },
            Err(0) if known.len() == 2 => Accepted::Stale { newest },
            Err(at) => {
                known.insert(at, manifest);
                if known.len() > 2 {
                    known.remove(0);
                }
                if self.newest(device) > newest { Accepted::Newest } else { Accepted::Older { newest } }
            }
        }
    }

    /// The newest generation known of a device; 0 if there is none.
    pub fn newest(&self, device: &DeviceId) -> u64 {
        self.of.get(device).and_then(|known| known.last()).map_or(0, |manifest| manifest.generation)
    }

    /// Whether the newest manifest known of a device lists a pack.
    pub fn newest_lists(&self, device: &DeviceId, pack: &P) -> bool {
        self.of.get(device).and_then(|known| known.last()).is_some_and(|manifest| manifest.packs.contains(pack))
    }

    /// Takes in a hold that came from its device, with an upload or by itself. It counts for the generation after the newest
    /// known, if it says less: a device that was restored from a backup counts again from where it was.
    pub fn asked(&self, holds: &mut Holds, hold: Hold) {
        let generation = hold.generation.max(self.newest(&hold.device) + 1);
        merge(&mut holds.asked, std::iter::once(Hold { generation, ..hold }.bounded()));
    }

    /// The holds of a shard that a repair made, `asked` being those that came with it: as if every device had just asked for the
    /// pack, since some may have done so where the new holder could not hear it.
    pub fn made_by_repair(&self, asked: &[Hold]) -> Holds {
        let mut holds = Holds::default();
        holds.heard(asked);
        let hold = |device: &DeviceId| Hold { device: *device, generation: self.newest(device) + 1 }.bounded();
        holds.by_repair = self.of.keys().map(hold).collect();
        holds
    }

    /// Whether a pack may go.
    pub fn may_drop(&self, pack: &P, holds: &Holds) -> Verdict {
        if self.of.is_empty() {
            return Verdict::Keep(Reason::NoDevice);
        }
        if holds.asked.is_empty() && holds.by_repair.is_empty() {
            return Verdict::Keep(Reason::NoHold);
        }
        if let Some(missing) = self.of.iter().find(|(_, known)| !are_two_in_a_row(known)) {
            return Verdict::Keep(Reason::Missing(*missing.0));
        }
        if let Some(reason) = self.listing(pack) {
            return Verdict::Keep(reason);
        }
        self.recent(holds.asked.iter().chain(&holds.by_repair)).map_or(Verdict::Drop, Verdict::Keep)
    }

    /// Whether a device needs a pack, as far as is known: why a repair makes its shards again. What only stays because something
    /// is missing here, or because a repair made it, is no reason.
    pub fn needed(&self, pack: &P, holds: &Holds) -> Option<Reason> {
        self.listing(pack).or_else(|| self.recent(holds.asked.iter()))
    }

    fn listing(&self, pack: &P) -> Option<Reason> {
        let lists = |(_, known): &(&DeviceId, &Vec<Manifest<P>>)| known.iter().any(|it| it.packs.contains(pack));
        self.of.iter().find(lists).map(|(device, _)| Reason::Listed(*device))
    }

    /// The first of these holds that no manifest could have answered yet.
    fn recent<'a>(&self, holds: impl Iterator<Item = &'a Hold>) -> Option<Reason> {
        // A device that was withdrawn needs nothing. One that is not known may need everything.
        let mut counting = holds.filter(|hold| !self.withdrawn.contains(&hold.device));
        counting.find_map(|hold| match self.of.contains_key(&hold.device) {
            false => Some(Reason::Unknown(hold.device)),
            true => (self.newest(&hold.device) < hold.generation + 2).then_some(Reason::Recent(*hold)),
        })
    }
}

/// Two, and none between them that has not come yet: it might list what these do not.
fn are_two_in_a_row<P>(known: &[Manifest<P>]) -> bool {
    matches!(known, [before, newest] if before.generation + 1 == newest.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DeviceId = DeviceId::from_bytes([1; 32]);
    const B: DeviceId = DeviceId::from_bytes([2; 32]);

    fn book(devices: &[DeviceId]) -> Manifests<u8> {
        let mut book = Manifests::default();
        devices.iter().for_each(|device| assert!(book.certify(*device)));
        book
    }

    fn publish(book: &mut Manifests<u8>, device: DeviceId, generation: u64, packs: &[u8]) -> Accepted {
        book.accept(&device, Manifest { generation, packs: packs.iter().copied().collect() })
    }

    fn hold(device: DeviceId, generation: u64) -> Hold {
        Hold { device, generation }
    }

    /// As another holder has them on record.
    fn holds(given: &[Hold]) -> Holds {
        let mut holds = Holds::default();
        holds.heard(given);
        holds
    }

    #[test]
    fn a_pack_goes_when_two_manifests_of_every_device_lack_it() {
        let mut book = book(&[A, B]);
        publish(&mut book, A, 1, &[7]);
        publish(&mut book, A, 2, &[]);
        publish(&mut book, B, 1, &[]);
        publish(&mut book, B, 2, &[]);
        let upload = holds(&[hold(A, 1)]);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Keep(Reason::Listed(A)));
        publish(&mut book, A, 3, &[]);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Drop);
    }

    #[test]
    fn missing_manifests_mean_keep() {
        assert_eq!(book(&[]).may_drop(&7, &holds(&[hold(A, 1)])), Verdict::Keep(Reason::NoDevice));
        let mut book = book(&[A, B]);
        publish(&mut book, A, 1, &[]);
        publish(&mut book, A, 2, &[]);
        assert_eq!(book.may_drop(&7, &holds(&[hold(A, 1)])), Verdict::Keep(Reason::Missing(B)));
        publish(&mut book, B, 9, &[]);
        assert_eq!(book.may_drop(&7, &holds(&[hold(A, 1)])), Verdict::Keep(Reason::Missing(B)));
        // Only the owner can say that a device is gone for good.
        book.withdraw(&B);
        assert_eq!(book.may_drop(&7, &holds(&[hold(B, 9)])), Verdict::Drop);
    }

    #[test]
    fn what_was_uploaded_or_asked_for_stays_until_two_manifests_could_have_listed_it() {
        let mut book = book(&[A, B]);
        for device in [A, B] {
            publish(&mut book, device, 4, &[]);
            publish(&mut book, device, 5, &[]);
        }
        assert_eq!(book.may_drop(&7, &holds(&[hold(A, 3)])), Verdict::Drop);
        for generation in [4, 5, 6] {
            let asked = hold(B, generation);
            assert_eq!(book.may_drop(&7, &holds(&[hold(A, 1), asked])), Verdict::Keep(Reason::Recent(asked)));
        }
        assert_eq!(
            book.may_drop(&7, &holds(&[hold(A, u64::MAX)])),
            Verdict::Keep(Reason::Recent(hold(A, SEQ_LIMIT - 1)))
        );
    }

    #[test]
    fn of_many_holds_the_newest_of_each_device_counts() {
        let mut known = holds(&[hold(B, 2), hold(A, 1)]);
        known.heard(&[hold(A, 5), hold(B, 1), hold(A, 3)]);
        assert_eq!(known.asked(), [hold(A, 5), hold(B, 2)]);
    }

    /// Generations 4 and 5 of both devices are known and list nothing.
    fn quiet() -> Manifests<u8> {
        let mut book = book(&[A, B]);
        for device in [A, B] {
            publish(&mut book, device, 4, &[]);
            publish(&mut book, device, 5, &[]);
        }
        book
    }

    #[test]
    fn what_an_unknown_device_asked_for_stays_until_its_manifests_say_more() {
        const C: DeviceId = DeviceId::from_bytes([3; 32]);
        let mut book = quiet();
        let asked = holds(&[hold(C, 1)]);
        assert_eq!(book.may_drop(&7, &asked), Verdict::Keep(Reason::Unknown(C)));
        assert!(book.certify(C));
        assert_eq!(book.may_drop(&7, &asked), Verdict::Keep(Reason::Missing(C)));
        for generation in 1..=3 {
            publish(&mut book, C, generation, &[]);
        }
        assert_eq!(book.may_drop(&7, &asked), Verdict::Drop);
    }

    #[test]
    fn a_pack_without_a_hold_on_record_stays() {
        assert_eq!(quiet().may_drop(&7, &Holds::default()), Verdict::Keep(Reason::NoHold));
    }

    #[test]
    fn an_old_certificate_of_a_withdrawn_device_changes_nothing() {
        let mut book = quiet();
        book.withdraw(&B);
        assert!(!book.certify(B));
        assert_eq!(publish(&mut book, B, 6, &[7]), Accepted::UnknownDevice);
        assert_eq!(book.may_drop(&7, &holds(&[hold(A, 1), hold(B, 6)])), Verdict::Drop);
    }

    #[test]
    fn what_a_device_uploads_after_it_was_restored_from_a_backup_stays() {
        let mut book = book(&[A]);
        publish(&mut book, A, 49, &[]);
        publish(&mut book, A, 50, &[]);
        let mut upload = Holds::default();
        book.asked(&mut upload, hold(A, 31));
        assert_eq!(upload.asked(), [hold(A, 51)]);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Keep(Reason::Recent(hold(A, 51))));
        // Its manifest is refused, so it knows where to go on.
        assert_eq!(publish(&mut book, A, 31, &[7]), Accepted::Stale { newest: 50 });
        assert_eq!(publish(&mut book, A, 50, &[7]), Accepted::Stale { newest: 50 });
        assert_eq!(publish(&mut book, A, 51, &[7]), Accepted::Newest);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Keep(Reason::Listed(A)));
        // One that knows more than this holder is believed.
        book.asked(&mut upload, hold(A, 60));
        assert_eq!(upload.asked(), [hold(A, 60)]);
    }

    #[test]
    fn a_report_does_not_make_a_hold_newer() {
        let mut book = quiet();
        let mut upload = holds(&[hold(A, 5)]);
        for generation in 6..8 {
            publish(&mut book, A, generation, &[]);
            upload.heard(&[hold(A, 5)]);
        }
        assert_eq!(book.may_drop(&7, &upload), Verdict::Drop);
    }

    #[test]
    fn generations_have_an_end() {
        let mut book = book(&[A]);
        for generation in [0, SEQ_LIMIT, u64::MAX] {
            assert_eq!(publish(&mut book, A, generation, &[]), Accepted::OutOfBounds);
        }
        publish(&mut book, A, SEQ_LIMIT - 2, &[]);
        publish(&mut book, A, SEQ_LIMIT - 1, &[]);
        let mut last = Holds::default();
        book.asked(&mut last, hold(A, u64::MAX));
        assert_eq!(last.asked(), [hold(A, SEQ_LIMIT - 1)]);
        assert_eq!(book.may_drop(&7, &last), Verdict::Keep(Reason::Recent(hold(A, SEQ_LIMIT - 1))));
    }

    #[test]
    fn a_gap_between_the_two_newest_manifests_means_keep() {
        let mut book = book(&[A]);
        publish(&mut book, A, 5, &[]);
        publish(&mut book, A, 8, &[]);
        let upload = holds(&[hold(A, 6)]);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Keep(Reason::Missing(A)));
        publish(&mut book, A, 6, &[7]);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Keep(Reason::Missing(A)));
        publish(&mut book, A, 7, &[7]);
        assert_eq!(book.may_drop(&7, &upload), Verdict::Keep(Reason::Listed(A)));
    }

    #[test]
    fn what_stays_only_because_a_repair_made_it_or_a_manifest_is_missing_is_not_made_again() {
        let mut book = quiet();
        let made = book.made_by_repair(&[hold(A, 1)]);
        assert!(matches!(book.may_drop(&7, &made), Verdict::Keep(Reason::Recent(_))));
        assert_eq!(book.needed(&7, &made), None);
        book.certify(DeviceId::from_bytes([3; 32]));
        assert_eq!(book.needed(&7, &holds(&[hold(A, 1)])), None);
        assert_eq!(book.needed(&7, &holds(&[hold(A, 5)])), Some(Reason::Recent(hold(A, 5))));
    }

    #[test]
    fn a_device_that_is_away_keeps_what_it_needed() {
        let mut book = book(&[A, B]);
        publish(&mut book, B, 1, &[7]);
        publish(&mut book, B, 2, &[7]);
        for generation in 1..100 {
            publish(&mut book, A, generation, &[]);
        }
        assert_eq!(book.may_drop(&7, &holds(&[hold(A, 1)])), Verdict::Keep(Reason::Listed(B)));
    }

    #[test]
    fn manifests_come_in_any_order_and_old_ones_change_nothing() {
        let mut book = book(&[A]);
        assert_eq!(publish(&mut book, A, 5, &[5]), Accepted::Newest);
        assert_eq!(publish(&mut book, A, 3, &[3]), Accepted::Older { newest: 5 });
        assert_eq!(publish(&mut book, A, 4, &[4]), Accepted::Older { newest: 5 });
        assert_eq!(publish(&mut book, A, 4, &[4]), Accepted::Known);
        for generation in [3, 4, 5] {
            assert_eq!(publish(&mut book, A, generation, &[9]), Accepted::Stale { newest: 5 });
        }
        assert_eq!(publish(&mut book, B, 9, &[9]), Accepted::UnknownDevice);
        assert_eq!(book.newest(&A), 5);
        assert_eq!(book.may_drop(&3, &holds(&[hold(A, 1)])), Verdict::Drop);
        assert_eq!(book.may_drop(&4, &holds(&[hold(A, 1)])), Verdict::Keep(Reason::Listed(A)));
    }

    #[test]
    fn what_a_repair_made_waits_for_three_more_manifests_of_everybody() {
        let mut book = book(&[A, B]);
        for device in [A, B] {
            publish(&mut book, device, 1, &[]);
            publish(&mut book, device, 2, &[]);
        }
        let made = book.made_by_repair(&[]);
        for generation in 3..6 {
            assert!(matches!(book.may_drop(&7, &made), Verdict::Keep(Reason::Recent(_))));
            publish(&mut book, A, generation, &[]);
            publish(&mut book, B, generation, &[]);
        }
        assert_eq!(book.may_drop(&7, &made), Verdict::Drop);
    }
}
