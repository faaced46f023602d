//! Bringing a live volume to what all known heads come to, while programs use it.
//!
//! ```text
//! flush what is unflushed here ──> heads that no other includes ──> their one tree (meet) ──> what differs from ours
//!      ^                                                                                            │
//!      └──── changed meanwhile ────  all in one step: the state goes over to that tree  <──────────-┘
//! ```
//! Everything that may wait is done beside all other work; only the step itself is taken under the locks, and reads nothing
//! but the store's index. A state that was changed in between is flushed, and looked at again; after a few rounds those who
//! change something are held off until it is done, and those who read are not.
//!
//! Order of writes: the state goes over in memory; a merge is then signed, before the journal goes on. The tree
//! of another device's head is not signed before something changes on top of it (`Volume::stand_firm`). So the journal is
//! always on top of this device's newest head, and a crash anywhere finds that head with its journal, and absorbs again.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_block::entry::VolumeRoot;
use cairn_block::{DeviceId, Entry, Head, Ino, Vector, join};
use cairn_store::Priority;

use crate::changes::{Changes, Child, InodeChange, NameChange, Place};
use crate::error::FsError;
use crate::heads::is_same_tree;
use crate::known::HeadId;
use crate::meet::{Failure, MeetError, Meeting, Met, unseen};
use crate::merge::Conflict;
use crate::reader::{Patience, ReadError};
use crate::restore::Touched;
use crate::tree::{dir_root, list};
use crate::volume::{FLUSH_TIMEOUT, Volume};

/// Rounds before writers are held off.
const FREE_ROUNDS_MAX: usize = 4;
/// Rounds after that. One is enough, unless access times fill up or a collection swept what was just made.
const HELD_ROUNDS_MAX: usize = 4;
/// How long a node is waited for while writers are held off: about as long as what is here takes.
const HELD_TIMEOUT: Duration = Duration::from_secs(1);
/// Entries read at a time.
const WINDOW: usize = 512;

/// What an absorption did.
#[derive(Debug, Default)]
pub struct Absorbed {
    /// The names and inodes that are other than before.
    pub changed: u64,
    /// What could not be agreed on, if there was a merge. Nothing of it is lost.
    pub conflicts: Vec<Conflict>,
    /// A head that this device signed for the merge: other devices want it.
    pub head: Option<Head>,
    /// Heads that are known and not in the tree yet: their blocks could not be had. Another try later may.
    pub waiting: Vec<(DeviceId, u64)>,
}

/// The tree that the state builds on, when a round begins.
struct Start {
    turn: u64,
    root: VolumeRoot,
    vector: Vector,
}

/// What a round comes to.
enum Round {
    Done(Box<Absorbed>),
    /// The state changed meanwhile.
    Again,
}

