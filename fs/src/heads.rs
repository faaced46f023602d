//! Where a volume stands among its heads, and finding that place at a start.
//!
//! The journal of a device holds what it changed since *its own* newest head, so that is the head to start from, whatever other
//! devices' heads are here: what they hold is [absorbed](crate::Volume::absorb) afterwards.

use std::time::Duration;

use bytes::Bytes;
use cairn_block::entry::VolumeRoot;
use cairn_block::vector::seq_of;
use cairn_block::{DeviceId, Head, HeadError, Kind, UntrustedHead, Vector, VolumeKeys, head_hash, includes, join};
use cairn_store::{Ask, HeadStore};

use crate::error::{FsError, newer};
use crate::known::{Known, weight};
use crate::reader::{ReadError, TreeReader};
use crate::volume::FLUSH_TIMEOUT;

/// Other devices' heads that a device without one of its own tries to start from, each of which may have to be waited for.
const STARTS_MAX: usize = 4;

/// Heads of one device that are looked at for the content that this one has.
const TWINS_MAX: usize = 16;

/// How long the root of such a head is waited for. It is here, so that is what a disk takes.
const TWIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Numbers passed over for each head that is lost with its counter: a flush is made long before so many files are new.
pub(crate) const LOST_NUMBERS: u64 = 1 << 20;

/// Where this device stands.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// A head with the tree that the state builds on.
    pub(crate) current: Option<Head>,
    /// That tree's root.
    pub(crate) root: Option<VolumeRoot>,
    /// What that tree includes: the next head carries it. More than the current head's where other heads have the same content.
    pub(crate) vector: Vector,
    /// Counts the trees that the state was built on.
    pub(crate) turn: u64,
    /// Hash of this device's last head.
    pub(crate) previous: [u8; 32],
    /// Number of this device's last head.
    pub(crate) seq: u64,
    /// The journal is in use, or was, up to this number.
    pub(crate) delta_floor: u64,
}

/// What the journal of this device builds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalBase {
    /// The tree that was found; what is in it up to this number is passed over.
    Found(u64),
    /// The empty tree, though the volume starts from another one: the journal must be empty.
    Empty,
    /// A head of this device that is lost.
    Lost,
}

impl JournalBase {
    /// The journal's number up to which changes are in the tree to start from.
    pub(crate) fn upto(self) -> u64 {
        match self {
            JournalBase::Found(upto) => upto,
            JournalBase::Empty | JournalBase::Lost => 0,
        }
    }
}

/// Where a volume starts from.
pub(crate) struct Found {
    pub(crate) heads: Heads,
    pub(crate) known: Known,
    pub(crate) journal: JournalBase,
    /// The number that the next new inode of this device gets, if one of its heads says so.
    pub(crate) next_ino: Option<u64>,
    /// A head of this device, or its root, can't be used: an older one stands in.
    pub(crate) fell_back: bool,
    /// How many of its heads that are newer can't be used.
    lost: u64,
    /// How many of its heads others speak of that are newer than all that are here.
    set_back: u64,
}

impl Found {
    /// Numbers of inodes that may have been given out and are not known any more.
    pub(crate) fn numbers_lost(&self) -> u64 {
        let lost = if self.fell_back { self.lost.saturating_add(1) } else { 0 };
        // A share of the range, so that a wrong number of a head does not use all of it up.
        lost.saturating_add(self.set_back).min(1 << 16) * LOST_NUMBERS
    }
}

