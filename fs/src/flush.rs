//! Making a tree and a head of everything that changed.
//!
//! Order of writes: the journal gets everything that is frozen; blocks of the new tree; sync; the head;
//! sync; only then the journal is trimmed. A crash between any two leaves the old head with the
//! whole journal, or the new head.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use cairn_block::entry::VolumeRoot;
use cairn_block::vector::seq_of;
use cairn_block::{DeviceId, Head, HeadFields, HeadKind, Kind, Ref, Timestamp, head_hash};
use cairn_store::Ask;

use crate::error::FsError;
use crate::fold::Folder;
use crate::heads::{Heads, verify};
use crate::known::HeadId;
use crate::sealer::Purpose;
use crate::thinning::{self, Candidate};
use crate::volume::{FLUSH_TIMEOUT, Journal, Volume, now};

impl Heads {
    /// The state builds on the tree of this head from now on.
    fn stand_on(&mut self, head: &Head, root: VolumeRoot) {
        self.vector = head.vector.clone();
        self.current = Some(head.clone());
        self.root = Some(root);
        self.turn += 1;
    }
}

/// When no new head is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unless {
    /// When the current one says all there is.
    Clean,
    /// Always make one.
    Never,
}

impl Volume {
    /// Makes a tree and a head of everything that changed. `None` while the volume never had a change.
    pub fn flush(&self) -> Result<Option<Head>, FsError> {
        self.flush_as(HeadKind::Automatic, None, Unless::Clean)
    }

    /// The same, with a new head in any case: journal records that follow it stand behind nothing that is lost.
    pub(crate) fn flush_anew(&self) -> Result<Option<Head>, FsError> {
        self.flush_as(HeadKind::Automatic, None, Unless::Never)
    }

    /// A head that stays until somebody drops it.
    pub fn snapshot(&self, label: Option<&str>) -> Result<Head, FsError> {
        let head = self.flush_as(HeadKind::Named, label.map(str::to_owned), Unless::Never)?;
        head.ok_or(FsError::NotFound)
    }

    /// The root of the tree that has everything that changed.
    pub(crate) fn flushed_root(&self) -> Result<VolumeRoot, FsError> {
        self.flush()?;
        self.heads.lock().root.clone().ok_or(FsError::Stale)
    }

    fn flush_as(&self, kind: HeadKind, label: Option<String>, unless: Unless) -> Result<Option<Head>, FsError> {
        let mut heads = self.heads.lock();
        if self.is_sealed_off() {
            return if kind == HeadKind::Automatic { Ok(heads.current.clone()) } else { Err(FsError::ReadOnly) };
        }
        let clean = {
            let state = self.state.lock();
            state.dirty_count() == 0 && !state.has_batch()
        };
        if clean && unless == Unless::Clean {
            // One that could not be made durable when it was signed.
            self.sync_heads(false)?;
            return Ok(heads.current.clone());
        }
        let mut journal = self.journal.lock();
        let (cut, mut frozen) = loop {
            {
                let mut state = self.state.lock();
                state.touch_accessed();
                // In the lock of the cut: what it takes goes into the journal.
                if !self.adrift.load(Ordering::Acquire) || state.is_clean() {
                    break (state.cut(), state.freeze());
                }
            }
            self.stand_firm(&mut heads, &mut journal)?;
        };
        let written = self.write_cut(&mut journal, cut, Purpose::Flush, |stored| {
            for item in &stored.settled {
                frozen.settle(item.ino, item.offset, &item.was, &item.now);
            }
        });
        if let Err(error) = written {
            self.state.lock().thaw(&frozen);
            return Err(error);
        }
        // A head of a tree that is not the journal's takes a number of it: see `sign_as_is`.
        let adrift = self.adrift.load(Ordering::Acquire);
        let delta_upto = journal.seq.max(heads.delta_floor) + u64::from(adrift);
        journal.seq = journal.seq.max(delta_upto);
        journal.bytes = 0;
        drop(journal);
        // A panic takes back what was frozen like any other failure: the next flush would overwrite it.
        let fold = || self.fold_and_sign(&frozen, &mut heads, delta_upto, kind, label);
        let folded = catch_unwind(AssertUnwindSafe(fold)).unwrap_or(Err(FsError::Panicked { op: "flush" }));
        let (head, root, folded) = match folded {
            Ok(folded) => folded,
            Err(error) => {
                self.state.lock().thaw(&frozen);
                return Err(error);
            }
        };
        // The head is in the store: its number is used, and after a crash it may be what counts, or the one before it with
        // the whole journal. So the state goes on from it, also if it can't be made durable now.
        self.state.lock().land(&frozen, folded);
        self.bell.drained.notify_all();
        self.counters.flush();
        heads.stand_on(&head, root);
        self.sync_heads(true)?;
        self.heads_store.trim_deltas(&self.keys.volume(), delta_upto)?;
        let mut journal = self.journal.lock();
        journal.trimmed(delta_upto);
        self.adrift.store(false, Ordering::Release);
        Ok(Some(head))
    }

