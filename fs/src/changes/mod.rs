//! What differs between two states of a volume, by inode and by name: the one form in which diff and merge see trees.
//!
//! A tree stores an inode inside the directory entry that names it. Here the two are apart: [`Changes::names`] says which
//! inode a name led to before and after, [`Changes::inodes`] what each inode was and is. A rename then is two names and no
//! inode, an edit one inode and no name, whatever directory moved around it meanwhile.
//!
//! [`Changes::between`] reads them off two trees, skipping what both share; [`Changes::apply`] writes them into the first
//! of them and gives the second, bit for bit.

mod apply;
mod between;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cairn_block::{FileType, Ino, Record};

pub use apply::ApplyError;
pub use between::{CHANGES_BYTES_MAX, ChangesError};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The directory.
    pub parent: Ino,
    /// The name in it.
    pub name: Bytes,
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// The inode.
    pub ino: Ino,
    /// Its kind.
    pub kind: FileType,
}

/// What a name led to, and leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameChange {
    /// Before.
    pub old: Option<Child>,
    /// After.
    pub new: Option<Child>,
}

/// What an inode was, and is. An inode that was only renamed is the same on both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InodeChange {
    /// Before; `None` if it is new.
    pub old: Option<Record>,
    /// After; `None` if it is gone.
    pub new: Option<Record>,
}

/// Where an inode with a single name was, and is, as far as the comparison met it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// Before.
    pub old: Option<Place>,
    /// After.
    pub new: Option<Place>,
}

/// What differs between two states of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names that lead elsewhere than before, or to nothing.
    pub names: BTreeMap<Place, NameChange>,
    /// Inodes that differ, or that a changed name leads or led to. What a directory holds is in the names; the content of its
    /// new record only tells whether anything below it may differ.
    pub inodes: BTreeMap<Ino, InodeChange>,
    /// Where the inodes met are, root and linked ones excepted: among them every directory on the way to a change.
    pub homes: BTreeMap<Ino, Home>,
    /// Inodes met in the link table or through a link before.
    pub linked_old: BTreeSet<Ino>,
    /// Inodes met in the link table or through a link after.
    pub linked_new: BTreeSet<Ino>,
    /// The smallest inode number that was never given out after.
    pub next_ino: u64,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.inodes.is_empty()
    }

    /// What an inode was, if it was met.
    #[must_use]
    pub fn record_before(&self, ino: Ino) -> Option<&Record> {
        self.inodes.get(&ino)?.old.as_ref()
    }

    /// What an inode is now, if it was met.
    #[must_use]
    pub fn record_after(&self, ino: Ino) -> Option<&Record> {
        self.inodes.get(&ino)?.new.as_ref()
    }

    /// Whether the inode came into being.
    #[must_use]
    pub fn adds(&self, ino: Ino) -> bool {
        self.inodes.get(&ino).is_some_and(|change| change.old.is_none() && change.new.is_some())
    }

    /// Whether the inode lost its last name.
    #[must_use]
    pub fn removes(&self, ino: Ino) -> bool {
        self.inodes.get(&ino).is_some_and(|change| change.old.is_some() && change.new.is_none())
    }
}
