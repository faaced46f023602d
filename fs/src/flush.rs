//! Making a tree and a head of everything that changed, and finding the head to start from.
//!
//! Order of writes: the journal gets everything that is frozen; blocks of the new tree; sync; the head;
//! sync; only then the journal is trimmed. A crash between any two leaves the old head with the
//! whole journal, or the new head.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use cairn_block::entry::VolumeRoot;
use cairn_block::{
    DeviceId, Head, HeadError, HeadFields, HeadKind, Kind, Timestamp, UntrustedHead, Vector, VolumeKeys, head_hash,
};
use cairn_store::{Ask, HeadStore};

use crate::error::{FsError, newer};
use crate::fold::Folder;
use crate::reader::{ReadError, TreeReader};
use crate::sealer::Purpose;
use crate::thinning::{self, Candidate};
use crate::volume::{FLUSH_TIMEOUT, Volume, now};

/// The heads of a volume, as this device has them.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    /// The head that the state builds on.
    current: Option<Head>,
    /// Hash of this device's last head.
    previous: [u8; 32],
    /// Number of this device's last head.
    seq: u64,
    /// The journal is in use, or was, up to this number.
    delta_floor: u64,
}

/// When no new head is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unless {
    /// When the current one says all there is.
    Clean,
    /// Always make one.
    Never,
}

/// Where a volume starts from.
pub(crate) struct Found {
    pub(crate) heads: Heads,
    /// The tree of the current head; none in a new volume.
    pub(crate) root: Option<VolumeRoot>,
    /// The newest head, or its root, can't be used: an older one stands in.
    pub(crate) fell_back: bool,
}

impl Heads {
    /// The newest head whose root can be read.
    pub(crate) fn find(
        keys: &VolumeKeys,
        device: DeviceId,
        store: &dyn HeadStore,
        reader: &TreeReader,
    ) -> Result<Found, FsError> {
        let mut heads = Heads::default();
        let mut fell_back = false;
        let mut verified = Vec::new();
        for stored in store.heads(&keys.volume())? {
            match verify(keys, stored.bytes.clone()) {
                Ok(head) => {
                    if head.device == device && head.seq > heads.seq {
                        heads.seq = head.seq;
                        heads.previous = head_hash(&stored.bytes);
                    }
                    heads.delta_floor = heads.delta_floor.max(head.delta_upto);
                    verified.push(head);
                }
                Err(error) => {
                    if let HeadError::Format(error) = &error
                        && let Some(newer) = newer(error)
                    {
                        return Err(newer);
                    }
                    tracing::error!(seq = stored.seq, %error, "a head can't be trusted; passed over");
                    // Its number is taken all the same, and the next one follows it.
                    if stored.device == device && stored.seq > heads.seq {
                        heads.seq = stored.seq;
                        heads.previous = head_hash(&stored.bytes);
                    }
                    fell_back = true;
                }
            }
        }
        // A head that is lost may have trimmed the journal beyond what the one before it says.
        heads.delta_floor = heads.delta_floor.max(store.last_delta(&keys.volume())?);
        // What includes more comes first; a clock only decides between what includes as much.
        verified.sort_by_key(|head| (head.vector.iter().map(|(_, seq)| seq).sum::<u64>(), head.time));
        while let Some(head) = verified.pop() {
            match read_root(&head, reader) {
                Ok(root) => {
                    heads.current = Some(head);
                    return Ok(Found { heads, root: Some(root), fell_back });
                }
                Err(error) if error.is_loss() => {
                    if let Some(newer) = error.newer() {
                        return Err(newer);
                    }
                    tracing::error!(seq = head.seq, %error, "the root of a head is lost; an older one is tried");
                    fell_back = true;
                }
                Err(error) => return Err(error.into_fs(cairn_block::Ino::ROOT)),
            }
        }
        Ok(Found { heads, root: None, fell_back })
    }

    /// The journal up to this number is in the current head.
    pub(crate) fn delta_upto(&self) -> u64 {
        self.current.as_ref().map_or(0, |head| head.delta_upto)
    }

    /// No journal record may have a number at or below this any more.
    pub(crate) fn delta_floor(&self) -> u64 {
        self.delta_floor
    }
}

fn verify(keys: &VolumeKeys, bytes: Bytes) -> Result<Head, cairn_block::HeadError> {
    UntrustedHead::new(bytes)?.verify(&keys.volume_public(), keys.read(), keys.volume())
}