impl Heads {
    /// The newest head of this device whose root can be read; of a device that has none yet, another one's.
    pub(crate) fn find(
        keys: &VolumeKeys,
        device: DeviceId,
        store: &dyn HeadStore,
        reader: &TreeReader,
    ) -> Result<Found, FsError> {
        let mut found = Found {
            heads: Heads::default(),
            known: Known::default(),
            journal: JournalBase::Lost,
            next_ino: None,
            fell_back: false,
            lost: 0,
            set_back: 0,
        };
        found.read(keys, device, store)?;
        if found.heads.seq > 0 {
            found.start_from_own(device, reader)?;
        } else {
            match store.deltas(&keys.volume(), 0)?.first() {
                None => found.journal = JournalBase::Empty,
                // Changes from before the first head. They are on top of nothing, whatever came from elsewhere since.
                Some((1, _)) => found.journal = JournalBase::Found(0),
                Some((first, _)) => found.start_from_predecessor(*first, reader)?,
            }
        }
        if found.heads.root.is_none() && found.journal != JournalBase::Found(0) {
            found.start_from_others(reader)?;
        }
        Ok(found)
    }
}

impl Found {
    fn read(&mut self, keys: &VolumeKeys, device: DeviceId, store: &dyn HeadStore) -> Result<(), FsError> {
        let heads = &mut self.heads;
        for stored in store.heads(&keys.volume())? {
            let hash = head_hash(&stored.bytes);
            if stored.device == device && stored.seq > heads.seq {
                // Its number is taken, whatever its bytes are, and the next one follows it.
                heads.seq = stored.seq;
                heads.previous = hash;
            }
            match verify(keys, stored.bytes) {
                Ok(head) => {
                    if head.device == device {
                        heads.delta_floor = heads.delta_floor.max(head.delta_upto);
                    }
                    self.known.insert(head, hash);
                }
                Err(error) => {
                    if let HeadError::Format(error) = &error
                        && let Some(newer) = newer(error)
                    {
                        return Err(newer);
                    }
                    tracing::error!(seq = stored.seq, %error, "a head can't be trusted; passed over");
                    self.fell_back |= stored.device == device;
                }
            }
        }
        // A head that is lost may have trimmed the journal beyond what the one before it says.
        heads.delta_floor = heads.delta_floor.max(store.last_delta(&keys.volume())?);
        let named = self.known.highest_named(&device);
        self.set_back = named.saturating_sub(heads.seq);
        if self.set_back > 0 {
            tracing::error!(
                own = heads.seq,
                named,
                "other devices have newer heads of this one: its store was set back, or its key copied"
            );
        }
        Ok(())
    }

    fn start_from_own(&mut self, device: DeviceId, reader: &TreeReader) -> Result<(), FsError> {
        let own: Vec<Head> = self.known.of(&device).rev().cloned().collect();
        for head in own {
            match read_root(&head, reader) {
                Ok(root) => {
                    self.lost = self.heads.seq - head.seq;
                    self.journal = JournalBase::Found(head.delta_upto);
                    self.next_ino = Some(root.next_ino);
                    self.heads.vector = self.with_twins(&head, &root, reader);
                    self.heads.current = Some(head);
                    self.heads.root = Some(root);
                    return Ok(());
                }
                Err(error) if error.is_loss() || error.is_out_of_reach() => {
                    if let Some(newer) = error.newer() {
                        return Err(newer);
                    }
                    tracing::error!(seq = head.seq, %error, "the root of a head is lost; an older one is tried");
                    self.fell_back = true;
                }
                Err(error) => return Err(error.into_fs(cairn_block::Ino::ROOT)),
            }
        }
        self.lost = self.heads.seq;
        self.fell_back = true;
        Ok(())
    }

    /// A store that had another device key before: its journal goes on from a head of that device. The volume is flushed at once,
    /// so that a head of this device has it all.
    fn start_from_predecessor(&mut self, first: u64, reader: &TreeReader) -> Result<(), FsError> {
        let mut heads: Vec<Head> = self.known.all().filter(|head| head.delta_upto + 1 == first).cloned().collect();
        heads.sort_by_key(|head| (weight(&head.vector), head.time));
        self.fell_back = true;
        for head in heads.into_iter().rev().take(STARTS_MAX) {
            match read_root(&head, reader) {
                Ok(root) => {
                    self.journal = JournalBase::Found(head.delta_upto);
                    self.heads.vector = head.vector.clone();
                    self.heads.current = Some(head);
                    self.heads.root = Some(root);
                    return Ok(());
                }
                Err(error) if error.is_loss() || error.is_out_of_reach() => {
                    tracing::error!(seq = head.seq, %error, "the head that the journal is on top of is lost");
                }
                Err(error) => return Err(error.into_fs(cairn_block::Ino::ROOT)),
            }
        }
        Ok(())
    }

