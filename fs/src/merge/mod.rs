//! Three-way merge of volumes, as a decision: changes in, changes out, no I/O, no clock.
//!
//! ```text
//! ancestor ──changes──> side A ─┐   identity    which of B's new inodes are A's, which need another number
//!     └──────changes──> side B ─┤   names       what each name leads to; the loser of a clash gets a sibling name
//!                               │   places      what is kept has a parent; no directory is its own ancestor
//!                               │   inodes      field by field; contents that clash are both kept
//!                               └─> changes from the ancestor to the merge, and what could not be agreed on
//! ```
//! Rules, each with a property test:
//! - What only one side changed is taken from it; what both changed alike, once.
//! - Equal contents collapse: a file that both sides made alike under one name is one file, and so is a directory whatever
//!   is in it; directories merge recursively.
//! - Deletion against an edit keeps the edit. A directory that is kept for what was put into it holds that and no more; one
//!   that the other side renamed keeps all it held.
//! - Two contents for one file, or two things for one name: the first side keeps the place, the other is kept beside it as
//!   `name.~device~.ext`, and a [`Conflict`] holds the ancestor and both sides.
//! - Attributes are merged one by one; where both sides set one, the first side's stands and a [`Conflict`] says so.
//! - A rename is an inode that changed its name. A file that both sides renamed has both names; a directory can have one.
//! - Sides are ordered by [`Side::rank`], never by clocks. The result does not depend on who merges.
//!
//! Merging is idempotent, and associative as long as nothing conflicts.

mod ancestor;
mod identity;
mod inodes;
mod names;
mod places;
mod record;
mod sibling;

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_block::{DeviceId, DirRoot, Ino, Record, Xattrs};

use crate::changes::{Changes, Place};
use crate::reader::ReadError;

pub use ancestor::TreeAncestor;
use names::Names;
pub use sibling::{short_name, sibling_device, sibling_primary};

/// What one device did since the ancestor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The device, and the number of its head.
    pub rank: (DeviceId, u64),
    /// What the device is called in sibling names.
    pub device_name: String,
    /// What it did.
    pub changes: Changes,
}

/// What the merge asks of the ancestor: little, and only where there is a conflict.
pub trait Ancestor {
    /// Whether a directory, whose tree in the ancestor is `root`, has an entry of this name there.
    fn is_taken(&mut self, dir: Ino, root: &DirRoot, name: &[u8]) -> Result<bool, ReadError>;

    /// The way to an inode with several names: to the first of its names that is `wanted`.
    fn trail(&mut self, ino: Ino, wanted: &mut dyn FnMut(&Place) -> bool) -> Result<Option<Trail>, ReadError>;

    /// Extended attributes, of the ancestor or of a side.
    fn xattrs(&mut self, xattrs: &Xattrs) -> Result<Vec<(Bytes, Bytes)>, ReadError>;
}

/// The way from the root directory to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// The directories, the root first, never empty.
    pub dirs: Vec<Record>,
    /// The name to follow in each.
    pub names: Vec<Bytes>,
}

impl Trail {
    /// The places on the way, the last one that of the inode.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let steps = self.dirs.iter().zip(&self.names);
        steps.map(|(dir, name)| Place { parent: dir.attr.ino, name: name.clone() })
    }
}

/// Why there is no merge.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The ancestor or a side could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A side is no tree: a directory is in two places, or below itself.
    #[error("inode {ino} has no place in the tree of one side")]
    Unsound {
        /// The inode.
        ino: Ino,
    },
}

/// What could not be agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disagreement {
    /// Both sides wrote the file. The first side's content stays, the other's is at the sibling.
    Content,
    /// Both sides gave the name to something. The first side's stays, the other's is at the sibling.
    Name,
    /// Both sides set the same attribute. The first side's stands.
    Attributes,
    /// Both sides moved the directory, or into each other. The first side's place stands.
    Directory,
    /// One side deleted what the other edited or moved. It is kept.
    Deletion,
}

/// One disagreement, with all that is needed to look at it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// About what.
    pub about: Disagreement,
    /// Where it shows in the merge, if that is known.
    pub place: Option<Place>,
    /// Where the second side's version is, if it had to be put beside the first's.
    pub sibling: Option<Place>,
    /// The inode before.
    pub ancestor: Option<Record>,
    /// What each side made of it, or put there; `None` where it was deleted.
    pub sides: [Option<Record>; 2],
}

/// A merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// From the ancestor to the merge.
    pub changes: Changes,
    /// What could not be agreed on, in a fixed order. Nothing of it is lost.
    pub conflicts: Vec<Conflict>,
}

/// Merges what two sides did since their common ancestor. The order of `sides` does not matter.
pub fn merge(ancestor: &mut dyn Ancestor, mut sides: [Side; 2]) -> Result<Merged, MergeError> {
    sides.sort_by_key(|side| side.rank);
    let next_ino = sides.iter().map(|side| side.changes.next_ino).max().unwrap_or_default();
    identity::align(&mut sides)?;
    let mut names = Names::decide(&sides);
    places::keep_one_place_each(&mut names)?;
    names.seat_losers(ancestor)?;
    places::anchor(&mut names, ancestor)?;
    inodes::merge(names, ancestor, next_ino)
}

/// One of the two sides, with what is asked of it again and again.
struct View<'a> {
    side: &'a Side,
    /// Inodes to which it gave a name they did not have.
    named: BTreeSet<Ino>,
}

impl<'a> View<'a> {
    fn new(side: &'a Side) -> Self {
        let named = side.changes.names.values().filter_map(|change| change.new).map(|child| child.ino).collect();
        Self { side, named }
    }

    fn changes(&self) -> &'a Changes {
        &self.side.changes
    }

    /// Whether it took the inode away.
    fn removes(&self, ino: Ino) -> bool {
        self.side.changes.removes(ino)
    }

    /// Whether it did something to the inode that a deletion must not undo.
    fn edits(&self, ino: Ino) -> bool {
        let change = self.side.changes.inodes.get(&ino);
        change.is_some_and(|change| match (&change.old, &change.new) {
            (Some(old), Some(new)) => record::is_edit(old, new),
            _ => false,
        })
    }
}