    /// Makes sure that the journal, before anything is written to it, builds on this device's newest head. After heads of
    /// others were absorbed the state builds on a tree that no head of this device has: then one is signed that has it.
    pub(crate) fn stand_firm(&self, heads: &mut Heads, journal: &mut Journal) -> Result<(), FsError> {
        if !self.adrift.load(Ordering::Acquire) {
            return Ok(());
        }
        self.sign_as_is(heads, journal).map(drop)
    }

    /// The same though nothing is to be written: from the head's vector others learn what this device stands on, and keep it. A
    /// head with a tree that others have is joined by them and not answered, so that this ends with one head of each.
    pub(crate) fn say_where_it_stands(&self) -> Result<(), FsError> {
        let mut heads = self.heads.lock();
        let mut journal = self.journal.lock();
        self.stand_firm(&mut heads, &mut journal)
    }

    /// Signs a head for the tree that the state builds on. It is durable before the journal goes on, and takes a number of the
    /// journal: records that follow can't be mistaken for some that follow the head before.
    pub(crate) fn sign_as_is(&self, heads: &mut Heads, journal: &mut Journal) -> Result<Head, FsError> {
        let mut root = heads.root.clone().ok_or(FsError::Stale)?;
        root.next_ino = self.state.lock().next_ino();
        let sealed = self.sealer.node(Kind::Root, &root.encode()?)?;
        self.store.sync()?;
        let delta_upto = journal.seq.max(heads.delta_floor) + 1;
        let head = self.sign(heads, delta_upto, HeadKind::Automatic, None, sealed)?;
        heads.stand_on(&head, root);
        self.sync_heads(true)?;
        self.heads_store.trim_deltas(&self.keys.volume(), delta_upto)?;
        journal.seq = delta_upto;
        journal.trimmed(delta_upto);
        self.adrift.store(false, Ordering::Release);
        Ok(head)
    }

    /// Makes this device's heads durable: others may hear of them then. Does nothing where all are, unless `always`.
    fn sync_heads(&self, always: bool) -> Result<(), FsError> {
        let unsynced = self.known.lock().unsynced();
        if always || !unsynced.is_empty() {
            self.store.sync()?;
            self.known.lock().synced(&unsynced);
        }
        Ok(())
    }

    /// Signs a head and puts it into the store: its number is used from then on.
    fn sign(
        &self,
        heads: &mut Heads,
        delta_upto: u64,
        kind: HeadKind,
        label: Option<String>,
        root: Ref,
    ) -> Result<Head, FsError> {
        // Above what others have of this device, should its store have been set back.
        let seq = heads.seq.max(seq_of(&heads.vector, &self.device.id())) + 1;
        let vector = heads.vector.clone();
        // One that follows a head which is lost names none.
        let is_orphan = seq > 1 && heads.previous == [0; 32];
        let previous = if is_orphan { head_hash(&seq.to_le_bytes()) } else { heads.previous };
        let fields = HeadFields { seq, previous, vector, time: now(), delta_upto, root, kind, label };
        let bytes = Head::sign(fields, &self.keys, &self.device, &self.cert).map_err(|_| FsError::Invalid)?;
        let head = verify(&self.keys, bytes.clone()).map_err(|_| FsError::Invalid)?;
        self.heads_store.put_head(&self.keys.volume(), &head.device, seq, &bytes)?;
        heads.seq = seq;
        heads.previous = head_hash(&bytes);
        heads.delta_floor = delta_upto;
        // Whatever becomes of the sync that follows: what comes next builds on it.
        self.known.lock().insert_unsynced(head.clone(), heads.previous);
        Ok(head)
    }