impl Volume {
    /// Whether there are heads that the state does not include.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let vector = self.heads.lock().vector.clone();
        !unseen(&self.known.lock().frontier(&BTreeSet::new()), &vector).is_empty()
    }

    /// Brings the state to what all known heads come to. `tell` hears what a kernel has to forget.
    ///
    /// What is out of reach is left for later, and said. May wait for blocks; nobody else waits for it.
    pub fn absorb(&self, tell: &mut dyn FnMut(Touched)) -> Result<Absorbed, FsError> {
        if self.is_sealed_off() {
            return Err(FsError::ReadOnly);
        }
        let _only = self.absorbing.lock();
        let mut without = BTreeSet::new();
        let mut rounds = 0;
        let mut held = None;
        let mut fetching = false;
        while rounds < FREE_ROUNDS_MAX + HELD_ROUNDS_MAX {
            if rounds >= FREE_ROUNDS_MAX && held.is_none() && !std::mem::take(&mut fetching) {
                held = Some(self.hold_off());
            }
            let wait = if held.is_some() { HELD_TIMEOUT } else { FLUSH_TIMEOUT };
            match self.round(&without, wait, tell) {
                Ok(Round::Done(mut absorbed)) => {
                    absorbed.waiting = without.into_iter().collect();
                    return Ok(*absorbed);
                }
                Ok(Round::Again) => rounds += 1,
                // What has to be fetched is, while nobody waits.
                Err(MeetError::Unreadable(_, error) | MeetError::Fs(error))
                    if held.is_some() && error.is_out_of_reach() =>
                {
                    held = None;
                    fetching = true;
                    rounds += 1;
                }
                Err(MeetError::Unreadable(heads, error)) => {
                    for (device, seq) in &heads {
                        tracing::warn!(%device, seq, %error, "a head's tree can't be read yet");
                    }
                    let known = without.len();
                    without.extend(heads);
                    if without.len() == known {
                        return Err(error);
                    }
                }
                Err(MeetError::Fs(error)) => return Err(error),
            }
        }
        Err(FsError::Busy)
    }

    /// One round, in which a node is waited for as long as `wait` says.
    fn round(
        &self,
        without: &BTreeSet<HeadId>,
        wait: Duration,
        tell: &mut dyn FnMut(Touched),
    ) -> Result<Round, MeetError> {
        let frontier = self.known.lock().frontier(without);
        if unseen(&frontier, &self.heads.lock().vector).is_empty() {
            return Ok(Round::Done(Box::default()));
        }
        // A volume in which nothing was ever done has no head, and needs none.
        if !self.state.lock().is_clean() {
            self.flush()?;
        }
        let start = {
            let heads = self.heads.lock();
            let root = heads.root.clone().ok_or(FsError::Stale)?;
            Start { turn: heads.turn, root, vector: heads.vector.clone() }
        };
        let frontier = self.known.lock().frontier(without);
        let meeting = Meeting {
            reader: &self.reader,
            sealer: &self.sealer,
            keys: &self.keys,
            own: self.device.id(),
            wait,
            known: &self.known,
        };
        let met = meeting.of(frontier)?;
        let changes = self.changes_to(&start.root, &met, wait)?;
        let result = self.go_over(&start, met, &changes);
        let Some((absorbed, touched)) = result? else { return Ok(Round::Again) };
        if self.adrift.load(Ordering::Acquire) {
            // The keeper says so to others after a while.
            self.bell.ring(|_| {});
        }
        touched.into_iter().for_each(tell);
        Ok(Round::Done(Box::new(absorbed)))
    }

    fn changes_to(&self, before: &VolumeRoot, met: &Met, wait: Duration) -> Result<Changes, MeetError> {
        let is_empty = dir_root(&before.root).count == 0 && before.links.count == 0;
        let changes = if is_empty {
            self.all_of(before, &met.root, wait).map_err(Failure::from)
        } else {
            let mut nodes = self.reader.patient_nodes(patience(wait));
            Changes::between(&mut nodes, before, &met.root).map_err(Failure::from)
        };
        changes.map_err(|Failure { error, is_theirs }| match &met.head {
            Some(head) if is_theirs && head.device != self.device.id() => {
                MeetError::Unreadable(vec![(head.device, head.seq)], error)
            }
            _ => MeetError::Fs(error),
        })
    }

    /// What differs from an empty tree, as far as anybody can have heard of it: the names in the root. A device that joins does
    /// not read the whole volume.
    fn all_of(&self, before: &VolumeRoot, after: &VolumeRoot, wait: Duration) -> Result<Changes, ReadError> {
        let mut changes = Changes::default();
        let root = InodeChange { old: Some(before.root.clone()), new: Some(after.root.clone()) };
        changes.inodes.insert(Ino::ROOT, root);
        let mut nodes = self.reader.patient_nodes(patience(wait));
        let mut from = Bound::Unbounded;
        loop {
            let bound = from.as_ref().map(|key: &bytes::Bytes| &key[..]);
            let window = list(&mut nodes, dir_root(&after.root), bound, WINDOW)?;
            let Some((last, _)) = window.last() else { return Ok(changes) };
            from = Bound::Excluded(last.encoded().clone());
            for (key, value) in window {
                let (ino, kind) = Entry::peek(&value)?;
                let place = Place { parent: Ino::ROOT, name: bytes::Bytes::copy_from_slice(key.name()) };
                changes.names.insert(place, NameChange { old: None, new: Some(Child { ino, kind }) });
            }
        }
    }

    /// The step itself. `None` if the state is not any more what the round began with.
    fn go_over(&self, start: &Start, met: Met, changes: &Changes) -> Result<Option<(Absorbed, Vec<Touched>)>, FsError> {
        let mut heads = self.heads.lock();
        if heads.turn != start.turn {
            return Ok(None);
        }
        let vector = join(&start.vector, &met.vector);
        if is_same_tree(&start.root, &met.root) {
            heads.vector = vector;
            if met.head.is_none() {
                // No head says that this is what they come to, and others may have come to something else.
                let mut journal = self.journal.lock();
                let head = Some(self.sign_as_is(&mut heads, &mut journal)?);
                return Ok(Some((Absorbed { head, ..Absorbed::default() }, Vec::new())));
            }
            return Ok(Some(Default::default()));
        }
        let mut journal = self.journal.lock();
        // No collection begins before this is over. One that began while the tree was being made may have swept some of it.
        for id in &met.made {
            if !self.store.claim(id)? {
                return Ok(None);
            }
        }
        let touched = {
            let mut state = self.state.lock();
            if !state.is_clean() {
                return Ok(None);
            }
            state.rebase(&met.root, changes)
        };
        self.adrift.store(true, Ordering::Release);
        heads.root = Some(met.root);
        heads.vector = vector;
        heads.turn += 1;
        let mut absorbed = Absorbed {
            changed: (changes.names.len() + changes.inodes.len()) as u64,
            conflicts: met.conflicts,
            ..Absorbed::default()
        };
        match met.head {
            Some(head) => heads.current = Some(head),
            None => match self.sign_as_is(&mut heads, &mut journal) {
                Ok(head) => absorbed.head = Some(head),
                // The others come to the same tree by themselves, and the next change here signs it.
                Err(error) => tracing::warn!(%error, "a merge could not be signed yet"),
            },
        }
        Ok(Some((absorbed, touched)))
    }

    /// Holds off whoever changes something, until it is dropped.
    fn hold_off(&self) -> HeldOff<'_> {
        self.state.lock().hold(true);
        HeldOff { volume: self }
    }
}

/// While this lives, changes wait.
struct HeldOff<'a> {
    volume: &'a Volume,
}

impl Drop for HeldOff<'_> {
    fn drop(&mut self) {
        self.volume.state.lock().hold(false);
        self.volume.bell.drained.notify_all();
    }
}

fn patience(wait: Duration) -> Patience {
    Patience::Each(Priority::Ahead, wait)
}
