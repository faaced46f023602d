//! The one tree that follows from several heads: a function of the heads alone, so that every device that knows the same ones
//! comes to the same tree.
//!
//! Heads with equal trees are one. The others are merged one after the other, in the order of their devices' ids, each with what
//! came out so far, from the best ancestor that both include; a head counts as included where another one with the same tree is.
//! Nodes of the result are put into the store on the way; whoever signs it claims them again, as a collection may have begun
//! meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_block::{BlockId, DeviceId, Head, Ino, Kind, Ref, Sink, Timestamp, Vector, VolumeKeys, VolumeRoot, join};
use cairn_store::{Ask, Priority};
use parking_lot::Mutex;

use crate::changes::{ApplyError, Changes, ChangesError};
use crate::error::FsError;
use crate::heads::{is_same_tree, read_root_within};
use crate::known::{HeadId, Known};
use crate::merge::{Conflict, MergeError, Side, TreeAncestor, merge, short_name};
use crate::nodes::InodeNodes;
use crate::reader::{Patience, ReadError, TreeReader};
use crate::sealer::{NodeSink, Sealer};
use crate::volume::empty_root;

/// Heads of each side that are looked at for a tree that both have had. Two that merge alike do so where their histories part, so
/// it is among the oldest of what only one of them includes.
const TWINS_MAX: usize = 16;

/// How long the root of such a head is waited for: without it there is still an ancestor.
const TWIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Common ancestors that are tried where a merge from the best one can't be made. What is out of reach in a head itself is so
/// from each of them, and each may take as long to find out.
const BASES_MAX: usize = 4;

/// What several heads come to.
pub(crate) struct Met {
    pub(crate) root: VolumeRoot,
    /// What it includes.
    pub(crate) vector: Vector,
    /// A head that has this very tree, if there is nothing to merge.
    pub(crate) head: Option<Head>,
    pub(crate) conflicts: Vec<Conflict>,
    /// The blocks that were put for it.
    pub(crate) made: Vec<BlockId>,
}

/// Why there is no such tree.
#[derive(Debug)]
pub(crate) enum MeetError {
    /// These heads' trees can't be read, or are none.
    Unreadable(Vec<HeadId>, FsError),
    /// Something else.
    Fs(FsError),
}

impl From<FsError> for MeetError {
    fn from(error: FsError) -> MeetError {
        MeetError::Fs(error)
    }
}

/// What came out so far: heads with one tree, or a merge.
struct Part {
    heads: Vec<HeadId>,
    root: VolumeRoot,
    vector: Vector,
    head: Option<Head>,
}

/// Reads trees and makes their merge.
pub(crate) struct Meeting<'a> {
    pub(crate) reader: &'a TreeReader,
    pub(crate) sealer: &'a Sealer,
    pub(crate) keys: &'a VolumeKeys,
    /// Heads of this device can always be read.
    pub(crate) own: DeviceId,
    /// How long a node is waited for.
    pub(crate) wait: Duration,
    /// Where ancestors are looked for.
    pub(crate) known: &'a Mutex<Known>,
}