    fn fold_and_sign(
        &self,
        frozen: &crate::state::Frozen,
        heads: &mut Heads,
        delta_upto: u64,
        kind: HeadKind,
        label: Option<String>,
    ) -> Result<(Head, VolumeRoot, crate::state::Folded), FsError> {
        let ask = Ask::background(FLUSH_TIMEOUT);
        let folder = Folder { reader: &self.reader, sealer: &self.sealer, ask };
        let (root, folded) = folder.fold(frozen)?;
        let sealed = self.sealer.node(Kind::Root, &root.encode()?)?;
        self.store.sync()?;
        let head = self.sign(heads, delta_upto, kind, label, sealed)?;
        Ok((head, root, folded))
    }

    /// All heads that are kept and can be trusted, oldest first.
    pub fn history(&self) -> Result<Vec<Head>, FsError> {
        Ok(self.kept_heads()?.0)
    }

    /// The heads that can be trusted, oldest first, and how many there are beside them.
    pub(crate) fn kept_heads(&self) -> Result<(Vec<Head>, usize), FsError> {
        let mut history = Vec::new();
        let mut untrusted = 0;
        for stored in self.heads_store.heads(&self.keys.volume())? {
            match verify(&self.keys, stored.bytes) {
                Ok(head) => history.push(head),
                Err(error) => {
                    untrusted += 1;
                    tracing::error!(seq = stored.seq, %error, "a head can't be trusted; passed over");
                }
            }
        }
        history.sort_by_key(|head| (head.time, head.seq));
        Ok((history, untrusted))
    }

    /// Drops automatic heads as they age, those of each device on its own. Gives how many. None of a volume that is for reading
    /// only: its history may be all that is whole.
    pub fn thin(&self, now: Timestamp) -> Result<usize, FsError> {
        if self.is_sealed_off() {
            return Ok(0);
        }
        // Before the list is made: what comes in between is newer, and is not on it.
        let vector = self.heads.lock().vector.clone();
        let needed = self.known.lock().needed(&vector);
        let mut all: Vec<Head> = self.history()?;
        all.sort_by_key(|head| (head.device, head.seq));
        let mut gone: Vec<HeadId> = Vec::new();
        for of_one in all.chunk_by(|a, b| a.device == b.device) {
            let candidate = |head: &Head| Candidate { time: head.time, labelled: head.kind == HeadKind::Named };
            let candidates: Vec<Candidate> = of_one.iter().map(candidate).collect();
            let kept = thinning::keep(&candidates, now);
            let old = of_one.iter().zip(kept).filter(|(_, kept)| !kept).map(|(head, _)| (head.device, head.seq));
            gone.extend(old.filter(|id| !needed.contains(id)));
        }
        self.drop_heads(&gone)?;
        Ok(gone.len())
    }

    /// Drops one head, a named one too. The current one stays, and this device's newest: the next one counts on from it.
    pub fn drop_snapshot(&self, head: &Head) -> Result<(), FsError> {
        if self.is_sealed_off() {
            return Err(FsError::ReadOnly);
        }
        let (heads, id) = (self.heads.lock(), (head.device, head.seq));
        let is_current = heads.current.as_ref().is_some_and(|current| (current.device, current.seq) == id);
        let is_newest = id == (self.device.id(), heads.seq);
        drop(heads);
        if is_current || is_newest {
            return Err(FsError::NotPermitted);
        }
        self.drop_heads(&[id])
    }

    fn drop_heads(&self, gone: &[(DeviceId, u64)]) -> Result<(), FsError> {
        if gone.is_empty() {
            return Ok(());
        }
        self.heads_store.drop_heads(&self.keys.volume(), gone)?;
        self.known.lock().remove(gone);
        Ok(())
    }
}
