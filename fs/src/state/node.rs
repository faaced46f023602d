//! What memory holds of one inode: its attributes, its place, and what changed in it.

use std::collections::BTreeMap;

use std::ops::Range;

use bytes::Bytes;
use cairn_block::{Attr, Content, DirRoot, Ino, Ref};

use super::layer::{Layer, Piece, Source};

/// Where an inode's record is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The root directory: in the volume root itself.
    Root,
    /// In its parent's directory tree.
    Child {
        /// The directory.
        parent: Ino,
        /// Hash of its name there, by which it is found again.
        hash: u64,
    },
    /// In the volume's link table: it has, or had, several names.
    Linked,
    /// Nowhere: it has no name left and lives while it is open.
    Orphan,
}

/// What is known of an inode: always how often the kernel refers to it and where it is, and its
/// node while that is in memory.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Lookup references not yet forgotten.
    pub(crate) refs: u64,
    /// Slots whose place is in this directory; their parent stays in memory.
    pub(crate) kids: u32,
    /// Where the record is.
    pub(crate) place: Place,
    /// The inode itself.
    pub(crate) node: Option<Box<Node>>,
}

/// An inode in memory.
#[derive(Debug)]
pub(crate) struct Node {
    /// What stat shows, but for `size` of directories and `allocated` of changed files.
    pub(crate) attr: Attr,
    /// Extended attributes.
    pub(crate) xattrs: Attributes,
    /// Encoded directory key of its name, empty unless it has a `Child` place.
    pub(crate) key: Bytes,
    /// Open handles.
    pub(crate) opens: u32,
    /// Part of a flush that has not landed yet: the tree does not hold it as it is.
    pub(crate) flushing: bool,
    /// What it is.
    pub(crate) body: Body,
}

/// Extended attributes, read from their block only when somebody asks.
#[derive(Clone, Debug)]
pub(crate) enum Attributes {
    /// Sorted by name.
    Loaded(Vec<(Bytes, Bytes)>),
    /// Too large for the record; still in a block.
    Sealed(Ref),
}

/// What kind of inode, and what it holds.
#[derive(Debug)]
pub(crate) enum Body {
    /// A regular file.
    File(Box<File>),
    /// A directory.
    Dir(Box<Dir>),
    /// A symbolic link's target.
    Symlink(Bytes),
    /// A fifo, socket or device.
    Special,
}

/// A regular file: its tree, the changes on the way into the next tree, the changes since.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// `Empty`, `Inline` or `File`.
    pub(crate) base: Content,
    /// Size of the base in bytes.
    pub(crate) base_size: u64,
    /// Bytes of the base that are not holes and that no later truncation masks.
    pub(crate) base_allocated: u64,
    /// Changes that a flush is folding in.
    pub(crate) flushing: Option<Layer>,
    /// Changes since.
    pub(crate) layer: Layer,
    /// Bytes of data in `flushing` that nothing since has made a hole.
    pub(crate) flushing_bytes: u64,
    /// Overwritten in place: chunked on a fixed grid.
    pub(crate) fixed: bool,
    /// Counts replacements of the whole content.
    pub(crate) generation: u32,
    /// The end of a stream that is in the journal but kept in memory too, to be chunked with what follows.
    pub(crate) carried: Option<Carried>,
}

/// The end of a stream whose next cut is not known yet.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    /// Where it lies: from the last cut, or the beginning, to where the journal has the file.
    pub(crate) range: Range<u64>,
    /// Up to here no cut was found. Looking again at every few bytes would cost more than writing them.
    pub(crate) looked_to: u64,
}

impl File {
    /// A file with `base` below and no changes.
    pub(crate) fn new(base: Content, size: u64, allocated: u64) -> File {
        let fixed = matches!(&base, Content::File(root) if root.fixed);
        File {
            base,
            base_size: size,
            base_allocated: allocated,
            flushing: None,
            layer: Layer::default(),
            flushing_bytes: 0,
            fixed,
            generation: 0,
            carried: None,
        }
    }

    /// Bytes that take room: what stat shows in blocks. Exact after a flush, until then what was overwritten counts twice.
    pub(crate) fn allocated(&self, size: u64) -> u64 {
        let bytes = self.base_allocated + self.flushing_bytes + self.layer.data_bytes();
        bytes.min(size.next_multiple_of(512))
    }

    /// Lays a piece over the file.
    pub(crate) fn put(&mut self, offset: u64, piece: Piece) {
        if matches!(piece.source, Source::Hole) {
            let end = offset + piece.len;
            let masked = end.min(self.base_size).saturating_sub(offset);
            self.base_allocated = self.base_allocated.min(self.base_size - masked);
            if let Some(flushing) = &self.flushing {
                self.flushing_bytes = self.flushing_bytes.saturating_sub(flushing.data_bytes_in(offset..end));
            }
        }
        self.layer.put(offset, piece);
    }
}

/// A directory: its tree, the changes on the way into the next tree, the changes since.
#[derive(Clone, Debug)]
pub(crate) struct Dir {
    /// The tree.
    pub(crate) base: DirRoot,
    /// Changes that a flush is folding in.
    pub(crate) flushing: Option<Changes>,
    /// Changes since.
    pub(crate) changes: Changes,
    /// Names in the directory now, `.` and `..` not counted.
    pub(crate) entries: u64,
}

impl Dir {
    /// A directory as its tree has it.
    pub(crate) fn new(base: DirRoot) -> Dir {
        let entries = base.count;
        Dir { base, flushing: None, changes: Changes::new(), entries }
    }
}

/// Changed names of a directory, by encoded key.
pub(crate) type Changes = BTreeMap<Bytes, Change>;

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The name belongs to this inode, whose record is in the entry.
    Own(Ino),
    /// The name belongs to this inode, whose record is in the link table.
    Link(Ino, cairn_block::FileType),
    /// The name is gone.
    Gone,
}

impl Change {
    /// The inode that the name belongs to.
    pub(crate) fn ino(&self) -> Option<Ino> {
        match self {
            Change::Own(ino) | Change::Link(ino, _) => Some(*ino),
            Change::Gone => None,
        }
    }
}

impl Node {
    /// The directory, if it is one.
    pub(crate) fn dir(&self) -> Option<&Dir> {
        match &self.body {
            Body::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    /// The directory, if it is one.
    pub(crate) fn dir_mut(&mut self) -> Option<&mut Dir> {
        match &mut self.body {
            Body::Dir(dir) => Some(dir),
            _ => None,
        }
    }

    /// The regular file, if it is one.
    pub(crate) fn file(&self) -> Option<&File> {
        match &self.body {
            Body::File(file) => Some(file),
            _ => None,
        }
    }

    /// The regular file, if it is one.
    pub(crate) fn file_mut(&mut self) -> Option<&mut File> {
        match &mut self.body {
            Body::File(file) => Some(file),
            _ => None,
        }
    }

    /// Attributes as stat shows them.
    pub(crate) fn stat(&self) -> Attr {
        let mut attr = self.attr.clone();
        match &self.body {
            Body::File(file) => attr.allocated = file.allocated(attr.size),
            Body::Dir(dir) => attr.size = dir.entries,
            _ => {}
        }
        attr
    }
}