impl Meeting<'_> {
    /// The tree of heads that don't include each other. There is at least one.
    pub(crate) fn of(&self, frontier: Vec<Head>) -> Result<Met, MeetError> {
        let (mut conflicts, mut made) = (Vec::new(), Vec::new());
        let mut parts = self.parts(frontier)?.into_iter();
        let mut all = parts.next().ok_or(FsError::NotFound)?;
        for part in parts {
            all = self.merged(&all, &part, &mut conflicts, &mut made)?;
        }
        Ok(Met { root: all.root, vector: all.vector, head: all.head, conflicts, made })
    }

    /// The heads by their trees, in the order of the lowest device that has each.
    fn parts(&self, mut frontier: Vec<Head>) -> Result<Vec<Part>, MeetError> {
        frontier.sort_by_key(|head| (head.device, head.seq));
        let mut parts: Vec<Part> = Vec::new();
        for head in frontier {
            let id = (head.device, head.seq);
            let root =
                read_root_within(&head, self.reader, self.ask()).map_err(|error| self.blame(&[id], error.into()))?;
            match parts.iter_mut().find(|part| is_same_tree(&part.root, &root)) {
                Some(part) => {
                    part.heads.push(id);
                    part.vector = join(&part.vector, &head.vector);
                }
                None => parts.push(Part { heads: vec![id], root, vector: head.vector.clone(), head: Some(head) }),
            }
        }
        Ok(parts)
    }

    /// The merge of two parts, from the best base that can be read. One that can't costs false conflicts, and no bytes.
    fn merged(
        &self,
        first: &Part,
        second: &Part,
        conflicts: &mut Vec<Conflict>,
        made: &mut Vec<BlockId>,
    ) -> Result<Part, MeetError> {
        let (of_first, of_second) = self.with_twins(&first.vector, &second.vector);
        let common = self.known.lock().ancestors(&of_first, &of_second);
        let mut first_failure = None;
        let mut tries = BASES_MAX;
        for head in common {
            if tries == 0 {
                break;
            }
            let failed = match read_root_within(&head, self.reader, self.ask()) {
                Ok(base) => match self.merged_from(&base, first, second, conflicts, made) {
                    Ok(part) => return Ok(part),
                    Err((heads, failure)) if !failure.is_theirs => return Err(self.blame(&heads, failure)),
                    Err(failed) => failed,
                },
                Err(error) if error.is_loss() => {
                    tracing::error!(device = %head.device, seq = head.seq, %error, "the tree of a common ancestor is lost; an older one is taken");
                    continue;
                }
                Err(error) => (second.heads.clone(), error.into()),
            };
            tracing::warn!(device = %head.device, seq = head.seq, error = %failed.1.error, "no merge from a common ancestor; an older one is tried");
            first_failure.get_or_insert(failed);
            tries -= 1;
        }
        match first_failure {
            Some((heads, failure)) => Err(self.blame(&heads, failure)),
            None => {
                // What histories without a common head have in common: the same for every device.
                let nothing = empty_root((0, 0), Timestamp { secs: 0, nanos: 0 });
                let merged = self.merged_from(&nothing, first, second, conflicts, made);
                merged.map_err(|(heads, failure)| self.blame(&heads, failure))
            }
        }
    }

    /// What two histories include: each with those heads of the other one whose tree it has had too. Where two merged alike, and
    /// went on before they heard of it, none of the heads before the merge has what the other ones have; that would look added,
    /// also where it was removed since.
    fn with_twins(&self, a: &Vector, b: &Vector) -> (Vector, Vector) {
        let (mut with_a, mut with_b) = (a.clone(), b.clone());
        let roots = |heads: Vec<Head>| -> Vec<(Head, VolumeRoot)> {
            let ask = || Ask::ahead(TWIN_TIMEOUT.min(self.wait));
            let read = |head: Head| Some((read_root_within(&head, self.reader, ask()).ok()?, head));
            // The first that can't be had says enough of the others.
            heads.into_iter().map_while(read).map(|(root, head)| (head, root)).collect()
        };
        let only_first = |a: &Vector, b: &Vector| self.known.lock().only_first(a, b, TWINS_MAX);
        let only_b = roots(only_first(b, a));
        for (head, root) in roots(only_first(a, b)) {
            for (twin, _) in only_b.iter().filter(|(_, other)| is_same_tree(&root, other)) {
                with_a = join(&with_a, &twin.vector);
                with_b = join(&with_b, &head.vector);
            }
        }
        (with_a, with_b)
    }

    /// The merge of two parts that both go back to `before`, or whose trees kept it from being made.
    fn merged_from(
        &self,
        before: &VolumeRoot,
        first: &Part,
        second: &Part,
        conflicts: &mut Vec<Conflict>,
        made: &mut Vec<BlockId>,
    ) -> Result<Part, (Vec<HeadId>, Failure)> {
        let both: Vec<HeadId> = first.heads.iter().chain(&second.heads).copied().collect();
        let of_both = |failure: Failure| (both.clone(), failure);
        let mut sides = Vec::with_capacity(2);
        for part in [first, second] {
            let changes = self.changes(before, &part.root).map_err(|error| (part.heads.clone(), error))?;
            let rank = part.heads.first().copied().ok_or_else(|| of_both(FsError::NotFound.into()))?;
            sides.push(Side { rank, device_name: short_name(&rank.0), changes });
        }
        let sides = <[Side; 2]>::try_from(sides).map_err(|_| of_both(FsError::Invalid.into()))?;
        let patience = self.patience();
        let mut ancestor = TreeAncestor { reader: self.reader, root: before, names: self.keys.names(), patience };
        let merged = merge(&mut ancestor, sides).map_err(|error| of_both(error.into()))?;
        let mut sink = Recorded { sink: self.sealer.sink(), made };
        let mut nodes = InodeNodes { reader: self.reader, ino: Ino::ROOT, ask: self.ask() };
        let root =
            merged.changes.apply(&mut nodes, &mut sink, self.keys.names(), before).map_err(|error| match error {
                ApplyError::Tree(error) => of_both(error.into()),
                ApplyError::Incomplete { ino } => {
                    tracing::error!(%ino, "a merge leaves open what becomes of an inode");
                    of_both(FsError::Damaged { id: second.root_id(), ino }.into())
                }
            })?;
        conflicts.extend(merged.conflicts);
        let vector = join(&first.vector, &second.vector);
        // Also where a part has this very tree: devices that keep different heads may have come to the other part's, and only a
        // head that includes both brings them together again.
        Ok(Part { heads: both, root, vector, head: None })
    }

    fn changes(&self, before: &VolumeRoot, after: &VolumeRoot) -> Result<Changes, Failure> {
        Ok(Changes::between(&mut self.reader.patient_nodes(self.patience()), before, after)?)
    }

    /// Nobody waits for a merge, but what it reads is what programs look at next.
    fn ask(&self) -> Ask {
        Ask::ahead(self.wait)
    }

    fn patience(&self) -> Patience {
        Patience::Each(Priority::Ahead, self.wait)
    }

    /// Who is to be left out because of an error: whose trees can't be read or are none, unless it is this device's own.
    fn blame(&self, heads: &[HeadId], failure: Failure) -> MeetError {
        let others: Vec<HeadId> = heads.iter().copied().filter(|(device, _)| *device != self.own).collect();
        match failure {
            Failure { error, is_theirs: true } if !others.is_empty() => MeetError::Unreadable(others, error),
            Failure { error, .. } => MeetError::Fs(error),
        }
    }
}