    /// What a tree includes: with those heads of other devices that have the same one. Such a head is joined without a new one
    /// of this device, and after a start it has to be again, before changes on top of it look like changes beside it.
    fn with_twins(&self, own: &Head, root: &VolumeRoot, reader: &TreeReader) -> Vector {
        let mut vector = own.vector.clone();
        for newest in self.known.newest() {
            let unseen = self.known.of(&newest.device).rev().take_while(|head| !includes(&own.vector, &head.vector));
            let same = |head: &&Head| {
                // Where it is not here it was not joined either: nothing is lost by passing it over, and nobody waits.
                if !is_here(head, reader) {
                    return false;
                }
                let other = read_root_within(head, reader, Ask::now(TWIN_TIMEOUT));
                seq_of(&head.vector, &own.device) <= own.seq && other.is_ok_and(|other| is_same_tree(root, &other))
            };
            if let Some(twin) = unseen.filter(|head| head.device != own.device).take(TWINS_MAX).find(same) {
                vector = join(&vector, &twin.vector);
            }
        }
        vector
    }

    /// A device without a usable head of its own starts where another one is. Should that not be within reach, it starts from
    /// nothing, and meets the others later.
    fn start_from_others(&mut self, reader: &TreeReader) -> Result<(), FsError> {
        let mut others: Vec<Head> = self.known.newest().into_iter().cloned().collect();
        others.sort_by_key(|head| (weight(&head.vector), head.time));
        if self.journal == JournalBase::Empty {
            // What has to be fetched is absorbed later. Only where a head of its own is lost is it worth a wait.
            others.retain(|head| is_here(head, reader));
        }
        for head in others.into_iter().rev().take(STARTS_MAX) {
            match read_root(&head, reader) {
                Ok(root) => {
                    self.heads.vector = head.vector.clone();
                    self.heads.current = Some(head);
                    self.heads.root = Some(root);
                    return Ok(());
                }
                Err(error) => {
                    if let Some(newer) = error.newer() {
                        return Err(newer);
                    }
                    tracing::warn!(device = %head.device, seq = head.seq, %error, "a head's root can't be read yet");
                }
            }
        }
        Ok(())
    }
}

/// Whether a head's root needs no network.
fn is_here(head: &Head, reader: &TreeReader) -> bool {
    reader.store().has(&head.root.id).unwrap_or(false)
}

/// Whether two roots hold the same: the next number of a new inode is their device's own.
pub(crate) fn is_same_tree(a: &VolumeRoot, b: &VolumeRoot) -> bool {
    a.root == b.root && a.links == b.links
}

pub(crate) fn verify(keys: &VolumeKeys, bytes: Bytes) -> Result<Head, HeadError> {
    UntrustedHead::new(bytes)?.verify(&keys.volume_public(), keys.read(), keys.volume())
}

/// The volume root that a head points to.
pub fn read_root(head: &Head, reader: &TreeReader) -> Result<VolumeRoot, ReadError> {
    read_root_within(head, reader, Ask::now(FLUSH_TIMEOUT))
}

/// The same, for as long as `ask` says.
pub(crate) fn read_root_within(head: &Head, reader: &TreeReader, ask: Ask) -> Result<VolumeRoot, ReadError> {
    let payload = reader.payload(&head.root, Kind::Root, ask)?;
    Ok(VolumeRoot::decode(&payload)?)
}
