//! The one tree that follows from several heads: a function of the heads alone, so that every device that knows the same ones
//! comes to the same tree.
//!
//! Heads with equal trees are one. The others are merged one after the other, in the order of their devices' ids, each
//! with what came out so far, from the best ancestor that both include. Nodes of the result are put into the store on the
//! way; whoever signs it claims them again, as a collection may have begun meanwhile.

use std::collections::BTreeSet;

use cairn_block::entry::{Attr, Content, MapRoot, Record, Timestamp, Xattrs};
use cairn_block::{
    BlockId, DeviceId, FileType, Head, Ino, Kind, Ref, Sink, Vector, VolumeKeys, VolumeRoot, ino_range, join,
};
use cairn_store::{Ask, Priority, StoreError};

use crate::changes::{ApplyError, Changes, ChangesError};
use crate::error::FsError;
use crate::heads::{is_same_tree, read_root_within};
use crate::known::HeadId;
use crate::merge::{Conflict, MergeError, Side, TreeAncestor, merge, short_name};
use crate::nodes::InodeNodes;
use crate::reader::{Patience, ReadError, TreeReader};
use crate::sealer::{NodeSink, Sealer};
use crate::volume::FLUSH_TIMEOUT;

/// What several heads come to.
pub(crate) struct Met {
    pub(crate) root: VolumeRoot,
    /// What it includes.
    pub(crate) vector: Vector,
    /// A head that has this very tree, if one does.
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
    /// The kept heads that two histories include, the best first.
    pub(crate) ancestors: &'a dyn Fn(&Vector, &Vector) -> Vec<Head>,
}

impl Meeting<'_> {
    /// The tree of heads that don't include each other. There is at least one.
    pub(crate) fn of(&self, frontier: Vec<Head>) -> Result<Met, MeetError> {
        let mut parts = self.parts(frontier)?.into_iter();
        let mut all = parts.next().ok_or(FsError::NotFound)?;
        let (mut conflicts, mut made) = (Vec::new(), Vec::new());
        for part in parts {
            all = self.merged(all, part, &mut conflicts, &mut made)?;
        }
        Ok(Met { root: all.root, vector: all.vector, head: all.head, conflicts, made })
    }

    /// The heads by their trees, in the order of the lowest device that has each.
    fn parts(&self, mut frontier: Vec<Head>) -> Result<Vec<Part>, MeetError> {
        frontier.sort_by_key(|head| (head.device, head.seq));
        let mut parts: Vec<Part> = Vec::new();
        for head in frontier {
            let id = (head.device, head.seq);
            let root = read_root_within(&head, self.reader, ask()).map_err(|error| self.blame(&[id], error.into()))?;
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

    fn merged(
        &self,
        first: Part,
        second: Part,
        conflicts: &mut Vec<Conflict>,
        made: &mut Vec<BlockId>,
    ) -> Result<Part, MeetError> {
        let before = self.ancestor(&first.vector, &second.vector).map_err(|error| self.blame(&second.heads, error))?;
        let mut sides = Vec::with_capacity(2);
        for part in [&first, &second] {
            let changes = self.changes(&before, &part.root).map_err(|error| self.blame(&part.heads, error))?;
            let rank = part.heads.first().copied().ok_or(FsError::NotFound)?;
            sides.push(Side { rank, device_name: short_name(&rank.0), changes });
        }
        let sides = <[Side; 2]>::try_from(sides).map_err(|_| FsError::Invalid)?;
        let patience = patience();
        let mut ancestor = TreeAncestor { reader: self.reader, root: &before, names: self.keys.names(), patience };
        let both: Vec<HeadId> = first.heads.iter().chain(&second.heads).copied().collect();
        let merged = merge(&mut ancestor, sides).map_err(|error| self.blame(&both, error.into()))?;
        let mut sink = Recorded { sink: self.sealer.sink(), made };
        let mut nodes = InodeNodes { reader: self.reader, ino: Ino::ROOT, ask: ask() };
        let root =
            merged.changes.apply(&mut nodes, &mut sink, self.keys.names(), &before).map_err(|error| match error {
                ApplyError::Tree(error) => self.blame(&both, error.into()),
                ApplyError::Incomplete { ino } => {
                    tracing::error!(%ino, "a merge leaves open what becomes of an inode");
                    self.blame(&both, FsError::Damaged { id: second.root_id(), ino }.into())
                }
            })?;
        conflicts.extend(merged.conflicts);
        let vector = join(&first.vector, &second.vector);
        let head = [&first, &second].into_iter().find(|part| is_same_tree(&part.root, &root));
        let head = head.and_then(|part| part.head.clone());
        Ok(Part { heads: both, root, vector, head })
    }

    /// The tree of the best ancestor that can be read. One that is lost costs false conflicts, and no bytes.
    fn ancestor(&self, a: &Vector, b: &Vector) -> Result<VolumeRoot, Failure> {
        for head in (self.ancestors)(a, b) {
            match read_root_within(&head, self.reader, ask()) {
                Ok(root) => return Ok(root),
                Err(error) if error.is_loss() => {
                    tracing::error!(device = %head.device, seq = head.seq, %error, "the tree of a common ancestor is lost; an older one is taken");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(nothing())
    }

    fn changes(&self, before: &VolumeRoot, after: &VolumeRoot) -> Result<Changes, Failure> {
        Ok(Changes::between(&mut self.reader.patient_nodes(patience()), before, after)?)
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
        let is_out_of_reach =
            matches!(error, FsError::Store(StoreError::NotFetched { .. } | StoreError::Timeout { .. }));
        Failure { is_theirs: error.is_loss() || is_out_of_reach, error }
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

/// What histories without a common head have in common.
fn nothing() -> VolumeRoot {
    let never = Timestamp { secs: 0, nanos: 0 };
    let attr = Attr {
        ino: Ino::ROOT,
        kind: FileType::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        nlink: 2,
        size: 0,
        allocated: 0,
        rdev: 0,
        atime: never,
        mtime: never,
        ctime: never,
        btime: never,
    };
    let root = Record { attr, content: Content::Dir(MapRoot::EMPTY), xattrs: Xattrs::NONE };
    VolumeRoot { root, links: MapRoot::EMPTY, next_ino: ino_range(&DeviceId::from_bytes([0; 32])).start }
}

/// Nobody waits for a merge, but what it reads is what programs look at next.
fn ask() -> Ask {
    Ask::ahead(FLUSH_TIMEOUT)
}

fn patience() -> Patience {
    Patience::Each(Priority::Ahead, FLUSH_TIMEOUT)
}

/// Those of `frontier` that are not in `vector`.
pub(crate) fn unseen(frontier: &[Head], vector: &Vector) -> BTreeSet<HeadId> {
    let unseen = frontier.iter().filter(|head| !cairn_block::includes(vector, &head.vector));
    unseen.map(|head| (head.device, head.seq)).collect()
}