/// The volume root that a head points to.
pub fn read_root(head: &Head, reader: &TreeReader) -> Result<VolumeRoot, ReadError> {
    let payload = reader.payload(&head.root, Kind::Root, Ask::now(FLUSH_TIMEOUT))?;
    Ok(VolumeRoot::decode(&payload)?)
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

    fn flush_as(&self, kind: HeadKind, label: Option<String>, unless: Unless) -> Result<Option<Head>, FsError> {
        let mut heads = self.heads.lock();
        if self.is_sealed_off() {
            return if kind == HeadKind::Automatic { Ok(heads.current.clone()) } else { Err(FsError::ReadOnly) };
        }
        let clean = {
            let state = self.state.lock();
            state.dirty_count() == 0 && !state.has_batch()
        };
        if clean && unless == Unless::Clean && heads.current.is_some() {
            return Ok(heads.current.clone());
        }
        let mut journal = self.journal.lock();
        let (cut, mut frozen) = {
            let mut state = self.state.lock();
            state.touch_accessed();
            (state.cut(), state.freeze())
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
        let delta_upto = journal.seq.max(heads.delta_floor);
        journal.bytes = 0;
        drop(journal);
        // A panic takes back what was frozen like any other failure: the next flush would overwrite it.
        let fold = || self.fold_and_sign(&frozen, &mut heads, delta_upto, kind, label);
        let folded = catch_unwind(AssertUnwindSafe(fold)).unwrap_or(Err(FsError::Panicked { op: "flush" }));
        let (head, folded) = match folded {
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
        self.store.sync()?;
        self.heads_store.trim_deltas(&self.keys.volume(), delta_upto)?;
        self.journal.lock().trimmed(delta_upto);
        Ok(Some(head))
    }

    fn fold_and_sign(
        &self,
        frozen: &crate::state::Frozen,
        heads: &mut Heads,
        delta_upto: u64,
        kind: HeadKind,
        label: Option<String>,
    ) -> Result<(Head, crate::state::Folded), FsError> {
        let ask = Ask::background(FLUSH_TIMEOUT);
        let folder = Folder { reader: &self.reader, sealer: &self.sealer, ask };
        let (root, folded) = folder.fold(frozen)?;
        let root = self.sealer.node(Kind::Root, &root.encode()?)?;
        self.store.sync()?;
        let seq = heads.seq + 1;
        let vector: Vector = heads.current.as_ref().map_or(Vec::new(), |head| head.vector.clone());
        let fields = HeadFields { seq, previous: heads.previous, vector, time: now(), delta_upto, root, kind, label };
        let bytes = Head::sign(fields, &self.keys, &self.device, &self.cert).map_err(|_| FsError::Invalid)?;
        let head = verify(&self.keys, bytes.clone()).map_err(|_| FsError::Invalid)?;
        let volume = self.keys.volume();
        self.heads_store.put_head(&volume, &head.device, seq, &bytes)?;
        heads.seq = seq;
        heads.previous = head_hash(&bytes);
        heads.delta_floor = delta_upto;
        heads.current = Some(head.clone());
        Ok((head, folded))
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

    /// Drops automatic heads as they age. Gives how many. None of a volume that is for reading only: its history may be all
    /// that is whole.
    pub fn thin(&self, now: Timestamp) -> Result<usize, FsError> {
        if self.is_sealed_off() {
            return Ok(0);
        }
        let own = self.device.id();
        let mut mine: Vec<Head> = self.history()?.into_iter().filter(|head| head.device == own).collect();
        mine.sort_by_key(|head| head.seq);
        let candidates: Vec<Candidate> =
            mine.iter().map(|head| Candidate { time: head.time, labelled: head.kind == HeadKind::Named }).collect();
        let kept = thinning::keep(&candidates, now);
        let gone = mine.iter().zip(kept).filter(|(_, kept)| !kept);
        let gone: Vec<(DeviceId, u64)> = gone.map(|(head, _)| (head.device, head.seq)).collect();
        if !gone.is_empty() {
            self.heads_store.drop_heads(&self.keys.volume(), &gone)?;
        }
        Ok(gone.len())
    }

    /// Drops one head, a named one too. The current one stays.
    pub fn drop_snapshot(&self, head: &Head) -> Result<(), FsError> {
        if self.is_sealed_off() {
            return Err(FsError::ReadOnly);
        }
        let is_current = |current: &Head| (current.device, current.seq) == (head.device, head.seq);
        if self.heads.lock().current.as_ref().is_some_and(is_current) {
            return Err(FsError::NotPermitted);
        }
        Ok(self.heads_store.drop_heads(&self.keys.volume(), &[(head.device, head.seq)])?)
    }
}