impl Part {
    fn root_id(&self) -> BlockId {
        self.head.as_ref().map_or(BlockId::from_bytes([0; 32]), |head| head.root.id)
    }
}

/// What went wrong with a tree, and whether that is the tree's fault.
pub(crate) struct Failure {
    pub(crate) error: FsError,
    pub(crate) is_theirs: bool,
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        let is_theirs = error.is_loss() || error.is_out_of_reach() || matches!(error, ReadError::Request(_));
        Failure { error: error.into_fs(Ino::ROOT), is_theirs }
    }
}

impl From<ChangesError> for Failure {
    fn from(error: ChangesError) -> Failure {
        match error {
            ChangesError::Read(error) => error.into(),
            ChangesError::TwoPlaces { ino } => Failure::unsound(ino),
            ChangesError::TooMany { bytes_max } => {
                tracing::error!(bytes_max, "two histories differ in more than can be merged in memory");
                Failure { error: FsError::FileTooBig, is_theirs: true }
            }
        }
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Failure {
        match error {
            MergeError::Read(error) => error.into(),
            MergeError::Unsound { ino } => Failure::unsound(ino),
        }
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Failure {
        Failure { is_theirs: error.is_loss() || error.is_out_of_reach(), error }
    }
}

impl Failure {
    fn unsound(ino: Ino) -> Failure {
        Failure { error: FsError::Damaged { id: BlockId::from_bytes([0; 32]), ino }, is_theirs: true }
    }
}

/// A sink that remembers what went in.
struct Recorded<'a> {
    sink: NodeSink<'a>,
    made: &'a mut Vec<BlockId>,
}

impl Sink for Recorded<'_> {
    type Error = FsError;

    fn put(&mut self, kind: Kind, payload: &[u8]) -> Result<Ref, FsError> {
        let reference = self.sink.put(kind, payload)?;
        self.made.push(reference.id);
        Ok(reference)
    }
}

/// Those of `frontier` that are not in `vector`.
pub(crate) fn unseen(frontier: &[Head], vector: &Vector) -> BTreeSet<HeadId> {
    let unseen = frontier.iter().filter(|head| !cairn_block::includes(vector, &head.vector));
    unseen.map(|head| (head.device, head.seq)).collect()
}
