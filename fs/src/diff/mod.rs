//! What differs between two states of a volume, path by path.
//!
//! A file or directory that has the same inode elsewhere was renamed; a name that leads to another inode of the same kind was
//! modified, as editors do it that save by renaming. Of a directory only its own attributes count: what happened in it is
//! told of the names in it.
//!
//! The changes are gathered first, because a rename has two ends, and told in the order of their paths. Should they be
//! too many for memory, they are told as they are met, and renames as a removal and an addition.

mod as_met;
mod gathered;

use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use cairn_block::{Content, Entry, EntryError, FileType, Ino, Nodes, Record, TreeError, VolumeRoot};

use crate::changes::{Changes, ChangesError};
use crate::reader::ReadError;
use crate::tree::{dir_root, list};

use as_met::as_met;
use gathered::gathered;

/// What gathered changes may take in memory; some half a million changed files.
pub const DIFF_BYTES_MAX: usize = 256 << 20;

/// Entries read at a time on a search.
const WINDOW: usize = 512;

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path from the root of the volume; where it was if it is gone.
    pub path: Bytes,
    /// How it differs.
    pub what: What,
    /// What was there.
    pub old: Option<Facts>,
    /// What is there.
    pub new: Option<Facts>,
}

/// The kind and size of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The inode.
    pub ino: Ino,
    /// Its kind.
    pub kind: FileType,
    /// Bytes; of a directory, entries.
    pub size: u64,
}

/// How something differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another, or not as it was.
    Modified {
        /// What it holds differs.
        data: bool,
        /// Its attributes differ.
        meta: bool,
    },
    /// It is of another kind.
    TypeChanged,
    /// It was elsewhere, and may have been modified as well.
    Renamed {
        /// Where.
        from: Bytes,
        /// What it holds differs.
        data: bool,
        /// Its attributes differ.
        meta: bool,
    },
}

/// Why a comparison ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// One of the trees could not be read, or is none.
    #[error(transparent)]
    Changes(#[from] ChangesError),
    /// Whoever was told had enough.
    #[error("the comparison was stopped")]
    Stopped,
}

impl From<ReadError> for DiffError {
    fn from(error: ReadError) -> Self {
        Self::Changes(error.into())
    }
}

impl From<TreeError> for DiffError {
    fn from(error: TreeError) -> Self {
        ReadError::from(error).into()
    }
}

impl From<EntryError> for DiffError {
    fn from(error: EntryError) -> Self {
        ReadError::from(error).into()
    }
}

/// Tells `tell` what differs between two trees. It can stop.
pub fn diff<N>(
    nodes: &mut N,
    before: &VolumeRoot,
    after: &VolumeRoot,
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<(), DiffError>
where
    N: Nodes<Error = ReadError>,
{
    diff_within(nodes, before, after, DIFF_BYTES_MAX, tell)
}

/// The same, in about so many bytes of memory.
pub fn diff_within<N>(
    nodes: &mut N,
    before: &VolumeRoot,
    after: &VolumeRoot,
    bytes_max: usize,
    tell: &mut dyn FnMut(Change) -> ControlFlow<()>,
) -> Result<(), DiffError>
where
    N: Nodes<Error = ReadError>,
{
    match Changes::between_within(nodes, before, after, bytes_max) {
        Ok(changes) => gathered(nodes, &changes, after, tell),
        Err(ChangesError::TooMany { .. }) => as_met(nodes, before, after, tell),
        Err(error) => Err(error.into()),
    }
}

fn said(tell: &mut dyn FnMut(Change) -> ControlFlow<()>, change: Change) -> Result<(), DiffError> {
    match tell(change) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DiffError::Stopped),
    }
}

fn facts(record: &Record) -> Facts {
    let size = match &record.content {
        Content::Dir(root) => root.count,
        _ => record.attr.size,
    };
    Facts { ino: record.attr.ino, kind: record.attr.kind, size }
}

/// Whether two records hold different things, and have different attributes. Access and change times are left out: they follow
/// from everything else; and of directories the time of the last modification, which follows from their names.
fn difference(old: &Record, new: &Record) -> (bool, bool) {
    let is_dir = matches!((&old.content, &new.content), (Content::Dir(_), Content::Dir(_)));
    let data = !is_dir && (old.content != new.content || old.attr.size != new.attr.size);
    let attributes = |record: &Record| {
        let attr = &record.attr;
        (attr.mode, attr.uid, attr.gid, attr.rdev, (!is_dir).then_some(attr.mtime))
    };
    (data, attributes(old) != attributes(new) || old.xattrs != new.xattrs)
}

/// What became of a name that leads to another inode now.
fn replacement(old: Option<&Record>, new: Option<&Record>) -> What {
    match (old, new) {
        (Some(old), Some(new)) if old.attr.kind != new.attr.kind => What::TypeChanged,
        (Some(old), Some(new)) => {
            let (data, meta) = difference(old, new);
            What::Modified { data, meta }
        }
        _ => What::Modified { data: true, meta: true },
    }
}

/// The paths of linked inodes: nothing leads from an inode to its names, so the tree is searched.
fn names_of<N>(nodes: &mut N, root: &VolumeRoot, wanted: HashSet<Ino>) -> Result<Vec<(Bytes, Ino)>, DiffError>
where
    N: Nodes<Error = ReadError>,
{
    let mut found = Vec::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    let mut waiting = vec![(Bytes::from_static(b"/"), dir_root(&root.root).clone())];
    while let Some((path, dir)) = waiting.pop() {
        let mut from = Bound::Unbounded;
        loop {
            let entries = list(nodes, &dir, from.as_ref().map(|key: &Bytes| &key[..]), WINDOW)?;
            let Some((last, _)) = entries.last() else { break };
            from = Bound::Excluded(last.encoded().clone());
            for (key, value) in entries {
                match Entry::decode(&value)? {
                    Entry::Link { ino, .. } if wanted.contains(&ino) => found.push((below(&path, key.name()), ino)),
                    Entry::Own(record) if record.attr.kind == FileType::Directory => {
                        waiting.push((below(&path, key.name()), dir_root(&record).clone()));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(found)
}

fn below(dir: &[u8], name: &[u8]) -> Bytes {
    [dir.strip_suffix(b"/").unwrap_or(dir), b"/", name].concat().into()
}
